//! Two ways to listen: one port for all shards, or a port and a broker's number for each. In the second an unmodified
//! client finds every owner by itself, and nothing crosses from one shard to another.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]
#![allow(clippy::float_cmp, reason = "counts are whole")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use rdkafka::admin::{NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use support::admin::{Admin, eventually, unique};
use support::records::{
    PATIENCE, Random, Record, assert_same, assert_topic_holds, client_config, poll, send_all,
};
use support::{Broker, figures};
use wire::kafka::describe_log_dirs::DescribeLogDirsRequest;
use wire::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic};
use wire::kafka::find_coordinator::FindCoordinatorRequest;
use wire::kafka::heartbeat::HeartbeatRequest;
use wire::kafka::list_groups::ListGroupsRequest;
use wire::kafka::metadata::{MetadataRequest, MetadataResponse};
use wire::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::kafka::{ErrorCode, Message as _, Reader, Request, Str, frame, header::ResponseHeader};

const PARTITIONS: i32 = 4;
/// Records in each of them when all are produced.
const EACH: i64 = 150;
/// Names that do not all lie on one shard.
const GROUPS: [&str; 4] = ["worked-a", "worked-b", "worked-c", "worked-d"];
const HOPS: &str = "corelane_mesh_calls_total";

/// Request and answer on one connection.
struct Client(TcpStream);

impl Client {
    fn to(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Client(stream)
    }

    fn ask<R: Request>(&mut self, version: i16, body: &R) -> R::Response {
        let frame = frame::request(version, 1, Some(&Str::from("listen-test")), body).into_contiguous();
        self.0.write_all(&frame).unwrap();
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer).unwrap();
        let mut reader = Reader::new(answer.into());
        ResponseHeader::decode(&mut reader, R::API_KEY, version).unwrap();
        R::Response::decode(&mut reader, version).unwrap()
    }
}

fn metadata(broker: &Broker) -> MetadataResponse {
    Client::to(broker.bootstrap()).ask(12, &MetadataRequest::default())
}

/// Addresses by number.
fn brokers(broker: &Broker) -> BTreeMap<i32, String> {
    let told = metadata(broker).brokers;
    told.iter().map(|each| (each.node_id, format!("{}:{}", &*each.host, each.port))).collect()
}

fn leader_of(broker: &Broker, topic: &str, partition: i32) -> i32 {
    let told = metadata(broker);
    let topic = told.topics.iter().find(|each| each.name.as_deref() == Some(topic)).unwrap();
    topic.partitions.iter().find(|each| each.partition_index == partition).unwrap().leader_id
}

fn coordinator_of(broker: &Broker, group: &str) -> i32 {
    let request = FindCoordinatorRequest { coordinator_keys: vec![Str::from(group)], ..Default::default() };
    let found = Client::to(broker.bootstrap()).ask(4, &request).coordinators;
    assert_eq!(found[0].error_code, 0);
    found[0].node_id
}

fn some_records(seed: u64) -> Vec<Record> {
    let mut random = Random::new(seed);
    (0..200).map(|i| Record::new(i % PARTITIONS, random.bytes(300))).collect()
}

fn member(broker: &Broker, group: &str) -> BaseConsumer {
    let settings = [
        ("group.id", group),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "100"),
        ("fetch.wait.max.ms", "50"),
    ];
    client_config(broker.bootstrap(), &settings).create().unwrap()
}

/// What clients do all day: produce with every level of acks, fetch, look up offsets, share partitions in groups and
/// commit, delete records, describe and list. The groups that were made.
fn work(broker: &Broker, admin: &Admin) -> BTreeSet<String> {
    let topic = admin.create("worked", PARTITIONS);
    let mut sent = Vec::new();
    for (round, settings) in
        [&[("enable.idempotence", "true")], &[("acks", "1")], &[("acks", "0")]].into_iter().enumerate()
    {
        let mut records = some_records(round as u64);
        send_all(broker.bootstrap(), &topic, settings, &mut records);
        sent.extend(records);
    }
    assert_topic_holds(broker.bootstrap(), &topic, PARTITIONS, &sent);
    let mut groups = BTreeSet::new();
    for group in GROUPS {
        let (first, second) = (member(broker, group), member(broker, group));
        for each in [&first, &second] {
            each.subscribe(&[&topic]).unwrap();
        }
        // What was read before the group was balanced is read again: positions count, not records.
        let is_done = |each: &BaseConsumer| {
            drop(each.poll(Duration::from_millis(5)));
            let positions = each.position().unwrap();
            let at_end = positions.elements().iter().all(|each| each.offset() == Offset::Offset(EACH));
            at_end && each.assignment().unwrap().count() == 2
        };
        eventually("both members have read all", || {
            [&first, &second].iter().filter(|each| is_done(each)).count() == 2
        });
        first.commit_consumer_state(CommitMode::Sync).unwrap();
        second.commit_consumer_state(CommitMode::Sync).unwrap();
        groups.insert(group.to_owned());
    }
    let consumer = member(broker, groups.first().unwrap());
    let listed: Vec<_> = consumer
        .fetch_group_list(None, PATIENCE)
        .unwrap()
        .groups()
        .iter()
        .map(|g| g.name().to_owned())
        .collect();
    assert_eq!(listed.len(), GROUPS.len(), "each is listed once: {listed:?}");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), groups);
    let mut assigned = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assigned.add_partition(&topic, partition);
        admin.delete_records(&topic, partition, 10).unwrap();
        assert_eq!(consumer.fetch_watermarks(&topic, partition, PATIENCE).unwrap(), (10, EACH));
    }
    let committed = consumer.committed_offsets(assigned, PATIENCE).unwrap();
    assert!(committed.elements().iter().all(|each| each.offset() == Offset::Offset(EACH)), "{committed:?}");
    let resource = ResourceSpecifier::Topic(&topic);
    admin.wait(admin.client.describe_configs([&resource], &admin.options)).unwrap()[0].as_ref().unwrap();
    groups
}

#[test]
fn no_request_hops_when_each_shard_is_a_broker() {
    let broker = Broker::spawn(&["listen=direct"]);
    let port: u16 = broker.bootstrap().rsplit(':').next().unwrap().parse().unwrap();
    let expected = [(1000, port + 1), (1001, port + 2)].map(|(id, port)| (id, format!("127.0.0.1:{port}")));
    assert_eq!(brokers(&broker), BTreeMap::from(expected));
    let told = metadata(&broker);
    assert_eq!(told.controller_id, 1000);
    assert!(
        told.brokers.iter().all(|each| each.rack.as_deref() == Some("node-1")),
        "two shards fail together"
    );

    let admin = Admin::new(&broker);
    let groups = work(&broker, &admin);
    let coordinators: BTreeSet<i32> = groups.iter().map(|group| coordinator_of(&broker, group)).collect();
    assert_eq!(coordinators, BTreeSet::from([1000, 1001]), "both shards had groups");
    let leaders: BTreeSet<i32> =
        metadata(&broker).topics.iter().flat_map(|t| &t.partitions).map(|each| each.leader_id).collect();
    assert_eq!(leaders, BTreeSet::from([1000, 1001]), "and partitions");
    assert_eq!(figures::samples(&broker, HOPS).len(), 2, "counted by shard");
    assert_eq!(figures::sum(&broker, HOPS), 0.0);
    assert_eq!(figures::sum(&broker, "corelane_appended_records_total"), 600.0);

    let status = Command::new(env!("CARGO_BIN_EXE_corelane"))
        .args(["status", "--server", broker.bootstrap()])
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    let second = format!("broker 1001 at 127.0.0.1:{}, rack node-1\n", port + 2);
    assert!(status.contains(&second) && status.contains("1 topic, 4 partitions"), "{status}");

    // Each shard tells of its own, and together of all.
    let (mut listed, mut logs) = (Vec::new(), 0);
    for address in brokers(&broker).values() {
        let mut client = Client::to(address);
        listed.extend(
            client
                .ask(4, &ListGroupsRequest::default())
                .groups
                .into_iter()
                .map(|each| each.group_id.to_string()),
        );
        let described = client.ask(4, &DescribeLogDirsRequest::default()).results;
        let partitions = described.iter().flat_map(|dir| &dir.topics).map(|topic| topic.partitions.len());
        logs += partitions.sum::<usize>();
    }
    listed.sort_unstable();
    assert_eq!(listed, groups.into_iter().collect::<Vec<_>>());
    let partitions: usize = metadata(&broker).topics.iter().map(|topic| topic.partitions.len()).sum();
    assert_eq!(logs, partitions);
    for id in ["1000", "1001"] {
        let resource = ResourceSpecifier::Broker(id.parse().unwrap());
        let described = admin.wait(admin.client.describe_configs([&resource], &admin.options)).unwrap();
        let described = described.into_iter().next().unwrap().unwrap();
        assert_eq!(described.get("listen").and_then(|entry| entry.value.clone()).as_deref(), Some("direct"));
    }
    assert_eq!(figures::sum(&broker, HOPS), 0.0);
}

#[test]
fn requests_hop_when_a_node_is_a_broker() {
    let broker = Broker::spawn(&[]);
    assert_eq!(brokers(&broker), BTreeMap::from([(1, broker.bootstrap().to_owned())]));
    let groups = work(&broker, &Admin::new(&broker));
    assert!(groups.iter().all(|group| coordinator_of(&broker, group) == 1));
    assert!(figures::sum(&broker, HOPS) > 0.0);
}

#[test]
fn a_fetch_that_waits_is_one_call_to_the_shard_that_owns_all_and_two_to_one_that_owns_a_part() {
    let broker = Broker::spawn(&[]);
    let admin = Admin::new(&broker);
    let (one, both) = (admin.create("one", 1), admin.create("both", 2));
    let mut seen = BTreeSet::new();
    // The kernel chooses the shard of each connection.
    for _ in 0..24 {
        let calls = [(&one, 1), (&both, 2)].map(|(topic, partitions)| {
            let asked =
                |partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..Default::default() };
            let partitions = (0..partitions).map(asked).collect();
            let topic = FetchTopic { topic: Str::from(topic.as_str()), partitions, ..Default::default() };
            let fetch = FetchRequest {
                max_wait_ms: 50,
                min_bytes: 1,
                max_bytes: 1 << 20,
                topics: vec![topic],
                ..Default::default()
            };
            let before = figures::sum(&broker, HOPS);
            let answer = Client::to(broker.bootstrap()).ask(4, &fetch);
            assert!(answer.responses[0].partitions.iter().all(|each| each.error_code == 0));
            (figures::sum(&broker, HOPS) - before) as u32
        });
        assert!(calls[0] <= 1 && calls[1] == 2, "{calls:?}");
        seen.insert(calls[0]);
    }
    assert_eq!(seen, BTreeSet::from([0, 1]), "connections of both shards");
}

#[test]
fn a_client_at_the_wrong_shard_is_told_the_right_one() {
    let broker = Broker::spawn(&["listen=direct"]);
    let admin = Admin::new(&broker);
    let topic = admin.create("misled", 1);
    let mut records = vec![Record::new(0, vec![7; 9])];
    send_all(broker.bootstrap(), &topic, &[], &mut records);
    let leader = leader_of(&broker, &topic, 0);
    let all = brokers(&broker);
    let (_, wrong) = all.iter().find(|(id, _)| **id != leader).unwrap();
    let mut client = Client::to(wrong);

    let data = PartitionProduceData { index: 0, records: Some(vec![0; 61].into()) };
    let data = TopicProduceData {
        name: Str::from(topic.as_str()),
        partition_data: vec![data],
        ..Default::default()
    };
    let produce = ProduceRequest { acks: 1, timeout_ms: 1000, topic_data: vec![data], ..Default::default() };
    let answer = client.ask(12, &produce);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, ErrorCode::NotLeaderOrFollower.code());
    assert_eq!((partition.current_leader.leader_id, partition.current_leader.leader_epoch), (leader, 0));
    let endpoint = &answer.node_endpoints[0];
    assert_eq!(
        (endpoint.node_id, format!("{}:{}", &*endpoint.host, endpoint.port)),
        (leader, all[&leader].clone())
    );
    // Before KIP-951 there is only the code.
    let answer = client.ask(9, &produce);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, ErrorCode::NotLeaderOrFollower.code());

    let asked = FetchPartition { partition: 0, partition_max_bytes: 1 << 20, ..Default::default() };
    let asked =
        FetchTopic { topic: Str::from(topic.as_str()), partitions: vec![asked], ..Default::default() };
    let fetch = FetchRequest {
        max_wait_ms: 10_000,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![asked],
        ..Default::default()
    };
    for version in [4, 12] {
        let answer = client.ask(version, &fetch);
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(
            partition.error_code,
            ErrorCode::NotLeaderOrFollower.code(),
            "at once, not after the wait"
        );
        let told = if version < 12 { -1 } else { leader };
        assert_eq!(partition.current_leader.leader_id, told);
    }

    let group = unique("misled");
    let coordinator = coordinator_of(&broker, &group);
    for (id, address) in &all {
        let beat = HeartbeatRequest {
            group_id: Str::from(group.as_str()),
            member_id: Str::from("m"),
            ..Default::default()
        };
        let code = Client::to(address).ask(4, &beat).error_code;
        let wanted = if *id == coordinator { ErrorCode::UnknownMemberId } else { ErrorCode::NotCoordinator };
        assert_eq!(code, wanted.code(), "broker {id} of {coordinator}");
    }
    assert_eq!(figures::sum(&broker, HOPS), 0.0, "nothing was passed on");
}

#[test]
fn partitions_are_made_on_the_shards_that_are_named() {
    let broker = Broker::spawn(&["listen=direct"]);
    let admin = Admin::new(&broker);
    let name = unique("named");
    let rows: [&[i32]; 3] = [&[1001], &[1001], &[1000]];
    admin.try_create(&NewTopic::new(&name, 3, TopicReplication::Variable(&rows))).unwrap();
    let leaders: Vec<i32> = (0..3).map(|partition| leader_of(&broker, &name, partition)).collect();
    assert_eq!(leaders, [1001, 1001, 1000]);
    for wrong in [&[1000, 1001][..], &[1002], &[1], &[2000]] {
        let other = unique("refused");
        let rows = [wrong];
        let refused = admin.try_create(&NewTopic::new(&other, 1, TopicReplication::Variable(&rows)));
        assert_eq!(refused, Err(RDKafkaErrorCode::InvalidReplicaAssignment), "{wrong:?}");
    }
    let twice = unique("twice");
    let refused = admin.try_create(&NewTopic::new(&twice, 1, TopicReplication::Fixed(2)));
    assert_eq!(refused, Err(RDKafkaErrorCode::InvalidReplicationFactor), "both would be on one node");
}

#[test]
fn clients_follow_partitions_to_another_number_of_shards() {
    let mut broker = Broker::spawn(&["listen=direct"]);
    let topic = Admin::new(&broker).create("moved", PARTITIONS);
    let consumer = member(&broker, &unique("moved"));
    consumer.subscribe(&[&topic]).unwrap();
    let mut sent = Vec::new();
    for (round, cores) in [3, 1, 2].into_iter().enumerate() {
        let mut records = some_records(round as u64);
        send_all(broker.bootstrap(), &topic, &[], &mut records);
        assert_same(&records, &poll(&consumer, records.len()));
        consumer.commit_consumer_state(CommitMode::Sync).unwrap();
        sent.extend(records);
        broker.stop();
        broker.restart_with_cores(cores);
        let ids: Vec<i32> = brokers(&broker).into_keys().collect();
        assert_eq!(ids, (1000..1000 + cores as i32).collect::<Vec<_>>());
        assert_topic_holds(broker.bootstrap(), &topic, PARTITIONS, &sent);
        assert_eq!(figures::sum(&broker, HOPS), 0.0);
    }
    // Nothing on disk depends on the way to listen.
    broker.stop();
    broker.set("listen=shared");
    broker.restart();
    assert_eq!(brokers(&broker).into_keys().collect::<Vec<_>>(), [1]);
    assert_topic_holds(broker.bootstrap(), &topic, PARTITIONS, &sent);
    assert!(poll_nothing(&consumer), "its place in the group is kept");
}

/// Whether no record comes for a while to a consumer that has all.
fn poll_nothing(consumer: &BaseConsumer) -> bool {
    (0..20).all(|_| !matches!(consumer.poll(Duration::from_millis(50)), Some(Ok(_))))
}

#[test]
fn ports_that_do_not_exist_refuse_the_start() {
    let start = |settings: &[&str]| {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
        command.args(["--cores", "2", "--data"]).arg(data.path()).args(["--set", "listen=direct"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let output = command.output().unwrap();
        assert!(!output.status.success());
        assert!(!data.path().join("format").exists(), "nothing was touched");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = start(&["listeners=PLAINTEXT://127.0.0.1:65534"]);
    assert!(text.contains("listen=direct gives each of 2 shards the ports that follow 65534"), "{text}");
    let told = "advertised.listeners=PLAINTEXT://broker.example:65535";
    let text = start(&["listeners=PLAINTEXT://127.0.0.1:0", told]);
    assert!(text.contains("use a lower port"), "{text}");
    let text = start(&["node.id=3000000"]);
    assert!(text.contains("node.id") && text.contains("listen=direct"), "{text}");
}
