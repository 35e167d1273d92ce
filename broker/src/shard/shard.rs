//! A shard: its partitions, the last metadata image, and what crosses several partitions.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;
use reactor::BufferPool;
use reactor::sync::Semaphore;
use storage::Store;
use storage::types::LeaderEpoch;
use wire::kafka::error_code::ErrorCode;
use wire::kafka::types::{Str, Uuid};

use super::PartitionId;
use super::budget::RequestBudget;
use super::log_pace::LogPace;
use super::partition::Partition;
use crate::limits;
use crate::metadata::client_quotas::Quota;
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
    /// Memory for large frames.
    pub frames: Rc<BufferPool>,
    /// Which long check of a produced batch goes on; see [`super::validate`].
    pub long_checks: Semaphore,
    /// Which answer that tells of everything there is is made: many who ask for it take no more turns than one.
    pub long_answers: Semaphore,
    /// Large sends that may begin in this turn.
    pub bulk_sends: Semaphore,
    /// Large receives that may.
    pub bulk_receives: Semaphore,
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

impl Shard {
    /// A shard over its store, with the image that the node started from and no partition yet.
    pub fn new(index: ShardId, store: Store, image: Arc<MetadataImage>) -> Shard {
        Shard {
            index,
            store,
            metrics: Metrics::default(),
            request_budget: Rc::default(),
            frames: BufferPool::new(
                limits::FRAME_BUFFER_BYTES,
                limits::FRAME_BUFFERS_BYTES_MAX,
                limits::FRAME_BUFFERS_READY,
            ),
            long_checks: Semaphore::new(1),
            long_answers: Semaphore::new(1),
            bulk_sends: Semaphore::new(limits::BULK_BEGUN_A_TURN),
            bulk_receives: Semaphore::new(limits::BULK_BEGUN_A_TURN),
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

    /// The quota that holds for a client id, if any.
    pub fn client_quota(&self, client_id: &str, quota: Quota) -> Option<f64> {
        self.image.borrow().client_quotas().of_client(client_id, quota)
    }

    /// A partition of this shard.
    pub fn partition(&self, id: PartitionId) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&id).cloned()
    }

    /// How many partitions live here.
    pub fn partition_count(&self) -> usize {
        self.partitions.borrow().len()
    }

    /// All partitions of this shard, in one go: who serves clients goes from place to place.
    pub fn partitions(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// One partition of this shard, by its place among them, which changes when others go: to go through them all in steps.
    pub fn partition_at(&self, place: usize) -> Option<Rc<Partition>> {
        self.partitions.borrow().get_index(place).map(|(_, partition)| partition.clone())
    }

    /// Gives up a partition.
    pub fn remove(&self, id: PartitionId) -> Option<Rc<Partition>> {
        self.partitions.borrow_mut().swap_remove(&id)
    }

    /// Bytes of every partition of this shard.
    pub async fn log_sizes(&self) -> Vec<(PartitionId, u64)> {
        let mut sizes = Vec::with_capacity(self.partition_count());
        while let Some(partition) = self.partition_at(sizes.len()) {
            sizes.push((partition.id, partition.log.size_bytes()));
            reactor::give_way().await;
        }
        sizes
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
}
