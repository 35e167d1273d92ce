//! How to read.

use std::time::Duration;

use clap::Args;

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
}

impl ReadArgs {
    pub(crate) fn fetch_settings(&self, timeout: Duration, retry_for: Duration) -> FetchSettings {
        FetchSettings {
            max_wait: Duration::from_millis(self.fetch_wait_ms),
            min_bytes: self.fetch_min_bytes,
            max_bytes: self.fetch_max_bytes,
            partition_max_bytes: self.partition_max_bytes,
            timeout,
            retry_for,
        }
    }
}
