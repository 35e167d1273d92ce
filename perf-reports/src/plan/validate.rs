//! How far the model is off: predicted against measured, for points that it was not fitted to.
//!
//! Where a profile has points that were held out, the model of the others predicts those; else each point is predicted by
//! the model of all others. Of one point CPU per GB and per request are off by the same share, so a point counts for the
//! one it is about: requests of at least [`LARGE_REQUEST_BYTES`] per GB, smaller ones per request.

use super::model::{Model, shape};
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

/// One figure of one point.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) point: String,
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
    /// Points were held out; else each was left out of the fit in turn.
    pub(crate) held_out: bool,
    pub(crate) judged: Vec<Judged>,
}

/// The model of a profile, and how far it is off.
pub(crate) fn model(profile: &Profile) -> Result<(Model, Validation), String> {
    let calibration = profile.points(Role::Calibration);
    let (cores, host_cores) = (profile.broker.cores, (profile.host.cores as f64).max(profile.broker.cores));
    let model = Model::of(&calibration, cores, host_cores)?;
    let held_out = profile.points(Role::HeldOut);
    let mut judged = Vec::new();
    if held_out.is_empty() {
        for left_out in 0..calibration.len() {
            let mut others = calibration.clone();
            let point = others.remove(left_out);
            // Without its only saturated point a profile has no model to judge.
            if let Ok(other) = Model::of(&others, cores, host_cores) {
                judge(&other, point, &mut judged);
            }
        }
    } else {
        for point in &held_out {
            judge(&model, point, &mut judged);
        }
    }
    Ok((model, Validation { held_out: !held_out.is_empty(), judged }))
}

fn judge(model: &Model, point: &Point, judged: &mut Vec<Judged>) {
    let work = point.work();
    let (bytes, requests) =
        (point.written.bytes + point.read.bytes, point.written.requests + point.read.requests);
    let mut put = |what, predicted: f64, measured: f64| {
        if predicted.is_finite() && measured > 0.0 {
            judged.push(Judged { point: point.name.clone(), what, predicted, measured });
        }
    };
    let (what, unit) = if bytes / requests >= LARGE_REQUEST_BYTES {
        (What::CpuPerGb, bytes / 1e9)
    } else {
        (What::CpuPerRequest, requests / 1e6)
    };
    put(what, model.cpu_s(&work) / unit, point.broker.cpu_s / unit);
    if point.saturated {
        let rate = bytes / 1e6 / point.seconds;
        put(What::Saturation, rate * model.saturation(&work), rate);
    }
    let utilisation = model.utilisation(&work);
    if utilisation < LATENCY_LOAD_MAX
        && let Some(measured) = point.latency_ms
        && let Some(predicted) = model.latency(&shape(point), utilisation)
    {
        put(What::P99, predicted.p99, measured.p99);
    }
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
        format!("Median error {how}: {}.", errors.join("; "))
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(["point", "figure", "predicted", "measured", "error"]);
        for judged in &self.judged {
            table.row([
                judged.point.clone(),
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
