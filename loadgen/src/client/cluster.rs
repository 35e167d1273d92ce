//! The brokers of a cluster, one topic, and who leads its partitions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use wire::kafka::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use wire::kafka::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use wire::kafka::init_producer_id::InitProducerIdRequest;
use wire::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponseTopic};
use wire::kafka::{ErrorCode, Str, Uuid};

use super::connection::Connection;
use super::error::ClientError;
use super::security::Access;
use crate::args::Isolation;
use crate::limits::RETRY_PAUSE;

/// What a topic is to be like when it does not exist.
#[derive(Clone, Debug)]
pub(crate) struct TopicSpec {
    pub(crate) name: String,
    /// `None`: the topic must exist already.
    pub(crate) partitions: Option<i32>,
    pub(crate) replication_factor: i16,
    pub(crate) configs: Vec<(String, String)>,
}

/// A partition and the broker that leads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionLeader {
    pub(crate) partition: i32,
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
}

/// A topic as metadata describes it.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: Str,
    pub(crate) id: Uuid,
    /// Ascending by partition.
    pub(crate) partitions: Vec<PartitionLeader>,
}

/// Which cluster it is.
#[derive(Clone, Debug)]
pub(crate) struct ClusterFacts {
    pub(crate) id: Option<String>,
    pub(crate) brokers: usize,
}

/// `ListOffsets` timestamp of a log's start.
pub(crate) const EARLIEST: i64 = -2;

/// `ListOffsets` timestamp of a log's end.
pub(crate) const LATEST: i64 = -1;

/// A cluster, as one thread sees it.
pub(crate) struct Cluster {
    access: Access,
    timeout: Duration,
    /// `host:port` by broker id, from the last metadata.
    brokers: RefCell<HashMap<i32, String>>,
    asking: RefCell<Option<Rc<Connection>>>,
}

impl Cluster {
    /// Connects to the broker that `access` names.
    pub(crate) async fn connect(access: &Access) -> Result<Self, ClientError> {
        let cluster = Self {
            access: access.clone(),
            timeout: access.timeout,
            brokers: RefCell::default(),
            asking: RefCell::default(),
        };
        cluster.connection().await?;
        Ok(cluster)
    }

    /// The connection for questions to any broker; made anew after [`Cluster::forget_connection`].
    async fn connection(&self) -> Result<Rc<Connection>, ClientError> {
        if let Some(connection) = &*self.asking.borrow() {
            return Ok(connection.clone());
        }
        let connection = Rc::new(Connection::open(&self.access.bootstrap, &self.access.security).await?);
        *self.asking.borrow_mut() = Some(connection.clone());
        Ok(connection)
    }

    /// Asks on a fresh connection next time: the old one was seen failing.
    pub(crate) fn forget_connection(&self) {
        self.asking.borrow_mut().take();
    }

    /// Asks who it is.
    pub(crate) async fn facts(&self) -> Result<ClusterFacts, ClientError> {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let response = self.connection().await?.call_within(self.timeout, &request).await?;
        let id = response.cluster_id.map(|id| id.as_str().to_owned());
        Ok(ClusterFacts { id, brokers: response.brokers.len() })
    }

    /// The topic, made as `spec` says if it does not exist, once all its partitions have leaders.
    pub(crate) async fn ensure_topic(&self, spec: &TopicSpec) -> Result<Topic, ClientError> {
        match self.topic(&spec.name).await {
            Err(ClientError::Broker { code, .. }) if code == ErrorCode::UnknownTopicOrPartition.code() => {}
            found => {
                let topic = found?;
                return Self::check_partitions(spec, topic);
            }
        }
        let Some(partitions) = spec.partitions else {
            return Err(ClientError::Usage(format!(
                "topic {} does not exist on {}; give --partitions to create it",
                spec.name, self.access.bootstrap
            )));
        };
        self.create_topic(spec, partitions).await?;
        let topic = Self::check_partitions(spec, self.created_topic(&spec.name).await?)?;
        // Metadata is ahead of the brokers: a partition is there when its leader answers for it.
        self.offsets(&topic.name, &topic.partitions, LATEST).await?;
        Ok(topic)
    }

    fn check_partitions(spec: &TopicSpec, topic: Topic) -> Result<Topic, ClientError> {
        match spec.partitions {
            Some(wanted) if topic.partitions.len() != wanted as usize => Err(ClientError::Usage(format!(
                "topic {} exists with {} partitions, not {wanted}",
                spec.name,
                topic.partitions.len()
            ))),
            _ => Ok(topic),
        }
    }

    async fn create_topic(&self, spec: &TopicSpec, partitions: i32) -> Result<(), ClientError> {
        let config = |(name, value): &(String, String)| CreatableTopicConfig {
            name: name.clone().into(),
            value: Some(value.clone().into()),
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: spec.name.clone().into(),
                num_partitions: partitions,
                replication_factor: spec.replication_factor,
                configs: spec.configs.iter().map(config).collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: self.timeout.as_millis() as i32,
            ..CreateTopicsRequest::default()
        };
        let response = self.connection().await?.call_within(self.timeout, &request).await?;
        for topic in response.topics {
            // Another client, or another thread's retry, may have been first.
            if topic.error_code != 0 && topic.error_code != ErrorCode::TopicAlreadyExists.code() {
                let what = format!("cannot create topic {}", spec.name);
                return Err(ClientError::broker(what, topic.error_code, topic.error_message.as_deref()));
            }
        }
        Ok(())
    }

    /// Deletes a topic; one that does not exist is no error.
    pub(crate) async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let connection = self.connection().await?;
        let is_new = connection.version::<DeleteTopicsRequest>()? >= 6;
        let state = DeleteTopicState { name: Some(name.to_owned().into()), ..Default::default() };
        let request = DeleteTopicsRequest {
            topics: if is_new { vec![state] } else { Vec::new() },
            topic_names: if is_new { Vec::new() } else { vec![name.to_owned().into()] },
            timeout_ms: self.timeout.as_millis() as i32,
        };
        let response = connection.call_within(self.timeout, &request).await?;
        let fine = [0, ErrorCode::UnknownTopicOrPartition.code()];
        match response.responses.iter().find(|topic| !fine.contains(&topic.error_code)) {
            None => Ok(()),
            Some(topic) => {
                let what = format!("cannot delete topic {name}");
                Err(ClientError::broker(what, topic.error_code, topic.error_message.as_deref()))
            }
        }
    }

    /// A topic that was created: the broker may not have heard of it yet.
    async fn created_topic(&self, name: &str) -> Result<Topic, ClientError> {
        let began = reactor::now();
        loop {
            match self.topic(name).await {
                Err(ClientError::Broker { code, .. })
                    if code == ErrorCode::UnknownTopicOrPartition.code()
                        && began.elapsed() < self.timeout => {}
                found => return found,
            }
            reactor::sleep(RETRY_PAUSE).await;
        }
    }

    /// The topic with all its leaders; waits for them as long as this cluster's time-out.
    pub(crate) async fn topic(&self, name: &str) -> Result<Topic, ClientError> {
        let deadline = self.timeout;
        let began = reactor::now();
        loop {
            let found = self.describe(name).await;
            match found {
                Err(error) if is_settling(&error) && began.elapsed() < deadline => {}
                done => return done,
            }
            reactor::sleep(RETRY_PAUSE).await;
        }
    }

    async fn describe(&self, name: &str) -> Result<Topic, ClientError> {
        let topic = MetadataRequestTopic { name: Some(name.to_owned().into()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let response = self.connection().await?.call_within(self.timeout, &request).await?;
        let address = |host: &str, port: i32| {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        let brokers =
            response.brokers.iter().map(|broker| (broker.node_id, address(&broker.host, broker.port)));
        *self.brokers.borrow_mut() = brokers.collect();
        let described = response.topics.into_iter().next();
        let described =
            described.ok_or_else(|| ClientError::Corrupt(format!("metadata without topic {name}")))?;
        leaders(name, &described)
    }

    /// The way to it.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// A new connection to the broker of this id.
    pub(crate) async fn connect_to(&self, broker: i32) -> Result<Rc<Connection>, ClientError> {
        let address = self.brokers.borrow().get(&broker).cloned();
        let address =
            address.ok_or_else(|| ClientError::Corrupt(format!("metadata without broker {broker}")))?;
        Ok(Rc::new(Connection::open(&address, &self.access.security).await?))
    }

    /// A producer id and epoch for an idempotent producer.
    pub(crate) async fn init_producer_id(&self) -> Result<(i64, i16), ClientError> {
        let request = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..Default::default() };
        let began = reactor::now();
        loop {
            let response = self.connection().await?.call_within(self.timeout, &request).await?;
            let error = match response.error_code {
                0 => return Ok((response.producer_id, response.producer_epoch)),
                code => ClientError::broker("cannot get a producer id", code, None),
            };
            if !error.is_retriable() || began.elapsed() > self.timeout {
                return Err(error);
            }
            reactor::sleep(RETRY_PAUSE).await;
        }
    }

    /// The offset of each partition at `timestamp`: [`EARLIEST`], or [`LATEST`], the high watermark. Waits for brokers
    /// that are not ready, as long as this cluster's time-out.
    pub(crate) async fn offsets(
        &self,
        topic: &Str,
        partitions: &[PartitionLeader],
        timestamp: i64,
    ) -> Result<HashMap<i32, i64>, ClientError> {
        self.offsets_seen(topic, partitions, timestamp, Isolation::ReadUncommitted).await
    }

    /// As [`Cluster::offsets`]; for who reads what is committed, [`LATEST`] is where the first open transaction begins.
    pub(crate) async fn offsets_seen(
        &self,
        topic: &Str,
        partitions: &[PartitionLeader],
        timestamp: i64,
        isolation: Isolation,
    ) -> Result<HashMap<i32, i64>, ClientError> {
        let began = reactor::now();
        loop {
            match self.list_offsets(topic, partitions, timestamp, isolation).await {
                Err(error) if error.is_retriable() && began.elapsed() < self.timeout => {}
                done => return done,
            }
            reactor::sleep(RETRY_PAUSE).await;
        }
    }

    async fn list_offsets(
        &self,
        topic: &Str,
        partitions: &[PartitionLeader],
        timestamp: i64,
        isolation: Isolation,
    ) -> Result<HashMap<i32, i64>, ClientError> {
        let mut by_leader: HashMap<i32, Vec<ListOffsetsPartition>> = HashMap::new();
        for partition in partitions {
            by_leader.entry(partition.leader).or_default().push(ListOffsetsPartition {
                partition_index: partition.partition,
                timestamp,
                ..ListOffsetsPartition::default()
            });
        }
        let mut offsets = HashMap::new();
        for (leader, partitions) in by_leader {
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level: isolation.level(),
                topics: vec![ListOffsetsTopic { name: topic.clone(), partitions }],
                ..ListOffsetsRequest::default()
            };
            let response = self.connect_to(leader).await?.call_within(self.timeout, &request).await?;
            for found in response.topics.iter().flat_map(|topic| &topic.partitions) {
                if found.error_code != 0 {
                    let what = format!("no offset for {topic}-{}", found.partition_index);
                    return Err(ClientError::broker(what, found.error_code, None));
                }
                offsets.insert(found.partition_index, found.offset);
            }
        }
        Ok(offsets)
    }
}

/// Whether the cluster may just not have come to it: a topic being created, a leader being elected.
fn is_settling(error: &ClientError) -> bool {
    let ClientError::Broker { code, .. } = error else { return false };
    *code == ErrorCode::LeaderNotAvailable.code()
}

fn leaders(name: &str, described: &MetadataResponseTopic) -> Result<Topic, ClientError> {
    let failed = |code| ClientError::broker(format!("topic {name}"), code, None);
    if described.error_code != 0 {
        return Err(failed(described.error_code));
    }
    let mut partitions = Vec::with_capacity(described.partitions.len());
    for partition in &described.partitions {
        if partition.leader_id < 0 {
            return Err(failed(ErrorCode::LeaderNotAvailable.code()));
        }
        partitions.push(PartitionLeader {
            partition: partition.partition_index,
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
        });
    }
    if partitions.is_empty() {
        return Err(failed(ErrorCode::LeaderNotAvailable.code()));
    }
    partitions.sort_unstable_by_key(|partition| partition.partition);
    Ok(Topic { name: name.to_owned().into(), id: described.topic_id, partitions })
}
