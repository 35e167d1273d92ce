//! Records sent through librdkafka and compared, when they come back, to the last byte.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::util::Timeout;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

/// How long an answer of the broker is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One record as sent, or as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp_ms: i64,
    /// Where the broker put it; none before it answered, and for acks=0.
    pub offset: Option<i64>,
}

impl Record {
    pub fn new(partition: i32, value: Vec<u8>) -> Self {
        Self {
            partition,
            key: None,
            value: Some(value),
            headers: Vec::new(),
            timestamp_ms: now_ms(),
            offset: None,
        }
    }

    pub fn of_message(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
        });
        Self {
            partition: message.partition(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            offset: Some(message.offset()),
        }
    }

    fn owned_headers(&self) -> OwnedHeaders {
        self.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        })
    }
}

/// Every shape: keyed and keyless, null and empty values, headers with repeated keys and null values.
pub fn shapes(partitions: i32, random: &mut Random) -> Vec<Record> {
    let mut records = Vec::new();
    // Not older: retention deletes by the records' own time.
    let start = now_ms() - 3_600_000;
    for i in 0..24 {
        let mut record = Record::new(i % partitions, random.bytes(10 + i as usize * 40));
        record.timestamp_ms = start + i64::from(i);
        record.key = (i % 3 != 0).then(|| format!("key-{i}").into_bytes());
        match i % 6 {
            4 => record.value = None,
            5 => record.value = Some(Vec::new()),
            _ => {}
        }
        if i % 4 == 0 {
            record.headers = vec![
                ("trace".to_owned(), Some(random.bytes(16))),
                ("twice".to_owned(), Some(vec![1])),
                ("twice".to_owned(), Some(vec![2])),
                ("none".to_owned(), None),
            ];
        }
        records.push(record);
    }
    records
}

/// Partition and offset, or why not.
pub type Answer = Result<(i32, i64), RDKafkaErrorCode>;

/// What became of each record of one [`send`], by its index.
#[derive(Default)]
pub struct Answers(Mutex<BTreeMap<usize, Answer>>);

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let answer = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(code(error)),
        };
        let before = self.0.lock().unwrap().insert(index, answer);
        assert!(before.is_none(), "record {index} was answered twice");
    }
}

/// The code inside an error.
pub fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}

pub fn client_config(bootstrap: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
}

/// Sends all records to their partitions and waits for each answer; an offset is filled in where one came.
pub fn send(bootstrap: &str, topic: &str, settings: &[(&str, &str)], records: &mut [Record]) -> Vec<Answer> {
    let mut config = client_config(bootstrap, settings);
    config.set("message.max.bytes", "8000000").set("message.timeout.ms", "20000");
    let producer: BaseProducer<Answers> = config.create_with_context(Answers::default()).unwrap();
    for (index, record) in records.iter().enumerate() {
        let mut pending = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, index)
            .partition(record.partition)
            .timestamp(record.timestamp_ms);
        if let Some(key) = &record.key {
            pending = pending.key(key);
        }
        if let Some(value) = &record.value {
            pending = pending.payload(value);
        }
        if !record.headers.is_empty() {
            pending = pending.headers(record.owned_headers());
        }
        while let Err((error, again)) = producer.send(pending) {
            assert_eq!(code(&error), RDKafkaErrorCode::QueueFull, "{error}");
            producer.poll(Duration::from_millis(10));
            pending = again;
        }
    }
    producer.flush(Timeout::After(PATIENCE)).unwrap();
    let answers = producer.context().0.lock().unwrap();
    assert_eq!(answers.len(), records.len(), "every record is answered once");
    for (record, answer) in records.iter_mut().zip(answers.values()) {
        record.offset = answer.as_ref().ok().and_then(|(_, offset)| (*offset >= 0).then_some(*offset));
    }
    answers.values().copied().collect()
}

/// [`send`] where every record must be accepted.
pub fn send_all(bootstrap: &str, topic: &str, settings: &[(&str, &str)], records: &mut [Record]) {
    for (index, answer) in send(bootstrap, topic, settings, records).into_iter().enumerate() {
        let (partition, _) = answer.unwrap_or_else(|error| panic!("record {index} of {topic}: {error}"));
        assert_eq!(partition, records[index].partition);
    }
}

/// A consumer without group assigned to all partitions of the topic from their beginning.
pub fn reader(bootstrap: &str, topic: &str, partitions: i32) -> BaseConsumer {
    let settings = [("group.id", "unused"), ("enable.auto.commit", "false"), ("fetch.wait.max.ms", "50")];
    let consumer: BaseConsumer = client_config(bootstrap, &settings).create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    consumer
}

/// Polls until `count` records came; panics when they do not come in time.
pub fn poll(consumer: &BaseConsumer, count: usize) -> Vec<Record> {
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while records.len() < count && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(Record::of_message(&message)),
            Some(Err(error)) => assert!(is_passing(&error), "{error}"),
            None => {}
        }
    }
    assert_eq!(records.len(), count, "records consumed");
    records
}

/// Errors that librdkafka reports and gets over by itself.
pub fn is_passing(error: &KafkaError) -> bool {
    matches!(
        code(error),
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::LeaderNotAvailable
    )
}

/// The whole topic is exactly what was sent: per partition in order, without a gap, equal in every field.
pub fn assert_topic_holds(bootstrap: &str, topic: &str, partitions: i32, sent: &[Record]) {
    let got = poll(&reader(bootstrap, topic, partitions), sent.len());
    assert_same(sent, &got);
}

pub fn assert_same(sent: &[Record], got: &[Record]) {
    let (sent, got) = (by_partition(sent), by_partition(got));
    assert_eq!(sent.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>(), "partitions with records");
    for (partition, sent) in sent {
        let got = &got[&partition];
        assert_eq!(sent.len(), got.len(), "records of partition {partition}");
        let first = got[0].offset.unwrap();
        for (index, (sent, got)) in sent.iter().zip(got).enumerate() {
            let place = format!("record {index} of partition {partition}");
            assert_eq!(got.offset, Some(first + index as i64), "{place}: offset without a gap");
            let mut expected = (*sent).clone();
            expected.offset = expected.offset.or(got.offset);
            assert!(expected == **got, "{place}\n  sent {}\n   got {}", brief(&expected), brief(got));
        }
    }
}

fn by_partition(records: &[Record]) -> BTreeMap<i32, Vec<&Record>> {
    let mut map: BTreeMap<i32, Vec<&Record>> = BTreeMap::new();
    for record in records {
        map.entry(record.partition).or_default().push(record);
    }
    map
}

fn brief(record: &Record) -> String {
    let mut text = format!("{record:?}");
    text.truncate(600);
    text
}

/// xorshift64*: the same bytes for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}
