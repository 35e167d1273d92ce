//! What a partition's log does beside appending: rolling, retention, deletion, time, producers, epochs, truncation.

use storage::producer_state::{ProducerBatch, ProducerCheck};
use storage::types::{LeaderEpoch, LogId, Offset, Timestamp};
use storage::{Append, LogConfig, ReadError};
use wire::kafka::record_batch::BatchHeader;

use crate::support::*;

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 20_000, index_interval_bytes: 1000, ..LogConfig::default() }
}

fn segment_files(dir: &std::path::Path, id: u64, extension: &str) -> Vec<String> {
    let folder = dir.join("topics").join(format!("topic-{id}-{id:016x}"));
    let Ok(names) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(extension));
    names.sort();
    names
}

#[test]
fn a_log_rolls_by_size_and_reads_across_segments_before_and_after_a_restart() {
    let dir = folder();
    let (first, second) = (options(dir.path()), options(dir.path()));
    let specs = [spec_with(1, small_segments())];
    let again = specs.clone();
    run(move || async move {
        let (store, _) = open(first, &specs).await;
        let log = store.create_log(specs[0].clone()).unwrap();
        for number in 0..100 {
            append(&store, &log, &batch(&value(number, 1500))).await;
        }
        assert!(log.segment_count() >= 7, "{}", log.segment_count());
        store.checkpoint().await.unwrap();
        assert_eq!(read_all(&log, 3000).await.len(), 100);
    });
    let logs = segment_files(dir.path(), 1, ".log");
    assert!(logs.len() >= 7 && logs[0] == "00000000000000000000.log", "{logs:?}");
    assert!(segment_files(dir.path(), 1, ".index").len() + 1 >= logs.len());
    // Indexes of finished segments can be made again.
    let folder = dir.path().join("topics").join(format!("topic-1-{:016x}", 1));
    std::fs::write(folder.join("00000000000000000000.index"), b"junk").unwrap();
    run(move || async move {
        let (store, _) = open(second, &again).await;
        let log = store.create_log(again[0].clone()).unwrap();
        let all = read_all(&log, 3000).await;
        for (number, (_, bytes)) in all.iter().enumerate() {
            assert!(contains(bytes, &value(number as u64, 1500)));
        }
        assert_eq!(all.len(), 100);
        store.close().await.unwrap();
    });
}

#[test]
fn retention_by_time_and_size_drops_whole_segments_and_their_files() {
    let dir = folder();
    let path = dir.path().to_path_buf();
    let (first, second) = (options(dir.path()), options(dir.path()));
    let config = LogConfig { retention_ms: Some(1000), ..small_segments() };
    let specs = [spec_with(1, config.clone())];
    let again = specs.clone();
    let start = run(move || async move {
        let (store, _) = open(first, &specs).await;
        let log = store.create_log(specs[0].clone()).unwrap();
        for number in 0..60 {
            append(&store, &log, &batch_at(&value(number, 1500), 10_000 + number as i64 * 100)).await;
        }
        store.checkpoint().await.unwrap();
        let before = segment_files(&path, 1, ".log").len();
        let dropped = log.apply_retention(Timestamp(13_000)).await.unwrap();
        assert!(dropped >= 1);
        assert!(matches!(
            log.read(Offset(0), 100, Offset::MAX).await,
            Err(ReadError::OffsetOutOfRange { .. })
        ));
        store.checkpoint().await.unwrap();
        assert_eq!(segment_files(&path, 1, ".log").len(), before - dropped);
        log.set_config(LogConfig { retention_ms: None, retention_bytes: Some(30_000), ..config });
        assert!(log.apply_retention(Timestamp(0)).await.unwrap() >= 1);
        assert!((30_000..50_000).contains(&log.size_bytes()), "{}", log.size_bytes());
        log.start_offset()
    });
    run(move || async move {
        let (store, _) = open(second, &again).await;
        let log = store.create_log(again[0].clone()).unwrap();
        assert_eq!((log.start_offset(), log.end_offset()), (start, Offset(60)));
        assert_eq!(read_all(&log, 3000).await.len() as i64, 60 - start.0);
        // Everything is old: an empty segment is left, and appends go on.
        log.apply_retention(Timestamp(i64::MAX)).await.unwrap();
        assert_eq!((log.start_offset(), log.size_bytes()), (Offset(60), 0));
        append(&store, &log, &batch(b"after")).await;
        store.close().await.unwrap();
    });
}

#[test]
fn segments_without_timestamps_age_by_their_files() {
    let dir = folder();
    let (first, second) = (options(dir.path()), options(dir.path()));
    let config = LogConfig { retention_ms: Some(3_600_000), ..small_segments() };
    let specs = [spec_with(1, config)];
    let again = specs.clone();
    let now = Timestamp(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64);
    let later = Timestamp(now.0 + 2 * 3_600_000);
    run(move || async move {
        let (store, _) = open(first, &specs).await;
        let log = store.create_log(specs[0].clone()).unwrap();
        for number in 0..40 {
            append(&store, &log, &batch_at(&value(number, 1500), -1)).await;
        }
        assert_eq!(log.apply_retention(now).await.unwrap(), 0, "they are new");
        store.close().await.unwrap();
    });
    // The first segments are as old as their files say.
    let folder = dir.path().join("topics").join(format!("topic-1-{:016x}", 1));
    let names = segment_files(dir.path(), 1, ".log");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
    for name in &names[..2] {
        std::fs::File::open(folder.join(name)).unwrap().set_modified(old).unwrap();
    }
    run(move || async move {
        let (store, _) = open(second, &again).await;
        let log = store.create_log(again[0].clone()).unwrap();
        assert_eq!(log.apply_retention(now).await.unwrap(), 2);
        assert!(log.apply_retention(later).await.unwrap() > 0, "in time all of them go");
        assert_eq!((log.start_offset(), log.size_bytes()), (Offset(40), 0));
        store.close().await.unwrap();
    });
}

#[test]
fn deleted_records_stay_deleted_after_a_kill() {
    let dir = folder();
    let (first, second) = (options(dir.path()), options(dir.path()));
    run(move || async move {
        let (store, _) = open(first, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        for number in 0..10 {
            append(&store, &log, &batch(&value(number, 100))).await;
        }
        assert_eq!(log.delete_records(Offset(4)).await.unwrap(), Offset(4));
        assert_eq!(log.delete_records(Offset(2)).await.unwrap(), Offset(4));
        assert!(log.delete_records(Offset(11)).await.is_err());
    });
    run(move || async move {
        let (store, _) = open(second, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        assert_eq!((log.start_offset(), log.end_offset()), (Offset(4), Offset(10)));
    });
}

#[test]
fn a_topic_deleted_and_made_again_begins_empty() {
    let dir = folder();
    let path = dir.path().to_path_buf();
    let (first, second) = (options(dir.path()), options(dir.path()));
    let mut new = spec(2);
    new.name = spec(1).name;
    let new_again = new.clone();
    run(move || async move {
        let (store, _) = open(first, &[spec(1), new.clone()]).await;
        let old = store.create_log(spec(1)).unwrap();
        for number in 0..50 {
            append(&store, &old, &batch(&value(number, 3000))).await;
        }
        store.checkpoint().await.unwrap();
        assert_eq!(segment_files(&path, 1, ".log").len(), 1);
        store.delete_log(LogId(1)).await.unwrap();
        assert!(segment_files(&path, 1, ".log").is_empty());
        assert!(matches!(old.read(Offset(0), 1, Offset::MAX).await, Err(ReadError::Gone)));
        assert!(stage(&old, &batch(b"x")).is_err());
        let log = store.create_log(new).unwrap();
        assert_eq!(log.end_offset(), Offset(0));
        append(&store, &log, &batch(b"new")).await;
    });
    run(move || async move {
        let (store, _) = open(second, std::slice::from_ref(&new_again)).await;
        let log = store.create_log(new_again).unwrap();
        assert_eq!(read_all(&log, 100).await.len(), 1);
        assert!(store.log(LogId(1)).is_none());
    });
}

#[test]
fn the_longest_names_have_a_folder_too() {
    let dir = folder();
    let options = options(dir.path());
    run(move || async move {
        let mut long = spec(1);
        long.name = format!("{}-99999", "n".repeat(249));
        let (store, _) = open(options, std::slice::from_ref(&long)).await;
        let log = store.create_log(long).unwrap();
        append(&store, &log, &batch(&value(1, 9000))).await;
        store.checkpoint().await.unwrap();
        assert!(store.stats().writeback_bytes > 9000);
        store.delete_log(LogId(1)).await.unwrap();
    });
    assert_eq!(std::fs::read_dir(dir.path().join("topics")).unwrap().count(), 0);
}

#[test]
fn a_retry_is_recognised_after_a_kill_and_after_a_close() {
    let dir = folder();
    let check = |log: &storage::Log, sequence: i32| {
        let header = BatchHeader::parse(&producer_batch(77, sequence)).unwrap();
        log.check_producer(&ProducerBatch::of(&header).unwrap().unwrap())
    };
    for (round, close) in [(0, false), (1, true), (2, false)] {
        let options = options(dir.path());
        run(move || async move {
            let (store, _) = open(options, &[spec(1)]).await;
            let log = store.create_log(spec(1)).unwrap();
            if round > 0 {
                assert!(matches!(check(&log, round * 10 - 1), ProducerCheck::Duplicate(_)));
                assert!(matches!(check(&log, round * 10 + 1), ProducerCheck::OutOfOrderSequence { .. }));
            }
            for sequence in round * 10..round * 10 + 10 {
                assert_eq!(check(&log, sequence), ProducerCheck::Ok);
                append(&store, &log, &producer_batch(77, sequence)).await;
                if sequence % 10 == 4 {
                    store.checkpoint().await.unwrap();
                }
            }
            if close {
                store.close().await.unwrap();
            }
        });
    }
}

#[test]
fn records_are_found_by_time_in_memory_and_in_files() {
    let dir = folder();
    let options = options(dir.path());
    let specs = [spec_with(1, small_segments())];
    run(move || async move {
        let (store, _) = open(options, &specs).await;
        let log = store.create_log(specs[0].clone()).unwrap();
        for number in 0..60 {
            append(&store, &log, &batch_at(&value(number, 1500), 1000 + number as i64 * 10)).await;
        }
        for _ in 0..2 {
            for (wanted, offset) in [(0, 0), (1000, 0), (1001, 1), (1305, 31), (1590, 59)] {
                let found = log.offset_for_timestamp(Timestamp(wanted), Offset::MAX).await.unwrap();
                assert_eq!(found.map(|found| found.offset), Some(Offset(offset)), "time {wanted}");
            }
            assert_eq!(log.offset_for_timestamp(Timestamp(1591), Offset::MAX).await.unwrap(), None);
            assert_eq!(log.offset_for_timestamp(Timestamp(1590), Offset(59)).await.unwrap(), None);
            let newest = log.max_timestamp().await.unwrap().unwrap();
            assert_eq!((newest.offset, newest.epoch), (Offset(59), LeaderEpoch(1)));
            store.checkpoint().await.unwrap();
        }
    });
}

#[test]
fn epochs_survive_a_kill_and_end_where_the_next_begins() {
    let dir = folder();
    let (first, second) = (options(dir.path()), options(dir.path()));
    run(move || async move {
        let (store, _) = open(first, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        for epoch in [3, 3, 5, 9] {
            log.assign_epoch(LeaderEpoch(epoch));
            let bytes = batch(b"x");
            let header = BatchHeader::parse(&bytes).unwrap();
            let append = Append { bytes: &bytes, header: &header, epoch: LeaderEpoch(epoch) };
            let staged = log.stage(append).unwrap();
            log.durable(staged.ticket).await.unwrap();
        }
    });
    run(move || async move {
        let (store, _) = open(second, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        let end = |epoch| log.epoch_end(LeaderEpoch(epoch)).end;
        assert_eq!((end(3), end(5), end(9)), (Offset(2), Offset(3), Offset(4)));
        assert_eq!(log.latest_epoch(), Some(LeaderEpoch(9)));
    });
}

#[test]
fn a_truncated_log_goes_on_from_there_also_after_a_kill() {
    let dir = folder();
    let (first, second) = (options(dir.path()), options(dir.path()));
    let specs = [spec_with(1, small_segments())];
    let again = specs.clone();
    run(move || async move {
        let (store, _) = open(first, &specs).await;
        let log = store.create_log(specs[0].clone()).unwrap();
        for number in 0..50 {
            append(&store, &log, &batch(&value(number, 1500))).await;
            if number == 25 {
                store.checkpoint().await.unwrap();
            }
        }
        assert_eq!(log.truncate(Offset(20)).await.unwrap(), Offset(20));
        assert_eq!((log.end_offset(), log.flushed_offset()), (Offset(20), Offset(20)));
        for number in 100..130 {
            append(&store, &log, &batch(&value(number, 1400))).await;
        }
        assert_eq!(read_all(&log, 2000).await.len(), 50);
    });
    run(move || async move {
        let (store, _) = open(second, &again).await;
        let log = store.create_log(again[0].clone()).unwrap();
        let all = read_all(&log, 2000).await;
        assert_eq!(all.len(), 50);
        assert!(contains(&all[19].1, &value(19, 1500)) && contains(&all[20].1, &value(100, 1400)));
        store.close().await.unwrap();
    });
}
