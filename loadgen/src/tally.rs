//! What a thread counts while it works, and how it hears that the run is to end.
//!
//! Everything is plain cells of the thread. At each end of an interval a task of the thread sends what was counted since
//! the last one to the recorder, which puts the threads together; so nothing is shared and nothing is locked while
//! records go by. If the recorder is behind, the window stays open and goes out with the next.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::task::Poll;
use std::time::Duration;

use reactor::sync::Notify;
use reactor::{Instant, Priority};

use crate::arrivals::Arrivals;
use crate::histogram::Histogram;
use crate::limits::STOP_LOOK;

/// Asked to end early, by a signal or because another part failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far a part is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Goal {
    pub(crate) records: Option<u64>,
    pub(crate) seconds: Option<f64>,
}

/// What was counted in a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// Records whose intended time was in it.
    pub(crate) due: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    /// At its end.
    pub(crate) lag: u64,
    pub(crate) latencies: Latencies,
}

/// Histograms by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<(&'static str, Histogram)>);

impl Latencies {
    pub(crate) fn record(&mut self, name: &'static str, latency: Duration, count: u64) {
        self.of(name).record(latency, count);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, histogram) in &other.0 {
            self.of(name).add(histogram);
        }
    }

    fn of(&mut self, name: &'static str) -> &mut Histogram {
        let place = self.0.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.0.push((name, Histogram::new()));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }

    /// The histogram of this name, empty if nothing was counted.
    pub(crate) fn get(&self, name: &str) -> Histogram {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map_or_else(Histogram::new, |(_, found)| found.clone())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        self.0.iter().map(|(name, histogram)| (*name, histogram))
    }

    /// Empties the histograms and keeps their memory.
    fn reset(&mut self) {
        self.0.iter_mut().for_each(|(_, histogram)| histogram.reset());
    }
}

impl Window {
    pub(crate) fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.records += other.records;
        self.bytes += other.bytes;
        self.requests += other.requests;
        self.errors += other.errors;
        self.lag += other.lag;
        self.latencies.add(&other.latencies);
    }

    fn reset(&mut self) {
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.reset();
        *self = Self { latencies, ..Self::default() };
    }
}

/// What the recorder is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Part `part` begins to load the broker.
    Began { part: usize, at: Instant, goal: Goal },
    /// What a thread of it counted from one moment to another.
    Counted { part: usize, from: Instant, to: Instant, window: Box<Window> },
    /// It is over.
    Ended { part: usize, at: Instant },
}

/// A part's line to the recorder, and to whoever asks it to stop.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) part: usize,
    /// When the run started: intervals count from it.
    pub(crate) started: Instant,
    pub(crate) interval: Duration,
    pub(crate) stop: StopFlag,
    pub(crate) recorder: SyncSender<Message>,
}

impl Link {
    /// The part begins.
    pub(crate) fn begin(&self, goal: Goal) {
        // Without a recorder nobody wants to know.
        let _ = self.recorder.send(Message::Began { part: self.part, at: reactor::now(), goal });
    }

    /// The part is over.
    pub(crate) fn end(&self) {
        let _ = self.recorder.send(Message::Ended { part: self.part, at: reactor::now() });
    }
}

/// Records that are going to be due.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) arrivals: Arrivals,
    pub(crate) left: u64,
    /// No more after this.
    pub(crate) end: Option<Instant>,
}

/// The counts of one thread.
pub(crate) struct Tally {
    link: Link,
    window: RefCell<Window>,
    /// When the window was opened.
    opened: Cell<Instant>,
    /// All windows that were sent.
    total: RefCell<Window>,
    /// A second hand that counts what is due.
    clock: RefCell<Option<Expected>>,
    /// Due, or handed over in a closed loop, and not yet done.
    outstanding: Cell<i64>,
    stop: Notify,
}

impl Tally {
    /// Starts counting, and a task on this reactor that sends the counts.
    pub(crate) fn start(link: Link) -> Rc<Self> {
        let tally = Rc::new(Self {
            link,
            window: RefCell::default(),
            opened: Cell::new(reactor::now()),
            total: RefCell::default(),
            clock: RefCell::default(),
            outstanding: Cell::new(0),
            stop: Notify::new(),
        });
        reactor::spawn(Priority::Latency, "tally", tally.clone().tick()).detach();
        tally
    }

    async fn tick(self: Rc<Self>) {
        let mut next = self.link.started;
        let mut told = false;
        loop {
            let now = reactor::now();
            while next <= now {
                next = next + self.link.interval;
            }
            reactor::sleep_until(next.min(now + STOP_LOOK)).await;
            if self.link.stop.is_set() && !told {
                told = true;
                self.stop.notify_all();
            }
            let now = reactor::now();
            if now >= next {
                self.send(now);
            }
        }
    }

    /// Whether the run was asked to end.
    pub(crate) fn must_stop(&self) -> bool {
        self.link.stop.is_set()
    }

    /// Sleeps until `deadline`, or less when the run is to end before.
    pub(crate) async fn sleep_until(&self, deadline: Instant) {
        let now = reactor::now();
        if !self.must_stop() && deadline > now {
            // Which of the two it was the caller asks.
            let _ = reactor::timeout(deadline.since(now), self.stop.notified()).await;
        }
    }

    /// The output of `future`; `None` when the run is to end first.
    pub(crate) async fn unless_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        if self.must_stop() {
            return None;
        }
        let (mut future, mut stopped) = (pin!(future), pin!(self.stop.notified()));
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            stopped.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    /// So many more records, or less, wait to be read.
    pub(crate) fn change_lag(&self, by: i64) {
        self.outstanding.set(self.outstanding.get() + by);
    }

    /// Counts as due, from now on, what is to come.
    pub(crate) fn expect(&self, expected: Expected) {
        *self.clock.borrow_mut() = Some(expected);
    }

    /// Nothing that is due from now on counts.
    pub(crate) fn expect_no_more(&self) {
        self.close(reactor::now());
        if let Some(expected) = &mut *self.clock.borrow_mut() {
            expected.left = 0;
        }
    }

    /// So many records were handed over in a closed loop.
    pub(crate) fn hand_over(&self, records: u64) {
        if self.clock.borrow().is_none() {
            self.outstanding.set(self.outstanding.get() + records as i64);
        }
    }

    /// So many records that were due or handed over have come to where they belong.
    pub(crate) fn finish_records(&self, records: u64) {
        self.outstanding.set(self.outstanding.get() - records as i64);
    }

    pub(crate) fn count_records(&self, records: u64, bytes: u64) {
        let mut window = self.window.borrow_mut();
        window.records += records;
        window.bytes += bytes;
    }

    pub(crate) fn count_request(&self) {
        self.window.borrow_mut().requests += 1;
    }

    pub(crate) fn count_error(&self) {
        self.window.borrow_mut().errors += 1;
    }

    pub(crate) fn record(&self, name: &'static str, latency: Duration, count: u64) {
        self.window.borrow_mut().latencies.record(name, latency, count);
    }

    /// Several latencies of one name, each with how many there are of it.
    pub(crate) fn record_each(&self, name: &'static str, latencies: impl Iterator<Item = (Duration, u64)>) {
        let mut window = self.window.borrow_mut();
        let histogram = window.latencies.of(name);
        latencies.for_each(|(latency, count)| histogram.record(latency, count));
    }

    /// Sends the last window and gives back all that was counted.
    pub(crate) fn finish(&self) -> Window {
        let now = reactor::now();
        self.close(now);
        let window = self.window.replace(Window::default());
        let mut total = self.total.take();
        total.add(&window);
        // Counts add up over time; what lags is what lags in the end.
        total.lag = window.lag;
        let _ = self.link.recorder.send(self.message(now, window));
        total
    }

    /// Counts what was due, and what is still to be done.
    fn close(&self, now: Instant) {
        let mut due = 0_u64;
        if let Some(expected) = &mut *self.clock.borrow_mut() {
            let until = expected.end.map_or(now, |end| end.min(now));
            while expected.left > 0 && expected.arrivals.take(until).is_some() {
                expected.left -= 1;
                due += 1;
            }
        }
        self.change_lag(due as i64);
        let mut window = self.window.borrow_mut();
        window.due += due;
        window.lag = self.outstanding.get().max(0) as u64;
    }

    fn message(&self, now: Instant, window: Window) -> Message {
        let (part, from) = (self.link.part, self.opened.get());
        Message::Counted { part, from, to: now, window: Box::new(window) }
    }

    fn send(&self, now: Instant) {
        self.close(now);
        let window = self.window.borrow().clone();
        match self.link.recorder.try_send(self.message(now, window)) {
            // The window stays open; the next takes it along.
            Err(TrySendError::Full(_)) => {}
            Ok(()) | Err(TrySendError::Disconnected(_)) => {
                let mut window = self.window.borrow_mut();
                self.total.borrow_mut().add(&window);
                window.reset();
                self.opened.set(now);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::arrivals::Pattern;

    /// A link whose messages come out of the receiver.
    pub(crate) fn link(interval: Duration) -> (Link, Receiver<Message>) {
        let (recorder, messages) = sync_channel(100);
        let started = reactor::now();
        (Link { part: 0, started, interval, stop: StopFlag::default(), recorder }, messages)
    }

    fn windows(messages: &Receiver<Message>) -> Vec<Window> {
        let window = |message| match message {
            Message::Counted { window, .. } => Some(*window),
            Message::Began { .. } | Message::Ended { .. } => None,
        };
        messages.try_iter().filter_map(window).collect()
    }

    #[test]
    fn each_interval_has_its_own_counts_and_they_add_up() {
        let (link, messages) = link(Duration::from_millis(100));
        let work = || async move {
            let tally = Tally::start(link);
            for _ in 0..6 {
                tally.count_records(10, 100);
                tally.record("latency", Duration::from_millis(2), 10);
                reactor::sleep(Duration::from_millis(50)).await;
            }
            tally.finish()
        };
        let total = reactor::Builder::new("test").run(work).unwrap();
        let windows = windows(&messages);
        assert!((3..=5).contains(&windows.len()), "{}", windows.len());
        assert_eq!(windows.iter().map(|window| window.records).sum::<u64>(), 60);
        assert_eq!((total.records, total.bytes), (60, 600));
        assert_eq!(total.latencies.get("latency").count(), 60);
        assert!(windows.iter().all(|window| window.records < 60));
    }

    #[test]
    fn what_is_due_is_counted_also_when_nobody_takes_it_and_lags() {
        let (link, messages) = link(Duration::from_millis(100));
        let work = || async move {
            let tally = Tally::start(link);
            let pattern = Pattern::new(None, 1000.0).unwrap().unwrap();
            let arrivals = pattern.start(reactor::now(), (0, 1), 0);
            tally.expect(Expected { arrivals, left: 150, end: None });
            reactor::sleep(Duration::from_millis(330)).await;
            tally.finish_records(40);
            tally.finish()
        };
        let total = reactor::Builder::new("test").run(work).unwrap();
        assert_eq!((total.due, total.lag), (150, 110), "no more than the run has");
        assert_eq!(windows(&messages).last().unwrap().lag, 110);
    }

    #[test]
    fn a_sleeper_wakes_when_the_run_is_to_end() {
        let (link, _messages) = link(Duration::from_secs(1));
        let stop = link.stop.clone();
        let work = || async move {
            let (tally, began) = (Tally::start(link), reactor::now());
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                stop.set();
            });
            tally.sleep_until(began + Duration::from_secs(100)).await;
            (tally.must_stop(), began.elapsed())
        };
        let (stopped, slept) = reactor::Builder::new("test").run(work).unwrap();
        assert!(stopped && slept < Duration::from_secs(1), "{slept:?}");
    }
}
