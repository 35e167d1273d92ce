//! A run: its parts side by side, the recorder beside them, one run file at the end.

use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use reactor::{Builder, Instant};

use crate::args::OutputArgs;
use crate::client::{Access, ClientError, Cluster, ClusterFacts};
use crate::commands;
use crate::hdr_log::HdrLog;
use crate::host::Host;
use crate::limits::STOP_LOOK;
use crate::metrics::{MetricsUrl, Scrape};
use crate::part::{Context, Part};
use crate::process;
use crate::progress::Progress;
use crate::random::mix;
use crate::recorder::{PartRecord, Recorder, RecorderSettings, Recording};
use crate::report::Report;
use crate::run_file::{
    BrokerRecord, FORMAT, MetricsMember, PartMember, RunFile, ScenarioRecord, Tool, UsageMember, rfc_3339,
};
use crate::tally::{Link, Message, StopFlag};
use crate::watched::Watched;

/// What to do, and how it was asked for.
pub(crate) struct Run {
    pub(crate) command: String,
    pub(crate) command_line: Vec<String>,
    pub(crate) output: OutputArgs,
    pub(crate) parts: Vec<Part>,
    pub(crate) scenario: Option<ScenarioRecord>,
    pub(crate) stop: StopFlag,
}

/// How it ended.
pub(crate) struct Outcome {
    /// Name of each part, and what it found.
    pub(crate) reports: Vec<(String, Report)>,
    pub(crate) interrupted: bool,
    pub(crate) faults: Vec<String>,
}

impl Outcome {
    /// Of a run that did not take place.
    pub(crate) fn nothing() -> Self {
        Self { reports: Vec::new(), interrupted: false, faults: Vec::new() }
    }
}

/// When a run started, by the clock for measuring and by that on the wall.
#[derive(Clone, Copy)]
struct Start {
    at: Instant,
    unix_ms: u64,
}

impl Run {
    /// Runs all parts to their end, and writes the files that were asked for.
    pub(crate) fn perform(self) -> Result<Outcome, ClientError> {
        let output = &self.output;
        let cluster = self.facts()?;
        let first = output.metrics.as_ref().map(MetricsUrl::scrape).transpose()?;
        let start = Start { at: reactor::now(), unix_ms: reactor::wall_clock_ms() as u64 };
        let seed = output.seed.unwrap_or_else(|| mix(start.at.as_ns() ^ mix(start.unix_ms)) >> 11);
        let watched = Watched::new(output.pid, output.metrics.as_ref());
        let hdr = output.hdr.as_deref().map(|path| HdrLog::create(path, SystemTime::now())).transpose()?;
        let (recorder, sender) = Recorder::start(RecorderSettings {
            started: start.at,
            interval: output.interval,
            parts: self.parts.iter().map(|part| part.name.clone()).collect(),
            watched: watched.clone(),
            hdr,
            progress: Progress::to_terminal(),
        })?;
        let reports = self.run_parts(start, seed, watched.as_ref(), sender);
        let seconds = start.at.elapsed().as_secs_f64();
        let interrupted = self.stop.is_set();
        let recording = recorder.finish();
        let (reports, recording) = (reports?, recording?);
        let faults: Vec<String> = reports.iter().flat_map(|report| report.faults().to_owned()).collect();
        if let Some(path) = output.json.as_deref() {
            let facts = Facts { start, seed, seconds, interrupted, cluster, first };
            self.write(path, facts, &reports, recording, &faults)?;
        }
        let names = self.parts.iter().map(|part| part.name.clone());
        Ok(Outcome { reports: names.zip(reports).collect(), interrupted, faults })
    }

    /// Asks the broker who it is: also the first to notice that there is none.
    fn facts(&self) -> Result<ClusterFacts, ClientError> {
        facts_of(&self.parts[0].command.access()?)
    }

    fn run_parts(
        &self,
        start: Start,
        seed: u64,
        watched: Option<&Watched>,
        sender: SyncSender<Message>,
    ) -> Result<Vec<Report>, ClientError> {
        let alone = self.parts.len() == 1;
        let context = |part: usize| Context {
            link: Link {
                part,
                started: start.at,
                interval: self.output.interval,
                stop: self.stop.clone(),
                recorder: sender.clone(),
            },
            seed: mix(seed ^ mix(part as u64)),
            watched: watched.filter(|_| alone).cloned(),
            alone,
        };
        let ended = Ended::new(self.parts.len());
        let results: Vec<Result<Report, ClientError>> = thread::scope(|scope| {
            let mut threads = Vec::new();
            for (index, part) in self.parts.iter().enumerate() {
                let (context, ended) = (context(index), &ended);
                threads.push(scope.spawn(move || {
                    let result = run_part(part, &context, ended);
                    if result.is_err() {
                        context.link.stop.set();
                    }
                    ended.mark(index);
                    result
                }));
            }
            let failed = || Err(ClientError::Usage("a part of the run panicked".to_owned()));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| failed())).collect()
        });
        results.into_iter().collect()
    }

    fn write(
        &self,
        path: &Path,
        facts: Facts,
        reports: &[Report],
        recording: Recording,
        faults: &[String],
    ) -> Result<(), ClientError> {
        let output = &self.output;
        let last = output.metrics.as_ref().and_then(|url| url.scrape().ok());
        let build = last.as_ref().or(facts.first.as_ref()).and_then(Scrape::build);
        let member = |((part, report), record): ((&Part, &Report), PartRecord)| PartMember {
            name: part.name.clone(),
            command: part.command.name(),
            start_s: record.start_s,
            seconds: record.seconds,
            settings: part.settings.clone(),
            results: report.rows().clone(),
            latencies: report.latencies().iter().map(Into::into).collect(),
            intervals: record.intervals,
        };
        RunFile {
            format: FORMAT,
            tool: Tool::this(),
            run: format!(
                "{:016x}",
                mix(facts.seed ^ mix(facts.start.at.as_ns() ^ facts.start.unix_ms << 20))
            ),
            command: self.command.clone(),
            command_line: self.command_line.clone(),
            seed: facts.seed,
            started_at: rfc_3339(facts.start.unix_ms),
            started_unix_ms: facts.start.unix_ms,
            seconds: facts.seconds,
            interrupted: facts.interrupted,
            failed: !faults.is_empty(),
            faults: faults.to_owned(),
            notes: output.notes.iter().cloned().collect(),
            host: Host::read(),
            broker: BrokerRecord {
                bootstrap: self.parts[0].command.bootstrap().to_owned(),
                cluster_id: facts.cluster.id,
                brokers: facts.cluster.brokers,
                pid: output.pid,
                command_line: output.pid.and_then(process::command_line),
                build,
            },
            scenario: self.scenario.clone(),
            parts: self.parts.iter().zip(reports).zip(recording.parts).map(member).collect(),
            usage: UsageMember { client: recording.client, broker: recording.broker },
            metrics: output.metrics.clone().map(|url| MetricsMember { url, first: facts.first, last }),
            hdr: output.hdr.as_ref().map(|path| path.display().to_string()),
        }
        .write(path)
    }
}

/// Asks a broker who it is.
pub(crate) fn facts_of(access: &Access) -> Result<ClusterFacts, ClientError> {
    let access = access.clone();
    let ask = || async move { Cluster::connect(&access).await?.facts().await };
    Builder::new("loadgen-setup").run(ask).map_err(ClientError::no_reactor)?
}

/// What is known of a run besides its findings.
struct Facts {
    start: Start,
    seed: u64,
    seconds: f64,
    interrupted: bool,
    cluster: ClusterFacts,
    first: Option<Scrape>,
}

fn run_part(part: &Part, context: &Context, ended: &Ended) -> Result<Report, ClientError> {
    for before in &part.after {
        ended.wait_for(*before, &context.link.stop);
    }
    let begin = reactor::now() + part.delay;
    while reactor::now() < begin && !context.link.stop.is_set() {
        thread::sleep(begin.since(reactor::now()).min(STOP_LOOK));
    }
    let result = commands::run(&part.command, context);
    context.link.end();
    result.map_err(|error| if context.alone { error } else { error.of_part(&part.name) })
}

/// Which parts are over.
struct Ended {
    parts: Mutex<Vec<bool>>,
    changed: Condvar,
}

impl Ended {
    fn new(parts: usize) -> Self {
        Self { parts: Mutex::new(vec![false; parts]), changed: Condvar::new() }
    }

    fn mark(&self, part: usize) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)[part] = true;
        self.changed.notify_all();
    }

    /// Waits until `part` is over, or the run is to end.
    fn wait_for(&self, part: usize, stop: &StopFlag) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        while !parts[part] && !stop.is_set() {
            parts = self.changed.wait_timeout(parts, STOP_LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
