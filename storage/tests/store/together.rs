//! Checkpoints of so many logs that their file system is synced, and not each of their files.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use reactor::sim::{Fault, MachineId, On, Options, Simulation};
use storage::limits::SYNC_TOGETHER_FROM;
use storage::types::{LogId, Offset};
use storage::{LogSpec, StorageError, Store, StoreOptions};

use crate::support::*;

const MANY: u64 = SYNC_TOGETHER_FROM as u64 + 20;

fn specs(count: u64) -> Vec<LogSpec> {
    (1..=count).map(spec).collect()
}

/// One batch for each log: a block and a part of one.
async fn append_all(store: &Store, specs: &[LogSpec], round: u64) {
    for spec in specs {
        let log = store.create_log(spec.clone()).unwrap();
        stage_admitted(store, &log, &batch(&value(spec.id.0 + round, 5000))).await;
    }
    for spec in specs {
        let log = store.log(spec.id).unwrap();
        log.flushed_above(Offset(log.end_offset().0 - 1)).await.unwrap();
    }
}

async fn check_all(store: &Store, specs: &[LogSpec], rounds: u64) {
    for spec in specs {
        let log = store.create_log(spec.clone()).unwrap();
        let all = read_all(&log, 20_000).await;
        assert_eq!(all.len() as u64, rounds, "log {}", spec.id);
        for (round, (_, bytes)) in (0..rounds).zip(&all) {
            assert!(contains(bytes, &value(spec.id.0 + round, 5000)), "log {}, round {round}", spec.id);
        }
    }
}

/// How often the file system is synced by checkpoints of `count` logs, in two lives that end as by a kill.
fn checkpoint_twice(options: &StoreOptions, count: u64) -> u64 {
    let mut synced = 0;
    for round in 0..2 {
        let options = options.clone();
        synced += run(move || async move {
            let specs = specs(count);
            let (store, _) = open(options, &specs).await;
            check_all(&store, &specs, round).await;
            append_all(&store, &specs, round).await;
            store.checkpoint().await.unwrap();
            check_all(&store, &specs, round + 1).await;
            store.stats().synced_together
        });
    }
    let options = options.clone();
    run(move || async move {
        let (store, report) = open(options, &specs(count)).await;
        assert_eq!(report.bytes, 0, "the ring is needed for nothing: {report:?}");
        check_all(&store, &specs(count), 2).await;
    });
    synced
}

#[test]
fn a_checkpoint_of_many_logs_syncs_their_file_system_and_survives_a_reopen() {
    let dir = folder();
    let expected = u64::from(reactor::fs::can_sync_file_system(dir.path()).unwrap());
    let synced = checkpoint_twice(&StoreOptions { commit_log_bytes: 8 << 20, ..options(dir.path()) }, MANY);
    assert!(synced >= 2 * expected, "{synced}");
}

#[test]
fn a_checkpoint_of_few_logs_syncs_each_file() {
    let dir = folder();
    assert_eq!(checkpoint_twice(&options(dir.path()), 5), 0);
}

#[test]
fn logs_go_on_are_deleted_and_lose_their_start_while_their_file_system_is_synced() {
    let dir = folder();
    let first = StoreOptions { commit_log_bytes: 8 << 20, ..options(dir.path()) };
    let second = first.clone();
    run(move || async move {
        let specs = specs(MANY);
        let (store, _) = open(first, &specs).await;
        for round in 0..3 {
            append_all(&store, &specs, round).await;
            let other = store.clone();
            let checkpoint = reactor::spawn(reactor::Priority::Latency, "checkpoint", async move {
                other.checkpoint().await.unwrap();
            });
            if round == 2 {
                let _ = store.retire_log(LogId(1));
                store.log(LogId(2)).unwrap().delete_records(Offset(1)).await.unwrap();
                store.log(LogId(3)).unwrap().truncate(Offset(1)).await.unwrap();
                append_all(&store, &specs[3..], 3).await;
            }
            checkpoint.await;
        }
    });
    run(move || async move {
        let specs = specs(MANY);
        let (store, _) = open(second, &specs[1..]).await;
        let end = |id| store.log(LogId(id)).map(|log| (log.start_offset().0, log.end_offset().0));
        assert_eq!((end(1), end(2), end(3)), (None, Some((1, 3)), Some((0, 1))));
        check_all(&store, &specs[3..], 4).await;
    });
}

#[test]
fn new_files_of_many_logs_cost_no_operation_each() {
    let dir = folder();
    if !reactor::fs::can_sync_file_system(dir.path()).unwrap() {
        return; // nothing is written together here
    }
    // Nothing is written before the checkpoint.
    let options = StoreOptions {
        commit_log_bytes: 8 << 20,
        ring_first_file_bytes: 8 << 20,
        dirty_bytes: 4 << 20,
        ..options(dir.path())
    };
    run(move || async move {
        let specs = specs(MANY);
        let (store, _) = open(options, &specs).await;
        append_all(&store, &specs, 0).await;
        let before = reactor::stats().operations;
        store.checkpoint().await.unwrap();
        let operations = reactor::stats().operations - before;
        assert_eq!(store.stats().made_together, MANY);
        // One write of each; making its folder and its file would be two more.
        assert!((MANY..2 * MANY).contains(&operations), "{operations} for {MANY} logs");
        check_all(&store, &specs, 1).await;
    });
}

fn simulated() -> StoreOptions {
    StoreOptions { sync_together_from: 2, commit_log_bytes: 8 << 20, ..options(Path::new("/data")) }
}

/// Runs a future on a reactor of the machine until it ends.
fn on<Fut: Future<Output = ()> + 'static>(
    simulation: &Simulation,
    machine: MachineId,
    main: impl FnOnce() -> Fut,
) {
    let ended = Rc::new(Cell::new(false));
    let end = ended.clone();
    let main = main();
    simulation.start(machine, move || async move {
        main.await;
        end.set(true);
    });
    let patience = reactor::now() + Duration::from_secs(60);
    assert!(simulation.run_until(patience, || ended.get()), "{}", simulation.last_events());
}

fn failing_segments(errno: i32) -> Fault {
    Fault { on: On::Sync, path: "/topics/".into(), errno, after: 0, times: 1 }
}

#[test]
fn a_file_system_that_cannot_be_synced_poisons_the_shard_and_loses_nothing() {
    for seed in 0..20 {
        let simulation = Simulation::new(Options::new(seed));
        let machine = simulation.machine(u64::MAX, None);
        on(&simulation, machine, || async {
            let (store, _) = open(simulated(), &specs(8)).await;
            append_all(&store, &specs(8), 0).await;
        });
        simulation.fail(machine, failing_segments(5));
        on(&simulation, machine, || async {
            let (store, _) = open(simulated(), &specs(8)).await;
            append_all(&store, &specs(8), 1).await;
            store.checkpoint().await.unwrap_err();
            assert!(store.poisoned().unwrap().contains("segments are not durable"));
            assert_eq!(store.stats().offline_logs, 0);
        });
        simulation.power_cut(machine);
        on(&simulation, machine, || async {
            let (store, _) = open(simulated(), &specs(8)).await;
            check_all(&store, &specs(8), 2).await;
        });
    }
}

#[test]
fn what_could_not_be_synced_for_want_of_space_is_written_again() {
    for seed in 0..20 {
        let simulation = Simulation::new(Options::new(seed));
        let machine = simulation.machine(u64::MAX, None);
        simulation.fail(machine, failing_segments(28));
        on(&simulation, machine, || async {
            let (store, _) = open(simulated(), &specs(8)).await;
            append_all(&store, &specs(8), 0).await;
            assert!(store.checkpoint().await.unwrap_err().is_no_space());
            let written = store.stats().writeback_bytes;
            assert!(store.poisoned().is_none());
            // Maintenance tries again by itself, and appends are taken when everything could be written.
            while store.stats().no_space {
                reactor::sleep(Duration::from_millis(10)).await;
            }
            assert!(store.stats().writeback_bytes >= 2 * written, "all of it once more");
            append_all(&store, &specs(8), 1).await;
            store.checkpoint().await.unwrap();
        });
        simulation.power_cut(machine);
        on(&simulation, machine, || async {
            let (store, _) = open(simulated(), &specs(8)).await;
            check_all(&store, &specs(8), 2).await;
        });
    }
}

/// A checkpoint of eight new logs while files cannot be made as the fault says.
fn make_with_fault(seed: u64, fault: Fault, check: fn(&Store, Result<(), StorageError>)) {
    let simulation = Simulation::new(Options::new(seed));
    let machine = simulation.machine(u64::MAX, None);
    simulation.fail(machine, fault);
    on(&simulation, machine, move || async move {
        let (store, _) = open(simulated(), &specs(8)).await;
        append_all(&store, &specs(8), 0).await;
        check(&store, store.checkpoint().await);
    });
    simulation.heal(machine);
    simulation.power_cut(machine);
    on(&simulation, machine, || async {
        let (store, _) = open(simulated(), &specs(8)).await;
        check_all(&store, &specs(8), 1).await;
    });
}

#[test]
fn a_file_that_cannot_be_made_concerns_its_log_and_no_other() {
    let fault = |errno, times| Fault { on: On::Open, path: "/topic-3-".into(), errno, after: 0, times };
    for seed in 0..20 {
        make_with_fault(seed, fault(5, 1), |store, result| {
            result.unwrap();
            assert_eq!((store.stats().made_together, store.stats().offline_logs), (7, 0), "made once more");
        });
        make_with_fault(seed, fault(5, u64::MAX), |store, result| {
            result.unwrap();
            assert_eq!((store.stats().made_together, store.stats().offline_logs), (7, 1));
        });
        make_with_fault(seed, fault(24, u64::MAX), |store, result| {
            result.unwrap_err();
            assert_eq!((store.stats().made_together, store.stats().offline_logs), (0, 0));
            assert!(store.poisoned().is_none());
        });
    }
}
