//! Requests of 100 bytes over loopback: the reactor beside a plain ring loop, run by run in turn.
//!
//! The server's thread is on core 0, the client (epoll) on core 1. `cargo bench -p reactor --bench echo -- --runs 5 --seconds 1`
//! prints medians and ranges of requests per second, the server's CPU time per request, and the reactor's share of the
//! raw loop's rate.
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)] // a measuring tool

mod raw;
mod support;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::Instant;

use bytes::Bytes;
use reactor::{Builder, ListenOptions, Priority, TcpListener};
use support::{argument, cpu_seconds, median, percentile, pin, range, thread_clock};

const MESSAGE: usize = 100;

/// A server under test: where it listens, and its thread's CPU clock.
struct Server {
    name: &'static str,
    address: SocketAddr,
    clock: libc::clockid_t,
}

fn raw_server() -> Server {
    let (report, started) = mpsc::channel();
    std::thread::spawn(move || {
        pin(0);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        report.send((listener.local_addr().unwrap(), thread_clock())).unwrap();
        raw::EchoServer::new(listener, MESSAGE).serve();
    });
    let (address, clock) = started.recv().unwrap();
    Server { name: "raw", address, clock }
}

fn reactor_server() -> Server {
    let (report, started) = mpsc::channel();
    let main = move || async move {
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
        report.send((listener.local_addr().unwrap(), thread_clock())).unwrap();
        let answer = Bytes::from(vec![1; (16 << 10) + MESSAGE]);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            reactor::spawn(Priority::Latency, "echo", echo(stream, answer.clone())).detach();
        }
    };
    let server: reactor::JoinHandle<()> = Builder::new("echo").cpu(Some(0)).spawn(main).unwrap();
    std::mem::forget(server);
    let (address, clock) = started.recv().unwrap();
    Server { name: "reactor", address, clock }
}

async fn echo(stream: reactor::TcpStream, answer: Bytes) {
    let mut part = 0;
    loop {
        let received = match stream.recv().await {
            Ok(received) if !received.is_empty() => received.len(),
            _ => return,
        };
        part += received;
        let whole = part / MESSAGE * MESSAGE;
        part -= whole;
        if whole > 0 && stream.send(vec![answer.slice(..whole)]).await.is_err() {
            return;
        }
    }
}

/// What one run of the client saw.
struct Run {
    requests_per_second: f64,
    server_us: f64,
    p50_us: f64,
    p99_us: f64,
}

struct Connection {
    stream: TcpStream,
    part: usize,
    sent: VecDeque<Instant>,
}

fn connect(epoll: i32, server: SocketAddr, index: u64, depth: usize, data: &[u8]) -> Connection {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: index };
    unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &raw mut event) };
    stream.write_all(&data[..MESSAGE * depth]).unwrap();
    Connection { stream, part: 0, sent: std::iter::repeat_n(Instant::now(), depth).collect() }
}

fn client(server: &Server, connections: usize, depth: usize, seconds: f64) -> Run {
    let epoll = unsafe { libc::epoll_create1(0) };
    let data = vec![7u8; MESSAGE * 64];
    let mut connections: Vec<Connection> =
        (0..connections).map(|index| connect(epoll, server.address, index as u64, depth, &data)).collect();
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 128];
    let mut buffer = vec![0u8; 64 << 10];
    let mut latencies = Vec::with_capacity(1 << 20);
    let warm_up = Instant::now();
    let (mut start, mut cpu, mut count, mut warm) = (warm_up, 0.0, 0u64, false);
    loop {
        let ready = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 128, 2000) };
        assert!(ready > 0, "stalled");
        let now = Instant::now();
        if !warm && warm_up.elapsed().as_secs_f64() > 0.15 {
            (start, cpu, count, warm) = (now, cpu_seconds(server.clock), 0, true);
            latencies.clear();
        }
        if warm && start.elapsed().as_secs_f64() > seconds {
            break;
        }
        for event in &events[..ready as usize] {
            let connection = &mut connections[event.u64 as usize];
            let Ok(received) = connection.stream.read(&mut buffer) else { continue };
            assert!(received > 0, "closed");
            connection.part += received;
            let done = connection.part / MESSAGE;
            connection.part %= MESSAGE;
            let now = Instant::now();
            for _ in 0..done {
                latencies.push((now - connection.sent.pop_front().unwrap()).as_nanos() as u64);
                connection.sent.push_back(now);
            }
            count += done as u64;
            connection.stream.write_all(&data[..MESSAGE * done]).unwrap();
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds(server.clock) - cpu;
    unsafe { libc::close(epoll) };
    latencies.sort_unstable();
    Run {
        requests_per_second: count as f64 / elapsed,
        server_us: cpu * 1e6 / count as f64,
        p50_us: percentile(&latencies, 50.0),
        p99_us: percentile(&latencies, 99.0),
    }
}

fn main() {
    let (runs, seconds) = (argument("runs", 3), argument("seconds", 0.5));
    let servers = [raw_server(), reactor_server()];
    pin(1);
    println!("connections x depth, server: k requests/s, server CPU us/request, p50 us, p99 us");
    for (connections, depth) in [(1, 1), (1, 16), (64, 1), (64, 16)] {
        let mut results: [Vec<Run>; 2] = [Vec::new(), Vec::new()];
        for run in 0..2 * runs {
            // raw, reactor, reactor, raw, …: whatever comes at intervals hits both.
            let index = (run + run / 2) % 2;
            results[index].push(client(&servers[index], connections, depth, seconds));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let column = |index: usize, f: fn(&Run) -> f64| results[index].iter().map(f).collect::<Vec<_>>();
        for (index, server) in servers.iter().enumerate() {
            println!(
                "{connections}x{depth} {}: {} k/s, {} us, p50 {} p99 {}",
                server.name,
                range(&column(index, |run| run.requests_per_second / 1e3), 1),
                range(&column(index, |run| run.server_us), 2),
                range(&column(index, |run| run.p50_us), 0),
                range(&column(index, |run| run.p99_us), 0),
            );
        }
        let rate = |index| median(&column(index, |run| run.requests_per_second));
        let cpu = |index| median(&column(index, |run| run.server_us));
        println!(
            "{connections}x{depth} reactor/raw: rate {:.2}, CPU {:.2}",
            rate(1) / rate(0),
            cpu(1) / cpu(0)
        );
    }
    std::process::exit(0);
}
