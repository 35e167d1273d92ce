//! The whole broker in the simulator: the shards, the connections, the coordinator, the control plane and their files as they
//! are, on simulated reactors; clients on another machine; power cuts, kills, full and failing disks at moments that follow
//! from the seed; and checkers that judge all that clients see.
//!
//! * `cargo test -p broker --test sim`: some seeds, and that the batch did what it is for.
//! * `SIM_SEEDS=2000 cargo test -p broker --test sim many`: so many, from `SIM_FROM` or from the clock.
//! * `SEED=7 cargo test -p broker --test sim one_seed`: one, with the last events when it fails; with `RUST_LOG=info`
//!   before it also what the broker logs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod checkers;
mod client;
mod cluster;
mod history;
mod kept;
mod plan;
mod run;
mod scenarios;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use history::Counts;
use reactor::planted::Planted;
use run::run;
use tracing_subscriber::EnvFilter;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 12;
/// What a batch must have done at least once, or it tested less than it says.
const MUST_HAPPEN: [&str; 19] = [
    "acknowledged",
    "blocks carried forward",
    "checkpoints",
    "commits replayed",
    "connections cut",
    "consumed",
    "core-count changes",
    "cuts during recovery",
    "kills",
    "partitions added",
    "positions",
    "power cuts",
    "records deleted",
    "retries",
    "ring wraps",
    "rolled partitions",
    "topics deleted",
    "topics made again",
    "looks at a full disk",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn many_seeds_break_no_rule() {
    let (count, first) = match number("SIM_SEEDS") {
        None => (SEEDS, 1),
        Some(count) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            (count, number("SIM_FROM").unwrap_or(now.as_secs() * 1000))
        }
    };
    let mut all = Counts::default();
    for seed in first..first + count {
        for (what, times) in run(seed, None).counts.0 {
            all.add(what, times);
        }
    }
    println!("{count} seeds from {first}: {:#?}", all.0);
    let missing: Vec<_> =
        MUST_HAPPEN.into_iter().filter(|what| all.0.get(what).is_none_or(|times| *times == 0)).collect();
    assert!(missing.is_empty(), "seeds from {first} on, {count} of them, never had: {missing:?}; {all:?}");
}

#[test]
fn one_seed() {
    if let Some(seed) = number("SEED") {
        if let Ok(filter) = EnvFilter::try_from_default_env() {
            tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).init();
        }
        let outcome = run(seed, None);
        println!("seed {seed}: trace {:016x}, {:#?}", outcome.trace_hash, outcome.counts.0);
    }
}

#[test]
fn seeds_that_found_bugs_find_none_again() {
    for (seed, found) in kept::SEEDS {
        println!("seed {seed}: {found}");
        run(seed, None);
    }
}

#[test]
fn one_seed_gives_one_trace_and_another_gives_another() {
    let (first, again, other) = (run(3, None), run(3, None), run(4, None));
    assert_eq!(first.trace_hash, again.trace_hash);
    assert_ne!(first.trace_hash, other.trace_hash);
}

#[test]
fn one_seed_gives_one_trace_in_two_processes() {
    let hash = |_| {
        let program = std::env::current_exe().unwrap();
        let mut command = std::process::Command::new(program);
        command.args(["--exact", "one_seed", "--nocapture"]).env("SEED", "5");
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split("trace ")
            .nth(1)
            .and_then(|rest| rest.get(..16))
            .map(str::to_owned)
            .expect("a trace's hash")
    };
    let [first, second] = [0, 1].map(hash);
    assert_eq!(first, second);
}

/// Seeds within which the bug must be found.
const SEEDS_FOR_THE_PLANTED: u64 = 40;

#[test]
fn a_retry_that_is_acknowledged_before_its_original_is_flushed_is_found() {
    let finds = |seed: &u64| {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(*seed, Some(Planted::EarlyDuplicate))));
        outcome.is_err()
    };
    let found = (1..=SEEDS_FOR_THE_PLANTED).find(finds);
    println!("found with seed {found:?}");
    assert!(found.is_some(), "not found within {SEEDS_FOR_THE_PLANTED} seeds");
}
