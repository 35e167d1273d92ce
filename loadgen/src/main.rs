//! Load and latency of any broker that speaks the Kafka protocol, and whether it keeps what it took.
//!
//! A black box: it knows the wire protocol and nothing of any broker. The straight line of a run: [`args`] →
//! [`commands`] (find the topic, share its partitions out) → [`threads`] (a reactor each) → [`lanes`] (when records
//! come, [`arrivals`]) → [`accumulator`] (records into batches) → [`sender`] (batches into requests, latencies) →
//! [`client`]; and back through [`fetcher`]. What was found becomes a [`report`].
//!
//! Honest figures: at a rate the loop is open and latency counts from the intended time; flat out it counts from
//! sending and is named so; the broker's CPU time is read from `/proc` next to the client's own.
#![forbid(unsafe_code)]

mod accumulator;
mod args;
mod arrivals;
mod backlog;
mod client;
mod commands;
mod fetcher;
mod histogram;
mod lanes;
mod limits;
mod payload;
mod process;
mod report;
mod send_stats;
mod sender;
mod threads;
mod verify;

use std::process::ExitCode;

use clap::Parser;

/// Exit status when verification found a fault.
const FAULTY: u8 = 1;

/// Exit status when the run could not be made or broke off, as for a wrong command line.
const BROKEN_OFF: u8 = 2;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    match commands::run(&arguments.command) {
        Ok(report) => {
            print!("{report}");
            if report.has_failed() { ExitCode::from(FAULTY) } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::from(BROKEN_OFF)
        }
    }
}
