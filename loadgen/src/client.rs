//! A Kafka client, just enough to load a broker: its own, so that its cost is known and small.
//!
//! [`Connection`] is one socket with pipelined requests: frames go out in the order they are handed over, answers
//! come back in that order, as Kafka promises. [`Cluster`] knows the brokers, creates the topic, finds the leaders and
//! asks for offsets. Versions are negotiated per connection. [`Access`] says how to come to a cluster: TLS and a login, if
//! any. Everything lives on the reactor of one thread.

mod cluster;
mod connection;
mod error;
mod sasl;
mod scram;
mod security;
mod transport;

pub(crate) use cluster::{Cluster, ClusterFacts, EARLIEST, LATEST, PartitionLeader, Topic, TopicSpec};
pub(crate) use connection::{Connection, Reply};
pub(crate) use error::ClientError;
pub(crate) use sasl::{Login, Mechanism, Secret};
pub(crate) use security::{Access, OwnCertificate, Security, Tls};
