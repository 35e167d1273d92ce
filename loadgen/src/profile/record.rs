//! The profile as it is written and, to go on with it, read again. `perf-reports/PROFILE_FORMAT.md` says what each member
//! means.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::host_limits::Limits;
use super::plan::{Role, Workload};
use crate::client::ClientError;
use crate::host::Host;

const KIND: &str = "profile";

/// Rises when a member changes its meaning or goes.
pub(crate) const FORMAT: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) kind: String,
    pub(crate) format: u32,
    pub(crate) tool: Tool,
    pub(crate) command_line: Vec<String>,
    pub(crate) started_at: String,
    pub(crate) started_unix_ms: u64,
    pub(crate) notes: BTreeMap<String, String>,
    pub(crate) host: Host,
    pub(crate) broker: Broker,
    pub(crate) clients_on_host: bool,
    pub(crate) extent: Extent,
    pub(crate) limits: Limits,
    pub(crate) series: Vec<Series>,
    pub(crate) points: Vec<Point>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) build: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Broker {
    pub(crate) name: String,
    pub(crate) cores: f64,
    /// How its clients came to it, as brokers call it.
    #[serde(default = "plaintext")]
    pub(crate) protocol: String,
}

fn plaintext() -> String {
    "PLAINTEXT".to_owned()
}

/// How much is to be measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) size: String,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    /// In all; fewer are in the file as long as it is not complete.
    pub(crate) points: usize,
}

/// What is common to the points of a series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) record_bytes: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) linger_ms: f64,
    pub(crate) partitions: u32,
    pub(crate) readers: u32,
    /// Client threads, and requests in flight of each: the most that gave as much as any.
    pub(crate) threads: usize,
    pub(crate) in_flight: usize,
    /// More threads and more in flight did not give more.
    pub(crate) saturates: bool,
    /// What the search for them found.
    pub(crate) flat_out_records_per_s: f64,
    /// Client threads of open loops.
    pub(crate) open_threads: usize,
    /// What of an open loop at more than the flat-out rate was acknowledged; null if no point of it is one. Clients that
    /// make each record when it is due cost more than those that send what they have at hand.
    pub(crate) open_records_per_s: Option<f64>,
}

/// Bytes and numbers one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) batches: u64,
    pub(crate) requests: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) name: String,
    /// Points that differ in nothing but when they were made have one case.
    pub(crate) case: String,
    pub(crate) series: String,
    pub(crate) role: String,
    /// Share of `open_records_per_s` that was sent; null flat out.
    pub(crate) load: Option<f64>,
    pub(crate) start_s: f64,
    #[serde(flatten)]
    pub(crate) measured: Measured,
    pub(crate) saturated: bool,
    pub(crate) record_bytes: usize,
    pub(crate) partitions: u32,
}

/// What a run gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) written: Traffic,
    pub(crate) read: Traffic,
    pub(crate) broker: Used,
    pub(crate) clients_cpu_s: f64,
    pub(crate) host_cpu_s: Option<f64>,
    pub(crate) latency_ms: Option<Percentiles>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) cpu_s: f64,
    pub(crate) resident_bytes_max: u64,
    pub(crate) written_bytes: Option<u64>,
    pub(crate) read_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Calibration => "calibration",
            Self::HeldOut => "held_out",
        }
    }
}

impl Measured {
    /// Written, or read where nothing was written.
    pub(crate) fn records_per_s(&self) -> f64 {
        let of = if self.written.records > 0 { self.written } else { self.read };
        of.records as f64 / self.seconds
    }
}

impl Tool {
    pub(crate) fn this() -> Self {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        Self {
            name: "loadgen".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: build.to_owned(),
        }
    }
}

impl Profile {
    pub(crate) fn kind() -> String {
        KIND.to_owned()
    }

    /// Reads what an earlier command wrote.
    pub(crate) fn read(path: &Path) -> Result<Self, ClientError> {
        let cannot = |cause| ClientError::Local { what: format!("cannot read {}", path.display()), cause };
        let text = std::fs::read(path).map_err(cannot)?;
        let wrong =
            |why: String| ClientError::Usage(format!("{} cannot be gone on with: {why}", path.display()));
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| wrong(format!("it is no JSON ({error})")))?;
        if value["kind"] != KIND {
            return Err(wrong("it is no profile".to_owned()));
        }
        if value["format"] != FORMAT {
            return Err(wrong(format!(
                "it has format {}, and this loadgen writes {FORMAT}",
                value["format"]
            )));
        }
        serde_json::from_value(value).map_err(|error| wrong(error.to_string()))
    }

    /// Whether this command would measure the same; else what differs.
    pub(crate) fn goes_on_as(&self, other: &Self) -> Result<(), String> {
        let differs = |what: &str, one: &dyn std::fmt::Debug, other: &dyn std::fmt::Debug| {
            Err(format!("its {what} is {one:?}, and now it would be {other:?}"))
        };
        if self.tool != other.tool {
            return differs("tool", &self.tool, &other.tool);
        }
        if self.broker != other.broker {
            return differs("broker", &self.broker, &other.broker);
        }
        if self.extent != other.extent {
            return differs("extent", &self.extent, &other.extent);
        }
        if self.host != other.host {
            return differs("host", &self.host, &other.host);
        }
        Ok(())
    }

    /// Writes the file whole: beside its place first, so that a reader never sees half of it.
    pub(crate) fn write(&self, path: &Path) -> Result<(), ClientError> {
        let cannot = |cause| ClientError::Local { what: format!("cannot write {}", path.display()), cause };
        let mut json = serde_json::to_vec_pretty(self).map_err(|error| cannot(io::Error::from(error)))?;
        json.push(b'\n');
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        std::fs::write(&beside, json).map_err(cannot)?;
        std::fs::rename(&beside, path).map_err(cannot)
    }

    pub(crate) fn series(&self, workload: &Workload) -> Option<&Series> {
        let name = workload.name();
        self.series.iter().find(|series| series.name == name)
    }

    pub(crate) fn has(&self, point: &str) -> bool {
        self.points.iter().any(|known| known.name == point)
    }
}
