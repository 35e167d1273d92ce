//! The executor: one thread's tasks, timers and ring, and the turn of its loop.
//!
//! A turn: take remote wake-ups; fire due timers; poll latency tasks until their budget is used up; poll background
//! tasks within theirs, at least one; wake those that yielded; send the notifications gathered for other reactors;
//! enter the ring once, to submit and to collect, sleeping there if nothing is runnable.
//!
//! User code (futures, wakers, destructors of buffers) is never called while a part of the reactor is borrowed.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::ptr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::driver::Driver;
use crate::limits::{BACKGROUND_BUDGET, LATENCY_BUDGET};
use crate::ring::{DriverOptions, Wait};
use crate::stats::Counters;
use crate::sys;
use crate::task::{Body, Priority, Task, Tasks};
use crate::time::{self, Instant};
use crate::timer::Timers;
use crate::wake::{self, Awoken, Shared, TaskId};

/// One thread's executor.
pub(crate) struct Reactor {
    shared: &'static Shared,
    tasks: RefCell<Tasks>,
    timers: RefCell<Timers>,
    driver: Driver,
    turn_end: Cell<Instant>,
    yielded: RefCell<Vec<Waker>>,
    remote: RefCell<Vec<TaskId>>,
    random: Cell<u64>,
    spin: Duration,
    /// When the last turn was done with tasks, and whether the thread has slept since.
    polled_until: Cell<Option<Instant>>,
    slept: Cell<bool>,
    pub(crate) counters: Counters,
}

thread_local! {
    static CURRENT: Cell<*const Reactor> = const { Cell::new(ptr::null()) };
}

/// Calls `f` with the reactor of this thread, if there is one.
pub(crate) fn try_with<T>(f: impl FnOnce(Option<&Reactor>) -> T) -> T {
    let current = CURRENT.get();
    // SAFETY: set by `Enter` to a reactor that outlives it on this thread, and reset when it ends.
    f(unsafe { current.as_ref() })
}

/// Calls `f` with the reactor of this thread.
pub(crate) fn with<T>(f: impl FnOnce(&Reactor) -> T) -> T {
    try_with(|reactor| match reactor {
        Some(reactor) => f(reactor),
        None => panic!("not called on a reactor's thread"),
    })
}

/// Makes a reactor the thread's current one while it lives.
struct Enter;

impl Enter {
    fn new(reactor: &Rc<Reactor>) -> Self {
        assert!(CURRENT.get().is_null(), "a reactor already runs on this thread");
        CURRENT.set(Rc::as_ptr(reactor));
        Self
    }
}

impl Drop for Enter {
    fn drop(&mut self) {
        CURRENT.set(ptr::null());
    }
}

/// Ends everything when the main future has returned or panicked: futures are dropped first, then the ring is drained.
struct Shutdown<'a>(&'a Rc<Reactor>);

impl Drop for Shutdown<'_> {
    fn drop(&mut self) {
        let _drain = Drain(self.0); // also when a destructor panics
        // Whoever claimed a notification of a sleep that a panic has ended is to be waited for.
        if let Awoken::ByRing = self.0.shared.end_sleep() {
            self.0.driver.expect_notification();
        }
        let mut from = 0;
        loop {
            // One at a time: a destructor may spawn, wake or cancel others.
            let body = self.0.tasks.borrow_mut().take_any(&mut from);
            let Some(body) = body else { break };
            drop(body);
        }
    }
}

/// Takes back from the kernel what it has of ours, then gives the id back: a ring that had to be kept may still read the
/// id's eventfd.
struct Drain<'a>(&'a Rc<Reactor>);

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        // The kernel may hold buffers of ours. Losing them is better than letting it write into freed memory.
        let kept = ManuallyDrop::new(Rc::clone(self.0));
        if self.0.driver.shut_down() {
            drop(ManuallyDrop::into_inner(kept));
            self.0.shared.give_back();
        }
    }
}

/// Runs `main` and everything it spawns on this thread.
pub(crate) fn run<F, Fut>(options: &DriverOptions, spin: Duration, main: F) -> io::Result<Fut::Output>
where
    F: FnOnce() -> Fut,
    Fut: Future + 'static,
{
    let shared = Shared::take()?;
    let driver = match Driver::new(shared, options) {
        Ok(driver) => driver,
        Err(error) => {
            shared.give_back();
            return Err(error);
        }
    };
    let reactor = Rc::new(Reactor::new(shared, driver, spin, sys::random_seed()));
    let _current = Enter::new(&reactor);
    let _shutdown = Shutdown(&reactor);
    let task = crate::task::spawn(Priority::Latency, "main", main());
    reactor.run_until_finished(&task)
}

impl Reactor {
    fn new(shared: &'static Shared, driver: Driver, spin: Duration, seed: u64) -> Self {
        Self {
            shared,
            tasks: RefCell::new(Tasks::new(shared)),
            timers: RefCell::new(Timers::default()),
            driver,
            turn_end: Cell::new(Instant::from_ns(0)),
            yielded: RefCell::new(Vec::new()),
            remote: RefCell::new(Vec::new()),
            random: Cell::new(seed | 1),
            spin,
            polled_until: Cell::new(None),
            slept: Cell::new(false),
            counters: Counters::default(),
        }
    }

    pub(crate) fn id(&self) -> u16 {
        self.shared.id()
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    pub(crate) fn timers(&self) -> &RefCell<Timers> {
        &self.timers
    }

    pub(crate) fn tasks_live(&self) -> usize {
        self.tasks.borrow().live()
    }

    pub(crate) fn insert(&self, priority: Priority, name: &'static str, body: Body) -> TaskId {
        self.tasks.borrow_mut().insert(priority, name, body)
    }

    pub(crate) fn cancel(&self, id: TaskId) {
        let body = self.tasks.borrow_mut().cancel(id);
        drop(body);
    }

    pub(crate) fn wake_local(&self, id: TaskId) {
        self.tasks.borrow_mut().wake(id);
    }

    /// Notes that another reactor has new work: it is told at the end of the turn, if it sleeps then.
    pub(crate) fn notify_later(&self, target: &'static Shared) {
        self.counters.remote_wakes_sent.set(self.counters.remote_wakes_sent.get() + 1);
        self.driver.notify_later(target);
    }

    /// Wakes `waker` when the ring has been looked at once more.
    pub(crate) fn wake_next_turn(&self, waker: Waker) {
        self.yielded.borrow_mut().push(waker);
    }

    pub(crate) fn turn_is_over(&self) -> bool {
        time::now() >= self.turn_end.get()
    }

    /// xorshift64*: fast, seeded by the kernel, not for secrets.
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn run_until_finished<T>(&self, main: &Task<T>) -> io::Result<T> {
        loop {
            self.run_tasks();
            if main.is_finished() {
                return main.take_output().ok_or_else(|| io::Error::other("the main task was cancelled"));
            }
            self.collect()?;
        }
    }

    /// The part of a turn that polls tasks.
    fn run_tasks(&self) {
        self.counters.turns.set(self.counters.turns.get() + 1);
        self.take_remote();
        let start = time::now();
        if let Some(until) = self.polled_until.get() {
            if self.slept.replace(false) {
                self.counters.slept(start.since(until));
            } else {
                self.counters.held("ring", until, start);
            }
        }
        self.counters.refresh(start);
        self.turn_end.set(start + LATENCY_BUDGET);
        let start = self.fire_timers(start);
        let mut now = self.poll_queued(Priority::Latency, start, start + LATENCY_BUDGET);
        if self.tasks.borrow().has_queued(Priority::Background) {
            let end = now + BACKGROUND_BUDGET;
            self.turn_end.set(end);
            now = self.poll_queued(Priority::Background, now, end);
        }
        self.polled_until.set(Some(now));
        let mut yielded = self.yielded.take();
        for waker in yielded.drain(..) {
            waker.wake();
        }
        let mut place = self.yielded.borrow_mut();
        if place.is_empty() {
            *place = yielded; // keeps its memory
        }
    }

    fn take_remote(&self) {
        let mut remote = self.remote.borrow_mut();
        self.shared.take_remote(&mut remote);
        if remote.is_empty() {
            return;
        }
        let mut tasks = self.tasks.borrow_mut();
        self.counters
            .remote_wakes_received
            .set(self.counters.remote_wakes_received.get() + remote.len() as u64);
        for id in remote.drain(..) {
            tasks.wake(id);
        }
    }

    /// Wakes those whose time has come. Returns the time afterwards.
    fn fire_timers(&self, now: Instant) -> Instant {
        let mut fired = 0;
        loop {
            let due = self.timers.borrow_mut().take_due(now);
            let Some(waker) = due else { break };
            fired += 1;
            waker.wake();
        }
        if fired == 0 {
            return now;
        }
        self.counters.timers_fired.set(self.counters.timers_fired.get() + fired);
        let after = time::now();
        self.counters.held("timers", now, after);
        after
    }

    /// Polls queued tasks until none is left or `end` has passed; at least one. Returns the time afterwards.
    fn poll_queued(&self, priority: Priority, start: Instant, end: Instant) -> Instant {
        let mut now = start;
        loop {
            let taken = self.tasks.borrow_mut().take_queued(priority);
            let Some(mut running) = taken else { return now };
            let id = running.id;
            let waker = wake::waker(self.shared.id(), id);
            let ready = running.body.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            #[cfg(feature = "simulator")]
            crate::sim::spend();
            let name = running.name;
            let dead = if ready {
                self.tasks.borrow_mut().remove(id);
                Some(running.body)
            } else {
                self.tasks.borrow_mut().put_back(running)
            };
            drop(dead); // takes its time as the poll does
            let before = now;
            now = time::now();
            self.counters.polled(name, before, now);
            if now >= end {
                return now;
            }
        }
    }

    /// The part of a turn that submits to and collects from the kernel, and sleeps when nothing is runnable.
    fn collect(&self) -> io::Result<()> {
        self.driver.send_notifications();
        if self.is_runnable() {
            return self.driver.turn(Wait::No);
        }
        if !self.spin.is_zero() && self.spin_for_work()? {
            return Ok(());
        }
        let timeout = self.timers.borrow_mut().next_deadline();
        let wait = match timeout {
            None => Wait::Forever,
            Some(deadline) => match deadline.since(time::now()) {
                Duration::ZERO => Wait::No,
                left => Wait::For(left),
            },
        };
        let result = if !matches!(wait, Wait::No) && self.shared.begin_sleep() {
            self.counters.sleeps.set(self.counters.sleeps.get() + 1);
            self.slept.set(true);
            self.driver.turn(wait)
        } else {
            self.driver.turn(Wait::No)
        };
        if let Awoken::ByRing = self.shared.end_sleep() {
            self.driver.expect_notification();
        }
        result
    }

    fn is_runnable(&self) -> bool {
        let tasks = self.tasks.borrow();
        tasks.has_queued(Priority::Latency) || tasks.has_queued(Priority::Background)
    }

    /// Looks for work for as long as the builder said. True if the loop should go on.
    fn spin_for_work(&self) -> io::Result<bool> {
        self.driver.turn(Wait::No)?;
        self.polled_until.set(None); // the time from here on is neither slept nor held
        let start = time::now();
        let next = self.timers.borrow_mut().next_deadline();
        loop {
            if self.is_runnable() || self.shared.has_remote() || self.driver.has_completions() {
                self.driver.turn(Wait::No)?;
                return Ok(true);
            }
            let now = time::now();
            if next.is_some_and(|deadline| deadline <= now) {
                return Ok(true);
            }
            if now.since(start) >= self.spin {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }
}

/// What the simulator does with reactors.
#[cfg(feature = "simulator")]
mod simulated {
    use super::{Driver, Duration, Enter, Instant, Rc, Reactor, Shared, io};
    use crate::ring::ops::{Completion, Keep};
    use crate::sys::outcome;
    use bytes::Bytes;

    impl Reactor {
        /// A reactor that the simulator gives its turns.
        pub(crate) fn simulated(driver: crate::sim::Driver, seed: u64) -> Rc<Self> {
            let Ok(shared) = Shared::take() else { panic!("too many reactors in this process") };
            Rc::new(Self::new(shared, Driver::Sim(driver), Duration::ZERO, seed))
        }

        /// True if a turn would do something.
        pub(crate) fn wants_turn(&self, now: Instant) -> bool {
            self.is_runnable()
                || self.shared.has_remote()
                || self.next_deadline().is_some_and(|deadline| deadline <= now)
        }

        pub(crate) fn next_deadline(&self) -> Option<Instant> {
            self.timers.borrow_mut().next_deadline()
        }
    }

    /// Runs `f` as on the reactor's thread.
    pub(crate) fn enter<T>(reactor: &Rc<Reactor>, f: impl FnOnce() -> T) -> T {
        let _current = Enter::new(reactor);
        f()
    }

    /// One turn of a reactor.
    pub(crate) fn turn(reactor: &Rc<Reactor>) {
        enter(reactor, || reactor.run_tasks());
    }

    /// Drops everything of a reactor and gives its id back.
    pub(crate) fn end(reactor: &Rc<Reactor>) {
        enter(reactor, || {
            let mut from = 0;
            loop {
                let body = reactor.tasks.borrow_mut().take_any(&mut from);
                let Some(body) = body else { break };
                drop(body);
            }
        });
        let mut left = Vec::new();
        reactor.shared.take_remote(&mut left);
        reactor.shared.give_back();
    }

    /// The bytes that a read gave.
    pub(crate) fn completed_read(completion: Completion) -> io::Result<Bytes> {
        let count = outcome(completion.result)?;
        let Keep::Read(_, mut buffer) = completion.keep else { panic!("a read gives its buffer back") };
        // SAFETY: the simulator has written this many bytes.
        unsafe { buffer.set_len(count) };
        Ok(buffer.freeze())
    }
}

#[cfg(feature = "simulator")]
pub(crate) use simulated::{completed_read, end, enter, turn};
