//! Load and latency of any broker that speaks the Kafka protocol, and whether it keeps what it took.
//!
//! A black box: it knows the wire protocol and nothing of any broker. The straight line of a run: [`args`] → [`run`]
//! (its [`part`]s side by side) → [`commands`] (find the topic, share its partitions out) → [`threads`] (a reactor
//! each) → [`lanes`] (when records come, [`arrivals`]; what they are like, [`records`]) → [`accumulator`] (records into
//! batches) → [`sender`] (batches into requests, latencies) → [`client`]; and back through [`fetcher`]. Each thread
//! keeps a [`tally`]; the [`recorder`] puts them together, interval by interval; what was found becomes a [`report`]
//! and a [`run_file`].
//!
//! Honest figures: in an open loop latency counts from the intended time; in a closed one it counts from sending and is
//! named so; the broker's CPU time is read from `/proc` next to the client's own.
#![forbid(unsafe_code)]

mod accumulator;
mod args;
mod arrivals;
mod backlog;
mod client;
mod commands;
mod distributions;
mod fetcher;
mod group_member;
mod hdr_log;
mod histogram;
mod host;
mod interrupt;
mod lanes;
mod limits;
mod metrics;
mod part;
mod payload;
mod process;
mod profile;
mod progress;
mod random;
mod rate_curve;
mod recorder;
mod records;
mod report;
mod run;
mod run_file;
mod scenario;
mod send_stats;
mod sender;
mod tally;
mod threads;
mod transaction;
mod usage_series;
mod verify;
mod visible;
mod watched;

use std::process::ExitCode;
use std::time::Duration;

use args::{Command, Invocation};
use client::ClientError;
use part::Part;
use run::{Outcome, Run};
use scenario::Scenario;

/// Exit status when verification found a fault, or a stated check was not met.
const FAULTY: u8 = 1;

/// Exit status when the run could not be made or broke off, as for a wrong command line.
const BROKEN_OFF: u8 = 2;

fn main() -> ExitCode {
    let line: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let invocation = Invocation::read(&line).unwrap_or_else(|error| error.exit());
    match perform(invocation, line) {
        Ok(outcome) => tell(&outcome),
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::from(BROKEN_OFF)
        }
    }
}

fn perform(invocation: Invocation, command_line: Vec<String>) -> Result<Outcome, ClientError> {
    let Invocation { output, command, settings } = invocation;
    if let Command::Profile(args) = &command {
        return profile::make(args, &output, command_line, interrupt::watch()?);
    }
    let name = command.name().to_owned();
    let (parts, scenario) = match command {
        Command::Scenario(args) => {
            let Scenario { parts, record } = Scenario::read(&args)?;
            if args.check {
                println!("{}: {} parts", record.file, parts.len());
                return Ok(Outcome::nothing());
            }
            (parts, Some(record))
        }
        command => {
            let part =
                Part { name: name.clone(), command, settings, after: Vec::new(), delay: Duration::ZERO };
            (vec![part], None)
        }
    };
    let stop = interrupt::watch()?;
    Run { command: name, command_line, output, parts, scenario, stop }.perform()
}

/// Prints what was found, and says how it ended.
fn tell(outcome: &Outcome) -> ExitCode {
    for (place, (name, report)) in outcome.reports.iter().enumerate() {
        if outcome.reports.len() > 1 {
            println!("{}[{name}]", if place > 0 { "\n" } else { "" });
        }
        print!("{report}");
    }
    if outcome.interrupted {
        eprintln!("loadgen: interrupted: this is what was done until then");
    }
    for fault in &outcome.faults {
        eprintln!("loadgen: {fault}");
    }
    if outcome.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAULTY) }
}
