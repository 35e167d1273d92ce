//! Disks that fail a write or a sync, by faults in the reactor's file layer of the real binary.
//!
//! A segment that fails takes its partition offline: what only the ring held of it goes to a file, the ring and the other
//! partitions go on, and a restart on a healthy disk has every acknowledged record again. A ring that fails is poisoned:
//! its shard takes nothing until a restart, says so to everybody who waits, and shows what was flushed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode::KafkaStorageError;
use support::Broker;
use support::admin::Admin;
use support::faults::Faults;
use support::records::{Random, Record, assert_topic_holds, poll, reader, send, send_all};

const PLAIN: [(&str, &str); 3] = [("acks", "all"), ("retries", "0"), ("linger.ms", "0")];
/// One shard, so that partitions share a ring; small, so that it wraps.
const SETTINGS: [&str; 4] =
    ["cores=1", "dirty.bytes=1048576", "commit.log.bytes=8388608", "log.segment.bytes=1048576"];
const PATIENCE: Duration = Duration::from_secs(30);

struct Setup {
    faults: Faults,
    broker: Broker,
    random: Random,
}

impl Setup {
    fn new(seed: u64, settings: &[&str]) -> Self {
        let faults = Faults::none();
        let settings: Vec<&str> = SETTINGS.iter().chain(settings).copied().collect();
        let broker = Broker::spawn_in(None, &faults.env(), &settings);
        broker.await_said("fault rules of");
        Self { faults, broker, random: Random::new(seed) }
    }

    fn records(&mut self, partition: i32, count: usize, bytes: usize) -> Vec<Record> {
        (0..count).map(|_| Record::new(partition, self.random.bytes(bytes))).collect()
    }

    /// Produces; what was acknowledged, and the refusals.
    fn produce(&mut self, topic: &str, partition: i32, count: usize, bytes: usize) -> (Vec<Record>, usize) {
        let mut records = self.records(partition, count, bytes);
        let answers = send(self.broker.bootstrap(), topic, &PLAIN, &mut records);
        let refused: Vec<_> = answers.iter().filter_map(|answer| answer.err()).collect();
        assert!(refused.iter().all(|code| *code == KafkaStorageError), "{refused:?}");
        let acknowledged =
            records.into_iter().zip(answers).filter(|(_, answer)| answer.is_ok()).map(|(record, _)| record);
        (acknowledged.collect(), refused.len())
    }

    /// Produces to a partition until it is refused.
    fn until_refused(&mut self, topic: &str, partition: i32) -> Vec<Record> {
        let deadline = Instant::now() + PATIENCE;
        let mut acknowledged = Vec::new();
        loop {
            let (more, refused) = self.produce(topic, partition, 20, 20_000);
            acknowledged.extend(more);
            if refused > 0 {
                return acknowledged;
            }
            assert!(Instant::now() < deadline, "never refused\n{}", self.broker.log_tail());
        }
    }
}

fn folder_of(broker: &Broker, topic: &str, partition: i32) -> String {
    let topics = fs::read_dir(broker.data_dir().join("topics")).unwrap();
    let names = topics.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let prefix = format!("{topic}-{partition}-");
    names.into_iter().find(|name| name.starts_with(&prefix)).unwrap()
}

fn salvage_files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("salvage-")).collect()
}

/// The partition that fails goes offline alone, the ring moves on far beyond its size, a restart has everything.
fn a_segment_that_fails(rule: &str) {
    let mut setup = Setup::new(21, &[]);
    let admin = Admin::new(&setup.broker);
    let topic = admin.create("segments", 2);
    let (mut bad, _) = setup.produce(&topic, 0, 60, 20_000);
    let (mut good, _) = setup.produce(&topic, 1, 60, 20_000);
    let folder = folder_of(&setup.broker, &topic, 0);

    setup.faults.set(&[&rule.replace("FOLDER", &folder)]);
    bad.extend(setup.until_refused(&topic, 0));
    setup.broker.await_said("partition offline: its files have failed");
    setup.broker.await_said("what only the commit log held is salvaged");
    let shard = setup.broker.data_dir().join("shard-0");
    assert_eq!(salvage_files(&shard).len(), 1);
    let said = setup.broker.said();
    assert!(said.contains(&salvage_files(&shard)[0]), "the file is named\n{said}");

    // Four rings of bytes for the others; the offline one is refused and shown all the time.
    for _ in 0..16 {
        let (more, refused) = setup.produce(&topic, 1, 100, 20_000);
        assert_eq!(refused, 0, "{}", setup.broker.log_tail());
        good.extend(more);
    }
    let (_, refused) = setup.produce(&topic, 0, 5, 100);
    assert_eq!(refused, 5);
    let all: Vec<Record> = bad.iter().chain(&good).cloned().collect();
    assert_topic_holds(setup.broker.bootstrap(), &topic, 2, &all);
    assert_eq!(setup.broker.said().matches("partition offline").count(), 1, "told once");

    // Killed, because a stop would also be right: nothing of the bad partition is in the ring any more.
    setup.broker.kill();
    setup.faults.set(&[]);
    setup.broker.restart();
    setup.broker.await_said("salvaged records are taken in again");
    assert_topic_holds(setup.broker.bootstrap(), &topic, 2, &all);
    let (more, refused) = setup.produce(&topic, 0, 50, 20_000);
    assert_eq!(refused, 0, "it serves again");
    bad.extend(more);

    // Twice more, before and after the bytes are in segments again.
    setup.broker.kill();
    setup.broker.restart();
    let all: Vec<Record> = bad.iter().chain(&good).cloned().collect();
    assert_topic_holds(setup.broker.bootstrap(), &topic, 2, &all);
    setup.broker.stop();
    assert_eq!(salvage_files(&shard), Vec::<String>::new(), "in segments, so the file is gone");
    setup.broker.restart();
    assert_topic_holds(setup.broker.bootstrap(), &topic, 2, &all);
}

#[test]
fn a_segment_that_fails_a_write_takes_its_partition_offline_and_nothing_else() {
    a_segment_that_fails("write */topics/FOLDER/* EIO");
}

#[test]
fn a_segment_that_fails_a_sync_takes_its_partition_offline_and_nothing_else() {
    a_segment_that_fails("sync */topics/FOLDER/*.log EIO");
}

#[test]
fn a_segment_that_cannot_be_opened_takes_its_partition_offline_and_nothing_else() {
    a_segment_that_fails("open */topics/FOLDER/*.log EROFS times=1");
}

#[test]
fn too_few_descriptors_are_waited_for() {
    let mut setup = Setup::new(22, &[]);
    let admin = Admin::new(&setup.broker);
    let topic = admin.create("descriptors", 1);
    setup.faults.set(&["open */topics/* EMFILE times=5"]);
    let (mut sent, refused) = setup.produce(&topic, 0, 200, 20_000);
    assert_eq!(refused, 0);
    sent.extend(setup.produce(&topic, 0, 200, 20_000).0);
    assert!(!setup.broker.said().contains("offline"), "{}", setup.broker.log_tail());
    assert_topic_holds(setup.broker.bootstrap(), &topic, 1, &sent);
}

#[test]
fn an_offline_partition_that_fails_again_after_a_restart_is_salvaged_again() {
    let mut setup = Setup::new(23, &[]);
    let admin = Admin::new(&setup.broker);
    let topic = admin.create("again", 2);
    let (mut bad, _) = setup.produce(&topic, 0, 60, 20_000);
    let rule = format!("sync */topics/{}/*.log EIO", folder_of(&setup.broker, &topic, 0));
    setup.faults.set(&[&rule]);
    bad.extend(setup.until_refused(&topic, 0));
    for round in 0..3 {
        // Killed and stopped: a stop writes a checkpoint with the partition offline.
        if round == 1 {
            setup.broker.stop();
        } else {
            setup.broker.kill();
        }
        setup.broker.restart();
        assert_topic_holds(setup.broker.bootstrap(), &topic, 2, &bad);
        bad.extend(setup.until_refused(&topic, 0));
        assert_topic_holds(setup.broker.bootstrap(), &topic, 2, &bad);
    }
    setup.broker.kill();
    setup.faults.set(&[]);
    setup.broker.restart_with_cores(2);
    assert_topic_holds(setup.broker.bootstrap(), &topic, 2, &bad);
    assert_eq!(setup.produce(&topic, 0, 5, 100).1, 0);
}

/// Everything is refused from the failure on, what was flushed is shown, a restart has all that was acknowledged.
fn a_ring_that_fails(rule: &str, settings: &[&str]) {
    let mut setup = Setup::new(31, settings);
    let admin = Admin::new(&setup.broker);
    let topic = admin.create("ring", 2);
    let mut sent = setup.produce(&topic, 0, 30, 5_000).0;
    sent.extend(setup.produce(&topic, 1, 30, 5_000).0);

    // Many batches are under way when it fails: some wait for the commit that fails, some behind it.
    setup.faults.set(&[rule]);
    let started = Instant::now();
    let settings = [
        ("acks", "all"),
        ("retries", "0"),
        ("linger.ms", "0"),
        ("batch.num.messages", "1"),
        ("max.in.flight", "5"),
    ];
    let mut records = setup.records(0, 40, 100_000);
    let answers = send(setup.broker.bootstrap(), &topic, &settings, &mut records);
    assert!(started.elapsed() < Duration::from_secs(5), "refused at once, not timed out");
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(refused > 0 && answers.iter().all(|answer| answer.is_ok() || *answer == Err(KafkaStorageError)));
    let first_refused = answers.iter().position(Result::is_err).unwrap();
    assert!(answers[first_refused..].iter().all(Result::is_err), "nothing is acknowledged behind a failure");
    sent.extend(
        records.into_iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(record, _)| record),
    );
    setup.broker.await_said("commit log poisoned");

    // The disk is well again, but nobody knows what it has: nothing is accepted, both partitions.
    setup.faults.set(&[]);
    for partition in [0, 1] {
        assert_eq!(setup.produce(&topic, partition, 3, 100).1, 3, "refused for good");
    }
    assert_topic_holds(setup.broker.bootstrap(), &topic, 2, &sent);
    assert_eq!(setup.broker.said().matches("commit log poisoned").count(), 1, "told once");

    setup.broker.kill();
    setup.broker.restart();
    // What was refused may be there: it is not known to have failed. What was acknowledged is, in its place.
    let consumer = reader(setup.broker.bootstrap(), &topic, 2);
    let mut missing: Vec<&Record> = sent.iter().collect();
    let deadline = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        assert!(Instant::now() < deadline, "acknowledged and not there: {}", missing.len());
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let there = Record::of_message(&message);
            missing.retain(|record| **record != there);
        }
    }
    let mut more = setup.records(0, 10, 100);
    send_all(setup.broker.bootstrap(), &topic, &PLAIN, &mut more);
}

#[test]
fn a_ring_that_fails_a_sync_takes_nothing_more_and_shows_what_was_flushed() {
    a_ring_that_fails("sync */shard-0/ring-0.* EIO after=1 times=1", &["commit.sync.method=fdatasync"]);
}

#[test]
fn a_ring_that_fails_a_synced_write_takes_nothing_more_and_shows_what_was_flushed() {
    a_ring_that_fails("sync */shard-0/ring-0.* EIO after=1 times=1", &["commit.sync.method=dsync"]);
}

#[test]
fn a_ring_that_fails_a_write_takes_nothing_more_and_shows_what_was_flushed() {
    a_ring_that_fails("write */shard-0/ring-0.* EIO after=1 times=1", &["commit.sync.method=fdatasync"]);
}

#[test]
fn checkpoints_that_fail_are_tried_again_and_in_the_end_poison_the_shard() {
    let mut setup = Setup::new(41, &[]);
    let admin = Admin::new(&setup.broker);
    let topic = admin.create("checkpoints", 1);
    setup.faults.set(&["sync */shard-0/checkpoint-* EIO times=2"]);
    let mut sent = Vec::new();
    for _ in 0..8 {
        let (more, refused) = setup.produce(&topic, 0, 100, 20_000);
        assert_eq!(refused, 0, "{}", setup.broker.log_tail());
        sent.extend(more);
    }
    setup.faults.set(&["write */shard-0/checkpoint-* EIO"]);
    sent.extend(setup.until_refused(&topic, 0));
    setup.broker.await_said("commit log poisoned");
    assert_topic_holds(setup.broker.bootstrap(), &topic, 1, &sent);
    setup.broker.kill();
    setup.faults.set(&[]);
    setup.broker.restart();
    assert_topic_holds(setup.broker.bootstrap(), &topic, 1, &sent);
}

#[test]
fn reads_that_fail_are_errors_of_their_partition_and_end_with_the_fault() {
    let mut setup = Setup::new(51, &["tail.bytes=1048576"]);
    let admin = Admin::new(&setup.broker);
    let topic = admin.create("reads", 2);
    let bad = setup.produce(&topic, 0, 200, 20_000).0;
    let good = setup.produce(&topic, 1, 200, 20_000).0;
    setup.broker.stop();
    setup.broker.restart();
    let all: Vec<Record> = bad.iter().chain(&good).cloned().collect();
    setup.faults.set(&[&format!("read */topics/{}/*.log EIO", folder_of(&setup.broker, &topic, 0))]);
    let consumer = reader(setup.broker.bootstrap(), &topic, 2);
    let got = poll(&consumer, good.len());
    assert!(got.iter().all(|record| record.partition == 1), "nothing comes from what cannot be read");
    setup.faults.set(&[]);
    assert_topic_holds(setup.broker.bootstrap(), &topic, 2, &all);
    assert_eq!(setup.produce(&topic, 0, 3, 100).1, 0, "and it was never offline");
}
