//! The commands. Each finds what it needs on the broker, shares the work out to threads, and makes one report of theirs.

mod connections;
mod consume;
mod groups;
mod latency;
mod produce;
mod soak;
mod topics;
mod verify;

use crate::args::Command;
use crate::client::ClientError;
use crate::part::Context;
use crate::report::Report;

/// Runs a command to its report.
pub(crate) fn run(command: &Command, context: &Context) -> Result<Report, ClientError> {
    match command {
        Command::Produce(args) => produce::run(args, context),
        Command::Consume(args) => consume::run(args, context),
        Command::Latency(args) => latency::run(args, context),
        Command::Verify(args) => verify::run(args, context),
        Command::Soak(args) => soak::run(args, context),
        Command::Connections(args) => connections::run(args, context),
        Command::Topics(args) => topics::run(args, context),
        Command::Groups(args) => groups::run(args, context),
        Command::Profile(_) => Err(ClientError::Usage("a profile cannot be part of a run".to_owned())),
        Command::Scenario(_) => Err(ClientError::Usage("a scenario cannot be part of another".to_owned())),
    }
}

/// Megabytes (10⁶) per second.
fn mb_per_second(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { bytes as f64 / 1e6 / seconds } else { 0.0 }
}

/// Things per second.
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
