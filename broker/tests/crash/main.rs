//! The real binary under load is killed at random moments and started again on the same data. Everything that was
//! acknowledged is there, at its offset, in order, and once for idempotent producers; there is no gap and no record
//! that nobody sent; committed offsets and the set of topics are as they were acknowledged.
//!
//! `CRASH_ROUNDS` rounds (3 by default) share one data directory. `CRASH_SEED` repeats the choices of a run. Three runs:
//! as the broker is by default, and with each way to sync and another number of cores at every start.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]
#![allow(unreachable_pub, reason = "modules of one program")]

mod committer;
mod ledger;
#[path = "../support/mod.rs"]
mod support;
mod writer;

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use committer::Committer;
use ledger::Ledger;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use support::Broker;
use support::records::{Random, client_config, now_ms};
use writer::{KINDS, Writer};

const PATIENCE: Duration = Duration::from_secs(30);
/// Every so many rounds the logs are read from their beginning.
const WHOLE_CHECK_EVERY: u64 = 25;
/// A topic that a round made is deleted so many rounds later.
const TOPIC_LIFE_ROUNDS: usize = 4;

fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn acknowledged_records_survive_kills_under_load() {
    survive(&[], Cores::Kept);
}

#[test]
fn acknowledged_records_survive_with_linked_fdatasync_and_other_cores_at_each_start() {
    survive(&["commit.sync.method=fdatasync", "commit.log.bytes=8388608"], Cores::Changed);
}

#[test]
fn acknowledged_records_survive_with_synced_writes_and_other_cores_at_each_start() {
    survive(&["commit.sync.method=dsync", "commit.log.bytes=8388608"], Cores::Changed);
}

/// Whether each start has another number of cores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cores {
    Kept,
    Changed,
}

fn survive(settings: &[&str], cores: Cores) {
    let seed = setting("CRASH_SEED", now_ms() as u64);
    // The variants need fewer to have met their own ways to start and to sync.
    let share = if cores == Cores::Changed { 5 } else { 1 };
    let rounds = setting("CRASH_ROUNDS", 3_u64).div_ceil(share);
    println!("repeat with CRASH_SEED={seed} CRASH_ROUNDS={rounds}");
    let mut history = History::new(seed, settings, cores);
    for round in 0..rounds {
        let started = Instant::now();
        let away = history.round(round);
        let loaded = started.elapsed();
        let whole = round % WHOLE_CHECK_EVERY == WHOLE_CHECK_EVERY - 1 || round == rounds - 1;
        history.check(whole);
        println!(
            "round {round}: {} acknowledged in {} ms, of which the broker was away {}; checked in {} ms",
            history.acked(),
            loaded.as_millis(),
            away,
            started.elapsed().saturating_sub(loaded).as_millis()
        );
    }
}

/// One topic with its writers and what they know of it.
struct Topic {
    name: String,
    writers: Vec<Writer>,
    ledger: Arc<Mutex<Ledger>>,
}

struct History {
    broker: Broker,
    cores: Cores,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
    random: Random,
    seed: u64,
    writer_count: u32,
    lasting: Vec<Topic>,
    passing: Vec<Topic>,
    committer: Committer,
}

impl History {
    fn new(seed: u64, settings: &[&str], cores: Cores) -> Self {
        let broker = Broker::spawn(settings);
        if let Some(method) = settings.iter().find_map(|s| s.strip_prefix("commit.sync.method=")) {
            broker.await_said(&format!("sync by {method} in"));
        }
        let settings =
            [("reconnect.backoff.ms", "20"), ("reconnect.backoff.max.ms", "100"), ("log_level", "2")];
        let admin = client_config(broker.bootstrap(), &settings).create().unwrap();
        let committer = Committer::new(broker.bootstrap(), "lasting-0", &settings);
        let mut history = Self {
            broker,
            cores,
            admin,
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            random: Random::new(seed),
            seed,
            writer_count: 0,
            lasting: Vec::new(),
            passing: Vec::new(),
            committer,
        };
        for (index, partitions) in [1, 3, 6].into_iter().enumerate() {
            let topic = history.create(&format!("lasting-{index}"), partitions, &[index * 2, index * 2 + 1]);
            history.lasting.push(topic);
        }
        history
    }

    fn options() -> AdminOptions {
        AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
    }

    /// Makes a topic, with one writer of each of these kinds.
    fn create(&mut self, name: &str, partitions: i32, kinds: &[usize]) -> Topic {
        let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let results = self.runtime.block_on(self.admin.create_topics([&new], &Self::options())).unwrap();
        results[0].as_ref().unwrap_or_else(|(name, error)| panic!("create {name}: {error}"));
        let ledger = Arc::new(Mutex::new(Ledger::new(name, partitions)));
        let mut writers = Vec::new();
        for kind in kinds {
            self.writer_count += 1;
            let id = self.writer_count;
            writers.push(Writer::new(self.broker.bootstrap(), id, KINDS[*kind], name, partitions, &ledger));
        }
        Topic { name: name.to_owned(), writers, ledger }
    }

    fn delete(&mut self, topic: &Topic) {
        let names = [topic.name.as_str()];
        let results = self.runtime.block_on(self.admin.delete_topics(&names, &Self::options())).unwrap();
        results[0].as_ref().unwrap_or_else(|(name, error)| panic!("delete {name}: {error}"));
    }

    /// Topics come and go, then load, the end of the process at some moment of it, and a new one. Says how it ended
    /// and for how long.
    fn round(&mut self, round: u64) -> String {
        if self.passing.len() >= TOPIC_LIFE_ROUNDS {
            let mut old = self.passing.remove(0);
            // A producer that lives on asks for the metadata of the topic, which makes it again.
            old.writers.clear();
            self.delete(&old);
            if self.random.below(2) == 0 {
                // Under the same name at once: nothing of the old one may show.
                let again = self.create(&old.name, 2, &[0]);
                self.passing.push(again);
            }
        }
        let kind = self.random.below(KINDS.len() as u64) as usize;
        let fresh = self.create(&format!("passing-{round}"), 2, &[kind]);
        self.passing.push(fresh);

        let load_ms = 30 + self.random.below(500);
        let gently = self.random.below(8) == 0;
        // Partitions are handed over at each start but of the same number; a second kill hits some hand-overs.
        let cores = (self.cores == Cores::Changed).then(|| 1 + self.random.below(4) as u32);
        let killed_again_after_ms = (self.random.below(4) == 0).then(|| self.random.below(60));
        let stop = AtomicBool::new(false);
        let (seed, broker, committer) = (self.seed ^ round, &mut self.broker, &mut self.committer);
        let topics = || self.lasting.iter().chain(&self.passing);
        let away = std::thread::scope(|scope| {
            for writer in topics().flat_map(|topic| &topic.writers) {
                let stop = &stop;
                scope.spawn(move || writer.run(seed, stop));
            }
            scope.spawn(|| committer.run(&stop));
            // Dropped also when the main thread panics, so that the others end and the panic shows.
            let _stop = StopAtEnd(&stop);
            std::thread::sleep(Duration::from_millis(load_ms));
            let away = Instant::now();
            if gently {
                broker.stop();
            } else {
                broker.kill();
            }
            let stopped = away.elapsed();
            if let Some(cores) = cores {
                broker.set_cores(cores);
            }
            if let Some(after_ms) = killed_again_after_ms {
                broker.relaunch_and_kill(Duration::from_millis(after_ms));
            }
            broker.restart();
            let (all, gently) = (away.elapsed().as_millis(), if gently { "SIGTERM" } else { "SIGKILL" });
            std::thread::sleep(Duration::from_millis(60));
            format!("{all} ms ({gently} took {} ms)", stopped.as_millis())
        });
        topics().flat_map(|topic| &topic.writers).for_each(Writer::settle);
        away
    }

    fn check(&mut self, whole: bool) {
        let metadata = self.admin.inner().fetch_metadata(None, PATIENCE).unwrap();
        let found: BTreeSet<&str> = metadata
            .topics()
            .iter()
            .map(rdkafka::metadata::MetadataTopic::name)
            .filter(|name| !name.starts_with("__"))
            .collect();
        let expected: BTreeSet<&str> =
            self.lasting.iter().chain(&self.passing).map(|topic| topic.name.as_str()).collect();
        assert_eq!(found, expected, "topics after the restart");
        for topic in self.lasting.iter().chain(&self.passing) {
            topic.ledger.lock().unwrap().check(self.broker.bootstrap(), whole);
        }
        self.committer.check();
    }

    fn acked(&self) -> u64 {
        self.lasting.iter().chain(&self.passing).map(|topic| topic.ledger.lock().unwrap().acked_count()).sum()
    }
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
