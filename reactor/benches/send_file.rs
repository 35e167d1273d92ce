//! A file to a socket: from memory; by `send_file` with the file in the page cache (sendfile), and with it not there (splices by
//! kernel workers); by reading past the page cache and sending what was read.
//!
//! The server's reactor is on core 0; the receiver reads on core 1. `cargo bench -p reactor --bench send_file -- --runs 5 --dir .`
//! prints medians and ranges of MB/s, CPU seconds per GB of the reactor's thread and of the process without the receiver,
//! and how often and how long the reactor's thread was held for over a millisecond.
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)] // a measuring tool

mod support;

use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use reactor::limits::READ_BUFFER_BYTES;
use reactor::{Builder, File, ListenOptions, OpenOptions, TcpListener};
use support::{argument, cpu_seconds, pin, range, thread_clock};

const FILE_BYTES: u64 = 256 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Memory,
    Cached,
    Cold,
    Direct,
}

struct Run {
    mb_per_second: f64,
    thread_s_per_gb: f64,
    process_s_per_gb: f64,
    long_polls: Vec<reactor::LongPolls>,
}

/// Reads everything; returns the CPU time it took itself.
fn receive(address: SocketAddr) -> f64 {
    pin(1);
    let start = cpu_seconds(thread_clock());
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let mut buffer = vec![0; 1 << 20];
    while stream.read(&mut buffer).unwrap() > 0 {}
    cpu_seconds(thread_clock()) - start
}

fn evict(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

async fn send(stream: &reactor::TcpStream, file: &File, way: Way, memory: &Bytes) {
    let step = argument("step", 1 << 20);
    let shared = file.share();
    let mut position = 0;
    while position < FILE_BYTES {
        match way {
            Way::Memory => stream.send(vec![memory.slice(..step as usize)]).await.unwrap(),
            Way::Cached | Way::Cold => stream.send_file(&shared, position, step).await.unwrap(),
            Way::Direct => stream.send(read(file, position, step as usize).await).await.unwrap(),
        }
        position += step;
    }
}

/// As the broker reads what nobody has read before: buffer by buffer.
async fn read(file: &File, position: u64, length: usize) -> Vec<Bytes> {
    let mut parts = Vec::new();
    for offset in (0..length).step_by(READ_BUFFER_BYTES) {
        let buffer = reactor::read_buffer().await.unwrap();
        let wanted = READ_BUFFER_BYTES.min(length - offset);
        let (count, buffer) = file.read_fixed(buffer, wanted, position + offset as u64).await;
        assert_eq!(count.unwrap(), wanted);
        parts.push(buffer.freeze());
    }
    parts
}

async fn run(path: PathBuf, way: Way) -> Run {
    let file = File::open(&path, &OpenOptions::new().read(true).direct(way == Way::Direct)).await.unwrap();
    let (_, memory) = file.read_at(reactor::aligned(4 << 20), 4 << 20, 0).await;
    let memory = memory.freeze();
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = std::thread::spawn(move || receive(address));
    let (stream, _) = listener.accept().await.unwrap();
    let (thread, process) = (cpu_seconds(thread_clock()), cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID));
    let start = Instant::now();
    send(&stream, &file, way, &memory).await;
    let seconds = start.elapsed().as_secs_f64();
    let thread = cpu_seconds(thread_clock()) - thread;
    drop(stream);
    let receiving = receiver.join().unwrap();
    let process = cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID) - process - receiving;
    let gb = FILE_BYTES as f64 / 1e9;
    Run {
        mb_per_second: gb * 1e3 / seconds,
        thread_s_per_gb: thread / gb,
        process_s_per_gb: process / gb,
        long_polls: reactor::stats().long_polls,
    }
}

fn main() {
    let runs = argument("runs", 3);
    let dir: PathBuf = argument("dir", PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let path = dir.join("send_file.bench");
    std::fs::write(&path, vec![7; FILE_BYTES as usize]).unwrap();
    let ways = [Way::Memory, Way::Cached, Way::Cold, Way::Direct];
    let mut results: [Vec<Run>; 4] = std::array::from_fn(|_| Vec::new());
    for _ in 0..runs {
        for (way, results) in ways.iter().zip(&mut results) {
            let (path, way) = (path.clone(), *way);
            if matches!(way, Way::Cold | Way::Direct) {
                evict(&path);
            } else {
                std::fs::read(&path).unwrap();
            }
            let main = move || run(path, way);
            results.push(Builder::new("send").cpu(Some(0)).spawn(main).unwrap().join().unwrap());
        }
    }
    for (way, results) in ways.iter().zip(&results) {
        let column = |f: fn(&Run) -> f64| results.iter().map(f).collect::<Vec<_>>();
        println!(
            "{way:?}: {} MB/s, thread {} s/GB, process {} s/GB",
            range(&column(|run| run.mb_per_second), 0),
            range(&column(|run| run.thread_s_per_gb), 3),
            range(&column(|run| run.process_s_per_gb), 3),
        );
        for run in results {
            println!("  {:?}", run.long_polls);
        }
    }
    drop(std::fs::remove_file(&path));
}
