//! The load: on all partitions at once, and one light producer beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
use wire::kafka::compression::Codec;
use wire::kafka::create_topics::{CreatableTopic, CreateTopicsRequest};
use wire::kafka::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use wire::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic};
use wire::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::kafka::metadata::MetadataRequest;
use wire::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::kafka::{Str, Uuid};

use crate::Scale;
use crate::client::Client;
use crate::support::Broker;

/// Partitions that one request may make.
const CREATED_AT_ONCE: usize = 10_000;
/// Partitions that one produce request goes to.
const PRODUCED_AT_ONCE: usize = 1_000;
/// Partitions that get the heavy load.
const LOADED: i32 = 12;

/// All topics.
#[derive(Clone)]
pub(crate) struct Topics {
    names: Vec<String>,
    partitions: i32,
}

impl Topics {
    pub(crate) fn create(client: &mut Client, prefix: &str, scale: Scale) -> Topics {
        let names: Vec<String> = (0..scale.topics).map(|number| format!("{prefix}-{number:04}")).collect();
        create(client, &names, scale.partitions);
        Topics { names, partitions: scale.partitions }
    }

    fn half(&self) -> &[String] {
        &self.names[self.names.len() / 2..]
    }

    pub(crate) fn delete_half(&self, client: &mut Client) {
        let name =
            |name: &String| DeleteTopicState { name: Some(Str::from(name.as_str())), topic_id: Uuid::ZERO };
        let topics = self.half().iter().map(name).collect();
        let answer = client.ask(6, &DeleteTopicsRequest { topics, timeout_ms: 60_000, ..Default::default() });
        assert!(answer.responses.iter().all(|topic| topic.error_code == 0));
    }

    pub(crate) fn create_half(&self, client: &mut Client, scale: Scale) {
        create(client, self.half(), scale.partitions);
    }

    pub(crate) fn metadata(&self, client: &mut Client) {
        let answer = client.ask(12, &MetadataRequest { topics: None, ..Default::default() });
        let found: usize = answer
            .topics
            .iter()
            .filter(|topic| topic.name.as_ref().is_some_and(|name| name.starts_with("many-")))
            .map(|topic| topic.partitions.len())
            .sum();
        assert_eq!(found, self.names.len() * self.partitions as usize);
    }

    pub(crate) fn offsets(&self, client: &mut Client) {
        let partitions: Vec<_> = (0..self.partitions)
            .map(|partition_index| ListOffsetsPartition {
                partition_index,
                timestamp: -1,
                ..Default::default()
            })
            .collect();
        let topic = |name: &String| ListOffsetsTopic {
            name: Str::from(name.as_str()),
            partitions: partitions.clone(),
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: self.names.iter().map(topic).collect(),
            ..Default::default()
        };
        let answer = client.ask(7, &request);
        assert!(answer.topics.iter().flat_map(|topic| &topic.partitions).all(|one| one.error_code == 0));
    }

    /// One fetch of this many partitions; with a wait there is never enough.
    pub(crate) fn fetch(&self, client: &mut Client, count: usize, wait: Duration) -> usize {
        let bytes_min = if wait.is_zero() { 0 } else { 1 << 30 };
        let answer = client.ask(12, &self.fetch_request(count, wait, bytes_min, 0));
        let found: usize = answer.responses.iter().map(|topic| topic.partitions.len()).sum();
        assert_eq!((answer.error_code, found), (0, count));
        found
    }

    fn fetch_request(&self, count: usize, wait: Duration, min_bytes: i32, fetch_offset: i64) -> FetchRequest {
        let topics =
            self.names.iter().take(count.div_ceil(self.partitions as usize)).map(|name| FetchTopic {
                topic: Str::from(name.as_str()),
                partitions: (0..self.partitions)
                    .map(|partition| FetchPartition {
                        partition,
                        fetch_offset,
                        partition_max_bytes: 1 << 20,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            });
        FetchRequest {
            replica_id: -1,
            max_wait_ms: wait.as_millis() as i32,
            min_bytes,
            max_bytes: 50 << 20,
            topics: topics.collect(),
            ..Default::default()
        }
    }

    /// Long polls over this many partitions, of which many grow, one after the other.
    pub(crate) fn poll_beside(&self, broker: &Broker, count: usize) -> Beside<usize> {
        let (topics, mut client) = (self.clone(), Client::connect(broker));
        Beside::begin(move |stop| {
            let mut polls = 0;
            while !stop.load(Ordering::Relaxed) {
                topics.fetch(&mut client, count, Duration::from_millis(500));
                polls += 1;
            }
            polls
        })
    }

    /// One small record to every partition.
    pub(crate) fn touch(&self, client: &mut Client) {
        let records = batch(Codec::None, 1, 100);
        for name in &self.names {
            for from in (0..self.partitions).step_by(PRODUCED_AT_ONCE) {
                let indexes = from..self.partitions.min(from + PRODUCED_AT_ONCE as i32);
                produce(client, name, indexes, &records);
            }
        }
    }

    /// Large batches of every kind to a few partitions, and small ones to a thousand.
    pub(crate) fn load(&self, client: &mut Client, round: usize) {
        const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
        let (codec, size) = (CODECS[round % 5], [40, 1_000][round % 2]);
        // Compressed, a batch within the limit may hold much more than that.
        let bytes = if codec == Codec::None { 900_000 } else { 8_000_000 };
        let records = batch(codec, bytes / (size + 15), size);
        let name = &self.names[round % 2];
        for index in 0..LOADED.min(self.partitions) {
            produce(client, name, index..index + 1, &records);
        }
        let name = &self.names[round % self.names.len()];
        produce(client, name, 0..self.partitions.min(PRODUCED_AT_ONCE as i32), &batch(Codec::None, 1, 100));
    }
}

fn create(client: &mut Client, names: &[String], partitions: i32) {
    for names in names.chunks((CREATED_AT_ONCE / partitions as usize).max(1)) {
        let topic = |name: &String| CreatableTopic {
            name: Str::from(name.as_str()),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let topics = names.iter().map(topic).collect();
        let answer = client.ask(7, &CreateTopicsRequest { topics, ..Default::default() });
        assert!(answer.topics.iter().all(|topic| topic.error_code == 0), "{:?}", answer.topics.first());
    }
}

fn batch(codec: Codec, count: usize, size: usize) -> Bytes {
    let mut batch = BatchBuilder::new(codec);
    let value: Vec<u8> = (0..size).map(|at| (at * 7 % 61) as u8).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    for _ in 0..count {
        batch.push(&NewRecord { timestamp: now, value: Some(&value), ..Default::default() });
    }
    batch.build().unwrap()
}

fn produce(client: &mut Client, topic: &str, indexes: std::ops::Range<i32>, records: &Bytes) {
    let data = |index| PartitionProduceData { index, records: Some(records.clone()) };
    let topic = TopicProduceData {
        name: Str::from(topic),
        partition_data: indexes.map(data).collect(),
        ..Default::default()
    };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 60_000, topic_data: vec![topic], ..Default::default() };
    let answer = client.ask(9, &request);
    for partition in &answer.responses[0].partition_responses {
        assert_eq!(partition.error_code, 0, "{:?}", partition.error_message);
    }
}

/// Something that runs beside the load until it is ended.
pub(crate) struct Beside<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Beside<T> {
    fn begin(run: impl FnOnce(&AtomicBool) -> T + Send + 'static) -> Beside<T> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Beside { stop, thread: thread::spawn(move || run(&told)) }
    }

    pub(crate) fn end(self) -> T {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("what runs beside the load finds nothing odd")
    }
}

/// One record of 100 bytes at a time, each timed from its sending to its acknowledgement.
pub(crate) struct Light;

impl Light {
    pub(crate) fn begin(address: &str) -> Beside<Latencies> {
        let mut client = Client::to(address);
        create(&mut client, &["light".to_owned()], 2);
        let records = batch(Codec::None, 1, 100);
        Beside::begin(move |stop| {
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let index = (took.len() % 2) as i32;
                produce(&mut client, "light", index..index + 1, &records);
                took.push(begin.elapsed());
                thread::sleep(Duration::from_millis(1));
            }
            took.sort();
            Latencies(took)
        })
    }
}

/// Times of all answers, the shortest first.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn tell(&self, what: &str) {
        assert!(!self.0.is_empty());
        let at = |share: f64| self.0[((self.0.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "{what}: {} records, p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms",
            self.0.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
}
