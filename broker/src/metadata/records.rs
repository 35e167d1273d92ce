//! The durable facts of a cluster, in the order in which they became true.
//!
//! A group of records is one decision: it is written, synced and applied as a whole or not at all. Its bytes are a
//! version byte, then the records as rkyv archives them, which are checked (bytecheck) before anything is read from
//! them. New kinds of records go to the end of the enum under the same version; a change of a kind that exists is
//! a new version, and this module then reads both.
// rkyv's derive declares types of its own, without documentation.
#![allow(missing_docs)]

use std::fmt;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

/// The version of the bytes that are written.
pub const FORMAT_VERSION: u8 = 1;

/// The id of a topic, as 16 bytes of a random UUID; never reused.
pub type TopicIdBytes = [u8; 16];

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Record {
    /// The cluster's id, made at the first start.
    Cluster {
        /// 22 characters of URL-safe base64.
        id: String,
    },
    /// A node, and what clients are told about it.
    Node {
        /// Its number.
        node: i32,
        /// Its rack or zone.
        rack: Option<String>,
        /// What each of its listeners tells clients.
        endpoints: Vec<EndpointRecord>,
    },
    /// How many shards a node has.
    Shards {
        /// The node.
        node: i32,
        /// At least 1.
        count: u32,
    },
    /// All log ids below this were given away.
    NextLogId {
        /// The next one.
        next: u64,
    },
    /// A topic, without partitions yet.
    Topic {
        /// Its id.
        topic: TopicIdBytes,
        /// Its name.
        name: String,
    },
    /// A partition of a topic; indexes come in order from 0.
    Partition {
        /// The topic.
        topic: TopicIdBytes,
        /// The index in the topic.
        index: i32,
        /// The log that holds it; never reused.
        log: u64,
        /// The shard of the leader.
        shard: u32,
        /// The nodes with a replica, the leader first.
        replicas: Vec<i32>,
        /// The leader's epoch.
        leader_epoch: i32,
    },
    /// A partition is another shard's from now on.
    Place {
        /// The topic.
        topic: TopicIdBytes,
        /// The index in the topic.
        index: i32,
        /// The new shard.
        shard: u32,
    },
    /// A topic is gone, with its partitions and settings.
    RemoveTopic {
        /// The topic.
        topic: TopicIdBytes,
    },
    /// A setting of a topic.
    TopicConfig {
        /// The topic.
        topic: TopicIdBytes,
        /// The setting.
        name: String,
        /// Its text; none takes the topic's own value away.
        value: Option<String>,
    },
    /// A running change of a broker setting.
    BrokerConfig {
        /// The broker; none is all of them.
        node: Option<i32>,
        /// The setting.
        name: String,
        /// Its text; none takes the change back.
        value: Option<String>,
    },
    /// All producer ids below this were given away.
    ProducerIds {
        /// The next one.
        next: i64,
    },
    /// A quota of clients.
    ClientQuota {
        /// Whom it is for: a client id; none is every one that has no quota of its own.
        client_id: Option<String>,
        /// The quota's name, as Kafka's `producer_byte_rate`.
        name: String,
        /// The bits of the float that it is; none takes the quota away.
        value_bits: Option<u64>,
    },
}

/// What clients of one listener are told.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// The listener's name.
    pub listener: String,
    /// A host that clients can reach.
    pub host: String,
    /// The port; 0 means the one that was bound.
    pub port: u16,
}

/// Bytes that are no group of records of a known version.
#[derive(Debug)]
pub enum BadRecords {
    /// Written by a version that this one does not know.
    Version(u8),
    /// Not what the version says.
    Malformed(String),
}

impl fmt::Display for BadRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(found) => {
                write!(f, "metadata records of version {found}, this program knows {FORMAT_VERSION}")
            }
            Self::Malformed(reason) => write!(f, "malformed metadata records: {reason}"),
        }
    }
}

impl std::error::Error for BadRecords {}

/// The bytes of a group.
///
/// # Errors
/// None in practice: the archive of plain values does not fail.
pub fn encode(group: &[Record]) -> Result<Vec<u8>, BadRecords> {
    let archive = rkyv::to_bytes::<rancor::Error>(&group.to_vec()).map_err(malformed)?;
    let mut bytes = Vec::with_capacity(1 + archive.len());
    bytes.push(FORMAT_VERSION);
    bytes.extend_from_slice(&archive);
    Ok(bytes)
}

/// Reads a group back. What is allocated is bounded by the bytes.
///
/// # Errors
/// An unknown version, or bytes that do not pass the check.
pub fn decode(bytes: &[u8]) -> Result<Vec<Record>, BadRecords> {
    let (version, archive) = bytes.split_first().ok_or_else(|| BadRecords::Malformed("empty".to_owned()))?;
    if *version != FORMAT_VERSION {
        return Err(BadRecords::Version(*version));
    }
    let mut aligned = AlignedVec::<16>::with_capacity(archive.len());
    aligned.extend_from_slice(archive);
    rkyv::from_bytes::<Vec<Record>, rancor::Error>(&aligned).map_err(malformed)
}

#[allow(clippy::needless_pass_by_value)] // The shape that map_err asks for.
fn malformed(error: rancor::Error) -> BadRecords {
    BadRecords::Malformed(error.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One record of each kind.
    pub(crate) fn samples() -> Vec<Record> {
        let (topic, name) = ([7; 16], "retention.ms".to_owned());
        vec![
            Record::Cluster { id: "cluster".to_owned() },
            Record::Node {
                node: 1,
                rack: Some("a".to_owned()),
                endpoints: vec![EndpointRecord {
                    listener: "PLAINTEXT".to_owned(),
                    host: "127.0.0.1".to_owned(),
                    port: 9092,
                }],
            },
            Record::Shards { node: 1, count: 2 },
            Record::NextLogId { next: 5 },
            Record::Topic { topic, name: "orders".to_owned() },
            Record::Partition { topic, index: 0, log: 5, shard: 1, replicas: vec![1], leader_epoch: 0 },
            Record::Place { topic, index: 0, shard: 0 },
            Record::TopicConfig { topic, name: name.clone(), value: Some("1".to_owned()) },
            Record::BrokerConfig { node: None, name, value: None },
            Record::ProducerIds { next: 1000 },
            Record::RemoveTopic { topic },
        ]
    }

    #[test]
    fn a_group_reads_back_as_it_was_written() {
        for group in [vec![], samples()] {
            assert_eq!(decode(&encode(&group).unwrap()).unwrap(), group);
        }
    }

    #[test]
    fn unknown_versions_and_damaged_bytes_are_errors() {
        let good = encode(&samples()).unwrap();
        assert!(matches!(decode(&[]), Err(BadRecords::Malformed(_))));
        assert!(matches!(decode(&[2, 0, 0]), Err(BadRecords::Version(2))));
        for cut in 1..good.len() {
            // The root lies at the end, so a cut group may by chance read as another, but never panics.
            let _ = decode(&good[..cut]);
        }
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut bad = good.clone();
            let at = 1 + (seed >> 33) as usize % (bad.len() - 1);
            bad[at] ^= (seed >> 24) as u8 | 1;
            let _ = decode(&bad);
        }
    }

    #[test]
    fn quotas_read_back_as_they_were_written() {
        let quota = |client_id: Option<&str>, value: Option<f64>| Record::ClientQuota {
            client_id: client_id.map(str::to_owned),
            name: "producer_byte_rate".to_owned(),
            value_bits: value.map(f64::to_bits),
        };
        let group = [quota(None, Some(1e6)), quota(Some("x"), Some(0.5)), quota(Some("x"), None)];
        assert_eq!(decode(&encode(&group).unwrap()).unwrap(), group);
    }

    #[test]
    fn the_bytes_of_version_1_stay_readable() {
        let bytes = include_bytes!("fixtures/records.v1");
        assert_eq!(decode(bytes).unwrap(), samples());
    }
}
