//! How far the model is off: predicted against measured, for points that it was not fitted to.
//!
//! Where a profile has points that were held out, the model of the others predicts those; else each case is predicted by
//! the model of all others. Points of one case are judged by their medians. Of one point CPU per GB and per request are off by the same share, so a point counts for the
//! one it is about: requests of at least [`LARGE_REQUEST_BYTES`] per GB, smaller ones per request.

use std::collections::BTreeMap;

use super::model::{Ground, Model, SPENT, shape};
use super::profile::{Point, Profile, Role};
use crate::document::Table;
use crate::number::{median, short};

/// Requests from this size on are judged by their bytes.
const LARGE_REQUEST_BYTES: f64 = 16_384.0;

/// Above this share of saturation no claim is made for latency.
const LATENCY_LOAD_MAX: f64 = 0.7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    CpuPerGb,
    CpuPerRequest,
    Saturation,
    P99,
}

impl What {
    pub(crate) const ALL: [Self; 4] = [Self::CpuPerGb, Self::CpuPerRequest, Self::Saturation, Self::P99];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::CpuPerGb => "CPU s/GB",
            Self::CpuPerRequest => "CPU µs/request",
            Self::Saturation => "saturation, MB/s",
            Self::P99 => "p99 below 70 % load, ms",
        }
    }

    /// Its name in JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::CpuPerGb => "cpu_s_per_gb",
            Self::CpuPerRequest => "cpu_us_per_request",
            Self::Saturation => "saturation_mb_per_s",
            Self::P99 => "p99_ms",
        }
    }
}

/// One figure of one case: of several points that differ in nothing but when they were made, the medians.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) case: String,
    pub(crate) what: What,
    pub(crate) predicted: f64,
    pub(crate) measured: f64,
}

impl Judged {
    /// By which share the prediction is off; above 0 it is too much.
    pub(crate) fn error(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Validation {
    /// Points were held out; else each case was left out of the fit in turn.
    pub(crate) held_out: bool,
    pub(crate) judged: Vec<Judged>,
    /// How far single points are from others of their case: no model comes nearer to a single run.
    noise: Vec<(What, f64)>,
    /// Flat-out points that left the host idle, and all.
    held_up: (usize, usize),
}

/// The model of a profile, and how far it is off.
pub(crate) fn model(profile: &Profile) -> Result<(Model, Validation), String> {
    let calibration = profile.points(Role::Calibration);
    let ground = Ground {
        cores: profile.broker.cores,
        host_cores: (profile.host.cores as f64).max(profile.broker.cores),
        append_bytes_per_s: profile.limits.append_bytes_per_s,
    };
    let model = Model::of(&calibration, ground)?;
    let held_out = profile.points(Role::HeldOut);
    let mut judged = Vec::new();
    if held_out.is_empty() {
        for (case, repeats) in by_case(&calibration) {
            let others: Vec<&Point> =
                calibration.iter().copied().filter(|point| point.case() != case).collect();
            // Without its only saturated point a profile has no model to judge.
            if let Ok(other) = Model::of(&others, ground) {
                judge(&other, &repeats, ground.cores, &mut judged);
            }
        }
    } else {
        for repeats in by_case(&held_out).values() {
            judge(&model, repeats, ground.cores, &mut judged);
        }
    }
    let noise = noise(&model, &profile.points.iter().collect::<Vec<_>>(), ground.cores);
    let flat_out: Vec<&Point> = profile.points.iter().filter(|point| point.saturated).collect();
    let idle = flat_out.iter().filter(|point| !model.is_saturated(point, ground.cores)).count();
    let held_up = (idle, flat_out.len());
    Ok((model, Validation { held_out: !held_out.is_empty(), judged, noise, held_up }))
}

fn by_case<'a>(points: &[&'a Point]) -> BTreeMap<&'a str, Vec<&'a Point>> {
    let mut cases: BTreeMap<&str, Vec<&Point>> = BTreeMap::new();
    for point in points {
        cases.entry(point.case()).or_default().push(point);
    }
    cases
}

/// What can be judged of one point: predicted and measured.
fn figures(model: &Model, point: &Point, cores: f64) -> Vec<(What, f64, f64)> {
    let work = point.work(cores);
    let (bytes, requests) =
        (point.written.bytes + point.read.bytes, point.written.requests + point.read.requests);
    let (what, unit) = if bytes / requests >= LARGE_REQUEST_BYTES {
        (What::CpuPerGb, bytes / 1e9)
    } else {
        (What::CpuPerRequest, requests / 1e6)
    };
    let mut figures = vec![(what, model.cpu_s(&work) / unit, point.broker.cpu_s / unit)];
    if model.is_saturated(point, cores) {
        let rate = bytes / 1e6 / point.seconds;
        figures.push((What::Saturation, rate * model.saturation(&work), rate));
    }
    if let Some(measured) = point.latency_ms {
        let utilisation = model.utilisation(point, cores);
        let predicted = model.latency(&shape(point), utilisation).filter(|_| utilisation < LATENCY_LOAD_MAX);
        if let Some(predicted) = predicted {
            figures.push((What::P99, predicted.p99, measured.p99));
        }
    }
    figures.retain(|(_, predicted, measured)| predicted.is_finite() && *measured > 0.0);
    figures
}

fn judge(model: &Model, repeats: &[&Point], cores: f64, judged: &mut Vec<Judged>) {
    for what in What::ALL {
        let all = repeats.iter().flat_map(|point| figures(model, point, cores));
        let pairs: Vec<(f64, f64)> =
            all.filter(|figure| figure.0 == what).map(|figure| (figure.1, figure.2)).collect();
        let predicted = median(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
        let measured = median(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
        if let Some((predicted, measured)) = predicted.zip(measured) {
            judged.push(Judged { case: repeats[0].case().to_owned(), what, predicted, measured });
        }
    }
}

/// Of each figure how far points are, in the median, from the median of the other points of their case.
fn noise(model: &Model, points: &[&Point], cores: f64) -> Vec<(What, f64)> {
    let mut apart: Vec<(What, f64)> = Vec::new();
    for repeats in by_case(points).values() {
        for what in What::ALL {
            let all = repeats.iter().flat_map(|point| figures(model, point, cores));
            let measured: Vec<f64> = all.filter(|figure| figure.0 == what).map(|figure| figure.2).collect();
            for (place, one) in measured.iter().enumerate() {
                let mut others = measured.clone();
                others.remove(place);
                if let Some(other) = median(&others) {
                    apart.push((what, (one / other - 1.0).abs()));
                }
            }
        }
    }
    let of = |what| {
        let shares: Vec<f64> = apart.iter().filter(|one| one.0 == what).map(|one| one.1).collect();
        Some((what, median(&shares)?))
    };
    What::ALL.into_iter().filter_map(of).collect()
}

impl Validation {
    /// The median of how far predictions of `what` are off, either way, and how many there are.
    pub(crate) fn median_error(&self, what: What) -> Option<(f64, usize)> {
        let errors: Vec<f64> = self
            .judged
            .iter()
            .filter(|judged| judged.what == what)
            .map(|judged| judged.error().abs())
            .collect();
        Some((median(&errors)?, errors.len()))
    }

    /// One sentence for every plan.
    pub(crate) fn sentence(&self) -> String {
        let errors: Vec<String> = What::ALL
            .into_iter()
            .map(|what| match self.median_error(what) {
                Some((error, count)) => format!("{} {:.0} % ({count} points)", what.words(), error * 100.0),
                None => format!("{} not known (no point)", what.words()),
            })
            .collect();
        let how = if self.held_out {
            "of points held out of the fit"
        } else {
            "of each point, left out of the fit in turn"
        };
        format!(
            "Median error {how}: {}.{}{}",
            errors.join("; "),
            self.noise_sentence(),
            self.held_up_sentence()
        )
    }

    /// What was not taken for saturated.
    fn held_up_sentence(&self) -> String {
        match self.held_up {
            (0, _) => String::new(),
            (idle, all) => format!(
                " {idle} of {all} flat-out points left more than {:.0} % of CPU and disk unused: something else held them \
                 up, and they are not taken for saturated.",
                (1.0 - SPENT) * 100.0
            ),
        }
    }

    /// What no prediction of a single run can be better than.
    fn noise_sentence(&self) -> String {
        if self.noise.is_empty() {
            return String::new();
        }
        let each = self.noise.iter().map(|(what, share)| format!("{} {:.0} %", what.words(), share * 100.0));
        format!(
            " Points that were measured again differ from the other times by, in the median: {}.",
            each.collect::<Vec<_>>().join("; ")
        )
    }

    /// The same of one figure.
    pub(crate) fn noise_of(&self, what: What) -> Option<f64> {
        self.noise.iter().find(|known| known.0 == what).map(|known| known.1)
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(["point", "figure", "predicted", "measured", "error"]);
        for judged in &self.judged {
            table.row([
                judged.case.clone(),
                judged.what.words().to_owned(),
                short(judged.predicted),
                short(judged.measured),
                format!("{:+.0} %", judged.error() * 100.0),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::{Truth, truth};

    fn errors(truth: &Truth, held_out: bool) -> Validation {
        let mut profile = truth.profile();
        if !held_out {
            profile.points.retain(|point| point.role == Role::Calibration);
        }
        let validation = model(&profile).unwrap().1;
        assert_eq!(validation.held_out, held_out);
        validation
    }

    #[test]
    fn a_model_of_exact_measurements_predicts_what_was_held_out() {
        for held_out in [true, false] {
            let validation = errors(&truth(), held_out);
            for (what, most) in [
                (What::CpuPerGb, 0.001),
                (What::CpuPerRequest, 0.001),
                (What::Saturation, 0.01),
                (What::P99, 0.1),
            ] {
                let (error, count) = validation.median_error(what).unwrap();
                assert!(error < most, "{what:?} {error} of {count}, held out: {held_out}");
                assert!(count >= 2, "{what:?}: {count}");
            }
        }
    }

    #[test]
    fn what_was_measured_badly_is_seen_as_error() {
        let validation = errors(&Truth { noise: 0.2, ..truth() }, true);
        let (error, _) = validation.median_error(What::CpuPerGb).unwrap();
        assert!(error > 0.01, "noise of 20 % does not vanish: {error}");
        let mut profile = truth().profile();
        for point in profile.points.iter_mut().filter(|point| point.role == Role::HeldOut) {
            point.broker.cpu_s *= 2.0;
        }
        let (error, _) = model(&profile).unwrap().1.median_error(What::CpuPerGb).unwrap();
        assert!((error - 0.5).abs() < 0.01, "half of what was measured was predicted: {error}");
    }

    #[test]
    fn what_was_repeated_is_judged_by_its_median_and_tells_the_noise() {
        let mut profile = truth().profile();
        let once = model(&profile).unwrap().1;
        assert!(once.noise.is_empty(), "nothing was made twice");
        for factor in [1.1, 5.0] {
            let again = profile.points.clone().into_iter().filter(|point| point.case.is_none());
            let again: Vec<Point> = again
                .map(|mut point| {
                    point.case = Some(point.name.clone());
                    point.broker.cpu_s *= if point.role == Role::HeldOut { factor } else { 1.0 };
                    point
                })
                .collect();
            profile.points.extend(again);
        }
        let validation = model(&profile).unwrap().1;
        assert_eq!(validation.judged.len(), once.judged.len());
        let (error, _) = validation.median_error(What::CpuPerGb).unwrap();
        assert!((error - (1.0 - 1.0 / 1.1)).abs() < 0.001, "of 1, 1.1 and 5 the median is 1.1: {error}");
        assert!(validation.noise_of(What::Saturation).unwrap() < 0.001);
        assert!(validation.sentence().contains("measured again differ"), "{}", validation.sentence());
    }

    #[test]
    fn held_out_points_teach_the_model_nothing() {
        let mut profile = truth().profile();
        let before = model(&profile).unwrap().0.costs;
        for point in profile.points.iter_mut().filter(|point| point.role == Role::HeldOut) {
            point.broker.cpu_s *= 100.0;
        }
        let after = model(&profile).unwrap().0.costs;
        assert!(before.iter().zip(after).all(|(before, after)| (before - after).abs() < 1e-12));
    }

    #[test]
    fn the_sentence_has_every_figure_also_those_that_are_not_known() {
        let mut profile = truth().profile();
        for point in &mut profile.points {
            point.latency_ms = None;
        }
        let said = model(&profile).unwrap().1.sentence();
        assert!(
            said.contains("p99 below 70 % load, ms not known") && said.contains("CPU s/GB 0 %"),
            "{said}"
        );
    }
}
