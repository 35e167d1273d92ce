//! The run file: what `--json` writes. `RUN_FORMAT.md` beside this crate says what each member means.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde::ser::Serializer;

use crate::client::ClientError;
use crate::host::Host;
use crate::metrics::{MetricsUrl, Scrape};
use crate::recorder::IntervalRecord;
use crate::report::{Latency, Rows};
use crate::usage_series::UsageRecord;

/// Rises when a member changes its meaning or goes.
pub(crate) const FORMAT: u32 = 1;

/// The whole file.
#[derive(Serialize)]
pub(crate) struct RunFile {
    pub(crate) format: u32,
    pub(crate) tool: Tool,
    pub(crate) run: String,
    pub(crate) command: String,
    pub(crate) command_line: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) started_at: String,
    pub(crate) started_unix_ms: u64,
    pub(crate) seconds: f64,
    pub(crate) interrupted: bool,
    pub(crate) failed: bool,
    pub(crate) faults: Vec<String>,
    pub(crate) notes: BTreeMap<String, String>,
    pub(crate) host: Host,
    pub(crate) broker: BrokerRecord,
    pub(crate) scenario: Option<ScenarioRecord>,
    pub(crate) parts: Vec<PartMember>,
    pub(crate) usage: UsageMember,
    pub(crate) metrics: Option<MetricsMember>,
    pub(crate) hdr: Option<String>,
}

/// This program.
#[derive(Serialize)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    build: &'static str,
}

impl Tool {
    pub(crate) fn this() -> Self {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        Self { name: "loadgen", version: env!("CARGO_PKG_VERSION"), build }
    }
}

/// Who was loaded.
#[derive(Serialize)]
pub(crate) struct BrokerRecord {
    pub(crate) bootstrap: String,
    pub(crate) cluster_id: Option<String>,
    pub(crate) brokers: usize,
    pub(crate) pid: Option<u32>,
    pub(crate) command_line: Option<Vec<String>>,
    pub(crate) build: Option<BTreeMap<String, String>>,
}

/// Where the parts came from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ScenarioRecord {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) text: String,
}

#[derive(Serialize)]
pub(crate) struct PartMember {
    pub(crate) name: String,
    pub(crate) command: &'static str,
    pub(crate) start_s: f64,
    pub(crate) seconds: f64,
    pub(crate) settings: Rows,
    pub(crate) results: Rows,
    pub(crate) latencies: Vec<LatencyMember>,
    pub(crate) intervals: Vec<IntervalRecord>,
}

#[derive(Serialize)]
pub(crate) struct LatencyMember {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    count: u64,
    min_ms: f64,
    mean_ms: f64,
    max_ms: f64,
    stdev_ms: f64,
    spectrum: Vec<(f64, f64)>,
}

impl From<&Latency> for LatencyMember {
    fn from(latency: &Latency) -> Self {
        let histogram = &latency.histogram;
        Self {
            name: latency.name,
            from: latency.from,
            to: latency.to,
            count: histogram.count(),
            min_ms: histogram.min_ms(),
            mean_ms: histogram.mean_ms(),
            max_ms: histogram.percentile_ms(100.0),
            stdev_ms: histogram.stdev_ms(),
            spectrum: histogram.spectrum(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct UsageMember {
    pub(crate) client: Option<UsageRecord>,
    pub(crate) broker: Option<UsageRecord>,
}

#[derive(Serialize)]
pub(crate) struct MetricsMember {
    #[serde(serialize_with = "as_text")]
    pub(crate) url: MetricsUrl,
    #[serde(serialize_with = "as_samples")]
    pub(crate) first: Option<Scrape>,
    #[serde(serialize_with = "as_samples")]
    pub(crate) last: Option<Scrape>,
}

fn as_text<S: Serializer>(url: &MetricsUrl, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}

#[allow(clippy::ref_option, reason = "serde hands the field over so")]
fn as_samples<S: Serializer>(scrape: &Option<Scrape>, serializer: S) -> Result<S::Ok, S::Error> {
    match scrape {
        Some(scrape) => scrape.0.serialize(serializer),
        None => serializer.serialize_none(),
    }
}

impl RunFile {
    /// Writes the file whole: beside its place first, so that a reader never sees half of it.
    pub(crate) fn write(&self, path: &Path) -> Result<(), ClientError> {
        let cannot = |cause| ClientError::Local { what: format!("cannot write {}", path.display()), cause };
        let mut json = serde_json::to_vec_pretty(self).map_err(|error| cannot(error.into()))?;
        json.push(b'\n');
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        std::fs::write(&beside, json).map_err(cannot)?;
        std::fs::rename(&beside, path).map_err(cannot)
    }
}

/// A moment of the wall clock as RFC 3339 writes it, in UTC.
pub(crate) fn rfc_3339(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = civil(days as i64);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// Year, month and day of a day since 1970 (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_everybody_reads_them() {
        for (unix_ms, written) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
        ] {
            assert_eq!(rfc_3339(unix_ms), written);
        }
    }
}
