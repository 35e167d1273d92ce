//! What each command does with its files.

use std::fs;
use std::path::Path;

use crate::args::{CheckArgs, Command, CompareArgs, PlanArgs, RenderArgs};
use crate::check::{self, Tolerances};
use crate::compare::{self, Settings};
use crate::error::ReportError;
use crate::paths::expand;
use crate::plan::{self, Profile, Question, Unmet};
use crate::render;
use crate::run::Run;

/// How a command that was done has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Good,
    /// A check found a regression, or a plan cannot be met; it was said.
    Worse,
}

pub(crate) fn run(command: &Command) -> Result<Outcome, ReportError> {
    match command {
        Command::Render(args) => render(args),
        Command::Compare(args) => compare(args),
        Command::Check(args) => check(args),
        Command::Plan(args) => plan(args),
    }
}

fn render(args: &RenderArgs) -> Result<Outcome, ReportError> {
    let runs = Run::read_all(&expand(&args.runs)?)?;
    let document = render::document(args.title.as_deref(), &runs);
    if let Some(path) = &args.out {
        write(path, &document.html())?;
    }
    if let Some(path) = &args.markdown {
        write(path, &document.markdown())?;
    }
    Ok(Outcome::Good)
}

fn compare(args: &CompareArgs) -> Result<Outcome, ReportError> {
    let pairs = if args.runs.is_empty() {
        compare::by_time(Run::read_all(&expand(&args.a)?)?, Run::read_all(&expand(&args.b)?)?)?
    } else {
        compare::alternating(Run::read_all(&expand(&args.runs)?)?)?
    };
    let settings = Settings { first: args.name_a.clone(), second: args.name_b.clone(), noise: args.noise };
    let comparison = compare::compare(&pairs, settings)?;
    print!("{}", comparison.text());
    if let Some(path) = &args.json {
        write(path, &format!("{:#}\n", comparison.json()))?;
    }
    if let Some(path) = &args.markdown {
        write(path, &comparison.document().markdown())?;
    }
    Ok(Outcome::Good)
}

fn check(args: &CheckArgs) -> Result<Outcome, ReportError> {
    let baseline = check::baseline(&args.baseline)?;
    let runs = Run::read_all(&expand(&args.runs)?)?;
    let tolerances = Tolerances { all: args.tolerance, named: args.figures.iter().cloned().collect() };
    let found = check::check(&runs, &baseline, &tolerances)?;
    print!("{}", found.text());
    for regression in &found.regressions {
        eprintln!("perf-reports: {regression}");
    }
    Ok(if found.regressions.is_empty() { Outcome::Good } else { Outcome::Worse })
}

fn plan(args: &PlanArgs) -> Result<Outcome, ReportError> {
    let profile = Profile::read(&args.profile)?;
    let unusable =
        |why: String| ReportError::asked(format!("{} cannot be used: {why}", args.profile.display()));
    if args.validate {
        let (model, validation) = plan::model(&profile).map_err(unusable)?;
        print!("{}", validation.text(&model));
        if let (Some(path), None) = (&args.json, args.ingress) {
            write(path, &format!("{:#}\n", validation.full_json(&model)))?;
        }
    }
    let Some(question) = question(args) else { return Ok(Outcome::Good) };
    match plan::answer(&profile, &question) {
        Ok(plan) => {
            print!("{}", plan.text());
            if let Some(path) = &args.json {
                write(path, &format!("{:#}\n", plan.json()))?;
            }
            if let Some(path) = &args.out {
                write(path, &plan.document().html())?;
            }
            Ok(Outcome::Good)
        }
        Err(Unmet::Profile(why)) => Err(unusable(why)),
        Err(Unmet::Plan(why)) => {
            eprintln!("perf-reports: {why}");
            Ok(Outcome::Worse)
        }
    }
}

/// What is asked; nothing if only a validation is.
fn question(args: &PlanArgs) -> Option<Question> {
    Some(Question {
        ingress_bytes_per_s: args.ingress? * 1e6,
        fan_out: args.fan_out,
        cold_share: args.cold / 100.0,
        record_bytes: args.record?,
        batch_bytes: args.batch,
        partitions: args.partitions?,
        retention_s: args.retention?,
        replication: args.replication,
        p99_ms: args.p99?,
        growth: args.growth / 100.0,
        years: args.years,
        node_cores: args.node_cores,
        disk_bytes: args.disk.map(|gb| gb * 1e9),
        disks_max: args.disks_max,
        nic_bytes_per_s: args.nic.map(|gbit| gbit * 1e9 / 8.0),
        round_trip_ms: args.round_trip,
        load_max: args.load_max / 100.0,
        spare_nodes: args.spare_nodes,
    })
}

fn write(path: &Path, text: &str) -> Result<(), ReportError> {
    fs::write(path, text).map_err(|cause| ReportError::writing(path, cause))
}
