//! Connections that are opened and then not used, or hardly.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use wire::kafka::metadata::MetadataRequest;

use super::attacker::{Attacker, Wait};
use super::batches;

/// Connections that do nothing, over all threads.
pub const IDLE_MAX: usize = 10_000;
const HELD_A_THREAD: usize = 125;

fn rest(attacker: &mut Attacker, held: &[TcpStream]) {
    attacker.tally.held += held.len() as u64;
    while attacker.goes_on() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Connections that stop inside a length, a header, or a small body.
pub fn half_open(attacker: &mut Attacker) {
    let request = Attacker::request(9, &MetadataRequest::default());
    let mut held = Vec::new();
    for _ in 0..HELD_A_THREAD {
        let mut stream = attacker.connect();
        let sent = attacker.dice.below(request.len());
        stream.write_all(&request[..sent]).unwrap();
        held.push(stream);
    }
    rest(attacker, &held);
}

/// Produce requests of all sizes that come in byte by byte, from each connection a few a second.
pub fn slow_loris(attacker: &mut Attacker) {
    // Made once: what making them costs the machine is not what is looked at.
    let requests = [100, 10_000, 100_000, 900_000].map(|size| {
        let batch = batches::plain(size, &mut attacker.dice);
        Attacker::request(9, &batches::produce(&attacker.topic(), 0, batch))
    });
    let mut held = Vec::new();
    for number in 0..HELD_A_THREAD {
        held.push((attacker.connect(), &requests[number % requests.len()], 0));
    }
    attacker.tally.held += held.len() as u64;
    while attacker.goes_on() {
        for (stream, request, sent) in &mut held {
            if *sent < request.len() {
                // Closed, when others wait for the memory that it holds.
                let _ = stream.write_all(&request[*sent..=*sent]);
                *sent += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Requests of 400 kB that are half sent, more of them than there is memory for, and then nothing.
pub fn stand_still(attacker: &mut Attacker) {
    let mut held = Vec::new();
    for _ in 0..HELD_A_THREAD {
        let mut stream = attacker.connect();
        stream.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut bytes = vec![0; 400_000];
        bytes[..8].copy_from_slice(&[0, 0x10, 0, 0, 0, 0, 0, 9]);
        // Without memory the broker does not read on.
        let _ = stream.write_all(&bytes);
        held.push(stream);
    }
    rest(attacker, &held);
}

/// A connection for every request, and connections that are gone before they are served.
pub fn churn(attacker: &mut Attacker) {
    let request = Attacker::request(9, &MetadataRequest { topics: Some(Vec::new()), ..Default::default() });
    while attacker.goes_on() {
        drop(attacker.connect());
        let mut gone = attacker.connect();
        gone.write_all(&request).unwrap();
        drop(gone);
        attacker.throw(&request, Wait::Must);
    }
}

/// Ten thousand that do nothing, or as many as this process may have.
pub fn idle(attacker: &mut Attacker) {
    let room = open_files_max().saturating_sub(100);
    let count = IDLE_MAX.min(room);
    if count < IDLE_MAX && attacker.index == 0 {
        println!("only {count} idle connections: no more open files are allowed");
    }
    // Thousands a second, but not all at once, and so when they leave: see `attacker::PACE`.
    let mut held = Vec::new();
    for _ in 0..count / 4 {
        held.push(attacker.connect());
        std::thread::sleep(Duration::from_micros(500));
    }
    rest(attacker, &held);
    for stream in held {
        drop(stream);
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// How many files this process may have open.
fn open_files_max() -> usize {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}
