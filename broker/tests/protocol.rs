//! The protocol through a socket, frame by frame: what Kafka 4.3 answers to odd and hostile requests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use support::Broker;
use wire::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use wire::kafka::batch_builder::{BatchBuilder, NewRecord, Producer};
use wire::kafka::compression::Codec;
use wire::kafka::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use wire::kafka::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::kafka::describe_log_dirs::DescribeLogDirsRequest;
use wire::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use wire::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::kafka::metadata::{MetadataRequest, MetadataRequestTopic};
use wire::kafka::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use wire::kafka::record_batch::Batches;
use wire::kafka::{Message, Reader, Records, Request, Str, Uuid, frame, header::ResponseHeader};

/// One broker for all tests of this file, whose topics have names of their own; it ends with the last who holds it.
fn broker() -> Arc<Broker> {
    static BROKER: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
    let mut shared = BROKER.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let broker = Arc::new(Broker::start());
        *shared = Arc::downgrade(&broker);
        broker
    })
}

struct Client {
    _broker: Arc<Broker>,
    stream: TcpStream,
    next: i32,
}

impl Client {
    fn new() -> Client {
        let broker = broker();
        let stream = TcpStream::connect(broker.bootstrap()).expect("the broker listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        Client { _broker: broker, stream, next: 1 }
    }

    fn send<R: Request>(&mut self, version: i16, body: &R) -> i32 {
        let id = self.next;
        self.next += 1;
        let frame = frame::request(version, id, Some(&Str::from("protocol-test")), body).into_contiguous();
        self.stream.write_all(&frame).expect("sent");
        id
    }

    fn receive<R: Request>(&mut self, version: i16, id: i32) -> R::Response {
        let mut reader = Reader::new(self.read_frame().expect("an answer"));
        let header = ResponseHeader::decode(&mut reader, R::API_KEY, version).expect("a header");
        assert_eq!(header.correlation_id, id, "answers come in the order of requests");
        let body = R::Response::decode(&mut reader, version).expect("a body");
        assert_eq!(reader.left(), 0, "nothing follows the answer");
        body
    }

    fn ask<R: Request>(&mut self, version: i16, body: &R) -> R::Response {
        let id = self.send(version, body);
        self.receive::<R>(version, id)
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    /// `None`: the broker closed the connection.
    fn read_frame(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) => {
                assert!(!would_block(&error), "neither an answer nor a close within the time-out");
                return None;
            }
        }
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut body).expect("a whole frame");
        Some(Bytes::from(body))
    }

    fn is_closed(&mut self) -> bool {
        self.read_frame().is_none()
    }

    fn create(&mut self, name: &str, partitions: i32) {
        self.create_with(name, partitions, &[]);
    }

    fn create_with(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: Str::from(*name),
            value: Some(Str::from(*value)),
        };
        let topic = CreatableTopic {
            name: Str::from(name),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        };
        let answer = self.ask(7, &CreateTopicsRequest { topics: vec![topic], ..Default::default() });
        assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
    }

    fn produce(&mut self, topic: &str, acks: i16, batch: Option<Bytes>) -> PartitionProduceResponse {
        let answer = self.ask(9, &produce_request(topic, 0, acks, batch));
        answer.responses[0].partition_responses[0].clone()
    }

    fn fetch(&mut self, topic: &str, offset: i64, wait_ms: i32) -> FetchResponse {
        self.ask(12, &fetch_request(topic, offset, wait_ms))
    }
}

fn would_block(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn produce_request(topic: &str, index: i32, acks: i16, records: Option<Bytes>) -> ProduceRequest {
    let data = PartitionProduceData { index, records };
    let topic = TopicProduceData { name: Str::from(topic), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() }
}

fn fetch_request(topic: &str, fetch_offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition {
        fetch_offset,
        partition_max_bytes: 1 << 20,
        current_leader_epoch: -1,
        ..Default::default()
    };
    let topic = FetchTopic { topic: Str::from(topic), partitions: vec![partition], ..Default::default() };
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn batch(values: &[&str]) -> Bytes {
    build(BatchBuilder::new(Codec::None), values)
}

fn build(mut builder: BatchBuilder, values: &[&str]) -> Bytes {
    for value in values {
        builder.push(&NewRecord { timestamp: 1_000, value: Some(value.as_bytes()), ..Default::default() });
    }
    builder.build().expect("a batch")
}

fn fetched(answer: &FetchResponse) -> Vec<(i64, i32)> {
    let Records::Bytes(parts) = &answer.responses[0].partitions[0].records else { return Vec::new() };
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
    Batches::new(Bytes::from(bytes))
        .map(|batch| batch.expect("a batch").header)
        .map(|header| (header.base_offset, header.record_count))
        .collect()
}

#[test]
fn an_unknown_version_of_api_versions_gets_the_sixteen_bytes_of_kafka() {
    let mut client = Client::new();
    client.send_raw(&[0, 0, 0, 12, 0, 18, 0, 99, 0, 0, 0, 7, 0, 1, b'x', 0]);
    let answer = client.read_frame().expect("an answer");
    assert_eq!(&answer[..], [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    let versions: ApiVersionsResponse = client.ask(0, &ApiVersionsRequest::default());
    assert_eq!(versions.error_code, 0, "the connection goes on");
}

#[test]
fn api_versions_lists_what_is_served_and_nothing_else() {
    let request = ApiVersionsRequest {
        client_software_name: Str::from("test"),
        client_software_version: Str::from("1.0"),
    };
    let answer = Client::new().ask(4, &request);
    let produce = answer.api_keys.iter().find(|entry| entry.api_key == 0).expect("produce");
    assert_eq!((produce.min_version, produce.max_version), (0, 13));
    assert!(answer.api_keys.iter().all(|entry| entry.min_version <= entry.max_version));
    for absent in [24, 26, 52, 68, 78] {
        assert!(answer.api_keys.iter().all(|entry| entry.api_key != absent), "{absent} is not built");
    }
}

#[test]
fn frames_that_no_client_sends_close_the_connection_and_only_that_one() {
    let mut healthy = Client::new();
    let refused: [&[u8]; 7] = [
        &[0, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0, 0, 0, 3, 0, 18, 0],
        // Unknown key 999, unknown version of Metadata, produce version 2.
        &[0, 0, 0, 10, 0x03, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff],
    ];
    for frame in refused {
        let mut client = Client::new();
        client.send_raw(frame);
        assert!(client.is_closed(), "{frame:?} closes its connection");
    }
    // Metadata v1 whose array count is larger than the frame.
    let mut client = Client::new();
    client.send_raw(&[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0, 0, 0]);
    assert!(client.is_closed());
    assert_eq!(healthy.ask(0, &ApiVersionsRequest::default()).error_code, 0);
}

#[test]
fn metadata_by_id_is_refused_in_the_versions_that_have_no_meaning_for_it() {
    let by_id = MetadataRequestTopic { topic_id: Uuid([7; 16]), name: None };
    let by_name = MetadataRequestTopic { name: Some(Str::from("no-such")), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![by_id, by_name]), ..Default::default() };
    for version in [10, 11] {
        let topics = Client::new().ask(version, &request).topics;
        let told: Vec<_> = topics.iter().map(|t| (t.error_code, t.name.as_deref(), t.topic_id)).collect();
        assert_eq!(told, [(42, Some(""), Uuid([7; 16])), (42, Some("no-such"), Uuid::ZERO)]);
    }
}

#[test]
fn a_batch_comes_back_as_it_was_sent_with_its_offsets_set() {
    let mut client = Client::new();
    client.create("roundtrip", 1);
    let first = client.produce("roundtrip", -1, Some(batch(&["a", "b", "c"])));
    assert_eq!((first.error_code, first.base_offset, first.log_append_time_ms), (0, 0, -1));
    let second = client.produce("roundtrip", 1, Some(batch(&["d"])));
    assert_eq!((second.error_code, second.base_offset), (0, 3));
    let answer = client.fetch("roundtrip", 0, 0);
    assert_eq!(answer.responses[0].partitions[0].high_watermark, 4);
    assert_eq!(fetched(&answer), [(0, 3), (3, 1)]);
    let Records::Bytes(parts) = &answer.responses[0].partitions[0].records else { panic!("records") };
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
    let sent = batch(&["a", "b", "c"]);
    assert_eq!(bytes[17..sent.len()], sent[17..], "all but base offset and leader epoch is as sent");
    assert_eq!(
        fetched(&client.fetch("roundtrip", 1, 0)),
        [(0, 3), (3, 1)],
        "an offset inside a batch gives it whole"
    );
}

#[test]
fn batches_that_do_not_hold_together_get_kafkas_codes() {
    let mut client = Client::new();
    client.create("refused", 1);
    let good = batch(&["a", "b"]);
    let spoilt = |at: usize, value: u8| {
        let mut bytes = good.to_vec();
        bytes[at] ^= value;
        Bytes::from(bytes)
    };
    let twice = Bytes::from([&good[..], &good[..]].concat());
    let cases: [(&str, Option<Bytes>, i16); 8] = [
        ("a flipped bit in the records", Some(spoilt(good.len() - 1, 1)), 2),
        ("magic 0", Some(spoilt(16, 2)), 87),
        ("magic 3", Some(spoilt(16, 1)), 2),
        ("two batches", Some(twice), 87),
        ("a cut batch", Some(good.slice(..good.len() - 3)), 87),
        ("no bytes", Some(Bytes::new()), 87),
        ("null", None, 87),
        ("a control batch", Some(build(BatchBuilder::new(Codec::None).control(), &["a"])), 87),
    ];
    for (what, records, code) in cases {
        let answer = client.produce("refused", -1, records);
        assert_eq!((answer.error_code, answer.base_offset), (code, -1), "{what}");
    }
    assert_eq!(client.produce("refused", 2, Some(good.clone())).error_code, 21, "acks=2");
    assert_eq!(client.produce("refused", -1, Some(good)).base_offset, 0, "nothing of it was appended");
}

#[test]
fn a_record_from_the_future_is_refused_by_name() {
    let mut client = Client::new();
    client.create("future", 1);
    let mut builder = BatchBuilder::new(Codec::Lz4);
    for timestamp in [1_000, i64::MAX / 2] {
        builder.push(&NewRecord { timestamp, value: Some(b"x"), ..Default::default() });
    }
    let answer = client.produce("future", -1, Some(builder.build().expect("a batch")));
    assert_eq!(answer.error_code, 32);
    assert_eq!(answer.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [1]);
    assert!(answer.error_message.is_some());
}

#[test]
fn a_batch_above_the_limit_is_too_large() {
    let mut client = Client::new();
    client.create("large", 1);
    let value = "x".repeat(1_100_000);
    assert_eq!(client.produce("large", -1, Some(batch(&[&value]))).error_code, 10);
    let value = "x".repeat(1_000_000);
    assert_eq!(client.produce("large", -1, Some(batch(&[&value]))).error_code, 0);
    assert_eq!(fetched(&client.fetch("large", 0, 0)), [(0, 1)]);
}

/// The batches of the first partition of an answer.
fn fetched_batches(answer: &FetchResponse) -> Vec<wire::kafka::record_batch::Batch> {
    let Records::Bytes(parts) = &answer.responses[0].partitions[0].records else { return Vec::new() };
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
    Batches::new(Bytes::from(bytes)).map(|batch| batch.expect("a batch")).collect()
}

#[test]
fn a_topic_with_a_codec_of_its_own_compresses_what_arrives_otherwise() {
    let mut client = Client::new();
    for (codec, name) in [(Codec::Zstd, "zstd"), (Codec::Gzip, "gzip"), (Codec::None, "uncompressed")] {
        let topic = format!("codec-{name}");
        client.create_with(&topic, 1, &[("compression.type", name)]);
        let sent = build(BatchBuilder::new(Codec::Lz4), &["one", "two", "three"]);
        assert_eq!(client.produce(&topic, -1, Some(sent)).error_code, 0);
        let batch = fetched_batches(&client.fetch(&topic, 0, 0)).swap_remove(0);
        assert_eq!(batch.header.codec(), Ok(codec));
        assert_eq!(batch.header.verify_crc(&batch.bytes), Ok(()));
        let records = wire::kafka::record::Records::new(&batch, 1 << 20).expect("readable");
        let values: Vec<Bytes> =
            records.map(|record| record.expect("a record").value.expect("a value")).collect();
        assert_eq!(values, ["one", "two", "three"]);
    }
}

#[test]
fn a_topic_with_log_append_time_stamps_batches_with_the_brokers_clock() {
    let mut client = Client::new();
    client.create_with("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let before =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let answer = client.produce("stamped", -1, Some(batch(&["a", "b"])));
    assert_eq!(answer.error_code, 0);
    assert!(answer.log_append_time_ms >= before as i64 - 1);
    let stored = fetched_batches(&client.fetch("stamped", 0, 0)).swap_remove(0);
    assert_eq!(stored.header.max_timestamp, answer.log_append_time_ms);
    assert_eq!(stored.header.verify_crc(&stored.bytes), Ok(()));
}

#[test]
fn a_retry_of_an_idempotent_producer_is_appended_once() {
    let mut client = Client::new();
    client.create("idempotent", 1);
    let numbered = |base_sequence: i32, epoch: i16| {
        build(
            BatchBuilder::new(Codec::None).producer(Producer { id: 4242, epoch, base_sequence }),
            &["a", "b"],
        )
    };
    assert_eq!(client.produce("idempotent", -1, Some(numbered(0, 0))).base_offset, 0);
    assert_eq!(client.produce("idempotent", -1, Some(numbered(2, 0))).base_offset, 2);
    let retried = client.produce("idempotent", -1, Some(numbered(0, 0)));
    assert_eq!((retried.error_code, retried.base_offset), (0, 0));
    assert_eq!(retried.log_append_time_ms, 1_000, "Kafka names the largest timestamp of the batch");
    assert_eq!(client.produce("idempotent", -1, Some(numbered(9, 0))).error_code, 45, "a gap");
    assert_eq!(
        client.produce("idempotent", -1, Some(numbered(0, 1))).base_offset,
        4,
        "a new epoch starts at 0"
    );
    assert_eq!(client.produce("idempotent", -1, Some(numbered(4, 0))).error_code, 47, "a stale epoch");
    assert_eq!(client.fetch("idempotent", 0, 0).responses[0].partitions[0].high_watermark, 6);
}

#[test]
fn a_batch_that_the_log_refuses_is_answered_with_the_logs_start() {
    let mut client = Client::new();
    // Partitions on every shard, so that some of these answers come over the mesh.
    client.create("start-named", 4);
    let numbered = |base_sequence: i32, epoch: i16| {
        build(BatchBuilder::new(Codec::None).producer(Producer { id: 7, epoch, base_sequence }), &["a"])
    };
    let control = build(BatchBuilder::new(Codec::None).control(), &["a"]);
    let mut future = BatchBuilder::new(Codec::None);
    future.push(&NewRecord { timestamp: i64::MAX / 2, value: Some(b"x"), ..Default::default() });
    let future = future.build().expect("a batch");
    let mut broken = numbered(1, 1).to_vec();
    *broken.last_mut().expect("bytes") ^= 1;
    for index in 0..4 {
        let mut produce = |records: Bytes| {
            let answer = client.ask(9, &produce_request("start-named", index, -1, Some(records)));
            let answer = answer.responses[0].partition_responses[0].clone();
            (answer.error_code, answer.base_offset, answer.log_start_offset)
        };
        assert_eq!(produce(numbered(0, 1)), (0, 0, 0));
        assert_eq!(produce(numbered(9, 1)), (45, -1, 0), "a gap");
        assert_eq!(produce(numbered(1, 0)), (47, -1, 0), "a stale epoch");
        assert_eq!(produce(control.clone()), (87, -1, 0), "a control batch");
        assert_eq!(produce(future.clone()), (32, -1, 0), "a record of the future");
        assert_eq!(produce(Bytes::from(broken.clone())), (2, -1, -1), "a CRC is checked before the log");
        assert_eq!(produce(Bytes::new()), (87, -1, -1), "so is that there is a batch");
    }
}

#[test]
fn log_dirs_tell_their_room() {
    let answer = Client::new().ask(5, &DescribeLogDirsRequest { topics: None });
    let dir = &answer.results[0];
    assert!(dir.usable_bytes > 0, "{dir:?}");
    assert!(dir.total_bytes >= dir.usable_bytes, "{dir:?}");
}

#[test]
fn acks_zero_is_not_answered_and_a_failed_one_closes() {
    let mut client = Client::new();
    client.create("silent", 1);
    client.send(9, &produce_request("silent", 0, 0, Some(batch(&["a"]))));
    assert_eq!(
        client.produce("silent", 1, Some(batch(&["b"]))).base_offset,
        1,
        "the next answer is the next request's"
    );
    client.send(9, &produce_request("no-such-topic", 0, 0, Some(batch(&["a"]))));
    assert!(client.is_closed());
}

#[test]
fn a_parked_fetch_returns_as_soon_as_there_is_a_record() {
    let mut client = Client::new();
    client.create("parked", 1);
    let mut consumer = Client::new();
    let id = consumer.send(12, &fetch_request("parked", 0, 9_000));
    std::thread::sleep(Duration::from_millis(200));
    client.produce("parked", -1, Some(batch(&["a"])));
    let started = std::time::Instant::now();
    let answer = consumer.receive::<FetchRequest>(12, id);
    assert_eq!(fetched(&answer), [(0, 1)]);
    assert!(started.elapsed() < Duration::from_secs(3), "it did not wait for its deadline");
    let empty = consumer.fetch("parked", 1, 300);
    assert_eq!(fetched(&empty), []);
}

#[test]
fn offsets_outside_the_log_are_out_of_range() {
    let mut client = Client::new();
    client.create("range", 1);
    client.produce("range", -1, Some(batch(&["a"])));
    for offset in [2, -1, 1_000_000] {
        let partition = client.fetch("range", offset, 0).responses[0].partitions[0].clone();
        assert_eq!((partition.error_code, partition.high_watermark, partition.log_start_offset), (1, -1, -1));
    }
    assert_eq!(client.fetch("range", 1, 0).responses[0].partitions[0].error_code, 0, "the end is in range");
}

#[test]
fn an_incremental_session_names_only_what_is_new() {
    let mut client = Client::new();
    client.create("session", 2);
    let mut first = fetch_request("session", 0, 0);
    first.session_epoch = 0;
    let other = FetchPartition { partition: 1, ..first.topics[0].partitions[0].clone() };
    first.topics[0].partitions.push(other);
    let begun = client.ask(12, &first);
    assert_ne!(begun.session_id, 0);
    assert_eq!(begun.responses[0].partitions.len(), 2, "the first answer names all");
    client.produce("session", -1, Some(batch(&["a"])));
    let next = FetchRequest {
        session_id: begun.session_id,
        session_epoch: 1,
        max_bytes: 1 << 20,
        min_bytes: 1,
        max_wait_ms: 5_000,
        ..Default::default()
    };
    let answer = client.ask(12, &next);
    assert_eq!(answer.responses.len(), 1);
    assert_eq!(fetched(&answer), [(0, 1)]);
    assert_eq!(client.ask(12, &next).error_code, 71, "the epoch was used");
    let unknown = FetchRequest { session_id: begun.session_id ^ 1, ..next };
    assert_eq!(client.ask(12, &unknown).error_code, 70);
}

#[test]
fn list_offsets_finds_ends_and_times() {
    let mut client = Client::new();
    client.create("times", 1);
    let mut builder = BatchBuilder::new(Codec::Gzip);
    for timestamp in [100, 300, 200] {
        builder.push(&NewRecord { timestamp, value: Some(b"x"), ..Default::default() });
    }
    client.produce("times", -1, Some(builder.build().expect("a batch")));
    let mut at = |timestamp: i64, version: i16| {
        let partition = ListOffsetsPartition { timestamp, current_leader_epoch: -1, ..Default::default() };
        let topic = ListOffsetsTopic { name: Str::from("times"), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let answer = client.ask(version, &request).topics[0].partitions[0].clone();
        (answer.error_code, answer.offset, answer.timestamp)
    };
    assert_eq!(at(-1, 10), (0, 3, -1));
    assert_eq!(at(-2, 10), (0, 0, -1));
    assert_eq!(at(-3, 10), (0, 1, 300), "the largest timestamp is inside the batch");
    assert_eq!(at(-4, 10), (0, 0, -1));
    assert_eq!(at(-5, 10), (0, -1, -1));
    assert_eq!(at(150, 10), (0, 1, 300));
    assert_eq!(at(301, 10), (0, -1, -1));
    assert_eq!(at(-3, 6).0, 35, "version 6 does not know it");
}

#[test]
fn deleted_records_are_gone_and_the_start_moves() {
    let mut client = Client::new();
    client.create("deleted", 1);
    for value in ["a", "b", "c"] {
        client.produce("deleted", -1, Some(batch(&[value])));
    }
    let mut delete = |offset: i64| {
        let partition = DeleteRecordsPartition { partition_index: 0, offset };
        let topic = DeleteRecordsTopic { name: Str::from("deleted"), partitions: vec![partition] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 5_000 };
        let answer = client.ask(2, &request).topics[0].partitions[0].clone();
        (answer.error_code, answer.low_watermark)
    };
    assert_eq!(delete(4), (1, -1));
    assert_eq!(delete(2), (0, 2));
    assert_eq!(delete(1), (0, 2), "it never moves back");
    assert_eq!(client.fetch("deleted", 1, 0).responses[0].partitions[0].error_code, 1);
    assert_eq!(fetched(&client.fetch("deleted", 2, 0)), [(2, 1)]);
}

#[test]
fn topics_are_known_by_name_and_by_id() {
    let mut client = Client::new();
    client.create("named", 3);
    let asked = |topic_id: Uuid, name: Option<&str>| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id, name: name.map(Str::from) }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let by_name = client.ask(12, &asked(Uuid::ZERO, Some("named"))).topics[0].clone();
    assert_eq!((by_name.error_code, by_name.partitions.len()), (0, 3));
    let by_id = client.ask(12, &asked(by_name.topic_id, None)).topics[0].clone();
    assert_eq!(by_id.name, by_name.name);
    assert_eq!(client.ask(12, &asked(Uuid([7; 16]), None)).topics[0].error_code, 100);
    assert_eq!(client.ask(12, &asked(Uuid::ZERO, Some("absent"))).topics[0].error_code, 3);
    assert_eq!(client.ask(12, &asked(Uuid::ZERO, Some("a b"))).topics[0].error_code, 17);
}

#[test]
fn pipelined_requests_over_all_shards_are_answered_in_order() {
    let mut client = Client::new();
    client.create("pipelined", 8);
    let rounds = 50;
    let ids: Vec<i32> = (0..rounds)
        .map(|round| client.send(9, &produce_request("pipelined", round % 8, -1, Some(batch(&["a"])))))
        .collect();
    for id in ids {
        let answer: ProduceResponse = client.receive::<ProduceRequest>(9, id);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
}

/// Produce requests of many sizes, with small ones in between: the bytes, and of each the values it sends (0: not produce).
fn frames_of_many_sizes(topic: &str, random: &mut impl FnMut(usize) -> usize) -> (Vec<u8>, Vec<usize>) {
    const SIZES: [usize; 9] = [1, 5_000, 16_200, 16_400, 100_000, 130_000, 500_000, 1_048_500, 1_500_000];
    let name = Str::from("protocol-test");
    let (mut bytes, mut records) = (Vec::new(), Vec::new());
    for id in 1..=120 {
        let frame = if random(6) == 0 {
            records.push(0);
            frame::request(3, id, Some(&name), &ApiVersionsRequest::default())
        } else {
            let most = if random(4) == 0 { SIZES.len() } else { 6 };
            let size = SIZES[random(most)];
            let values = ["x".repeat(size), "y".repeat(random(50))];
            records.push(values.len());
            let batch = batch(&values.each_ref().map(String::as_str));
            frame::request(9, id, Some(&name), &produce_request(topic, 0, -1, Some(batch)))
        };
        bytes.extend_from_slice(&frame.into_contiguous());
    }
    (bytes, records)
}

#[test]
fn requests_of_any_size_sent_without_waiting_are_answered_in_their_order() {
    for seed in 1..4u64 {
        let mut state = seed;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut client = Client::new();
        let topic = format!("pipelined-{seed}");
        client.create_with(&topic, 1, &[("max.message.bytes", "2000000")]);
        let (bytes, records) = frames_of_many_sizes(&topic, &mut random);
        let mut stream = client.stream.try_clone().expect("another handle");
        let sending = std::thread::spawn(move || {
            let mut left = &bytes[..];
            while !left.is_empty() {
                let most = [3, 1_000, 20_000, 300_000, 3_000_000][random(5)];
                let (now, later) = left.split_at((1 + random(most)).min(left.len()));
                stream.write_all(now).expect("sent");
                left = later;
                if random(10) == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        let mut offset = 0;
        for (id, records) in (1..).zip(records) {
            if records == 0 {
                client.receive::<ApiVersionsRequest>(3, id);
                continue;
            }
            let answer = client.receive::<ProduceRequest>(9, id);
            let partition = &answer.responses[0].partition_responses[0];
            assert_eq!(
                (partition.error_code, partition.base_offset),
                (0, offset),
                "request {id}, seed {seed}"
            );
            offset += records as i64;
        }
        sending.join().expect("all was sent");
    }
}
