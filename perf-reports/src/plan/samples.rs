//! Profiles whose truth is known: made from costs that a test chooses, with as much noise as it asks for.

use serde_json::{Value, json};

use super::answer::Question;
use super::model::{TERMS, Traffic};
use super::profile::{Percentiles, Point, Profile, Role, Used};

/// What a made profile comes from.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) costs: [f64; TERMS],
    /// How long a commit takes.
    pub(crate) commit_s: f64,
    /// Share of a core that the broker gets at saturation.
    pub(crate) usable: f64,
    /// Every measurement is off by up to this share, either way.
    pub(crate) noise: f64,
    pub(crate) base_memory: f64,
    pub(crate) partition_memory: f64,
}

const CORES: f64 = 2.0;
const SECONDS: f64 = 10.0;

/// Record bytes, batch bytes, partitions, fan-out.
const SERIES: [(f64, f64, f64, f64); 9] = [
    (1024.0, 131_072.0, 6.0, 0.0),
    (1024.0, 131_072.0, 100.0, 1.0),
    (1024.0, 131_072.0, 1000.0, 0.0),
    (1024.0, 16_384.0, 100.0, 0.0),
    (1024.0, 1024.0, 6.0, 0.0),
    (100.0, 16_384.0, 6.0, 0.0),
    (100.0, 100.0, 6.0, 0.0),
    (10_240.0, 131_072.0, 6.0, 2.0),
    (10_240.0, 10_240.0, 1000.0, 1.0),
];

const LOADS: [f64; 7] = [0.05, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8];

/// Costs as those of a broker could be.
pub(crate) fn truth() -> Truth {
    Truth {
        costs: [0.4, 0.15, 2.0, 8.0, 0.2, 5.0, 0.01, 0.02, 40.0],
        // One of those that a fit tries.
        commit_s: 1e-5 * 1.15_f64.powi(23),
        usable: 0.5,
        noise: 0.0,
        base_memory: 50e6,
        partition_memory: 20e3,
    }
}

/// 100 MB/s that one node of the made profile carries.
pub(crate) fn question() -> Question {
    Question {
        ingress_bytes_per_s: 100e6,
        fan_out: 1.0,
        cold_share: 0.0,
        record_bytes: 1024.0,
        batch_bytes: Some(131_072.0),
        partitions: 100.0,
        retention_s: 86_400.0,
        replication: 1,
        p99_ms: 50.0,
        growth: 0.0,
        years: 1.0,
        node_cores: None,
        disk_bytes: None,
        disks_max: 8,
        nic_bytes_per_s: None,
        round_trip_ms: 0.5,
        load_max: 0.7,
        spare_nodes: None,
    }
}

impl Truth {
    pub(crate) fn saturated(
        &self,
        name: &str,
        record: f64,
        batch: f64,
        partitions: f64,
        fan_out: f64,
    ) -> Point {
        self.point(name, (record, batch, partitions, fan_out), 1.0)
    }

    /// A run at this share of saturation; at 1 it is flat out and has no latency.
    fn point(&self, series: &str, size: (f64, f64, f64, f64), load: f64) -> Point {
        let (record_bytes, batch_bytes, partitions, fan_out) = size;
        let name = format!("{series} at {load}");
        let [gb, records, batches, requests, read_gb, fetches, second, partition_second, commit] = self.costs;
        let batches_per_request = if partitions >= 100.0 { 4.0 } else { 1.0 };
        let fetch_bytes = 65_536.0;
        // Of one byte of ingress.
        let per_byte = gb / 1e9
            + records / 1e6 / record_bytes
            + batches / 1e6 / batch_bytes
            + requests / 1e6 / batch_bytes / batches_per_request
            + fan_out * (read_gb / 1e9 + fetches / 1e6 / fetch_bytes);
        let idle = second + partition_second * partitions / 1e3;
        let cores = CORES.min(partitions);
        let room = self.usable * cores;
        let off = |what: &str| 1.0 + self.noise * chance(&format!("{name} {what}"));
        let busy = |rate: f64| {
            let each = rate / batch_bytes / batches_per_request / cores;
            let commits = cores / (self.commit_s + (-each * self.commit_s).exp() / each);
            rate * per_byte + idle + commits * commit / 1e6
        };
        let (mut saturation, mut high) = (1.0, 1e12);
        for _ in 0..100 {
            let middle = f64::midpoint(saturation, high);
            if busy(middle) > room { high = middle } else { saturation = middle }
        }
        let rate = saturation * load * if load >= 1.0 { off("rate") } else { 1.0 };
        let utilisation = load;
        let bytes = rate * SECONDS;
        let written = Traffic {
            bytes,
            records: bytes / record_bytes,
            batches: bytes / batch_bytes,
            requests: bytes / batch_bytes / batches_per_request,
        };
        let fetched = bytes * fan_out;
        let read = Traffic {
            bytes: fetched,
            records: fetched / record_bytes,
            batches: fetched / batch_bytes,
            requests: fetched / fetch_bytes,
        };
        let base = (1.0 + record_bytes / 10_240.0) * off("latency");
        let p99 = base * (1.0 + 4.0 * utilisation * utilisation / (1.0 - utilisation).max(0.01));
        Point {
            series: series.to_owned(),
            case: None,
            role: Role::Calibration,
            seconds: SECONDS,
            saturated: load >= 1.0,
            record_bytes,
            partitions,
            written,
            read,
            broker: Used {
                cpu_s: busy(rate) * SECONDS * off("cpu"),
                resident_bytes_max: Some(self.base_memory + self.partition_memory * partitions),
                written_bytes: Some(bytes * 2.0),
            },
            host_cpu_s: Some(0.95 * CORES * SECONDS * load.min(1.0)),
            latency_ms: (load < 1.0).then_some(Percentiles { p99, p999: p99 * 3.0 }),
            name,
        }
    }

    /// A consumer that reads what lies there.
    fn reading(&self, name: &str, bytes: f64, fetch_bytes: f64) -> Point {
        let mut point = self.point(name, (1024.0, 131_072.0, 6.0, 0.0), 0.5);
        name.clone_into(&mut point.name);
        point.written = Traffic::default();
        point.read = Traffic {
            bytes,
            records: bytes / 1024.0,
            batches: bytes / 131_072.0,
            requests: bytes / fetch_bytes,
        };
        let idle = self.costs[6] + self.costs[7] * point.partitions / 1e3;
        let off = 1.0 + self.noise * chance(name);
        point.broker.cpu_s =
            (self.costs[4] * bytes / 1e9 + self.costs[5] * point.read.requests / 1e6 + idle * SECONDS) * off;
        point.broker.written_bytes = Some(0.0);
        point.latency_ms = None;
        point
    }

    fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        let series = |size: &(f64, f64, f64, f64)| format!("{}-{}-{}-{}", size.0, size.1, size.2, size.3);
        for size in &SERIES {
            points.push(self.point(&series(size), *size, 1.0));
            points.extend(LOADS.iter().map(|load| self.point(&series(size), *size, *load)));
        }
        points.push(self.reading("reading", 5e9, 1e6));
        points.push(self.reading("reading little", 5e7, 4096.0));
        let mut held_out = |mut point: Point| {
            point.role = Role::HeldOut;
            points.push(point);
        };
        for place in [0, 3, 6] {
            for load in [0.4, 0.65] {
                held_out(self.point(&series(&SERIES[place]), SERIES[place], load));
            }
        }
        held_out(self.saturated("held 4k", 4096.0, 65_536.0, 6.0, 0.0));
        held_out(self.saturated("held 2k", 2048.0, 2048.0, 6.0, 1.0));
        held_out(self.saturated("held 1k", 1024.0, 131_072.0, 50.0, 0.0));
        points
    }

    pub(crate) fn profile(&self) -> Profile {
        serde_json::from_value(self.json()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        let traffic = |traffic: &Traffic| {
            json!({"bytes": traffic.bytes, "records": traffic.records, "batches": traffic.batches,
                "requests": traffic.requests})
        };
        let points: Vec<Value> = self
            .points()
            .iter()
            .map(|point| {
                json!({"name": point.name, "series": point.series, "start_s": 0.0, "seconds": point.seconds,
                    "role": if point.role == Role::HeldOut { "held_out" } else { "calibration" },
                    "saturated": point.saturated, "record_bytes": point.record_bytes, "partitions": point.partitions,
                    "written": traffic(&point.written), "read": traffic(&point.read),
                    "broker": {"cpu_s": point.broker.cpu_s, "resident_bytes_max": point.broker.resident_bytes_max,
                        "written_bytes": point.broker.written_bytes, "read_bytes": 0},
                    "host_cpu_s": point.host_cpu_s,
                    "latency_ms": point.latency_ms.map(|ms| json!({"p50": ms.p99 / 3.0, "p99": ms.p99, "p99.9": ms.p999}))})
            })
            .collect();
        json!({
            "kind": "profile", "format": 1, "tool": {"name": "loadgen", "version": "0.1.0", "build": "release"},
            "started_at": "2026-11-21T20:00:00.000Z",
            "host": {"name": "made", "kernel": "6.1", "cpu_model": "cpu", "cores": 2, "memory_bytes": 8_000_000_000_u64},
            "broker": {"name": "made 0.1.0", "cores": CORES}, "clients_on_host": true,
            "limits": {"sync_p50_ms": 0.11, "sync_p99_ms": 0.3, "syncs_per_s": 8000.0, "append_bytes_per_s": 1e9,
                "read_bytes_per_s": 2e9, "network_bytes_per_s": 4e9, "network": "loopback", "disk_bytes": 20e12},
            "points": points
        })
    }
}

/// From −1 to 1, the same for the same words.
fn chance(words: &str) -> f64 {
    let mut state = words.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    state ^= state >> 29;
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state ^= state >> 32;
    (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}
