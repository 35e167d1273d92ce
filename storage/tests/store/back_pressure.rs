//! What happens when there is no room, no disk, no sync.

use std::cell::Cell;
use std::rc::Rc;

use storage::types::Offset;
use storage::{StageError, StorageError, StoreOptions};

use crate::support::*;

#[test]
fn a_full_store_says_so_and_admits_in_order_when_there_is_room() {
    let dir = folder();
    let options = options(dir.path());
    run(move || async move {
        let (store, _) = open(options, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        let bytes = batch(&value(1, 20_000));
        let mut count = 0;
        while stage(&log, &bytes).map_err(|error| assert_eq!(error, StageError::Full)).is_ok() {
            count += 1;
            assert!(count < 1000, "never full");
        }
        let order = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let (store, log, order, bytes) = (store.clone(), log.clone(), order.clone(), bytes.clone());
                reactor::spawn(reactor::Priority::Latency, "producer", async move {
                    stage_admitted(&store, &log, &bytes).await;
                    assert_eq!(order.replace(number + 1), number, "first come first served");
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        let staged = stage_admitted(&store, &log, &bytes).await;
        log.durable(staged.ticket).await.unwrap();
        assert_eq!(log.flushed_offset(), Offset(count + 21));
    });
}

#[test]
fn a_waiter_that_goes_away_does_not_block_those_behind() {
    let dir = folder();
    let options = options(dir.path());
    run(move || async move {
        let (store, _) = open(options, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        let bytes = batch(&value(1, 20_000));
        while stage(&log, &bytes).is_ok() {}
        let gone = reactor::timeout(std::time::Duration::ZERO, store.admit(380_000)).await;
        assert!(gone.is_err());
        append(&store, &log, &bytes).await;
        assert!(matches!(store.admit(2 << 20).await, Err(StageError::TooLarge { .. })));
    });
}

#[test]
fn a_failed_commit_poisons_the_store_for_good_and_reads_go_on() {
    let dir = folder();
    let failing = StoreOptions { fail_commits_from: Some(4), ..options(dir.path()) };
    let healthy = options(dir.path());
    run(move || async move {
        let (store, _) = open(failing, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        for number in 0..3 {
            append(&store, &log, &batch(&value(number, 100))).await;
        }
        let lost = stage(&log, &batch(&value(3, 100))).unwrap();
        assert!(matches!(log.durable(lost.ticket).await, Err(StorageError::Poisoned(_))));
        assert_eq!(stage(&log, &batch(b"x")).err(), Some(StageError::Poisoned));
        assert_eq!(store.admit(10).await, Err(StageError::Poisoned));
        assert_eq!(log.flushed_offset(), Offset(3));
        assert_eq!(read_all(&log, 1000).await.len(), 3);
        assert!(store.stats().poisoned && store.poisoned().is_some());
        assert!(store.close().await.is_err());
    });
    run(move || async move {
        let (store, _) = open(healthy, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        assert_eq!(log.end_offset(), Offset(3));
        append(&store, &log, &batch(b"again")).await;
    });
}

#[test]
fn below_the_free_space_reserve_appends_are_refused_and_reads_go_on() {
    let dir = folder();
    let plain = options(dir.path());
    let full = StoreOptions { free_bytes_min: u64::MAX, ..options(dir.path()) };
    run(move || async move {
        let (store, _) = open(plain, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        append(&store, &log, &batch(b"there")).await;
        store.close().await.unwrap();
        drop((store, log));
        let (store, _) = open(full, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        assert_eq!(stage(&log, &batch(b"x")).err(), Some(StageError::NoSpace));
        assert_eq!(read_all(&log, 1000).await.len(), 1);
        assert!(store.stats().no_space);
    });
}

#[test]
fn nothing_above_the_flushed_offset_is_shown() {
    let dir = folder();
    let options = options(dir.path());
    run(move || async move {
        let (store, _) = open(options, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        let staged = stage(&log, &batch(b"x")).unwrap();
        assert_eq!((log.end_offset(), log.flushed_offset()), (Offset(1), Offset(0)));
        assert!(log.read(Offset(0), 100, Offset::MAX).await.unwrap().is_empty());
        log.durable(staged.ticket).await.unwrap();
        assert!(!log.read(Offset(0), 100, Offset::MAX).await.unwrap().is_empty());
        assert!(log.read(Offset(0), 100, Offset(0)).await.unwrap().is_empty());
    });
}
