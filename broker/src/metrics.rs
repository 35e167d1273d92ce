//! What a shard counts, and what it tells when it is asked.
//!
//! Counters are plain cells of one thread: counting is an addition, and nothing is shared. Whoever wants to see them
//! sends an [`Ask`] to the shard, which answers with a [`ShardSnapshot`], a copy. Nothing here grows with the number of
//! partitions, connections or clients: series are per API, per error code and per name of a task.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use storage::StoreStats;
use wire::kafka::ApiKey;

/// Buckets of a histogram: the n-th counts what is below 2^n and in no lower one, the last everything else.
pub const HISTOGRAM_BUCKETS: usize = 24;

/// A sum that only grows.
#[derive(Debug, Default)]
pub struct Count(Cell<u64>);

impl Count {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.set(self.0.get().wrapping_add(more));
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(Cell<u64>);

impl Level {
    /// Counts one until the guard is dropped.
    pub fn enter(&self) -> LevelGuard<'_> {
        self.0.set(self.0.get() + 1);
        LevelGuard(self)
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// One that is counted in a [`Level`].
#[derive(Debug)]
pub struct LevelGuard<'a>(&'a Level);

impl Drop for LevelGuard<'_> {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

/// Times by powers of two of a microsecond.
#[derive(Debug, Default)]
struct Histogram {
    sum_us: Count,
    buckets: [Count; HISTOGRAM_BUCKETS],
}

impl Histogram {
    fn observe(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.add(us);
        self.buckets[bucket(us)].add(1);
    }

    fn copy(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            sum: self.sum_us.get(),
            buckets: std::array::from_fn(|at| self.buckets[at].get()),
        }
    }
}

/// The bucket that counts `value`.
fn bucket(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()).min(HISTOGRAM_BUCKETS as u32 - 1) as usize
}

/// A histogram as it was when it was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Of all that was observed.
    pub sum: u64,
    /// See [`HISTOGRAM_BUCKETS`].
    pub buckets: [u64; HISTOGRAM_BUCKETS],
}

impl HistogramSnapshot {
    /// Adds another shard's.
    pub fn add(&mut self, other: &HistogramSnapshot) {
        self.sum = self.sum.wrapping_add(other.sum);
        for (mine, others) in self.buckets.iter_mut().zip(other.buckets) {
            *mine = mine.wrapping_add(others);
        }
    }
}

/// Why a connection was not served, or not any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closed {
    /// `max.connections.per.ip` was reached.
    ConnectionsPerIpMax,
    /// `connections.max.idle.ms` without a request.
    Idle,
    /// A request that began did not go on.
    Stuck,
    /// A frame or a request that no client sends.
    Malformed,
}

impl Closed {
    /// All reasons.
    pub const ALL: [Closed; 4] =
        [Closed::ConnectionsPerIpMax, Closed::Idle, Closed::Stuck, Closed::Malformed];

    /// The reason's label.
    pub fn name(self) -> &'static str {
        match self {
            Closed::ConnectionsPerIpMax => "max_connections_per_ip",
            Closed::Idle => "idle",
            Closed::Stuck => "stuck",
            Closed::Malformed => "malformed",
        }
    }
}

/// What one shard counts.
#[derive(Debug)]
pub struct Metrics {
    latencies: Vec<OnceCell<Box<Histogram>>>,
    errors: RefCell<BTreeMap<(ApiKey, i16), u64>>,
    closed: [Count; Closed::ALL.len()],
    /// Bytes of requests, lengths included.
    pub received_bytes: Count,
    /// Bytes of answers.
    pub sent_bytes: Count,
    /// Connections that the listener took.
    pub connections_accepted: Count,
    /// Microseconds for which accepting was held back by `max.connections` and `max.connection.creation.rate`.
    pub accept_throttle_us: Count,
    /// Microseconds for which clients were told to wait for their quotas.
    pub client_throttle_us: Count,
    /// Calls to other shards.
    pub hops: Count,
    /// Fetch requests that wait for records.
    pub fetches_parked: Level,
    /// Bytes given to fetches from memory.
    pub read_memory_bytes: Count,
    /// Bytes given to fetches from segment files.
    pub read_file_bytes: Count,
    /// Reads of a partition that memory answered alone.
    pub reads_memory: Count,
    /// Reads of a partition that needed a segment file.
    pub reads_file: Count,
    /// Batches appended by clients.
    pub appended_batches: Count,
    /// Records in them.
    pub appended_records: Count,
    /// Their bytes.
    pub appended_bytes: Count,
}

impl Default for Metrics {
    fn default() -> Self {
        let keys = ApiKey::ALL.last().map_or(0, |key| *key as usize + 1);
        Metrics {
            latencies: (0..keys).map(|_| OnceCell::new()).collect(),
            errors: RefCell::default(),
            closed: Default::default(),
            received_bytes: Count::default(),
            sent_bytes: Count::default(),
            connections_accepted: Count::default(),
            accept_throttle_us: Count::default(),
            client_throttle_us: Count::default(),
            hops: Count::default(),
            fetches_parked: Level::default(),
            read_memory_bytes: Count::default(),
            read_file_bytes: Count::default(),
            reads_memory: Count::default(),
            reads_file: Count::default(),
            appended_batches: Count::default(),
            appended_records: Count::default(),
            appended_bytes: Count::default(),
        }
    }
}

impl Metrics {
    /// A request was answered, `time` after its last byte had come, with these codes other than 0.
    pub fn answered(&self, key: ApiKey, time: Duration, errors: &[i16]) {
        self.latencies[key as usize].get_or_init(Box::default).observe(time);
        for code in errors {
            *self.errors.borrow_mut().entry((key, *code)).or_default() += 1;
        }
    }

    /// A connection was closed by us, or not taken.
    pub fn closed(&self, reason: Closed) {
        self.closed[reason as usize].add(1);
    }

    /// A copy of the counters.
    pub fn copy(&self) -> CountersSnapshot {
        let latency = |key: &ApiKey| Some((*key, self.latencies[*key as usize].get()?.copy()));
        CountersSnapshot {
            latencies: ApiKey::ALL.iter().filter_map(latency).collect(),
            errors: self.errors.borrow().iter().map(|((key, code), count)| (*key, *code, *count)).collect(),
            closed: std::array::from_fn(|at| self.closed[at].get()),
            received_bytes: self.received_bytes.get(),
            sent_bytes: self.sent_bytes.get(),
            connections_accepted: self.connections_accepted.get(),
            accept_throttle_us: self.accept_throttle_us.get(),
            client_throttle_us: self.client_throttle_us.get(),
            hops: self.hops.get(),
            fetches_parked: self.fetches_parked.get(),
            read_memory_bytes: self.read_memory_bytes.get(),
            read_file_bytes: self.read_file_bytes.get(),
            reads_memory: self.reads_memory.get(),
            reads_file: self.reads_file.get(),
            appended_batches: self.appended_batches.get(),
            appended_records: self.appended_records.get(),
            appended_bytes: self.appended_bytes.get(),
        }
    }
}

/// [`Metrics`] as they were when they were asked for.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "as in Metrics")]
pub struct CountersSnapshot {
    pub latencies: Vec<(ApiKey, HistogramSnapshot)>,
    pub errors: Vec<(ApiKey, i16, u64)>,
    pub closed: [u64; Closed::ALL.len()],
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub connections_accepted: u64,
    pub accept_throttle_us: u64,
    pub client_throttle_us: u64,
    pub hops: u64,
    pub fetches_parked: u64,
    pub read_memory_bytes: u64,
    pub read_file_bytes: u64,
    pub reads_memory: u64,
    pub reads_file: u64,
    pub appended_batches: u64,
    pub appended_records: u64,
    pub appended_bytes: u64,
}

/// Memory that requests in flight hold on a shard.
#[derive(Debug, Clone, Copy, Default)]
pub struct BudgetSnapshot {
    /// Bytes that may be held.
    pub limit_bytes: u64,
    /// Bytes that are.
    pub used_bytes: u64,
    /// Requests that wait for a part of it.
    pub waiters: u64,
    /// Connections closed because their requests stood still while others waited.
    pub evicted: u64,
}

/// What one shard answers.
#[derive(Debug, Clone, Default)]
pub struct ShardSnapshot {
    /// What it counted.
    pub counters: CountersSnapshot,
    /// What its reactor counted.
    pub reactor: reactor::Stats,
    /// What its storage counted.
    pub store: StoreStats,
    /// Why its commit log has failed, if it has.
    pub poisoned: Option<String>,
    /// Open connections.
    pub connections: u64,
    /// Calls of other shards that wait here.
    pub mesh_queued: u64,
    /// Memory of requests in flight.
    pub requests: BudgetSnapshot,
    /// Partitions that live here.
    pub partitions: u64,
    /// Consumer groups that are coordinated here.
    pub groups: u64,
}

/// A question for a shard: where to put the answer.
pub type Ask = async_channel::Sender<Box<ShardSnapshot>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_below_the_next_power_of_two() {
        assert_eq!([0, 1, 2, 3, 4, 1023, 1024].map(bucket), [0, 1, 2, 2, 3, 10, 11]);
        assert_eq!(bucket(u64::MAX), HISTOGRAM_BUCKETS - 1);
    }

    #[test]
    fn answers_are_counted_by_api_and_error() {
        let metrics = Metrics::default();
        metrics.answered(ApiKey::Produce, Duration::from_micros(100), &[]);
        metrics.answered(ApiKey::Produce, Duration::from_micros(300), &[3, 3, 6]);
        let copy = metrics.copy();
        assert_eq!(copy.errors, [(ApiKey::Produce, 3, 2), (ApiKey::Produce, 6, 1)]);
        let [(ApiKey::Produce, latency)] = copy.latencies[..] else { panic!("{copy:?}") };
        assert_eq!((latency.sum, latency.buckets[7], latency.buckets[9]), (400, 1, 1));
    }

    #[test]
    fn a_level_falls_with_its_guards() {
        let level = Level::default();
        let (first, second) = (level.enter(), level.enter());
        drop(first);
        assert_eq!(level.get(), 1);
        drop(second);
        assert_eq!(level.get(), 0);
    }
}
