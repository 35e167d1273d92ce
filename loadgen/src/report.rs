//! What a part of a run found: lines for people, and members of the run file for programs.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::histogram::{Histogram, PERCENTILES};
use crate::process::Usage;

/// A figure or a word.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    None,
    Flag(bool),
    Count(u64),
    Number(f64),
    Text(String),
}

impl Value {
    /// What a text on the command line means.
    pub(crate) fn of_text(text: &str) -> Self {
        if let Ok(count) = text.parse() {
            return Self::Count(count);
        }
        match (text, text.parse::<f64>()) {
            ("true", _) => Self::Flag(true),
            ("false", _) => Self::Flag(false),
            (_, Ok(number)) if number.is_finite() => Self::Number(number),
            _ => Self::Text(text.to_owned()),
        }
    }
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

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Flag(flag) => flag.fmt(f),
            Self::Count(count) => count.fmt(f),
            Self::Number(number) if *number == 0.0 || number.abs() >= 100.0 => write!(f, "{number:.1}"),
            Self::Number(number) => write!(f, "{number:.3}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_unit(),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Count(count) => serializer.serialize_u64(*count),
            // What is not finite becomes null.
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// Names and values, in order. Names end with their unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows(pub(crate) Vec<(String, Value)>);

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A latency over a whole part.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    pub(crate) name: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) histogram: Histogram,
}

/// The findings of a part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    rows: Rows,
    latencies: Vec<Latency>,
    faults: Vec<String>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn put(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.rows.0.push((name.into(), value.into()));
    }

    /// A figure that was put.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.rows.0.iter().find(|(known, _)| known == name)?.1 {
            Value::Count(count) => Some(count as f64),
            Value::Number(number) => Some(number),
            Value::None | Value::Flag(_) | Value::Text(_) => None,
        }
    }

    /// A latency: its percentiles among the figures, and its spectrum.
    pub(crate) fn put_latency(&mut self, latency: Latency) {
        for (suffix, percent) in PERCENTILES {
            let value = latency.histogram.percentile_ms(percent);
            self.put(format!("{}_{suffix}_ms", latency.name), value);
        }
        self.put(format!("{}_mean_ms", latency.name), latency.histogram.mean_ms());
        self.latencies.push(latency);
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
        if let (Some(before), Some(after)) = (before.written_bytes, after.written_bytes) {
            self.put(format!("{who}_written_mb"), after.saturating_sub(before) as f64 / 1e6);
        }
    }

    /// The run failed, for this reason.
    pub(crate) fn fail(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    pub(crate) fn faults(&self) -> &[String] {
        &self.faults
    }

    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    pub(crate) fn latencies(&self) -> &[Latency] {
        &self.latencies
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = &self.rows.0;
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        rows.iter().try_for_each(|(name, value)| writeln!(f, "{name:<width$}  {value}"))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_report_reads_as_lines_and_as_json() {
        let mut report = Report::new();
        report.put("records", 3_u64);
        report.put("seconds", 0.25);
        report.put("topic", "a\"b\\c\n");
        report.put("rate", f64::INFINITY);
        let json = serde_json::to_string(report.rows()).unwrap();
        assert_eq!(json, r#"{"records":3,"seconds":0.25,"topic":"a\"b\\c\n","rate":null}"#);
        assert!(report.to_string().contains("seconds  0.250"));
    }

    #[test]
    fn cpu_is_related_to_work() {
        let mut report = Report::default();
        let before = Usage { written_bytes: Some(0), ..Usage::default() };
        let after = Usage {
            cpu_seconds: 2.0,
            resident_bytes_max: 5_000_000,
            written_bytes: Some(7_000_000),
            ..Usage::default()
        };
        let work = Work { records: 1_000_000, bytes: 1_000_000_000, requests: 1000 };
        report.put_usage("broker", before, after, work);
        assert_eq!(report.number("broker_cpu_s_per_gb"), Some(2.0));
        assert_eq!(report.number("broker_cpu_us_per_request"), Some(2000.0));
        assert_eq!(report.number("broker_written_mb"), Some(7.0));
    }

    #[test]
    fn a_latency_is_reported_by_its_percentiles() {
        let mut histogram = Histogram::new();
        histogram.record(Duration::from_millis(2), 10);
        let mut report = Report::new();
        report.put_latency(Latency { name: "produce", from: "sending", to: "acknowledgement", histogram });
        assert!((report.number("produce_p99_ms").unwrap() - 2.0).abs() < 0.01);
        assert_eq!(report.latencies().len(), 1);
    }

    #[test]
    fn a_text_means_what_it_looks_like() {
        let cases = [
            ("12", Value::Count(12)),
            ("-1", Value::Number(-1.0)),
            ("0.5", Value::Number(0.5)),
            ("true", Value::Flag(true)),
            ("inf", Value::Text("inf".to_owned())),
            ("fixed:12", Value::Text("fixed:12".to_owned())),
        ];
        for (text, meant) in cases {
            assert_eq!(Value::of_text(text), meant);
        }
    }
}
