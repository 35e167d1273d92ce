//! Messages between two reactors on two cores, and what reactors cost that have nothing to do.
//!
//! `cargo bench -p reactor --bench hop -- --seconds 1`
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)] // a measuring tool

mod support;

use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, bounded};
use reactor::Builder;
use support::{argument, cpu_seconds, percentile};

/// Sends a message to the other reactor and waits for the answer, `depth` of them on the way at a time.
async fn ask(out: Sender<u64>, back: Receiver<u64>, depth: u64, time: Duration) -> Vec<u64> {
    let mut latencies = Vec::new();
    let end = reactor::now() + time;
    for _ in 0..depth {
        out.send(reactor::now().as_ns()).await.unwrap();
    }
    loop {
        let sent = back.recv().await.unwrap();
        let now = reactor::now();
        latencies.push(now.as_ns() - sent);
        if now >= end {
            return latencies;
        }
        out.send(now.as_ns()).await.unwrap();
    }
}

fn ping_pong(depth: u64, time: Duration, spin: Duration) {
    let (out, asked) = bounded(1024);
    let (answers, back) = bounded(1024);
    let cpu = cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID);
    let start = Instant::now();
    let answerer = Builder::new("answer").cpu(Some(1)).spin(spin).spawn(move || async move {
        while let Ok(number) = asked.recv().await {
            if answers.send(number).await.is_err() {
                return;
            }
        }
    });
    let asker = Builder::new("ask").cpu(Some(0)).spin(spin).spawn(move || ask(out, back, depth, time));
    let mut latencies = asker.unwrap().join().unwrap();
    answerer.unwrap().join().unwrap();
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID) - cpu);
    latencies.sort_unstable();
    let count = latencies.len() as f64;
    println!(
        "{depth} on the way, spin {} us: {:.0} k round trips/s, p50 {:.1} us, p99 {:.1} us, {:.2} CPU us each",
        spin.as_micros(),
        count / elapsed / 1e3,
        percentile(&latencies, 50.0),
        percentile(&latencies, 99.0),
        cpu * 1e6 / count,
    );
}

fn idle(time: Duration) {
    let reactors: Vec<_> = (0..2)
        .map(|cpu| {
            let main = move || async move {
                let listener = reactor::TcpListener::bind(
                    "127.0.0.1:0".parse().unwrap(),
                    &reactor::ListenOptions::default(),
                );
                let accept = async { listener.unwrap().accept().await.map(drop) };
                drop(reactor::timeout(time, accept).await);
            };
            Builder::new("idle").cpu(Some(cpu)).spawn(main).unwrap()
        })
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    let cpu = cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID);
    let start = Instant::now();
    std::thread::sleep(time.saturating_sub(Duration::from_millis(200)));
    let share = (cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID) - cpu) / start.elapsed().as_secs_f64();
    println!("two idle reactors that listen: {:.4} % of a core", share * 100.0);
    for reactor in reactors {
        reactor.join().unwrap();
    }
}

/// How late timers fire on an otherwise idle reactor.
fn lateness(pause: Duration) {
    let main = move || async move {
        let mut late = Vec::new();
        for _ in 0..200 {
            let deadline = reactor::now() + pause;
            reactor::sleep_until(deadline).await;
            late.push(reactor::now().since(deadline).as_nanos() as u64);
        }
        late.sort_unstable();
        late
    };
    let late = Builder::new("timer").cpu(Some(0)).run(main).unwrap();
    println!(
        "a timer of {} us fires late by: p50 {:.0} us, p99 {:.0} us",
        pause.as_micros(),
        percentile(&late, 50.0),
        percentile(&late, 99.0)
    );
}

fn main() {
    let time = Duration::from_secs_f64(argument("seconds", 0.5));
    for depth in [1, 64] {
        ping_pong(depth, time, Duration::ZERO);
        ping_pong(depth, time, Duration::from_micros(20));
    }
    for pause in [100, 1000, 10_000] {
        lateness(Duration::from_micros(pause));
    }
    idle(Duration::from_secs(3));
}
