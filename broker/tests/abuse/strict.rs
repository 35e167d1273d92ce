//! What abuse costs the light client, apart from what it costs the machine.
//!
//! An attacker, the broker that answers it and the light client share the machine's cores, so some of what the light client waits
//! is the kernel's choice between them. Each round therefore times it three times: beside nothing, beside the same abuse of a
//! *decoy*, which is another broker on the same machine, and beside the abuse of its own broker. What a decoy's load takes from the
//! light client is what any busy program would take. Its own broker is judged by the rest: the p99 beside abuse of it stays within
//! [`SLOWER_MAX`] times the larger of the other two. The ratio to quiet alone is printed beside it, and so is the p99 of the time
//! from when a request was due until the client's thread had a core, in which no broker has any part. What of the rest is this
//! broker's own is told by its reactors: tasks that held a core for over a millisecond during the abuse, and for how long at most.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::attacker::{self, Target};
use super::light::Window;
use super::support::Broker;
use super::support::admin::Admin;
use super::support::figures;
use super::{Bench, memory};

/// How much slower the light client's p99 may be.
const SLOWER_MAX: f64 = 3.0;
/// Rounds of each kind; the median counts.
const ROUNDS: u64 = 3;
/// How long the light client is timed without abuse, before each round and after it.
const QUIET: Duration = Duration::from_secs(1);

/// The p99 of one round, in milliseconds.
struct Round {
    quiet: f64,
    decoy: f64,
    beside: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.beside / self.decoy.max(self.quiet)
    }
}

/// Tries all kinds, and fails when the light client noticed one.
pub fn judge<'a>(bench: &mut Bench, broker: &Broker, kinds: impl Iterator<Item = &'a str>) {
    let decoy = Broker::spawn(&memory::SETTINGS);
    let other = Target::new(&decoy, &Admin::new(&decoy).create("attacked", 4));
    attacker::fill(&other);
    println!(
        "{:<22} {:>16} {:>16} {:>16} {:>7} {:>7} {:>8}  tally",
        "kind, p99 (late) in ms", "quiet", "decoy abused", "abused", "/quiet", "/decoy", "RSS MiB"
    );
    let mut noticed = Vec::new();
    for kind in kinds {
        let mut rounds: Vec<Round> =
            (0..ROUNDS).map(|round| one_round(bench, broker, kind, round, &other)).collect();
        rounds.sort_by(|one, other| one.ratio().total_cmp(&other.ratio()));
        let Round { quiet, decoy, beside } = rounds[rounds.len() / 2];
        if rounds[rounds.len() / 2].ratio() > SLOWER_MAX {
            noticed
                .push(format!("{kind}: {beside:.2} ms, beside a decoy {decoy:.2} ms, quiet {quiet:.2} ms"));
        }
    }
    assert!(noticed.is_empty(), "the light client noticed {noticed:#?}");
}

fn one_round(bench: &mut Bench, broker: &Broker, kind: &str, round: u64, other: &Target) -> Round {
    let before = bench.light.run(QUIET, || true);
    let held_before = held(broker);
    let (mut decoy, _) = bench.beside(kind, round, Some(other));
    let (mut beside, tally) = bench.beside(kind, round, None);
    let mut quiet = before.and(bench.light.run(QUIET, || true));
    let round = Round { quiet: ms(quiet.p99()), decoy: ms(decoy.p99()), beside: ms(beside.p99()) };
    println!(
        "{kind:<22} {:>16} {:>16} {:>16} {:>7.2} {:>7.2} {:>8}  {tally}; over 1 ms:{}",
        shown(&mut quiet),
        shown(&mut decoy),
        shown(&mut beside),
        round.beside / round.quiet,
        round.ratio(),
        bench.memory.peak_mib(),
        held_since(broker, &held_before)
    );
    round
}

/// Polls over a millisecond, by name of the task, since the broker's start.
fn held(broker: &Broker) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for (labels, count) in figures::samples(broker, "corelane_reactor_long_polls_total") {
        let task = labels.split("task=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        *all.entry(task.to_owned()).or_default() += count;
    }
    all
}

/// What was added.
fn held_since(broker: &Broker, before: &BTreeMap<String, f64>) -> String {
    let mut text = String::new();
    for (task, count) in held(broker) {
        let added = count - before.get(&task).copied().unwrap_or(0.0);
        if added > 0.0 {
            write!(text, " {task} {added}").unwrap();
        }
    }
    text
}

fn shown(window: &mut Window) -> String {
    format!("{:.2} ({:.2})", ms(window.p99()), ms(window.late_p99()))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
