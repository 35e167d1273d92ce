//! The light client: small produce requests at a steady pace, each timed from when it was due, and all read back.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
use wire::kafka::compression::Codec;
use wire::kafka::header::ResponseHeader;
use wire::kafka::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use wire::kafka::{ApiKey, Message as _, Reader, Str, frame};

use super::support::Broker;
use super::support::admin::Admin;
use super::support::records::{Record, assert_topic_holds, now_ms};

/// Several, so that every shard is met; each has a thread, so that one late answer does not delay other requests.
pub const CONNECTIONS: usize = 6;
const PARTITIONS: i32 = CONNECTIONS as i32;
/// Between two requests of a connection: 200 a second over all.
const PACE: Duration = Duration::from_millis(5 * CONNECTIONS as u64);
const VERSION: i16 = 9;
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Light {
    topic: Str,
    lanes: Vec<Lane>,
}

/// One connection, and what was acknowledged on it: all records of one partition.
struct Lane {
    stream: TcpStream,
    partition: i32,
    acknowledged: Vec<Record>,
}

/// What the requests of one stretch of time took.
#[derive(Default)]
pub struct Window {
    /// From when each was due until its answer.
    took: Vec<Duration>,
    /// From when each was due until its sender had a core.
    late: Vec<Duration>,
}

impl Window {
    pub fn and(mut self, other: Self) -> Self {
        self.took.extend(other.took);
        self.late.extend(other.late);
        self
    }

    pub fn p99(&mut self) -> Duration {
        p99(&mut self.took)
    }

    /// The part that nobody else than the machine is to blame for: the client was not even running.
    pub fn late_p99(&mut self) -> Duration {
        p99(&mut self.late)
    }
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99).div_ceil(100).saturating_sub(1)]
}

impl Light {
    pub fn new(broker: &Broker, admin: &Admin) -> Self {
        let lane = |partition| {
            let stream = TcpStream::connect(broker.bootstrap()).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Lane { stream, partition, acknowledged: Vec::new() }
        };
        let topic = Str::from(admin.create("light", PARTITIONS));
        Self { topic, lanes: (0..PARTITIONS).map(lane).collect() }
    }

    /// Produces for so long, and while `more` says so.
    pub fn run(&mut self, time: Duration, mut more: impl FnMut() -> bool) -> Window {
        let (start, over, topic) = (Instant::now(), AtomicBool::new(false), &self.topic);
        std::thread::scope(|scope| {
            let (mut lanes, over) = (Vec::new(), &over);
            for lane in &mut self.lanes {
                // Named as traces of the scheduler show it.
                let thread = std::thread::Builder::new().name(format!("lane-{}", lane.partition));
                lanes.push(thread.spawn_scoped(scope, move || lane.run(topic, over)).unwrap());
            }
            while start.elapsed() < time && more() {
                std::thread::sleep(Duration::from_millis(10));
            }
            over.store(true, Ordering::Relaxed);
            let joined = lanes.into_iter().map(|lane| lane.join().expect("a healthy connection"));
            joined.fold(Window::default(), Window::and)
        })
    }

    /// Every acknowledged record is where it was acknowledged, in order, and nothing else.
    pub fn assert_all_kept(&self, broker: &Broker) {
        let all: Vec<Record> = self.lanes.iter().flat_map(|lane| lane.acknowledged.clone()).collect();
        println!("{} records of the light client were acknowledged", all.len());
        assert_topic_holds(broker.bootstrap(), &self.topic, PARTITIONS, &all);
    }
}

impl Lane {
    /// Produces until it is over. Each request is timed from when it was due.
    fn run(&mut self, topic: &Str, over: &AtomicBool) -> Window {
        let mut due = Instant::now() + PACE * self.partition as u32 / CONNECTIONS as u32;
        let mut window = Window::default();
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            window.late.push(due.elapsed());
            self.produce(topic);
            window.took.push(due.elapsed());
            due += PACE;
        }
        window
    }

    fn produce(&mut self, topic: &Str) {
        let number = self.acknowledged.len();
        let mut record = Record::new(self.partition, format!("{number:0100}").into_bytes());
        record.timestamp_ms = now_ms();
        let mut batch = BatchBuilder::new(Codec::None);
        batch.push(&NewRecord {
            timestamp: record.timestamp_ms,
            value: record.value.as_deref(),
            ..Default::default()
        });
        let data = PartitionProduceData { index: self.partition, records: Some(batch.build().unwrap()) };
        let topic =
            TopicProduceData { name: topic.clone(), partition_data: vec![data], ..Default::default() };
        let body =
            ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
        let answer = ask(&mut self.stream, &body)
            .unwrap_or_else(|error| panic!("the light client's request {number}: {error}"));
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 0, "the light client's request {number}");
        record.offset = Some(answer.base_offset);
        self.acknowledged.push(record);
    }
}

fn ask(stream: &mut TcpStream, body: &ProduceRequest) -> std::io::Result<ProduceResponse> {
    stream.write_all(&frame::request(VERSION, 1, Some(&Str::from("light")), body).into_contiguous())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    let mut reader = Reader::new(Bytes::from(answer));
    ResponseHeader::decode(&mut reader, ApiKey::Produce, VERSION).unwrap();
    Ok(ProduceResponse::decode(&mut reader, VERSION).unwrap())
}
