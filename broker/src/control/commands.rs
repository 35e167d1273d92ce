//! What the control plane is asked, and what it answers. Free of the protocol's versions; handlers translate.

use std::fmt;
use std::sync::Arc;

use wire::kafka::{ErrorCode, Str, Uuid};

use crate::metadata::topic_config::Overrides;

/// A request that is refused, as a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What client libraries decide by.
    pub code: ErrorCode,
    /// What a person reads.
    pub message: String,
}

impl Refusal {
    /// A refusal with Kafka's sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// Whether a request changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Do it.
    Apply,
    /// Only say what would happen.
    ValidateOnly,
}

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: Str,
    /// How many partitions; −1 is the broker's default, and needed with `assignments`.
    pub partitions: i32,
    /// How many replicas; −1 is the broker's default, and needed with `assignments`.
    pub replication_factor: i16,
    /// Which brokers hold which partition, or nothing.
    pub assignments: Vec<Assignment>,
    /// Settings; a value that is null is refused.
    pub configs: Vec<(Str, Option<Str>)>,
}

/// The brokers of one partition, the leader first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The partition's index.
    pub partition: i32,
    /// The brokers.
    pub brokers: Vec<i32>,
}

/// A topic that was made, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; zero when it was only validated.
    pub id: Uuid,
    /// Its name.
    pub name: Str,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas.
    pub replication_factor: i16,
    /// The settings that were set on it.
    pub overrides: Arc<Overrides>,
}

/// A topic to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicKey {
    /// By name.
    Name(Str),
    /// By id.
    Id(Uuid),
}

/// A topic that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: Str,
}

/// More partitions for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MorePartitions {
    /// The topic.
    pub topic: Str,
    /// How many it shall have.
    pub count: i32,
    /// The brokers of each new partition, the leader first; `None` lets the controller choose.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// Changes to the settings of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterConfigs {
    /// The number of the resource's type: 2 topic, 4 broker.
    pub resource_type: i8,
    /// The topic's name; the broker's number, or nothing for all brokers.
    pub resource_name: Str,
    /// What to change.
    pub change: ConfigChange,
}

/// How settings change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// One operation a setting (`IncrementalAlterConfigs`, KIP-339).
    Incremental(Vec<ConfigOperation>),
    /// These are all settings from now on (`AlterConfigs`).
    Replace(Vec<(Str, Option<Str>)>),
}

/// One operation on one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigOperation {
    /// The setting.
    pub name: Str,
    /// 0 set, 1 delete, 2 append to a list, 3 subtract from a list.
    pub operation: i8,
    /// The value; null for delete.
    pub value: Option<Str>,
}

/// Changes to the quotas of one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterClientQuotas {
    /// The parts of the entity, by type; a name that is null is the default.
    pub entity: Vec<(Str, Option<Str>)>,
    /// What to set, by name; none takes a quota away.
    pub operations: Vec<(Str, Option<f64>)>,
}

/// A run of producer ids that nobody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIds {
    /// The first.
    pub first: i64,
    /// How many.
    pub count: i64,
}

/// The outcome of each element of a request, in its order.
pub type Outcomes<T> = Vec<Result<T, Refusal>>;

/// One request to the control thread with the place for its answer.
#[derive(Debug)]
pub enum ControlRequest {
    /// Make topics.
    CreateTopics(Vec<NewTopic>, Mode, Reply<Outcomes<CreatedTopic>>),
    /// Make topics that are not there, with default settings; the broker's own topics too.
    EnsureTopics(Vec<Str>, Reply<Outcomes<CreatedTopic>>),
    /// Delete topics.
    DeleteTopics(Vec<TopicKey>, Reply<Outcomes<DeletedTopic>>),
    /// Add partitions.
    CreatePartitions(Vec<MorePartitions>, Mode, Reply<Outcomes<()>>),
    /// Change settings.
    AlterConfigs(Vec<AlterConfigs>, Mode, Reply<Outcomes<()>>),
    /// Change quotas of clients.
    AlterClientQuotas(Vec<AlterClientQuotas>, Mode, Reply<Outcomes<()>>),
    /// Take a block of producer ids.
    AllocateProducerIds(Reply<Result<ProducerIds, Refusal>>),
}

/// The place for one answer.
pub type Reply<T> = async_channel::Sender<T>;
