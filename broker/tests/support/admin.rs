//! Topics made, changed and deleted through librdkafka.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::Broker;
use super::records::{PATIENCE, client_config, now_ms};

/// How long one of several tries may take.
const ONE_TRY: Duration = Duration::from_secs(1);

/// The admin client, waited for on the test's own thread.
pub struct Admin {
    bootstrap: String,
    pub client: AdminClient<DefaultClientContext>,
    pub options: AdminOptions,
    runtime: tokio::runtime::Runtime,
}

impl Admin {
    pub fn new(broker: &Broker) -> Self {
        Self {
            bootstrap: broker.bootstrap().to_owned(),
            client: client_config(broker.bootstrap(), &[]).create().unwrap(),
            options: AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE)),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
        }
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn try_create(&self, topic: &NewTopic<'_>) -> Result<(), RDKafkaErrorCode> {
        let results = self.wait(self.client.create_topics([topic], &self.options)).unwrap();
        results.into_iter().next().unwrap().map(|_| ()).map_err(|(_, code)| code)
    }

    /// A topic whose name no other run has, led: a record sent with acks=0 before that may be lost.
    pub fn create(&self, name: &str, partitions: i32) -> String {
        let unique = unique(name);
        self.create_named(&unique, partitions);
        unique
    }

    /// A topic of exactly this name, led.
    pub fn create_named(&self, name: &str, partitions: i32) {
        self.try_create(&NewTopic::new(name, partitions, TopicReplication::Fixed(1))).unwrap();
        eventually("the new topic is led", || self.is_led(name, partitions));
    }

    /// Asked by a new client each time: librdkafka remembers that a topic was not there.
    pub fn is_led(&self, topic: &str, partitions: i32) -> bool {
        if self.partitions_of(topic) != partitions as usize {
            return false;
        }
        let fresh: BaseConsumer = client_config(&self.bootstrap, &[]).create().unwrap();
        (0..partitions).all(|partition| fresh.fetch_watermarks(topic, partition, ONE_TRY).is_ok())
    }

    pub fn delete(&self, topic: &str) -> Result<(), RDKafkaErrorCode> {
        let results = self.wait(self.client.delete_topics(&[topic], &self.options)).unwrap();
        results.into_iter().next().unwrap().map(|_| ()).map_err(|(_, code)| code)
    }

    /// Deletes the records of a partition before an offset.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<(), RDKafkaErrorCode> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
        let deleted = self.wait(self.client.delete_records(&list, &self.options)).unwrap();
        let result = deleted.elements()[0].error();
        result.map_err(|error| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown))
    }

    pub fn partitions_of(&self, topic: &str) -> usize {
        let metadata = self.client.inner().fetch_metadata(Some(topic), PATIENCE).unwrap();
        metadata.topics()[0].partitions().len()
    }
}

pub fn unique(name: &str) -> String {
    format!("rdkafka-{name}-{}-{}", std::process::id(), now_ms())
}

/// Looks again until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
