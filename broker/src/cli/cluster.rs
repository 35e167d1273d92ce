//! The brokers of a cluster: metadata, and a connection to each broker that is needed.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use wire::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic};
use wire::kafka::{ErrorCode, Str};

use super::connection::Connection;
use super::error::CliError;

/// How long a topic that was just created may take to have leaders everywhere.
const LEADER_WAIT: Duration = Duration::from_secs(15);
const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// A cluster with the connections to its brokers.
#[derive(Debug)]
pub(super) struct Cluster {
    bootstrap: Connection,
    addresses: BTreeMap<i32, String>,
    connections: BTreeMap<i32, Connection>,
}

/// Whether asking for a topic may create it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The broker may create it.
    Create,
    /// It is an error.
    Refuse,
}

impl Cluster {
    /// Connects to one broker of the cluster.
    pub(super) fn connect(server: &str) -> Result<Self, CliError> {
        let bootstrap = Connection::open(server)?;
        Ok(Self { bootstrap, addresses: BTreeMap::new(), connections: BTreeMap::new() })
    }

    /// The broker that the command line named.
    pub(super) fn bootstrap(&mut self) -> &mut Connection {
        &mut self.bootstrap
    }

    /// What the cluster says of these topics; of all of them for `None`.
    pub(super) fn metadata(
        &mut self,
        topics: Option<&[&str]>,
        missing: Missing,
    ) -> Result<MetadataResponse, CliError> {
        let topic = |name: &&str| MetadataRequestTopic { name: Some(Str::from(*name)), ..Default::default() };
        let request = MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(topic).collect()),
            allow_auto_topic_creation: missing == Missing::Create,
            ..Default::default()
        };
        let response = self.bootstrap.call(&request)?;
        for broker in &response.brokers {
            self.addresses.insert(broker.node_id, format!("{}:{}", &*broker.host, broker.port));
        }
        Ok(response)
    }

    /// A topic all of whose partitions have leaders; waits for one that is being made.
    pub(super) fn topic(&mut self, name: &str, missing: Missing) -> Result<MetadataResponseTopic, CliError> {
        let deadline = Instant::now() + LEADER_WAIT;
        loop {
            let topic = self.metadata(Some(&[name]), missing)?.topics.into_iter().next();
            let topic = topic.ok_or_else(|| CliError::Protocol("metadata without the topic".to_owned()))?;
            let code = ErrorCode::from_code(topic.error_code);
            let unknown = code == Some(ErrorCode::UnknownTopicOrPartition);
            let coming = code == Some(ErrorCode::LeaderNotAvailable)
                || (unknown && missing == Missing::Create)
                || topic.partitions.iter().any(|each| each.leader_id < 0);
            if !coming || Instant::now() >= deadline {
                let what = || format!("topic {name}");
                let text = unknown.then_some("there is no such topic");
                CliError::check(what, topic.error_code, text)?;
                if topic.partitions.is_empty() {
                    return Err(CliError::Protocol(format!("topic {name} has no partitions")));
                }
                return Ok(topic);
            }
            thread::sleep(LEADER_PAUSE);
        }
    }

    /// Drops every connection and connects anew to the broker that the command line named.
    pub(super) fn reconnect(&mut self) -> Result<(), CliError> {
        self.connections.clear();
        self.bootstrap = Connection::open(self.bootstrap.address())?;
        Ok(())
    }

    /// The connection to a broker, made when it is first asked for.
    pub(super) fn node(&mut self, id: i32) -> Result<&mut Connection, CliError> {
        if !self.connections.contains_key(&id) {
            let address = self.addresses.get(&id);
            let address = address.ok_or_else(|| CliError::Protocol(format!("broker {id} has no address")))?;
            let connection = Connection::open(address)?;
            self.connections.insert(id, connection);
        }
        self.connections.get_mut(&id).ok_or_else(|| CliError::Protocol(format!("broker {id} has no address")))
    }
}
