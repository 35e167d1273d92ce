//! SIGTERM under load: what was read is answered, nothing more is read, the broker leaves soon and loses nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use support::Broker;

/// Counts what the broker acknowledged.
struct Acknowledged(&'static AtomicUsize);

impl rdkafka::ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_broker_under_load_leaves_soon_and_keeps_what_it_acknowledged() {
    static ACKNOWLEDGED: AtomicUsize = AtomicUsize::new(0);
    let mut broker = Broker::spawn(&["num.partitions=4"]);
    let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "5000")
        .create_with_context(Acknowledged(&ACKNOWLEDGED))
        .unwrap();
    // A parked fetch must not hold the broker back either.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "parked")
        .set("fetch.wait.max.ms", "30000")
        .set("fetch.min.bytes", "10000000")
        .create()
        .unwrap();
    consumer.subscribe(&["load"]).unwrap();
    let ended = AtomicBool::new(false);
    let took = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                let record: BaseRecord<'_, (), str> =
                    BaseRecord::to("load").payload("a record of some length");
                if producer.send(record).is_err() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let begun = Instant::now();
        while ACKNOWLEDGED.load(Ordering::SeqCst) < 1_000 {
            consumer.poll(Duration::from_millis(20));
            assert!(begun.elapsed() < Duration::from_secs(60), "the broker acknowledges");
        }
        let asked = Instant::now();
        broker.stop();
        let took = asked.elapsed();
        ended.store(true, Ordering::SeqCst);
        took
    });
    let acknowledged = ACKNOWLEDGED.load(Ordering::SeqCst);
    assert!(took < Duration::from_secs(5), "it took {took:?} to leave");
    broker.restart();
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "count")
        .create()
        .unwrap();
    let kept: i64 = (0..4)
        .map(|partition| reader.fetch_watermarks("load", partition, Duration::from_secs(30)).unwrap())
        .map(|(low, high)| high - low)
        .sum();
    assert!(kept >= acknowledged as i64, "{acknowledged} acknowledged, {kept} there");
    // Both wait for the broker when they go, so it must be there.
    drop((producer, consumer));
}
