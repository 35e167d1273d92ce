//! What was acknowledged is there after a close, a kill, a torn end; damage is refused.

use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::support::*;
use bytes::Bytes;
use storage::types::{LeaderEpoch, Offset};
use storage::{DataDir, OnDamage, StorageError, StoreOptions};

/// Appends `count` values to log 1 and ends without closing.
fn write_and_die(options: StoreOptions, first: u64, count: u64) {
    run(move || async move {
        let (store, _) = open(options, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        for number in first..first + count {
            let staged = append(&store, &log, &batch(&value(number, 300))).await;
            assert_eq!(staged.base_offset.0, number as i64);
        }
    });
}

fn check(options: StoreOptions, count: u64) {
    run(move || async move {
        let (store, report) = open(options, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        assert_eq!(log.end_offset(), Offset(count as i64), "{report:?}");
        let all = read_all(&log, 5000).await;
        assert_eq!(all.len() as u64, count);
        for (number, (offset, bytes)) in all.iter().enumerate() {
            assert_eq!(*offset, number as i64);
            assert!(contains(bytes, &value(number as u64, 300)));
        }
        assert_eq!(log.epoch_end(LeaderEpoch(1)).end, log.end_offset());
    });
}

/// Ring files of shard 0 with their length.
fn ring_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let names = std::fs::read_dir(dir.join("shard-0")).unwrap();
    let mut files: Vec<_> = names
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("ring-"))
        .collect();
    files.sort();
    files
}

/// Positions of commits in a ring file, by their magic.
fn commits(file: &Path) -> Vec<u64> {
    let bytes = std::fs::read(file).unwrap();
    bytes
        .chunks_exact(4096)
        .enumerate()
        .filter(|(_, block)| block.starts_with(b"CLcommit"))
        .map(|(index, _)| index as u64 * 4096)
        .collect()
}

#[test]
fn a_new_store_is_empty_and_makes_no_folder_for_a_log() {
    let dir = folder();
    let options = options(dir.path());
    run(move || async move {
        let (store, report) = open(options, &[]).await;
        assert_eq!((report.commits, report.logs, report.incarnation), (0, 0, 1));
        let log = store.create_log(spec(7)).unwrap();
        assert_eq!(log.end_offset(), Offset(0));
        assert!(log.read(Offset(0), 1000, Offset::MAX).await.unwrap().is_empty());
        assert!(log.read(Offset(1), 1000, Offset::MAX).await.is_err());
        store.close().await.unwrap();
    });
    assert_eq!(std::fs::read_dir(dir.path().join("topics")).unwrap().count(), 0);
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let dir = folder();
    write_and_die(options(dir.path()), 0, 40);
    check(options(dir.path()), 40);
    write_and_die(options(dir.path()), 40, 10);
    check(options(dir.path()), 50);
}

#[test]
fn a_close_writes_no_more_quiet_logs_than_a_stop_has_time_for_and_the_next_start_finds_the_others() {
    let dir = folder();
    let large = || StoreOptions {
        commit_log_bytes: 32 << 20,
        ring_first_file_bytes: 16 << 20,
        ring_file_bytes: 16 << 20,
        dirty_bytes: 16 << 20,
        ..options(dir.path())
    };
    let (first, second) = (large(), large());
    let logs = storage::limits::QUIET_WRITTEN_MAX as u64 + 300;
    let specs = move || (1..=logs).map(spec).collect::<Vec<_>>();
    run(move || async move {
        let (store, _) = open(first, &specs()).await;
        for id in 1..=logs {
            let log = store.create_log(spec(id)).unwrap();
            stage_admitted(&store, &log, &batch(&value(id, 100))).await;
        }
        store.close().await.unwrap();
    });
    let written = std::fs::read_dir(dir.path().join("topics")).unwrap().count();
    assert_eq!(written, storage::limits::QUIET_WRITTEN_MAX);
    run(move || async move {
        let (store, report) = open(second, &specs()).await;
        assert!(report.commits > 0, "{report:?}");
        for id in 1..=logs {
            let log = store.create_log(spec(id)).unwrap();
            let all = read_all(&log, 5000).await;
            assert_eq!(all.len(), 1, "log {id}");
            assert!(contains(&all[0].1, &value(id, 100)));
        }
    });
}

#[test]
fn what_was_acknowledged_is_there_after_a_clean_close_and_nothing_is_replayed() {
    let dir = folder();
    let (first, second) = (options(dir.path()), options(dir.path()));
    run(move || async move {
        let (store, _) = open(first, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        for number in 0..33 {
            append(&store, &log, &batch(&value(number, 300))).await;
        }
        store.close().await.unwrap();
        assert!(log.is_gone());
    });
    run(move || async move {
        let (store, report) = open(second, &[spec(1)]).await;
        assert_eq!((report.commits, report.logs), (0, 1));
        let log = store.create_log(spec(1)).unwrap();
        // Behind an end that is not at a block's boundary.
        for number in 33..50 {
            append(&store, &log, &batch(&value(number, 300))).await;
        }
        store.checkpoint().await.unwrap();
        for number in 50..60 {
            append(&store, &log, &batch(&value(number, 300))).await;
        }
    });
    check(options(dir.path()), 60);
}

#[test]
fn a_torn_end_is_cut_and_never_comes_back() {
    let dir = folder();
    write_and_die(options(dir.path()), 0, 20);
    let ring = ring_files(dir.path());
    let last = *commits(&ring[0]).last().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&ring[0]).unwrap();
    // The newest commit is torn: its entries are not what its checksum says. Nobody can have called it durable.
    file.write_all_at(b"torn", last + 200).unwrap();
    check(options(dir.path()), 19);
    write_and_die(options(dir.path()), 19, 5);
    check(options(dir.path()), 24);
}

#[test]
fn a_commit_that_was_acknowledged_and_is_damaged_is_refused_by_name() {
    let dir = folder();
    write_and_die(options(dir.path()), 0, 20);
    let ring = ring_files(dir.path());
    let middle = commits(&ring[0])[9];
    let file = std::fs::OpenOptions::new().write(true).open(&ring[0]).unwrap();
    file.write_all_at(b"rot", middle + 300).unwrap();
    let refused = options(dir.path());
    let error = run(move || async move { try_open(refused, &[spec(1)]).await.err().unwrap() });
    let text = error.to_string();
    assert!(matches!(error, StorageError::Corrupt { .. }) && text.contains("commits 10 to 19"), "{text}");
    check(StoreOptions { on_damage: OnDamage::Discard, ..options(dir.path()) }, 9);
    check(options(dir.path()), 9);
    write_and_die(options(dir.path()), 9, 3);
    check(options(dir.path()), 12);
}

#[test]
fn a_lost_checkpoint_is_noticed() {
    let dir = folder();
    write_and_die(options(dir.path()), 0, 20);
    for slot in ["checkpoint-0", "checkpoint-1"] {
        let _ = std::fs::remove_file(dir.path().join("shard-0").join(slot));
    }
    let refused = options(dir.path());
    let error = run(move || async move { try_open(refused, &[spec(1)]).await.err().unwrap() });
    assert!(error.to_string().contains("checkpoint"), "{error}");
}

#[test]
fn a_checkpoint_that_was_cut_short_is_as_if_never_written() {
    let dir = folder();
    let first = options(dir.path());
    run(move || async move {
        let (store, _) = open(first, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        for number in 0..20 {
            append(&store, &log, &batch(&value(number, 300))).await;
        }
        store.checkpoint().await.unwrap();
        for number in 20..25 {
            append(&store, &log, &batch(&value(number, 300))).await;
        }
        store.checkpoint().await.unwrap();
    });
    let slot = |number: u32| dir.path().join("shard-0").join(format!("checkpoint-{number}"));
    let newest = if std::fs::metadata(slot(0)).map_or(0, |slot| slot.len())
        > std::fs::metadata(slot(1)).map_or(0, |slot| slot.len())
    {
        slot(0)
    } else {
        slot(1)
    };
    let file = std::fs::OpenOptions::new().write(true).open(&newest).unwrap();
    file.set_len(std::fs::metadata(&newest).unwrap().len() - 7).unwrap();
    check(options(dir.path()), 25);
    std::fs::write(slot(0).with_extension("unrelated"), b"x").unwrap();
    write_and_die(options(dir.path()), 25, 5);
    check(options(dir.path()), 30);
}

/// Files of the fixture, relative to it.
fn fixture_files(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fixture_files(&path, out) } else { out.push(path) }
    }
}

fn fixture_options(dir: &Path) -> StoreOptions {
    StoreOptions { commit_log_bytes: 256 << 10, ..options(dir) }
}

/// How `fixtures/v1` was made; run it by hand into an empty folder when there is a version 2, never over version 1.
#[test]
#[ignore = "writes the fixture"]
fn write_the_fixture_of_format_version_1() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1");
    assert!(!dir.exists());
    let options = fixture_options(&dir);
    run(move || async move {
        let data = DataDir::open(&dir).await.unwrap();
        data.set_shards(1).await.unwrap();
        let (store, _) = open(options, &[spec(1), spec(2)]).await;
        let (log, other) = (store.create_log(spec(1)).unwrap(), store.create_log(spec(2)).unwrap());
        for number in 0..8 {
            append(&store, &log, &batch(&value(number, 300))).await;
            append(&store, &other, &producer_batch(9, number as i32)).await;
            if number == 4 {
                store.checkpoint().await.unwrap();
            }
        }
        log.delete_records(Offset(2)).await.unwrap();
    });
}

#[test]
fn a_data_folder_of_format_version_1_opens() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1");
    let dir = folder();
    let mut files = Vec::new();
    fixture_files(&fixture, &mut files);
    for file in files {
        let copy = dir.path().join(file.strip_prefix(&fixture).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&file, copy).unwrap();
    }
    let options = fixture_options(dir.path());
    let path = dir.path().to_path_buf();
    run(move || async move {
        let data = DataDir::open(path).await.unwrap();
        assert_eq!(data.shards().await.unwrap(), Some(1));
        let (store, report) = open(options, &[spec(1), spec(2)]).await;
        assert!(report.commits > 0);
        let (log, other) = (store.create_log(spec(1)).unwrap(), store.create_log(spec(2)).unwrap());
        assert_eq!((log.start_offset(), log.end_offset()), (Offset(2), Offset(8)));
        assert_eq!((other.end_offset(), other.producer_count()), (Offset(8), 1));
        for (offset, bytes) in read_all(&log, 1000).await {
            assert!(contains(&bytes, &value(offset as u64, 300)));
        }
        store.close().await.unwrap();
    });
}

#[test]
fn an_older_checkpoint_than_the_ring_names_is_noticed() {
    let dir = folder();
    write_and_die(options(dir.path()), 0, 5);
    let shard = dir.path().join("shard-0");
    let old: Vec<Bytes> = ["checkpoint-0", "checkpoint-1"]
        .iter()
        .map(|slot| std::fs::read(shard.join(slot)).unwrap_or_default().into())
        .collect();
    write_and_die(options(dir.path()), 5, 5);
    for (slot, content) in ["checkpoint-0", "checkpoint-1"].iter().zip(old) {
        std::fs::write(shard.join(slot), content).unwrap();
    }
    let refused = options(dir.path());
    let error = run(move || async move { try_open(refused, &[spec(1)]).await.err().unwrap() });
    assert!(error.to_string().contains("checkpoint 2 is named"), "{error}");
}

#[test]
fn a_log_that_nobody_issued_is_refused_and_a_deleted_one_dropped() {
    let dir = folder();
    write_and_die(options(dir.path()), 0, 5);
    let refused = options(dir.path());
    run(move || async move {
        let mut unknown = catalog(&[]);
        unknown.issued_max = storage::types::LogId(0);
        let error = storage::Store::open(refused.clone(), &unknown).await.err().unwrap();
        assert!(matches!(error, StorageError::UnknownLog { .. }), "{error}");
        let (store, report) = open(refused, &[]).await;
        assert_eq!((report.logs, report.deleted), (0, 1));
        assert!(store.log(storage::types::LogId(1)).is_none());
    });
}

#[test]
fn a_data_folder_is_locked_while_it_is_open() {
    let dir = folder();
    let path = dir.path().to_path_buf();
    run(move || async move {
        let data = DataDir::open(&path).await.unwrap();
        assert!(matches!(DataDir::open(&path).await, Err(StorageError::Locked { .. })));
        drop(data);
    });
}
