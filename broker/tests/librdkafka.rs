//! librdkafka against the real binary: produce with every codec and acks level, consume with and without a group,
//! admin calls and their errors. `BOOTSTRAP=host:port` runs the same against a broker that is up already.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::{NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use support::Broker;
use support::admin::{Admin, eventually, unique};
use support::records::{PATIENCE, Random, Record, assert_same, assert_topic_holds, client_config};
use support::records::{now_ms, poll, reader, send, send_all, shapes};

#[test]
fn every_codec_and_acks_level_arrives_equal_and_in_order() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    let mut random = Random::new(1);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for acks in ["0", "1", "all"] {
            let topic = admin.create(&format!("{codec}-{acks}"), 3);
            let mut sent = shapes(3, &mut random);
            sent.extend(shapes(3, &mut random));
            let settings = [("compression.type", codec), ("acks", acks), ("linger.ms", "5")];
            send_all(broker.bootstrap(), &topic, &settings, &mut sent);
            assert_topic_holds(broker.bootstrap(), &topic, 3, &sent);
        }
    }
}

#[test]
fn idempotent_producers_of_every_codec_share_partitions() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    let topic = admin.create("idempotent", 2);
    let mut sent = Vec::new();
    for (seed, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let mut random = Random::new(seed as u64);
        let mut records: Vec<Record> = (0..400).map(|i| Record::new(i % 2, random.bytes(60))).collect();
        let settings =
            [("compression.type", codec), ("enable.idempotence", "true"), ("batch.num.messages", "20")];
        send_all(broker.bootstrap(), &topic, &settings, &mut records);
        sent.extend(records);
    }
    assert_topic_holds(broker.bootstrap(), &topic, 2, &sent);
}

#[test]
fn records_of_900_kilobytes_pass_and_of_2_megabytes_are_refused() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    let mut random = Random::new(3);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = admin.create(&format!("large-{codec}"), 1);
        let mut sent: Vec<Record> = (0..3).map(|_| Record::new(0, random.bytes(900_000))).collect();
        send_all(broker.bootstrap(), &topic, &[("compression.type", codec)], &mut sent);
        assert_topic_holds(broker.bootstrap(), &topic, 1, &sent);
        let mut over = [Record::new(0, random.bytes(2_000_000))];
        let answers = send(broker.bootstrap(), &topic, &[("compression.type", codec)], &mut over);
        assert_eq!(answers, [Err(RDKafkaErrorCode::MessageSizeTooLarge)]);
    }
}

#[test]
fn forty_thousand_small_records_keep_their_order() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    let topic = admin.create("small", 4);
    let mut sent: Vec<Record> =
        (0..40_000).map(|i: i32| Record::new(i % 4, i.to_be_bytes().to_vec())).collect();
    send_all(broker.bootstrap(), &topic, &[("batch.num.messages", "500"), ("linger.ms", "1")], &mut sent);
    assert_topic_holds(broker.bootstrap(), &topic, 4, &sent);
}

#[test]
fn producing_to_an_unknown_topic_creates_it() {
    let broker = Broker::start();
    let topic = unique("auto");
    let mut sent = vec![Record::new(0, b"first".to_vec())];
    send_all(broker.bootstrap(), &topic, &[], &mut sent);
    assert_topic_holds(broker.bootstrap(), &topic, 1, &sent);
}

#[test]
fn topics_are_created_grown_deleted_and_refused() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    let topic = admin.create("admin", 2);
    assert_eq!(admin.partitions_of(&topic), 2);
    let again = NewTopic::new(&topic, 2, TopicReplication::Fixed(1));
    assert_eq!(admin.try_create(&again), Err(RDKafkaErrorCode::TopicAlreadyExists));
    let invalid = NewTopic::new("no spaces", 1, TopicReplication::Fixed(1));
    assert_eq!(admin.try_create(&invalid), Err(RDKafkaErrorCode::InvalidTopic));
    let name = unique("factor");
    let factor = NewTopic::new(&name, 1, TopicReplication::Fixed(99));
    assert_eq!(admin.try_create(&factor), Err(RDKafkaErrorCode::InvalidReplicationFactor));

    let grown = NewPartitions::new(&topic, 5);
    admin.wait(admin.client.create_partitions([&grown], &admin.options)).unwrap()[0].as_ref().unwrap();
    eventually("five partitions", || admin.partitions_of(&topic) == 5);
    assert_eq!(admin.delete(&topic), Ok(()));
    assert_eq!(admin.delete(&unique("never")), Err(RDKafkaErrorCode::UnknownTopicOrPartition));
}

#[test]
fn configs_set_at_creation_are_described() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    let topic = unique("configs");
    admin
        .try_create(&NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("retention.ms", "123456"))
        .unwrap();
    let resource = ResourceSpecifier::Topic(&topic);
    let describe = || {
        let answers = admin.wait(admin.client.describe_configs([&resource], &admin.options)).unwrap();
        answers.into_iter().next().unwrap()
    };
    eventually("the topic is described", || describe().is_ok());
    let described = describe().unwrap();
    let value = |name: &str| described.get(name).and_then(|entry| entry.value.clone());
    assert_eq!(value("retention.ms").as_deref(), Some("123456"));
    assert_eq!(value("cleanup.policy").as_deref(), Some("delete"));
    assert_eq!(value("max.message.bytes").as_deref(), Some("1048588"));
}

/// Ten records in partition 0, one second apart from `start_ms`, holding their numbers.
fn fill(broker: &Broker, topic: &str, start_ms: i64) -> Vec<Record> {
    let mut records: Vec<Record> = (0..10u8).map(|i| Record::new(0, vec![i])).collect();
    for (i, record) in records.iter_mut().enumerate() {
        record.timestamp_ms = start_ms + i as i64 * 1000;
    }
    send_all(broker.bootstrap(), topic, &[("batch.num.messages", "2")], &mut records);
    records
}

#[test]
fn offsets_are_found_by_time_and_positions_are_sought() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    let topic = admin.create("time", 1);
    let start = now_ms() - 3_600_000;
    let sent = fill(&broker, &topic, start);
    let consumer = reader(broker.bootstrap(), &topic, 1);
    assert_eq!(consumer.fetch_watermarks(&topic, 0, PATIENCE).unwrap(), (0, 10));
    for (at, expected) in [(0, Offset::Offset(0)), (4000, Offset::Offset(4)), (4001, Offset::Offset(5))] {
        assert_eq!(offset_at(&consumer, &topic, start + at), expected, "at {at} ms");
    }
    assert_eq!(offset_at(&consumer, &topic, start + 9001), Offset::End);
    poll(&consumer, 10);
    consumer.seek(&topic, 0, Offset::Offset(7), PATIENCE).unwrap();
    assert_same(&sent[7..], &poll(&consumer, 3));
    consumer.seek(&topic, 0, Offset::Beginning, PATIENCE).unwrap();
    assert_same(&sent, &poll(&consumer, 10));
    consumer.seek(&topic, 0, Offset::End, PATIENCE).unwrap();
    let mut after = [Record::new(0, b"after".to_vec())];
    std::thread::sleep(Duration::from_millis(200));
    send_all(broker.bootstrap(), &topic, &[], &mut after);
    assert_same(&after, &poll(&consumer, 1));
}

fn offset_at(consumer: &BaseConsumer, topic: &str, time_ms: i64) -> Offset {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(time_ms)).unwrap();
    consumer.offsets_for_times(list, PATIENCE).unwrap().find_partition(topic, 0).unwrap().offset()
}

#[test]
fn deleted_records_are_gone_and_the_rest_stays() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    let topic = admin.create("purge", 1);
    let sent = fill(&broker, &topic, now_ms());
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(6)).unwrap();
    let results = admin.wait(admin.client.delete_records(&list, &admin.options)).unwrap();
    assert_eq!(results.find_partition(&topic, 0).unwrap().offset(), Offset::Offset(6));
    let consumer = reader(broker.bootstrap(), &topic, 1);
    assert_eq!(consumer.fetch_watermarks(&topic, 0, PATIENCE).unwrap(), (6, 10));
    assert_same(&sent[6..], &poll(&consumer, 4));
}

#[test]
fn a_topic_made_again_under_its_name_holds_only_new_records() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    let topic = admin.create("reborn", 2);
    fill(&broker, &topic, now_ms());
    admin.delete(&topic).unwrap();
    let again = NewTopic::new(&topic, 2, TopicReplication::Fixed(1));
    eventually("the name is free", || admin.try_create(&again).is_ok());
    let mut sent = shapes(2, &mut Random::new(9));
    send_all(broker.bootstrap(), &topic, &[], &mut sent);
    assert_eq!(sent[0].offset, Some(0));
    assert_topic_holds(broker.bootstrap(), &topic, 2, &sent);
}

fn member(broker: &Broker, group: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = client_config(broker.bootstrap(), settings);
    config
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "200")
        .set("fetch.wait.max.ms", "50");
    config.create().unwrap()
}

/// Polls all members in turn until they hold these numbers of partitions; the records that came meanwhile.
fn settle(members: &[(&BaseConsumer, usize)]) -> Vec<Record> {
    let mut records = Vec::new();
    eventually("the group is balanced", || {
        let mut settled = true;
        for (member, partitions) in members {
            if let Some(Ok(message)) = member.poll(Duration::from_millis(20)) {
                records.push(Record::of_message(&message));
            }
            settled &= member.assignment().unwrap().count() == *partitions;
        }
        settled
    });
    records
}

#[test]
fn a_group_shares_partitions_and_rebalances_when_a_member_leaves() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    for strategy in ["range", "cooperative-sticky"] {
        let topic = admin.create(&format!("group-{strategy}"), 4);
        let group = unique("group");
        let settings = [("partition.assignment.strategy", strategy)];
        let first = member(&broker, &group, &settings);
        let second = member(&broker, &group, &settings);
        first.subscribe(&[&topic]).unwrap();
        settle(&[(&first, 4)]);
        second.subscribe(&[&topic]).unwrap();
        settle(&[(&first, 2), (&second, 2)]);
        let mut sent: Vec<Record> = (0..80).map(|i| Record::new(i % 4, vec![i as u8])).collect();
        send_all(broker.bootstrap(), &topic, &[], &mut sent);
        let mut got = Vec::new();
        eventually("both members read all", || {
            for consumer in [&first, &second] {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(5)) {
                    got.push(Record::of_message(&message));
                }
            }
            got.len() == sent.len()
        });
        assert_same(&sent, &got);
        first.commit_consumer_state(CommitMode::Sync).unwrap();
        second.commit_consumer_state(CommitMode::Sync).unwrap();
        drop(second);
        let early = settle(&[(&first, 4)]);
        assert!(early.is_empty(), "committed records came again");
        let mut more: Vec<Record> = (0..20).map(|i| Record::new(i % 4, vec![i as u8])).collect();
        send_all(broker.bootstrap(), &topic, &[], &mut more);
        assert_same(&more, &poll(&first, 20));
    }
}

#[test]
fn a_new_member_resumes_after_the_commit() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    let topic = admin.create("resume", 1);
    let group = unique("resume");
    let sent = fill(&broker, &topic, now_ms());
    let first = member(&broker, &group, &[]);
    first.subscribe(&[&topic]).unwrap();
    assert_same(&sent[..6], &poll(&first, 6));
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(6)).unwrap();
    first.commit(&list, CommitMode::Sync).unwrap();
    drop(first);
    let second = member(&broker, &group, &[]);
    second.subscribe(&[&topic]).unwrap();
    assert_same(&sent[6..], &poll(&second, 4));
    let committed = second.committed(PATIENCE).unwrap();
    assert_eq!(committed.find_partition(&topic, 0).unwrap().offset(), Offset::Offset(6));
}

#[test]
fn a_static_member_comes_back_to_its_partitions() {
    let broker = Broker::start();
    let admin = Admin::new(&broker);
    let topic = admin.create("static", 4);
    let group = unique("static");
    let first = member(&broker, &group, &[("group.instance.id", "one")]);
    let second = member(&broker, &group, &[("group.instance.id", "two")]);
    first.subscribe(&[&topic]).unwrap();
    second.subscribe(&[&topic]).unwrap();
    settle(&[(&first, 2), (&second, 2)]);
    let before = partitions_of(&second);
    let others = partitions_of(&first);
    drop(second);
    let back = member(&broker, &group, &[("group.instance.id", "two")]);
    back.subscribe(&[&topic]).unwrap();
    settle(&[(&first, 2), (&back, 2)]);
    assert_eq!(partitions_of(&back), before);
    assert_eq!(partitions_of(&first), others);
}

fn partitions_of(consumer: &BaseConsumer) -> BTreeSet<i32> {
    consumer
        .assignment()
        .unwrap()
        .elements()
        .iter()
        .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
        .collect()
}
