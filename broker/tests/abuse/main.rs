//! Abuse: what no client should send, thrown at the real binary, and a light client beside it that must not notice.
//!
//! One kind of abuse after the other, each by a process of its own (this program again) with the lowest priority, as
//! if it had a machine of its own. Whatever is thrown is answered with an error or its connection is closed, never
//! left hanging; the broker's memory stays under what its budgets allow; the light client loses nothing, and its p99
//! stays within [`SLOWER_MAX`] times what it is without abuse, taken in windows before and after each round.
//!
//! `SEED` repeats the choices of a run, `ABUSE_SECONDS` (2 by default) is how long each round of a kind lasts, `ABUSE` names the
//! kinds to try, with commas between them. `ABUSE_STRICT=1` judges by the factor, which asks for a release build
//! (`CORELANE_BIN`) on a machine that does nothing else; without it p99 is held to [`LATE_MAX`], and printed.
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
#[path = "../support/mod.rs"]
mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use attacker::{KINDS, Target};
use light::Light;
use memory::Memory;
use support::Broker;
use support::admin::{Admin, eventually};

/// How much slower the light client's p99 may be beside abuse.
const SLOWER_MAX: f64 = 3.0;
/// Rounds of quiet and abuse of each kind when they are judged by [`SLOWER_MAX`]; the median counts.
const STRICT_ROUNDS: usize = 3;
/// The p99 beside abuse when they are not: on a machine that builds and tests at the same time it says whether the light client
/// is starved, not how well it is served.
const LATE_MAX: Duration = Duration::from_secs(5);
/// How long the light client is timed without abuse, before each round and after it.
const QUIET: Duration = Duration::from_millis(500);

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
    let mut memory = Memory::start(&broker);
    println!("{:<22} {:>9} {:>9} {:>6} {:>9}  tally", "kind", "quiet ms", "abuse ms", "ratio", "RSS MiB");
    for kind in KINDS.iter().map(|(name, _)| *name).filter(|kind| chosen(kind)) {
        let mut rounds: Vec<(f64, Duration)> = Vec::new();
        let strict = std::env::var_os("ABUSE_STRICT").is_some();
        for round in 0..if strict { STRICT_ROUNDS as u64 } else { 1 } {
            let before = light.run(QUIET, || true);
            let mut attacker = launch(kind, seed.wrapping_add(round), &target);
            let beside = light
                .run(Duration::MAX, || {
                    memory.look();
                    attacker.try_wait().unwrap().is_none()
                })
                .p99();
            let tally = report(kind, seed.wrapping_add(round), attacker);
            let quiet = before.and(light.run(QUIET, || true)).p99();
            let ratio = beside.as_secs_f64() / quiet.as_secs_f64();
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            println!(
                "{kind:<22} {:>9.2} {:>9.2} {ratio:>6.2} {:>9}  {tally}",
                ms(quiet),
                ms(beside),
                memory.peak_mib()
            );
            rounds.push((ratio, beside));
        }
        rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (ratio, beside) = rounds[rounds.len() / 2];
        let unnoticed = if strict { ratio <= SLOWER_MAX } else { beside <= LATE_MAX };
        assert!(unnoticed, "{kind}: the light client's p99 is {beside:?}, {ratio:.1} times what it was");
        memory.check(kind);
    }
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
