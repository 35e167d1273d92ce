//! One run against the broker, and what everybody used in it.
//!
//! The commands that a person would type, side by side: consumers at the tail first, then the writer; or consumers
//! alone, from the start, again and again until the time is over. CPU time is read when the writer begins and when its
//! last record is acknowledged, so that it belongs to exactly what is counted.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use reactor::Instant;

use super::record::{Measured, Percentiles, Traffic, Used};
use crate::args::{Command, Invocation};
use crate::client::ClientError;
use crate::commands;
use crate::limits::{PROFILE_LOOK, WINDOWS_QUEUED_MAX};
use crate::part::Context;
use crate::process::{self, Usage};
use crate::report::Report;
use crate::tally::{Link, Message, StopFlag};

/// Consumers at the tail have asked for what is to come, after this time.
const READERS_SETTLE: Duration = Duration::from_millis(100);

/// Who is measured, and who may end it.
#[derive(Clone, Debug)]
pub(crate) struct Laboratory {
    pub(crate) pid: u32,
    pub(crate) stop: StopFlag,
    /// Words of a command line that say how connections are protected.
    pub(crate) security: Vec<String>,
}

/// Lines of commands, without the program.
#[derive(Clone, Debug)]
pub(crate) enum Exercise {
    /// A writer, and consumers at the tail for as long as it writes.
    Write { writer: String, readers: Vec<String> },
    /// A consumer that reads all there is, again until the time is over.
    Read { reader: String, seconds: f64 },
}

/// What all used so far.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    broker: Usage,
    own: Usage,
    host_cpu_s: Option<f64>,
}

/// One command in a thread of its own.
struct Part {
    command: Command,
    stop: StopFlag,
}

/// What came out of commands side by side.
struct Together {
    reports: Vec<Report>,
    before: Look,
    after: Look,
    resident_bytes_max: u64,
}

impl Laboratory {
    /// Runs it. `None` when it was interrupted: half of a point says nothing.
    pub(crate) fn measure(&self, exercise: &Exercise) -> Result<Option<Measured>, ClientError> {
        match exercise {
            Exercise::Write { writer, readers } => self.write(writer, readers),
            Exercise::Read { reader, seconds } => self.read(reader, *seconds),
        }
    }

    /// A command, as if it had been typed.
    fn command(&self, line: &str) -> Result<Command, ClientError> {
        let typed = std::iter::once("loadgen").chain(line.split_whitespace()).map(str::to_owned);
        let words: Vec<String> = typed.chain(self.security.iter().cloned()).collect();
        let read = Invocation::read(&words);
        Ok(read.map_err(|error| ClientError::Usage(format!("{line}: {error}")))?.command)
    }

    fn write(&self, writer: &str, readers: &[String]) -> Result<Option<Measured>, ClientError> {
        let mut parts = Vec::new();
        for line in std::iter::once(writer).chain(readers.iter().map(String::as_str)) {
            parts.push(Part { command: self.command(line)?, stop: StopFlag::default() });
        }
        let together = self.together(&parts)?;
        if self.stop.is_set() {
            return Ok(None);
        }
        let (writer, readers) = together.reports.split_first().ok_or_else(nothing)?;
        let mut read = Traffic::default();
        for report in readers {
            read.add(&traffic(report));
        }
        let is_open = writer.number("records_due").is_some();
        let latency_ms = percentiles(writer).filter(|_| is_open);
        Ok(Some(together.measured(traffic(writer), read, latency_ms)))
    }

    fn read(&self, reader: &str, seconds: f64) -> Result<Option<Measured>, ClientError> {
        let (began, mut read, mut all) = (reactor::now(), Traffic::default(), None::<Together>);
        while all.is_none() || began.elapsed().as_secs_f64() < seconds {
            let part = Part { command: self.command(reader)?, stop: StopFlag::default() };
            let mut pass = self.together(std::slice::from_ref(&part))?;
            if self.stop.is_set() {
                return Ok(None);
            }
            for report in &pass.reports {
                read.add(&traffic(report));
            }
            if let Some(before) = all {
                pass.before = before.before;
                pass.resident_bytes_max = pass.resident_bytes_max.max(before.resident_bytes_max);
            }
            all = Some(pass);
        }
        let all = all.ok_or_else(nothing)?;
        Ok(Some(all.measured(Traffic::default(), read, None)))
    }

    /// Runs the first part to its end and the others, which began before it, for as long.
    fn together(&self, parts: &[Part]) -> Result<Together, ClientError> {
        let started = reactor::now();
        let (sender, messages) = sync_channel(WINDOWS_QUEUED_MAX);
        let (results, looks) = thread::scope(|scope| {
            let begin = |index: usize| {
                let (command, context) = (&parts[index].command, context(parts, index, started, &sender));
                scope.spawn(move || {
                    let report = commands::run(command, &context);
                    context.link.end();
                    report
                })
            };
            let readers: Vec<_> = (1..parts.len()).map(begin).collect();
            let mut watch = Watch { laboratory: self, parts, looks: Looks::default() };
            watch.wait_for_readers(&messages, parts.len() - 1);
            let writer = begin(0);
            let watched = watch.wait_for_writer(&messages);
            stop_all(parts);
            // What they still send is not read: nobody may wait for room.
            while readers.iter().chain([&writer]).any(|thread| !thread.is_finished()) {
                let _ = messages.recv_timeout(PROFILE_LOOK);
            }
            let join = |thread: thread::ScopedJoinHandle<'_, Result<Report, ClientError>>| {
                thread.join().unwrap_or_else(|_| Err(ClientError::Usage("a part of it panicked".to_owned())))
            };
            let results: Vec<_> = std::iter::once(writer).chain(readers).map(join).collect();
            (results, watched.map(|()| watch.looks))
        });
        let reports = results.into_iter().collect::<Result<Vec<_>, _>>()?;
        let looks = looks?;
        let (before, after) = looks.before.zip(looks.after).ok_or_else(nothing)?;
        Ok(Together { reports, before, after, resident_bytes_max: looks.resident_bytes_max })
    }

    fn look(&self) -> Result<Look, ClientError> {
        Ok(Look {
            at: reactor::now(),
            broker: Usage::of(&self.pid.to_string())?,
            own: Usage::of("self")?,
            host_cpu_s: process::host_cpu_seconds(),
        })
    }
}

/// What is seen of a run while it goes on.
#[derive(Default)]
struct Looks {
    before: Option<Look>,
    after: Option<Look>,
    resident_bytes_max: u64,
}

struct Watch<'a> {
    laboratory: &'a Laboratory,
    parts: &'a [Part],
    looks: Looks,
}

impl Watch<'_> {
    /// Until so many consumers read, or one of them has ended because it cannot.
    fn wait_for_readers(&mut self, messages: &Receiver<Message>, readers: usize) {
        let mut begun = 0;
        while begun < readers && !self.laboratory.stop.is_set() {
            match messages.recv_timeout(PROFILE_LOOK) {
                Ok(Message::Began { .. }) => begun += 1,
                Ok(Message::Ended { .. }) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Message::Counted { .. }) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
        if readers > 0 {
            thread::sleep(READERS_SETTLE);
        }
    }

    /// Until the writer has ended; looks when it begins and when it ends.
    fn wait_for_writer(&mut self, messages: &Receiver<Message>) -> Result<(), ClientError> {
        loop {
            if self.laboratory.stop.is_set() {
                stop_all(self.parts);
            }
            match messages.recv_timeout(PROFILE_LOOK) {
                Ok(Message::Began { part: 0, .. }) => self.looks.before = Some(self.laboratory.look()?),
                Ok(Message::Ended { part: 0, .. }) => {
                    self.looks.after = Some(self.laboratory.look()?);
                    return Ok(());
                }
                // A consumer that ends by itself has failed; its error is told in the end.
                Ok(Message::Ended { .. }) => stop_all(self.parts),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Message::Began { .. } | Message::Counted { .. }) | Err(RecvTimeoutError::Timeout) => {}
            }
            let resident = Usage::of(&self.laboratory.pid.to_string())?.resident_bytes;
            self.looks.resident_bytes_max = self.looks.resident_bytes_max.max(resident);
        }
    }
}

impl Together {
    fn measured(&self, written: Traffic, read: Traffic, latency_ms: Option<Percentiles>) -> Measured {
        let (before, after) = (&self.before, &self.after);
        let more = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?));
        Measured {
            seconds: after.at.since(before.at).as_secs_f64(),
            written,
            read,
            broker: Used {
                cpu_s: after.broker.cpu_seconds - before.broker.cpu_seconds,
                resident_bytes_max: self.resident_bytes_max.max(after.broker.resident_bytes),
                written_bytes: more(before.broker.written_bytes, after.broker.written_bytes),
                read_bytes: more(before.broker.read_bytes, after.broker.read_bytes),
            },
            clients_cpu_s: after.own.cpu_seconds - before.own.cpu_seconds,
            host_cpu_s: after.host_cpu_s.zip(before.host_cpu_s).map(|(after, before)| after - before),
            latency_ms,
        }
    }
}

impl Traffic {
    fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.records += other.records;
        self.batches += other.batches;
        self.requests += other.requests;
    }
}

fn stop_all(parts: &[Part]) {
    for part in parts {
        part.stop.set();
    }
}

fn context(parts: &[Part], index: usize, started: Instant, sender: &SyncSender<Message>) -> Context {
    let link = Link {
        part: index,
        started,
        interval: PROFILE_LOOK,
        stop: parts[index].stop.clone(),
        recorder: sender.clone(),
    };
    Context { link, seed: index as u64, watched: None, alone: false }
}

fn traffic(report: &Report) -> Traffic {
    let count = |name| report.number(name).unwrap_or(0.0) as u64;
    Traffic {
        bytes: count("batch_bytes"),
        records: count("records"),
        batches: count("batches"),
        requests: count("requests"),
    }
}

fn percentiles(report: &Report) -> Option<Percentiles> {
    Some(Percentiles {
        p50: report.number("latency_p50_ms")?,
        p99: report.number("latency_p99_ms")?,
        p999: report.number("latency_p99.9_ms")?,
    })
}

fn nothing() -> ClientError {
    ClientError::Usage("a point of the profile came to nothing".to_owned())
}
