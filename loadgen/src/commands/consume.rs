//! `loadgen consume`: read from the start, or the end, as fast as the broker gives.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use reactor::{Instant, Priority};

use super::{Meter, mb_per_second, per_second};
use crate::args::{ConsumeArgs, From};
use crate::client::{ClientError, Cluster, EARLIEST, LATEST};
use crate::fetcher::{FetchSettings, Fetcher};
use crate::report::{Report, Work};
use crate::threads::{self, Share};

#[derive(Clone)]
struct Plan {
    bootstrap: String,
    timeout: Duration,
    settings: FetchSettings,
    from: From,
    records: Option<u64>,
    after: Option<Duration>,
    check_crcs: bool,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
struct Consumed {
    records: u64,
    batches: u64,
    bytes: u64,
    requests: u64,
    began: Option<Instant>,
    last: Option<Instant>,
}

pub(super) fn run(args: &ConsumeArgs) -> Result<Report, ClientError> {
    let timeout = args.target.timeout();
    let plan = Plan {
        bootstrap: args.target.bootstrap.clone(),
        timeout,
        settings: args.read.fetch_settings(timeout, args.target.retry_for()),
        from: args.from,
        records: args.records,
        after: args.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        check_crcs: args.check_crcs,
    };
    if plan.from == From::Latest && plan.records.is_none() && plan.after.is_none() {
        return Err(ClientError::Usage(
            "--from latest needs --records or --seconds to come to an end".to_owned(),
        ));
    }
    let shares = threads::share_out(&args.target)?;
    let (threads, partitions) = (shares.len(), shares[0].topic.partitions.len());
    let meter = Meter::start(&args.target)?;
    let results = threads::run(shares, |share| work(share, plan))?;
    let mut all = Consumed::default();
    for thread in &results {
        all.records += thread.records;
        all.batches += thread.batches;
        all.bytes += thread.bytes;
        all.requests += thread.requests;
        all.last = all.last.max(thread.last);
    }
    all.began = results.iter().filter_map(|thread| thread.began).min();
    let seconds = all.began.zip(all.last).map_or(0.0, |(began, last)| last.since(began).as_secs_f64());

    let mut report = Report::new("consume");
    report.put("topic", args.target.topic.as_str());
    report.put("partitions", partitions);
    report.put("threads", threads);
    report.put("records", all.records);
    report.put("batch_bytes", all.bytes);
    report.put("batches", all.batches);
    report.put("requests", all.requests);
    report.put("seconds", seconds);
    report.put("records_per_s", per_second(all.records, seconds));
    report.put("batch_mb_per_s", mb_per_second(all.bytes, seconds));
    meter.stop(&mut report, Work { records: all.records, bytes: all.bytes, requests: all.requests })?;
    Ok(report)
}

async fn work(share: Share, plan: Plan) -> Result<Consumed, ClientError> {
    let cluster = Rc::new(Cluster::connect(&plan.bootstrap, plan.timeout).await?);
    let topic = cluster.topic(&share.topic.name).await?;
    let ends = cluster.offsets(&topic.name, &share.partitions, LATEST).await?;
    let starts = match plan.from {
        From::Earliest => cluster.offsets(&topic.name, &share.partitions, EARLIEST).await?,
        From::Latest => ends.clone(),
    };
    let consumed = Rc::new(RefCell::new(Consumed::default()));
    let wanted = plan.records.map(|records| share.part_of(records));
    let began = reactor::now();
    consumed.borrow_mut().began = Some(began);
    let mut tasks = Vec::new();
    for group in share.by_leader().into_values() {
        let start = |partition: i32| starts.get(&partition).copied().unwrap_or_default();
        let end = |partition: i32| {
            if wanted.is_some() || plan.after.is_some() { i64::MAX } else { ends[&partition] }
        };
        let positions = group.iter().map(|leader| (*leader, start(leader.partition), end(leader.partition)));
        let fetcher = Fetcher::new(cluster.clone(), topic.clone(), plan.settings, positions);
        let reading = read(fetcher, plan.clone(), wanted, consumed.clone());
        tasks.push(reactor::spawn(Priority::Latency, "consume", reading));
    }
    for task in tasks {
        task.await?;
    }
    let consumed = *consumed.borrow();
    Ok(consumed)
}

async fn read(
    mut fetcher: Fetcher,
    plan: Plan,
    wanted: Option<u64>,
    consumed: Rc<RefCell<Consumed>>,
) -> Result<(), ClientError> {
    let began = reactor::now();
    loop {
        let enough = wanted.is_some_and(|wanted| consumed.borrow().records >= wanted);
        let late = plan.after.is_some_and(|after| began.elapsed() >= after);
        if enough || late || fetcher.is_done() {
            consumed.borrow_mut().requests += fetcher.requests();
            return Ok(());
        }
        let fetched = fetcher.next().await?;
        let mut consumed = consumed.borrow_mut();
        for batch in fetched.iter().flat_map(|fetched| &fetched.batches) {
            if plan.check_crcs {
                let checked = batch.header.verify_crc(&batch.bytes);
                checked.map_err(|error| {
                    ClientError::Corrupt(format!("batch at offset {}: {error}", batch.header.base_offset))
                })?;
            }
            consumed.records += batch.header.record_count.max(0) as u64;
            consumed.batches += 1;
            consumed.bytes += batch.bytes.len() as u64;
        }
        if !fetched.is_empty() {
            consumed.last = Some(reactor::now());
        }
    }
}
