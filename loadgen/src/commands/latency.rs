//! `loadgen latency`: from the intended time of a record until a consumer has it.
//!
//! At a rate the loop is open. With rate 0 each thread plays ping-pong: the next record is written when the one before
//! was read. Writer and reader of a partition live on one thread and one clock.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use reactor::sync::Notify;
use reactor::{Instant, Priority};
use wire::kafka::record::Records;

use super::Meter;
use super::produce::put_sent;
use crate::args::{LatencyArgs, WriteArgs};
use crate::arrivals::Arrivals;
use crate::client::{ClientError, Cluster, LATEST};
use crate::fetcher::{FetchSettings, Fetcher};
use crate::histogram::Histogram;
use crate::lanes::{Idempotence, Lanes, Stop};
use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::payload::{STAMP_BYTES, letters, read_stamp, stamp};
use crate::report::{Report, Work};
use crate::send_stats::SendStats;
use crate::sender::SendSettings;
use crate::threads::{self, Share};

#[derive(Clone)]
struct Plan {
    bootstrap: String,
    timeout: Duration,
    send: SendSettings,
    fetch: FetchSettings,
    idempotence: Idempotence,
    write: WriteArgs,
}

/// What the readers of a thread share with its writer.
struct Seen {
    latency: RefCell<(Histogram, Option<ClientError>)>,
    more: Notify,
    run: u64,
}

pub(super) fn run(args: &LatencyArgs) -> Result<Report, ClientError> {
    let timeout = args.target.timeout();
    if args.write.size < STAMP_BYTES {
        return Err(ClientError::Usage(format!("--size must be at least {STAMP_BYTES}")));
    }
    let mut plan = Plan {
        bootstrap: args.target.bootstrap.clone(),
        timeout,
        send: args.write.send_settings(timeout, args.target.retry_for()),
        fetch: args.read.fetch_settings(timeout, args.target.retry_for()),
        idempotence: if args.idempotent { Idempotence::On } else { Idempotence::Off },
        write: args.write.clone(),
    };
    if plan.write.rate == 0.0 {
        // A single record waits for no company.
        plan.send.batches.linger = Duration::ZERO;
    }
    let shares = threads::share_out(&args.target)?;
    let (threads, partitions) = (shares.len(), shares[0].topic.partitions.len());
    let meter = Meter::start(&args.target)?;
    let results = threads::run(shares, |share| work(share, plan))?;
    let (mut latency, mut stats) = (Histogram::new(), SendStats::new());
    let began = results.iter().map(|(began, ..)| *began).min().unwrap_or_else(reactor::now);
    for (_, thread_latency, thread_stats) in results {
        latency.add(&thread_latency);
        stats.add(thread_stats);
    }

    let mut report = Report::new("latency");
    report.put("topic", args.target.topic.as_str());
    report.put("partitions", partitions);
    report.put("threads", threads);
    report.put("rate_wanted_per_s", args.write.rate);
    put_sent(&mut report, &stats, began);
    report.put("records_read", latency.count());
    report.put_latency("end_to_end", &latency);
    report.put_latency("produce", &stats.latency);
    meter.stop(
        &mut report,
        Work { records: stats.records, bytes: stats.value_bytes, requests: stats.requests },
    )?;
    Ok(report)
}

async fn work(share: Share, plan: Plan) -> Result<(Instant, Histogram, SendStats), ClientError> {
    let cluster = Rc::new(Cluster::connect(&plan.bootstrap, plan.timeout).await?);
    let topic = cluster.topic(&share.topic.name).await?;
    let starts = cluster.offsets(&topic.name, &share.partitions, LATEST).await?;
    let seen = Rc::new(Seen {
        latency: RefCell::new((Histogram::new(), None)),
        more: Notify::new(),
        run: reactor::random_u64(),
    });
    for group in share.by_leader().into_values() {
        let positions = group.iter().map(|leader| (*leader, starts[&leader.partition], i64::MAX));
        let fetcher = Fetcher::new(cluster.clone(), topic.clone(), plan.fetch, positions);
        reactor::spawn(Priority::Latency, "read-stamps", read(fetcher, seen.clone())).detach();
    }
    let lanes = Lanes::open(&cluster, &topic, &share.partitions, plan.send, plan.idempotence).await?;
    let stop = Stop { records: share.part_of(plan.write.records), after: plan.write.duration() };
    let mut value = letters(plan.write.size, share.thread as u64);
    let began = reactor::now();
    if plan.write.rate > 0.0 {
        let arrivals = Arrivals::new(began, plan.write.rate / share.threads as f64);
        let write = |lanes: &Lanes, index: usize, intended: Instant| {
            stamp(&mut value, seen.run, intended);
            lanes.push(index, &value, intended);
        };
        lanes.pace(arrivals, stop, write).await;
    } else {
        ping_pong(&lanes, &seen, &mut value, stop, plan.timeout).await?;
    }
    let stats = lanes.finish().await?;
    wait_for(&seen, stats.records, plan.timeout).await?;
    let latency = seen.latency.borrow().0.clone();
    Ok((began, latency, stats))
}

/// One record at a time.
async fn ping_pong(
    lanes: &Lanes,
    seen: &Seen,
    value: &mut [u8],
    stop: Stop,
    timeout: Duration,
) -> Result<(), ClientError> {
    let began = reactor::now();
    for number in 0..stop.records {
        if stop.after.is_some_and(|after| began.elapsed() >= after) || !lanes.wait_for_room().await {
            break;
        }
        let intended = reactor::now();
        stamp(value, seen.run, intended);
        lanes.push(number as usize % lanes.partition_count(), value, intended);
        wait_for(seen, number + 1, timeout).await?;
    }
    Ok(())
}

/// Waits until `records` were read.
async fn wait_for(seen: &Seen, records: u64, timeout: Duration) -> Result<(), ClientError> {
    loop {
        let count = {
            let mut latency = seen.latency.borrow_mut();
            if let Some(error) = latency.1.take() {
                return Err(error);
            }
            latency.0.count()
        };
        if count >= records {
            return Ok(());
        }
        if reactor::timeout(timeout, seen.more.notified()).await.is_err() {
            let what = format!("{} of {records} acknowledged records were not read", records - count);
            return Err(ClientError::Corrupt(what));
        }
    }
}

/// Counts the latencies of this run's records; other records in the topic are passed over.
async fn read(mut fetcher: Fetcher, seen: Rc<Seen>) {
    loop {
        let fetched = fetcher.next().await;
        let now = reactor::now();
        let mut latency = seen.latency.borrow_mut();
        let counted = fetched.and_then(|fetched| {
            for batch in fetched.iter().flat_map(|fetched| &fetched.batches) {
                let corrupt =
                    |error| ClientError::Corrupt(format!("batch at {}: {error}", batch.header.base_offset));
                for record in Records::new(batch, DECOMPRESSED_BATCH_BYTES_MAX).map_err(corrupt)? {
                    let value = record.map_err(corrupt)?.value.unwrap_or_default();
                    if let Some(intended) = read_stamp(&value, seen.run) {
                        latency.0.record(now.since(intended), 1);
                    }
                }
            }
            Ok(())
        });
        let failed = counted.is_err();
        latency.1 = counted.err();
        seen.more.notify_all();
        if failed {
            return;
        }
    }
}
