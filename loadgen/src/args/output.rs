//! What is recorded of a run, and where it goes: options of every command.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::parse;
use crate::metrics::MetricsUrl;

/// Seeds are whole numbers that also a double can hold, so that every reader of JSON keeps them.
pub(crate) const SEED_MAX: u64 = (1 << 53) - 1;

/// What is recorded, and where it goes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Record")]
pub(crate) struct OutputArgs {
    /// Write a run file: settings, results, series, and all that is needed to repeat the run.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the histograms of each interval, as a standard `HdrHistogram` log.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) hdr: Option<PathBuf>,
    /// Length of the intervals of the series, in seconds.
    #[arg(long, global = true, default_value = "1", value_name = "S", value_parser = parse::interval)]
    pub(crate) interval: Duration,
    /// Process id of a broker on this machine: record the CPU time, memory and disk writes it used.
    #[arg(long, global = true)]
    pub(crate) pid: Option<u32>,
    /// The broker's page of metrics: record it before and after, and without --pid the CPU time and memory it tells.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) metrics: Option<MetricsUrl>,
    /// Something to remember about the run that a program cannot see: the disk, the broker's configuration.
    #[arg(long = "note", global = true, value_name = "NAME=VALUE", value_parser = parse::name_and_value)]
    pub(crate) notes: Vec<(String, String)>,
    /// Repeats the chance of an earlier run: arrivals, sizes, keys, payloads. Without it, another each time.
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
    pub(crate) seed: Option<u64>,
}
