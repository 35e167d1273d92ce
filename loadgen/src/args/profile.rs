//! What to profile, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::parse;
use super::security::SecurityArgs;
use crate::client::{Access, ClientError};
use crate::profile::Size;

/// The broker runs on this machine, and has it for itself but for this program.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProfileArgs {
    /// The broker; `--pid` says which process it is.
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    pub(crate) bootstrap: String,
    /// Longest wait for an answer.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=2_000_000_000))]
    timeout_ms: u64,
    /// Where to write the profile. It is written anew after each point, so nothing is lost.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// A folder on the disk that the broker writes to. Its limits are measured there, in a file that is gone afterwards.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
    /// Some minutes instead of about half an hour: fewer sizes and loads, shorter, two rounds.
    #[arg(long)]
    quick: bool,
    /// Go on with the profile in `--out`: make the points that are missing.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Make at most so many points this time; `--resume` goes on.
    #[arg(long, value_name = "N", value_parser = parse::count)]
    pub(crate) points: Option<usize>,
    /// How long each point is measured: 5 s, or 2 s if quick.
    #[arg(long, value_name = "S", value_parser = parse::point_seconds)]
    seconds: Option<f64>,
    /// How often each point is made: 3 times, or twice if quick.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Disk space in GB that is used at most. A point that would need more ends before its time.
    #[arg(long, default_value_t = 12.0, value_name = "GB", value_parser = parse::profile_space)]
    space: f64,
    /// Name of the broker, with its version; else from `--metrics` or the process.
    #[arg(long, value_name = "NAME")]
    pub(crate) broker_name: Option<String>,
    /// Cores that the broker may use, if fewer than its process may run on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) broker_cores: Option<u32>,
    /// Configuration of the topics.
    #[arg(long = "topic-config", value_name = "NAME=VALUE", value_parser = parse::name_and_value)]
    pub(crate) topic_configs: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) security: SecurityArgs,
}

impl ProfileArgs {
    pub(crate) fn size(&self) -> Size {
        if self.quick { Size::Quick } else { Size::Full }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or_else(|| self.size().seconds())
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or_else(|| self.size().rounds())
    }

    pub(crate) fn space_bytes(&self) -> u64 {
        (self.space * 1e9) as u64
    }

    /// The way to the broker: reads the files that it needs.
    pub(crate) fn access(&self) -> Result<Access, ClientError> {
        let (bootstrap, timeout) = (self.bootstrap.clone(), self.timeout());
        Ok(Access { bootstrap, timeout, security: self.security.read()? })
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
