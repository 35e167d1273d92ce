//! `loadgen profile`: what a machine and a broker on it can do, for capacity plans.
//!
//! First the machine without the broker ([`host_limits`]); then points, in the order of [`plan`]: each a topic of its own, a
//! moment to warm up, a run that is measured ([`exercise`]), and the topic is deleted. Before the first point of a series
//! a search ([`clients`]) finds how many clients it takes until more do not give more. The profile is written anew after
//! each point ([`record`]), so that one that was interrupted is a profile too, and can be gone on with.

mod clients;
mod exercise;
mod host_limits;
mod plan;
mod record;
mod topic;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use clients::{Amount, Clients, Search, Target};
use exercise::Laboratory;
use host_limits::Effort;
use plan::{Flow, Load, Step, Workload};
use reactor::Instant;
use record::{Broker, Extent, Measured, Point, Profile, Series, Tool};
use topic::Topics;

pub(crate) use plan::Size;

use crate::args::{OutputArgs, ProfileArgs};
use crate::client::ClientError;
use crate::host::Host;
use crate::limits::{PROFILE_LOOK, PROFILE_SETTLE_MAX, PROFILE_SPACE_WAIT_MAX};
use crate::metrics::Scrape;
use crate::process::{self, Usage};
use crate::progress::Progress;
use crate::report::Report;
use crate::run::{Outcome, facts_of};
use crate::run_file::rfc_3339;
use crate::tally::StopFlag;

/// Of the measured time: how long the same load goes before.
const WARM_UP_PART: f64 = 0.2;

/// Of the measured time: how long each rung of the search for clients goes.
const SEARCH_PART: f64 = 0.2;

/// An open loop at so much more than the flat-out rate is too much for anybody.
const OVERLOAD: f64 = 1.2;

/// Of the measured time: how long a topic that is to be read is written, at most.
const FILL_PART: f64 = 0.6;

/// Of the measured time: how long a broker is loaded before the first point. Some become fast only by what they do.
const FIRST_PART: f64 = 2.0;

/// The file for the limits of the disk, as a part of the space there is, and at most.
const LIMITS_FILE_PART: f64 = 0.1;
const LIMITS_FILE_BYTES_MAX: u64 = 2 << 30;

/// A broker that uses less CPU time than this while it is loaded flat out is not the process that is looked at.
const BROKER_CPU_PART_MIN: f64 = 0.01;

/// CPU time of a broker, in shares of a core, below which it has nothing left to do.
const IDLE_CORES_MAX: f64 = 0.05;

/// Makes a profile, or goes on with one.
pub(crate) fn make(
    args: &ProfileArgs,
    output: &OutputArgs,
    command_line: Vec<String>,
    stop: StopFlag,
) -> Result<Outcome, ClientError> {
    if output.json.is_some() || output.hdr.is_some() {
        return Err(ClientError::Usage(
            "a profile is written to --out; --json and --hdr are for runs".to_owned(),
        ));
    }
    let began = reactor::now();
    let mut profiling = Profiling::begin(args, output, command_line, stop)?;
    profiling.learn_limits()?;
    let made = profiling.go(began);
    if let Some(progress) = &mut profiling.progress {
        progress.clear();
    }
    let made = made?;
    Ok(profiling.outcome(made))
}

struct Profiling<'a> {
    args: &'a ProfileArgs,
    laboratory: Laboratory,
    topics: Topics,
    profile: Option<Profile>,
    /// What the file is to be, but for its limits.
    draft: Draft,
    progress: Option<Progress>,
    topics_made: u64,
    /// Of the topics: no other profile has them.
    name: String,
}

/// A profile before anything was measured.
struct Draft {
    command_line: Vec<String>,
    notes: Vec<(String, String)>,
    broker: Broker,
    extent: Extent,
}

impl<'a> Profiling<'a> {
    /// Looks at everything that can be wrong before anything is measured.
    fn begin(
        args: &'a ProfileArgs,
        output: &OutputArgs,
        command_line: Vec<String>,
        stop: StopFlag,
    ) -> Result<Self, ClientError> {
        let usage = |what: String| Err(ClientError::Usage(what));
        let Some(pid) = output.pid else {
            return usage("a profile needs --pid, the broker's process id: it tells the CPU time".to_owned());
        };
        let earlier = if args.resume { Some(Profile::read(&args.out)?) } else { None };
        if earlier.is_none() && args.out.exists() {
            return usage(format!(
                "{} is there already: go on with it (--resume), or give another --out",
                args.out.display()
            ));
        }
        if Usage::of(&pid.to_string()).is_err() {
            return usage(format!(
                "there is no process {pid} here to look at: --pid is the broker's process id"
            ));
        }
        if pid == std::process::id() {
            return usage(format!("process {pid} is loadgen: --pid is the broker's process id"));
        }
        let access = args.access()?;
        facts_of(&access)?;
        let page = output.metrics.as_ref().map(crate::metrics::MetricsUrl::scrape).transpose()?;
        let steps = plan::steps(args.size(), args.rounds());
        let cores = args.broker_cores.map(f64::from);
        let cores = cores.or_else(|| process::allowed_cores(pid).map(|cores| cores as f64));
        let draft = Draft {
            command_line,
            notes: output.notes.clone(),
            broker: Broker {
                name: args.broker_name.clone().unwrap_or_else(|| broker_name(page.as_ref(), pid)),
                cores: cores.unwrap_or(1.0),
                protocol: args.security.protocol().to_owned(),
            },
            extent: Extent {
                size: args.size().name().to_owned(),
                rounds: args.rounds(),
                seconds: args.seconds(),
                points: steps.len(),
            },
        };
        let mut profiling = Self {
            args,
            laboratory: Laboratory { pid, stop, security: args.security.words() },
            topics: Topics { access, configs: args.topic_configs.clone() },
            profile: None,
            draft,
            progress: Progress::to_terminal(),
            topics_made: 0,
            name: format!("loadgen-profile-{:08x}", reactor::wall_clock_ms() as u32),
        };
        if let Some(earlier) = earlier {
            let now = profiling.empty(earlier.limits.clone());
            earlier.goes_on_as(&now).map_err(|why| {
                ClientError::Usage(format!("{} cannot be gone on with: {why}", args.out.display()))
            })?;
            profiling.profile = Some(earlier);
        }
        profiling.check_space()?;
        Ok(profiling)
    }

    fn empty(&self, limits: host_limits::Limits) -> Profile {
        let unix_ms = reactor::wall_clock_ms() as u64;
        Profile {
            kind: Profile::kind(),
            format: record::FORMAT,
            tool: Tool::this(),
            command_line: self.draft.command_line.clone(),
            started_at: rfc_3339(unix_ms),
            started_unix_ms: unix_ms,
            notes: self.draft.notes.iter().cloned().collect(),
            host: Host::read(),
            broker: self.draft.broker.clone(),
            clients_on_host: true,
            extent: self.draft.extent.clone(),
            limits,
            series: Vec::new(),
            points: Vec::new(),
        }
    }

    /// What is free must be enough, and what was deleted may take its time to go.
    fn check_space(&self) -> Result<(), ClientError> {
        let (dir, needed) = (&self.args.dir, self.args.space_bytes());
        let began = reactor::now();
        loop {
            let cannot =
                |cause| ClientError::Local { what: format!("cannot look at {}", dir.display()), cause };
            let free = reactor::fs::space(dir).map_err(cannot)?.free_bytes;
            if free >= needed || self.is_stopped() {
                return Ok(());
            }
            // At the start nothing of ours is on its way out.
            if self.topics_made == 0 || began.elapsed() >= PROFILE_SPACE_WAIT_MAX {
                return Err(ClientError::Usage(format!(
                    "{} has {:.1} GB free, and a point may take {:.1} GB: make room, or give less with --space",
                    dir.display(),
                    free as f64 / 1e9,
                    needed as f64 / 1e9
                )));
            }
            std::thread::sleep(PROFILE_LOOK);
        }
    }

    fn is_stopped(&self) -> bool {
        self.laboratory.stop.is_set()
    }

    /// Measures the machine, if no earlier command did.
    fn learn_limits(&mut self) -> Result<(), ClientError> {
        if self.profile.is_some() || self.is_stopped() {
            return Ok(());
        }
        self.say("the limits of the disk and the loopback");
        let part = (self.args.space_bytes() as f64 * LIMITS_FILE_PART) as u64;
        let each = Duration::from_secs_f64(self.args.seconds() / 2.0);
        let effort = Effort { file_bytes: part.min(LIMITS_FILE_BYTES_MAX), each };
        let Some(limits) = host_limits::measure(&self.args.dir, effort, &self.laboratory.stop)? else {
            return Ok(());
        };
        println!(
            "disk: sync p50 {:.3} ms, p99 {:.3} ms, {:.0} a second; append {:.0} MB/s, read {:.0} MB/s; loopback {:.0} MB/s",
            limits.sync_p50_ms,
            limits.sync_p99_ms,
            limits.syncs_per_s,
            limits.append_bytes_per_s / 1e6,
            limits.read_bytes_per_s / 1e6,
            limits.network_bytes_per_s / 1e6
        );
        println!(
            "{} points; disk space used: at most {:.1} GB at a time, topics are deleted after their point",
            self.draft.extent.points,
            self.args.space_bytes() as f64 / 1e9
        );
        self.profile = Some(self.empty(limits));
        self.write()
    }

    /// Makes the points that are missing; says how many were made.
    fn go(&mut self, began: Instant) -> Result<usize, ClientError> {
        let Some(profile) = &self.profile else { return Ok(0) };
        let steps = plan::steps(self.args.size(), self.args.rounds());
        let mut missing: Vec<Step> = steps.into_iter().filter(|step| !profile.has(&step.name())).collect();
        let all = profile.points.len() + missing.len();
        let mut number = profile.points.len();
        missing.truncate(self.args.points.unwrap_or(usize::MAX));
        let Some(first) = missing.first() else { return Ok(0) };
        self.say("warming up");
        self.warm_broker(&first.case.workload)?;
        for (place, step) in missing.iter().enumerate() {
            if self.is_stopped() {
                return Ok(place);
            }
            number += 1;
            let left = match place {
                0 => String::new(),
                done => {
                    let each = began.elapsed().as_secs_f64() / done as f64;
                    format!(", about {:.0} min left", (each * (missing.len() - done) as f64 / 60.0).ceil())
                }
            };
            self.say(&format!("{number} of {all}: {}{left}", step.name()));
            self.check_space()?;
            let Some(point) = self.point(step)? else { return Ok(place) };
            println!("{number:>4} of {all}  {}", line(&point));
            if let Some(profile) = &mut self.profile {
                profile.points.push(point);
            }
            self.write()?;
        }
        Ok(missing.len())
    }

    fn write(&self) -> Result<(), ClientError> {
        self.profile.as_ref().map_or(Ok(()), |profile| profile.write(&self.args.out))
    }

    fn say(&mut self, what: &str) {
        if let Some(progress) = &mut self.progress {
            progress.say(what.to_owned());
        }
    }

    /// Loads the broker for a while, and sees that it is the process that is looked at.
    fn warm_broker(&mut self, workload: &Workload) -> Result<(), ClientError> {
        let seconds = self.args.seconds() * FIRST_PART;
        let clients = Clients { threads: 2.min(workload.partitions as usize), in_flight: 5 };
        let amount = self.amount(workload, clients, seconds);
        let measured = self
            .on_topic(workload, |this, target| this.laboratory.measure(&workload.filling(target, &amount)))?;
        match measured {
            Some(measured) if measured.broker.cpu_s < measured.seconds * BROKER_CPU_PART_MIN => {
                Err(ClientError::Usage(format!(
                    "process {} used no CPU time while {} was loaded: it is not that broker (--pid)",
                    self.laboratory.pid, self.args.bootstrap
                )))
            }
            _ => Ok(()),
        }
    }

    /// One point. `None` when it was interrupted.
    fn point(&mut self, step: &Step) -> Result<Option<Point>, ClientError> {
        let workload = step.case.workload;
        let Some(series) = self.series(&workload)? else { return Ok(None) };
        let threads = if step.case.load == Load::FlatOut { series.threads } else { series.open_threads };
        let clients = Clients { threads, in_flight: series.in_flight };
        let load = match step.case.load {
            Load::FlatOut => None,
            Load::Percent(percent) => Some(f64::from(percent) / 100.0),
        };
        let rate = load.zip(series.open_records_per_s).map(|(load, most)| load * most);
        let mut amount = Amount { rate, ..self.amount(&workload, clients, self.args.seconds()) };
        let warm = Amount {
            seconds: amount.seconds * WARM_UP_PART,
            records_max: (amount.records_max / 4).max(1),
            ..amount
        };
        amount.records_max = amount.records_max.saturating_sub(warm.records_max).max(1);
        let started = self.profile.as_ref().map_or(0, |profile| profile.started_unix_ms);
        let mut start_s = 0.0;
        let measured = self.on_topic(&workload, |this, target| {
            if !this.fill(&workload, target, clients)? {
                return Ok(None);
            }
            if this.laboratory.measure(&workload.exercise(target, &warm))?.is_none() {
                return Ok(None);
            }
            start_s = (reactor::wall_clock_ms() as u64).saturating_sub(started) as f64 / 1e3;
            this.laboratory.measure(&workload.exercise(target, &amount))
        })?;
        let Some(measured) = measured else { return Ok(None) };
        Ok(Some(Point {
            name: step.name(),
            case: step.case.name(),
            series: series.name,
            role: step.case.role.name().to_owned(),
            load,
            start_s,
            measured,
            saturated: load.is_none() && series.saturates,
            record_bytes: workload.record_bytes,
            partitions: workload.partitions,
        }))
    }

    /// As much as there is space for.
    fn amount(&self, workload: &Workload, clients: Clients, seconds: f64) -> Amount {
        let records_max = (self.args.space_bytes() / workload.record_bytes as u64).max(1);
        Amount { clients, rate: None, seconds, records_max }
    }

    /// The series of a workload; searched for at its first point.
    fn series(&mut self, workload: &Workload) -> Result<Option<Series>, ClientError> {
        if let Some(known) = self.profile.as_ref().and_then(|profile| profile.series(workload)) {
            return Ok(Some(known.clone()));
        }
        let seconds = self.args.seconds() * SEARCH_PART;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let search = self.on_topic(workload, |this, target| {
            let mut search = Search::of(workload, cores);
            if !this.fill(workload, target, Clients { threads: 1, in_flight: 5 })? {
                return Ok(None);
            }
            while let Some(clients) = search.next() {
                let mut amount = this.amount(workload, clients, seconds);
                amount.records_max = (amount.records_max / 8).max(1);
                let exercise = workload.exercise(target, &amount);
                let Some(measured) = this.laboratory.measure(&exercise)? else { return Ok(None) };
                search.put(measured.records_per_s());
            }
            let Some(enough) = search.enough() else { return Ok(None) };
            if !workload.is_paced() {
                return Ok(Some((enough, None)));
            }
            // The more threads, the more of them wait for each other's core.
            let clients = Clients { threads: enough.clients.threads.min(cores), ..enough.clients };
            let amount = this.amount(workload, clients, seconds * 2.0);
            let rate = Some(enough.records_per_s * OVERLOAD);
            let exercise =
                workload.exercise(target, &Amount { rate, records_max: amount.records_max / 4, ..amount });
            let overloaded = this.laboratory.measure(&exercise)?;
            Ok(overloaded.map(|measured| (enough, Some(measured.records_per_s()))))
        })?;
        let Some((enough, open_records_per_s)) = search else { return Ok(None) };
        let series = Series {
            name: workload.name(),
            record_bytes: workload.record_bytes,
            batch_bytes: workload.batch_bytes,
            linger_ms: workload.linger_ms(),
            partitions: workload.partitions,
            readers: workload.readers(),
            threads: enough.clients.threads,
            in_flight: enough.clients.in_flight,
            saturates: enough.saturates,
            flat_out_records_per_s: enough.records_per_s,
            open_threads: enough.clients.threads.min(cores),
            open_records_per_s,
        };
        if let Some(profile) = &mut self.profile {
            profile.series.push(series.clone());
        }
        Ok(Some(series))
    }

    /// Writes what a workload that only reads is to read. `false` when it was interrupted.
    fn fill(&mut self, workload: &Workload, target: &Target, clients: Clients) -> Result<bool, ClientError> {
        if workload.flow != Flow::Read {
            return Ok(true);
        }
        let mut amount = self.amount(workload, clients, self.args.seconds() * FILL_PART);
        amount.clients.in_flight = 20;
        amount.records_max = (amount.records_max / 2).max(1);
        let filled = self.laboratory.measure(&workload.filling(target, &amount))?;
        self.settle();
        Ok(filled.is_some())
    }

    /// Does something with a topic of its own, which is deleted afterwards, however that went.
    fn on_topic<T>(
        &mut self,
        workload: &Workload,
        work: impl FnOnce(&mut Self, &Target) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.topics_made += 1;
        let topic = format!("{}-{}", self.name, self.topics_made);
        let target = Target {
            bootstrap: self.args.bootstrap.clone(),
            timeout_ms: self.args.timeout().as_millis(),
            topic: topic.clone(),
        };
        let made = self.topics.make(&topic, workload.partitions);
        let done = made.and_then(|()| work(self, &target));
        let deleted = self.topics.delete(&topic);
        let done = done?;
        deleted?;
        self.settle();
        Ok(done)
    }

    /// Waits until the broker has nothing left to do, for a while.
    fn settle(&self) {
        let pid = self.laboratory.pid.to_string();
        let began = reactor::now();
        while began.elapsed() < PROFILE_SETTLE_MAX && !self.is_stopped() {
            let Ok(before) = Usage::of(&pid) else { return };
            std::thread::sleep(PROFILE_LOOK);
            let Ok(after) = Usage::of(&pid) else { return };
            if after.cpu_seconds - before.cpu_seconds <= IDLE_CORES_MAX * PROFILE_LOOK.as_secs_f64() {
                return;
            }
        }
    }

    fn outcome(&self, made: usize) -> Outcome {
        let mut report = Report::new();
        report.put("points_made", made);
        let in_file = self.profile.as_ref().map_or(0, |profile| profile.points.len());
        report.put("points", in_file);
        report.put("points_missing", self.draft.extent.points - in_file);
        if self.profile.is_some() {
            report.put("profile", shown(&self.args.out));
        }
        Outcome {
            reports: vec![("profile".to_owned(), report)],
            interrupted: self.is_stopped(),
            faults: Vec::new(),
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The name with its version, as the broker's own page says it; else what the process was started as.
fn broker_name(page: Option<&Scrape>, pid: u32) -> String {
    let named = page.and_then(|page| {
        let name = page.0.keys().find_map(|key| key.split('{').next()?.strip_suffix("_build_info"))?;
        let version = page.build()?.get("version")?.clone();
        Some(format!("{name} {version}"))
    });
    named.unwrap_or_else(|| {
        let line = process::command_line(pid).unwrap_or_default();
        let program = line.first().and_then(|program| Path::new(program).file_name()?.to_str());
        program.unwrap_or("unknown").to_owned()
    })
}

/// A point for people.
fn line(point: &Point) -> String {
    let Measured { seconds, written, read, broker, latency_ms, .. } = &point.measured;
    let (bytes, requests) = (written.bytes + read.bytes, written.requests + read.requests);
    let per = |amount: u64, unit: f64| if amount == 0 { 0.0 } else { broker.cpu_s * unit / amount as f64 };
    let mut text = format!(
        "{:<58} {:>7.1} MB/s {:>6.2} cores {:>7.2} s/GB {:>7.1} us/request",
        point.name,
        bytes as f64 / 1e6 / seconds,
        broker.cpu_s / seconds,
        per(bytes, 1e9),
        per(requests, 1e6)
    );
    if let Some(latency) = latency_ms {
        let _ = write!(text, "  p50 {:.2} p99 {:.2} ms", latency.p50, latency.p99);
    }
    if point.load.is_none() && !point.saturated {
        text.push_str("  (not saturated: more clients gave more)");
    }
    text
}
