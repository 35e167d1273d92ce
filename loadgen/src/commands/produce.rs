//! `loadgen produce`: write, flat out or at a rate.

use std::rc::Rc;
use std::time::Duration;

use reactor::Instant;

use super::{mb_per_second, per_second};
use crate::accumulator::Template;
use crate::args::{ProduceArgs, WriteArgs};
use crate::arrivals::Pattern;
use crate::client::{Access, ClientError, Cluster};
use crate::distributions::Keys;
use crate::lanes::{Lanes, Promise, Stop};
use crate::limits::TEMPLATES_MAX;
use crate::part::{Context, Meter};
use crate::records::{RecordShape, RecordSource};
use crate::report::{Latency, Report, Work};
use crate::send_stats::SendStats;
use crate::sender::{Counting, Done, SendSettings};
use crate::tally::{Goal, Tally, Window};
use crate::threads::{self, Share};
use crate::transaction::{ABORT, COMMIT};

/// What a thread does.
#[derive(Clone)]
struct Plan {
    access: Access,
    settings: SendSettings,
    promise: Promise,
    shape: RecordShape,
    pattern: Option<Pattern>,
    goal: Goal,
    fresh: bool,
    seed: u64,
}

pub(super) fn run(args: &ProduceArgs, context: &Context) -> Result<Report, ClientError> {
    let timeout = args.target.timeout();
    let pattern = args.write.pattern()?;
    let settings = args.write.send_settings(timeout, args.target.retry_for());
    let plan = Plan {
        access: args.target.cluster.access()?,
        settings,
        promise: match (args.transaction.plan(settings.acks, context.seed)?, args.idempotent) {
            (Some(transactions), _) => Promise::Transactional(transactions),
            (None, true) => Promise::Idempotent,
            (None, false) => Promise::None,
        },
        shape: args.write.shape(0)?,
        goal: args.write.goal(pattern.as_ref()),
        pattern,
        // Batches made beforehand know no transactions.
        fresh: args.fresh || args.transaction.is_on(),
        seed: context.seed,
    };
    let (acks, goal) = (plan.settings.acks, plan.goal);
    let from = match (&plan.pattern, plan.shape.keys) {
        (Some(_), _) => "intended time",
        (None, Keys::None) if !plan.fresh => "sending",
        (None, _) => "handing over",
    };
    let shares = threads::share_out(&args.target)?;
    let (threads, partitions) = (shares.len(), shares[0].topic.partitions.len());
    let meter = Meter::start(context)?;
    context.link.begin(goal);
    let (results, counted) =
        threads::run(shares, &args.target.cluster.pin, &context.link, |share, tally| {
            work(share, tally, plan)
        })?;
    let began = results.iter().map(|(began, _)| *began).min().unwrap_or_else(reactor::now);
    let mut stats = SendStats::new();
    for (_, thread) in results {
        stats.add(thread);
    }

    let mut report = Report::new();
    report.put("topic", args.target.topic.as_str());
    report.put("partitions", partitions);
    report.put("threads", threads);
    put_arrivals(&mut report, &args.write, &counted)?;
    put_sent(&mut report, &stats, began);
    let to = if acks == 0 { "handing to the socket" } else { "acknowledgement" };
    report.put("latency_from", from);
    report.put("latency_to", to);
    report.put_latency(Latency { name: "latency", from, to, histogram: counted.latencies.get("latency") });
    put_transactions(&mut report, &stats, &counted);
    let work = Work { records: stats.records, bytes: stats.value_bytes, requests: stats.requests };
    meter.stop(&mut report, work)?;
    Ok(report)
}

/// When records were to come, and how many should have.
pub(super) fn put_arrivals(
    report: &mut Report,
    write: &WriteArgs,
    counted: &Window,
) -> Result<(), ClientError> {
    match write.pattern()? {
        Some(pattern) => {
            report.put("arrivals", pattern.describe());
            report.put("records_due", counted.due);
        }
        None => report.put("arrivals", "closed"),
    }
    report.put("errors", counted.errors);
    Ok(())
}

/// How much was written since `began`, and how fast.
pub(super) fn put_sent(report: &mut Report, stats: &SendStats, began: Instant) {
    let seconds = stats.last_ack.map_or(Duration::ZERO, |last| last.since(began)).as_secs_f64();
    report.put("records", stats.records);
    report.put("value_bytes", stats.value_bytes);
    report.put("batch_bytes", stats.batch_bytes);
    report.put("batches", stats.batches);
    report.put("requests", stats.requests);
    report.put("retried_batches", stats.retries);
    report.put("seconds", seconds);
    report.put("records_per_s", per_second(stats.records, seconds));
    report.put("value_mb_per_s", mb_per_second(stats.value_bytes, seconds));
    report.put("requests_per_s", per_second(stats.requests, seconds));
}

/// Transactions, where there were any.
pub(super) fn put_transactions(report: &mut Report, stats: &SendStats, counted: &Window) {
    let (commits, aborts) = (counted.latencies.get(COMMIT), counted.latencies.get(ABORT));
    if commits.count() + aborts.count() == 0 {
        return;
    }
    report.put("transactions", commits.count() + aborts.count());
    report.put("transactions_aborted", aborts.count());
    report.put("records_aborted", stats.aborted_records());
    for (name, histogram) in [(COMMIT, commits), (ABORT, aborts)] {
        if histogram.count() > 0 {
            let to = "the coordinator's answer";
            report.put_latency(Latency { name, from: "sending", to, histogram });
        }
    }
}

async fn work(share: Share, tally: Rc<Tally>, plan: Plan) -> Result<(Instant, SendStats), ClientError> {
    let cluster = Rc::new(Cluster::connect(&plan.access).await?);
    cluster.topic(&share.topic.name).await?;
    let mut source = RecordSource::new(plan.shape, plan.seed, share.place(), 0);
    let templates = templates(&mut source, &plan)?;
    let counting = Counting { tally, latency: "latency", done: Done::Acknowledged };
    let lanes = Lanes::open(&cluster, &share, plan.settings, plan.promise.clone(), counting).await?;
    let stop = Stop::of(plan.goal, &share);
    let began = reactor::now();
    if !templates.is_empty() {
        lanes.flood(&templates, &mut source, stop).await;
        return Ok((began, lanes.finish().await?));
    }
    let write = |lanes: &Lanes, number: u64, intended: Instant| {
        let key = source.draw();
        lanes.push(lanes.place(key, number), source.record(), intended);
    };
    match &plan.pattern {
        Some(pattern) => lanes.pace(pattern.start(began, share.place(), plan.seed), stop, write).await,
        None => lanes.crowd(stop, write).await,
    }
    Ok((began, lanes.finish().await?))
}

/// Batches for a closed loop. None at a rate, nor with keys (those say which partition a record goes to), nor when each
/// record is to be made anew.
fn templates(source: &mut RecordSource, plan: &Plan) -> Result<Vec<Template>, ClientError> {
    if plan.pattern.is_some() || source.has_keys() || plan.fresh {
        return Ok(Vec::new());
    }
    let made: Result<Vec<_>, _> =
        (0..TEMPLATES_MAX).map(|_| Template::new(source, plan.settings.batches)).collect();
    made.map_err(|error| ClientError::Usage(format!("cannot build a batch: {error}")))
}
