//! What all records up to one version add up to.
//!
//! An image never changes. Applying a group of records gives the next one, which shares all that did not change
//! (persistent maps behind `Arc`), so that one topic among 100,000 costs one topic, and a [`TopicChange`] for each
//! topic that did, so that a shard need not compare. Images are built on the control thread and read on every shard.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use storage::types::{LeaderEpoch, LogId};
use wire::kafka::{Str, Uuid};

use crate::config::Settings;
use crate::config::definition::Setting as _;
use crate::config::server::ListenMode;
use crate::metadata::broker_ids::BrokerIds;
use crate::metadata::client_quotas::ClientQuotas;
use crate::metadata::ids::{NodeId, ShardId};
use crate::metadata::records::EndpointRecord;
use crate::metadata::topic_config::{Layers, Overrides, TopicConfig};
use crate::metadata::topic_name;

/// A partition as the image knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The index in its topic.
    pub index: i32,
    /// The log that holds it.
    pub log: LogId,
    /// The shard of the leader.
    pub shard: ShardId,
    /// The leader.
    pub leader: NodeId,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The nodes with a replica, the preferred leader first. All are in sync while there is one node.
    pub replicas: Vec<NodeId>,
}

/// A topic as the image knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Never reused, also not for a topic of the same name.
    pub id: Uuid,
    /// The name.
    pub name: Str,
    /// Whether it is one of the broker's own.
    pub internal: bool,
    /// The partitions, by index.
    pub partitions: Vec<Partition>,
    /// The settings that were set on it.
    pub overrides: Arc<Overrides>,
    /// The settings that hold.
    pub config: Arc<TopicConfig>,
}

impl Topic {
    /// A partition by its index.
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        usize::try_from(index).ok().and_then(|index| self.partitions.get(index))
    }
}

/// A node as the image knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its rack or zone.
    pub rack: Option<Str>,
    /// What clients of each of its listeners are told.
    pub endpoints: Vec<EndpointRecord>,
    /// How many shards it has; 0 until it said so.
    pub shards: u32,
}

/// What happened to one topic between two images.
#[derive(Debug, Clone)]
pub enum TopicChange {
    /// It is new.
    Created(Arc<Topic>),
    /// It has more partitions, other settings or another placement.
    Changed {
        /// As it was.
        before: Arc<Topic>,
        /// As it is.
        after: Arc<Topic>,
    },
    /// It is gone.
    Removed(Arc<Topic>),
}

/// Whether a log id stands for a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStatus {
    /// A partition has it.
    Live,
    /// A partition had it and was deleted: its bytes may go.
    Deleted,
    /// No partition ever had it: its bytes are a mistake to look at.
    NeverGiven,
}

/// What the image is built from besides records: the node it is for, and how that was started.
#[derive(Debug, Clone)]
pub struct Local {
    /// The node that reads the image.
    pub node: NodeId,
    /// What it was started with.
    pub settings: Arc<Settings>,
}

/// The state of the cluster at one version.
#[derive(Debug, Clone)]
pub struct MetadataImage {
    pub(super) version: u64,
    pub(super) local: Local,
    pub(super) cluster_id: Str,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) by_name: HashTrieMapSync<Str, Arc<Topic>>,
    pub(super) by_id: HashTrieMapSync<Uuid, Arc<Topic>>,
    pub(super) ordered: RedBlackTreeMapSync<Str, Arc<Topic>>,
    /// Names with '.' or '_', by the form in which names that collide are equal.
    pub(super) unified: HashTrieMapSync<String, Str>,
    pub(super) live_logs: HashTrieMapSync<LogId, (Uuid, i32)>,
    pub(super) cluster_overrides: Arc<Overrides>,
    pub(super) node_overrides: BTreeMap<NodeId, Arc<Overrides>>,
    pub(super) client_quotas: Arc<ClientQuotas>,
    /// The settings of a topic on which none were set.
    pub(super) default_config: Arc<TopicConfig>,
    pub(super) next_log: LogId,
    pub(super) next_producer_id: i64,
    pub(super) partition_count: usize,
    /// How many partitions each shard of this node leads.
    pub(super) shard_loads: Vec<u32>,
}

/// Records that do not fit what is known: a fault of the program, or of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inconsistent(pub String);

impl fmt::Display for Inconsistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metadata records do not fit together: {}", self.0)
    }
}

impl std::error::Error for Inconsistent {}

impl MetadataImage {
    /// Before any record.
    ///
    /// # Errors
    /// A broker setting that is no topic setting's value, which the tables exclude.
    pub fn empty(local: Local) -> Result<Self, Inconsistent> {
        let none = Arc::new(Overrides::new());
        let layers = Layers { topic: &none, node: &none, cluster: &none, started: &local.settings };
        let default_config = layers.resolve().map_err(|invalid| Inconsistent(invalid.to_string()))?;
        Ok(Self {
            version: 0,
            local,
            cluster_id: Str::default(),
            nodes: BTreeMap::new(),
            by_name: HashTrieMapSync::new_sync(),
            by_id: HashTrieMapSync::new_sync(),
            ordered: RedBlackTreeMapSync::new_sync(),
            unified: HashTrieMapSync::new_sync(),
            live_logs: HashTrieMapSync::new_sync(),
            cluster_overrides: none,
            node_overrides: BTreeMap::new(),
            client_quotas: Arc::default(),
            default_config: Arc::new(default_config),
            next_log: LogId(1),
            next_producer_id: 0,
            partition_count: 0,
            shard_loads: Vec::new(),
        })
    }

    /// How many groups of records led here.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The cluster's id; empty before the first start is complete.
    pub fn cluster_id(&self) -> &Str {
        &self.cluster_id
    }

    /// The node that this image is for.
    pub fn local_node(&self) -> NodeId {
        self.local.node
    }

    /// What this node was started with.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.local.settings
    }

    /// How brokers are numbered.
    pub fn broker_ids(&self) -> BrokerIds {
        let mode = ListenMode::read(self.local.settings.text("listen"));
        BrokerIds::new(mode.unwrap_or(ListenMode::Shared))
    }

    /// The node, and the shard if that is a broker of its own, of a broker that exists.
    pub fn place_of_broker(&self, id: i32) -> Option<(NodeId, Option<ShardId>)> {
        let (node, shard) = self.broker_ids().place(id)?;
        let shards = self.node(node)?.shards;
        shard.is_none_or(|shard| shard.0 < shards).then_some((node, shard))
    }

    /// All nodes, by number.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.values()
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// How many shards this node's partitions are placed on.
    pub fn shards(&self) -> u32 {
        self.node(self.local.node).map_or(0, |node| node.shards)
    }

    /// A topic by its name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// A topic by its id.
    pub fn topic_by_id(&self, id: &Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.ordered.values()
    }

    /// The topics from a name on, that one included, by name.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> + use<'_> {
        self.ordered.range(Str::from(name)..).map(|(_, topic)| topic)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.by_id.size()
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// How many partitions each shard of this node leads; shards without any may be left out at the end.
    pub fn shard_loads(&self) -> &[u32] {
        &self.shard_loads
    }

    /// The same state under another version: a snapshot is read in parts and stands for many groups.
    #[must_use]
    pub fn at_version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// The topic whose name collides with this one without being equal.
    pub fn colliding(&self, name: &str) -> Option<&Str> {
        if !topic_name::may_collide(name) {
            return None;
        }
        self.unified.get(&topic_name::unified(name)).filter(|known| known.as_str() != name)
    }

    /// The topic and index of the partition that a log holds.
    pub fn partition_of(&self, log: LogId) -> Option<(&Arc<Topic>, &Partition)> {
        let (id, index) = self.live_logs.get(&log)?;
        let topic = self.by_id.get(id)?;
        Some((topic, topic.partition(*index)?))
    }

    /// Whether a log id stands for a partition.
    pub fn log_status(&self, log: LogId) -> LogStatus {
        if self.live_logs.contains_key(&log) {
            LogStatus::Live
        } else if log < self.next_log && log.0 > 0 {
            LogStatus::Deleted
        } else {
            LogStatus::NeverGiven
        }
    }

    /// The id that the next partition's log gets.
    pub fn next_log(&self) -> LogId {
        self.next_log
    }

    /// The first producer id that nobody has.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Running changes of broker settings: of one broker, or of all.
    pub fn broker_overrides(&self, node: Option<NodeId>) -> Option<&Arc<Overrides>> {
        node.map_or(Some(&self.cluster_overrides), |node| self.node_overrides.get(&node))
    }

    /// Quotas of clients.
    pub fn client_quotas(&self) -> &Arc<ClientQuotas> {
        &self.client_quotas
    }

    /// The settings of a topic on which none were set.
    pub fn default_config(&self) -> &Arc<TopicConfig> {
        &self.default_config
    }

    /// Where the values of a topic with these own settings are looked for; `with` sees them, strongest first.
    pub fn with_layers<T>(&self, topic: &Overrides, with: impl FnOnce(Layers<'_>) -> T) -> T {
        let none = Overrides::new();
        let node = self.node_overrides.get(&self.local.node).map_or(&none, |overrides| overrides.as_ref());
        with(Layers { topic, node, cluster: &self.cluster_overrides, started: &self.local.settings })
    }
}
