//! Abuse: what no client should send, thrown at the real binary, and a light client beside it that must not notice.
//!
//! One kind of abuse after the other, each by a process of its own (this program again) with the lowest priority, as
//! if it had a machine of its own. Whatever is thrown is answered with an error or its connection is closed, never
//! left hanging; the broker's memory stays under what its budgets allow; the light client loses nothing, and is not
//! starved.
//!
//! `SEED` repeats the choices of a run, `ABUSE_SECONDS` (2 by default) is how long each round of a kind lasts, `ABUSE` names the
//! kinds to try, with commas between them. `ABUSE_STRICT=1` judges the light client's p99, see [`strict`], which asks for a release
//! build (`CORELANE_BIN`) on a machine that does nothing else; without it p99 is held to [`LATE_MAX`], and printed.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]
#![allow(unreachable_pub, reason = "modules of one program")]

#[allow(dead_code, reason = "the list of APIs and the seed are used")]
#[path = "../../../wire/tests/apis/mod.rs"]
mod apis;
mod attacker;
mod batches;
mod connections;
mod frames;
mod light;
mod memory;
mod mutations;
mod readers;
mod strict;
#[path = "../support/mod.rs"]
mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use attacker::{KINDS, Target};
use light::{Light, Window};
use memory::Memory;
use support::Broker;
use support::admin::{Admin, eventually};

/// The p99 beside abuse when it is not judged strictly: on a machine that builds and tests at the same time it says whether the light client
/// is starved, not how well it is served.
const LATE_MAX: Duration = Duration::from_secs(5);
fn seconds() -> u64 {
    std::env::var("ABUSE_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(2)
}

fn chosen(kind: &str) -> bool {
    std::env::var("ABUSE").map_or(true, |names| names.split(',').any(|name| name == kind))
}

/// Starts the attacker, with the lowest priority: it is not its need of the processor that is looked at.
fn launch(kind: &str, seed: u64, target: &Target) -> Child {
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "attacker_process", "--ignored", "--nocapture"]);
    command.envs(target.to_env()).env("ABUSE_KIND", kind).env("SEED", seed.to_string());
    command.env("ABUSE_SECONDS", seconds().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What the attacker says when it leaves. Fails when something was left hanging.
fn report(kind: &str, seed: u64, attacker: Child) -> String {
    let output = attacker.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = text.lines().find_map(|line| line.split_once("tally: ")).map(|(_, tally)| tally.to_owned());
    let failed = || format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{kind}, SEED={seed}: {}", failed());
    said.unwrap_or_else(|| panic!("{kind}: no tally in {}", failed()))
}

/// The light client, its broker's memory, and whom to attack beside it.
struct Bench {
    light: Light,
    memory: Memory,
    target: Target,
    seed: u64,
}

impl Bench {
    /// Abuse of one kind, of the light client's broker or of another one; what the light client's requests took meanwhile, and
    /// what the attacker says.
    fn beside(&mut self, kind: &str, round: u64, other: Option<&Target>) -> (Window, String) {
        let seed = self.seed.wrapping_add(round);
        let mut attacker = launch(kind, seed, other.unwrap_or(&self.target));
        let memory = &mut self.memory;
        let window = self.light.run(Duration::MAX, || {
            memory.look();
            attacker.try_wait().unwrap().is_none()
        });
        let tally = report(kind, seed, attacker);
        self.memory.check(kind);
        (window, tally)
    }
}

#[test]
fn a_light_client_does_not_notice_abuse() {
    let seed = apis::seed();
    println!("SEED={seed} ABUSE_SECONDS={}", seconds());
    let broker = Broker::spawn(&memory::SETTINGS);
    let admin = Admin::new(&broker);
    let target = Target::new(&broker, &admin.create("attacked", 4));
    attacker::fill(&target);
    let mut light = Light::new(&broker, &admin);
    light.run(Duration::from_secs(1), || true);
    let mut bench = Bench { light, memory: Memory::start(&broker), target, seed };
    let kinds = KINDS.iter().map(|(name, _)| *name).filter(|kind| chosen(kind));
    if std::env::var_os("ABUSE_STRICT").is_some() {
        strict::judge(&mut bench, &broker, kinds);
    } else {
        println!("{:<22} {:>9} {:>9}  tally", "kind", "p99 ms", "RSS MiB");
        for kind in kinds {
            let (mut beside, tally) = bench.beside(kind, 0, None);
            let (p99, peak_mib) = (beside.p99(), bench.memory.peak_mib());
            println!("{kind:<22} {:>9.2} {peak_mib:>9}  {tally}", p99.as_secs_f64() * 1e3);
            assert!(p99 <= LATE_MAX, "{kind}: the light client's p99 is {p99:?}");
        }
    }
    let light = bench.light;
    light.assert_all_kept(&broker);
    let open = || memory::metric(&broker, "corelane_connections");
    eventually("connections are given back", || open() <= light::CONNECTIONS as f64 + 8.0);
    let held = || memory::metric(&broker, "corelane_request_memory_used_bytes");
    eventually("request memory is given back", || held() == 0.0);
    assert!(!broker.said().contains("panicked"));
}

/// The attacker, started by the test above.
#[test]
#[ignore = "a part of the other test, which starts it with what it needs"]
fn attacker_process() {
    let Some(target) = Target::from_env() else { return };
    attacker::run(target);
}
