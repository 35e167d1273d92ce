//! How many records a second are due, over time: pieces in which the rate is steady or changes evenly.

use std::fmt::Write as _;

use crate::distributions::number;
use crate::limits::CURVE_SEGMENTS_MAX;

/// Highest rate, in records a second.
pub(crate) const RATE_MAX: f64 = 1e9;

/// Longest time in a curve, in seconds.
const SECONDS_MAX: f64 = 1e9;

/// A piece of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Segment {
    /// How long it is; without end for a steady rate.
    seconds: f64,
    from: f64,
    to: f64,
}

impl Segment {
    /// Records due in it.
    fn records(&self) -> f64 {
        self.seconds * f64::midpoint(self.from, self.to)
    }

    fn is_steady(&self) -> bool {
        self.seconds.is_infinite() || (self.to - self.from).abs() < 1e-9
    }

    /// When so many of its records are due, in seconds from its start.
    fn time_of(&self, records: f64) -> f64 {
        if self.is_steady() {
            return records / self.from;
        }
        // from·t + slope·t²/2 = records, solved so that it also holds for rates that are almost equal or 0.
        let slope = (self.to - self.from) / self.seconds;
        let root = (self.from * self.from + 2.0 * slope * records).max(0.0).sqrt();
        if root + self.from > 0.0 { 2.0 * records / (self.from + root) } else { 0.0 }
    }
}

/// A rate over time, in records a second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RateCurve {
    segments: Vec<Segment>,
    repeats: bool,
}

/// A place in a curve; moves forward only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CurvePlace {
    segment: usize,
    began_s: f64,
    records_before: f64,
}

impl RateCurve {
    /// The same rate for ever; above 0.
    pub(crate) fn constant(rate: f64) -> Self {
        assert!(rate > 0.0);
        Self { segments: vec![Segment { seconds: f64::INFINITY, from: rate, to: rate }], repeats: false }
    }

    /// `SECONDS:RATE,RATE,…`: each rate for so long.
    pub(crate) fn steps(text: &str) -> Result<Self, String> {
        let (seconds, rates) = text.split_once(':').ok_or("expected steps:SECONDS:RATE,RATE,…")?;
        let seconds = duration(seconds)?;
        let step = |text| rate(text).map(|rate| Segment { seconds, from: rate, to: rate });
        Self::of(rates.split(',').map(step).collect::<Result<_, _>>()?)
    }

    /// `RATE-RATE:SECONDS`: evenly from one to the other.
    pub(crate) fn ramp(text: &str) -> Result<Self, String> {
        let wrong = "expected ramp:RATE-RATE:SECONDS";
        let (rates, seconds) = text.split_once(':').ok_or(wrong)?;
        let (from, to) = rates.split_once('-').ok_or(wrong)?;
        Self::of(vec![Segment { seconds: duration(seconds)?, from: rate(from)?, to: rate(to)? }])
    }

    /// `RATE,PEAK:EVERY,FOR`: the peak for so long, every so many seconds, for ever.
    pub(crate) fn bursts(text: &str) -> Result<Self, String> {
        let wrong = "expected bursts:RATE,PEAK:EVERY,FOR (seconds)";
        let (rates, times) = text.split_once(':').ok_or(wrong)?;
        let (base, peak) = rates.split_once(',').ok_or(wrong)?;
        let (every, length) = times.split_once(',').ok_or(wrong)?;
        let (base, peak, every, length) = (rate(base)?, rate(peak)?, duration(every)?, duration(length)?);
        if length >= every {
            return Err(format!("a burst of {length} s does not fit into {every} s"));
        }
        let quiet = Segment { seconds: every - length, from: base, to: base };
        let curve = Self::of(vec![quiet, Segment { seconds: length, from: peak, to: peak }])?;
        Ok(Self { repeats: true, ..curve })
    }

    /// A CSV of `seconds,rate`: from that second on that rate, until the next line. The last line is the end, and its
    /// rate does not count. A line of names may come first; empty lines and those that start with `#` are passed over.
    pub(crate) fn replay(csv: &str) -> Result<Self, String> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (index, line) in csv.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || (points.is_empty() && line == "seconds,rate") {
                continue;
            }
            let at = |why: String| format!("line {}: {why}", index + 1);
            let pair = line.split_once(',').ok_or_else(|| at("expected seconds,rate".to_owned()))?;
            let seconds = number(pair.0.trim(), 0.0, SECONDS_MAX).map_err(at)?;
            let rate = rate(pair.1.trim()).map_err(at)?;
            match points.last() {
                None if seconds != 0.0 => return Err(at("the first line must be of second 0".to_owned())),
                Some((before, _)) if *before >= seconds => {
                    return Err(at(format!("second {seconds} does not come after second {before}")));
                }
                _ => points.push((seconds, rate)),
            }
        }
        if points.len() < 2 {
            return Err("a curve needs two lines at least, its start and its end".to_owned());
        }
        let segment =
            |pair: &[(f64, f64)]| Segment { seconds: pair[1].0 - pair[0].0, from: pair[0].1, to: pair[0].1 };
        Self::of(points.windows(2).map(segment).collect())
    }

    fn of(segments: Vec<Segment>) -> Result<Self, String> {
        if segments.len() > CURVE_SEGMENTS_MAX {
            return Err(format!("a curve has at most {CURVE_SEGMENTS_MAX} pieces"));
        }
        if segments.iter().map(Segment::records).sum::<f64>() <= 0.0 {
            return Err("nothing is ever due: all rates are 0".to_owned());
        }
        Ok(Self { segments, repeats: false })
    }

    /// How long it goes on; `None` for ever.
    pub(crate) fn seconds(&self) -> Option<f64> {
        let seconds: f64 = self.segments.iter().map(|segment| segment.seconds).sum();
        (!self.repeats && seconds.is_finite()).then_some(seconds)
    }

    /// When `records` records are due, in seconds; `None` when the curve ends before. `place` is of an earlier call with
    /// fewer, or new.
    pub(crate) fn time_of(&self, place: &mut CurvePlace, records: f64) -> Option<f64> {
        loop {
            let segment = self.segments.get(place.segment)?;
            let (within, holds) = (records - place.records_before, segment.records());
            if within < holds {
                return Some(place.began_s + segment.time_of(within));
            }
            place.began_s += segment.seconds;
            place.records_before += holds;
            place.segment += 1;
            if self.repeats && place.segment == self.segments.len() {
                place.segment = 0;
            }
        }
    }

    /// What the curve says, for people.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for segment in self.segments.iter().take(4) {
            let _ = if segment.seconds.is_infinite() {
                write!(text, "{}/s", segment.from)
            } else if segment.is_steady() {
                write!(text, "{}/s for {} s, ", segment.from, segment.seconds)
            } else {
                write!(text, "{}/s to {}/s in {} s, ", segment.from, segment.to, segment.seconds)
            };
        }
        if self.segments.len() > 4 {
            text.push('…');
        }
        text.trim_end_matches(", ").to_owned()
    }
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.0, RATE_MAX)
}

fn duration(text: &str) -> Result<f64, String> {
    number(text, 0.001, SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the records 0, 1, 2 … are due, to the end or a hundred thousand.
    fn times(curve: &RateCurve) -> Vec<f64> {
        let mut place = CurvePlace::default();
        (0..100_000).map_while(|record| curve.time_of(&mut place, f64::from(record))).collect()
    }

    fn between(times: &[f64], from: f64, to: f64) -> usize {
        times.iter().filter(|time| (from..to).contains(*time)).count()
    }

    #[test]
    fn steps_keep_each_rate_for_their_time() {
        let curve = RateCurve::steps("10:100,0,300").unwrap();
        let times = times(&curve);
        assert_eq!(curve.seconds(), Some(30.0));
        assert_eq!((between(&times, 0.0, 10.0), between(&times, 10.0, 20.0)), (1000, 0));
        assert_eq!((between(&times, 20.0, 30.0), times.len()), (3000, 4000));
        assert!((times[1] - 0.01).abs() < 1e-9 && (times[1000] - 20.0).abs() < 1e-9);
    }

    #[test]
    fn a_ramp_changes_evenly_up_and_down() {
        for (text, early, late) in [("0-1000:10", 1250, 3750), ("1000-0:10", 3750, 1250)] {
            let times = times(&RateCurve::ramp(text).unwrap());
            assert!(between(&times, 0.0, 5.0).abs_diff(early) <= 1, "{text}");
            assert!(between(&times, 5.0, 10.0).abs_diff(late) <= 1, "{text}");
            assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{text}");
        }
    }

    #[test]
    fn bursts_come_again_and_again() {
        let times = times(&RateCurve::bursts("10,1000:5,1").unwrap());
        for burst in 0..10 {
            let start = 5.0 * f64::from(burst);
            assert!(between(&times, start, start + 4.0).abs_diff(40) <= 1, "{burst}");
            assert!(between(&times, start + 4.0, start + 5.0).abs_diff(1000) <= 1, "{burst}");
        }
    }

    #[test]
    fn a_recorded_curve_is_replayed() {
        let curve = RateCurve::replay("seconds,rate\n# at night\n0,10\n\n10, 100\n20,0\n").unwrap();
        let times = times(&curve);
        assert_eq!((between(&times, 0.0, 10.0), between(&times, 10.0, 20.0), times.len()), (100, 1000, 1100));
        for (bad, why) in [
            ("", "two lines"),
            ("0,1", "two lines"),
            ("0,1\n5,x", "line 2"),
            ("1,1\n2,1", "second 0"),
            ("0,1\n3,1\n3,2", "line 3"),
            ("0,0\n5,0", "all rates are 0"),
        ] {
            let refused = RateCurve::replay(bad).unwrap_err();
            assert!(refused.contains(why), "{bad:?}: {refused}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "10", "10:", "10:-1", "0:5", "10:0,0", "10:nan"] {
            assert!(RateCurve::steps(bad).is_err(), "{bad}");
        }
        for bad in ["", "5:5", "1-2", "1-2:0", "0-0:5"] {
            assert!(RateCurve::ramp(bad).is_err(), "{bad}");
        }
        for bad in ["", "1,2", "1,2:3", "1,2:3,3", "0,0:3,1"] {
            assert!(RateCurve::bursts(bad).is_err(), "{bad}");
        }
    }
}
