//! `loadgen topics`: what it costs to make topics in bulk, to look at them, and to remove them.
//!
//! The broker's answer to a creation or deletion is what is timed; after all are created, metadata is asked until each
//! partition has a leader. What was created is deleted also when the run is interrupted, unless it is to be kept.

use std::rc::Rc;
use std::time::Duration;

use wire::kafka::create_topics::{CreatableTopic, CreateTopicsRequest};
use wire::kafka::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use wire::kafka::metadata::{MetadataRequest, MetadataRequestTopic};
use wire::kafka::{ErrorCode, Str};

use super::per_second;
use crate::args::TopicsArgs;
use crate::client::{Access, ClientError, Connection};
use crate::limits::RETRY_PAUSE;
use crate::part::{Context, Meter};
use crate::report::{Latency, Report, Work};
use crate::tally::{Goal, Tally};
use crate::threads;

const CREATE: &str = "create";
const DESCRIBE: &str = "describe";
const DELETE: &str = "delete";

#[derive(Clone)]
struct Plan {
    args: TopicsArgs,
    access: Access,
    timeout: Duration,
    threads: usize,
}

/// What a thread did, and how long each step took.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    created: u64,
    deleted: u64,
    creating: Duration,
    settling: Duration,
    deleting: Duration,
}

pub(super) fn run(args: &TopicsArgs, context: &Context) -> Result<Report, ClientError> {
    let threads = args.cluster.threads.min(args.count);
    let plan =
        Plan { args: args.clone(), access: args.cluster.access()?, timeout: args.cluster.timeout(), threads };
    let meter = Meter::start(context)?;
    context.link.begin(Goal::default());
    let numbers = (0..threads).collect();
    let (results, counted) =
        threads::run(numbers, &args.cluster.pin, &context.link, |thread, tally| work(thread, tally, plan))?;
    let mut all = Done::default();
    for thread in results {
        all.created += thread.created;
        all.deleted += thread.deleted;
        all.creating = all.creating.max(thread.creating);
        all.settling = all.settling.max(thread.settling);
        all.deleting = all.deleting.max(thread.deleting);
    }

    let mut report = Report::new();
    let (creating, deleting) = (all.creating.as_secs_f64(), all.deleting.as_secs_f64());
    report.put("threads", threads);
    report.put("partitions_each", args.partitions as usize);
    report.put("created", all.created);
    report.put("creating_seconds", creating);
    report.put("created_per_s", per_second(all.created, creating));
    report.put("partitions_created_per_s", per_second(all.created * args.partitions as u64, creating));
    report.put("until_leaders_seconds", all.settling.as_secs_f64());
    report.put("deleted", all.deleted);
    report.put("deleting_seconds", deleting);
    report.put("deleted_per_s", per_second(all.deleted, deleting));
    report.put("requests", counted.requests);
    for name in [CREATE, DESCRIBE, DELETE] {
        let histogram = counted.latencies.get(name);
        if histogram.count() > 0 {
            report.put_latency(Latency { name, from: "sending", to: "the answer to a request", histogram });
        }
    }
    meter.stop(&mut report, Work { requests: counted.requests, ..Work::default() })?;
    Ok(report)
}

/// One thread's topics.
struct Topics {
    connection: Connection,
    plan: Plan,
    tally: Rc<Tally>,
}

async fn work(thread: usize, tally: Rc<Tally>, plan: Plan) -> Result<Done, ClientError> {
    let names: Vec<Str> = (thread..plan.args.count)
        .step_by(plan.threads)
        .map(|number| format!("{}{number:06}", plan.args.prefix).into())
        .collect();
    let keep = plan.args.keep;
    let connection = Connection::open(&plan.access.bootstrap, &plan.access.security).await?;
    let topics = Topics { connection, plan, tally };
    let began = reactor::now();
    let mut done = Done::default();
    let mut made = Ok(());
    let only_delete = topics.plan.args.only_delete;
    for batch in names.chunks(topics.plan.args.batch) {
        if only_delete || topics.tally.must_stop() {
            break;
        }
        made = topics.create(batch).await;
        if made.is_err() {
            break;
        }
        done.created += batch.len() as u64;
    }
    done.creating = began.elapsed();
    let created = if only_delete { &names[..] } else { &names[..done.created as usize] };
    if made.is_ok() && !only_delete {
        for batch in created.chunks(topics.plan.args.batch) {
            topics.wait_for_leaders(batch).await?;
        }
        done.settling = began.elapsed();
    }
    if !keep {
        let began = reactor::now();
        for batch in created.chunks(topics.plan.args.batch) {
            topics.delete(batch).await?;
            done.deleted += batch.len() as u64;
        }
        done.deleting = began.elapsed();
    }
    made.map(|()| done)
}

impl Topics {
    async fn create(&self, names: &[Str]) -> Result<(), ClientError> {
        let topic = |name: &Str| CreatableTopic {
            name: name.clone(),
            num_partitions: self.plan.args.partitions,
            replication_factor: self.plan.args.replication_factor,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: names.iter().map(topic).collect(),
            timeout_ms: self.plan.timeout.as_millis() as i32,
            ..CreateTopicsRequest::default()
        };
        let began = reactor::now();
        let response = self.connection.call_within(self.plan.timeout, &request).await?;
        self.count(CREATE, began.elapsed(), names);
        if let Some(topic) = response.topics.iter().find(|topic| topic.error_code != 0) {
            let what = format!("cannot create topic {}", topic.name.as_str());
            return Err(ClientError::broker(what, topic.error_code, topic.error_message.as_deref()));
        }
        Ok(())
    }

    /// Asks until every partition has a leader.
    async fn wait_for_leaders(&self, names: &[Str]) -> Result<(), ClientError> {
        let topic = |name: &Str| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(names.iter().map(topic).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let began = reactor::now();
        loop {
            let asked = reactor::now();
            let response = self.connection.call_within(self.plan.timeout, &request).await?;
            self.tally.count_request();
            self.tally.record(DESCRIBE, asked.elapsed(), 1);
            let partitions = self.plan.args.partitions as usize;
            let lacking = response.topics.iter().find(|topic| {
                topic.error_code != 0
                    || topic.partitions.len() != partitions
                    || topic.partitions.iter().any(|partition| partition.leader_id < 0)
            });
            let Some(lacking) = lacking else { return Ok(()) };
            if began.elapsed() >= self.plan.timeout {
                let name = lacking.name.as_ref().map_or("?", |name| name.as_str());
                let code = match lacking.error_code {
                    0 => ErrorCode::LeaderNotAvailable.code(),
                    code => code,
                };
                return Err(ClientError::broker(format!("topic {name} does not come up"), code, None));
            }
            reactor::sleep(RETRY_PAUSE).await;
        }
    }

    async fn delete(&self, names: &[Str]) -> Result<(), ClientError> {
        let state = |name: &Str| DeleteTopicState { name: Some(name.clone()), ..Default::default() };
        let is_new = self.connection.version::<DeleteTopicsRequest>()? >= 6;
        let request = DeleteTopicsRequest {
            topics: if is_new { names.iter().map(state).collect() } else { Vec::new() },
            topic_names: if is_new { Vec::new() } else { names.to_vec() },
            timeout_ms: self.plan.timeout.as_millis() as i32,
        };
        let began = reactor::now();
        let response = self.connection.call_within(self.plan.timeout, &request).await?;
        self.count(DELETE, began.elapsed(), names);
        if let Some(topic) = response.responses.iter().find(|topic| topic.error_code != 0) {
            let name = topic.name.as_ref().map_or("?", |name| name.as_str());
            let what = format!("cannot delete topic {name}");
            return Err(ClientError::broker(what, topic.error_code, topic.error_message.as_deref()));
        }
        Ok(())
    }

    fn count(&self, name: &'static str, latency: Duration, names: &[Str]) {
        self.tally.count_request();
        self.tally.count_records(names.len() as u64, 0);
        self.tally.record(name, latency, 1);
    }
}
