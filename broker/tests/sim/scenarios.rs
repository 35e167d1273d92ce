//! Situations that random runs meet rarely, made on purpose.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::history::Phase;
use crate::plan::{End, Plan};

/// A cluster that was written to and stopped, with nobody left who writes.
fn written(seed: u64, shards: u32) -> Cluster {
    let plan = Plan { producers: 3, consumers: 1, groups: 1, idle_partitions: 4, ..Plan::new(seed) };
    let mut cluster = Cluster::new(&plan);
    cluster.start_clients(plan);
    cluster.begin(shards);
    cluster.wait_until_started();
    cluster.run_for(Duration::from_millis(60));
    cluster.shared.set_phase(Phase::Draining);
    cluster.wait_for_clients();
    cluster.end(End::Stop);
    cluster
}

/// A start with another number of shards ends anywhere, and the next has the number of before: the numbers agree, the places
/// may not.
#[test]
fn a_start_with_other_shards_that_is_cut_short_moves_nothing_out_of_sight() {
    for calls in (1..40).step_by(3) {
        let mut cluster = written(calls, 2);
        cluster.begin(3);
        cluster.fail_power_after_calls(calls);
        cluster.run_for(Duration::from_millis(30));
        cluster.end(End::PowerCut);
        cluster.begin(2);
        cluster.wait_until_started();
        cluster.read_all();
        cluster.end(End::Stop);
    }
}

/// The control plane's files at every moment of a first start and of the changes after it.
#[test]
fn the_power_may_fail_between_any_two_calls_of_the_control_plane() {
    for calls in 1..60 {
        let plan = Plan { producers: 1, consumers: 0, groups: 1, idle_partitions: 0, ..Plan::new(calls) };
        let mut cluster = Cluster::new(&plan);
        cluster.start_clients(plan);
        cluster.begin(1);
        cluster.fail_power_after_calls(calls);
        cluster.run_for(Duration::from_millis(200));
        cluster.end(End::PowerCut);
        cluster.begin(1);
        cluster.wait_until_started();
        cluster.shared.set_phase(Phase::Draining);
        cluster.wait_for_clients();
        cluster.read_all();
        cluster.end(End::PowerCut);
    }
}
