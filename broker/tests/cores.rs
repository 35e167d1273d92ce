//! The number of cores may be another at each start: partitions are handed over, nothing is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use support::Broker;

const PARTITIONS: i32 = 5;
const PATIENCE: Duration = Duration::from_secs(30);

fn produce(broker: &Broker, round: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    for partition in 0..PARTITIONS {
        for record in 0..40 {
            let value = format!("{round}-{record}");
            let record: BaseRecord<'_, (), str> =
                BaseRecord::to("spread").partition(partition).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
}

fn consume(broker: &Broker, partition: i32, count: usize) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "cores")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset("spread", partition, Offset::Beginning).unwrap();
    consumer.assign(&assigned).unwrap();
    let mut values = Vec::new();
    while values.len() < count {
        let message = match consumer.poll(PATIENCE).expect("a record within the time-out") {
            Ok(message) => message,
            // Told for information while the client reconnects by itself: for some milliseconds the kernel accepts
            // connections for the killed process.
            Err(KafkaError::MessageConsumption(AllBrokersDown | BrokerTransportFailure)) => continue,
            Err(error) => panic!("{error}"),
        };
        values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
    }
    values
}

#[test]
fn every_record_is_there_whatever_the_number_of_cores_at_each_start() {
    let mut broker = Broker::spawn(&["num.partitions=5"]);
    let mut expected = Vec::new();
    for (round, cores) in [1, 3, 2, 4, 1].into_iter().enumerate() {
        produce(&broker, round);
        expected.extend((0..40).map(|record| format!("{round}-{record}")));
        // A kill leaves rings to be replayed, a stop leaves none: both are handed over.
        if round % 2 == 0 {
            broker.kill();
        } else {
            broker.stop();
        }
        broker.restart_with_cores(cores);
        for partition in 0..PARTITIONS {
            assert_eq!(
                consume(&broker, partition, expected.len()),
                expected,
                "partition {partition}, {cores} cores"
            );
        }
    }
}
