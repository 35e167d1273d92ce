//! `loadgen produce`: write, flat out or at a rate.

use std::rc::Rc;
use std::time::Duration;

use reactor::Instant;

use super::{Meter, mb_per_second, per_second};
use crate::accumulator::Template;
use crate::args::{ProduceArgs, WriteArgs};
use crate::arrivals::Arrivals;
use crate::client::{ClientError, Cluster};
use crate::lanes::{Idempotence, Lanes, Stop};
use crate::payload::letters;
use crate::report::{Report, Work};
use crate::send_stats::SendStats;
use crate::sender::SendSettings;
use crate::threads::{self, Share};

/// What a thread does.
#[derive(Clone)]
struct Plan {
    bootstrap: String,
    timeout: Duration,
    settings: SendSettings,
    idempotence: Idempotence,
    write: WriteArgs,
}

pub(super) fn run(args: &ProduceArgs) -> Result<Report, ClientError> {
    let timeout = args.target.timeout();
    let plan = Plan {
        bootstrap: args.target.bootstrap.clone(),
        timeout,
        settings: args.write.send_settings(timeout, args.target.retry_for()),
        idempotence: if args.idempotent { Idempotence::On } else { Idempotence::Off },
        write: args.write.clone(),
    };
    let acks = plan.settings.acks;
    let shares = threads::share_out(&args.target)?;
    let (threads, partitions) = (shares.len(), shares[0].topic.partitions.len());
    let meter = Meter::start(&args.target)?;
    let results = threads::run(shares, |share| work(share, plan))?;
    let began = results.iter().map(|(began, _)| *began).min().unwrap_or_else(reactor::now);
    let mut stats = SendStats::new();
    for (_, thread) in results {
        stats.add(thread);
    }

    let mut report = Report::new("produce");
    report.put("topic", args.target.topic.as_str());
    report.put("partitions", partitions);
    report.put("threads", threads);
    report.put("rate_wanted_per_s", args.write.rate);
    put_sent(&mut report, &stats, began);
    report.put("latency_from", if args.write.rate > 0.0 { "intended time" } else { "sending" });
    report.put("latency_to", if acks == 0 { "handing to the socket" } else { "acknowledgement" });
    report.put_latency("latency", &stats.latency);
    let work = Work { records: stats.records, bytes: stats.value_bytes, requests: stats.requests };
    meter.stop(&mut report, work)?;
    Ok(report)
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

async fn work(share: Share, plan: Plan) -> Result<(Instant, SendStats), ClientError> {
    let cluster = Rc::new(Cluster::connect(&plan.bootstrap, plan.timeout).await?);
    cluster.topic(&share.topic.name).await?;
    let value = letters(plan.write.size, share.thread as u64);
    let template = Template::new(&value, plan.settings.batches);
    let template = template.map_err(|error| ClientError::Usage(format!("cannot build a batch: {error}")))?;
    let lanes =
        Lanes::open(&cluster, &share.topic, &share.partitions, plan.settings, plan.idempotence).await?;
    let stop = Stop { records: share.part_of(plan.write.records), after: plan.write.duration() };
    let began = reactor::now();
    if plan.write.rate > 0.0 {
        let arrivals = Arrivals::new(began, plan.write.rate / share.threads as f64);
        lanes.pace(arrivals, stop, |lanes, index, intended| lanes.push(index, &value, intended)).await;
    } else {
        lanes.flood(&template, &value, stop).await;
    }
    Ok((began, lanes.finish().await?))
}
