//! `loadgen connections`: many connections that do nothing, or that come and go.
//!
//! A connection counts as open when the broker has answered its first request. Held ones are looked after: those that
//! the broker closes count as lost.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use reactor::{Instant, Priority};

use super::per_second;
use crate::args::ConnectionsArgs;
use crate::arrivals::Pattern;
use crate::client::{Access, ClientError, Connection};
use crate::limits::OPENING_MAX;
use crate::part::{Context, Meter};
use crate::report::{Latency, Report, Work};
use crate::tally::{Goal, Tally};
use crate::threads;

const CONNECT: &str = "connect";

#[derive(Clone)]
struct Plan {
    access: Access,
    hold: Duration,
    rate: f64,
    churn: f64,
    threads: usize,
    seed: u64,
}

/// A thread's number, and how many connections it holds.
#[derive(Clone, Copy)]
struct Portion {
    thread: usize,
    count: usize,
}

/// What a thread found.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    opened: u64,
    failed: u64,
    lost: u64,
    churned: u64,
    open_at_most: u64,
    /// Until all were open.
    opening: Duration,
}

pub(super) fn run(args: &ConnectionsArgs, context: &Context) -> Result<Report, ClientError> {
    let threads = args.cluster.threads.min(args.count);
    let plan = Plan {
        access: args.cluster.access()?,
        hold: Duration::from_secs_f64(args.seconds),
        rate: args.rate / threads as f64,
        churn: args.churn,
        threads,
        seed: context.seed,
    };
    let portion =
        |thread| Portion { thread, count: args.count / threads + usize::from(thread < args.count % threads) };
    let meter = Meter::start(context)?;
    context.link.begin(Goal { records: None, seconds: (args.rate == 0.0).then_some(args.seconds) });
    let portions = (0..threads).map(portion).collect();
    let (results, counted) = threads::run(portions, &args.cluster.pin, &context.link, |portion, tally| {
        work(portion, tally, plan)
    })?;
    let mut all = Found::default();
    for thread in results {
        all.opened += thread.opened;
        all.failed += thread.failed;
        all.lost += thread.lost;
        all.churned += thread.churned;
        all.open_at_most += thread.open_at_most;
        all.opening = all.opening.max(thread.opening);
    }

    let mut report = Report::new();
    report.put("threads", threads);
    report.put("connections_wanted", args.count);
    report.put("connections_open_max", all.open_at_most);
    report.put("opened", all.opened);
    report.put("failed", all.failed);
    report.put("lost", all.lost);
    report.put("churned", all.churned);
    report.put("opening_seconds", all.opening.as_secs_f64());
    report.put("opened_per_s_at_first", per_second(all.opened - all.churned, all.opening.as_secs_f64()));
    let histogram = counted.latencies.get(CONNECT);
    let to = "the answer to the first request";
    let from = if args.churn > 0.0 || args.rate > 0.0 { "intended time" } else { "sending" };
    report.put_latency(Latency { name: CONNECT, from, to, histogram });
    meter.stop(&mut report, Work { requests: all.opened, ..Work::default() })?;
    if all.failed + all.lost > 0 {
        report.fail(format!("{} connections could not be opened, {} were lost", all.failed, all.lost));
    }
    Ok(report)
}

async fn work(portion: Portion, tally: Rc<Tally>, plan: Plan) -> Result<Found, ClientError> {
    let began = reactor::now();
    let mut found = Found::default();
    let mut held = VecDeque::new();
    let pattern = Pattern::new(None, plan.rate).map_err(ClientError::Usage)?;
    let mut due = pattern.map(|pattern| pattern.start(began, (0, 1), plan.seed));
    while held.len() + (found.failed as usize) < portion.count && !tally.must_stop() {
        let wanted = (portion.count - held.len() - found.failed as usize).min(OPENING_MAX);
        match due.as_mut().map(|due| (due.next_due(), due.take(reactor::now()))) {
            None => {
                let opening: Vec<_> = (0..wanted)
                    .map(|_| {
                        reactor::spawn(
                            Priority::Latency,
                            "connect",
                            open(plan.access.clone(), reactor::now()),
                        )
                    })
                    .collect();
                for task in opening {
                    keep(task.await, &mut held, &mut found, &tally);
                }
            }
            Some((_, Some(intended))) => {
                keep(open(plan.access.clone(), intended).await, &mut held, &mut found, &tally);
            }
            Some((next, None)) => tally.sleep_until(next.unwrap_or_else(reactor::now)).await,
        }
    }
    found.opening = began.elapsed();
    found.open_at_most = held.len() as u64;
    hold(portion, &plan, &tally, &mut held, &mut found).await?;
    Ok(found)
}

/// Keeps the connections, and lets them come and go.
async fn hold(
    portion: Portion,
    plan: &Plan,
    tally: &Tally,
    held: &mut VecDeque<Connection>,
    found: &mut Found,
) -> Result<(), ClientError> {
    /// How often held connections are looked at.
    const LOOK: Duration = Duration::from_millis(500);
    let began = reactor::now();
    let end = began + plan.hold;
    let pattern = Pattern::new(None, plan.churn).map_err(ClientError::Usage)?;
    let mut due = pattern.map(|pattern| pattern.start(began, (portion.thread, plan.threads), plan.seed));
    let mut looked = began;
    while reactor::now() < end && !tally.must_stop() {
        let now = reactor::now();
        if now.since(looked) >= LOOK {
            looked = now;
            let before = held.len();
            held.retain(|connection| !connection.is_lost());
            for _ in held.len()..before {
                found.lost += 1;
                tally.count_error();
            }
        }
        let next = (looked + LOOK).min(end);
        let Some(arrivals) = &mut due else {
            tally.sleep_until(next).await;
            continue;
        };
        if let Some(intended) = arrivals.take(now) {
            drop(held.pop_front());
            let before = found.opened;
            keep(open(plan.access.clone(), intended).await, held, found, tally);
            found.churned += found.opened - before;
        } else {
            tally.sleep_until(arrivals.next_due().map_or(next, |due| due.min(next))).await;
        }
    }
    Ok(())
}

/// Opens a connection; with the time since it was intended.
async fn open(access: Access, intended: Instant) -> Result<(Connection, Duration), ClientError> {
    let connection = Connection::open(&access.bootstrap, &access.security).await?;
    Ok((connection, intended.elapsed()))
}

fn keep(
    opened: Result<(Connection, Duration), ClientError>,
    held: &mut VecDeque<Connection>,
    found: &mut Found,
    tally: &Tally,
) {
    if let Ok((connection, latency)) = opened {
        found.opened += 1;
        tally.count_request();
        tally.record(CONNECT, latency, 1);
        held.push_back(connection);
    } else {
        found.failed += 1;
        tally.count_error();
    }
}
