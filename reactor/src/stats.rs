//! What a reactor counts about itself. Plain cells of one thread; reading them is a copy.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::executor;
use crate::limits::LONG_POLL;
use crate::sys;
use crate::time::Instant;

/// Counters of the current reactor since it started.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Turns of the loop.
    pub turns: u64,
    /// Times the thread slept in the kernel.
    pub sleeps: u64,
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// Polls that took over a millisecond, by name of the task.
    pub long_polls: Vec<LongPolls>,
    /// Tasks alive.
    pub tasks: usize,
    /// Timers that wait for their deadline.
    pub timers: usize,
    /// Timers that have fired.
    pub timers_fired: u64,
    /// Operations started on the ring.
    pub operations: u64,
    /// Operations the kernel has now.
    pub operations_in_flight: usize,
    /// Wake-ups of tasks on other reactors.
    pub remote_wakes_sent: u64,
    /// Wake-ups of tasks here by other threads.
    pub remote_wakes_received: u64,
    /// Notifications sent to sleeping reactors; at most one for each of their sleeps.
    pub notifications_sent: u64,
    /// Times the submission queue was full and was submitted early.
    pub submit_queue_full: u64,
    /// Times the kernel had to keep completions aside because their queue was full.
    pub completion_queue_overflows: u64,
    /// Times a receive found no provided buffer and waited for one.
    pub receive_buffer_waits: u64,
}

/// Polls of one task name that held the core for longer than [`LONG_POLL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongPolls {
    /// The name given to `spawn`.
    pub name: &'static str,
    /// Polls in which nobody else ran on the core: the task's own doing.
    pub count: u64,
    /// Polls in which the scheduler may have given the core to another thread.
    pub preempted: u64,
    /// The longest of `count`.
    pub longest: Duration,
}

/// The statistics of the current reactor.
///
/// # Panics
/// Outside a reactor.
pub fn stats() -> Stats {
    executor::with(|reactor| {
        let counters = &reactor.counters;
        let mut stats = Stats {
            turns: counters.turns.get(),
            sleeps: counters.sleeps.get(),
            polls: counters.polls.get(),
            long_polls: counters.long_polls.borrow().values().cloned().collect(),
            tasks: reactor.tasks_live(),
            timers: reactor.timers().borrow().live(),
            timers_fired: counters.timers_fired.get(),
            remote_wakes_sent: counters.remote_wakes_sent.get(),
            remote_wakes_received: counters.remote_wakes_received.get(),
            ..Stats::default()
        };
        reactor.driver().fill_stats(&mut stats);
        stats
    })
}

/// The executor's own counters.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) turns: Cell<u64>,
    pub(crate) sleeps: Cell<u64>,
    pub(crate) polls: Cell<u64>,
    pub(crate) timers_fired: Cell<u64>,
    pub(crate) remote_wakes_sent: Cell<u64>,
    pub(crate) remote_wakes_received: Cell<u64>,
    long_polls: RefCell<BTreeMap<&'static str, LongPolls>>,
    /// Involuntary switches of the thread when last looked at, and when that was.
    switches: Cell<u64>,
    switches_read: Cell<Option<Instant>>,
}

/// How old the number of involuntary switches may be when a long poll is judged by it.
const SWITCHES_AGE_MAX: Duration = Duration::from_millis(10);

impl Counters {
    /// Reads the number of involuntary switches if what is known of it is old. At the beginning of a turn.
    pub(crate) fn refresh(&self, now: Instant) {
        if self.switches_read.get().is_none_or(|read| now.since(read) >= SWITCHES_AGE_MAX) {
            self.switches.set(sys::involuntary_switches());
            self.switches_read.set(Some(now));
        }
    }

    /// Counts one poll and how long it took. The time is the wall's, read once a poll; whether the thread was preempted
    /// is asked of the kernel only for long polls.
    pub(crate) fn polled(&self, name: &'static str, took: Duration) {
        self.polls.set(self.polls.get() + 1);
        if took < LONG_POLL {
            return;
        }
        let switches = sys::involuntary_switches();
        let before = self.switches.replace(switches);
        let mut long_polls = self.long_polls.borrow_mut();
        let entry = long_polls.entry(name).or_insert(LongPolls {
            name,
            count: 0,
            preempted: 0,
            longest: Duration::ZERO,
        });
        if switches == before {
            entry.count += 1;
            entry.longest = entry.longest.max(took);
        } else {
            entry.preempted += 1;
        }
    }
}
