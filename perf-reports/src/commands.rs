//! What each command does with its files.

use std::fs;
use std::path::Path;

use crate::args::{CheckArgs, Command, CompareArgs, RenderArgs};
use crate::check::{self, Tolerances};
use crate::compare::{self, Settings};
use crate::error::ReportError;
use crate::paths::expand;
use crate::render;
use crate::run::Run;

/// How a command that was done has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Good,
    /// A check found a regression.
    Worse,
}

pub(crate) fn run(command: &Command) -> Result<Outcome, ReportError> {
    match command {
        Command::Render(args) => render(args),
        Command::Compare(args) => compare(args),
        Command::Check(args) => check(args),
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

fn write(path: &Path, text: &str) -> Result<(), ReportError> {
    fs::write(path, text).map_err(|cause| ReportError::writing(path, cause))
}
