//! A shard: its partitions, the last metadata image, and what crosses several partitions.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use futures_channel::oneshot;
use futures_util::future::{Either, select, select_all};
use indexmap::IndexMap;
use reactor::Instant;
use reactor::sync::Semaphore;
use storage::types::LeaderEpoch;
use storage::{ReadPart, Store};
use wire::kafka::error_code::ErrorCode;
use wire::kafka::types::{Str, Uuid};

use super::PartitionId;
use super::budget::RequestBudget;
use super::log_pace::LogPace;
use super::partition::{Partition, ReadOutcome, ReadSpec};
use crate::limits;
use crate::metadata::ids::ShardId;
use crate::metadata::image::MetadataImage;
use crate::metadata::topic_config::TopicConfig;
use crate::metrics::Metrics;

/// Data plane of one core.
pub struct Shard {
    /// Which shard of the node.
    pub index: ShardId,
    /// Commit log and logs of this shard.
    pub store: Store,
    /// What this shard counts.
    pub metrics: Metrics,
    /// Memory that requests in flight may hold.
    pub request_budget: Rc<RequestBudget>,
    /// Which long check of a produced batch goes on; see [`super::validate`].
    pub long_checks: Semaphore,
    /// Which answer that tells of everything there is is made: many who ask for it take no more turns than one.
    pub long_answers: Semaphore,
    /// Steps of large answers that may begin in this turn.
    pub bulk_sends: Semaphore,
    /// Lines about connections.
    pub log_pace: LogPace,
    image: RefCell<Arc<MetadataImage>>,
    partitions: RefCell<IndexMap<PartitionId, Rc<Partition>>>,
}

/// Where a partition is and how its topic is configured.
pub struct Target {
    /// Topic id and index.
    pub id: PartitionId,
    /// Owner.
    pub shard: ShardId,
    /// Of the owner's leadership.
    pub leader_epoch: LeaderEpoch,
    /// Of the topic.
    pub config: Arc<TopicConfig>,
}

/// What a reader waits for, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Fewer bytes are waited for.
    pub bytes_min: usize,
    /// More are not given.
    pub bytes_max: usize,
    /// When what there is will do.
    pub deadline: Instant,
}

impl Shard {
    /// A shard over its store, with the image that the node started from and no partition yet.
    pub fn new(index: ShardId, store: Store, image: Arc<MetadataImage>) -> Shard {
        Shard {
            index,
            store,
            metrics: Metrics::default(),
            request_budget: Rc::default(),
            long_checks: Semaphore::new(1),
            long_answers: Semaphore::new(1),
            bulk_sends: Semaphore::new(limits::SEND_BULK_STEPS),
            log_pace: LogPace::default(),
            image: RefCell::new(image),
            partitions: RefCell::default(),
        }
    }

    /// The last image that was applied.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.image.borrow().clone()
    }

    /// Takes the next image.
    pub fn set_image(&self, image: Arc<MetadataImage>) {
        *self.image.borrow_mut() = image;
    }

    /// A partition of this shard.
    pub fn partition(&self, id: PartitionId) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&id).cloned()
    }

    /// How many partitions live here.
    pub fn partition_count(&self) -> usize {
        self.partitions.borrow().len()
    }

    /// All partitions of this shard.
    pub fn partitions(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// The partitions of one topic that this shard owns.
    pub fn partitions_of(&self, topic: Uuid) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().filter(|partition| partition.id.topic == topic).cloned().collect()
    }

    /// Gives up the partitions of a topic.
    pub fn remove_topic(&self, topic: Uuid) -> Vec<Rc<Partition>> {
        let gone = self.partitions_of(topic);
        for partition in &gone {
            self.partitions.borrow_mut().swap_remove(&partition.id);
        }
        gone
    }

    /// Bytes of every partition of this shard.
    pub async fn log_sizes(&self) -> Vec<(PartitionId, u64)> {
        self.partitions().iter().map(|partition| (partition.id, partition.log.size_bytes())).collect()
    }

    /// Takes ownership of a partition.
    pub fn insert(&self, partition: Rc<Partition>) {
        self.partitions.borrow_mut().insert(partition.id, partition);
    }

    /// Finds a partition in the image, by topic id or by name.
    pub fn resolve(&self, name: &Str, topic_id: Uuid, index: i32, by_id: bool) -> Result<Target, ErrorCode> {
        let image = self.image.borrow();
        let (topic, unknown) = if by_id {
            (image.topic_by_id(&topic_id), ErrorCode::UnknownTopicId)
        } else {
            (image.topic(name), ErrorCode::UnknownTopicOrPartition)
        };
        let topic = topic.ok_or(unknown)?;
        let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok(Target {
            id: PartitionId { topic: topic.id, index },
            shard: partition.shard,
            leader_epoch: partition.leader_epoch,
            config: topic.config.clone(),
        })
    }

    /// Reads several partitions in order, sharing `bytes_max`; the first that has records gives at least one batch.
    pub async fn read_many(&self, specs: Vec<ReadSpec>, bytes_max: usize) -> Vec<ReadOutcome> {
        let mut left = bytes_max;
        let mut any = false;
        let mut outcomes = Vec::with_capacity(specs.len());
        for spec in specs {
            let Some(partition) = self.partition(spec.id) else {
                outcomes.push(ReadOutcome::failed(ErrorCode::NotLeaderOrFollower));
                continue;
            };
            // A limit of 0 still gives one batch while nothing was found; afterwards it gives nothing.
            let limit = if any { spec.bytes_max.min(left) } else { spec.bytes_max.min(left).max(1) };
            let mut outcome = partition.read(&spec, limit).await;
            if any && outcome.bytes > left {
                outcome.parts.clear();
                outcome.bytes = 0;
            }
            self.count_read(&outcome.parts);
            any |= outcome.bytes > 0;
            left = left.saturating_sub(outcome.bytes);
            outcomes.push(outcome);
            if reactor::should_yield() {
                reactor::yield_now().await;
            }
        }
        outcomes
    }

    fn count_read(&self, parts: &[ReadPart]) {
        let (mut memory, mut file) = (0, 0);
        for part in parts {
            match part {
                ReadPart::Memory(bytes) => memory += bytes.len() as u64,
                ReadPart::File { len, .. } => file += *len as u64,
            }
        }
        if memory + file > 0 {
            let reads = if file == 0 { &self.metrics.reads_memory } else { &self.metrics.reads_file };
            reads.add(1);
            self.metrics.read_memory_bytes.add(memory);
            self.metrics.read_file_bytes.add(file);
        }
    }

    /// Reads several partitions as [`Self::read_many`] does, and while that gives too little waits for one of them to
    /// grow and reads again. With `seen`, high watermarks in the order of `specs`, it begins by waiting for one to leave
    /// what was seen. `None`: the caller has gone away.
    pub async fn read_when(
        &self,
        specs: Vec<ReadSpec>,
        mut seen: Option<Vec<i64>>,
        wanted: Wanted,
        mut cancelled: oneshot::Receiver<()>,
    ) -> Option<Vec<ReadOutcome>> {
        loop {
            if let Some(seen) = seen {
                let seen = specs.iter().map(|spec| spec.id).zip(seen);
                if self.wait_for_growth(seen, wanted.deadline, &mut cancelled).await == Waited::Cancelled {
                    return None;
                }
            }
            let outcomes = self.read_many(specs.clone(), wanted.bytes_max).await;
            let due = reactor::now() >= wanted.deadline;
            if due || wanted.is_met_by(&outcomes) {
                return Some(outcomes);
            }
            seen = Some(outcomes.iter().map(|outcome| outcome.high_watermark).collect());
        }
    }

    /// Parks until a partition's high watermark leaves what was seen, the caller goes away, or the deadline.
    async fn wait_for_growth(
        &self,
        seen: impl Iterator<Item = (PartitionId, i64)>,
        deadline: Instant,
        cancelled: &mut oneshot::Receiver<()>,
    ) -> Waited {
        let mut waits = Vec::new();
        for (id, high_watermark) in seen {
            // A partition that is gone must be reported, not waited for.
            let Some(partition) = self.partition(id) else { return Waited::Enough };
            if partition.high_watermark() != high_watermark {
                return Waited::Enough;
            }
            waits.push(Box::pin(async move { partition.changed_from(high_watermark).await }));
        }
        if waits.is_empty() {
            return Waited::Enough;
        }
        let grown = Box::pin(reactor::timeout(deadline.since(reactor::now()), select_all(waits)));
        match select(grown, cancelled).await {
            Either::Left(_) => Waited::Enough,
            Either::Right(_) => Waited::Cancelled,
        }
    }
}

/// How a wait for records ended.
#[derive(PartialEq, Eq)]
enum Waited {
    Enough,
    Cancelled,
}

impl Wanted {
    /// Whether the caller wants no more: there is enough, or something to be told.
    pub fn is_met_by(&self, outcomes: &[ReadOutcome]) -> bool {
        let bytes: usize = outcomes.iter().map(|outcome| outcome.bytes).sum();
        bytes >= self.bytes_min || outcomes.iter().any(|outcome| outcome.error != ErrorCode::None)
    }
}
