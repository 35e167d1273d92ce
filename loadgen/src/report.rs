//! What a run found: lines for people, and the same as one JSON object for programs.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::{fs, io};

use crate::client::ClientError;
use crate::histogram::{Histogram, PERCENTILES};
use crate::process::Usage;

/// A figure or a word.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Count(u64),
    Number(f64),
    Text(String),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Number(number) if *number == 0.0 || number.abs() >= 100.0 => write!(f, "{number:.1}"),
            Self::Number(number) => write!(f, "{number:.3}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Names and values, in order. Names end with their unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(String, Value)>,
    failed: bool,
}

impl Report {
    pub(crate) fn new(command: &str) -> Self {
        let mut report = Self::default();
        report.put("command", command);
        report
    }

    pub(crate) fn put(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.rows.push((name.into(), value.into()));
    }

    /// Percentiles of `latency` under names that start with `name`.
    pub(crate) fn put_latency(&mut self, name: &str, latency: &Histogram) {
        for (suffix, percent) in PERCENTILES {
            self.put(format!("{name}_{suffix}_ms"), latency.percentile_ms(percent));
        }
        self.put(format!("{name}_mean_ms"), latency.mean_ms());
    }

    /// What process `who` used between two looks, and per work done in between.
    pub(crate) fn put_usage(&mut self, who: &str, before: Usage, after: Usage, work: Work) {
        let cpu = after.cpu_seconds - before.cpu_seconds;
        self.put(format!("{who}_cpu_s"), cpu);
        if work.bytes > 0 {
            self.put(format!("{who}_cpu_s_per_gb"), cpu * 1e9 / work.bytes as f64);
        }
        if work.records > 0 {
            self.put(format!("{who}_cpu_s_per_million_records"), cpu * 1e6 / work.records as f64);
        }
        if work.requests > 0 {
            self.put(format!("{who}_cpu_us_per_request"), cpu * 1e6 / work.requests as f64);
        }
        self.put(format!("{who}_resident_mb_max"), after.resident_bytes_max as f64 / 1e6);
        self.put(
            format!("{who}_written_mb"),
            (after.written_bytes - before.written_bytes.min(after.written_bytes)) as f64 / 1e6,
        );
    }

    /// Marks the run as one that found a fault.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// One JSON object, its members in the order they were put.
    pub(crate) fn to_json(&self) -> String {
        let mut json = String::from("{\n");
        for (place, (name, value)) in self.rows.iter().enumerate() {
            let comma = if place + 1 < self.rows.len() { "," } else { "" };
            let value = match value {
                Value::Count(count) => count.to_string(),
                Value::Number(number) if number.is_finite() => number.to_string(),
                Value::Number(_) => "null".to_owned(),
                Value::Text(text) => quote(text),
            };
            let _ = writeln!(json, "  {}: {value}{comma}", quote(name));
        }
        json.push_str("}\n");
        json
    }

    /// Writes the JSON to `path`.
    pub(crate) fn write_json(&self, path: &Path) -> Result<(), ClientError> {
        fs::write(path, self.to_json()).map_err(|cause: io::Error| ClientError::Local {
            what: format!("cannot write {}", path.display()),
            cause,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        self.rows.iter().try_for_each(|(name, value)| writeln!(f, "{name:<width$}  {value}"))
    }
}

/// What was done, to relate CPU time to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    pub(crate) records: u64,
    /// Payload bytes.
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
}

fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if u32::from(control) < 0x20 => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_lines_and_as_json() {
        let mut report = Report::new("produce");
        report.put("records", 3_u64);
        report.put("seconds", 0.25);
        report.put("topic", "a\"b\\c\n");
        report.put("rate", f64::INFINITY);
        assert_eq!(
            report.to_json(),
            "{\n  \"command\": \"produce\",\n  \"records\": 3,\n  \"seconds\": 0.25,\n  \"topic\": \"a\\\"b\\\\c\\u000a\",\n  \"rate\": null\n}\n"
        );
        assert!(report.to_string().contains("seconds  0.250"));
    }

    #[test]
    fn cpu_is_related_to_work() {
        let mut report = Report::default();
        let after = Usage { cpu_seconds: 2.0, resident_bytes_max: 5_000_000, written_bytes: 7_000_000 };
        let work = Work { records: 1_000_000, bytes: 1_000_000_000, requests: 1000 };
        report.put_usage("broker", Usage::default(), after, work);
        let json = report.to_json();
        assert!(
            json.contains("\"broker_cpu_s_per_gb\": 2,")
                && json.contains("\"broker_cpu_us_per_request\": 2000,")
        );
        assert!(json.contains("\"broker_written_mb\": 7"));
    }
}
