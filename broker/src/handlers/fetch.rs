//! Fetch: long poll, at least one whole batch, records never copied into the answer.
//!
//! Each owner reads its partitions with what is left of the byte limit, in the order asked. When there is too little, the
//! owners wait for partitions to grow, until there is enough or `max_wait_ms` is over, and read again only those that have.
//! To read, to wait and to read again is one call to a shard that owns all, two to others.

use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, join_all, select};
use reactor::Pace;
use wire::kafka::Records;
use wire::kafka::error_code::ErrorCode;
use wire::kafka::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};

use super::brokers::{Broker, Elsewhere, Leader};
use super::fetch_sessions::{FetchKey, FetchSessions, FetchSpec, Mode, Plan};
use super::reply::{Part, Response};
use super::{Context, Incoming, Refusal, client_quotas};
use crate::metadata::client_quotas::Quota;
use crate::metadata::ids::ShardId;
use crate::shard::partition::{ReadOutcome, ReadSpec};
use crate::shard::reading::{Gathered, MayRead, Wanted};

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
    let plan = match FetchSessions::plan(&context.fetch_sessions, &body, version).await {
        Ok(plan) => plan,
        Err(code) => {
            let refused = FetchResponse { error_code: code.code(), ..Default::default() };
            return Ok(Response::encode(request.key, &request.header, &refused, &mut []));
        }
    };
    let mut items = Vec::with_capacity(plan.partitions.len());
    let mut pace = Pace::every(32);
    for (key, spec) in &plan.partitions {
        items.push(resolve(context, key, spec, version));
        pace.step().await;
    }
    let mut bytes_max = (body.max_bytes.max(0) as usize).min(context.config.network.fetch_max_bytes as usize);
    let client_id = request.header.client_id.as_deref().unwrap_or_default();
    if let Some(rate) = context.shard.client_quota(client_id, Quota::ConsumerByteRate) {
        // No answer takes more than a second of the quota, but for a batch that is larger.
        bytes_max = bytes_max.min(rate as usize);
    }
    // What can never be there is not waited for.
    let bytes_min = Some(body.min_bytes.max(0) as usize).filter(|min| *min <= bytes_max).unwrap_or(1);
    let wanted = Wanted {
        bytes_min,
        bytes_max,
        deadline: reactor::now() + Duration::from_millis(body.max_wait_ms.max(0) as u64),
    };
    let outcomes = poll(context, &items, wanted).await;
    let bytes = outcomes.iter().map(|outcome| outcome.bytes).sum();
    let throttle = client_quotas::charge(context, Quota::ConsumerByteRate, &request.header, bytes).await;
    let isolation = Isolation::from_wire(body.isolation_level);
    let answer = answer(context, request, &plan, (isolation, throttle), (&items, outcomes)).await;
    Ok(Response { throttle, ..answer })
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
/// reads, and then each waits and tells what it reads of partitions that have grown.
async fn poll(context: &Rc<Context>, items: &[Item], wanted: Wanted) -> Vec<ReadOutcome> {
    let mut shares = shares(items).await;
    if let Some((shard, specs)) = sole_owner(items, &mut shares) {
        let _parked = context.shard.metrics.fetches_parked.enter();
        let (_cancel, cancelled) = oneshot::channel();
        let read = context.on_shard(shard, move |owner| async move {
            owner.shard.read_when(specs, wanted, cancelled).await
        });
        let stopping = pin!(context.stopping.wait());
        if let Either::Left((Ok(Some(outcomes)), _)) = select(pin!(read), stopping).await {
            return outcomes;
        }
        shares = self::shares(items).await;
    }
    let mut gathered = read_all(context, items, &shares, wanted.bytes_max).await;
    if items.is_empty() || gathered.suffices(&wanted) || reactor::now() >= wanted.deadline {
        return gathered.outcomes;
    }
    if !context.stopping.has_begun() {
        wait_for_more(context, shares, &mut gathered, wanted).await;
        trim(&mut gathered.outcomes, wanted.bytes_max);
    }
    gathered.outcomes
}

/// What one shard is asked for of a request: which of its items, and where to read.
#[derive(Default)]
struct Share {
    indexes: Vec<usize>,
    specs: Vec<ReadSpec>,
}

type Shares = BTreeMap<ShardId, Share>;

async fn shares(items: &[Item]) -> Shares {
    let mut shares = Shares::new();
    let mut pace = Pace::every(64);
    for (index, item) in items.iter().enumerate() {
        if let Ok((shard, spec)) = &item.target {
            let share = shares.entry(*shard).or_default();
            share.indexes.push(index);
            share.specs.push(*spec);
        }
        pace.step().await;
    }
    shares
}

/// The shard that owns all of the items, and what it is to read.
fn sole_owner(items: &[Item], shares: &mut Shares) -> Option<(ShardId, Vec<ReadSpec>)> {
    let mut all = shares.iter_mut().filter(|(_, share)| share.indexes.len() == items.len());
    all.next().map(|(shard, share)| (*shard, std::mem::take(&mut share.specs)))
}

/// Reads every item on its owner. What one owner cannot know of another's reads is trimmed here, in request order.
async fn read_all(context: &Rc<Context>, items: &[Item], shares: &Shares, bytes_max: usize) -> Gathered {
    let unread = |item: &Item| match &item.target {
        Ok(_) => ReadOutcome::failed(ErrorCode::NotLeaderOrFollower),
        Err(elsewhere) => ReadOutcome::failed(elsewhere.code),
    };
    let mut outcomes: Vec<ReadOutcome> = items.iter().map(unread).collect();
    let may = MayRead { bytes: bytes_max, some: false };
    let reads = shares.iter().map(|(shard, share)| async move {
        let specs = share.specs.clone();
        let read =
            context.on_shard(*shard, move |owner| async move { owner.shard.read_many(&specs, may).await });
        (share, read.await)
    });
    let mut pace = Pace::every(64);
    for (share, read) in join_all(reads).await {
        // Those of a shard that is gone stay as they are.
        for (index, outcome) in share.indexes.iter().zip(read.unwrap_or_default()) {
            outcomes[*index] = outcome;
            pace.step().await;
        }
    }
    if shares.len() > 1 {
        trim(&mut outcomes, bytes_max);
    }
    Gathered::new(outcomes)
}

/// Parks until there is enough, or the deadline, and takes what the owners have then.
async fn wait_for_more(context: &Rc<Context>, shares: Shares, gathered: &mut Gathered, wanted: Wanted) {
    // Few: an owner that finds the queue full tells everything that has grown meanwhile when there is room.
    let (news, more) = async_channel::bounded(shares.len().max(1));
    let may = gathered.left_for(std::iter::empty(), wanted.bytes_max);
    let mut places: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
    let mut telling = Vec::with_capacity(shares.len());
    for (shard, Share { indexes, specs }) in shares {
        let seen = indexes.iter().map(|index| gathered.outcomes[*index].high_watermark).collect();
        let news = news.clone();
        telling.push(context.on_shard(shard, move |owner| async move {
            owner.shard.tell_more(specs, seen, may, news).await;
        }));
        places.insert(shard, indexes);
    }
    drop(news);
    let mut telling = pin!(join_all(telling));
    let mut stopping = pin!(context.stopping.wait());
    let _parked = context.shard.metrics.fetches_parked.enter();
    while !gathered.suffices(&wanted) {
        let next = pin!(more.recv());
        let told = select(select(next, telling.as_mut()), stopping.as_mut());
        // Without it the owners end: nobody listens any more.
        let told = reactor::timeout(wanted.deadline.since(reactor::now()), told).await;
        let Ok(Either::Left((Either::Left((Ok((shard, read)), _)), _))) = told else { return };
        let Some(indexes) = places.get(&shard) else { return };
        for (place, outcome) in read {
            gathered.put(indexes[place as usize], outcome);
        }
    }
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

async fn answer(
    context: &Context,
    request: &Incoming,
    plan: &Plan,
    (isolation, throttle): (Isolation, Duration),
    (items, outcomes): (&[Item], Vec<ReadOutcome>),
) -> Response {
    let version = request.header.api_version;
    let mut external: Vec<Vec<Part>> = Vec::with_capacity(outcomes.len());
    let mut answers: Vec<PartitionData> = Vec::with_capacity(outcomes.len());
    let mut pace = Pace::every(64);
    for ((key, _), (item, outcome)) in plan.partitions.iter().zip(items.iter().zip(outcomes)) {
        answers.push(PartitionData {
            current_leader: current_leader(item.leader().filter(|_| version >= LEADERS_FROM)),
            ..partition_data(key, outcome, isolation, &mut external)
        });
        pace.step().await;
    }
    let sessions = &context.fetch_sessions;
    let session_id = match plan.mode {
        Mode::Sessionless => 0,
        Mode::New => FetchSessions::begin(sessions, plan, &answers, version).await,
        Mode::Incremental(id) => id,
    };
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    for ((key, _), data) in plan.partitions.iter().zip(answers) {
        pace.step().await;
        if let Mode::Incremental(id) = plan.mode
            && !sessions.borrow_mut().has_news(id, key, &data)
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
    let throttle_time_ms = client_quotas::throttle_ms(throttle);
    let body =
        FetchResponse { throttle_time_ms, session_id, responses, node_endpoints, ..Default::default() };
    Response::encode_paced(request.key, &request.header, &body, &mut external).await
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
