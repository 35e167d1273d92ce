//! Produce: checks batches on the connection's shard, stages them on their owners, answers when they are durable.
//!
//! The check (CRC, records, timestamps) runs where the connection is, so that it spreads over the cores. Batches
//! of partitions of this shard are staged at once; the others go out as one call per owner, on a lane that keeps
//! their order. What is left is a [`ProduceReply`] that waits for commits, and holds no request bytes.

use std::rc::Rc;
use std::time::Duration;

use async_channel::Receiver;
use futures_channel::oneshot;
use reactor::{Instant, Pace, Priority};
use wire::kafka::ApiKey;
use wire::kafka::error_code::ErrorCode;
use wire::kafka::header::RequestHeader;
use wire::kafka::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceResponse,
};
use wire::kafka::{Str, Uuid};

use super::brokers::{Broker, Elsewhere, Leader};
use super::reply::Response;
use super::{Context, Incoming, Refusal, client_quotas, table};
use crate::config::store::RecordValidation;
use crate::limits;
use crate::metadata::client_quotas::Quota;
use crate::metadata::ids::ShardId;
use crate::shard::partition::{AppendError, Appended, Partition};
use crate::shard::shard::Target;
use crate::shard::validate::{self, Checked, Depth, FoundIn, Rejection};
use crate::shard::{Acks, PartitionId};

/// The first version whose answer names the leader.
const LEADERS_FROM: i16 = 10;

/// Appends for partitions of one other shard.
pub struct ProduceCall {
    appends: Vec<(PartitionId, Checked)>,
    /// `None` when the client wants no answer.
    answer: Option<oneshot::Sender<Vec<AppendOutcome>>>,
}

/// What became of one batch, when it is known for good.
type AppendOutcome = Result<Outcome, Failed>;

/// An append that failed, and what its answer says of the log.
#[derive(Debug, Clone)]
struct Failed {
    error: AppendError,
    log_start_offset: i64,
}

/// An append that is durable.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    base_offset: i64,
    append_time_ms: i64,
    log_start_offset: i64,
}

/// Where the result of one partition of the request comes from.
enum Slot {
    Known(Result<Outcome, PartitionError>),
    Local { partition: Rc<Partition>, appended: Appended },
    Remote { call: usize, index: usize },
}

struct PartitionError {
    code: ErrorCode,
    message: Option<String>,
    records: Vec<(i32, String)>,
    /// -1 unless the log judged the batch.
    log_start_offset: i64,
    /// Who leads the partition, when the client asked another broker.
    leader: Option<Box<Leader>>,
}

struct RemoteCall {
    answer: oneshot::Receiver<Vec<AppendOutcome>>,
    outcomes: Option<Vec<AppendOutcome>>,
}

/// The partitions of one topic of the request, by index, in order.
struct TopicSlots {
    name: Str,
    topic_id: Uuid,
    slots: Vec<(i32, Slot)>,
}

/// A produce request whose batches are staged.
pub struct ProduceReply {
    header: RequestHeader,
    arrived: Instant,
    throttle: Duration,
    topics: Vec<TopicSlots>,
    calls: Vec<RemoteCall>,
}

/// Checks and stages every batch of the request. Also for how long its client is held back. Without a reply, the client wants
/// no answer.
pub async fn begin(
    context: &Rc<Context>,
    mut request: Incoming,
) -> Result<(Option<ProduceReply>, Duration), Refusal> {
    let version = request.header.api_version;
    let bytes = request.body.left();
    let body: ProduceRequest = table::decode(&mut request).await?;
    let acks = Acks::from_wire(body.acks);
    let mut staging = Staging::new(context, acks);
    let mut topics = Vec::with_capacity(body.topic_data.len());
    let mut pace = Pace::every(limits::PARTITIONS_STEP);
    for topic in body.topic_data {
        let mut slots = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let id = context.resolve(&topic.name, topic.topic_id, data.index, version >= 13);
            let slot = staging.stage(id, data.records, version).await;
            slots.push((data.index, slot));
            pace.step().await;
        }
        topics.push(TopicSlots { name: topic.name, topic_id: topic.topic_id, slots });
    }
    let calls = staging.send().await;
    let throttle = client_quotas::charge(context, Quota::ProducerByteRate, &request.header, bytes).await;
    if acks == Some(Acks::None) {
        return answer_nothing(&topics).map(|()| (None, throttle));
    }
    let Incoming { header, arrived, .. } = request;
    Ok((Some(ProduceReply { header, arrived, throttle, topics, calls }), throttle))
}

fn answer_nothing(topics: &[TopicSlots]) -> Result<(), Refusal> {
    let failed =
        topics.iter().flat_map(|topic| &topic.slots).any(|(_, slot)| matches!(slot, Slot::Known(Err(_))));
    // Closing is how Kafka tells a client that waits for no answer to look at its metadata again.
    if failed { Err(Refusal::UnacknowledgedAppendFailed) } else { Ok(()) }
}

/// One request's appends, by owner.
struct Staging<'a> {
    context: &'a Rc<Context>,
    acks: Option<Acks>,
    remote: Vec<(ShardId, Vec<(PartitionId, Checked)>)>,
}

impl<'a> Staging<'a> {
    fn new(context: &'a Rc<Context>, acks: Option<Acks>) -> Self {
        Staging { context, acks, remote: Vec::new() }
    }

    async fn stage(
        &mut self,
        target: Result<Target, Elsewhere>,
        records: Option<bytes::Bytes>,
        version: i16,
    ) -> Slot {
        if self.acks.is_none() {
            return Slot::failed(ErrorCode::InvalidRequiredAcks.into());
        }
        let target = match target {
            Ok(target) => target,
            Err(elsewhere) => return Slot::failed(elsewhere),
        };
        let depth = match self.context.config.store.record_validation {
            RecordValidation::Full => Depth::Records,
            RecordValidation::Header => Depth::Header,
        };
        let long = &self.context.shard.long_checks;
        let checked = match validate::check(records, &target.config, version, depth, long).await {
            Ok(checked) => checked,
            Err(rejection) => return self.rejected(&target, rejection).await,
        };
        if target.shard != self.context.shard.index {
            return self.defer(target.shard, target.id, checked);
        }
        let Some(partition) = self.context.shard.partition(target.id) else {
            return Slot::failed(ErrorCode::NotLeaderOrFollower.into());
        };
        match partition.append(&checked).await {
            Ok(appended) => {
                count_append(self.context, &checked, appended);
                Slot::Local { partition, appended }
            }
            Err(error) => Slot::append_failed(&Failed::of(&partition, error)),
        }
    }

    /// A batch that is not sent to its owner. What Kafka finds in the records is answered with the owner's log start.
    async fn rejected(&self, target: &Target, rejection: Rejection) -> Slot {
        let Rejection { found_in, code, message, records } = rejection;
        let id = target.id;
        let log_start_offset = match found_in {
            FoundIn::Request => -1,
            FoundIn::Records => {
                let start = move |owner: Rc<Context>| async move {
                    owner.shard.partition(id).map_or(-1, |partition| partition.log_start_offset())
                };
                self.context.on_shard(target.shard, start).await.unwrap_or(-1)
            }
        };
        Slot::Known(Err(PartitionError {
            code,
            message: Some(message),
            records,
            log_start_offset,
            leader: None,
        }))
    }

    fn defer(&mut self, shard: ShardId, id: PartitionId, checked: Checked) -> Slot {
        let known = self.remote.iter().position(|(owner, _)| *owner == shard);
        let call = known.unwrap_or_else(|| {
            self.remote.push((shard, Vec::new()));
            self.remote.len() - 1
        });
        let appends = &mut self.remote[call].1;
        appends.push((id, checked));
        Slot::Remote { call, index: appends.len() - 1 }
    }

    async fn send(self) -> Vec<RemoteCall> {
        let Some(acks) = self.acks else { return Vec::new() };
        let mut calls = Vec::with_capacity(self.remote.len());
        for (shard, appends) in self.remote {
            let (answer, answered) = oneshot::channel();
            let answer = (acks != Acks::None).then_some(answer);
            // A shard that is gone drops the sender, which the receiver shows.
            self.context.shard.metrics.hops.add(1);
            let _ = self.context.produce_lane.send(shard, ProduceCall { appends, answer }).await;
            calls.push(RemoteCall { answer: answered, outcomes: None });
        }
        calls
    }
}

impl Slot {
    fn failed(Elsewhere { code, leader }: Elsewhere) -> Slot {
        let records = Vec::new();
        Slot::Known(Err(PartitionError { code, message: None, records, log_start_offset: -1, leader }))
    }

    fn append_failed(failed: &Failed) -> Slot {
        Slot::Known(Err(PartitionError::from_append(failed)))
    }
}

impl PartitionError {
    fn from_append(Failed { error, log_start_offset }: &Failed) -> PartitionError {
        PartitionError {
            code: error.code(),
            message: error.message(),
            records: Vec::new(),
            log_start_offset: *log_start_offset,
            leader: None,
        }
    }
}

impl Failed {
    /// The owner is not here (any more).
    const NOT_LEADER: Failed = Failed { error: AppendError::NotLeader, log_start_offset: -1 };

    fn of(partition: &Partition, error: AppendError) -> Failed {
        let log_start_offset =
            if error.is_verdict_on_the_batch() { partition.log_start_offset() } else { -1 };
        Failed { error, log_start_offset }
    }
}

/// Counts what a client appended; a retry of what the log has already adds nothing.
fn count_append(context: &Context, batch: &Checked, appended: Appended) {
    if !appended.is_repeated() {
        let metrics = &context.shard.metrics;
        metrics.appended_batches.add(1);
        metrics.appended_records.add(batch.header.record_count.max(0) as u64);
        metrics.appended_bytes.add(batch.bytes.len() as u64);
    }
}

/// Serves one other shard's appends, in the order in which they were sent.
pub async fn serve_lane(context: Rc<Context>, calls: Receiver<ProduceCall>) {
    // Over calls, too: very many small ones may wait in the lane.
    let mut pace = Pace::every(limits::PARTITIONS_STEP);
    while let Ok(call) = calls.recv().await {
        let mut staged = Vec::with_capacity(call.appends.len());
        for (id, checked) in call.appends {
            pace.step().await;
            staged.push(match context.shard.partition(id) {
                Some(partition) => match partition.append(&checked).await {
                    Ok(appended) => {
                        count_append(&context, &checked, appended);
                        Ok((partition, appended))
                    }
                    Err(error) => Err(Failed::of(&partition, error)),
                },
                None => Err(Failed::NOT_LEADER),
            });
        }
        let Some(answer) = call.answer else { continue };
        reactor::spawn(Priority::Latency, "produce-wait", async move {
            let mut outcomes = Vec::with_capacity(staged.len());
            let mut pace = Pace::every(limits::PARTITIONS_STEP);
            for append in staged {
                pace.step().await;
                outcomes.push(match append {
                    Ok((partition, appended)) => Outcome::wait(&partition, appended).await,
                    Err(failed) => Err(failed),
                });
            }
            let _ = answer.send(outcomes);
        })
        .detach();
    }
}

impl Outcome {
    async fn wait(partition: &Partition, appended: Appended) -> AppendOutcome {
        match partition.durable(appended).await {
            Ok(()) => Ok(Outcome::of(partition, appended)),
            Err(error) => Err(Failed::of(partition, error)),
        }
    }

    fn of(partition: &Partition, appended: Appended) -> Outcome {
        Outcome {
            base_offset: appended.base_offset.0,
            append_time_ms: appended.append_time_ms,
            log_start_offset: partition.log_start_offset(),
        }
    }
}

impl ProduceReply {
    /// When the request had come.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Whether [`Self::finish`] returns without waiting.
    pub fn is_ready(&mut self) -> bool {
        let local = self.topics.iter().flat_map(|topic| &topic.slots).all(|(_, slot)| match slot {
            Slot::Local { partition, appended } => partition.is_durable(*appended),
            Slot::Known(_) | Slot::Remote { .. } => true,
        });
        local && self.calls.iter_mut().all(RemoteCall::is_ready)
    }

    /// Waits until every append is durable or has failed, and encodes the answer.
    pub async fn finish(mut self) -> Response {
        for call in &mut self.calls {
            call.wait().await;
        }
        let mut responses = Vec::with_capacity(self.topics.len());
        let mut leaders = Leaders::default();
        let mut pace = Pace::every(limits::PARTITIONS_STEP);
        for TopicSlots { name, topic_id, slots } in self.topics {
            let mut partition_responses = Vec::with_capacity(slots.len());
            for (index, slot) in slots {
                pace.step().await;
                let result = match slot {
                    Slot::Known(result) => result,
                    Slot::Local { partition, appended } => {
                        Outcome::wait(&partition, appended).await.map_err(|e| PartitionError::from_append(&e))
                    }
                    Slot::Remote { call, index } => self.calls[call].outcome(index),
                };
                let leader = match &result {
                    Err(error) if self.header.api_version >= LEADERS_FROM => {
                        leaders.note(error.leader.as_deref())
                    }
                    _ => LeaderIdAndEpoch::default(),
                };
                let response = partition_response(index, result);
                partition_responses.push(PartitionProduceResponse { current_leader: leader, ..response });
            }
            responses.push(TopicProduceResponse { name, topic_id, partition_responses });
        }
        let throttle_time_ms = client_quotas::throttle_ms(self.throttle);
        let node_endpoints = leaders.endpoints;
        let body = ProduceResponse { responses, throttle_time_ms, node_endpoints };
        Response::encode(ApiKey::Produce, &self.header, &body, &mut [])
    }
}

/// Leaders that an answer names, each once (KIP-951).
#[derive(Default)]
struct Leaders {
    endpoints: Vec<NodeEndpoint>,
}

impl Leaders {
    fn note(&mut self, leader: Option<&Leader>) -> LeaderIdAndEpoch {
        let Some(Leader { broker, epoch }) = leader else { return LeaderIdAndEpoch::default() };
        if self.endpoints.iter().all(|known| known.node_id != broker.id) {
            let Broker { id, host, port, rack } = broker.clone();
            self.endpoints.push(NodeEndpoint { node_id: id, host, port, rack });
        }
        LeaderIdAndEpoch { leader_id: broker.id, leader_epoch: *epoch }
    }
}

impl RemoteCall {
    fn is_ready(&mut self) -> bool {
        if self.outcomes.is_none() {
            self.outcomes = match self.answer.try_recv() {
                Ok(outcomes) => outcomes,
                Err(oneshot::Canceled) => Some(Vec::new()),
            };
        }
        self.outcomes.is_some()
    }

    async fn wait(&mut self) {
        if self.outcomes.is_none() {
            self.outcomes = Some((&mut self.answer).await.unwrap_or_default());
        }
    }

    /// An owner that went away answers for nothing: its clients look up the leader again.
    fn outcome(&self, index: usize) -> Result<Outcome, PartitionError> {
        match self.outcomes.as_ref().and_then(|outcomes| outcomes.get(index)) {
            Some(Ok(outcome)) => Ok(*outcome),
            Some(Err(failed)) => Err(PartitionError::from_append(failed)),
            None => Err(PartitionError::from_append(&Failed::NOT_LEADER)),
        }
    }
}

fn partition_response(index: i32, result: Result<Outcome, PartitionError>) -> PartitionProduceResponse {
    match result {
        Ok(outcome) => PartitionProduceResponse {
            index,
            error_code: ErrorCode::None.code(),
            base_offset: outcome.base_offset,
            log_append_time_ms: outcome.append_time_ms,
            log_start_offset: outcome.log_start_offset,
            ..Default::default()
        },
        Err(error) => PartitionProduceResponse {
            index,
            error_code: error.code.code(),
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: error.log_start_offset,
            record_errors: error.records.into_iter().map(record_error).collect(),
            error_message: error.message.map(Str::from),
            ..Default::default()
        },
    }
}

fn record_error((batch_index, message): (i32, String)) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage { batch_index, batch_index_error_message: Some(Str::from(message)) }
}
