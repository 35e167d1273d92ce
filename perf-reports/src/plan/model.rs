//! What a profile teaches: the CPU of any work, the utilisation that is, and the latency at it.
//!
//! The model is stated in `PROFILE_FORMAT.md`; nothing here knows of nodes or of what is asked.

use serde::Deserialize;

use super::curve::{Curves, Shape};
use super::fit::non_negative;
use super::profile::{Percentiles, Point};
use crate::number::median;

/// Costs of the model.
pub(crate) const TERMS: usize = 8;

/// What each cost is for, in the order of the terms.
pub(crate) const TERM_NAMES: [&str; TERMS] = [
    "s per GB written",
    "s per million records written",
    "s per million batches written",
    "s per million produce requests",
    "s per GB read",
    "s per million fetch requests",
    "s per second",
    "s per thousand partitions and second",
];

/// Terms that time alone costs.
const TIME_TERMS: [usize; 2] = [6, 7];

/// Points that a model needs at least: fewer say nothing about eight costs.
const POINTS_MIN: usize = 6;

/// Bytes and requests one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) bytes: f64,
    pub(crate) records: f64,
    pub(crate) batches: f64,
    pub(crate) requests: f64,
}

/// What a broker did, or is to do, in some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Work {
    pub(crate) written: Traffic,
    pub(crate) read: Traffic,
    pub(crate) seconds: f64,
    pub(crate) partitions: f64,
}

impl Work {
    fn terms(&self) -> [f64; TERMS] {
        let Self { written, read, seconds, partitions } = self;
        [
            written.bytes / 1e9,
            written.records / 1e6,
            written.batches / 1e6,
            written.requests / 1e6,
            read.bytes / 1e9,
            read.requests / 1e6,
            *seconds,
            partitions * seconds / 1e3,
        ]
    }
}

/// A model that was fitted to points.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) costs: [f64; TERMS],
    /// Share of a core that the broker got at saturation, beside the clients if they were on its host.
    pub(crate) usable: f64,
    /// Share of the cores that was busy at saturation, whoever used it; nothing if it was not measured.
    pub(crate) busy: Option<f64>,
    /// Bytes written to disk per byte of ingress.
    pub(crate) written_per_byte: Option<f64>,
    memory: Option<[f64; 3]>,
    /// Cores of the broker that was measured.
    pub(crate) cores: f64,
    curves: Curves,
}

impl Model {
    /// The model of these points, measured with a broker of so many `cores` on a host of so many.
    pub(crate) fn of(points: &[&Point], cores: f64, host_cores: f64) -> Result<Self, String> {
        if points.len() < POINTS_MIN {
            return Err(format!(
                "{} calibration points are too few: a model needs {POINTS_MIN}",
                points.len()
            ));
        }
        let costs = costs(points).ok_or("no costs explain its points")?;
        let mut model = Self {
            costs,
            usable: 1.0,
            busy: None,
            written_per_byte: written_per_byte(points),
            memory: memory(points),
            cores,
            curves: Curves::default(),
        };
        let saturated: Vec<&&Point> = points.iter().filter(|point| point.saturated).collect();
        let shares: Vec<f64> = saturated
            .iter()
            .map(|point| model.cpu_s(&point.work()) / (point.seconds * cores.min(point.partitions)))
            .collect();
        model.usable = median(&shares).ok_or("no calibration point is saturated: its limit is not known")?;
        let busy: Vec<f64> = saturated
            .iter()
            .filter(|point| point.partitions >= cores)
            .filter_map(|point| Some((point.host_cpu_s? / (point.seconds * host_cores)).min(1.0)))
            .collect();
        model.busy = median(&busy);
        let mut curves = Curves::default();
        for point in points {
            if let Some(latency) = point.latency_ms {
                curves.add(&point.series, shape(point), model.utilisation(&point.work()), latency);
            }
        }
        curves.finish();
        model.curves = curves;
        Ok(model)
    }

    /// CPU seconds that `work` takes.
    pub(crate) fn cpu_s(&self, work: &Work) -> f64 {
        work.terms().iter().zip(self.costs).map(|(amount, cost)| amount * cost).sum()
    }

    /// CPU seconds that the time of `work` takes, if nothing is done in it.
    pub(crate) fn idle_cpu_s(&self, work: &Work) -> f64 {
        let terms = work.terms();
        TIME_TERMS.iter().map(|term| terms[*term] * self.costs[*term]).sum()
    }

    /// The share of saturation that `work` is for the broker that was measured.
    pub(crate) fn utilisation(&self, work: &Work) -> f64 {
        self.cpu_s(work) / (work.seconds * self.usable * self.cores.min(work.partitions))
    }

    /// How many times as fast the broker that was measured could do `work`.
    pub(crate) fn saturation(&self, work: &Work) -> f64 {
        let idle = self.idle_cpu_s(work);
        let room = work.seconds * self.usable * self.cores.min(work.partitions) - idle;
        room / (self.cpu_s(work) - idle)
    }

    /// Latency of work of this shape at a share of saturation; nothing above what was measured.
    pub(crate) fn latency(&self, shape: &Shape, utilisation: f64) -> Option<Percentiles> {
        self.curves.at(shape, utilisation)
    }

    /// The lowest utilisation and the highest that a series near to `shape` was measured at.
    pub(crate) fn measured_loads(&self, shape: &Shape) -> Option<(f64, f64)> {
        self.curves.range(shape)
    }

    /// Memory of one broker, in bytes, with so many partitions and bytes a second in and out.
    pub(crate) fn memory_bytes(&self, partitions: f64, bytes_per_s: f64) -> Option<f64> {
        let terms = memory_terms(partitions, bytes_per_s);
        Some(self.memory?.iter().zip(terms).map(|(cost, amount)| cost * amount).sum())
    }
}

/// What makes a point like another one, for its latency.
pub(crate) fn shape(point: &Point) -> Shape {
    Shape {
        record_bytes: point.record_bytes,
        batch_bytes: point.batch_bytes(),
        partitions: point.partitions,
        fan_out: point.fan_out().unwrap_or(0.0),
    }
}

/// Relative errors count: each row is divided by what was measured.
fn costs(points: &[&Point]) -> Option<[f64; TERMS]> {
    let rows: Vec<[f64; TERMS]> =
        points.iter().map(|point| point.work().terms().map(|amount| amount / point.broker.cpu_s)).collect();
    non_negative(&rows, &vec![1.0; rows.len()])
}

fn written_per_byte(points: &[&Point]) -> Option<f64> {
    let writing = points.iter().filter(|point| point.written.bytes > 0.0);
    let shares: Vec<f64> =
        writing.filter_map(|point| Some(point.broker.written_bytes? / point.written.bytes)).collect();
    median(&shares)
}

/// A constant, thousand partitions, GB a second.
fn memory_terms(partitions: f64, bytes_per_s: f64) -> [f64; 3] {
    [1.0, partitions / 1e3, bytes_per_s / 1e9]
}

fn memory(points: &[&Point]) -> Option<[f64; 3]> {
    let mut rows = Vec::new();
    for point in points {
        let Some(resident) = point.broker.resident_bytes_max.filter(|resident| *resident > 0.0) else {
            continue;
        };
        let bytes_per_s = (point.written.bytes + point.read.bytes) / point.seconds;
        rows.push(memory_terms(point.partitions, bytes_per_s).map(|amount| amount / resident));
    }
    non_negative(&rows, &vec![1.0; rows.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::profile::{Profile, Role};
    use crate::plan::samples::{Truth, truth};

    fn model(truth: &Truth) -> (Model, Profile) {
        let profile = truth.profile();
        (Model::of(&profile.points(Role::Calibration), 2.0, 2.0).unwrap(), profile)
    }

    #[test]
    fn costs_that_made_a_profile_are_found_in_it() {
        let truth = truth();
        let (model, _) = model(&truth);
        for ((found, cost), name) in model.costs.iter().zip(truth.costs).zip(TERM_NAMES) {
            assert!((found - cost).abs() <= 1e-3 * cost + 1e-6, "{name}: {found} is not {cost}");
        }
        assert!((model.usable - truth.usable).abs() < 1e-3, "{}", model.usable);
        assert!((model.busy.unwrap() - 0.95).abs() < 1e-6);
        assert!((model.written_per_byte.unwrap() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn costs_are_near_the_truth_when_every_measurement_is_off_by_some_percent() {
        let truth = Truth { noise: 0.05, ..truth() };
        let (model, profile) = model(&truth);
        let clean = Truth { noise: 0.0, ..truth.clone() }.profile();
        for (point, clean) in profile.points.iter().zip(&clean.points) {
            let error = model.cpu_s(&point.work()) / clean.broker.cpu_s - 1.0;
            assert!(error.abs() < 0.06, "{}: {error}", point.name);
        }
    }

    #[test]
    fn saturation_of_work_that_was_not_measured_is_predicted() {
        let truth = truth();
        let (model, _) = model(&truth);
        let point = truth.saturated("3k", 3000.0, 65_536.0, 12.0, 1.0);
        let ratio = model.saturation(&point.work());
        assert!((ratio - 1.0).abs() < 0.01, "{ratio}");
        let mut half = point.work();
        half.seconds *= 2.0;
        assert!(model.saturation(&half) > 1.9, "half the rate has twice the room");
    }

    #[test]
    fn one_partition_keeps_one_core_busy_and_says_so_much_of_the_others() {
        let truth = truth();
        let mut profile = truth.profile();
        profile.points.retain(|point| !point.saturated);
        profile.points.push(truth.saturated("one", 1024.0, 131_072.0, 1.0, 0.0));
        let model = Model::of(&profile.points(Role::Calibration), 2.0, 2.0).unwrap();
        assert!((model.usable - truth.usable).abs() < 1e-3, "{}", model.usable);
        assert!(model.busy.is_none(), "the other core was idle for want of partitions");
        let six = truth.saturated("six", 1024.0, 131_072.0, 6.0, 0.0);
        assert!((model.saturation(&six.work()) - 1.0).abs() < 0.01);
    }

    #[test]
    fn memory_grows_with_partitions_as_it_did() {
        let truth = truth();
        let (model, _) = model(&truth);
        let memory = model.memory_bytes(2000.0, 0.0).unwrap();
        assert!(
            (memory / (truth.base_memory + 2000.0 * truth.partition_memory) - 1.0).abs() < 0.01,
            "{memory}"
        );
    }

    #[test]
    fn too_few_points_or_none_that_is_saturated_make_no_model() {
        let profile = truth().profile();
        let points = profile.points(Role::Calibration);
        assert!(Model::of(&points[..3], 2.0, 2.0).unwrap_err().contains("too few"));
        let open: Vec<&Point> = points.into_iter().filter(|point| !point.saturated).collect();
        assert!(Model::of(&open, 2.0, 2.0).unwrap_err().contains("saturated"));
    }
}
