//! How many producers a shard and a partition remember.
//!
//! Producer ids are chosen by clients, so their number is theirs to choose too. A partition always keeps a few, so
//! that a crowd on one partition cannot take idempotence from the others; above that the shard's budget decides.
//! The bound of a shard is thus [`PRODUCERS_PER_SHARD_MAX`] plus [`PRODUCERS_PER_PARTITION_MIN`] per partition.

use std::cell::Cell;

/// Most producers of one partition.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 16 * 1024;

/// Producers that a partition may keep however full its shard is.
pub const PRODUCERS_PER_PARTITION_MIN: usize = 16;

/// Producers of one shard above which its partitions keep only their minimum: about 26 MB of state.
pub const PRODUCERS_PER_SHARD_MAX: usize = 128 * 1024;

/// Count of the producers that one shard's partitions remember. Shared by them as `Rc`.
#[derive(Debug)]
pub struct ProducerBudget {
    count: Cell<usize>,
    count_max: usize,
    evictions: Cell<u64>,
}

impl Default for ProducerBudget {
    fn default() -> Self {
        Self::new(PRODUCERS_PER_SHARD_MAX)
    }
}

impl ProducerBudget {
    /// Room for `count_max` producers in the shard.
    pub const fn new(count_max: usize) -> Self {
        Self { count: Cell::new(0), count_max, evictions: Cell::new(0) }
    }

    /// Producers remembered now, in all partitions of the shard.
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Producers forgotten for want of room, since the start.
    pub fn evictions(&self) -> u64 {
        self.evictions.get()
    }

    /// Whether a partition that has `len` producers must evict before it takes another.
    pub(super) fn is_full_for(&self, len: usize) -> bool {
        len >= PRODUCERS_PER_PARTITION_MAX
            || (self.count.get() >= self.count_max && len >= PRODUCERS_PER_PARTITION_MIN)
    }

    pub(super) fn add(&self, producers: usize) {
        self.count.set(self.count.get() + producers);
    }

    pub(super) fn remove(&self, producers: usize) {
        assert!(producers <= self.count.get());
        self.count.set(self.count.get() - producers);
    }

    pub(super) fn evicted(&self, producers: usize) {
        self.evictions.set(self.evictions.get() + producers as u64);
    }
}
