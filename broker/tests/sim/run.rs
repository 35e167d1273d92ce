//! One run: the lives of a broker, then the reckoning.

use std::time::Duration;

use reactor::planted::Planted;
use reactor::sim::Random;

use crate::cluster::Cluster;
use crate::history::{Counts, Phase};
use crate::plan::{End, Life, Plan, Trouble};

/// What came of a run in which no rule was broken.
pub(crate) struct Outcome {
    pub(crate) trace_hash: u64,
    pub(crate) counts: Counts,
}

/// Runs a seed.
///
/// # Panics
/// With the first rule that was broken, and how to repeat it.
pub(crate) fn run(seed: u64, planted: Option<Planted>) -> Outcome {
    let plan = Plan::new(seed);
    let random = Random::new(seed, "troubles");
    let mut cluster = Cluster::new(&plan);
    if let Some(bug) = planted {
        cluster.sim.plant(bug);
    }
    let lives = plan.lives.clone();
    cluster.start_clients(plan);
    for life in &lives {
        live(&mut cluster, &random, life);
    }
    // Nothing disturbs the broker any more: what was begun must come to its end.
    let shards = lives[0].shards;
    cluster.begin(shards);
    cluster.wait_until_started();
    cluster.shared.set_phase(Phase::Draining);
    cluster.wait_for_clients();
    let first = cluster.read_all();
    cluster.end(End::PowerCut);
    cluster.begin(shards % 3 + 1);
    cluster.wait_until_started();
    let second = cluster.read_all();
    cluster.end(End::Stop);
    cluster.begin(shards);
    cluster.wait_until_started();
    let third = cluster.read_all();
    for (at, content) in first {
        let after = [&second[&at], &third[&at]];
        // Retention may go on.
        let same = |other: &&crate::checkers::Content| {
            other.end == content.end && content.records.range(other.start..).eq(other.records.iter())
        };
        assert!(after.iter().all(same), "seed {seed}: partition {at:?} changed while nobody wrote");
    }
    cluster.fail_if_broken();
    Outcome { trace_hash: cluster.sim.trace_hash(), counts: cluster.counts() }
}

/// One life of the broker, with its troubles and its end.
fn live(cluster: &mut Cluster, random: &Random, life: &Life) {
    tracing::info!(at_us = reactor::now().as_ns() / 1000, ?life, "a life begins");
    cluster.begin(life.shards);
    if life.end == End::PowerCutInControl {
        cluster.fail_power_after_calls(random.range(1..120));
    }
    if life.early {
        cluster.run_for(Duration::from_micros(life.length_us));
        return cluster.end(life.end);
    }
    if !cluster.wait_until_started_or_dark() {
        return cluster.end(life.end);
    }
    let part = Duration::from_micros(life.length_us / (life.cuts + 4));
    begin_trouble(cluster, random, life.trouble);
    for step in 0..life.cuts + 4 {
        if !cluster.run_for(part) {
            return cluster.end(life.end);
        }
        if step < life.cuts {
            cluster.sim.cut_a_connection();
            cluster.count("connections cut", 1);
        }
        // The last part is without.
        if step == life.cuts + 2 {
            end_trouble(cluster, life.trouble);
        }
    }
    cluster.end(life.end);
}

fn begin_trouble(cluster: &mut Cluster, random: &Random, trouble: Trouble) {
    match trouble {
        Trouble::None => {}
        Trouble::Full => cluster.fill_disk(random.range(0..3 << 20)),
        Trouble::Slow => cluster.slow_disk(random.range(5..50) as u32),
        Trouble::RingFails => cluster.fail_a_sync("/ring-", random.range(0..200)),
        Trouble::MetadataFails => cluster.fail_a_sync("/metadata/", random.range(0..20)),
    }
}

fn end_trouble(cluster: &mut Cluster, trouble: Trouble) {
    match trouble {
        Trouble::Full => cluster.empty_disk(),
        Trouble::Slow => cluster.slow_disk(1),
        // A failed sync poisons until the next start.
        Trouble::None | Trouble::RingFails | Trouble::MetadataFails => {}
    }
}
