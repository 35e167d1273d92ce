//! Latency over utilisation, as it was measured: a curve for each series, and between series by how alike they are.

use std::collections::BTreeMap;

use super::profile::Percentiles;

/// What makes the latency of one series like that of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) record_bytes: f64,
    pub(crate) batch_bytes: f64,
    pub(crate) partitions: f64,
    /// Bytes read for each byte written.
    pub(crate) fan_out: f64,
}

impl Shape {
    /// The squared distance, in factors of four.
    fn distance(&self, other: &Self) -> f64 {
        let factors = |one: f64, other: f64| ((one / other).ln() / 4.0_f64.ln()).powi(2);
        factors(self.record_bytes, other.record_bytes)
            + factors(self.batch_bytes, other.batch_bytes)
            + factors(self.partitions, other.partitions)
            + factors(1.0 + self.fan_out, 1.0 + other.fan_out)
    }
}

/// All series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Curves {
    series: BTreeMap<String, Curve>,
}

/// Distances below it, squared, are none: a series speaks for itself.
const NEAR: f64 = 1e-6;

#[derive(Clone, Debug, Default)]
struct Curve {
    shapes: Vec<Shape>,
    points: Vec<(f64, Percentiles)>,
    p99: Line,
    p999: Line,
}

impl Curves {
    pub(crate) fn add(&mut self, series: &str, shape: Shape, utilisation: f64, latency: Percentiles) {
        let curve = self.series.entry(series.to_owned()).or_default();
        curve.shapes.push(shape);
        curve.points.push((utilisation, latency));
    }

    /// Draws the curves through what was added.
    pub(crate) fn finish(&mut self) {
        for curve in self.series.values_mut() {
            let of = |which: fn(&Percentiles) -> f64| {
                Line::rising(
                    curve.points.iter().map(|(load, latency)| (*load, which(latency).ln())).collect(),
                )
            };
            let (p99, p999) = (of(|latency| latency.p99), of(|latency| latency.p999));
            (curve.p99, curve.p999) = (p99, p999);
        }
    }

    /// What work of this shape waits at this utilisation; nothing where the nearest series was not measured so high.
    pub(crate) fn at(&self, shape: &Shape, utilisation: f64) -> Option<Percentiles> {
        let nearest = self.nearest(shape)?;
        nearest.p99.at(utilisation)?;
        let (mut weights, mut p99, mut p999) = (0.0, 0.0, 0.0);
        for curve in self.series.values() {
            let (Some(low), Some(high)) = (curve.p99.at(utilisation), curve.p999.at(utilisation)) else {
                continue;
            };
            let weight = 1.0 / (curve.distance(shape) + NEAR);
            weights += weight;
            p99 += weight * low;
            p999 += weight * high;
        }
        let p99 = (p99 / weights).exp();
        Some(Percentiles { p99, p999: (p999 / weights).exp().max(p99) })
    }

    /// The least and the greatest utilisation of the nearest series.
    pub(crate) fn range(&self, shape: &Shape) -> Option<(f64, f64)> {
        let line = &self.nearest(shape)?.p99;
        Some((line.points.first()?.0, line.points.last()?.0))
    }

    fn nearest(&self, shape: &Shape) -> Option<&Curve> {
        self.series.values().min_by(|one, other| one.distance(shape).total_cmp(&other.distance(shape)))
    }
}

impl Curve {
    /// To the nearest of its points: batches grow with the load.
    fn distance(&self, shape: &Shape) -> f64 {
        self.shapes.iter().map(|own| own.distance(shape)).fold(f64::INFINITY, f64::min)
    }
}

/// A line that does not fall, straight between its points.
#[derive(Clone, Debug, Default)]
struct Line {
    points: Vec<(f64, f64)>,
}

impl Line {
    /// The rising line nearest to `points`: where they fall, neighbours are taken together (pool adjacent violators).
    fn rising(mut points: Vec<(f64, f64)>) -> Self {
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        // Each pool: how many points, and the sum of their values.
        let mut pools: Vec<(usize, f64)> = Vec::new();
        for (_, value) in &points {
            pools.push((1, *value));
            while let [.., before, last] = pools.as_slice() {
                if before.1 / before.0 as f64 <= last.1 / last.0 as f64 {
                    break;
                }
                let joined = (before.0 + last.0, before.1 + last.1);
                pools.truncate(pools.len() - 2);
                pools.push(joined);
            }
        }
        let levels = pools.iter().flat_map(|(count, sum)| std::iter::repeat_n(sum / *count as f64, *count));
        let points = points.iter().zip(levels).map(|(point, level)| (point.0, level)).collect();
        Self { points }
    }

    /// The value at `place`; before the first point that of the first, nothing after the last.
    fn at(&self, place: f64) -> Option<f64> {
        let after = self.points.iter().position(|point| point.0 >= place)?;
        let (right, high) = self.points[after];
        let Some((left, low)) = after.checked_sub(1).map(|before| self.points[before]) else {
            return Some(high);
        };
        Some(low + (high - low) * (place - left) / (right - left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(record_bytes: f64) -> Shape {
        Shape { record_bytes, batch_bytes: 16_384.0, partitions: 6.0, fan_out: 0.0 }
    }

    /// Name, record bytes, and loads with their p99.
    type Made<'a> = (&'a str, f64, &'a [(f64, f64)]);

    fn curves(series: &[Made<'_>]) -> Curves {
        let mut curves = Curves::default();
        for (name, record_bytes, points) in series {
            for (load, p99) in *points {
                curves.add(name, shape(*record_bytes), *load, Percentiles { p99: *p99, p999: p99 * 2.0 });
            }
        }
        curves.finish();
        curves
    }

    fn p99(curves: &Curves, record_bytes: f64, load: f64) -> Option<f64> {
        curves.at(&shape(record_bytes), load).map(|latency| latency.p99)
    }

    fn near(found: Option<f64>, expected: f64) {
        let found = found.expect("a latency");
        assert!((found / expected - 1.0).abs() < 0.01, "{found} is not {expected}");
    }

    #[test]
    fn a_series_says_what_it_measured_and_between_two_points_what_lies_between() {
        let curves = curves(&[("a", 1000.0, &[(0.2, 1.0), (0.6, 4.0)])]);
        near(p99(&curves, 1000.0, 0.2), 1.0);
        near(p99(&curves, 1000.0, 0.4), 2.0);
        near(p99(&curves, 1000.0, 0.1), 1.0);
        assert_eq!(p99(&curves, 1000.0, 0.61), None, "above what was measured it is silent");
        assert_eq!(curves.range(&shape(1000.0)), Some((0.2, 0.6)));
    }

    #[test]
    fn one_lucky_run_does_not_make_a_curve_fall() {
        let curves = curves(&[("a", 1000.0, &[(0.2, 1.0), (0.4, 8.0), (0.5, 2.0), (0.6, 16.0)])]);
        near(p99(&curves, 1000.0, 0.4), 4.0);
        near(p99(&curves, 1000.0, 0.5), 4.0);
        near(p99(&curves, 1000.0, 0.6), 16.0);
    }

    #[test]
    fn between_series_the_nearer_one_weighs_more_and_an_equal_one_all() {
        let curves =
            curves(&[("a", 100.0, &[(0.1, 1.0), (0.9, 1.0)]), ("b", 10_000.0, &[(0.1, 16.0), (0.9, 16.0)])]);
        near(p99(&curves, 100.0, 0.5), 1.0);
        near(p99(&curves, 1000.0, 0.5), 4.0);
        let closer = p99(&curves, 300.0, 0.5).unwrap();
        assert!(closer > 1.0 && closer < 4.0, "{closer}");
    }

    #[test]
    fn without_series_nothing_is_said() {
        assert_eq!(p99(&Curves::default(), 100.0, 0.5), None);
    }
}
