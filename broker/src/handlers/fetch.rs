//! Fetch: long poll, at least one whole batch, records never copied into the answer.
//!
//! Each owner reads its partitions with what is left of the byte limit, in the order asked. When there is too
//! little, the request parks on the owners until a partition grows or `max_wait_ms` is over, and what that owner reads
//! then comes with its answer: to read, to wait and to read again is one call to a shard that owns all, two to others.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, join_all, select, select_all};
use wire::kafka::Records;
use wire::kafka::error_code::ErrorCode;
use wire::kafka::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};

use super::brokers::{Broker, Elsewhere, Leader};
use super::fetch_sessions::{FetchKey, FetchSpec, Mode, Plan};
use super::reply::{Part, Response};
use super::{Context, Incoming, Refusal};
use crate::metadata::ids::ShardId;
use crate::shard::partition::{ReadOutcome, ReadSpec};
use crate::shard::shard::Wanted;

/// The first versions whose answer names the leader of a partition, and where it listens.
const LEADERS_FROM: i16 = 12;
const ENDPOINTS_FROM: i16 = 16;

/// One partition of the request, resolved.
struct Item {
    target: Result<(ShardId, ReadSpec), Elsewhere>,
}

/// Answers a fetch request.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: FetchRequest,
) -> Result<Response, Refusal> {
    let version = request.header.api_version;
    let plan = match context.fetch_sessions.borrow_mut().plan(&body, version) {
        Ok(plan) => plan,
        Err(code) => {
            let refused = FetchResponse { error_code: code.code(), ..Default::default() };
            return Ok(Response::encode(request.key, &request.header, &refused, &mut []));
        }
    };
    let items: Vec<Item> =
        plan.partitions.iter().map(|(key, spec)| resolve(context, key, spec, version)).collect();
    let wanted = Wanted {
        bytes_min: body.min_bytes.max(0) as usize,
        bytes_max: (body.max_bytes.max(0) as usize).min(context.config.network.fetch_max_bytes as usize),
        deadline: reactor::now() + Duration::from_millis(body.max_wait_ms.max(0) as u64),
    };
    let outcomes = poll(context, &items, wanted).await;
    let isolation = Isolation::from_wire(body.isolation_level);
    Ok(answer(context, request, &plan, isolation, (&items, outcomes)))
}

/// What a consumer wants to see of transactions (KIP-98).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    Uncommitted,
    Committed,
}

impl Isolation {
    fn from_wire(level: i8) -> Isolation {
        if level == 1 { Isolation::Committed } else { Isolation::Uncommitted }
    }
}

fn resolve(context: &Context, key: &FetchKey, spec: &FetchSpec, version: i16) -> Item {
    let target = context.resolve(&key.name, key.topic_id, key.partition, version >= 13);
    let target = target.map(|target| {
        let read = ReadSpec {
            id: target.id,
            from: spec.fetch_offset,
            current_leader_epoch: spec.current_leader_epoch,
            last_fetched_epoch: spec.last_fetched_epoch,
            bytes_max: spec.bytes_max.max(0) as usize,
        };
        (target.shard, read)
    });
    Item { target }
}

/// Reads until there is enough. What only one shard owns is read and waited for there, by one call; else every owner
/// reads, and then each waits and reads again until one has more.
async fn poll(context: &Rc<Context>, items: &[Item], wanted: Wanted) -> Vec<ReadOutcome> {
    if let Some((shard, specs)) = sole_owner(items) {
        let _parked = context.shard.metrics.fetches_parked.enter();
        let (_cancel, cancelled) = oneshot::channel();
        let read = context.on_shard(shard, move |owner| async move {
            owner.shard.read_when(specs, None, wanted, cancelled).await
        });
        let stopping = std::pin::pin!(context.stopping.wait());
        if let Either::Left((Ok(Some(outcomes)), _)) = select(std::pin::pin!(read), stopping).await {
            return outcomes;
        }
    }
    let mut outcomes = read_all(context, items, wanted.bytes_max).await;
    loop {
        let due = reactor::now() >= wanted.deadline || context.stopping.has_begun();
        if due || items.is_empty() || wanted.is_met_by(&outcomes) {
            return outcomes;
        }
        wait_for_more(context, items, &mut outcomes, wanted).await;
    }
}

/// The shard that owns all of the items, and what it is to read.
fn sole_owner(items: &[Item]) -> Option<(ShardId, Vec<ReadSpec>)> {
    let (owner, _) = items.first()?.target.as_ref().ok()?;
    let of_owner =
        |item: &Item| item.target.as_ref().ok().filter(|(shard, _)| shard == owner).map(|(_, spec)| *spec);
    Some((*owner, items.iter().map(of_owner).collect::<Option<_>>()?))
}

/// Reads every item on its owner. What one owner cannot know of another's reads is trimmed here, in request order.
async fn read_all(context: &Rc<Context>, items: &[Item], bytes_max: usize) -> Vec<ReadOutcome> {
    let mut by_shard: BTreeMap<ShardId, Vec<(usize, ReadSpec)>> = BTreeMap::new();
    let mut outcomes: Vec<Option<ReadOutcome>> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match &item.target {
            Ok((shard, spec)) => {
                by_shard.entry(*shard).or_default().push((index, *spec));
                outcomes.push(None);
            }
            Err(elsewhere) => outcomes.push(Some(ReadOutcome::failed(elsewhere.code))),
        }
    }
    let shards = by_shard.len();
    let reads = by_shard.into_iter().map(|(shard, specs)| async move {
        let (indexes, specs): (Vec<usize>, Vec<ReadSpec>) = specs.into_iter().unzip();
        let read = context
            .on_shard(shard, move |owner| async move { owner.shard.read_many(specs, bytes_max).await })
            .await;
        (indexes, read)
    });
    for (indexes, read) in join_all(reads).await {
        match read {
            Ok(read) => {
                for (index, outcome) in indexes.into_iter().zip(read) {
                    outcomes[index] = Some(outcome);
                }
            }
            Err(_gone) => {
                for index in indexes {
                    outcomes[index] = Some(ReadOutcome::failed(ErrorCode::NotLeaderOrFollower));
                }
            }
        }
    }
    let mut outcomes: Vec<ReadOutcome> = outcomes.into_iter().flatten().collect();
    if shards > 1 {
        trim(&mut outcomes, bytes_max);
    }
    outcomes
}

/// Keeps the total within `bytes_max`, except that the first partition with records keeps what it has.
fn trim(outcomes: &mut [ReadOutcome], bytes_max: usize) {
    let mut total = 0;
    for outcome in outcomes {
        if total > 0 && total + outcome.bytes > bytes_max {
            outcome.parts.clear();
            outcome.bytes = 0;
        }
        total += outcome.bytes;
    }
}

/// What one shard is asked for of a request: which of its items, and what was seen of them.
#[derive(Default)]
struct Share {
    indexes: Vec<usize>,
    specs: Vec<ReadSpec>,
    seen: Vec<i64>,
}

/// Parks until a partition has more than it had, or the deadline, and takes what its owner has then.
async fn wait_for_more(context: &Rc<Context>, items: &[Item], outcomes: &mut [ReadOutcome], wanted: Wanted) {
    let mut by_shard: BTreeMap<ShardId, Share> = BTreeMap::new();
    for (index, (item, outcome)) in items.iter().zip(outcomes.iter()).enumerate() {
        if let Ok((shard, spec)) = &item.target {
            let share = by_shard.entry(*shard).or_default();
            share.indexes.push(index);
            share.specs.push(*spec);
            share.seen.push(outcome.high_watermark);
        }
    }
    // Whatever grows is news to the others' sum.
    let wanted = Wanted { bytes_min: 0, ..wanted };
    let mut cancels = Vec::with_capacity(by_shard.len());
    let reads: Vec<_> = by_shard
        .into_iter()
        .map(|(shard, Share { indexes, specs, seen })| {
            let (cancel, cancelled) = oneshot::channel::<()>();
            cancels.push(cancel);
            Box::pin(async move {
                let read = context.on_shard(shard, move |owner| async move {
                    owner.shard.read_when(specs, Some(seen), wanted, cancelled).await
                });
                (indexes, read.await)
            })
        })
        .collect();
    if reads.is_empty() {
        return;
    }
    let shards = reads.len();
    let _parked = context.shard.metrics.fetches_parked.enter();
    let stopping = std::pin::pin!(context.stopping.wait());
    // Dropping `cancels` ends the waits on the other owners.
    let Either::Left((((indexes, read), ..), _)) = select(select_all(reads), stopping).await else { return };
    match read {
        Ok(Some(read)) => {
            for (index, outcome) in indexes.into_iter().zip(read) {
                outcomes[index] = outcome;
            }
        }
        Ok(None) => {}
        Err(_gone) => {
            for index in indexes {
                outcomes[index] = ReadOutcome::failed(ErrorCode::NotLeaderOrFollower);
            }
        }
    }
    if shards > 1 {
        trim(outcomes, wanted.bytes_max);
    }
}

fn answer(
    context: &Context,
    request: &Incoming,
    plan: &Plan,
    isolation: Isolation,
    (items, outcomes): (&[Item], Vec<ReadOutcome>),
) -> Response {
    let version = request.header.api_version;
    let mut external: Vec<Vec<Part>> = Vec::with_capacity(outcomes.len());
    let answers: Vec<PartitionData> = plan
        .partitions
        .iter()
        .zip(items.iter().zip(outcomes))
        .map(|((key, _), (item, outcome))| PartitionData {
            current_leader: current_leader(item.leader().filter(|_| version >= LEADERS_FROM)),
            ..partition_data(key, outcome, isolation, &mut external)
        })
        .collect();
    let mut sessions = context.fetch_sessions.borrow_mut();
    let session_id = match plan.mode {
        Mode::Sessionless => 0,
        Mode::New => sessions.begin(plan, &answers, version),
        Mode::Incremental(id) => id,
    };
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    for ((key, _), data) in plan.partitions.iter().zip(answers) {
        if let Mode::Incremental(id) = plan.mode
            && !sessions.has_news(id, key, &data)
        {
            continue;
        }
        match responses.last_mut() {
            Some(last) if last.topic == key.name && last.topic_id == key.topic_id => {
                last.partitions.push(data);
            }
            _ => responses.push(FetchableTopicResponse {
                topic: key.name.clone(),
                topic_id: key.topic_id,
                partitions: vec![data],
            }),
        }
    }
    let node_endpoints = if version >= ENDPOINTS_FROM { endpoints(items) } else { Vec::new() };
    let body = FetchResponse { session_id, responses, node_endpoints, ..Default::default() };
    Response::encode(request.key, &request.header, &body, &mut external)
}

impl Item {
    /// The partition's leader, if it is another broker.
    fn leader(&self) -> Option<&Leader> {
        self.target.as_ref().err()?.leader.as_deref()
    }
}

fn current_leader(leader: Option<&Leader>) -> LeaderIdAndEpoch {
    leader.map_or_else(LeaderIdAndEpoch::default, |leader| LeaderIdAndEpoch {
        leader_id: leader.broker.id,
        leader_epoch: leader.epoch,
    })
}

/// Where the leaders listen that the answer names, each once (KIP-951).
fn endpoints(items: &[Item]) -> Vec<NodeEndpoint> {
    let mut endpoints: Vec<NodeEndpoint> = Vec::new();
    for leader in items.iter().filter_map(Item::leader) {
        if endpoints.iter().all(|known| known.node_id != leader.broker.id) {
            let Broker { id, host, port, rack } = leader.broker.clone();
            endpoints.push(NodeEndpoint { node_id: id, host, port, rack });
        }
    }
    endpoints
}

fn partition_data(
    key: &FetchKey,
    outcome: ReadOutcome,
    isolation: Isolation,
    external: &mut Vec<Vec<Part>>,
) -> PartitionData {
    let failed = outcome.error != ErrorCode::None;
    let diverging_epoch = outcome.diverging.map(|(epoch, end_offset)| EpochEndOffset { epoch, end_offset });
    let records = Records::External { len: outcome.bytes, id: external.len() };
    external.push(outcome.parts);
    PartitionData {
        partition_index: key.partition,
        error_code: outcome.error.code(),
        high_watermark: outcome.high_watermark,
        last_stable_offset: outcome.high_watermark,
        log_start_offset: outcome.log_start_offset,
        diverging_epoch: diverging_epoch.unwrap_or_default(),
        aborted_transactions: (failed || isolation == Isolation::Committed).then(Vec::new),
        preferred_read_replica: -1,
        records,
        ..Default::default()
    }
}
