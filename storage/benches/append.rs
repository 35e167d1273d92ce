//! Durable appends: how many a second, and what each costs in CPU, by size and number of partitions.
//!
//! `cargo bench -p storage`, or with `STORAGE_BENCH_DIR=<folder>` on another disk. Closed loop: a producer for each
//! partition, but at least 64, stages one batch, waits until it is durable, and begins again. Figures are of the whole
//! process, kernel workers included, with writeback and checkpoints running.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use storage::types::{LeaderEpoch, LogId};
use storage::{Append, Catalog, LogConfig, LogSpec, Store, StoreOptions};
use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
use wire::kafka::compression::Codec;
use wire::kafka::record_batch::BatchHeader;

const PRODUCERS_MIN: u64 = 64;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(4);

/// CPU time of this process, in microseconds, from the kernel's ticks of 10 ms.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks * 10_000
}

async fn measure(partitions: u64, length: usize) {
    let parent =
        std::env::var("STORAGE_BENCH_DIR").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
    let dir = tempfile::tempdir_in(parent).unwrap();
    let options = StoreOptions::new(dir.path(), 0);
    let (store, _) = Store::open(options, &Catalog::default()).await.unwrap();
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(&NewRecord { timestamp: 1, value: Some(&vec![7; length - 100]), ..NewRecord::default() });
    let batch = builder.build().unwrap();
    let header = BatchHeader::parse(&batch).unwrap();
    let (count, stop) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(false)));
    let mut tasks = Vec::new();
    for producer in 0..partitions.max(PRODUCERS_MIN) {
        let id = LogId(producer % partitions + 1);
        let config = LogConfig { segment_bytes: 256 << 20, ..LogConfig::default() };
        let log = store.create_log(LogSpec { id, name: format!("bench-{id}"), config }).unwrap();
        let (store, batch, count, stop) = (store.clone(), batch.clone(), count.clone(), stop.clone());
        tasks.push(reactor::spawn(reactor::Priority::Latency, "producer", async move {
            while !stop.get() {
                store.admit(batch.len()).await.unwrap();
                let staged =
                    log.stage(Append { bytes: &batch, header: &header, epoch: LeaderEpoch(0) }).unwrap();
                log.durable(staged.ticket).await.unwrap();
                count.set(count.get() + 1);
            }
        }));
    }
    reactor::sleep(WARM_UP).await;
    let (count_before, cpu_before, started, stats_before) =
        (count.get(), cpu_us(), reactor::now(), store.stats());
    reactor::sleep(MEASURED).await;
    let (appends, cpu, elapsed, stats) =
        (count.get() - count_before, cpu_us() - cpu_before, started.elapsed(), store.stats());
    stop.set(true);
    for task in tasks {
        task.await;
    }
    let commits = stats.commits.commits - stats_before.commits.commits;
    let commit_bytes = stats.commits.bytes - stats_before.commits.bytes;
    let latency = (stats.commits.latency_us_sum - stats_before.commits.latency_us_sum) / commits.max(1);
    println!(
        "{partitions:>4} partitions, {length:>6} B: {:>9.0} appends/s, {:>7.1} MB/s, {:>6.2} CPU us each, {:>5.1} appends a commit, \
         {latency} us a commit, {:.2} ring bytes a byte, {:.2} segment bytes a byte",
        appends as f64 / elapsed.as_secs_f64(),
        appends as f64 * length as f64 / elapsed.as_secs_f64() / 1e6,
        cpu as f64 / appends as f64,
        appends as f64 / commits as f64,
        commit_bytes as f64 / (appends as f64 * length as f64),
        (stats.writeback_bytes - stats_before.writeback_bytes) as f64 / (appends as f64 * length as f64),
    );
    store.close().await.unwrap();
}

fn main() {
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    for (partitions, length) in [(1, 1 << 10), (500, 1 << 10), (1, 100 << 10), (500, 100 << 10)] {
        reactor::Builder::new("bench").run(move || measure(partitions, length)).unwrap();
    }
}
