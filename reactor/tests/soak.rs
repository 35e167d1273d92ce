//! No wake-up is lost: signals, timers, sockets and file operations race on two pinned reactors.
//!
//! Three soaks, each a third of the time: only signals from foreign threads (nothing else that could wake a reactor and hide
//! a loss), only messages between reactors, and everything at once. Each activity counts its steps; one that makes none
//! for `STUCK` has lost a wake-up.
//!
//! `REACTOR_SOAK_SECONDS=3600 cargo test --release -p reactor --test soak -- --test-threads 1` soaks for an hour.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, bounded};
use bytes::{Bytes, BytesMut};
use reactor::{Builder, File, JoinHandle, OpenOptions, Priority, SyncMethod, TcpStream};
use support::{listen, pattern};

const STUCK: Duration = Duration::from_secs(10);

fn seconds() -> f64 {
    std::env::var("REACTOR_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3.0)
}

/// Names and step counters of what runs, and the end of it all.
#[derive(Clone)]
struct Soak {
    stop: Arc<AtomicBool>,
    steps: Arc<Vec<(String, AtomicU64)>>,
}

impl Soak {
    fn new(names: &[&str]) -> Self {
        let of_both = |name: &&str| {
            (0..2).map(move |cpu| (format!("{name} {cpu}"), AtomicU64::new(0))).collect::<Vec<_>>()
        };
        Self {
            stop: Arc::new(AtomicBool::new(false)),
            steps: Arc::new(names.iter().flat_map(of_both).collect()),
        }
    }

    fn counter(&self, name: &str, cpu: usize) -> impl Fn() + Send + use<> {
        let name = format!("{name} {cpu}");
        let index = self.steps.iter().position(|(other, _)| *other == name).unwrap();
        let steps = self.steps.clone();
        move || {
            steps[index].1.fetch_add(1, SeqCst);
        }
    }

    fn running(&self) -> bool {
        !self.stop.load(SeqCst)
    }

    /// Watches until the time is over, then stops everything.
    fn watch(&self, time: Duration) {
        let start = Instant::now();
        let mut last: Vec<(u64, Instant)> = self.steps.iter().map(|_| (0, start)).collect();
        while start.elapsed() < time {
            thread::sleep(Duration::from_millis(50));
            for (index, (name, steps)) in self.steps.iter().enumerate() {
                let now = steps.load(SeqCst);
                if now != last[index].0 {
                    last[index] = (now, Instant::now());
                } else if last[index].1.elapsed() > STUCK {
                    panic!("{name} is stuck after {now} steps and {:?}: a wake-up was lost", start.elapsed());
                }
            }
        }
        self.stop.store(true, SeqCst);
        for (name, steps) in self.steps.iter() {
            println!("{name}: {} steps", steps.load(SeqCst));
        }
    }
}

fn reactor(cpu: usize) -> Builder {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Builder::new(format!("soak-{cpu}")).cpu(Some(cpu % cores))
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A thread that signals a reactor's task and waits for it to have run, with pauses around the time it falls asleep.
fn signaller(soak: &Soak, cpu: usize, signals: Sender<u64>, seen: Arc<AtomicU64>) -> thread::JoinHandle<()> {
    let (soak, step) = (soak.clone(), soak.counter("signals", cpu));
    thread::spawn(move || {
        let mut random = Random(88_172_645_463_325_252 + cpu as u64);
        let mut number = 0;
        while soak.running() {
            let pause = Duration::from_micros(random.below(200));
            if random.below(2) == 0 {
                thread::sleep(pause);
            } else {
                let start = Instant::now();
                while start.elapsed() < pause / 4 {}
            }
            number += 1;
            signals.send_blocking(number).unwrap();
            let start = Instant::now();
            while seen.load(SeqCst) < number && soak.running() {
                if start.elapsed() > Duration::from_micros(50) {
                    thread::yield_now();
                }
                assert!(start.elapsed() < STUCK, "signal {number} to reactor {cpu} was lost");
            }
            step();
        }
    })
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {}
}

/// Takes signals until the sender is gone.
async fn take_signals(signals: Receiver<u64>, seen: Arc<AtomicU64>) {
    while let Ok(number) = signals.recv().await {
        spin(Duration::from_micros(number % 20));
        seen.store(number, SeqCst);
    }
}

#[test]
fn signals_of_foreign_threads_are_not_lost() {
    let soak = Soak::new(&["signals"]);
    let mut reactors = Vec::new();
    let mut threads = Vec::new();
    for cpu in 0..2 {
        let (signals, taken) = bounded(1);
        let seen = Arc::new(AtomicU64::new(0));
        threads.push(signaller(&soak, cpu, signals, seen.clone()));
        reactors.push(reactor(cpu).spawn(move || take_signals(taken, seen)).unwrap());
    }
    soak.watch(Duration::from_secs_f64(seconds() / 3.0));
    for thread in threads {
        thread.join().unwrap();
    }
    for reactor in reactors {
        reactor.join().unwrap();
    }
}

/// Sends numbers to the other reactor and waits for each to come back, `depth` at a time.
async fn messages(soak: Soak, cpu: usize, out: Sender<u64>, back: Receiver<u64>, depth: u64) {
    let step = soak.counter("messages", cpu);
    while soak.running() {
        for number in 0..depth {
            out.send(number).await.unwrap();
        }
        for number in 0..depth {
            assert_eq!(back.recv().await.unwrap(), number);
        }
        step();
        // Sometimes the other side gets time to fall asleep.
        let pause = Duration::from_micros(reactor::random_u64() % 64);
        match reactor::random_u64() % 4 {
            0 => spin(pause),
            1 => reactor::yield_now().await,
            2 if depth > 1 => reactor::sleep(pause).await,
            _ => {}
        }
    }
}

async fn answer(from: Receiver<u64>, to: Sender<u64>) {
    while let Ok(number) = from.recv().await {
        if to.send(number).await.is_err() {
            return;
        }
    }
}

/// Channels from each of two reactors to the other and back.
struct Crossing {
    out: Sender<u64>,
    back: Receiver<u64>,
    from_other: Receiver<u64>,
    to_other: Sender<u64>,
}

fn crossings() -> [Crossing; 2] {
    let [(out0, in1), (back1, back0), (out1, in0), (back01, back10)] = std::array::from_fn(|_| bounded(8));
    [
        Crossing { out: out0, back: back0, from_other: in0, to_other: back01 },
        Crossing { out: out1, back: back10, from_other: in1, to_other: back1 },
    ]
}

#[test]
fn messages_between_reactors_are_not_lost() {
    let soak = Soak::new(&["messages"]);
    let start = |(cpu, crossing): (usize, Crossing)| {
        let soak = soak.clone();
        let main = move || async move {
            let answers =
                reactor::spawn(Priority::Latency, "answer", answer(crossing.from_other, crossing.to_other));
            messages(soak, cpu, crossing.out, crossing.back, 1).await;
            answers.await; // the other side may still ask
        };
        reactor(cpu).spawn(main).unwrap()
    };
    let reactors: Vec<JoinHandle<()>> = crossings().into_iter().enumerate().map(start).collect();
    soak.watch(Duration::from_secs_f64(seconds() / 3.0));
    for reactor in reactors {
        reactor.join().unwrap();
    }
}

async fn timers(soak: Soak, cpu: usize) {
    let step = soak.counter("timers", cpu);
    while soak.running() {
        let pause = Duration::from_micros(reactor::random_u64() % 400);
        // One of the two is dropped unfired, at a random point.
        let other = Duration::from_micros(reactor::random_u64() % 400);
        let _ = reactor::timeout(other, reactor::sleep(pause)).await;
        step();
    }
}

async fn files(soak: Soak, cpu: usize) {
    let step = soak.counter("files", cpu);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = OpenOptions::new().read(true).write(true).create(true).direct(true);
    let file = File::open(&dir.path().join("log"), &options).await.unwrap();
    let mut turn = 0u64;
    while soak.running() {
        let mut block = reactor::aligned(4096);
        block.resize(4096, turn as u8);
        let position = turn % 64 * 4096;
        let commit = file.write_and_sync(block.freeze(), position, SyncMethod::LinkedFdatasync);
        if turn % 7 == 3 {
            drop(commit);
            file.sync_data().await.unwrap();
        } else {
            commit.await.unwrap();
            let (count, bytes) = file.read_at(reactor::aligned(4096), 4096, position).await;
            assert_eq!(count.unwrap(), 4096);
            assert!(bytes.iter().all(|byte| *byte == turn as u8));
        }
        turn += 1;
        step();
    }
}

async fn serve(stream: TcpStream) {
    loop {
        match stream.recv().await {
            Ok(received) if !received.is_empty() => {
                let data = Bytes::copy_from_slice(&received);
                drop(received);
                if stream.send(vec![data]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

async fn sockets(soak: Soak, cpu: usize, server: std::net::SocketAddr) {
    let step = soak.counter("sockets", cpu);
    let data = Bytes::from(pattern(200_000));
    while soak.running() {
        let stream = TcpStream::connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for _ in 0..50 {
            let length = (reactor::random_u64() % 3000 + 1) as usize;
            let start = reactor::random_u64() as usize % (data.len() - length);
            let sent = data.slice(start..start + length);
            stream.send(vec![sent.slice(..length / 2), sent.slice(length / 2..)]).await.unwrap();
            let waiting = Rc::new(Cell::new(BytesMut::new()));
            let mut back = waiting.take();
            while back.len() < length {
                // A receive that is given up loses nothing.
                let pause = Duration::from_micros(reactor::random_u64() % 100);
                if let Ok(received) = reactor::timeout(pause, stream.recv()).await {
                    let received = received.unwrap();
                    assert!(!received.is_empty());
                    back.extend_from_slice(&received);
                }
            }
            assert_eq!(back, sent);
            step();
        }
    }
}

#[test]
fn everything_at_once_goes_on() {
    let soak = Soak::new(&["signals", "messages", "timers", "files", "sockets"]);
    let (addresses_out, addresses) = bounded(2);
    let mut reactors = Vec::new();
    let mut threads = Vec::new();
    for (cpu, crossing) in crossings().into_iter().enumerate() {
        let (signals, taken) = bounded(1);
        let seen = Arc::new(AtomicU64::new(0));
        threads.push(signaller(&soak, cpu, signals, seen.clone()));
        let (soak, addresses_out, addresses) = (soak.clone(), addresses_out.clone(), addresses.clone());
        let main = move || async move {
            let listener = listen();
            addresses_out.send(listener.local_addr().unwrap()).await.unwrap();
            let accept = reactor::spawn(Priority::Latency, "accept", async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    reactor::spawn(Priority::Latency, "serve", serve(stream)).detach();
                }
            });
            let all = [
                reactor::spawn(Priority::Latency, "signals", take_signals(taken, seen)),
                reactor::spawn(Priority::Latency, "answer", answer(crossing.from_other, crossing.to_other)),
                reactor::spawn(
                    Priority::Latency,
                    "messages",
                    messages(soak.clone(), cpu, crossing.out, crossing.back, 4),
                ),
                reactor::spawn(Priority::Latency, "timers", timers(soak.clone(), cpu)),
                reactor::spawn(Priority::Background, "files", files(soak.clone(), cpu)),
                reactor::spawn(Priority::Latency, "sockets", async move {
                    let server = addresses.recv().await.unwrap();
                    sockets(soak, cpu, server).await;
                }),
            ];
            for task in all {
                task.await;
            }
            // Nothing must depend on this reactor's server any more.
            reactor::sleep(Duration::from_millis(200)).await;
            accept.cancel();
        };
        reactors.push(reactor(cpu).spawn(main).unwrap());
    }
    soak.watch(Duration::from_secs_f64(seconds() / 3.0));
    for thread in threads {
        thread.join().unwrap();
    }
    for reactor in reactors {
        reactor.join().unwrap();
    }
}
