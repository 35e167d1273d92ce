//! `loadgen latency`: from the intended time of a record until a consumer has it.
//!
//! At a rate the loop is open. With rate 0 each thread plays ping-pong: the next record is written when the one before
//! was read. Writer and reader of a partition live on one thread and one clock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use reactor::sync::Notify;
use reactor::{Instant, Priority};
use wire::kafka::record::Records;

use super::produce::{put_arrivals, put_sent};
use crate::args::LatencyArgs;
use crate::arrivals::Pattern;
use crate::client::{Access, ClientError, Cluster, LATEST};
use crate::fetcher::{FetchSettings, Fetcher};
use crate::lanes::{Lanes, Promise, Stop};
use crate::limits::{DECOMPRESSED_BATCH_BYTES_MAX, INTERRUPTED_GRACE};
use crate::part::{Context, Meter};
use crate::payload::{STAMP_BYTES, read_stamp, stamp};
use crate::records::{RecordShape, RecordSource};
use crate::report::{Latency, Report, Work};
use crate::send_stats::SendStats;
use crate::sender::{Counting, Done, SendSettings};
use crate::tally::{Goal, Tally};
use crate::threads::{self, Share};

const END_TO_END: &str = "end_to_end";
const PRODUCE: &str = "produce";

#[derive(Clone)]
struct Plan {
    access: Access,
    timeout: Duration,
    send: SendSettings,
    fetch: FetchSettings,
    promise: Promise,
    shape: RecordShape,
    pattern: Option<Pattern>,
    goal: Goal,
    seed: u64,
}

/// What the readers of a thread share with its writer.
struct Seen {
    count: Cell<u64>,
    failed: RefCell<Option<ClientError>>,
    tally: Rc<Tally>,
    more: Notify,
    run: u64,
}

pub(super) fn run(args: &LatencyArgs, context: &Context) -> Result<Report, ClientError> {
    let timeout = args.target.timeout();
    let pattern = args.write.pattern()?;
    let mut plan = Plan {
        access: args.target.cluster.access()?,
        timeout,
        send: args.write.send_settings(timeout, args.target.retry_for()),
        fetch: args.read.fetch_settings(timeout, args.target.retry_for()),
        promise: if args.idempotent { Promise::Idempotent } else { Promise::None },
        shape: args.write.shape(STAMP_BYTES)?,
        goal: args.write.goal(pattern.as_ref()),
        pattern,
        seed: context.seed,
    };
    let from = if plan.pattern.is_some() { "intended time" } else { "sending" };
    if plan.pattern.is_none() {
        // A single record waits for no company.
        plan.send.batches.linger = Duration::ZERO;
    }
    let goal = plan.goal;
    let shares = threads::share_out(&args.target)?;
    let (threads, partitions) = (shares.len(), shares[0].topic.partitions.len());
    let meter = Meter::start(context)?;
    context.link.begin(goal);
    let (results, counted) =
        threads::run(shares, &args.target.cluster.pin, &context.link, |share, tally| {
            work(share, tally, plan)
        })?;
    let mut stats = SendStats::new();
    let began = results.iter().map(|(began, _)| *began).min().unwrap_or_else(reactor::now);
    for (_, thread_stats) in results {
        stats.add(thread_stats);
    }

    let mut report = Report::new();
    report.put("topic", args.target.topic.as_str());
    report.put("partitions", partitions);
    report.put("threads", threads);
    put_arrivals(&mut report, &args.write, &counted)?;
    put_sent(&mut report, &stats, began);
    let (end_to_end, produce) = (counted.latencies.get(END_TO_END), counted.latencies.get(PRODUCE));
    report.put("records_read", end_to_end.count());
    report.put_latency(Latency { name: END_TO_END, from, to: "reading", histogram: end_to_end });
    report.put_latency(Latency { name: PRODUCE, from, to: "acknowledgement", histogram: produce });
    let work = Work { records: stats.records, bytes: stats.value_bytes, requests: stats.requests };
    meter.stop(&mut report, work)?;
    Ok(report)
}

async fn work(share: Share, tally: Rc<Tally>, plan: Plan) -> Result<(Instant, SendStats), ClientError> {
    let cluster = Rc::new(Cluster::connect(&plan.access).await?);
    let topic = cluster.topic(&share.topic.name).await?;
    let starts = cluster.offsets(&topic.name, &share.partitions, LATEST).await?;
    let seen = Rc::new(Seen {
        count: Cell::new(0),
        failed: RefCell::default(),
        tally: tally.clone(),
        more: Notify::new(),
        run: reactor::random_u64(),
    });
    for group in share.by_leader().into_values() {
        let positions = group.iter().map(|leader| (*leader, starts[&leader.partition], i64::MAX));
        let fetcher = Fetcher::new(cluster.clone(), topic.clone(), plan.fetch, positions);
        reactor::spawn(Priority::Latency, "read-stamps", read(fetcher, seen.clone())).detach();
    }
    let counting = Counting { tally: tally.clone(), latency: PRODUCE, done: Done::Read };
    let lanes = Lanes::open(&cluster, &share, plan.send, plan.promise.clone(), counting).await?;
    let stop = Stop::of(plan.goal, &share);
    let mut source = RecordSource::new(plan.shape, plan.seed, share.place(), STAMP_BYTES);
    let began = reactor::now();
    let write = |lanes: &Lanes, number: u64, intended: Instant| {
        let key = source.draw();
        stamp(source.value_mut(), seen.run, intended);
        lanes.push(lanes.place(key, number), source.record(), intended);
    };
    match &plan.pattern {
        Some(pattern) => lanes.pace(pattern.start(began, share.place(), plan.seed), stop, write).await,
        None => ping_pong(&lanes, &seen, stop, plan.timeout, write).await?,
    }
    let stats = lanes.finish().await?;
    let patience = if tally.must_stop() { INTERRUPTED_GRACE } else { plan.timeout };
    match wait_for(&seen, stats.records, patience).await {
        // Whoever interrupts does not ask for the rest.
        Err(ClientError::Corrupt(_)) if tally.must_stop() => {}
        waited => waited?,
    }
    Ok((began, stats))
}

/// One record at a time.
async fn ping_pong(
    lanes: &Lanes,
    seen: &Seen,
    stop: Stop,
    timeout: Duration,
    mut write: impl FnMut(&Lanes, u64, Instant),
) -> Result<(), ClientError> {
    let began = reactor::now();
    for number in 0..stop.records {
        let over = stop.is_late(began) || seen.tally.must_stop();
        if over || !lanes.wait_for_room().await {
            break;
        }
        write(lanes, number, reactor::now());
        wait_for(seen, number + 1, timeout).await?;
    }
    Ok(())
}

/// Waits until `records` were read.
async fn wait_for(seen: &Seen, records: u64, timeout: Duration) -> Result<(), ClientError> {
    loop {
        if let Some(error) = seen.failed.borrow_mut().take() {
            return Err(error);
        }
        let count = seen.count.get();
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
        let counted = fetched.and_then(|fetched| {
            for batch in fetched.iter().flat_map(|fetched| &fetched.batches) {
                let corrupt =
                    |error| ClientError::Corrupt(format!("batch at {}: {error}", batch.header.base_offset));
                for record in Records::new(batch, DECOMPRESSED_BATCH_BYTES_MAX).map_err(corrupt)? {
                    let value = record.map_err(corrupt)?.value.unwrap_or_default();
                    if let Some(intended) = read_stamp(&value, seen.run) {
                        seen.tally.record(END_TO_END, now.since(intended), 1);
                        seen.tally.finish_records(1);
                        seen.count.set(seen.count.get() + 1);
                    }
                }
            }
            Ok(())
        });
        let failed = counted.is_err();
        *seen.failed.borrow_mut() = counted.err();
        seen.more.notify_all();
        if failed {
            return;
        }
    }
}
