//! `loadgen verify`: does the log give back what it took?
//!
//! Each partition is written by one producer, with numbered, checksummed values, and read twice: alongside the writing
//! (the newest records, from wherever the broker has them) and once more from start to end when all is written (as a
//! consumer that comes later). Both readings are checked against what was acknowledged. The broker may be killed and
//! started again in between: what was not acknowledged is sent again, for as long as `--retry-ms` allows.
//!
//! The topic must not be written by others during the run: their records count as foreign, which is a fault, for a log
//! that gives old records again looks the same.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use reactor::{Instant, Priority};
use wire::kafka::record::Records;

use super::produce::{put_arrivals, put_sent, put_transactions};
use crate::args::{Isolation, VerifyArgs};
use crate::arrivals::Pattern;
use crate::client::{Access, ClientError, Cluster, LATEST, Topic};
use crate::fetcher::{FetchSettings, Fetcher};
use crate::lanes::{Lanes, Promise, Stop};
use crate::limits::{DECOMPRESSED_BATCH_BYTES_MAX, VERIFIED_RECORDS_MAX};
use crate::part::{Context, Meter};
use crate::records::{RecordShape, RecordSource};
use crate::report::{Latency, Report, Work};
use crate::send_stats::{Numbers, SendStats};
use crate::sender::{Counting, Done, SendSettings};
use crate::tally::{Goal, Tally};
use crate::threads::{self, Share};
use crate::verify::{Checker, Findings, RecordId, STAMP_BYTES, stamp};

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
    /// Whether all is read once more when all is written.
    afterwards: Afterwards,
    run: u64,
    seed: u64,
}

/// Whether everything is read a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    Read,
    /// The log may have dropped its oldest records by then.
    Skip,
}

const PRODUCE: &str = "produce";

/// What one thread found.
struct Verified {
    began: Instant,
    sent: SendStats,
    alongside: Findings,
    afterwards: Option<Findings>,
}

pub(super) fn run(args: &VerifyArgs, context: &Context) -> Result<Report, ClientError> {
    check(args, context, Afterwards::Read)
}

/// Writes, reads and compares; also what a soak does for longer.
pub(super) fn check(
    args: &VerifyArgs,
    context: &Context,
    afterwards: Afterwards,
) -> Result<Report, ClientError> {
    let plan = plan(args, context, afterwards)?;
    let (goal, from) = (plan.goal, if plan.pattern.is_some() { "intended time" } else { "handing over" });
    let shares = threads::share_out(&args.target)?;
    let (threads, partitions) = (shares.len(), shares[0].topic.partitions.len());
    let meter = Meter::start(context)?;
    context.link.begin(goal);
    let (results, counted) =
        threads::run(shares, &args.target.cluster.pin, &context.link, |share, tally| {
            work(share, tally, plan)
        })?;
    let began = results.iter().map(|thread| thread.began).min().unwrap_or_else(reactor::now);
    let (mut sent, mut alongside, mut later) = (SendStats::new(), Findings::default(), None);
    for thread in results {
        sent.add(thread.sent);
        alongside.add(&thread.alongside);
        if let Some(found) = &thread.afterwards {
            later.get_or_insert_with(Findings::default).add(found);
        }
    }

    let mut report = Report::new();
    report.put("topic", args.target.topic.as_str());
    report.put("partitions", partitions);
    report.put("threads", threads);
    put_arrivals(&mut report, &args.write, &counted)?;
    put_sent(&mut report, &sent, began);
    let histogram = counted.latencies.get(PRODUCE);
    report.put_latency(Latency { name: PRODUCE, from, to: "acknowledgement", histogram });
    put_transactions(&mut report, &sent, &counted);
    put_findings(&mut report, "alongside", &alongside);
    if let Some(later) = &later {
        put_findings(&mut report, "afterwards", later);
    }
    let clean = alongside.is_clean() && later.is_none_or(|later| later.is_clean());
    report.put("verdict", if clean { "clean" } else { "FAULTY" });
    if !clean {
        report.fail("the log does not give back what it took: see the counts of each reading");
    }
    let work = Work { records: sent.records, bytes: sent.value_bytes, requests: sent.requests };
    meter.stop(&mut report, work)?;
    Ok(report)
}

fn plan(args: &VerifyArgs, context: &Context, afterwards: Afterwards) -> Result<Plan, ClientError> {
    let (timeout, retry_for) = (args.target.timeout(), args.target.retry_for());
    let pattern = args.write.pattern()?;
    let send = args.write.send_settings(timeout, retry_for);
    let plan = Plan {
        access: args.target.cluster.access()?,
        timeout,
        send,
        fetch: if args.transaction.is_on() {
            args.read.settings_of_transactions(timeout, retry_for)
        } else {
            args.read.fetch_settings(timeout, retry_for)
        },
        promise: match (args.transaction.plan(send.acks, context.seed)?, args.not_idempotent) {
            (Some(transactions), false) => Promise::Transactional(transactions),
            (Some(_), true) => {
                let what = "transactions are idempotent: leave --not-idempotent away";
                return Err(ClientError::Usage(what.to_owned()));
            }
            (None, false) => Promise::Idempotent,
            (None, true) => Promise::None,
        },
        shape: args.write.shape(STAMP_BYTES)?,
        goal: args.write.goal(pattern.as_ref()),
        pattern,
        afterwards,
        run: reactor::now().as_ns() ^ (reactor::wall_clock_ms() as u64) << 20,
        seed: context.seed,
    };
    if plan.goal.records.is_some_and(|records| records > VERIFIED_RECORDS_MAX) {
        return Err(ClientError::Usage(format!("--records must be at most {VERIFIED_RECORDS_MAX}")));
    }
    if plan.send.acks == 0 {
        return Err(ClientError::Usage("verify needs acknowledgements: --acks 1 or all".to_owned()));
    }
    Ok(plan)
}

fn put_findings(report: &mut Report, reading: &str, findings: &Findings) {
    report.put(format!("{reading}_read"), findings.read);
    report.put(format!("{reading}_lost"), findings.lost);
    report.put(format!("{reading}_duplicates"), findings.duplicates);
    report.put(format!("{reading}_out_of_order"), findings.out_of_order);
    report.put(format!("{reading}_corrupt"), findings.corrupt);
    report.put(format!("{reading}_foreign"), findings.foreign);
    report.put(format!("{reading}_offset_gaps"), findings.offset_gaps);
    report.put(format!("{reading}_aborted"), findings.aborted);
    report.put(format!("{reading}_unacknowledged"), findings.unacknowledged);
}

async fn work(share: Share, tally: Rc<Tally>, plan: Plan) -> Result<Verified, ClientError> {
    let cluster = Rc::new(Cluster::connect(&plan.access).await?);
    let topic = cluster.topic(&share.topic.name).await?;
    let starts = cluster.offsets(&topic.name, &share.partitions, LATEST).await?;
    let stop = Stop::of(plan.goal, &share);
    let reading = Reading {
        share: share.clone(),
        cluster: cluster.clone(),
        topic: topic.clone(),
        plan: plan.clone(),
        starts,
    };
    let ends: Rc<RefCell<Option<HashMap<i32, i64>>>> = Rc::default();
    let alongside = reactor::spawn(Priority::Latency, "verify-alongside", reading.clone().read(ends.clone()));

    let counting = Counting { tally, latency: PRODUCE, done: Done::Acknowledged };
    let lanes = Lanes::open(&cluster, &share, plan.send, plan.promise.clone(), counting).await?;
    let began = reactor::now();
    write(&lanes, &share, &plan, stop).await;
    let sent = lanes.finish().await?;
    let log_ends = cluster.offsets(&topic.name, &share.partitions, LATEST).await?;
    *ends.borrow_mut() = Some(log_ends);
    let alongside = alongside.await?;
    let afterwards = match plan.afterwards {
        Afterwards::Read => Some(reading.read(ends).await?),
        Afterwards::Skip => None,
    };
    let committed_only = plan.fetch.isolation == Isolation::ReadCommitted;
    let finish = |checkers: HashMap<i32, Checker>| {
        let mut all = Findings::default();
        for (partition, checker) in checkers {
            let of = |numbers: &Numbers| numbers.get(&partition).cloned().unwrap_or_default();
            // Who reads what is not committed reads what is aborted.
            let aborted = if committed_only { of(&sent.aborted) } else { Vec::new() };
            all.add(&checker.finish(&of(&sent.acknowledged), &aborted));
        }
        all
    };
    let (alongside, afterwards) = (finish(alongside), afterwards.map(finish));
    Ok(Verified { began, sent, alongside, afterwards })
}

/// Writes the thread's records, as they are due or as fast as they are acknowledged.
async fn write(lanes: &Lanes, share: &Share, plan: &Plan, stop: Stop) {
    let mut source = RecordSource::new(plan.shape, plan.seed, share.place(), STAMP_BYTES);
    let write = |lanes: &Lanes, number: u64, intended: Instant| {
        let key = source.draw();
        let index = lanes.place(key, number);
        let id = RecordId {
            run: plan.run,
            producer: share.thread as u32,
            partition: lanes.partition(index),
            number: lanes.next_number(index),
        };
        stamp(source.value_mut(), id);
        lanes.push(index, source.record(), intended);
    };
    match &plan.pattern {
        Some(pattern) => {
            let arrivals = pattern.start(reactor::now(), share.place(), plan.seed);
            lanes.pace(arrivals, stop, write).await;
        }
        None => lanes.crowd(stop, write).await,
    }
}

/// One reading of a thread's partitions.
#[derive(Clone)]
struct Reading {
    share: Share,
    cluster: Rc<Cluster>,
    topic: Topic,
    plan: Plan,
    /// Where the log ended before the run, by partition.
    starts: HashMap<i32, i64>,
}

impl Reading {
    /// Reads from the starts to the ends, once those are known.
    async fn read(
        self,
        ends: Rc<RefCell<Option<HashMap<i32, i64>>>>,
    ) -> Result<HashMap<i32, Checker>, ClientError> {
        let mut tasks = Vec::new();
        for group in self.share.by_leader().into_values() {
            let positions = group.iter().map(|leader| (*leader, self.starts[&leader.partition], i64::MAX));
            let fetcher = Fetcher::new(self.cluster.clone(), self.topic.clone(), self.plan.fetch, positions);
            let checkers =
                group.iter().map(|leader| (leader.partition, self.checker(leader.partition))).collect();
            let reading = read_leader(fetcher, checkers, ends.clone(), self.plan.timeout);
            tasks.push(reactor::spawn(Priority::Latency, "verify-read", reading));
        }
        let mut all = HashMap::new();
        for task in tasks {
            all.extend(task.await?);
        }
        Ok(all)
    }

    fn checker(&self, partition: i32) -> Checker {
        let id = RecordId { run: self.plan.run, producer: self.share.thread as u32, partition, number: 0 };
        Checker::new(id, self.plan.goal.records.unwrap_or(VERIFIED_RECORDS_MAX))
    }
}

async fn read_leader(
    mut fetcher: Fetcher,
    mut checkers: HashMap<i32, Checker>,
    ends: Rc<RefCell<Option<HashMap<i32, i64>>>>,
    timeout: Duration,
) -> Result<HashMap<i32, Checker>, ClientError> {
    let mut last_news = reactor::now();
    loop {
        let writing = match &*ends.borrow() {
            Some(ends) => {
                fetcher.set_ends(ends);
                false
            }
            None => true,
        };
        if fetcher.is_done() {
            return Ok(checkers);
        }
        let fetched = fetcher.next().await?;
        if !fetched.is_empty() || writing {
            last_news = reactor::now();
        } else if last_news.elapsed() >= timeout {
            let what = "the broker gives no more records, though the log's end is further on";
            return Err(ClientError::Corrupt(what.to_owned()));
        }
        for fetched in fetched {
            let Some(checker) = checkers.get_mut(&fetched.partition) else { continue };
            fetched.hidden.into_iter().for_each(|offsets| checker.hide(offsets));
            for batch in &fetched.batches {
                let corrupt = |error| {
                    ClientError::Corrupt(format!(
                        "{} at offset {}: {error}",
                        fetched.partition, batch.header.base_offset
                    ))
                };
                batch.header.verify_crc(&batch.bytes).map_err(corrupt)?;
                for record in Records::new(batch, DECOMPRESSED_BATCH_BYTES_MAX).map_err(corrupt)? {
                    let record = record.map_err(corrupt)?;
                    checker.read(record.offset, record.value.as_deref().unwrap_or_default());
                }
                if reactor::should_yield() {
                    reactor::yield_now().await;
                }
            }
        }
    }
}
