//! One run of loadgen, as its run file says it (format 1).
//!
//! Members that this program does not use are passed over. A figure that does not exist is `None`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ReportError;
use crate::file::FileKind;
use crate::limits::RUNS_MAX;

const RUN_FILE: FileKind = FileKind { name: "run file", kind: None, format: 1 };

/// Settings that may differ between runs of one workload: they say where records go and when to stop.
const INCIDENTAL_SETTINGS: [&str; 5] = ["topic", "records", "seconds", "bootstrap", "seed"];

/// The settings that make one curve of load against latency out of several runs.
const LOAD_SETTINGS: [&str; 2] = ["rate", "arrivals"];

/// Fewer records than this share of those that were due: the rate that was asked for was not what was measured.
const KEPT_UP: f64 = 0.99;

/// A run, with the name it has on a page.
#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    /// The file's stem, or its path where stems are not enough.
    #[serde(skip)]
    pub(crate) label: String,
    #[serde(skip)]
    pub(crate) path: PathBuf,
    pub(crate) tool: Tool,
    pub(crate) command: String,
    #[serde(default)]
    pub(crate) command_line: Vec<String>,
    pub(crate) started_at: String,
    pub(crate) started_unix_ms: i64,
    #[serde(default)]
    pub(crate) interrupted: bool,
    #[serde(default)]
    pub(crate) failed: bool,
    #[serde(default)]
    pub(crate) faults: Vec<String>,
    #[serde(default)]
    pub(crate) notes: BTreeMap<String, String>,
    pub(crate) host: Host,
    pub(crate) broker: Broker,
    pub(crate) parts: Vec<Part>,
    pub(crate) usage: Usage,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Tool {
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) build: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Host {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) kernel: String,
    #[serde(default)]
    pub(crate) cpu_model: String,
    #[serde(default)]
    pub(crate) cores: u64,
    #[serde(default)]
    pub(crate) memory_bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Broker {
    #[serde(default)]
    pub(crate) bootstrap: String,
    #[serde(default)]
    pub(crate) build: Option<BTreeMap<String, String>>,
}

/// A command is one part; a scenario has several.
#[derive(Debug, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) settings: Map<String, Value>,
    #[serde(default)]
    pub(crate) results: Map<String, Value>,
    #[serde(default)]
    pub(crate) latencies: Vec<Latency>,
    #[serde(default)]
    pub(crate) intervals: Vec<Interval>,
}

/// A histogram of the whole run.
#[derive(Debug, Deserialize)]
pub(crate) struct Latency {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) from: String,
    #[serde(default)]
    pub(crate) to: String,
    /// Percent and milliseconds, rising.
    #[serde(default)]
    pub(crate) spectrum: Vec<(f64, Option<f64>)>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Interval {
    pub(crate) start_s: f64,
    #[serde(default)]
    pub(crate) latencies: BTreeMap<String, BTreeMap<String, Option<f64>>>,
}

/// What processes used; the broker's is there only if its pid or its admin port was given.
#[derive(Debug, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) broker: Option<ProcessUsage>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ProcessUsage {
    #[serde(default)]
    pub(crate) cpu_s: Option<f64>,
    #[serde(default)]
    pub(crate) resident_bytes_max: Option<f64>,
    #[serde(default)]
    pub(crate) written_bytes: Option<f64>,
    #[serde(default)]
    pub(crate) read_bytes: Option<f64>,
    #[serde(default)]
    pub(crate) intervals: Vec<UsageInterval>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct UsageInterval {
    pub(crate) start_s: f64,
    #[serde(default)]
    pub(crate) resident_bytes: Option<f64>,
}

impl Run {
    pub(crate) fn read(path: &Path) -> Result<Self, ReportError> {
        let mut run: Self = RUN_FILE.read(path)?;
        path.clone_into(&mut run.path);
        run.label = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(run)
    }

    /// All of `paths`, under names that differ.
    pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<Self>, ReportError> {
        if paths.len() > RUNS_MAX {
            return Err(ReportError::asked(format!(
                "{} runs were given, and {RUNS_MAX} is the most",
                paths.len()
            )));
        }
        let mut runs = paths.iter().map(|path| Self::read(path)).collect::<Result<Vec<_>, _>>()?;
        let stems: Vec<String> = runs.iter().map(|run| run.label.clone()).collect();
        for run in &mut runs {
            if stems.iter().filter(|stem| **stem == run.label).count() > 1 {
                run.label = run.path.display().to_string();
            }
        }
        Ok(runs)
    }

    /// The broker, as well as the file can say it.
    pub(crate) fn broker_name(&self) -> String {
        if let Some(name) = self.notes.get("broker") {
            return name.clone();
        }
        match &self.broker.build {
            Some(labels) if !labels.is_empty() => {
                labels.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
            }
            _ => self.broker.bootstrap.clone(),
        }
    }

    /// What must be equal for two runs to be of one workload: commands and all settings but the incidental ones.
    pub(crate) fn workload(&self) -> Workload {
        self.workload_without(&INCIDENTAL_SETTINGS)
    }

    /// The workload without its load: runs that share it, on one broker, are points of one curve.
    pub(crate) fn curve(&self) -> Workload {
        let mut without = INCIDENTAL_SETTINGS.to_vec();
        without.extend(LOAD_SETTINGS);
        self.workload_without(&without)
    }

    fn workload_without(&self, without: &[&str]) -> Workload {
        let mut settings = BTreeMap::new();
        for (place, part) in self.parts.iter().enumerate() {
            for (name, value) in &part.settings {
                if !without.contains(&name.as_str()) {
                    let key = if self.parts.len() == 1 {
                        name.clone()
                    } else {
                        format!("{place} {}/{name}", part.name)
                    };
                    settings.insert(key, plain(value));
                }
            }
        }
        Workload { command: self.command.clone(), settings }
    }

    /// What a reader has to know before believing the figures.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.failed {
            let faults =
                if self.faults.is_empty() { "no fault named".to_owned() } else { self.faults.join("; ") };
            doubts.push(format!("{} failed its own checks: {faults}.", self.label));
        }
        if self.interrupted {
            doubts.push(format!("{} was ended early.", self.label));
        }
        if self.tool.build == "debug" {
            doubts.push(format!(
                "{} was made by a debug build of loadgen: its figures mean nothing.",
                self.label
            ));
        }
        for part in &self.parts {
            let counts = (part.result("records"), part.result("records_due"));
            if let (Some(records), Some(due)) = counts
                && records < due * KEPT_UP
            {
                doubts.push(format!(
                    "{} did {records} of the {due} records that were due: it did not keep up.",
                    self.label
                ));
            }
            if let Some(errors) = part.result("errors").filter(|errors| *errors > 0.0) {
                doubts.push(format!("{} had {errors} requests that failed or were refused.", self.label));
            }
        }
        doubts
    }
}

impl Part {
    /// A number among the results.
    pub(crate) fn result(&self, name: &str) -> Option<f64> {
        self.results.get(name).and_then(Value::as_f64)
    }

    /// Payload bytes: of values written, else of batches read.
    pub(crate) fn bytes(&self) -> Option<f64> {
        self.result("value_bytes").or_else(|| self.result("batch_bytes")).filter(|bytes| *bytes > 0.0)
    }
}

impl Latency {
    /// The value at `percent`, on the spectrum or between its neighbours.
    pub(crate) fn at(&self, percent: f64) -> Option<f64> {
        let mut before: Option<(f64, f64)> = None;
        for (place, ms) in self.spectrum.iter().filter_map(|(place, ms)| Some((*place, (*ms)?))) {
            if place >= percent {
                let (start, low) = before.unwrap_or((place, ms));
                let share = if place > start { (percent - start) / (place - start) } else { 1.0 };
                return Some(low + (ms - low) * share);
            }
            before = Some((place, ms));
        }
        None
    }
}

/// A command with its settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Workload {
    command: String,
    settings: BTreeMap<String, String>,
}

impl Workload {
    /// In one line, for people.
    pub(crate) fn describe(&self) -> String {
        let settings: Vec<String> = self
            .settings
            .iter()
            .filter(|(_, value)| *value != "null")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("{} {}", self.command, settings.join(" "))
    }

    /// Each setting in which the two differ.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.command != other.command {
            differences.push(format!("command: {} and {}", self.command, other.command));
        }
        let mut names: Vec<&String> = self.settings.keys().chain(other.settings.keys()).collect();
        names.sort();
        names.dedup();
        let absent = "absent".to_owned();
        for name in names {
            let (own, theirs) =
                (self.settings.get(name).unwrap_or(&absent), other.settings.get(name).unwrap_or(&absent));
            if own != theirs {
                differences.push(format!("{name}: {own} and {theirs}"));
            }
        }
        differences
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
pub(crate) mod samples {
    //! Runs for tests.

    use std::path::Path;

    use serde_json::{Value, json};

    use super::{RUN_FILE, Run};

    /// What differs between the runs of a test.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Made {
        pub(crate) started_ms: i64,
        pub(crate) rate: f64,
        pub(crate) mb_per_s: f64,
        pub(crate) p99_ms: f64,
        pub(crate) cpu_s_per_gb: f64,
    }

    impl Default for Made {
        fn default() -> Self {
            Self { started_ms: 1000, rate: 0.0, mb_per_s: 200.0, p99_ms: 4.0, cpu_s_per_gb: 0.5 }
        }
    }

    /// The JSON of a produce run of 2 s with four intervals.
    pub(crate) fn value(made: Made) -> Value {
        let gb = made.mb_per_s * 2.0 / 1e3;
        let p99 = made.p99_ms;
        let intervals: Vec<Value> = (0..4)
            .map(|place| {
                let start = f64::from(place) / 2.0;
                let latency = json!({"count": 500, "p50_ms": p99 / 4.0, "p90_ms": p99 / 2.0, "p99_ms": p99,
                    "p99.9_ms": p99 * 2.0, "max_ms": p99 * (3.0 + start)});
                json!({"start_s": start, "seconds": 0.5, "due": 0, "records": 1000, "bytes": 1_000_000,
                    "requests": 10, "errors": 0, "lag": 0, "latencies": {"latency": latency}})
            })
            .collect();
        let memory: Vec<Value> = (0..4)
            .map(|place| {
                json!({"start_s": f64::from(place) / 2.0, "seconds": 0.5, "cpu_s": 0.1,
                "resident_bytes": 100_000_000 + place * 10_000_000, "written_bytes": null})
            })
            .collect();
        json!({
            "format": 1, "tool": {"name": "loadgen", "version": "0.1.0", "build": "release"},
            "run": "00000000000000aa", "command": "produce",
            "command_line": ["loadgen", "produce", "--rate", made.rate.to_string(), "<&>"], "seed": 7,
            "started_at": "2026-11-21T20:00:00.000Z", "started_unix_ms": made.started_ms, "seconds": 2.0,
            "interrupted": false, "failed": false, "faults": [], "notes": {},
            "host": {"name": "h", "kernel": "6.1", "cpu_model": "cpu <x>", "cores": 2, "memory_bytes": 8_000_000_000_u64},
            "broker": {"bootstrap": "127.0.0.1:9092", "cluster_id": null, "brokers": 1, "pid": null,
                "command_line": null, "build": null},
            "scenario": null, "metrics": null, "hdr": null,
            "parts": [{
                "name": "produce", "command": "produce", "start_s": 0.0, "seconds": 2.0,
                "settings": {"topic": format!("t{}", made.started_ms), "size": "fixed:1024", "rate": made.rate, "acks": "all"},
                "results": {"records": 4000, "value_bytes": gb * 1e9, "batch_bytes": gb * 1e9, "seconds": 2.0,
                    "records_per_s": made.mb_per_s * 1000.0, "value_mb_per_s": made.mb_per_s,
                    "latency_p50_ms": p99 / 4.0, "latency_p90_ms": p99 / 2.0, "latency_p99_ms": p99,
                    "latency_p99.9_ms": p99 * 2.0, "latency_max_ms": p99 * 5.0, "latency_mean_ms": p99 / 3.0,
                    "broker_cpu_s": gb * made.cpu_s_per_gb, "broker_cpu_s_per_gb": made.cpu_s_per_gb,
                    "broker_resident_mb_max": 130.0, "client_cpu_s_per_gb": 0.3, "topic": "t"},
                "latencies": [{"name": "latency", "from": "sending", "to": "acknowledgement", "count": 2000,
                    "min_ms": 0.1, "mean_ms": p99 / 3.0, "max_ms": p99 * 5.0, "stdev_ms": 1.0,
                    "spectrum": [[0.0, 0.1], [50.0, p99 / 4.0], [90.0, p99 / 2.0], [99.0, p99], [99.9, p99 * 2.0], [100.0, p99 * 5.0]]}],
                "intervals": intervals
            }],
            "usage": {"client": {"source": "proc", "cpu_s": 0.1},
                "broker": {"source": "proc", "cpu_s": gb * made.cpu_s_per_gb, "resident_bytes_max": 130_000_000,
                    "written_bytes": gb * 2e9, "read_bytes": null, "intervals": memory}}
        })
    }

    pub(crate) fn run(label: &str, made: Made) -> Run {
        named(label, &value(made))
    }

    pub(crate) fn named(label: &str, value: &Value) -> Run {
        let mut run: Run = RUN_FILE.parse(Path::new(label), &value.to_string()).unwrap();
        label.clone_into(&mut run.label);
        run
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::samples::{Made, named, run, value};
    use super::*;

    #[test]
    fn topics_do_not_make_another_workload_and_sizes_do() {
        let one = run("a", Made::default());
        let other = run("b", Made { started_ms: 2000, ..Made::default() });
        assert_eq!(one.workload(), other.workload());
        let mut larger = value(Made::default());
        larger["parts"][0]["settings"]["size"] = json!("fixed:100");
        let larger = named("c", &larger);
        assert_eq!(one.workload().differences(&larger.workload()), ["size: fixed:1024 and fixed:100"]);
    }

    #[test]
    fn runs_of_one_curve_differ_in_their_load_only() {
        let one = run("a", Made { rate: 1000.0, ..Made::default() });
        let other = run("b", Made { rate: 2000.0, ..Made::default() });
        assert_ne!(one.workload(), other.workload());
        assert_eq!(one.curve(), other.curve());
    }

    #[test]
    fn doubts_are_said() {
        assert!(run("a", Made::default()).doubts().is_empty());
        let mut bad = value(Made::default());
        bad["failed"] = json!(true);
        bad["faults"] = json!(["3 records lost"]);
        bad["interrupted"] = json!(true);
        bad["tool"]["build"] = json!("debug");
        bad["parts"][0]["results"]["records_due"] = json!(8000);
        bad["parts"][0]["results"]["errors"] = json!(2);
        let doubts = named("a", &bad).doubts().join(" ");
        for part in
            ["3 records lost", "ended early", "debug build", "4000 of the 8000", "2 requests that failed"]
        {
            assert!(doubts.contains(part), "{doubts}");
        }
    }

    #[test]
    fn a_percentile_between_two_of_the_spectrum_lies_between_them() {
        let run = run("a", Made::default());
        let latency = &run.parts[0].latencies[0];
        assert_eq!(latency.at(99.0), Some(4.0));
        let between = latency.at(95.0).unwrap();
        assert!(between > 2.0 && between < 4.0, "{between}");
    }

    #[test]
    fn a_file_with_nulls_for_figures_that_do_not_exist_is_read() {
        let mut sparse = value(Made::default());
        sparse["usage"]["broker"] = Value::Null;
        sparse["parts"][0]["results"]["value_mb_per_s"] = Value::Null;
        sparse["parts"][0]["latencies"][0]["spectrum"] = json!([[0.0, null], [100.0, 3.0]]);
        let run = named("a", &sparse);
        assert_eq!(run.parts[0].result("value_mb_per_s"), None);
        assert_eq!(run.parts[0].latencies[0].at(50.0), Some(3.0));
    }
}
