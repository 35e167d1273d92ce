//! Whether commits are so frequent that other use of the device should keep out of their way.
//!
//! All shards of a broker share a device, so they share one mark: the moment until which commits count as frequent. A shard
//! that commits often moves it about once a second; whoever reads old data looks at it. Nothing waits for it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reactor::Instant;

use crate::limits::{FREQUENT_COMMITS, FREQUENT_COMMITS_WINDOW};

/// The mark that the shards of one broker share. One made by default is a shard's own.
#[derive(Debug, Default)]
pub struct FrequentCommits {
    until_ns: AtomicU64,
}

impl FrequentCommits {
    /// Whether some shard has committed often, just now.
    pub(crate) fn are_on(&self, now: Instant) -> bool {
        self.until_ns.load(Ordering::Relaxed) > now.as_ns()
    }
}

/// How often one shard commits.
#[derive(Debug)]
pub(crate) struct CommitRate {
    frequent: Arc<FrequentCommits>,
    window: Cell<Instant>,
    count: Cell<u32>,
}

impl CommitRate {
    pub(crate) fn new(frequent: Arc<FrequentCommits>) -> Self {
        Self { frequent, window: Cell::new(reactor::now()), count: Cell::new(0) }
    }

    /// Counts a commit.
    pub(crate) fn count(&self, now: Instant) {
        if now.since(self.window.get()) >= FREQUENT_COMMITS_WINDOW {
            self.window.set(now);
            self.count.set(0);
        }
        self.count.set(self.count.get() + 1);
        if self.count.get() == FREQUENT_COMMITS {
            // Until the next window has had the time to fill, too.
            let until = now + 2 * FREQUENT_COMMITS_WINDOW;
            self.frequent.until_ns.fetch_max(until.as_ns(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_commits_are_not_frequent_and_many_are_for_a_while() {
        let frequent = Arc::new(FrequentCommits::default());
        let (one, other) = (CommitRate::new(Arc::clone(&frequent)), CommitRate::new(Arc::clone(&frequent)));
        let mut now = reactor::now();
        for _ in 0..4 * FREQUENT_COMMITS {
            one.count(now);
            other.count(now);
            assert!(!frequent.are_on(now));
            now = now + FREQUENT_COMMITS_WINDOW / (FREQUENT_COMMITS - 2);
        }
        for since in 0..40 * FREQUENT_COMMITS {
            other.count(now);
            assert!(frequent.are_on(now) || since < 2 * FREQUENT_COMMITS, "after {since} commits");
            now = now + FREQUENT_COMMITS_WINDOW / (2 * FREQUENT_COMMITS);
        }
        assert!(!frequent.are_on(now + 2 * FREQUENT_COMMITS_WINDOW));
    }
}
