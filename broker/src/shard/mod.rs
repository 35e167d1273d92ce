//! The data plane: one shard per core, which owns partitions and everything that touches them.

pub mod budget;
pub mod connection_counts;
pub mod log_pace;
pub mod partition;
pub mod quota;
pub mod reading;
#[expect(clippy::module_inception, reason = "the file that holds the struct Shard")]
pub mod shard;
pub mod turn;
pub mod validate;

use wire::kafka::types::Uuid;

/// Names a partition for ever: topic ids are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// The topic.
    pub topic: Uuid,
    /// Index in the topic, from 0.
    pub index: i32,
}

/// How many copies must be on disk before a produce request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// No answer at all.
    None,
    /// The leader's.
    Leader,
    /// Those of all in-sync replicas, and at least `min.insync.replicas`.
    All,
}

impl Acks {
    /// From the protocol's number; `None` for one that has no meaning.
    pub fn from_wire(acks: i16) -> Option<Acks> {
        match acks {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        }
    }
}
