//! A broker with very many partitions, and whether any task holds a core: topics made and deleted in bulk, metadata of
//! everything, fetches over thousands of partitions, writeback and retention at full load, and beside it all a light
//! producer whose every record is timed. Also what all that costs in memory, at the start, and when nothing happens.
//!
//! `MANY=full` makes it 100,000 partitions, and then the figures are judged; it wants a release build:
//!
//! ```text
//! cargo build --release
//! CORELANE_BIN=target/release/corelane MANY=full cargo test -p broker --test many -- --nocapture
//! ```
//!
//! Without it the same program runs on 600 partitions, to see that it works.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod client;
mod load;
mod look;
#[path = "../support/mod.rs"]
mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use client::Client;
use load::{Light, Topics};
use look::{Look, process};
use support::Broker;

/// How much of everything.
#[derive(Clone, Copy)]
struct Scale {
    topics: usize,
    partitions: i32,
    /// Partitions that one fetch asks for.
    fetched: usize,
    /// Rounds of the heavy load.
    rounds: usize,
    idle: Duration,
    connections: usize,
    judged: bool,
}

const FULL: Scale = Scale {
    topics: 100,
    partitions: 1_000,
    fetched: 10_000,
    rounds: 60,
    idle: Duration::from_secs(30),
    connections: 10_000,
    judged: true,
};

const SMALL: Scale = Scale {
    topics: 6,
    partitions: 100,
    fetched: 300,
    rounds: 2,
    idle: Duration::from_secs(1),
    connections: 100,
    judged: false,
};

fn scale() -> Scale {
    match std::env::var("MANY") {
        Ok(value) if value == "full" => FULL,
        Ok(other) => panic!("MANY is full or not set, not {other}"),
        Err(_) => SMALL,
    }
}

/// A figure, and the most that it may be at full scale.
fn judge(scale: Scale, what: &str, value: f64, most: f64) {
    println!("{what}: {value:.3} (at most {most})");
    if scale.judged && value > most {
        FAILED.with_borrow_mut(|failed| failed.push(format!("{what}: {value:.3} is above {most}")));
    }
}

thread_local! {
    static FAILED: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[test]
fn no_task_holds_a_core_with_very_many_partitions() {
    let scale = scale();
    let count = (scale.topics * scale.partitions as usize) as f64;
    let mut broker = Broker::spawn(&[
        "cores=2",
        "log.retention.check.interval.ms=1000",
        "log.segment.bytes=1048576",
        "log.retention.bytes=2097152",
        "max.connections=20000",
    ]);
    let fresh = process(&broker);
    judge(scale, "memory after the start, MB", fresh.resident_mb(), 40.0);
    let mut before = Look::at(&broker);
    let light = Light::begin(broker.bootstrap());
    let topics = Topics::create(&mut Client::connect(&broker), "many", scale);
    before = before.tell(&broker, "topics made");
    let made = process(&broker);
    let grown = made.resident_mb() - fresh.resident_mb();
    println!("idle partitions: {grown:.1} MB, {:.2} KB each", grown * 1e6 / count / 1e3);
    judge(scale, "memory for idle partitions, MB", grown, 200.0 * count / 1e5);
    before = look_at_everything(&broker, &topics, scale, before);
    before = load_everything(&broker, &topics, scale, before);
    topics.delete_half(&mut Client::connect(&broker));
    before = before.tell(&broker, "half of the topics deleted");
    topics.create_half(&mut Client::connect(&broker), scale);
    before.tell(&broker, "and made again");
    light.end().tell("light producer");
    let loaded = process(&broker);
    println!("memory after the load: {:.1} MB, peak {:.1} MB", loaded.resident_mb(), loaded.peak_mb());
    Look::at(&broker).stalls().judge(scale, "since the start");
    idle(&broker, scale);
    connections(&broker, scale);
    restart(&mut broker, scale);
    FAILED.with_borrow(|failed| assert!(failed.is_empty(), "{failed:#?}"));
}

/// Requests about all partitions, or very many of them.
fn look_at_everything(broker: &Broker, topics: &Topics, scale: Scale, before: Look) -> Look {
    let mut client = Client::connect(broker);
    for _ in 0..5 {
        topics.metadata(&mut client);
    }
    let mut seen = before.tell(broker, "metadata of everything");
    topics.offsets(&mut client);
    seen = seen.tell(broker, "offsets of everything");
    for _ in 0..5 {
        topics.fetch(&mut client, scale.fetched, Duration::ZERO);
    }
    seen = seen.tell(broker, "fetches of very many partitions");
    let begin = Instant::now();
    topics.fetch(&mut client, scale.fetched, Duration::from_secs(3));
    println!("long poll over {} partitions, waited {:?}", scale.fetched, begin.elapsed());
    seen.tell(broker, "a long poll of very many partitions")
}

/// Records to all partitions, and so many to some that their segments roll and go.
fn load_everything(broker: &Broker, topics: &Topics, scale: Scale, before: Look) -> Look {
    let mut client = Client::connect(broker);
    topics.touch(&mut client);
    let seen = before.tell(broker, "a record to every partition");
    let poll = topics.poll_beside(broker, scale.fetched);
    for round in 0..scale.rounds {
        topics.load(&mut client, round);
    }
    println!("{} long polls beside it", poll.end());
    // Retention looks once a second.
    std::thread::sleep(Duration::from_secs(3));
    seen.tell(broker, "full load, with retention")
}

/// What the broker does when nobody asks for anything.
fn idle(broker: &Broker, scale: Scale) {
    std::thread::sleep(Duration::from_secs(2));
    let before = process(broker);
    std::thread::sleep(scale.idle);
    let used = process(broker).cpu_seconds - before.cpu_seconds;
    let a_minute = used * 60.0 / scale.idle.as_secs_f64();
    // Retention looks at all partitions every second here, instead of every five minutes.
    judge(scale, "CPU seconds a minute when idle, retention every second", a_minute, 6.0);
}

fn connections(broker: &Broker, scale: Scale) {
    let before = process(broker);
    let slab = look::slab_mb();
    let mut open: Vec<Client> = Vec::new();
    for _ in 0..scale.connections {
        let mut client = Client::connect(broker);
        client.greet();
        open.push(client);
    }
    std::thread::sleep(Duration::from_millis(500));
    let grown = (process(broker).resident_mb() - before.resident_mb()) * 1e3 / open.len() as f64;
    let kernel = (look::slab_mb() - slab) * 1e3 / open.len() as f64;
    println!("kernel slab of both ends of a connection: {kernel:.2} KB");
    judge(scale, "memory of an idle connection, KB", grown, 20.0);
    drop(open);
    let deadline = Instant::now() + Duration::from_secs(30);
    while Look::at(broker).sum("corelane_connections") > 50.0 {
        assert!(Instant::now() < deadline, "connections stay");
        std::thread::sleep(Duration::from_millis(100));
    }
    Look::at(broker).stalls().judge(scale, "with connections");
}

fn restart(broker: &mut Broker, scale: Scale) {
    let begin = Instant::now();
    broker.stop();
    println!("stop: {:.2} s", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    broker.restart();
    judge(scale, "start with all partitions, s", begin.elapsed().as_secs_f64(), 5.0);
    let first = process(broker);
    println!("memory after that start: {:.1} MB", first.resident_mb());
    Look::at(broker).stalls().tell_only("the start");
    broker.set("log.retention.check.interval.ms=300000");
    broker.stop();
    broker.restart();
    std::thread::sleep(Duration::from_secs(1));
    let before = process(broker);
    std::thread::sleep(scale.idle);
    let used = process(broker).cpu_seconds - before.cpu_seconds;
    judge(scale, "CPU seconds a minute when idle", used * 60.0 / scale.idle.as_secs_f64(), 0.3);
    broker.kill();
    let begin = Instant::now();
    broker.restart();
    println!("start after a kill: {:.2} s", begin.elapsed().as_secs_f64());
    assert!(TcpStream::connect(broker.bootstrap()).is_ok());
}
