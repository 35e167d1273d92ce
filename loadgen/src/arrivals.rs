//! When records are due: the open loop.
//!
//! A closed loop that waits for a slow answer also stops asking, and so hides the slowness from its own figures
//! (coordinated omission). Here each record has an intended time that depends on the rate, and perhaps on chance, alone;
//! it is sent as soon after that as the machine can, and its latency counts from the intended time.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use reactor::Instant;

use crate::random::Random;
use crate::rate_curve::{CurvePlace, RateCurve};

/// What `--arrivals` asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ArrivalsWish {
    text: String,
    spacing: Spacing,
    shape: Shape,
}

/// Whether the gaps between records are all alike, or drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spacing {
    Even,
    /// Each record comes without regard to the others, as from many senders that know nothing of each other.
    Poisson,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// The one rate of `--rate`.
    Constant,
    Curve(RateCurve),
    Replay(PathBuf),
    /// No intended times: the next record when there is room.
    Closed,
}

impl FromStr for ArrivalsWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (spacing, shape) = match text.strip_prefix("poisson") {
            Some("") => (Spacing::Poisson, "constant"),
            Some(rest) => (Spacing::Poisson, rest.strip_prefix(':').unwrap_or(rest)),
            None => (Spacing::Even, text),
        };
        let shape = match shape.split_once(':') {
            None if shape == "constant" => Shape::Constant,
            None if shape == "closed" && spacing == Spacing::Even => Shape::Closed,
            Some(("steps", rest)) => Shape::Curve(RateCurve::steps(rest)?),
            Some(("ramp", rest)) => Shape::Curve(RateCurve::ramp(rest)?),
            Some(("bursts", rest)) => Shape::Curve(RateCurve::bursts(rest)?),
            Some(("replay", file)) if !file.is_empty() => Shape::Replay(PathBuf::from(file)),
            _ => {
                let known = "constant, poisson, steps:SECONDS:RATE,RATE,…, ramp:RATE-RATE:SECONDS, \
                             bursts:RATE,PEAK:EVERY,FOR, replay:FILE, poisson:SHAPE or closed";
                return Err(format!("expected {known}"));
            }
        };
        Ok(Self { text: text.to_owned(), spacing, shape })
    }
}

impl fmt::Display for ArrivalsWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How records are to arrive, for all threads of a part together.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    curve: Arc<RateCurve>,
    spacing: Spacing,
}

impl Pattern {
    /// The pattern of `--arrivals` and `--rate`; `None` is the closed loop. Reads the file of a replay.
    pub(crate) fn new(wish: Option<&ArrivalsWish>, rate: f64) -> Result<Option<Self>, String> {
        let Some(wish) = wish else {
            let constant = || Self::of(RateCurve::constant(rate), Spacing::Even);
            return Ok((rate > 0.0).then(constant));
        };
        let curve = match &wish.shape {
            Shape::Constant if rate > 0.0 => RateCurve::constant(rate),
            Shape::Constant => return Err(format!("--arrivals {wish} needs --rate")),
            _ if rate > 0.0 => {
                return Err(format!(
                    "--arrivals {wish} says by itself how fast records come: leave --rate out"
                ));
            }
            Shape::Closed => return Ok(None),
            Shape::Curve(curve) => curve.clone(),
            Shape::Replay(file) => read_curve(file)?,
        };
        Ok(Some(Self::of(curve, wish.spacing)))
    }

    fn of(curve: RateCurve, spacing: Spacing) -> Self {
        Self { curve: Arc::new(curve), spacing }
    }

    /// How long records come; `None`: for ever.
    pub(crate) fn seconds(&self) -> Option<f64> {
        self.curve.seconds()
    }

    /// The arrivals of thread `thread` of so many, from `start` on.
    pub(crate) fn start(&self, start: Instant, thread: (usize, usize), seed: u64) -> Arrivals {
        let random = match self.spacing {
            Spacing::Even => None,
            Spacing::Poisson => Some(Random::stream(seed, &[2, thread.0 as u64])),
        };
        Arrivals::new(start, self.curve.clone(), thread, random)
    }

    /// What comes, for people.
    pub(crate) fn describe(&self) -> String {
        let spacing = match self.spacing {
            Spacing::Even => "evenly spaced",
            Spacing::Poisson => "Poisson",
        };
        format!("{}, {spacing}", self.curve.describe())
    }
}

fn read_curve(file: &Path) -> Result<RateCurve, String> {
    let csv =
        std::fs::read_to_string(file).map_err(|why| format!("cannot read {}: {why}", file.display()))?;
    RateCurve::replay(&csv).map_err(|why| format!("{}: {why}", file.display()))
}

/// The intended times of one thread, without drift: the n-th is computed from n, not from the one before. The threads
/// of a part take the records of the whole in turn.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    start: Instant,
    curve: Arc<RateCurve>,
    place: CurvePlace,
    random: Option<Random>,
    threads: f64,
    /// How many records of all threads come before the next one; of chance, how many are expected.
    before: f64,
    next: Option<Instant>,
}

impl Arrivals {
    fn new(start: Instant, curve: Arc<RateCurve>, thread: (usize, usize), random: Option<Random>) -> Self {
        let (threads, before) = (thread.1 as f64, thread.0 as f64);
        let mut arrivals =
            Self { start, curve, place: CurvePlace::default(), random, threads, before, next: None };
        if let Some(random) = &mut arrivals.random {
            arrivals.before = random.exponential() * threads;
        }
        arrivals.look();
        arrivals
    }

    /// When the time of the curve began.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// The intended time of the next record; `None` when no more come.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.next
    }

    /// Takes the next record if it is due at `now`.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next.filter(|due| *due <= now)?;
        self.before += self.random.as_mut().map_or(1.0, Random::exponential) * self.threads;
        self.look();
        Some(due)
    }

    fn look(&mut self) {
        let seconds = self.curve.time_of(&mut self.place, self.before);
        let offset = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        self.next = offset.map(|offset| self.start + offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(wish: &str, rate: f64) -> Pattern {
        Pattern::new(Some(&wish.parse().unwrap()), rate).unwrap().unwrap()
    }

    fn taken(mut arrivals: Arrivals, until: Instant) -> Vec<u64> {
        std::iter::from_fn(|| arrivals.take(until)).map(Instant::as_ns).collect()
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_intended_times_keep_the_rate_however_late_they_are_taken() {
        let mut arrivals = pattern("constant", 1000.0).start(Instant::from_ns(1_000), (0, 1), 0);
        let late = Instant::from_ns(1_000 + 2_500_000);
        let taken: Vec<u64> = std::iter::from_fn(|| arrivals.take(late)).map(Instant::as_ns).collect();
        assert_eq!(taken, [1_000, 1_001_000, 2_001_000]);
        assert_eq!(arrivals.next_due(), Some(Instant::from_ns(3_001_000)));
    }

    #[test]
    fn the_rate_does_not_drift() {
        let arrivals = Pattern::new(None, 3.0).unwrap().unwrap().start(Instant::from_ns(0), (0, 1), 0);
        let hour = Instant::from_ns(3600 * SECOND - 1);
        assert_eq!(taken(arrivals, hour).len(), 3 * 3600);
    }

    #[test]
    fn threads_take_turns_and_make_up_the_whole() {
        let pattern = pattern("constant", 100.0);
        let end = Instant::from_ns(SECOND - 1);
        let thread = |index| taken(pattern.start(Instant::from_ns(0), (index, 3), 0), end);
        let mut all: Vec<u64> = (0..3).flat_map(thread).collect();
        all.sort_unstable();
        assert_eq!(all, taken(pattern.start(Instant::from_ns(0), (0, 1), 0), end));
        assert_eq!(all.len(), 100);
    }

    #[test]
    fn chance_keeps_the_rate_and_has_the_gaps_of_poisson() {
        for threads in [1, 4] {
            let pattern = pattern("poisson", 1000.0);
            let end = Instant::from_ns(50 * SECOND);
            let thread = |index| taken(pattern.start(Instant::from_ns(0), (index, threads), 9), end);
            let mut all: Vec<u64> = (0..threads).flat_map(thread).collect();
            all.sort_unstable();
            assert!((49_000..51_000).contains(&all.len()), "{threads}: {}", all.len());
            // A gap is longer than the mean with probability 1/e.
            let long = all.windows(2).filter(|pair| pair[1] - pair[0] > SECOND / 1000).count();
            let share = long as f64 / all.len() as f64;
            assert!((share - (-1.0_f64).exp()).abs() < 0.01, "{threads}: {share}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let pattern = pattern("poisson:steps:1:500,100", 0.0);
        let times =
            |seed| taken(pattern.start(Instant::from_ns(0), (0, 1), seed), Instant::from_ns(u64::MAX));
        assert_eq!(times(1), times(1));
        assert_ne!(times(1), times(2));
        assert!((500..700).contains(&times(1).len()), "ends with the curve");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        for bad in ["", "often", "poisson:often", "poisson:closed", "replay:", "steps:1"] {
            assert!(bad.parse::<ArrivalsWish>().is_err(), "{bad}");
        }
        let refuse = |wish: &str, rate| Pattern::new(Some(&wish.parse().unwrap()), rate).unwrap_err();
        assert!(refuse("poisson", 0.0).contains("needs --rate"));
        assert!(refuse("ramp:1-5:10", 7.0).contains("leave --rate out"));
        assert!(refuse("replay:/nowhere.csv", 0.0).contains("cannot read /nowhere.csv"));
        assert!(Pattern::new(None, 0.0).unwrap().is_none());
        assert!(Pattern::new(Some(&"closed".parse().unwrap()), 0.0).unwrap().is_none());
    }
}
