//! The one place where metadata changes: decide, make durable, publish, answer.
//!
//! Requests are decided one after another, each against the image that the one before leads to. The records of all
//! requests that waited are written and synced together; only then the new image goes to every shard, and a client
//! has its answer when every shard uses that image, so that it can produce to a new topic at once.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use futures_util::future::{Either, select};
use tokio::sync::watch;
use tracing::{error, info};
use wire::kafka::{ErrorCode, Str, Uuid};

use crate::config::BrokerConfig;
use crate::control::admin::Published;
use crate::control::commands::{
    AlterClientQuotas, AlterConfigs, ControlRequest, CreatedTopic, DeletedTopic, Mode, MorePartitions,
    NewTopic, Outcomes, ProducerIds, Refusal, Reply, TopicKey,
};
use crate::control::limits::{
    PARTITIONS_PER_REQUEST_MAX, PRODUCER_IDS_PER_BLOCK, REPLACED_IMAGES_MAX, REQUESTS_PER_SYNC_MAX,
};
use crate::control::metadata_log::{Group, MetadataLog};
use crate::control::topics::{Decision, Rules};
use crate::control::{ImageUpdate, configs, quotas, random, topics};
use crate::metadata::image::{MetadataImage, TopicChange};
use crate::metadata::records::Record;

/// The state of the control thread.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) config: Arc<BrokerConfig>,
    pub(super) log: MetadataLog,
    pub(super) image: Arc<MetadataImage>,
    pub(super) shards: Vec<Sender<ImageUpdate>>,
    pub(super) published: watch::Sender<Published>,
    pub(super) answers: Answers,
}

/// Answers that wait until every shard uses the image that they tell of, in the order of the images. No more images are on
/// their way to a shard than its queue holds, so no more batches wait here.
#[derive(Default)]
pub(super) struct Answers {
    waiting: VecDeque<Waiting>,
    /// Images that no shard uses any more and a request may still look at. The last who lets go of an image frees what no
    /// other shares, and that may take long: it is to be this thread.
    replaced: Vec<Arc<MetadataImage>>,
}

struct Waiting {
    applied: Receiver<()>,
    pending: Vec<Pending>,
    replaced: Arc<MetadataImage>,
    /// Freed here too.
    _changes: Arc<[TopicChange]>,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} batches of answers", self.waiting.len())
    }
}

impl Answers {
    /// Gives the next answers when it is their time; waits for ever when there are none. May be dropped at any time.
    async fn give_next(&mut self) {
        let Some(next) = self.waiting.front() else { return std::future::pending().await };
        // Nothing is ever sent: the channel closes when the last shard has let go of its update.
        let _ = next.applied.recv().await;
        let Some(Waiting { pending, replaced, .. }) = self.waiting.pop_front() else { return };
        for answer in pending {
            answer(Ok(()));
        }
        self.replaced.push(replaced);
        self.replaced.retain(|image| Arc::strong_count(image) > 1);
        if self.replaced.len() > REPLACED_IMAGES_MAX {
            self.replaced.remove(0);
        }
    }
}

/// Gives an answer once it is known whether what it says is durable.
type Pending = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// What the requests of one sync add up to.
struct Working {
    image: MetadataImage,
    groups: Vec<Group>,
    changes: Vec<TopicChange>,
}

impl Controller {
    /// Serves until nobody can send a request any more. Runs on any executor; syncs of the metadata log hold its thread.
    pub(super) async fn run(mut self, requests: Receiver<ControlRequest>) {
        loop {
            let next = match select(pin!(self.answers.give_next()), pin!(requests.recv())).await {
                Either::Left(((), _)) => continue,
                Either::Right((next, _)) => next,
            };
            let Ok(first) = next else { break };
            let mut batch = vec![first];
            while batch.len() < REQUESTS_PER_SYNC_MAX
                && let Ok(next) = requests.try_recv()
            {
                batch.push(next);
            }
            self.serve(batch).await;
        }
        // Shards that stop drop their updates; then the last answers go out too.
        while !self.answers.waiting.is_empty() {
            self.answers.give_next().await;
        }
    }

    async fn serve(&mut self, batch: Vec<ControlRequest>) {
        let mut working =
            Working { image: self.image.as_ref().clone(), groups: Vec::new(), changes: Vec::new() };
        let pending: Vec<_> = batch.into_iter().map(|request| self.decide(&mut working, request)).collect();
        if working.groups.is_empty() {
            for answer in pending {
                answer(Ok(()));
            }
            return;
        }
        // The sync holds this thread and nothing else: shards never wait for it.
        if let Err(failure) = self.log.append(&working.groups) {
            error!(error = %failure, "metadata cannot be made durable, changes are refused");
            self.published.send_modify(|published| published.log_failed = true);
            let refusal =
                Refusal::new(ErrorCode::KafkaStorageError, format!("The metadata log failed: {failure}."));
            for answer in pending {
                answer(Err(refusal.clone()));
            }
            return;
        }
        let replaced = std::mem::replace(&mut self.image, Arc::new(working.image));
        let image = Arc::clone(&self.image);
        self.published.send_replace(Published { image, log_failed: false });
        let changes: Arc<[TopicChange]> = working.changes.into();
        let applied = self.publish(&changes).await;
        self.answers.waiting.push_back(Waiting { applied, pending, replaced, _changes: changes });
        self.snapshot_when_due();
    }

    async fn publish(&mut self, changes: &Arc<[TopicChange]>) -> Receiver<()> {
        let (receipt, applied) = async_channel::bounded(1);
        for shard in &self.shards {
            let (image, changes) = (Arc::clone(&self.image), Arc::clone(changes));
            // A shard that is gone needs no image.
            let _ = shard.send(ImageUpdate { image, changes, receipt: receipt.clone() }).await;
        }
        applied
    }

    fn snapshot_when_due(&mut self) {
        if !self.log.wants_snapshot() {
            return;
        }
        let (version, state) = (self.image.version(), self.image.state());
        match self.log.snapshot(version, &state) {
            Ok(()) => info!(version, records = state.len(), "metadata snapshot written"),
            Err(failure) => {
                error!(error = %failure, "metadata snapshot failed");
            }
        }
    }

    fn decide(&self, working: &mut Working, request: ControlRequest) -> Pending {
        match request {
            ControlRequest::CreateTopics(all, mode, reply) => {
                let outcomes = self.create_topics(working, &all, mode);
                each_pending(outcomes, reply)
            }
            ControlRequest::EnsureTopics(names, reply) => {
                let outcomes = self.ensure_topics(working, &names);
                each_pending(outcomes, reply)
            }
            ControlRequest::DeleteTopics(keys, reply) => {
                let outcomes = self.delete_topics(working, &keys);
                each_pending(outcomes, reply)
            }
            ControlRequest::CreatePartitions(all, mode, reply) => {
                let outcomes = self.create_partitions(working, &all, mode);
                each_pending(outcomes, reply)
            }
            ControlRequest::AlterConfigs(all, mode, reply) => {
                let outcomes = self.alter_configs(working, &all, mode);
                each_pending(outcomes, reply)
            }
            ControlRequest::AlterClientQuotas(all, mode, reply) => {
                let outcomes = working.alter_client_quotas(&all, mode);
                each_pending(outcomes, reply)
            }
            ControlRequest::AllocateProducerIds(reply) => {
                let outcome = producer_ids(working);
                Box::new(move |durable| drop(reply.try_send(durable.and(outcome))))
            }
        }
    }

    fn create_topics(&self, working: &mut Working, all: &[NewTopic], mode: Mode) -> Outcomes<CreatedTopic> {
        let twice = repeated(all.iter().map(|topic| &topic.name));
        let mut budget = PARTITIONS_PER_REQUEST_MAX;
        let create = |topic: &NewTopic| {
            if twice.contains(&topic.name) {
                return Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."));
            }
            let id = fresh_id(&working.image)?;
            let decision = topics::create(self.rules(&working.image), topic, id)?;
            spend(&mut budget, decision.answer.partitions)?;
            let created = working.take(decision, mode)?;
            Ok(CreatedTopic { id: if mode == Mode::Apply { created.id } else { Uuid::ZERO }, ..created })
        };
        all.iter().map(create).collect()
    }

    fn ensure_topics(&self, working: &mut Working, names: &[Str]) -> Outcomes<CreatedTopic> {
        let mut budget = PARTITIONS_PER_REQUEST_MAX;
        let ensure = |name: &Str| {
            if let Some(topic) = working.image.topic(name) {
                return Ok(topics::existing(topic));
            }
            let id = fresh_id(&working.image)?;
            let topic = topics::automatic(&self.config, name);
            let decision = topics::create(self.rules(&working.image), &topic, id)?;
            spend(&mut budget, decision.answer.partitions)?;
            working.take(decision, Mode::Apply)
        };
        names.iter().map(ensure).collect()
    }

    fn delete_topics(&self, working: &mut Working, keys: &[TopicKey]) -> Outcomes<DeletedTopic> {
        let twice = repeated(keys.iter());
        let delete = |key: &TopicKey| {
            if twice.contains(key) {
                let what = if matches!(key, TopicKey::Name(_)) { "name" } else { "ID" };
                return Err(Refusal::new(ErrorCode::InvalidRequest, format!("Duplicate topic {what}.")));
            }
            let decision = topics::delete(self.rules(&working.image), key)?;
            working.take(decision, Mode::Apply)
        };
        keys.iter().map(delete).collect()
    }

    fn create_partitions(&self, working: &mut Working, all: &[MorePartitions], mode: Mode) -> Outcomes<()> {
        let twice = repeated(all.iter().map(|more| &more.topic));
        let mut budget = PARTITIONS_PER_REQUEST_MAX;
        let create = |more: &MorePartitions| {
            if twice.contains(&more.topic) {
                return Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."));
            }
            let decision = topics::more_partitions(self.rules(&working.image), more)?;
            spend(&mut budget, decision.records.len() as i32)?;
            working.take(decision, mode)
        };
        all.iter().map(create).collect()
    }

    fn alter_configs(&self, working: &mut Working, all: &[AlterConfigs], mode: Mode) -> Outcomes<()> {
        let twice = repeated(all.iter().map(|one| (one.resource_type, &one.resource_name)));
        let alter = |one: &AlterConfigs| {
            if twice.contains(&(one.resource_type, &one.resource_name)) {
                return Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    "Each resource must appear at most once.",
                ));
            }
            let decision = configs::alter(self.rules(&working.image), one)?;
            working.take(decision, mode)
        };
        all.iter().map(alter).collect()
    }

    fn rules<'a>(&'a self, image: &'a MetadataImage) -> Rules<'a> {
        Rules { image, config: &self.config }
    }
}

impl Working {
    fn alter_client_quotas(&mut self, all: &[AlterClientQuotas], mode: Mode) -> Outcomes<()> {
        let twice = repeated(all.iter().map(|one| &one.entity));
        let alter = |one: &AlterClientQuotas| {
            if twice.contains(&one.entity) {
                return Err(quotas::twice(&one.entity));
            }
            self.take(quotas::alter(&self.image, one)?, mode)
        };
        all.iter().map(alter).collect()
    }

    /// Takes a decision over into the working image.
    fn take<T>(&mut self, decision: Decision<T>, mode: Mode) -> Result<T, Refusal> {
        if mode == Mode::Apply && !decision.records.is_empty() {
            let applied = self.image.apply(&decision.records).map_err(|fault| {
                error!(%fault, "a decision does not fit the metadata that it was made for");
                Refusal::new(ErrorCode::UnknownServerError, fault.to_string())
            })?;
            self.image = applied.image;
            self.changes.extend(applied.changes);
            self.groups.push(decision.records);
        }
        Ok(decision.answer)
    }
}

fn each_pending<T: Send + 'static>(outcomes: Outcomes<T>, reply: Reply<Outcomes<T>>) -> Pending {
    Box::new(move |durable| {
        let told = outcomes.into_iter().map(|outcome| match (&durable, outcome) {
            (Err(refusal), Ok(_)) => Err(refusal.clone()),
            (_, outcome) => outcome,
        });
        // A client that went away needs no answer.
        let _ = reply.try_send(told.collect());
    })
}

/// The keys that come more than once. One pass: a request may hold as many as its frame has room for.
fn repeated<K: Hash + Eq + Copy>(keys: impl Iterator<Item = K>) -> HashSet<K> {
    let mut seen = HashSet::new();
    keys.filter(|key| !seen.insert(*key)).collect()
}

/// Takes new partitions from what one request may create.
fn spend(budget: &mut usize, partitions: i32) -> Result<(), Refusal> {
    let left = usize::try_from(partitions).ok().and_then(|partitions| budget.checked_sub(partitions));
    *budget = left.ok_or_else(|| {
        Refusal::new(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.")
    })?;
    Ok(())
}

/// The next block of producer ids.
fn producer_ids(working: &mut Working) -> Result<ProducerIds, Refusal> {
    let first = working.image.next_producer_id();
    let next = first.checked_add(PRODUCER_IDS_PER_BLOCK).ok_or_else(|| {
        Refusal::new(
            ErrorCode::UnknownServerError,
            "Exhausted all producer ids as the next block would overflow.",
        )
    })?;
    let answer = ProducerIds { first, count: PRODUCER_IDS_PER_BLOCK };
    working.take(Decision { records: vec![Record::ProducerIds { next }], answer }, Mode::Apply)
}

/// A random id that no topic has.
fn fresh_id(image: &MetadataImage) -> Result<Uuid, Refusal> {
    let failed = |error: std::io::Error| {
        Refusal::new(ErrorCode::UnknownServerError, format!("The kernel gives no random bytes: {error}."))
    };
    loop {
        let id = random::uuid().map_err(failed)?;
        if image.topic_by_id(&id).is_none() {
            return Ok(id);
        }
    }
}
