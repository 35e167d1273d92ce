//! A data folder of each on-disk format must open for ever after. `tests/fixtures/v1.tar.gz` is the folder of a killed
//! broker of two cores: metadata, rolled and active segments, commits to be replayed, groups.
//!
//! It was made by `cargo test -p broker --test fixture -- --ignored`, which never overwrites one that is there. When the
//! format changes, raise `VERSION` in a copy of what is below and keep the old test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::admin::{NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use support::Broker;
use support::admin::{Admin, eventually};
use support::records::{PATIENCE, Record, assert_same, client_config, poll, reader, send_all};

const VERSION: u32 = 1;
const TOPIC: &str = "orders";
const PARTITIONS: i32 = 2;
/// Of each codec to each partition.
const RECORDS: i64 = 300;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Partition 1 begins here.
const START: i64 = 40;
const GROUPS: [(&str, i32, i64); 2] = [("billing", 0, 1234), ("audit", 1, 77)];
const RETENTION_BYTES: &str = "123456789012";
/// 2024-01-01, in milliseconds.
const FIRST_MS: i64 = 1_704_067_200_000;
/// The folder is older than any retention.
const SETTINGS: [&str; 5] = [
    "commit.log.bytes=8388608",
    "dirty.bytes=1048576",
    "log.segment.bytes=1048576",
    "offsets.retention.minutes=2147483647",
    "offsets.topic.num.partitions=4",
];

fn archive() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{VERSION}.tar.gz"))
}

/// Everything of a record follows from its place.
fn record(partition: i32, offset: i64) -> Record {
    let text = format!("order {offset} of partition {partition}; ");
    let mut record = Record::new(partition, text.repeat(40 + offset as usize % 50).into_bytes());
    record.key = (offset % 3 != 0).then(|| format!("customer-{}", offset % 17).into_bytes());
    if offset % 10 == 0 {
        record.value = None;
    }
    if offset % 4 == 0 {
        record.headers = vec![("trace".to_owned(), Some(vec![offset as u8; 4])), ("none".to_owned(), None)];
    }
    record.timestamp_ms = FIRST_MS + offset * 1000;
    record.offset = Some(offset);
    record
}

fn tar(arguments: &[&str]) {
    let status = Command::new("tar").args(arguments).status().expect("tar is there");
    assert!(status.success(), "tar {arguments:?}");
}

fn one(partition: i32, offset: i64) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, partition, Offset::Offset(offset)).unwrap();
    list
}

#[test]
#[ignore = "makes the fixture of this version, once"]
fn generate() {
    assert!(!archive().exists(), "{} is there and stays as it is", archive().display());
    let mut broker = Broker::spawn(&SETTINGS);
    let admin = Admin::new(&broker);
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1))
        .set("retention.ms", "-1")
        .set("retention.bytes", RETENTION_BYTES);
    admin.try_create(&topic).unwrap();
    eventually("led", || admin.is_led(TOPIC, PARTITIONS));
    admin.create_named("gone", 3);
    admin.create_named("empty", 1);
    for (round, codec) in CODECS.into_iter().enumerate() {
        let from = round as i64 * RECORDS;
        let mut sent: Vec<Record> = (from..from + RECORDS)
            .flat_map(|offset| (0..PARTITIONS).map(move |partition| record(partition, offset)))
            .collect();
        let settings =
            [("enable.idempotence", "true"), ("compression.type", codec), ("batch.num.messages", "20")];
        send_all(broker.bootstrap(), TOPIC, &settings, &mut sent);
        send_all(broker.bootstrap(), "gone", &settings, &mut [Record::new(0, vec![1; 100])]);
    }
    admin.delete("gone").unwrap();
    admin.delete_records(TOPIC, 1, START).unwrap();
    for (group, partition, offset) in GROUPS {
        let consumer: BaseConsumer =
            client_config(broker.bootstrap(), &[("group.id", group)]).create().unwrap();
        consumer.commit(&one(partition, offset), CommitMode::Sync).unwrap();
    }
    std::thread::sleep(Duration::from_millis(2500));
    broker.kill();
    let data = broker.data_dir();
    let (archive, above) = (archive(), data.parent().unwrap());
    std::fs::create_dir_all(archive.parent().unwrap()).unwrap();
    tar(&[
        "--exclude=reserve",
        "--exclude=lock",
        "--owner=0",
        "--group=0",
        "-czf",
        archive.to_str().unwrap(),
        "-C",
        above.to_str().unwrap(),
        "data",
    ]);
}

#[test]
fn a_data_folder_of_version_1_opens_and_holds_everything() {
    let dir = tempfile::Builder::new().prefix("fixture-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    tar(&["-xzf", archive().to_str().unwrap(), "-C", dir.path().to_str().unwrap()]);
    let mut broker = Broker::spawn_in(Some(&dir.path().join("data")), &[], &SETTINGS);
    check(&broker);
    // Once more as this program leaves it, with another number of cores.
    broker.stop();
    broker.restart_with_cores(3);
    check(&broker);
    let mut more = vec![record(0, CODECS.len() as i64 * RECORDS)];
    send_all(broker.bootstrap(), TOPIC, &[("enable.idempotence", "true")], &mut more);
    assert_eq!(more[0].offset, Some(CODECS.len() as i64 * RECORDS), "appended behind what was there");
}

fn check(broker: &Broker) {
    let end = CODECS.len() as i64 * RECORDS;
    let expected: Vec<Record> = (0..PARTITIONS)
        .flat_map(|partition| {
            (if partition == 1 { START } else { 0 }..end).map(move |offset| record(partition, offset))
        })
        .collect();
    assert_same(&expected, &poll(&reader(broker.bootstrap(), TOPIC, PARTITIONS), expected.len()));

    let consumer: BaseConsumer =
        client_config(broker.bootstrap(), &[("group.id", "nobody")]).create().unwrap();
    for (partition, start) in [(0, 0), (1, START)] {
        assert_eq!(consumer.fetch_watermarks(TOPIC, partition, PATIENCE).unwrap(), (start, end));
        let by_time =
            consumer.offsets_for_times(one(partition, FIRST_MS + 700 * 1000 - 1), PATIENCE).unwrap();
        assert_eq!(by_time.elements()[0].offset(), Offset::Offset(700));
    }
    for (group, partition, offset) in GROUPS {
        let consumer: BaseConsumer =
            client_config(broker.bootstrap(), &[("group.id", group)]).create().unwrap();
        let committed = consumer.committed_offsets(one(partition, 0), PATIENCE).unwrap();
        assert_eq!(committed.elements()[0].offset(), Offset::Offset(offset), "group {group}");
    }
    let admin = Admin::new(broker);
    let names: Vec<String> = admin
        .client
        .inner()
        .fetch_metadata(None, PATIENCE)
        .unwrap()
        .topics()
        .iter()
        .map(|topic| topic.name().to_owned())
        .collect();
    for (name, there) in [(TOPIC, true), ("empty", true), ("gone", false)] {
        assert_eq!(names.iter().any(|known| known == name), there, "topic {name}");
    }
    let resource = ResourceSpecifier::Topic(TOPIC);
    let configs = admin.wait(admin.client.describe_configs([&resource], &admin.options)).unwrap();
    let config = configs.into_iter().next().unwrap().unwrap();
    let value = |name: &str| config.entry_map().get(name).and_then(|entry| entry.value.clone());
    assert_eq!(value("retention.bytes").as_deref(), Some(RETENTION_BYTES));
    assert_eq!(value("retention.ms").as_deref(), Some("-1"));
}
