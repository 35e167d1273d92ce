//! How to read.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::fetcher::FetchSettings;

/// How to read.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReadArgs {
    /// How long the broker may wait for `--fetch-min-bytes`.
    #[arg(long, default_value_t = 500)]
    fetch_wait_ms: u64,
    #[arg(long, default_value_t = 1)]
    fetch_min_bytes: i32,
    #[arg(long, default_value_t = 52_428_800)]
    fetch_max_bytes: i32,
    #[arg(long, default_value_t = 1_048_576)]
    partition_max_bytes: i32,
    /// Whether records of transactions are given before those are committed. Without it they are, but a run that writes in
    /// transactions reads what is committed.
    #[arg(long, value_name = "LEVEL")]
    isolation: Option<Isolation>,
}

/// Which records a consumer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    #[value(name = "read_uncommitted")]
    ReadUncommitted,
    #[value(name = "read_committed")]
    ReadCommitted,
}

impl Isolation {
    /// As requests say it.
    pub(crate) fn level(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

impl ReadArgs {
    pub(crate) fn fetch_settings(&self, timeout: Duration, retry_for: Duration) -> FetchSettings {
        FetchSettings {
            max_wait: Duration::from_millis(self.fetch_wait_ms),
            min_bytes: self.fetch_min_bytes,
            max_bytes: self.fetch_max_bytes,
            partition_max_bytes: self.partition_max_bytes,
            isolation: self.isolation.unwrap_or(Isolation::ReadUncommitted),
            timeout,
            retry_for,
        }
    }

    /// As [`ReadArgs::fetch_settings`], of what is written in transactions.
    pub(crate) fn settings_of_transactions(&self, timeout: Duration, retry_for: Duration) -> FetchSettings {
        let isolation = self.isolation.unwrap_or(Isolation::ReadCommitted);
        FetchSettings { isolation, ..self.fetch_settings(timeout, retry_for) }
    }
}
