//! The thread that puts a run together while it goes on: the windows of all threads into intervals, beside them what
//! processes used; the log of histograms and the line that says how it goes come out of it.
//!
//! An interval is closed a fifth of an interval after its end, when its windows have come. What comes later counts in
//! the next one.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use reactor::Instant;
use serde::Serialize;

use crate::client::ClientError;
use crate::hdr_log::HdrLog;
use crate::histogram::Histogram;
use crate::limits::WINDOWS_QUEUED_MAX;
use crate::progress::{Progress, Standing};
use crate::report::{Rows, Value};
use crate::tally::{Goal, Message, Window};
use crate::usage_series::{UsageRecord, UsageSeries};
use crate::watched::Watched;

/// What to record, and where to.
pub(crate) struct RecorderSettings {
    pub(crate) started: Instant,
    pub(crate) interval: Duration,
    pub(crate) parts: Vec<String>,
    pub(crate) watched: Option<Watched>,
    pub(crate) hdr: Option<HdrLog>,
    pub(crate) progress: Option<Progress>,
}

/// What was recorded.
pub(crate) struct Recording {
    pub(crate) parts: Vec<PartRecord>,
    pub(crate) client: Option<UsageRecord>,
    pub(crate) broker: Option<UsageRecord>,
}

/// The series of a part.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartRecord {
    pub(crate) start_s: f64,
    pub(crate) seconds: f64,
    pub(crate) intervals: Vec<IntervalRecord>,
}

/// A member of `parts[].intervals` in the run file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IntervalRecord {
    start_s: f64,
    seconds: f64,
    due: u64,
    records: u64,
    bytes: u64,
    requests: u64,
    errors: u64,
    lag: u64,
    latencies: BTreeMap<&'static str, Rows>,
}

/// A running recorder.
pub(crate) struct Recorder {
    thread: JoinHandle<Result<Recording, ClientError>>,
}

impl Recorder {
    /// Starts recording. The recorder ends when the last clone of the sender is gone.
    pub(crate) fn start(settings: RecorderSettings) -> Result<(Self, SyncSender<Message>), ClientError> {
        let (sender, messages) = sync_channel(WINDOWS_QUEUED_MAX);
        let record = move || Work::new(settings).run(&messages);
        let thread = thread::Builder::new().name("loadgen-recorder".to_owned()).spawn(record);
        let thread =
            thread.map_err(|cause| ClientError::Local { what: "cannot start a thread".to_owned(), cause })?;
        Ok((Self { thread }, sender))
    }

    /// Waits for the end; all senders must be gone.
    pub(crate) fn finish(self) -> Result<Recording, ClientError> {
        self.thread.join().unwrap_or_else(|_| {
            let cause = io::Error::other("its thread panicked");
            Err(ClientError::Local { what: "the recorder failed".to_owned(), cause })
        })
    }
}

/// A part being recorded.
struct Part {
    name: String,
    began: Option<Instant>,
    ended: Option<Instant>,
    goal: Goal,
    records: u64,
    errors: u64,
    /// Windows of intervals that are not closed, by number.
    open: BTreeMap<u64, Window>,
    /// Number of the oldest interval that is not closed.
    next: u64,
    intervals: Vec<IntervalRecord>,
    /// The newest closed interval, for the line of progress.
    newest: Option<(Window, f64)>,
}

struct Work {
    started: Instant,
    interval: Duration,
    parts: Vec<Part>,
    client: UsageSeries,
    broker: Option<UsageSeries>,
    hdr: Option<HdrLog>,
    progress: Option<Progress>,
}

impl Work {
    fn new(settings: RecorderSettings) -> Self {
        let RecorderSettings { started, interval, parts, watched, hdr, progress } = settings;
        let part = |name| Part {
            name,
            began: None,
            ended: None,
            goal: Goal::default(),
            records: 0,
            errors: 0,
            open: BTreeMap::new(),
            next: 0,
            intervals: Vec::new(),
            newest: None,
        };
        Self {
            started,
            interval,
            parts: parts.into_iter().map(part).collect(),
            client: UsageSeries::own(started),
            broker: watched.map(|watched| UsageSeries::broker(watched, started)),
            hdr,
            progress,
        }
    }

    fn run(mut self, messages: &Receiver<Message>) -> Result<Recording, ClientError> {
        let grace = self.interval / 5;
        let mut looked = 0;
        let mut closed = 0;
        loop {
            let look_at = self.boundary(looked + 1);
            let close_at = self.boundary(closed + 1) + grace;
            let now = reactor::now();
            match messages.recv_timeout(look_at.min(close_at).since(now)) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = reactor::now();
            if now >= look_at {
                self.look(now);
                // A look that took long is not made up for.
                looked = self.intervals_before(reactor::now()).max(looked + 1);
            }
            if now >= close_at {
                closed += 1;
                self.close_to(closed)?;
                self.show(now);
            }
        }
        self.finish()
    }

    /// When interval `number` begins, from 0.
    fn boundary(&self, number: u64) -> Instant {
        self.started + Duration::from_nanos((self.interval.as_nanos() as u64).saturating_mul(number))
    }

    /// Intervals that are over at `at`.
    fn intervals_before(&self, at: Instant) -> u64 {
        at.since(self.started).as_nanos() as u64 / self.interval.as_nanos() as u64
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Began { part, at, goal } => {
                let number = self.intervals_before(at);
                let part = &mut self.parts[part];
                (part.began, part.goal) = (Some(at), goal);
                part.next = part.next.max(number);
            }
            Message::Counted { part, from, to, window } => {
                // A window ends a little after the interval that it is of.
                let number = self.intervals_before(from + to.since(from) / 2);
                let part = &mut self.parts[part];
                part.records += window.records;
                part.errors += window.errors;
                part.open.entry(number.max(part.next)).or_default().add(&window);
            }
            Message::Ended { part, at } => self.parts[part].ended = Some(at),
        }
    }

    fn look(&mut self, now: Instant) {
        self.client.look(self.started, now);
        if let Some(broker) = &mut self.broker {
            broker.look(self.started, now);
        }
    }

    /// Closes the intervals below `number` of all parts that are going on.
    fn close_to(&mut self, number: u64) -> Result<(), ClientError> {
        for index in 0..self.parts.len() {
            let part = &self.parts[index];
            let Some(began) = part.began else { continue };
            // What came too late may count in an interval behind the end.
            let newest = part.open.last_key_value().map_or(0, |(interval, _)| interval + 1);
            let end = |ended| (self.intervals_before(ended) + 1).max(newest);
            let last = part.ended.map_or(number, |ended| number.min(end(ended)));
            for interval in part.next..last {
                let window = self.parts[index].open.remove(&interval).unwrap_or_default();
                self.close(index, interval, window, began)?;
            }
        }
        Ok(())
    }

    fn close(
        &mut self,
        index: usize,
        number: u64,
        window: Window,
        began: Instant,
    ) -> Result<(), ClientError> {
        let start = self.boundary(number).max(began);
        let end = self.boundary(number + 1);
        let end = self.parts[index].ended.map_or(end, |ended| end.min(ended)).max(start);
        let (start, length) = (start.since(self.started), end.since(start));
        let part = &mut self.parts[index];
        if let Some(hdr) = &mut self.hdr {
            for (name, histogram) in window.latencies.iter() {
                hdr.write(&format!("{}.{name}", part.name), (start, length), histogram)?;
            }
        }
        let counted = window.latencies.iter().filter(|(_, histogram)| histogram.count() > 0);
        part.intervals.push(IntervalRecord {
            start_s: start.as_secs_f64(),
            seconds: length.as_secs_f64(),
            due: window.due,
            records: window.records,
            bytes: window.bytes,
            requests: window.requests,
            errors: window.errors,
            lag: window.lag,
            latencies: counted.map(|(name, histogram)| (name, percentiles(histogram))).collect(),
        });
        part.next = number + 1;
        part.newest = Some((window, length.as_secs_f64()));
        Ok(())
    }

    fn show(&mut self, now: Instant) {
        let Some(progress) = &mut self.progress else { return };
        let going_on = self.parts.iter().filter(|part| part.began.is_some() && part.ended.is_none());
        let standing = |part: &Part| Standing {
            name: part.name.clone(),
            elapsed_s: part.began.map_or(0.0, |began| now.since(began).as_secs_f64()),
            goal: part.goal,
            records: part.records,
            errors: part.errors,
            newest: part.newest.clone(),
        };
        progress.show(now.since(self.started), &going_on.map(standing).collect::<Vec<_>>());
    }

    fn finish(mut self) -> Result<Recording, ClientError> {
        let now = reactor::now();
        self.look(now);
        self.close_to(self.intervals_before(now) + 1)?;
        if let Some(progress) = &mut self.progress {
            progress.clear();
        }
        if let Some(hdr) = self.hdr {
            hdr.finish()?;
        }
        let started = self.started;
        let record = |part: Part| PartRecord {
            start_s: part.began.map_or(0.0, |began| began.since(started).as_secs_f64()),
            seconds: part.began.map_or(0.0, |began| part.ended.unwrap_or(now).since(began).as_secs_f64()),
            intervals: part.intervals,
        };
        Ok(Recording {
            parts: self.parts.into_iter().map(record).collect(),
            client: self.client.finish(),
            broker: self.broker.and_then(UsageSeries::finish),
        })
    }
}

/// Figures of a latency in an interval.
fn percentiles(histogram: &Histogram) -> Rows {
    let mut rows = vec![("count".to_owned(), Value::Count(histogram.count()))];
    for (name, percent) in crate::histogram::PERCENTILES {
        rows.push((format!("{name}_ms"), Value::Number(histogram.percentile_ms(percent))));
    }
    Rows(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    fn recorder(started: Instant) -> (Recorder, SyncSender<Message>) {
        let parts = vec!["a".to_owned(), "b".to_owned()];
        let settings =
            RecorderSettings { started, interval: INTERVAL, parts, watched: None, hdr: None, progress: None };
        Recorder::start(settings).unwrap()
    }

    fn window(records: u64) -> Window {
        let mut window = Window { records, lag: 1, ..Window::default() };
        window.latencies.record("latency", Duration::from_millis(records), records);
        window
    }

    #[test]
    fn windows_of_threads_become_intervals_without_gaps() {
        let started = reactor::now();
        let at = |ms| started + Duration::from_millis(ms);
        let (recorder, sender) = recorder(started);
        let send = |message| sender.send(message).unwrap();
        send(Message::Began { part: 1, at: at(110), goal: Goal::default() });
        // Two threads of the second interval, one a little late; none in the third; the last ends early.
        send(Message::Counted { part: 1, from: at(110), to: at(200), window: Box::new(window(5)) });
        send(Message::Counted { part: 1, from: at(110), to: at(209), window: Box::new(window(6)) });
        send(Message::Counted { part: 1, from: at(300), to: at(355), window: Box::new(window(7)) });
        send(Message::Ended { part: 1, at: at(355) });
        thread::sleep(Duration::from_millis(420));
        drop(sender);
        let recording = recorder.finish().unwrap();

        assert!(recording.parts[0].intervals.is_empty(), "it never began");
        let part = &recording.parts[1];
        assert!((part.start_s - 0.11).abs() < 1e-6 && (part.seconds - 0.245).abs() < 1e-6);
        let counted: Vec<_> = part.intervals.iter().map(|each| (each.records, each.lag)).collect();
        assert_eq!(counted, [(11, 2), (0, 0), (7, 1)]);
        let lengths: Vec<f64> = part.intervals.iter().map(|each| each.seconds).collect();
        for (length, expected) in lengths.iter().zip([0.09, 0.1, 0.055]) {
            assert!((length - expected).abs() < 1e-6, "{lengths:?}");
        }
        assert!(part.intervals[1].latencies.is_empty());
        assert!(recording.client.is_some() && recording.broker.is_none());
    }

    #[test]
    fn what_comes_too_late_counts_in_the_next_interval() {
        let started = reactor::now();
        let (recorder, sender) = recorder(started);
        sender.send(Message::Began { part: 0, at: started, goal: Goal::default() }).unwrap();
        thread::sleep(Duration::from_millis(250));
        let late = started + Duration::from_millis(100);
        sender
            .send(Message::Counted { part: 0, from: started, to: late, window: Box::new(window(9)) })
            .unwrap();
        thread::sleep(Duration::from_millis(50));
        sender.send(Message::Ended { part: 0, at: reactor::now() }).unwrap();
        drop(sender);
        let part = &recorder.finish().unwrap().parts[0];
        assert_eq!(part.intervals.iter().map(|each| each.records).sum::<u64>(), 9);
        assert_eq!(part.intervals[0].records, 0);
    }
}
