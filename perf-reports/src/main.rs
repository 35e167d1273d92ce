//! What the runs of loadgen say: pages to read, comparisons, checks against a baseline, and capacity plans.
//!
//! It reads files and writes files; it measures nothing and needs no network. The straight line: [`args`] →
//! [`run`] (run files of a known format, nothing else) → [`figures`] (named values, and which way is better) →
//! [`render`], [`compare`] or [`check`] → [`document`] → [`html`] or [`markdown`]. [`plan`] has a line of its own, from a
//! profile to an answer.
//!
//! Honest figures: medians with their spread and never a bare mean; a difference is named only where the spread of the
//! pairs allows it; what makes a run doubtful (a closed loop, a debug build, another workload) is said beside its figures.
#![forbid(unsafe_code)]
#![cfg_attr(test, recursion_limit = "256")]

mod args;
mod chart;
mod check;
mod commands;
mod compare;
mod document;
mod error;
mod figures;
mod file;
mod html;
mod limits;
mod markdown;
mod number;
mod paths;
mod plan;
mod ratio;
mod render;
mod run;

use std::process::ExitCode;

use clap::Parser;

/// Exit status of a check that found a regression, and of a plan that cannot be met.
const WORSE: u8 = 1;

/// Exit status when the command could not be done, as for a wrong command line.
const NOT_DONE: u8 = 2;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    match commands::run(&arguments.command) {
        Ok(commands::Outcome::Good) => ExitCode::SUCCESS,
        Ok(commands::Outcome::Worse) => ExitCode::from(WORSE),
        Err(error) => {
            eprintln!("perf-reports: {error}");
            ExitCode::from(NOT_DONE)
        }
    }
}
