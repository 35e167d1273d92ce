//! What a profile teaches: the CPU of any work, the utilisation that is, and the latency at it.
//!
//! The model is stated in `PROFILE_FORMAT.md`; nothing here knows of nodes or of what is asked.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::curve::{Curves, Shape};
use super::fit::non_negative;
use super::profile::{Percentiles, Point};
use crate::number::median;

/// Costs of the model.
pub(crate) const TERMS: usize = 9;

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
    "s per million commits that requests share",
];

/// Points that a model needs at least: fewer say nothing about nine costs.
const POINTS_MIN: usize = 6;

/// A host of which this share is used has not much left.
pub(crate) const SPENT: f64 = 0.7;

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
    /// Cores of the broker that does it.
    pub(crate) cores: f64,
}

impl Traffic {
    fn times(self, factor: f64) -> Self {
        Self {
            bytes: self.bytes * factor,
            records: self.records * factor,
            batches: self.batches * factor,
            requests: self.requests * factor,
        }
    }
}

impl Work {
    /// What costs something; a commit takes `commit_s`.
    fn terms(&self, commit_s: f64) -> [f64; TERMS] {
        let Self { written, read, seconds, partitions, .. } = self;
        [
            written.bytes / 1e9,
            written.records / 1e6,
            written.batches / 1e6,
            written.requests / 1e6,
            read.bytes / 1e9,
            read.requests / 1e6,
            *seconds,
            partitions * seconds / 1e3,
            self.commits(commit_s) / 1e6,
        ]
    }

    /// Cores that its partitions can keep busy: a partition is served by one.
    fn busy_cores(&self) -> f64 {
        self.cores.min(self.partitions)
    }

    /// Commits on all cores. Each takes `commit_s`; what comes meanwhile goes together into the next, which begins at
    /// once, or with the next request if none has come.
    fn commits(&self, commit_s: f64) -> f64 {
        let rate = self.written.requests / (self.seconds * self.busy_cores());
        if rate == 0.0 {
            return 0.0;
        }
        let idle_s = (-rate * commit_s).exp() / rate;
        self.seconds * self.busy_cores() / (commit_s + idle_s)
    }

    /// So many times the traffic in the same time.
    fn times(&self, factor: f64) -> Self {
        Self { written: self.written.times(factor), read: self.read.times(factor), ..*self }
    }
}

/// A model that was fitted to points.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) costs: [f64; TERMS],
    /// How long a commit takes that requests share.
    pub(crate) commit_s: f64,
    /// Share of a core that the broker got at saturation, beside the clients if they were on its host.
    pub(crate) usable: f64,
    /// Share of the cores that was busy at saturation, whoever used it; nothing if it was not measured.
    pub(crate) busy: Option<f64>,
    /// CPU of all others on the host at saturation, as costs of the broker's work.
    others: Option<[f64; TERMS]>,
    /// Bytes a second of each series flat out, written and read.
    flat_out: BTreeMap<String, f64>,
    /// Bytes written to disk per byte of ingress.
    pub(crate) written_per_byte: Option<f64>,
    /// What the disk took: its limit, or more if the broker wrote more.
    pub(crate) disk_bytes_per_s: f64,
    /// The most that a point wrote to the disk.
    written_max: f64,
    memory: Option<[f64; 3]>,
    host_cores: f64,
    curves: Curves,
}

/// Where a model is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground {
    /// Cores of the broker, and of its host.
    pub(crate) cores: f64,
    pub(crate) host_cores: f64,
    /// What its disk can take alone.
    pub(crate) append_bytes_per_s: f64,
}

impl Model {
    /// The model of these points.
    pub(crate) fn of(points: &[&Point], ground: Ground) -> Result<Self, String> {
        if points.len() < POINTS_MIN {
            return Err(format!(
                "{} calibration points are too few: a model needs {POINTS_MIN}",
                points.len()
            ));
        }
        let cores = ground.cores;
        let (commit_s, costs) = costs(points, cores).ok_or("no costs explain its points")?;
        let mut model = Self {
            costs,
            commit_s,
            usable: 1.0,
            busy: None,
            others: None,
            flat_out: flat_out(points),
            written_per_byte: written_per_byte(points),
            disk_bytes_per_s: written_max(points).max(ground.append_bytes_per_s),
            written_max: written_max(points),
            memory: memory(points),
            host_cores: ground.host_cores,
            curves: Curves::default(),
        };
        let saturated: Vec<&Point> =
            points.iter().copied().filter(|point| model.is_saturated(point, cores)).collect();
        let shares: Vec<f64> = saturated
            .iter()
            .map(|point| {
                let work = point.work(cores);
                model.cpu_s(&work) / (point.seconds * work.busy_cores())
            })
            .collect();
        model.usable = median(&shares).ok_or("no calibration point is saturated: its limit is not known")?;
        let busy: Vec<f64> = saturated
            .iter()
            .filter(|point| point.partitions >= cores)
            .filter_map(|point| Some((point.host_cpu_s? / (point.seconds * ground.host_cores)).min(1.0)))
            .collect();
        model.busy = median(&busy);
        model.others = others(&saturated, &model, cores);
        let open: Vec<&Point> = points.iter().copied().filter(|point| point.latency_ms.is_some()).collect();
        model.curves = model.latencies(&open, cores);
        Ok(model)
    }

    /// The curves of open loops. Of what was repeated the median counts.
    fn latencies(&self, open: &[&Point], cores: f64) -> Curves {
        let mut cases: BTreeMap<&str, Vec<&Point>> = BTreeMap::new();
        for point in open {
            cases.entry(point.case()).or_default().push(point);
        }
        let mut curves = Curves::default();
        for repeats in cases.values() {
            let of = |which: &dyn Fn(&Point) -> Option<f64>| {
                median(&repeats.iter().filter_map(|point| which(point)).collect::<Vec<_>>())
            };
            let p99 = of(&|point| Some(point.latency_ms?.p99));
            let p999 = of(&|point| Some(point.latency_ms?.p999));
            let load = of(&|point| Some(self.utilisation(point, cores)));
            if let (Some(p99), Some(p999), Some(load)) = (p99, p999, load) {
                let latency = Percentiles { p99, p999 };
                curves.add(&repeats[0].series, shape(repeats[0]), load, latency);
            }
        }
        curves.finish();
        curves
    }

    /// Whether the broker could do no more: flat out, and not much of the host was left. Where CPU and disk were idle,
    /// something else held the point up: its clients, or a disk that answered late for a while.
    pub(crate) fn is_saturated(&self, point: &Point, cores: f64) -> bool {
        let is_spent = |used: f64, limit: f64| used >= SPENT * limit * point.seconds;
        let cpu = point.host_cpu_s.is_none_or(|used| is_spent(used, self.host_cores));
        let disk =
            point.broker.written_bytes.is_some_and(|bytes| bytes > 0.0 && is_spent(bytes, self.written_max));
        point.saturated && (cpu || disk || point.partitions < cores)
    }

    /// CPU seconds that `work` takes.
    pub(crate) fn cpu_s(&self, work: &Work) -> f64 {
        cost(&self.costs, &work.terms(self.commit_s))
    }

    /// The share of saturation that a point is: of its series flat out, where that was measured. An open loop's batches
    /// are smaller than those of a broker that has no time, so so many times its work is not what it can be saturated
    /// with.
    pub(crate) fn utilisation(&self, point: &Point, cores: f64) -> f64 {
        match self.flat_out.get(&point.series) {
            Some(flat_out) => bytes_per_s(point) / flat_out,
            None => 1.0 / self.saturation(&point.work(cores)),
        }
    }

    /// How many times as fast the broker that was measured could do `work`, beside its clients.
    pub(crate) fn saturation(&self, work: &Work) -> f64 {
        let by_cpu = match self.others.zip(self.busy) {
            Some((others, busy)) => most(|factor| {
                let terms = work.times(factor).terms(self.commit_s);
                let own = cost(&self.costs, &terms);
                own > work.seconds * work.busy_cores()
                    || own + cost(&others, &terms) > busy * self.host_cores * work.seconds
            }),
            None => self.saturation_within(work, self.usable),
        };
        let disk = work.written.bytes * self.written_per_byte.unwrap_or(1.0) / work.seconds;
        if disk > 0.0 { by_cpu.min(self.disk_bytes_per_s / disk) } else { by_cpu }
    }

    /// How many times as fast a broker could do `work` with this share of its cores, and nothing else short.
    pub(crate) fn saturation_within(&self, work: &Work, usable: f64) -> f64 {
        let room = work.seconds * usable * work.busy_cores();
        most(|factor| self.cpu_s(&work.times(factor)) > room)
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

/// Times of a commit that are tried, from 10 µs to 5 ms.
const COMMIT_S_MIN: f64 = 1e-5;
const COMMIT_S_STEP: f64 = 1.15;
const COMMIT_S_STEPS: i32 = 45;

fn cost(costs: &[f64; TERMS], terms: &[f64; TERMS]) -> f64 {
    terms.iter().zip(costs).map(|(amount, cost)| amount * cost).sum()
}

/// The costs with the least sum of squared relative errors, and the time of a commit that goes with them.
fn costs(points: &[&Point], cores: f64) -> Option<(f64, [f64; TERMS])> {
    let targets: Vec<f64> = points.iter().map(|point| point.broker.cpu_s).collect();
    let tried = (0..COMMIT_S_STEPS).map(|step| COMMIT_S_MIN * COMMIT_S_STEP.powi(step));
    let found = tried.filter_map(|commit_s| {
        let (rows, costs) = fitted(points, &targets, (commit_s, cores))?;
        let error = |(row, target): (&[f64; TERMS], &f64)| (cost(&costs, row) / target - 1.0).powi(2);
        Some((rows.iter().zip(&targets).map(error).sum::<f64>(), commit_s, costs))
    });
    // The first of equals, so that chance in the last digit chooses nothing.
    let best = found.reduce(|best, next| if next.0 < best.0 - SAME_SQUARES { next } else { best })?;
    Some((best.1, best.2))
}

/// Sums of squared relative errors that are the same.
const SAME_SQUARES: f64 = 1e-9;

/// Rows of terms, and the costs that explain the targets by them: relative errors count.
fn fitted(
    points: &[&Point],
    targets: &[f64],
    (commit_s, cores): (f64, f64),
) -> Option<(Vec<[f64; TERMS]>, [f64; TERMS])> {
    let rows: Vec<[f64; TERMS]> = points.iter().map(|point| point.work(cores).terms(commit_s)).collect();
    let shares: Vec<[f64; TERMS]> =
        rows.iter().zip(targets).map(|(row, target)| row.map(|amount| amount / target)).collect();
    let costs = non_negative(&shares, &vec![1.0; shares.len()])?;
    Some((rows, costs))
}

/// What everybody else on the host took, as costs of the broker's work.
fn others(points: &[&Point], model: &Model, cores: f64) -> Option<[f64; TERMS]> {
    let took = |point: &&Point| Some(point.host_cpu_s? - point.broker.cpu_s).filter(|seconds| *seconds > 0.0);
    let known: Vec<&Point> = points.iter().copied().filter(|point| took(point).is_some()).collect();
    let targets: Vec<f64> = known.iter().filter_map(took).collect();
    Some(fitted(&known, &targets, (model.commit_s, cores))?.1)
}

fn bytes_per_s(point: &Point) -> f64 {
    (point.written.bytes + point.read.bytes) / point.seconds
}

/// The median of each series' flat-out points.
fn flat_out(points: &[&Point]) -> BTreeMap<String, f64> {
    let mut rates: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for point in points.iter().filter(|point| point.saturated) {
        rates.entry(point.series.clone()).or_default().push(bytes_per_s(point));
    }
    rates.into_iter().filter_map(|(series, rates)| Some((series, median(&rates)?))).collect()
}

/// The greatest factor with which nothing is over its limit.
fn most(is_over: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (1e-6_f64, 1e6_f64);
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        if is_over(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    low
}

/// The most that a point wrote to the disk, in bytes a second.
fn written_max(points: &[&Point]) -> f64 {
    let rates = points.iter().filter_map(|point| Some(point.broker.written_bytes? / point.seconds));
    rates.fold(0.0, f64::max)
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
        rows.push(memory_terms(point.partitions, bytes_per_s(point)).map(|amount| amount / resident));
    }
    non_negative(&rows, &vec![1.0; rows.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::profile::{Profile, Role};
    use crate::plan::samples::{Truth, truth};

    const GROUND: Ground = Ground { cores: 2.0, host_cores: 2.0, append_bytes_per_s: 1e12 };

    fn model(truth: &Truth) -> (Model, Profile) {
        let profile = truth.profile();
        (Model::of(&profile.points(Role::Calibration), GROUND).unwrap(), profile)
    }

    #[test]
    fn costs_that_made_a_profile_are_found_in_it() {
        let truth = truth();
        let (model, _) = model(&truth);
        for ((found, cost), name) in model.costs.iter().zip(truth.costs).zip(TERM_NAMES) {
            assert!((found - cost).abs() <= 1e-3 * cost + 1e-6, "{name}: {found} is not {cost}");
        }
        assert!((model.commit_s / truth.commit_s - 1.0).abs() < 0.1, "{}", model.commit_s);
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
            let error = model.cpu_s(&point.work(2.0)) / clean.broker.cpu_s - 1.0;
            assert!(error.abs() < 0.06, "{}: {error}", point.name);
        }
    }

    #[test]
    fn saturation_of_work_that_was_not_measured_is_predicted() {
        let truth = truth();
        let (model, _) = model(&truth);
        let point = truth.saturated("3k", 3000.0, 65_536.0, 12.0, 1.0);
        let ratio = model.saturation(&point.work(2.0));
        assert!((ratio - 1.0).abs() < 0.01, "{ratio}");
        let mut half = point.work(2.0);
        half.seconds *= 2.0;
        assert!(model.saturation(&half) > 1.9, "half the rate has twice the room");
    }

    #[test]
    fn one_partition_keeps_one_core_busy_and_says_so_much_of_the_others() {
        let truth = truth();
        let mut profile = truth.profile();
        profile.points.retain(|point| !point.saturated);
        profile.points.push(truth.saturated("one", 1024.0, 131_072.0, 1.0, 0.0));
        let model = Model::of(&profile.points(Role::Calibration), GROUND).unwrap();
        assert!((model.usable - truth.usable).abs() < 1e-3, "{}", model.usable);
        assert!(model.busy.is_none(), "the other core was idle for want of partitions");
        let six = truth.saturated("six", 1024.0, 131_072.0, 6.0, 0.0);
        assert!((model.saturation(&six.work(2.0)) - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_flat_out_point_that_left_the_host_idle_is_not_saturated() {
        let truth = truth();
        let mut profile = truth.profile();
        let mut held_up = truth.saturated("held up", 1024.0, 131_072.0, 6.0, 0.0);
        for traffic in [&mut held_up.written, &mut held_up.read] {
            *traffic = traffic.times(0.2);
        }
        held_up.host_cpu_s = Some(6.0);
        held_up.broker.cpu_s *= 0.3;
        held_up.broker.written_bytes = Some(held_up.written.bytes * 2.0);
        profile.points.push(held_up.clone());
        let model = Model::of(&profile.points(Role::Calibration), GROUND).unwrap();
        assert!(held_up.saturated && !model.is_saturated(&held_up, 2.0));
        assert!((model.busy.unwrap() - 0.95).abs() < 1e-6);
        held_up.broker.written_bytes = Some(model.written_max * held_up.seconds);
        assert!(model.is_saturated(&held_up, 2.0), "its disk had no more to give");
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
        assert!(Model::of(&points[..3], GROUND).unwrap_err().contains("too few"));
        let open: Vec<&Point> = points.into_iter().filter(|point| !point.saturated).collect();
        assert!(Model::of(&open, GROUND).unwrap_err().contains("saturated"));
    }
}
