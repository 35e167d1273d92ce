//! Bytes on their way: commits, ring reuse, carried blocks, segments; read identically wherever they are.

use std::time::Duration;

use storage::StoreOptions;
use storage::types::{Offset, Timestamp};

use crate::support::*;

/// Appends `rounds` batches to each of `logs` logs and checks all of them before and after a restart.
fn write_and_check(options: StoreOptions, logs: u64, rounds: u64, length: usize) {
    let specs: Vec<_> = (1..=logs).map(spec).collect();
    let (again, specs_again) = (options.clone(), specs.clone());
    run(move || async move {
        let (store, _) = open(options, &specs).await;
        for round in 0..rounds {
            let mut staged = Vec::new();
            for spec in &specs {
                let log = store.create_log(spec.clone()).unwrap();
                let bytes = batch(&value(round * 1000 + spec.id.0, length));
                let ticket = stage_admitted(&store, &log, &bytes).await;
                staged.push((log, ticket.ticket));
            }
            for (log, ticket) in staged {
                log.durable(ticket).await.unwrap();
            }
        }
        check(&store, &specs, rounds, length).await;
        let stats = store.stats();
        assert!(stats.checkpoints > 0 && stats.writeback_bytes > 0, "{stats:?}");
    });
    run(move || async move {
        let (store, report) = open(again, &specs_again).await;
        assert!(report.bytes <= 1 << 20, "{report:?}");
        check(&store, &specs_again, rounds, length).await;
        store.close().await.unwrap();
    });
}

async fn check(store: &storage::Store, specs: &[storage::LogSpec], rounds: u64, length: usize) {
    for spec in specs {
        let log = store.create_log(spec.clone()).unwrap();
        for piece in [1, 10_000, 1 << 20] {
            let all = read_all(&log, piece).await;
            assert_eq!(all.len() as u64, rounds);
            for (round, (offset, bytes)) in all.iter().enumerate() {
                assert_eq!(*offset, round as i64);
                assert!(contains(bytes, &value(round as u64 * 1000 + spec.id.0, length)));
            }
        }
    }
}

#[test]
fn the_ring_wraps_many_times_under_one_busy_log() {
    let dir = folder();
    write_and_check(options(dir.path()), 1, 600, 9_000);
}

#[test]
fn the_ring_wraps_under_many_slow_logs_whose_blocks_are_carried() {
    let dir = folder();
    let options = options(dir.path());
    write_and_check(options, 40, 60, 700);
}

#[test]
fn without_direct_io_the_same_holds() {
    let dir = folder();
    let options = StoreOptions { direct: storage::Direct::Off, ..options(dir.path()) };
    write_and_check(options, 3, 150, 5_000);
}

#[test]
fn a_quiet_logs_block_is_carried_once_then_written_and_survives() {
    let dir = folder();
    let (first, second) = (options(dir.path()), options(dir.path()));
    let specs = [spec(1), spec(2)];
    let again = specs.clone();
    run(move || async move {
        let (store, _) = open(first, &specs).await;
        let quiet = store.create_log(spec(1)).unwrap();
        let busy = store.create_log(spec(2)).unwrap();
        append(&store, &quiet, &batch(&value(7, 100))).await;
        for number in 0..800 {
            append(&store, &busy, &batch(&value(number, 8_000))).await;
        }
        assert!(store.stats().carried >= 1, "{:?}", store.stats());
        assert!(contains(&read_all(&quiet, 1000).await[0].1, &value(7, 100)));
        append(&store, &quiet, &batch(&value(8, 100))).await;
        assert_eq!(read_all(&quiet, 1000).await.len(), 2);
    });
    run(move || async move {
        let (store, _) = open(second, &again).await;
        let quiet = store.create_log(spec(1)).unwrap();
        let all = read_all(&quiet, 1000).await;
        assert!(contains(&all[0].1, &value(7, 100)) && contains(&all[1].1, &value(8, 100)));
    });
}

#[test]
fn an_append_longer_than_a_commit_is_cut_and_put_together_again() {
    let dir = folder();
    let (first, second) = (options(dir.path()), options(dir.path()));
    run(move || async move {
        let (store, _) = open(first, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        for (number, length) in [(0, 100), (1, 300_000), (2, 70_000), (3, 100)] {
            append(&store, &log, &batch(&value(number, length))).await;
        }
        let all = read_all(&log, 1000).await;
        assert!(contains(&all[1].1, &value(1, 300_000)) && contains(&all[3].1, &value(3, 100)));
    });
    run(move || async move {
        let (store, _) = open(second, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        assert_eq!(log.end_offset(), Offset(4));
        let all = read_all(&log, 1000).await;
        assert!(contains(&all[1].1, &value(1, 300_000)) && contains(&all[2].1, &value(2, 70_000)));
        let newest = log.max_timestamp().await.unwrap().unwrap();
        assert_eq!(newest.timestamp, Timestamp(1_700_000_000_000));
        store.close().await.unwrap();
    });
}

#[test]
fn the_largest_append_gets_in_whatever_the_ring_holds() {
    let dir = folder();
    let file = 64 << 10;
    let options = StoreOptions {
        ring_first_file_bytes: file,
        ring_file_bytes: file,
        commit_log_bytes: 18 * file,
        direct: storage::Direct::Off,
        ..options(dir.path())
    };
    run(move || async move {
        let (store, _) = open(options, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        let around = batch(b"").len() + 10;
        let largest = batch(&vec![7; store.append_bytes_max() - around]);
        // A block more of the ring each time: from nothing in use to what starts a checkpoint, and back.
        for used in 0..100 {
            for _ in 0..used {
                append(&store, &log, &batch(&[8; 100])).await;
            }
            let admitted = reactor::timeout(Duration::from_secs(20), append(&store, &log, &largest)).await;
            assert!(admitted.is_ok(), "behind {used} small ones: {:?}", store.stats());
        }
    });
}

#[test]
fn the_smallest_ring_goes_round_too() {
    let dir = folder();
    let options = StoreOptions { commit_log_bytes: 1, ..options(dir.path()) };
    write_and_check(options, 2, 200, 3_000);
}

#[test]
fn ten_thousand_idle_logs_open_and_come_back() {
    let dir = folder();
    let small = StoreOptions {
        commit_log_bytes: 64 << 20,
        ring_first_file_bytes: 8 << 20,
        ring_file_bytes: 8 << 20,
        dirty_bytes: 32 << 20,
        ..options(dir.path())
    };
    let again = small.clone();
    let specs: Vec<_> = (1..=10_000).map(spec).collect();
    let specs_again = specs.clone();
    run(move || async move {
        let (store, _) = open(small, &specs).await;
        let mut last = None;
        for spec in &specs {
            let log = store.create_log(spec.clone()).unwrap();
            last = Some((stage_admitted(&store, &log, &batch(b"one")).await.ticket, log));
        }
        let (ticket, log) = last.unwrap();
        log.durable(ticket).await.unwrap();
    });
    run(move || async move {
        let (store, report) = open(again, &specs_again).await;
        assert_eq!(report.logs, 10_000);
        for id in [1, 5_000, 10_000] {
            let log = store.create_log(spec(id)).unwrap();
            assert_eq!(read_all(&log, 100).await.len(), 1);
        }
    });
}

/// Bytes that writeback wrote for batches of a length, and how many of them it copied.
fn copied_by_writeback(length: usize) -> (u64, u64) {
    let dir = folder();
    let options = StoreOptions {
        commit_log_bytes: 32 << 20,
        dirty_bytes: 16 << 20,
        tail_bytes: 16 << 20,
        ..options(dir.path())
    };
    run(move || async move {
        let (store, _) = open(options, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        for number in 0..(2 << 20) / length as u64 {
            append(&store, &log, &batch(&value(number, length))).await;
        }
        store.close().await.unwrap();
        let stats = store.stats();
        (stats.writeback_bytes, stats.writeback_copied_bytes)
    })
}

#[test]
fn writeback_copies_small_batches_and_of_large_ones_only_the_ends() {
    let (written, copied) = copied_by_writeback(100_000);
    assert!(written >= 2_000_000 && copied < written / 50, "{copied} of {written}");
    let (written, copied) = copied_by_writeback(5_000);
    assert!(written >= 2_000_000 && copied == written, "{copied} of {written}");
}

/// Where the bytes of a read lie in memory, if they do.
async fn places(log: &storage::Log) -> Vec<*const u8> {
    let read = log.read(Offset(0), 5_000, Offset::MAX).await.unwrap();
    let place = |part: &storage::ReadPart| match part {
        storage::ReadPart::Memory(bytes) => Some(bytes.as_ptr()),
        storage::ReadPart::File { .. } => None,
    };
    read.parts.iter().filter_map(place).collect()
}

#[test]
fn readers_share_the_commit_buffer_and_files_are_not_read_for_them() {
    let dir = folder();
    let options = options(dir.path());
    run(move || async move {
        let (store, _) = open(options, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        let bytes = batch(&value(1, 5_000));
        append(&store, &log, &bytes).await;
        let first = places(&log).await;
        assert_eq!(first.len(), 1);
        assert_ne!(first[0], bytes.as_ptr(), "staging is the one copy");
        assert_eq!(places(&log).await, first, "no reader has a copy of its own");
        // Behind the tail the first read is checked in the buffer that it is sent from; later ones name a range of the file,
        // of which what is sent is not copied through this process.
        for _ in 0..200 {
            append(&store, &log, &batch(&value(1, 5_000))).await;
        }
        assert_eq!(places(&log).await.len(), 1);
        assert!(places(&log).await.is_empty());
        store.close().await.unwrap();
    });
}

#[test]
fn slow_readers_hold_no_more_than_the_buffers_for_reading() {
    let dir = folder();
    let options = options(dir.path());
    run(move || async move {
        let (store, _) = open(options, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        let batches = 3 * u64::from(reactor::limits::READ_BUFFERS);
        for number in 0..batches {
            append(&store, &log, &batch(&value(number, 100_000))).await;
        }
        let mut held = Vec::new();
        let mut in_memory = 0;
        for number in 0..batches - 30 {
            let read = log.read(Offset(number as i64), 1, Offset::MAX).await.unwrap();
            if read.parts.iter().any(|part| matches!(part, storage::ReadPart::Memory(_))) {
                in_memory += 1;
            }
            held.push(read);
        }
        // A batch of 100 kB lies in one buffer or two.
        let buffers = u64::from(reactor::limits::READ_BUFFERS);
        assert!(in_memory >= buffers / 2 && in_memory <= buffers, "{in_memory}");
        for (number, read) in held.into_iter().enumerate() {
            let bytes = read.into_bytes().await.unwrap();
            assert!(contains(&bytes, &value(number as u64, 100_000)), "{number}");
        }
        store.close().await.unwrap();
    });
}

#[test]
fn old_batches_of_any_size_are_read_whole_in_pieces_of_any_size() {
    let sizes = [10, 3_000, 4_000, 70_000, 262_144, 400_000, 900_000];
    for piece in [1, 5_000, 300_000, 3 << 20] {
        let dir = folder();
        let options = StoreOptions { commit_log_bytes: 8 << 20, dirty_bytes: 4 << 20, ..options(dir.path()) };
        let again = options.clone();
        let total = 60;
        run(move || async move {
            let (store, _) = open(options, &[spec(1)]).await;
            let log = store.create_log(spec(1)).unwrap();
            for number in 0..total {
                let size = sizes[number as usize * 5 % sizes.len()];
                append(&store, &log, &batch(&value(number, size))).await;
            }
            store.close().await.unwrap();
        });
        run(move || async move {
            let (store, _) = open(again, &[spec(1)]).await;
            let log = store.create_log(spec(1)).unwrap();
            // The first reads and those that find them checked.
            for round in 0..2 {
                let all = read_all(&log, piece).await;
                assert_eq!(all.len() as u64, total, "pieces of {piece}, round {round}");
                for (number, (offset, bytes)) in all.iter().enumerate() {
                    let size = sizes[number * 5 % sizes.len()];
                    assert!(
                        *offset == number as i64 && contains(bytes, &value(number as u64, size)),
                        "{number}"
                    );
                }
            }
        });
    }
}

#[test]
fn of_very_many_quiet_logs_a_checkpoint_writes_some_and_carries_the_others_again() {
    const QUIET: u64 = 3 * storage::limits::QUIET_WRITTEN_MAX as u64;
    let dir = folder();
    let path = dir.path().to_path_buf();
    let large = StoreOptions {
        commit_log_bytes: 128 << 20,
        ring_first_file_bytes: 8 << 20,
        ring_file_bytes: 8 << 20,
        dirty_bytes: 32 << 20,
        ..options(dir.path())
    };
    let again = large.clone();
    let specs: Vec<_> = (1..=QUIET + 1).map(spec).collect();
    let specs_again = specs.clone();
    run(move || async move {
        let (store, _) = open(large, &specs).await;
        for spec in &specs[1..] {
            let log = store.create_log(spec.clone()).unwrap();
            stage_admitted(&store, &log, &batch(&value(spec.id.0, 20))).await;
        }
        let busy = store.create_log(spec(1)).unwrap();
        let mut number = 0;
        // All are carried once, and by each checkpoint after that but for those that it writes.
        let carried = QUIET + QUIET - storage::limits::QUIET_WRITTEN_MAX as u64;
        while store.stats().carried < carried {
            append(&store, &busy, &batch(&value(number, 200_000))).await;
            number += 1;
            assert!(number < 5_000, "{:?}", store.stats());
        }
        let written = std::fs::read_dir(path.join("topics")).unwrap().count() as u64;
        assert!(written > 1 && written < QUIET, "{written} have a folder");
    });
    run(move || async move {
        let (store, _) = open(again, &specs_again).await;
        for spec in &specs_again[1..] {
            let log = store.create_log(spec.clone()).unwrap();
            let all = read_all(&log, 1000).await;
            assert!(all.len() == 1 && contains(&all[0].1, &value(spec.id.0, 20)), "{}", spec.id);
        }
    });
}
