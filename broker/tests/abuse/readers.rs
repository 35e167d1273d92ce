//! Clients that ask for much and read little.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use wire::kafka::Uuid;
use wire::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic};
use wire::kafka::metadata::MetadataRequest;

use super::attacker::Attacker;
use super::batches;

const VERSION: i16 = 12;
const HELD_A_THREAD: usize = 50;

/// Asks for all that there is, in one answer of tens of megabytes.
fn fetch_all(attacker: &Attacker) -> Vec<u8> {
    let partition = |partition| FetchPartition {
        partition,
        current_leader_epoch: -1,
        fetch_offset: 0,
        log_start_offset: -1,
        partition_max_bytes: 50 << 20,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic: attacker.topic(),
        topic_id: Uuid::ZERO,
        partitions: (0..4).map(partition).collect(),
    };
    let body = FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 50 << 20,
        topics: vec![topic],
        ..Default::default()
    };
    Attacker::request(VERSION, &body)
}

/// Connections that have each asked for much.
fn ask_for_much(attacker: &mut Attacker) -> Vec<TcpStream> {
    let request = fetch_all(attacker);
    let mut held = Vec::new();
    for _ in 0..HELD_A_THREAD {
        let mut stream = attacker.connect();
        stream.write_all(&request).unwrap();
        held.push(stream);
    }
    attacker.tally.held += held.len() as u64;
    held
}

/// Large fetches whose answers nobody reads, while new records come in.
pub fn never_read(attacker: &mut Attacker) {
    let _held = ask_for_much(attacker);
    while attacker.goes_on() {
        let batch = batches::plain(50_000, &mut attacker.dice);
        let produce = Attacker::request(9, &batches::produce(&attacker.topic(), 0, batch));
        attacker.throw(&produce, super::attacker::Wait::Must);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Requests one behind the other, and no answer is read.
pub fn never_read_answers(attacker: &mut Attacker) {
    let all = Attacker::request(9, &MetadataRequest { topics: None, ..Default::default() });
    let requests = all.repeat(200);
    let mut held = Vec::new();
    for _ in 0..HELD_A_THREAD {
        let mut stream = attacker.connect();
        stream.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        // When nothing is read, the broker reads nothing more.
        let _ = stream.write_all(&requests);
        held.push(stream);
    }
    attacker.tally.held += held.len() as u64;
    while attacker.goes_on() {
        for stream in &mut held {
            let _ = stream.write_all(&requests);
        }
    }
}

/// Large fetches that are read a byte at a time.
pub fn byte_at_a_time(attacker: &mut Attacker) {
    let mut held = ask_for_much(attacker);
    while attacker.goes_on() {
        for stream in &mut held {
            stream.read_exact(&mut [0]).expect("an answer, however slowly it is read");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
