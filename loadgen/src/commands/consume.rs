//! `loadgen consume`: read from the start, or the end, as fast as the broker gives or more slowly.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use reactor::{Instant, Priority};
use wire::kafka::record_batch::Batch;
use wire::kafka::record_walk::{self, Gaps, RecordShape, Step};

use super::{mb_per_second, per_second};
use crate::args::{ConsumeArgs, From};
use crate::client::{Access, ClientError, Cluster, EARLIEST, LATEST};
use crate::fetcher::{FetchSettings, Fetched, Fetcher};
use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::part::{Context, Meter};
use crate::report::{Report, Work};
use crate::tally::{Goal, Tally};
use crate::threads::{self, Share};

#[derive(Clone)]
struct Plan {
    access: Access,
    settings: FetchSettings,
    from: From,
    records: Option<u64>,
    after: Option<Duration>,
    /// Records per second of each thread; 0: as fast as they come.
    rate: f64,
    check_crcs: bool,
    walk: bool,
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

pub(super) fn run(args: &ConsumeArgs, context: &Context) -> Result<Report, ClientError> {
    let timeout = args.target.timeout();
    let plan = Plan {
        access: args.target.cluster.access()?,
        settings: args.read.fetch_settings(timeout, args.target.retry_for()),
        from: args.from,
        records: args.records,
        after: args.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        rate: args.rate,
        check_crcs: args.check_crcs,
        walk: args.walk,
    };
    if plan.from == From::Latest && plan.records.is_none() && plan.after.is_none() {
        return Err(ClientError::Usage(
            "--from latest needs --records or --seconds to come to an end".to_owned(),
        ));
    }
    let shares = threads::share_out(&args.target)?;
    let (threads, partitions) = (shares.len(), shares[0].topic.partitions.len());
    let meter = Meter::start(context)?;
    context.link.begin(Goal { records: args.records, seconds: args.seconds });
    let (results, counted) =
        threads::run(shares, &args.target.cluster.pin, &context.link, |share, tally| {
            work(share, tally, plan)
        })?;
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

    let mut report = Report::new();
    report.put("topic", args.target.topic.as_str());
    report.put("partitions", partitions);
    report.put("threads", threads);
    report.put("records", all.records);
    report.put("batch_bytes", all.bytes);
    report.put("batches", all.batches);
    report.put("requests", all.requests);
    report.put("errors", counted.errors);
    report.put("lag", counted.lag);
    report.put("seconds", seconds);
    report.put("records_per_s", per_second(all.records, seconds));
    report.put("batch_mb_per_s", mb_per_second(all.bytes, seconds));
    meter.stop(&mut report, Work { records: all.records, bytes: all.bytes, requests: all.requests })?;
    Ok(report)
}

async fn work(share: Share, tally: Rc<Tally>, plan: Plan) -> Result<Consumed, ClientError> {
    let cluster = Rc::new(Cluster::connect(&plan.access).await?);
    let topic = cluster.topic(&share.topic.name).await?;
    let ends = cluster.offsets_seen(&topic.name, &share.partitions, LATEST, plan.settings.isolation).await?;
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
        let reader = Reader {
            plan: plan.clone(),
            // A slow consumer is slow as a whole.
            rate: plan.rate / share.threads as f64,
            wanted,
            consumed: consumed.clone(),
            tally: tally.clone(),
        };
        tasks.push(reactor::spawn(Priority::Latency, "consume", reader.read(fetcher)));
    }
    for task in tasks {
        task.await?;
    }
    let consumed = *consumed.borrow();
    Ok(consumed)
}

/// Reads what one leader has, for a thread.
struct Reader {
    plan: Plan,
    rate: f64,
    wanted: Option<u64>,
    consumed: Rc<RefCell<Consumed>>,
    tally: Rc<Tally>,
}

impl Reader {
    async fn read(self, mut fetcher: Fetcher) -> Result<(), ClientError> {
        let (began, mut failures, mut lag) = (reactor::now(), 0, 0);
        loop {
            let enough = self.wanted.is_some_and(|wanted| self.consumed.borrow().records >= wanted);
            let late = self.plan.after.is_some_and(|after| began.elapsed() >= after);
            if enough || late || fetcher.is_done() {
                break;
            }
            let Some(fetched) = self.tally.unless_stopped(fetcher.next()).await else { break };
            self.tally.count_request();
            self.count(&fetched?)?;
            for _ in failures..fetcher.failures() {
                self.tally.count_error();
            }
            failures = fetcher.failures();
            self.tally.change_lag(fetcher.lag() - lag);
            lag = fetcher.lag();
            if self.rate > 0.0 {
                self.digest(&mut fetcher, began, &mut lag).await?;
            }
        }
        self.consumed.borrow_mut().requests += fetcher.requests();
        Ok(())
    }

    /// Waits until what was read would have been dealt with at the rate, and sees how the log grows meanwhile.
    async fn digest(&self, fetcher: &mut Fetcher, began: Instant, lag: &mut i64) -> Result<(), ClientError> {
        /// How often to see.
        const LOOK: Duration = Duration::from_millis(500);
        let records = self.consumed.borrow().records;
        let mut next = began + Duration::from_secs_f64(records as f64 / self.rate);
        if let Some(after) = self.plan.after {
            next = next.min(began + after);
        }
        while reactor::now() < next && !self.tally.must_stop() {
            self.tally.sleep_until(next.min(reactor::now() + LOOK)).await;
            fetcher.learn_lag().await?;
            self.tally.change_lag(fetcher.lag() - *lag);
            *lag = fetcher.lag();
        }
        Ok(())
    }

    fn count(&self, fetched: &[Fetched]) -> Result<(), ClientError> {
        let mut consumed = self.consumed.borrow_mut();
        for batch in fetched.iter().flat_map(|fetched| &fetched.batches) {
            if self.plan.check_crcs {
                let checked = batch.header.verify_crc(&batch.bytes);
                checked.map_err(|error| {
                    ClientError::Corrupt(format!("batch at offset {}: {error}", batch.header.base_offset))
                })?;
            }
            let records = if self.plan.walk { walk(batch)? } else { batch.header.record_count.max(0) as u64 };
            let bytes = batch.bytes.len() as u64;
            consumed.records += records;
            consumed.batches += 1;
            consumed.bytes += bytes;
            self.tally.count_records(records, bytes);
        }
        if !fetched.is_empty() {
            consumed.last = Some(reactor::now());
        }
        Ok(())
    }
}

/// Goes through every field of every record of a batch; says how many records there are.
fn walk(batch: &Batch) -> Result<u64, ClientError> {
    let mut count = 0;
    let visit = |record: &RecordShape| {
        // Whoever used the record would look at least at where its value is.
        black_box(record.value_len);
        count += 1;
        Step::Next
    };
    let walked =
        record_walk::walk(&batch.bytes, &batch.header, DECOMPRESSED_BATCH_BYTES_MAX, Gaps::Allowed, visit);
    let corrupt =
        |error| ClientError::Corrupt(format!("batch at offset {}: {error}", batch.header.base_offset));
    walked.map_err(corrupt)?;
    Ok(count)
}
