//! Quotas of clients on the real binary: set, kept, told; who is above is answered at once with how long to wait, is not read
//! for that long, and loses nothing (KIP-219, KIP-546).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use support::Broker;
use support::admin::Admin;
use wire::kafka::alter_client_quotas::{AlterClientQuotasRequest, EntityData, EntryData, OpData};
use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
use wire::kafka::compression::Codec;
use wire::kafka::describe_client_quotas::{ComponentData, DescribeClientQuotasRequest};
use wire::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic};
use wire::kafka::header::ResponseHeader;
use wire::kafka::metadata::MetadataRequest;
use wire::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::kafka::{Float64, Message as _, Reader, Records, Request, Str, frame};

const PRODUCER: &str = "producer_byte_rate";
const CONSUMER: &str = "consumer_byte_rate";
const INVALID_REQUEST: i16 = 42;

/// A client id, or none for the default, and its quotas.
type Told = (Option<String>, Vec<(String, f64)>);

struct Client {
    id: &'static str,
    stream: TcpStream,
}

impl Client {
    fn new(broker: &Broker, id: &'static str) -> Self {
        let stream = TcpStream::connect(broker.bootstrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { id, stream }
    }

    fn ask<R: Request>(&mut self, version: i16, body: &R) -> R::Response {
        self.send(version, body);
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer).unwrap();
        let mut reader = Reader::new(Bytes::from(answer));
        ResponseHeader::decode(&mut reader, R::API_KEY, version).unwrap();
        R::Response::decode(&mut reader, version).unwrap()
    }

    fn send<R: Request>(&mut self, version: i16, body: &R) {
        let frame = frame::request(version, 7, Some(&Str::from(self.id)), body).into_contiguous();
        self.stream.write_all(&frame).unwrap();
    }

    /// How long the answer says to wait.
    fn produce(&mut self, topic: &str, bytes: usize) -> Duration {
        let answer = self.ask(9, &produce_request(topic, bytes, -1));
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        Duration::from_millis(answer.throttle_time_ms as u64)
    }

    /// Sets quotas of one entity, or takes them away; the codes.
    fn alter(&mut self, entity: &[(&str, Option<&str>)], ops: &[(&str, Option<f64>)]) -> i16 {
        let part = |(kind, name): &(&str, Option<&str>)| EntityData {
            entity_type: Str::from(*kind),
            entity_name: name.map(Str::from),
        };
        let op = |(key, value): &(&str, Option<f64>)| OpData {
            key: Str::from(*key),
            value: Float64(value.unwrap_or_default()),
            remove: value.is_none(),
        };
        let entry =
            EntryData { entity: entity.iter().map(part).collect(), ops: ops.iter().map(op).collect() };
        let answer = self.ask(1, &AlterClientQuotasRequest { entries: vec![entry], validate_only: false });
        assert_eq!(answer.entries[0].entity.len(), entity.len(), "the entity is told again");
        answer.entries[0].error_code
    }

    fn set(&mut self, client_id: Option<&str>, ops: &[(&str, Option<f64>)]) {
        assert_eq!(self.alter(&[("client-id", client_id)], ops), 0);
    }

    /// What is set on the entities that match.
    fn describe(&mut self, components: Vec<ComponentData>) -> Vec<Told> {
        let answer = self.ask(1, &DescribeClientQuotasRequest { components, strict: false });
        assert_eq!(answer.error_code, 0);
        let told = answer.entries.unwrap().into_iter().map(|entry| {
            let values = entry.values.iter().map(|value| (value.key.to_string(), value.value.0));
            (entry.entity[0].entity_name.as_ref().map(ToString::to_string), values.collect())
        });
        told.collect()
    }
}

fn produce_request(topic: &str, bytes: usize, acks: i16) -> ProduceRequest {
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(&NewRecord { timestamp: 1, value: Some(&vec![7; bytes]), ..Default::default() });
    let data = PartitionProduceData { index: 0, records: Some(batch.build().unwrap()) };
    let topic = TopicProduceData { name: Str::from(topic), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

fn of_clients(match_type: i8, name: Option<&str>) -> Vec<ComponentData> {
    let entity_type = Str::from("client-id");
    vec![ComponentData { entity_type, match_type, r#match: name.map(Str::from) }]
}

#[test]
fn quotas_are_told_as_they_were_set_also_after_a_restart() {
    let mut broker = Broker::spawn(&[]);
    let mut client = Client::new(&broker, "admin");
    client.set(Some("a"), &[(PRODUCER, Some(1000.0)), (CONSUMER, Some(2000.0))]);
    client.set(Some("b"), &[(PRODUCER, Some(5.0))]);
    client.set(None, &[(CONSUMER, Some(9e9))]);
    client.set(Some("b"), &[(PRODUCER, None)]);
    let all = |client: &mut Client| client.describe(Vec::new());
    let own = (Some("a".to_owned()), vec![(PRODUCER.to_owned(), 1000.0), (CONSUMER.to_owned(), 2000.0)]);
    let default = (None, vec![(CONSUMER.to_owned(), 9e9)]);
    assert_eq!(all(&mut client), [default.clone(), own.clone()]);
    assert_eq!(client.describe(of_clients(0, Some("a")))[..], all(&mut client)[1..]);
    assert_eq!(client.describe(of_clients(0, Some("b"))), []);
    assert_eq!(client.describe(of_clients(1, None))[..], all(&mut client)[..1]);
    assert_eq!(client.describe(of_clients(2, None)).len(), 2);
    broker.kill();
    broker.restart();
    assert_eq!(all(&mut Client::new(&broker, "admin")), [default, own]);
}

#[test]
fn quotas_that_cannot_hold_are_refused() {
    let broker = Broker::spawn(&[]);
    let mut client = Client::new(&broker, "admin");
    let one = [(PRODUCER, Some(1.0))];
    let of_client = [("client-id", Some("a"))];
    for (entity, ops) in [
        (&[][..], &one[..]),
        (&[("client-id", Some(""))], &one),
        (&[("planet", Some("mars"))], &one),
        (&[("user", Some("u"))], &one),
        (&[("client-id", Some("a")), ("user", None)], &one),
        (&of_client, &[(PRODUCER, Some(0.0))]),
        (&of_client, &[(PRODUCER, Some(-1.0))]),
        (&of_client, &[(PRODUCER, Some(1.5))]),
        (&of_client, &[(PRODUCER, Some(f64::NAN))]),
        (&of_client, &[("speed", Some(1.0))]),
        (&of_client, &[("request_percentage", Some(1.0))]),
        (&of_client, &[(PRODUCER, Some(1.0)), (PRODUCER, Some(2.0))]),
    ] {
        assert_eq!(client.alter(entity, ops), INVALID_REQUEST, "{entity:?} {ops:?}");
    }
    assert_eq!(client.describe(Vec::new()), []);
    for bad in [of_clients(0, None), of_clients(1, Some("x")), of_clients(3, None)] {
        let answer = client.ask(1, &DescribeClientQuotasRequest { components: bad, strict: false });
        assert_eq!(answer.error_code, INVALID_REQUEST);
    }
}

#[test]
fn a_producer_above_its_quota_is_told_to_wait_and_held_back_and_others_are_not() {
    let broker = Broker::spawn(&[]);
    let topic = Admin::new(&broker).create("quota", 1);
    Client::new(&broker, "admin").set(Some("limited"), &[(PRODUCER, Some(100_000.0))]);
    // Several connections, so that both shards are met: together they have one quota.
    let mut limited: Vec<Client> = (0..4).map(|_| Client::new(&broker, "limited")).collect();
    let mut free = Client::new(&broker, "free");
    let started = Instant::now();
    let (mut told, mut slowest_free) = (Duration::ZERO, Duration::ZERO);
    for round in 0..8 {
        told += limited[round % 4].produce(&topic, 50_000);
        let free_started = Instant::now();
        assert_eq!(free.produce(&topic, 50_000), Duration::ZERO);
        slowest_free = slowest_free.max(free_started.elapsed());
    }
    // None is served before its wait is over.
    for client in &mut limited {
        client.ask(9, &MetadataRequest::default());
    }
    // 400 kB, of which 100 kB are free.
    let took = started.elapsed();
    println!("{took:?}, told to wait {told:?}, slowest without a quota {slowest_free:?}");
    assert!(told > Duration::from_secs(2), "{told:?}");
    assert!((Duration::from_millis(2800)..Duration::from_secs(15)).contains(&took), "{took:?}");
    assert!(slowest_free < Duration::from_secs(1), "{slowest_free:?}");
    // The connection that was told to wait is not read until then, and then served.
    let wait = limited[0].produce(&topic, 200_000);
    assert!(wait > Duration::from_millis(900), "{wait:?}");
    let muted = Instant::now();
    limited[0].ask(9, &MetadataRequest::default());
    let silent = muted.elapsed();
    assert!(silent + Duration::from_millis(50) >= wait, "{silent:?} of {wait:?}");
    // Nothing is left of it when the quota is gone.
    Client::new(&broker, "admin").set(Some("limited"), &[(PRODUCER, None)]);
    assert_eq!(limited[1].produce(&topic, 500_000), Duration::ZERO);
}

#[test]
fn a_producer_that_wants_no_answers_is_held_back_too() {
    let broker = Broker::spawn(&[]);
    let topic = Admin::new(&broker).create("quota", 1);
    Client::new(&broker, "admin").set(None, &[(PRODUCER, Some(100_000.0))]);
    let mut client = Client::new(&broker, "whoever");
    let started = Instant::now();
    for _ in 0..4 {
        client.send(9, &produce_request(&topic, 100_000, 0));
    }
    client.ask(9, &MetadataRequest::default());
    let took = started.elapsed();
    assert!(took > Duration::from_millis(2500), "{took:?}");
}

#[test]
fn a_consumer_above_its_quota_gets_its_records_at_the_rate_that_is_set() {
    let broker = Broker::spawn(&[]);
    let topic = Admin::new(&broker).create("quota", 1);
    let mut producer = Client::new(&broker, "producer");
    let (count, each) = (12, 50_000);
    for _ in 0..count {
        assert_eq!(producer.produce(&topic, each), Duration::ZERO);
    }
    Client::new(&broker, "admin").set(None, &[(CONSUMER, Some(200_000.0))]);
    let mut consumer = Client::new(&broker, "consumer");
    let (started, mut told, mut offset, mut bytes) = (Instant::now(), 0, 0, 0);
    while offset < count {
        let partition = FetchPartition {
            partition: 0,
            current_leader_epoch: -1,
            fetch_offset: offset,
            log_start_offset: -1,
            partition_max_bytes: 10 << 20,
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: Str::from(topic.as_str()),
            partitions: vec![partition],
            ..Default::default()
        };
        let body = FetchRequest {
            max_wait_ms: 1000,
            min_bytes: 1 << 20,
            max_bytes: 10 << 20,
            topics: vec![topic],
            ..Default::default()
        };
        let answer = consumer.ask(12, &body);
        told += answer.throttle_time_ms;
        let Records::Bytes(parts) = &answer.responses[0].partitions[0].records else { panic!("no records") };
        let got: usize = parts.iter().map(Bytes::len).sum();
        // A whole batch may be cut at the end; those that are whole count.
        let whole = got / each;
        assert!(whole > 0 && got <= 200_000 + each, "{got} bytes");
        offset += whole as i64;
        bytes += got;
    }
    let took = started.elapsed();
    println!("{bytes} bytes in {took:?}, told to wait {told} ms");
    assert!(told > 1000, "{told} ms");
    // 600 kB, of which 200 kB are free; the last wait is still to come.
    assert!(took > Duration::from_secs(1), "{took:?}");
}
