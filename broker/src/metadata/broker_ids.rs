//! The numbers by which clients know brokers. With `listen=shared` a broker is a node and has its number; with
//! `listen=direct` each shard is a broker, and its number says which shard of which node it is.

use crate::config::server::ListenMode;
use crate::metadata::ids::{NodeId, ShardId};

/// Numbers that belong to one node with `listen=direct`: broker 1002 is shard 2 of node 1.
pub const IDS_PER_NODE: u32 = 1000;
/// The largest node whose shards have numbers.
pub const DIRECT_NODE_MAX: i32 = i32::MAX / IDS_PER_NODE as i32 - 1;

/// How brokers are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerIds(ListenMode);

impl BrokerIds {
    /// The numbers of one way to listen.
    pub fn new(mode: ListenMode) -> Self {
        Self(mode)
    }

    /// Whether each shard is a broker.
    pub fn are_shards(self) -> bool {
        self.0 == ListenMode::Direct
    }

    /// The broker that answers for a shard.
    pub fn of(self, node: NodeId, shard: ShardId) -> i32 {
        match self.0 {
            ListenMode::Shared => node.0,
            ListenMode::Direct => node.0 * IDS_PER_NODE as i32 + shard.0 as i32,
        }
    }

    /// The node that a number stands for, and its shard if it stands for one. Whether they exist is not asked.
    pub fn place(self, id: i32) -> Option<(NodeId, Option<ShardId>)> {
        let per_node = IDS_PER_NODE as i32;
        match self.0 {
            _ if id < 0 => None,
            ListenMode::Shared => Some((NodeId(id), None)),
            ListenMode::Direct => Some((NodeId(id / per_node), Some(ShardId((id % per_node) as u32)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_a_node_or_one_shard_of_it() {
        let shared = BrokerIds::new(ListenMode::Shared);
        assert_eq!(shared.of(NodeId(7), ShardId(3)), 7);
        assert_eq!(shared.place(7), Some((NodeId(7), None)));
        let direct = BrokerIds::new(ListenMode::Direct);
        for (node, shard, id) in [(0, 0, 0), (0, 999, 999), (1, 0, 1000), (7, 3, 7003)] {
            assert_eq!(direct.of(NodeId(node), ShardId(shard)), id);
            assert_eq!(direct.place(id), Some((NodeId(node), Some(ShardId(shard)))));
        }
        let last = direct.of(NodeId(DIRECT_NODE_MAX), ShardId(IDS_PER_NODE - 1));
        assert_eq!(direct.place(last), Some((NodeId(DIRECT_NODE_MAX), Some(ShardId(IDS_PER_NODE - 1)))));
        assert_eq!((shared.place(-1), direct.place(-1)), (None, None));
    }
}
