//! Limits of connections and request memory, on the real binary: who is kept waiting, who is closed, and who is not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use support::Broker;
use support::admin::Admin;
use support::figures;
use wire::kafka::api_versions::ApiVersionsRequest;
use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
use wire::kafka::compression::Codec;
use wire::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic};
use wire::kafka::header::ResponseHeader;
use wire::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::kafka::{Message as _, Reader, Request, Str, frame};

const PATIENCE: Duration = Duration::from_secs(30);

fn connect(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.bootstrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask<R: Request>(stream: &mut TcpStream, version: i16, body: &R) -> io::Result<R::Response> {
    stream.write_all(&frame::request(version, 7, Some(&Str::from("limits")), body).into_contiguous())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    let mut reader = Reader::new(Bytes::from(answer));
    ResponseHeader::decode(&mut reader, R::API_KEY, version).unwrap();
    Ok(R::Response::decode(&mut reader, version).unwrap())
}

/// Whether the broker serves this connection.
fn is_served(stream: &mut TcpStream) -> bool {
    ask(stream, 0, &ApiVersionsRequest::default()).is_ok()
}

fn produce_request(topic: &str, index: i32, value_bytes: usize) -> ProduceRequest {
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(&NewRecord { timestamp: 1, value: Some(&vec![7; value_bytes]), ..Default::default() });
    let data = PartitionProduceData { index, records: Some(batch.build().unwrap()) };
    let topic = TopicProduceData { name: Str::from(topic), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

fn produce(stream: &mut TcpStream, topic: &str, index: i32, value_bytes: usize) {
    let answer = ask(stream, 9, &produce_request(topic, index, value_bytes)).unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

fn eventually_served(broker: &Broker) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = connect(broker);
        if is_served(&mut stream) {
            return stream;
        }
        assert!(Instant::now() < deadline, "a place is not given back");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_address_has_so_many_connections_and_one_more_is_closed() {
    let broker = Broker::spawn(&["max.connections.per.ip=1", "max.connections.per.ip.overrides=127.0.0.1:3"]);
    // The harness has looked whether the broker answers; its connection may still be counted.
    let mut open: Vec<TcpStream> = (0..3).map(|_| eventually_served(&broker)).collect();
    for _ in 0..5 {
        assert!(!is_served(&mut connect(&broker)), "whatever shard it meets");
    }
    assert!(open.iter_mut().all(is_served), "the others go on");
    drop(open.pop());
    open.push(eventually_served(&broker));
    assert!(broker.said().contains("max.connections.per.ip"));
}

#[test]
fn above_the_total_a_connection_waits_for_another_to_end() {
    let broker = Broker::spawn(&["max.connections=2"]);
    let (mut first, mut second) = (eventually_served(&broker), eventually_served(&broker));
    let mut third = connect(&broker);
    third.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let request = frame::request(0, 7, None, &ApiVersionsRequest::default()).into_contiguous();
    third.write_all(&request).unwrap();
    let waited = third.read(&mut [0; 4]).unwrap_err();
    assert!(matches!(waited.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{waited}");
    assert!(is_served(&mut first) && is_served(&mut second));
    drop(first);
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(third.read(&mut [0; 4]).unwrap(), 4, "it is answered now");
}

#[test]
fn connections_are_accepted_at_the_rate_that_is_set() {
    let broker = Broker::spawn(&["max.connection.creation.rate=20"]);
    let started = Instant::now();
    let mut open: Vec<TcpStream> = (0..80).map(|_| connect(&broker)).collect();
    assert!(open.iter_mut().all(is_served), "late, but all");
    // A second's worth may come at once; the kernel spreads the rest unevenly over the shards.
    let taken = started.elapsed();
    assert!(taken > Duration::from_secs(2), "{taken:?}");
}

#[test]
fn a_connection_that_says_nothing_for_too_long_is_closed_and_one_that_waits_is_not() {
    let broker = Broker::spawn(&["connections.max.idle.ms=1000"]);
    let topic = Admin::new(&broker).create("quiet", 1);
    let (mut silent, mut lively, mut waiting) = (connect(&broker), connect(&broker), connect(&broker));
    assert!(is_served(&mut silent) && is_served(&mut lively));
    let began = Instant::now();
    // A fetch that waits for longer than a connection may be idle: it is the broker that is silent.
    let partitions = vec![FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() }];
    let topics = vec![FetchTopic { topic: Str::from(topic.as_str()), partitions, ..Default::default() }];
    let fetch =
        FetchRequest { max_wait_ms: 3000, min_bytes: 1, max_bytes: 1 << 20, topics, ..Default::default() };
    let fetch =
        std::thread::spawn(move || ask(&mut waiting, 11, &fetch).map(|answer| (answer, began.elapsed())));
    let watch = std::thread::spawn(move || {
        let read = silent.read(&mut [0; 4]);
        (read, began.elapsed())
    });
    while began.elapsed() < Duration::from_secs(4) {
        assert!(is_served(&mut lively), "it says something every now and then");
        std::thread::sleep(Duration::from_millis(300));
    }
    let (read, closed_after) = watch.join().unwrap();
    assert_eq!(read.unwrap(), 0, "closed in order");
    // Half as long again, and some time for a machine that is busy.
    assert!((900..3500).contains(&closed_after.as_millis()), "{closed_after:?}");
    let (answer, answered_after) = fetch.join().unwrap().expect("an answer");
    assert_eq!(answer.responses[0].partitions[0].error_code, 0);
    assert!(answered_after >= Duration::from_secs(3), "{answered_after:?}");
    let idle = figures::samples(&broker, "corelane_connections_closed_total");
    let idle: f64 = idle.iter().filter(|(labels, _)| labels.contains("\"idle\"")).map(|(_, n)| n).sum();
    // The harness and its admin client had connections too.
    assert!(idle >= 1.0, "{idle}");
    assert!(broker.said().contains("idle connection closed"));
}

/// A connection with a request of a mebibyte that begins, and does not go on.
fn half_a_request(broker: &Broker, sent_bytes: usize) -> TcpStream {
    let mut stream = connect(broker);
    stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut bytes = vec![0; sent_bytes];
    bytes[..8].copy_from_slice(&[0, 0x10, 0, 0, 0, 0, 0, 9]);
    // Without memory the broker does not read on.
    let _ = stream.write_all(&bytes);
    stream
}

#[test]
fn a_healthy_client_works_beside_five_hundred_requests_that_stand_still() {
    let broker = Broker::spawn(&[]);
    let topic = Admin::new(&broker).create("healthy", 2);
    // A few bytes of each cost little; most of each is more than there is memory for.
    for (sent_bytes, worst_max) in [(20_000, Duration::from_secs(5)), (400_000, Duration::from_secs(10))] {
        let hostile: Vec<TcpStream> = (0..500).map(|_| half_a_request(&broker, sent_bytes)).collect();
        let (mut worst, mut worst_small) = (Duration::ZERO, Duration::ZERO);
        // Several connections, so that both shards are met.
        for _ in 0..6 {
            let mut healthy = connect(&broker);
            for round in 0..10 {
                let value_bytes = [100, 10_000, 100_000, 900_000][round as usize % 4];
                let started = Instant::now();
                produce(&mut healthy, &topic, round % 2, value_bytes);
                worst = worst.max(started.elapsed());
                if value_bytes <= 10_000 {
                    worst_small = worst_small.max(started.elapsed());
                }
            }
        }
        // These have memory of their own; what is left is what the machine does.
        assert!(
            worst_small < Duration::from_secs(1),
            "a small request waited for large ones: {worst_small:?}"
        );
        println!("{sent_bytes} bytes of 500 requests: the slowest answer beside them took {worst:?}");
        assert!(worst < worst_max, "{worst:?}");
        drop(hostile);
    }
    assert!(broker.said().contains("its request stood still while others waited for memory"));
}

#[test]
fn a_flood_of_refused_connections_leaves_few_lines_in_the_log() {
    let broker = Broker::spawn(&[]);
    let started = Instant::now();
    let refused = 500;
    for _ in 0..refused {
        let mut stream = connect(&broker);
        stream.write_all(&[0xff; 8]).unwrap();
        // Closed with what was not read: an end or a reset.
        let _ = stream.read(&mut [0]);
    }
    let shards = 2;
    let seconds = started.elapsed().as_secs() as usize + 2;
    let lines = broker.said().lines().filter(|line| line.contains("frame length refused")).count();
    let most = shards * seconds * broker::limits::CONNECTION_LINES_PER_SECOND as usize;
    println!("{lines} lines for {refused} connections, at most {most}");
    assert!((1..=most.min(refused - 1)).contains(&lines), "{lines} lines");
}

#[test]
fn more_honest_requests_than_there_is_memory_for_are_all_answered() {
    let broker = Broker::spawn(&[]);
    let topic = Admin::new(&broker).create("honest", 4);
    std::thread::scope(|scope| {
        for client in 0..200 {
            let (broker, topic) = (&broker, &topic);
            scope.spawn(move || {
                let mut stream = connect(broker);
                stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
                produce(&mut stream, topic, client % 4, 900_000);
            });
        }
    });
    assert!(!broker.said().contains("stood still"), "nobody was closed");
}
