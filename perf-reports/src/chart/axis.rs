//! Axes: from values to places between 0 and 1, and the values that are written beside them.

use crate::number::tick;

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero, always.
    Linear,
    /// Only values above zero have a place.
    Log,
    /// Percentiles: each further nine takes as much room as the one before it.
    Nines,
}

/// One axis that has room for all values it was made for.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) label: String,
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<(f64, String)>,
}

/// Labels on an axis, about.
const TICKS: f64 = 5.0;

/// Share of the axis behind which a label would stand in that of the maximum.
const LABELS_END: f64 = 0.89;

/// Room for the maximum behind the last percentile, in nines.
const MAXIMUM_ROOM: f64 = 0.5;

impl Axis {
    /// An axis over `values`; those that have no place on the scale are passed over.
    pub(crate) fn over(
        label: impl Into<String>,
        scale: Scale,
        values: impl IntoIterator<Item = f64>,
    ) -> Self {
        let mut least = f64::INFINITY;
        let mut most = f64::NEG_INFINITY;
        for value in values {
            let value = if scale == Scale::Nines { nines(value) } else { value };
            if value.is_finite() && (scale != Scale::Log || value > 0.0) {
                least = least.min(value);
                most = most.max(value);
            }
        }
        let (from, to, ticks) = match scale {
            Scale::Linear => linear(most),
            Scale::Log => log(least, most),
            Scale::Nines => percentiles(most),
        };
        Self { label: label.into(), scale, from, to, ticks }
    }

    /// Where `value` is, from 0 to 1; nothing for a value that has no place.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        let (value, from, to) = match self.scale {
            Scale::Linear => (value, self.from, self.to),
            Scale::Log if value > 0.0 => (value.log10(), self.from.log10(), self.to.log10()),
            Scale::Log => return None,
            Scale::Nines => (nines(value), self.from, self.to),
        };
        // The hundredth percentile is infinitely many nines away: it stands at the end.
        (!value.is_nan()).then(|| ((value - from) / (to - from)).clamp(0.0, 1.0))
    }

    /// Places and texts of the labels.
    pub(crate) fn ticks(&self) -> impl Iterator<Item = (f64, &str)> {
        self.ticks.iter().filter_map(|(value, text)| Some((self.place(*value)?, text.as_str())))
    }
}

fn nines(percent: f64) -> f64 {
    -(1.0 - percent / 100.0).max(0.0).log10()
}

/// The least of 1, 2 and 5 times a power of ten that is not below `value`.
fn round_up(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let step = steps.iter().find(|step| **step * decade >= value * (1.0 - 1e-9));
    step.copied().unwrap_or(10.0) * decade
}

/// The greatest of 1, 2 and 5 times a power of ten that is not above `value`.
fn round_down(value: f64) -> f64 {
    let decade = 10_f64.powf((value.log10() + 1e-9).floor());
    let step = [5.0, 2.0, 1.0].into_iter().find(|step| step * decade <= value * (1.0 + 1e-9));
    step.unwrap_or(1.0) * decade
}

fn linear(most: f64) -> (f64, f64, Vec<(f64, String)>) {
    let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
    let step = round_up(most / TICKS);
    let count = (most / step - 1e-9).ceil().max(1.0) as usize;
    let ticks: Vec<(f64, String)> =
        (0..=count).map(|place| place as f64 * step).map(|value| (value, tick(value))).collect();
    (0.0, count as f64 * step, ticks)
}

fn log(least: f64, most: f64) -> (f64, f64, Vec<(f64, String)>) {
    let (least, most) = if least.is_finite() { (least, most) } else { (1.0, 10.0) };
    let from = round_down(least);
    let mut to = round_up(most);
    if to <= from {
        to = round_up(from * 1.5);
    }
    let decades = (to / from).log10();
    let all: Vec<f64> = if decades < 1.7 {
        std::iter::successors(Some(from), |value| Some(round_up(value * 1.5)))
            .take_while(|value| *value <= to * 1.001)
            .collect()
    } else {
        let first = 10_f64.powf((from.log10() - 1e-9).ceil());
        let step = 10_f64.powf((decades / (TICKS + 1.0)).ceil());
        std::iter::successors(Some(first), |value| Some(value * step))
            .take_while(|value| *value <= to * 1.001)
            .collect()
    };
    (from, to, all.into_iter().map(|value| (value, tick(value))).collect())
}

fn percentiles(most: f64) -> (f64, f64, Vec<(f64, String)>) {
    let most = if most.is_finite() { most.max(2.0) } else { 2.0 };
    let named = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999];
    let mut ticks: Vec<(f64, String)> = named
        .into_iter()
        .filter(|percent| nines(*percent) <= (most + 1e-6).min((most + MAXIMUM_ROOM) * LABELS_END))
        .map(|percent| (percent, format!("{percent}")))
        .collect();
    ticks.push((100.0, "max".to_owned()));
    (0.0, most + MAXIMUM_ROOM, ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<f64>, expected: f64) {
        let found = found.expect("a place");
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_above_all() {
        let axis = Axis::over("MB", Scale::Linear, [80.0, 93.0]);
        assert_eq!(texts(&axis), ["0", "20", "40", "60", "80", "100"]);
        near(axis.place(0.0), 0.0);
        near(axis.place(50.0), 0.5);
    }

    #[test]
    fn a_log_axis_gives_each_decade_the_same_room() {
        let axis = Axis::over("ms", Scale::Log, [0.1, 3.0, 1000.0]);
        near(axis.place(0.1), 0.0);
        near(axis.place(10.0), 0.5);
        near(axis.place(1000.0), 1.0);
        assert_eq!(axis.place(0.0), None, "zero has no place");
        assert_eq!(texts(&axis), ["0.1", "1", "10", "100", "1000"]);
    }

    #[test]
    fn a_narrow_log_axis_has_labels_too() {
        let axis = Axis::over("ms", Scale::Log, [1.2, 8.0]);
        assert_eq!(texts(&axis), ["1", "2", "5", "10"]);
        let one_value = Axis::over("ms", Scale::Log, [5.0, 5.0]);
        near(one_value.place(5.0), 0.0);
        assert!(one_value.ticks().count() >= 2);
    }

    #[test]
    fn each_nine_takes_the_same_room_and_the_maximum_stands_at_the_end() {
        let axis = Axis::over("percentile", Scale::Nines, [0.0, 90.0, 99.9, 100.0]);
        let step = axis.place(99.0).unwrap() - axis.place(90.0).unwrap();
        near(axis.place(99.9), axis.place(99.0).unwrap() + step);
        near(axis.place(100.0), 1.0);
        assert_eq!(texts(&axis).last(), Some(&"max"));
        assert!(!texts(&axis).contains(&"99.99"), "no label where nothing was counted");
        let long = Axis::over("percentile", Scale::Nines, [0.0, 99.999, 100.0]);
        assert_eq!(texts(&long)[4..], ["99.9", "99.99", "max"], "no label in that of the maximum");
    }

    #[test]
    fn axes_without_values_still_stand() {
        for scale in [Scale::Linear, Scale::Log, Scale::Nines] {
            let axis = Axis::over("", scale, [f64::NAN, f64::INFINITY]);
            assert!(axis.ticks().all(|(place, _)| (0.0..=1.0).contains(&place)), "{scale:?}");
        }
    }
}
