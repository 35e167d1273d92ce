//! The profile of a host and a broker, as `PROFILE_FORMAT.md` says it (format 1).

use std::path::Path;

use serde::Deserialize;

use super::model::{Traffic, Work};
use crate::error::ReportError;
use crate::file::FileKind;
use crate::run::{Host, Tool};

const PROFILE: FileKind = FileKind { name: "profile", kind: Some("profile"), format: 1 };

#[derive(Debug, Deserialize)]
pub(crate) struct Profile {
    pub(crate) tool: Tool,
    pub(crate) started_at: String,
    pub(crate) host: Host,
    pub(crate) broker: ProfiledBroker,
    pub(crate) clients_on_host: bool,
    pub(crate) limits: Limits,
    pub(crate) points: Vec<Point>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ProfiledBroker {
    pub(crate) name: String,
    pub(crate) cores: f64,
}

/// What the host can do without the broker.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Limits {
    #[serde(default)]
    pub(crate) sync_p50_ms: Option<f64>,
    pub(crate) append_bytes_per_s: f64,
    pub(crate) read_bytes_per_s: f64,
    pub(crate) network_bytes_per_s: f64,
    pub(crate) network: Network,
    #[serde(default)]
    pub(crate) disk_bytes: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Network {
    Loopback,
    Nic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    Calibration,
    HeldOut,
}

/// One run.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Point {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) case: Option<String>,
    pub(crate) series: String,
    pub(crate) role: Role,
    pub(crate) seconds: f64,
    pub(crate) saturated: bool,
    pub(crate) record_bytes: f64,
    pub(crate) partitions: f64,
    pub(crate) written: Traffic,
    pub(crate) read: Traffic,
    pub(crate) broker: Used,
    #[serde(default)]
    pub(crate) host_cpu_s: Option<f64>,
    #[serde(default)]
    pub(crate) latency_ms: Option<Percentiles>,
}

/// What the broker's process used.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Used {
    pub(crate) cpu_s: f64,
    #[serde(default)]
    pub(crate) resident_bytes_max: Option<f64>,
    #[serde(default)]
    pub(crate) written_bytes: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
}

impl Profile {
    pub(crate) fn read(path: &Path) -> Result<Self, ReportError> {
        let profile: Self = PROFILE.read(path)?;
        profile
            .check()
            .map_err(|why| ReportError::asked(format!("{} cannot be used: {why}", path.display())))?;
        Ok(profile)
    }

    /// What a model can rely on.
    fn check(&self) -> Result<(), String> {
        let limits = &self.limits;
        for (name, value) in [
            ("broker.cores", self.broker.cores),
            ("limits.append_bytes_per_s", limits.append_bytes_per_s),
            ("limits.read_bytes_per_s", limits.read_bytes_per_s),
            ("limits.network_bytes_per_s", limits.network_bytes_per_s),
        ] {
            above_zero(name, value)?;
        }
        for point in &self.points {
            let name = |member: &str| format!("{member} of point \"{}\"", point.name);
            above_zero(&name("seconds"), point.seconds)?;
            above_zero(&name("broker.cpu_s"), point.broker.cpu_s)?;
            above_zero(&name("record_bytes"), point.record_bytes)?;
            above_zero(&name("partitions"), point.partitions)?;
            above_zero(&name("bytes, written and read,"), point.written.bytes + point.read.bytes)?;
            for traffic in [&point.written, &point.read] {
                let counts = [traffic.records, traffic.batches, traffic.requests];
                let sound = if traffic.bytes > 0.0 {
                    counts.iter().all(|count| *count > 0.0)
                } else {
                    traffic.bytes == 0.0 && counts.iter().all(|count| *count >= 0.0)
                };
                if !sound {
                    return Err(format!(
                        "point \"{}\" has bytes without records, or less than none",
                        point.name
                    ));
                }
            }
            if let Some(latency) = point.latency_ms {
                above_zero(&name("latency_ms.p99"), latency.p99)?;
                if latency.p999 < latency.p99 {
                    return Err(format!("point \"{}\" has p99.9 below p99", point.name));
                }
            }
        }
        Ok(())
    }

    /// Points of one role.
    pub(crate) fn points(&self, role: Role) -> Vec<&Point> {
        self.points.iter().filter(|point| point.role == role).collect()
    }
}

impl Point {
    /// What a broker of so many cores did in it.
    pub(crate) fn work(&self, cores: f64) -> Work {
        let Self { written, read, seconds, partitions, .. } = *self;
        Work { written, read, seconds, partitions, cores }
    }

    /// Points that differ in nothing but when they were made have the same.
    pub(crate) fn case(&self) -> &str {
        self.case.as_deref().unwrap_or(&self.name)
    }

    /// Bytes of a batch as it was written, or read where nothing was written.
    pub(crate) fn batch_bytes(&self) -> f64 {
        let of = if self.written.bytes > 0.0 { self.written } else { self.read };
        of.bytes / of.batches
    }

    /// Bytes read for each byte written; nothing where nothing was written.
    pub(crate) fn fan_out(&self) -> Option<f64> {
        (self.written.bytes > 0.0).then(|| self.read.bytes / self.written.bytes)
    }
}

fn above_zero(name: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(format!("{name} is {value}")) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::samples::truth;

    fn read(value: &Value) -> Result<Profile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.json");
        std::fs::write(&path, value.to_string()).unwrap();
        Profile::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_profile_is_read() {
        let profile = read(&truth().json()).unwrap();
        assert!(profile.points.len() > 10);
        assert_eq!(profile.limits.network, Network::Loopback);
    }

    #[test]
    fn points_that_no_model_can_use_are_named() {
        for (member, value) in [("seconds", json!(0)), ("record_bytes", json!(-1)), ("partitions", json!(0))]
        {
            let mut bad = truth().json();
            bad["points"][3][member] = value;
            let name = bad["points"][3]["name"].as_str().unwrap().to_owned();
            let said = read(&bad).unwrap_err();
            assert!(said.contains(member) && said.contains(&name), "{said}");
        }
        let mut bad = truth().json();
        bad["points"][0]["written"]["requests"] = json!(0);
        assert!(read(&bad).unwrap_err().contains("bytes without records"));
    }

    #[test]
    fn a_run_file_is_no_profile() {
        let said = read(&json!({"format": 1, "parts": []})).unwrap_err();
        assert!(said.contains("no `kind` of \"profile\""), "{said}");
    }
}
