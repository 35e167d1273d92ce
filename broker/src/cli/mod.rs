//! The commands that talk to a cluster: topics, produce, consume, status.
//!
//! They speak the Kafka protocol over plain blocking sockets, so they work against Kafka too, and show what a client
//! sees. Exit codes: 0 done, 1 refused by the broker or the system, 2 a wrong command line, 3 no broker reached.

mod assignment;
mod cluster;
mod connection;
mod consume;
mod error;
mod format;
mod group;
mod partitioner;
mod produce;
mod status;
mod topic;

use std::io::Write as _;
use std::process::ExitCode;

use crate::args::Command;
pub use error::CliError;

/// Runs a command that is not serving.
pub fn run(command: &Command) -> ExitCode {
    let outcome = match command {
        Command::Serve(_) => Ok(()),
        Command::Topic(command) => topic::run(command),
        Command::Produce(args) => produce::run(args),
        Command::Consume(args) => consume::run(args),
        Command::Status(args) => status::run(args),
        Command::ConfigDocs => {
            let page = crate::config::document::markdown();
            std::io::stdout().write_all(page.as_bytes()).map_err(CliError::from)
        }
    };
    match outcome {
        // Whoever read our output has had enough of it.
        Ok(()) | Err(CliError::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about a closed standard error.
            let _ = writeln!(std::io::stderr(), "corelane: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
