//! Latencies of a run, to three digits, from a microsecond to an hour.

use std::time::Duration;

/// Counts of latencies. Threads fill their own and add them up at the end.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    micros: hdrhistogram::Histogram<u64>,
}

/// Longest latency that is told apart from longer ones.
const LONGEST: Duration = Duration::from_secs(3600);

/// Significant decimal digits.
const DIGITS: u8 = 3;

/// Percentiles that are reported.
pub(crate) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

impl Histogram {
    pub(crate) fn new() -> Self {
        let micros = hdrhistogram::Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, DIGITS);
        // The bounds are constants that the crate accepts.
        Self { micros: micros.unwrap_or_else(|error| unreachable!("histogram bounds: {error}")) }
    }

    /// Counts `count` latencies of this length; shorter than a microsecond counts as one.
    pub(crate) fn record(&mut self, latency: Duration, count: u64) {
        let micros = u64::try_from(latency.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        self.micros.saturating_record_n(micros.max(1), count);
    }

    /// Adds what another thread counted.
    pub(crate) fn add(&mut self, other: &Self) {
        // Same bounds, so everything fits.
        let added = self.micros.add(&other.micros);
        assert!(added.is_ok());
    }

    /// Forgets everything.
    pub(crate) fn reset(&mut self) {
        self.micros.reset();
    }

    pub(crate) fn count(&self) -> u64 {
        self.micros.len()
    }

    /// The latency that `percent` of the counted ones do not exceed, in milliseconds; 0 without any.
    pub(crate) fn percentile_ms(&self, percent: f64) -> f64 {
        if self.micros.is_empty() { 0.0 } else { self.micros.value_at_percentile(percent) as f64 / 1000.0 }
    }

    pub(crate) fn mean_ms(&self) -> f64 {
        self.micros.mean() / 1000.0
    }

    pub(crate) fn min_ms(&self) -> f64 {
        if self.micros.is_empty() { 0.0 } else { self.micros.min() as f64 / 1000.0 }
    }

    pub(crate) fn stdev_ms(&self) -> f64 {
        if self.micros.is_empty() { 0.0 } else { self.micros.stdev() / 1000.0 }
    }

    /// Percent and milliseconds, enough to draw the spectrum: ever closer to 100, as far as the count carries.
    pub(crate) fn spectrum(&self) -> Vec<(f64, f64)> {
        let mut percents = vec![0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0];
        let mut beyond = 10.0;
        // Three points to each power of ten, while a latency at least lies beyond.
        while self.count() as f64 * beyond / 100.0 > 1.0 {
            percents.extend([0.5, 0.25, 0.1].map(|part| 100.0 - beyond * part));
            beyond /= 10.0;
        }
        percents.push(100.0);
        percents.into_iter().map(|percent| (percent, self.percentile_ms(percent))).collect()
    }

    /// In microseconds, as the log of intervals wants it.
    pub(crate) fn as_micros(&self) -> &hdrhistogram::Histogram<u64> {
        &self.micros
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::new();
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms), 1);
        }
        for (percent, expected) in [(50.0, 500.0), (99.0, 990.0), (100.0, 1000.0)] {
            let found = histogram.percentile_ms(percent);
            assert!((found - expected).abs() <= expected / 500.0, "{percent}: {found}");
        }
    }

    #[test]
    fn threads_add_up() {
        let (mut one, mut two) = (Histogram::new(), Histogram::new());
        one.record(Duration::from_millis(1), 10);
        two.record(Duration::from_millis(9), 1);
        one.add(&two);
        assert_eq!(one.count(), 11);
        assert!(one.percentile_ms(100.0) > 8.9);
    }

    #[test]
    fn a_spectrum_ascends_to_the_maximum_and_goes_as_far_as_the_count() {
        let mut histogram = Histogram::new();
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms), 1);
        }
        let spectrum = histogram.spectrum();
        assert!(spectrum.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        assert_eq!(spectrum.first().map(|(percent, _)| *percent), Some(0.0));
        assert!((spectrum.last().unwrap().1 - 1000.0).abs() < 2.0);
        let close = spectrum[spectrum.len() - 2].0;
        assert!((99.8..100.0).contains(&close), "{close}");
        assert_eq!(Histogram::new().spectrum().len(), 11, "of nothing");
    }

    #[test]
    fn absurd_latencies_are_counted_at_the_ends() {
        let mut histogram = Histogram::new();
        histogram.record(Duration::ZERO, 1);
        histogram.record(Duration::MAX, 1);
        assert_eq!(histogram.count(), 2);
        assert!(histogram.percentile_ms(100.0) >= 3_600_000.0);
    }
}
