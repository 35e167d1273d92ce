//! A producer under load that goes on while the broker dies and comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::ledger::{Delivery, Ledger, Stamp};
use crate::support::records::{Random, client_config};

/// How long the answers to all records may take once the broker is back.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// Records without an answer at which a writer waits.
const PENDING_MAX: i32 = 500;

/// A producer's settings that matter here.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub delivery: Delivery,
    pub settings: &'static [(&'static str, &'static str)],
}

/// Plain producers keep their order only with one request in flight.
pub const KINDS: [Kind; 6] = [
    Kind {
        name: "idempotent zstd",
        delivery: Delivery::ExactlyOnce,
        settings: &[("enable.idempotence", "true"), ("compression.type", "zstd"), ("linger.ms", "5")],
    },
    Kind {
        name: "idempotent tiny batches",
        delivery: Delivery::ExactlyOnce,
        settings: &[("enable.idempotence", "true"), ("batch.num.messages", "3"), ("linger.ms", "0")],
    },
    Kind {
        name: "acks=all lz4, retries, one in flight",
        delivery: Delivery::InOrder,
        settings: &[("acks", "all"), ("compression.type", "lz4"), ("max.in.flight", "1"), ("linger.ms", "2")],
    },
    Kind {
        name: "acks=all snappy, no retries",
        delivery: Delivery::Acknowledged,
        settings: &[("acks", "all"), ("compression.type", "snappy"), ("retries", "0"), ("linger.ms", "1")],
    },
    Kind {
        name: "acks=1 gzip, no retries",
        delivery: Delivery::Acknowledged,
        settings: &[("acks", "1"), ("compression.type", "gzip"), ("retries", "0"), ("linger.ms", "10")],
    },
    Kind {
        name: "acks=1 plain, no retries",
        delivery: Delivery::Acknowledged,
        settings: &[("acks", "1"), ("retries", "0"), ("linger.ms", "0")],
    },
];

struct Answers {
    writer: u32,
    ledger: Arc<Mutex<Ledger>>,
}

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sequence: usize) {
        let stamp = |partition| Stamp { writer: self.writer, partition, sequence: sequence as u64 };
        let mut ledger = self.ledger.lock().unwrap();
        match result {
            Ok(message) => ledger.acked(stamp(message.partition()), message.offset()),
            Err((error, message)) => ledger.failed(stamp(message.partition()), &error.to_string()),
        }
    }
}

/// One producer of one topic.
pub struct Writer {
    id: u32,
    kind: &'static str,
    topic: String,
    partitions: i32,
    producer: BaseProducer<Answers>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Writer {
    pub fn new(
        bootstrap: &str,
        id: u32,
        kind: Kind,
        topic: &str,
        partitions: i32,
        ledger: &Arc<Mutex<Ledger>>,
    ) -> Self {
        ledger.lock().unwrap().add_writer(id, kind.delivery);
        let mut config = client_config(bootstrap, kind.settings);
        config
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "100")
            .set("retry.backoff.ms", "20")
            .set("message.timeout.ms", "120000")
            .set("log_level", "2");
        let answers = Answers { writer: id, ledger: Arc::clone(ledger) };
        let producer = config.create_with_context(answers).unwrap();
        Self {
            id,
            kind: kind.name,
            topic: topic.to_owned(),
            partitions,
            producer,
            ledger: Arc::clone(ledger),
        }
    }

    /// Bursts of records with short pauses until told to stop.
    pub fn run(&self, seed: u64, stop: &AtomicBool) {
        let mut random = Random::new(seed ^ u64::from(self.id) << 32);
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..=random.below(8) {
                if self.producer.in_flight_count() < PENDING_MAX {
                    self.send_one(random.below(self.partitions as u64) as i32);
                }
            }
            // A poll returns with the first answer.
            self.producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_millis(1 + random.below(4)));
        }
    }

    fn send_one(&self, partition: i32) {
        let stamp = self.ledger.lock().unwrap().next(self.id, partition);
        let value = stamp.value();
        let key = stamp.sequence.to_be_bytes();
        let mut pending =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.topic, stamp.sequence as usize)
                .partition(partition)
                .payload(&value);
        if stamp.sequence.is_multiple_of(2) {
            pending = pending.key(&key);
        }
        let deadline = Instant::now() + SETTLED_WITHIN;
        while let Err((error, again)) = self.producer.send(pending) {
            assert!(Instant::now() < deadline, "{} cannot queue: {error}", self.topic);
            self.producer.poll(Duration::from_millis(5));
            pending = again;
        }
    }

    /// Waits until every record has its answer.
    pub fn settle(&self) {
        let deadline = Instant::now() + SETTLED_WITHIN;
        while self.producer.in_flight_count() > 0 {
            let left = self.producer.in_flight_count();
            assert!(
                Instant::now() < deadline,
                "{} ({}): {left} records without an answer",
                self.topic,
                self.kind
            );
            self.producer.poll(Duration::from_millis(5));
        }
    }
}
