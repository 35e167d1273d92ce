//! What a reactor counts about itself. Plain cells of one thread; reading them is a copy.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::executor;
use crate::limits::LONG_POLL;
use crate::time::{self, Instant};

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

/// Polls of one task name that took longer than [`LONG_POLL`]. Besides the names given to `spawn` there are `timers` (the
/// wake-ups of those that are due) and `ring` (a turn's call of the kernel, when it did not sleep).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongPolls {
    /// The name given to `spawn`.
    pub name: &'static str,
    /// Polls that used the core for so long: CPU time of this thread, what the scheduler gave to others not counted.
    pub count: u64,
    /// Polls that took so long by the clock on the wall, and used the core for less: others had it.
    pub preempted: u64,
    /// The longest of `count`, in CPU time.
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

/// The task whose poll used the core for longest, of those over [`LONG_POLL`] since this was last asked, and for how long.
///
/// # Panics
/// Outside a reactor.
pub fn take_longest_poll() -> Option<(&'static str, Duration)> {
    executor::with(|reactor| reactor.counters.longest.take())
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
    /// The longest since it was last taken.
    longest: Cell<Option<(&'static str, Duration)>>,
    /// CPU time of the thread when last read, and when that was.
    cpu: Cell<Option<(Instant, Duration)>>,
    /// How long the thread has slept since.
    slept: Cell<Duration>,
}

/// How old the CPU time of the thread may be when a long poll is judged by it. Reading it is a call of the kernel, 0.2 to
/// 1 µs, so this costs a busy core a thousandth at most.
const CPU_AGE_MAX: Duration = Duration::from_millis(1);

impl Counters {
    /// Reads the thread's CPU time if what is known of it is old. At the beginning of a turn.
    pub(crate) fn refresh(&self, now: Instant) {
        if self.cpu.get().is_none_or(|(read, _)| now.since(read) >= CPU_AGE_MAX) {
            self.read_cpu(now);
        }
    }

    fn read_cpu(&self, now: Instant) -> Duration {
        let used = time::thread_cpu();
        self.cpu.set(Some((now, used)));
        self.slept.set(Duration::ZERO);
        used
    }

    /// The thread has slept in the kernel.
    pub(crate) fn slept(&self, time: Duration) {
        self.slept.set(self.slept.get() + time);
    }

    /// Counts one poll.
    pub(crate) fn polled(&self, name: &'static str, began: Instant, ended: Instant) {
        self.polls.set(self.polls.get() + 1);
        self.held(name, began, ended);
    }

    /// Judges one use of the core. It is timed by the clock on the wall, which has been read anyway; only one that was
    /// long by that is judged by the thread's own time.
    pub(crate) fn held(&self, name: &'static str, began: Instant, ended: Instant) {
        let took = ended.since(began);
        if took >= LONG_POLL {
            self.held_long(name, began, ended);
        }
    }

    #[cold]
    fn held_long(&self, name: &'static str, began: Instant, ended: Instant) {
        let Some((read, before)) = self.cpu.get() else { return };
        let awake = began.since(read).saturating_sub(self.slept.get());
        let used = self.read_cpu(ended).saturating_sub(before);
        let own = own_time(used, awake, ended.since(began));
        let mut long_polls = self.long_polls.borrow_mut();
        let entry = long_polls.entry(name).or_insert(LongPolls {
            name,
            count: 0,
            preempted: 0,
            longest: Duration::ZERO,
        });
        if own < LONG_POLL {
            entry.preempted += 1;
            return;
        }
        entry.count += 1;
        entry.longest = entry.longest.max(own);
        if self.longest.get().is_none_or(|(_, longest)| longest < own) {
            self.longest.set(Some((name, own)));
        }
    }
}

/// CPU time that a poll has surely used which took `wall`, of what was `used` since the last reading, when the thread was awake
/// for so long between that reading and the poll: it may have used all of that, or less.
fn own_time(used: Duration, awake: Duration, wall: Duration) -> Duration {
    used.saturating_sub(awake).min(wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses the core for so long by the thread's own time; the wall's is at least that.
    fn burn(time: Duration) -> Instant {
        let start = time::thread_cpu();
        while time::thread_cpu().saturating_sub(start) < time {}
        time::now()
    }

    fn of(counters: &Counters, name: &str) -> (u64, u64) {
        counters.long_polls.borrow().get(name).map_or((0, 0), |polls| (polls.count, polls.preempted))
    }

    #[test]
    fn time_that_others_had_the_core_is_not_the_tasks_own() {
        let counters = Counters::default();
        let began = time::now();
        counters.refresh(began);
        std::thread::sleep(Duration::from_millis(6)); // the core is somebody else's
        let ended = burn(Duration::from_micros(100));
        counters.polled("waits", began, ended);
        let busy = burn(Duration::from_millis(4));
        counters.polled("works", ended, busy);
        assert_eq!((of(&counters, "waits"), of(&counters, "works")), ((0, 1), (1, 0)));
        let (name, longest) = counters.longest.take().unwrap();
        assert_eq!(name, "works");
        assert!(longest >= Duration::from_micros(3900), "{longest:?}");
    }

    #[test]
    fn what_was_used_before_a_poll_is_not_counted_to_it() {
        let us = Duration::from_micros;
        assert_eq!(own_time(us(2300), us(700), us(1600)), us(1600));
        assert_eq!(own_time(us(800), us(700), us(6000)), us(100), "others had the core meanwhile");
        assert_eq!(own_time(us(900), us(2000), us(1600)), us(0), "others may have had it before");
        assert_eq!(own_time(us(5000), us(700), us(1600)), us(1600), "never more than the wall says");
    }

    #[test]
    fn time_asleep_is_not_taken_for_time_awake() {
        let counters = Counters::default();
        let read = time::now();
        counters.refresh(read);
        // As if it had slept since: whatever the machine did meanwhile, nothing was used before the poll.
        let began = time::now();
        counters.slept(began.since(read));
        let ended = burn(Duration::from_micros(1600));
        counters.polled("after a sleep", began, ended);
        let longest = counters.longest.take().map(|(_, longest)| longest).unwrap();
        assert!(longest >= Duration::from_micros(1600), "{longest:?}");
    }
}
