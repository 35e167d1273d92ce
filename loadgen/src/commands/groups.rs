//! `loadgen groups`: how long joining takes, and how long a group is without assignments when members come and go.
//!
//! A rebalance is timed from the moment a member begins to leave or to join until every member that is to belong to the
//! group has its assignment of one generation. The next change waits for that, so that each is timed by itself.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use reactor::{Priority, Task};

use crate::args::GroupsArgs;
use crate::client::ClientError;
use crate::group_member::{FORM, Group, JOIN, Leaving, Member, MemberSettings, REBALANCE};
use crate::part::{Context, Meter};
use crate::report::{Latency, Report, Work};
use crate::tally::{Goal, Tally};
use crate::threads;

/// How often a group is looked at.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Clone)]
struct Plan {
    settings: MemberSettings,
    groups: usize,
    members: usize,
    seconds: Duration,
    churn: f64,
    threads: usize,
    run: u64,
}

pub(super) fn run(args: &GroupsArgs, context: &Context) -> Result<Report, ClientError> {
    let shares = threads::share_out(&args.target)?;
    let partitions = shares[0].topic.partitions.len();
    let threads = args.target.cluster.threads.min(args.groups);
    let plan = Plan {
        settings: MemberSettings {
            access: args.target.cluster.access()?,
            topic: args.target.topic.clone(),
            partitions,
            heartbeat: Duration::from_millis(args.heartbeat_ms),
            session_timeout_ms: args.session_timeout_ms,
            timeout: args.target.timeout(),
        },
        groups: args.groups,
        members: args.members,
        seconds: Duration::from_secs_f64(args.seconds),
        churn: args.churn,
        threads,
        run: reactor::wall_clock_ms() as u64,
    };
    let meter = Meter::start(context)?;
    context.link.begin(Goal { records: None, seconds: Some(args.seconds) });
    let numbers = (0..threads).collect();
    let (results, counted) =
        threads::run(numbers, &args.target.cluster.pin, &context.link, |thread, tally| {
            work(thread, tally, plan)
        })?;

    let mut report = Report::new();
    report.put("topic", args.target.topic.as_str());
    report.put("partitions", partitions);
    report.put("threads", threads);
    report.put("groups", args.groups);
    report.put("members_each", args.members);
    report.put("rebalances", results.iter().sum::<u64>());
    report.put("requests", counted.requests);
    report.put("errors", counted.errors);
    let form = counted.latencies.get(FORM);
    let to = "the last member's assignment";
    report.put_latency(Latency { name: FORM, from: "the first member's joining", to, histogram: form });
    let join = counted.latencies.get(JOIN);
    report.put_latency(Latency { name: JOIN, from: "sending", to: "the first assignment", histogram: join });
    let rebalance = counted.latencies.get(REBALANCE);
    report.put_latency(Latency {
        name: REBALANCE,
        from: "a member's coming or going",
        to,
        histogram: rebalance,
    });
    meter.stop(&mut report, Work { requests: counted.requests, ..Work::default() })?;
    Ok(report)
}

/// Rebalances of this thread's groups.
async fn work(thread: usize, tally: Rc<Tally>, plan: Plan) -> Result<u64, ClientError> {
    let settings = Rc::new(plan.settings.clone());
    let groups: Vec<Task<Result<u64, ClientError>>> = (thread..plan.groups)
        .step_by(plan.threads)
        .map(|number| {
            let group = Group::new(format!("loadgen-{:x}-{number}", plan.run));
            let at_work =
                AtWork { group, members: VecDeque::new(), settings: settings.clone(), tally: tally.clone() };
            reactor::spawn(Priority::Latency, "group", at_work.run(plan.clone()))
        })
        .collect();
    let mut rebalances = 0;
    for group in groups {
        rebalances += group.await?;
    }
    Ok(rebalances)
}

type Running = (Rc<Leaving>, Task<Result<(), ClientError>>);

/// A group with its members, oldest first.
struct AtWork {
    group: Rc<Group>,
    members: VecDeque<Running>,
    settings: Rc<MemberSettings>,
    tally: Rc<Tally>,
}

impl AtWork {
    async fn run(mut self, plan: Plan) -> Result<u64, ClientError> {
        self.group.change(plan.members);
        for _ in 0..plan.members {
            self.add();
        }
        self.settle().await?;
        let began = reactor::now();
        let mut changes = 0_u64;
        while began.elapsed() < plan.seconds && !self.tally.must_stop() {
            let next = if plan.churn > 0.0 {
                began + Duration::from_secs_f64((changes + 1) as f64 / plan.churn)
            } else {
                began + plan.seconds
            };
            self.tally.sleep_until(next.min(began + plan.seconds)).await;
            self.check().await?;
            if reactor::now() < next || plan.churn == 0.0 || self.tally.must_stop() {
                continue;
            }
            changes += 1;
            // One leaves, the group settles; another joins, and it settles again.
            if plan.members > 1 {
                self.group.change(plan.members - 1);
                self.remove().await?;
                self.settle().await?;
            } else {
                self.remove().await?;
            }
            self.group.change(plan.members);
            self.add();
            self.settle().await?;
        }
        self.group.wanted.set(0);
        while !self.members.is_empty() {
            self.remove().await?;
        }
        Ok(self.group.rebalances.get())
    }

    fn add(&mut self) {
        let leaving = Rc::new(Leaving::default());
        let (settings, group, tally) = (self.settings.clone(), self.group.clone(), self.tally.clone());
        let member = Member::new(settings, group, tally, leaving.clone());
        self.members.push_back((leaving, reactor::spawn(Priority::Latency, "group-member", member.run())));
    }

    /// The oldest member leaves.
    async fn remove(&mut self) -> Result<(), ClientError> {
        let Some((leaving, task)) = self.members.pop_front() else { return Ok(()) };
        leaving.ask();
        match task.await {
            // Who interrupts does not mind how they part.
            Err(_) if self.tally.must_stop() => Ok(()),
            ended => ended,
        }
    }

    /// Waits until the group is whole.
    async fn settle(&mut self) -> Result<(), ClientError> {
        let began = reactor::now();
        while !self.group.is_settled() && !self.tally.must_stop() {
            self.check().await?;
            let limit =
                self.settings.timeout + Duration::from_millis(self.settings.session_timeout_ms as u64);
            if began.elapsed() > limit {
                let what = format!("group {} does not settle", self.group.name);
                return Err(ClientError::Timeout { address: self.settings.access.bootstrap.clone(), what });
            }
            reactor::sleep(LOOK).await;
        }
        Ok(())
    }

    /// A member that has failed ends the run.
    async fn check(&mut self) -> Result<(), ClientError> {
        let ended = self.members.iter().position(|(_, task)| task.is_finished());
        let ended = ended.filter(|_| !self.tally.must_stop());
        let Some((_, task)) = ended.and_then(|place| self.members.remove(place)) else { return Ok(()) };
        task.await?;
        Err(ClientError::Corrupt(format!("a member of {} has ended by itself", self.group.name)))
    }
}
