//! The broker's memory, and the bound that follows from its budgets.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use broker::limits;

use super::connections::IDLE_MAX;
use super::support::Broker;

const MIB: usize = 1 << 20;
const REQUEST_BYTES_MAX: usize = 16 * MIB;
const DIRTY_BYTES: usize = 16 * MIB;
const TAIL_BYTES: usize = 32 * MIB;
const SHARDS: usize = 2;
/// What a connection may cost, its share of the sockets' own memory apart.
const CONNECTION_BYTES: usize = 20 << 10;
/// Codec windows, metadata of topics that mutated requests make, fragmentation.
const SPARE_BYTES: usize = 96 * MIB;

/// Budgets small enough for the bound to mean something.
pub const SETTINGS: [&str; 3] =
    ["socket.request.max.bytes=16777216", "dirty.bytes=16777216", "tail.bytes=33554432"];

/// Resident memory as seen since the start.
pub struct Memory {
    pid: u32,
    start_bytes: usize,
    peak_bytes: usize,
}

impl Memory {
    pub fn start(broker: &Broker) -> Self {
        let start_bytes = resident(broker.pid());
        let memory = Self { pid: broker.pid(), start_bytes, peak_bytes: start_bytes };
        println!("RSS {} MiB at the start, bound {} MiB", start_bytes / MIB, memory.bound_bytes() / MIB);
        memory
    }

    /// Per shard: requests, large requests, bytes not yet in segments, and the tail.
    fn bound_bytes(&self) -> usize {
        let large = limits::FRAME_LARGE_SLOTS * REQUEST_BYTES_MAX;
        let shard = limits::REQUEST_BYTES_MAX + large + DIRTY_BYTES + TAIL_BYTES;
        self.start_bytes + SHARDS * shard + IDLE_MAX * CONNECTION_BYTES + SPARE_BYTES
    }

    pub fn look(&mut self) {
        self.peak_bytes = self.peak_bytes.max(resident(self.pid));
    }

    pub fn peak_mib(&self) -> usize {
        self.peak_bytes / MIB
    }

    pub fn check(&self, kind: &str) {
        let bound = self.bound_bytes();
        assert!(self.peak_bytes <= bound, "{kind}: RSS {} is above {bound}", self.peak_bytes);
    }
}

fn resident(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// The sum of a metric's samples.
pub fn metric(broker: &Broker, name: &str) -> f64 {
    let mut stream = TcpStream::connect(broker.admin()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let samples = text.lines().filter_map(|line| line.rsplit_once(' '));
    let found: Vec<f64> = samples
        .filter(|(key, _)| key.split('{').next() == Some(name))
        .map(|(_, value)| value.parse().unwrap())
        .collect();
    assert!(!found.is_empty(), "no {name}");
    found.iter().sum()
}
