//! Whom clients see: one broker for the node, or one for each of its shards (`listen=direct`), and which of them
//! answers for a partition.

use wire::kafka::Str;
use wire::kafka::error_code::ErrorCode;
use wire::kafka::types::Uuid;

use super::Context;
use crate::config::listener::{Addresses, Listener};
use crate::metadata::broker_ids::BrokerIds;
use crate::metadata::ids::ShardId;
use crate::metadata::image::{MetadataImage, Partition};
use crate::shard::shard::Target;

/// A broker as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its number.
    pub id: i32,
    /// Name or address.
    pub host: Str,
    /// TCP port.
    pub port: i32,
    /// Rack or zone.
    pub rack: Option<Str>,
}

/// The brokers of this node.
#[derive(Debug, Clone)]
pub struct Brokers {
    ids: BrokerIds,
    host: Str,
    /// By shard; one for all with `listen=shared`.
    ports: Vec<u16>,
}

/// Why a partition is not served here, and who does if that is known (KIP-951).
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// What the client is told.
    pub code: ErrorCode,
    /// Where to go.
    pub leader: Option<Box<Leader>>,
}

/// Who leads a partition.
#[derive(Debug, Clone)]
pub struct Leader {
    /// The broker.
    pub broker: Broker,
    /// The epoch of its leadership.
    pub epoch: i32,
}

impl From<ErrorCode> for Elsewhere {
    fn from(code: ErrorCode) -> Self {
        Elsewhere { code, leader: None }
    }
}

impl Brokers {
    /// What a listener tells, bound to these addresses. Its advertised port is that of the shared address; those of the
    /// shards follow it as the bound ones do. Port 0 stands for the one that was bound.
    pub fn new(ids: BrokerIds, listener: &Listener, bound: &Addresses) -> Brokers {
        let told = listener.advertised_port;
        let ports = match bound.of_shards.as_slice() {
            [] if told == 0 => vec![bound.shared.port()],
            [] => vec![told],
            shards if told == 0 => shards.iter().map(std::net::SocketAddr::port).collect(),
            shards => (1..=shards.len() as u16).map(|step| told.saturating_add(step)).collect(),
        };
        Brokers { ids, host: Str::from(listener.advertised_host.as_str()), ports }
    }

    /// How they are numbered.
    pub fn ids(&self) -> BrokerIds {
        self.ids
    }

    /// All of them.
    pub fn all(&self, image: &MetadataImage) -> Vec<Broker> {
        (0..self.ports.len() as u32).map(|shard| self.of_shard(image, ShardId(shard))).collect()
    }

    /// The one that answers for a shard of this node.
    pub fn of_shard(&self, image: &MetadataImage, shard: ShardId) -> Broker {
        let node = image.local_node();
        let rack = image.node(node).and_then(|node| node.rack.clone());
        let (port, rack) = if self.ids.are_shards() {
            // Two shards of a node fail together, so they are of one rack.
            (self.ports.get(shard.index()), rack.or_else(|| Some(Str::from(format!("node-{node}")))))
        } else {
            (self.ports.first(), rack)
        };
        let port = port.copied().map_or(-1, i32::from);
        Broker { id: self.ids.of(node, shard), host: self.host.clone(), port, rack }
    }

    /// The one that is told to be the controller. Any shard does as well, so it is always the same.
    pub fn controller(&self, image: &MetadataImage) -> i32 {
        self.ids.of(image.local_node(), ShardId(0))
    }

    /// The leader of a partition.
    pub fn leader(&self, partition: &Partition) -> i32 {
        self.ids.of(partition.leader, partition.shard)
    }

    /// The replicas of a partition, which live on the same shard of each node.
    pub fn replicas(&self, partition: &Partition) -> Vec<i32> {
        partition.replicas.iter().map(|node| self.ids.of(*node, partition.shard)).collect()
    }
}

impl Context {
    /// Whether a client that asks this shard is at the right place for what `owner` owns.
    pub fn answers_for(&self, owner: ShardId) -> bool {
        owner == self.shard.index || !self.brokers.ids().are_shards()
    }

    /// The shards that are this broker to clients: all of the node, or this one.
    pub fn shards_of_broker(&self) -> impl Iterator<Item = ShardId> + use<> {
        let (own, direct) = (self.shard.index, self.brokers.ids().are_shards());
        (0..self.lane.shards()).map(ShardId).filter(move |shard| !direct || *shard == own)
    }

    /// Finds a partition by topic id or name.
    ///
    /// # Errors
    /// There is none, or the client has to ask another broker.
    pub fn resolve(&self, name: &Str, topic_id: Uuid, index: i32, by_id: bool) -> Result<Target, Elsewhere> {
        let target = self.shard.resolve(name, topic_id, index, by_id)?;
        if self.answers_for(target.shard) {
            return Ok(target);
        }
        let broker = self.brokers.of_shard(&self.shard.image(), target.shard);
        let leader = Some(Box::new(Leader { broker, epoch: target.leader_epoch.0 }));
        Err(Elsewhere { code: ErrorCode::NotLeaderOrFollower, leader })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::server::ListenMode;

    #[test]
    fn advertised_ports_of_shards_follow_the_advertised_one() {
        let ports = |mode, advertised_port| {
            let bound = Addresses::new(([127, 0, 0, 1], 9092).into(), mode, 3).unwrap();
            let listener = Listener {
                name: "PLAINTEXT".to_owned(),
                address: bound.shared,
                advertised_host: "broker.example".to_owned(),
                advertised_port,
            };
            Brokers::new(BrokerIds::new(mode), &listener, &bound).ports
        };
        assert_eq!(ports(ListenMode::Shared, 0), [9092]);
        assert_eq!(ports(ListenMode::Shared, 19092), [19092]);
        assert_eq!(ports(ListenMode::Direct, 0), [9093, 9094, 9095], "those that were bound");
        assert_eq!(ports(ListenMode::Direct, 19092), [19093, 19094, 19095]);
    }
}
