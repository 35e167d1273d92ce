//! The line that says how a run goes, for people at a terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::tally::{Goal, Window};

/// How a part stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) elapsed_s: f64,
    pub(crate) goal: Goal,
    pub(crate) records: u64,
    pub(crate) errors: u64,
    /// The newest whole interval and its seconds.
    pub(crate) newest: Option<(Window, f64)>,
}

/// Writes the line to standard error, over the last one.
#[derive(Debug)]
pub(crate) struct Progress {
    columns: usize,
}

impl Progress {
    /// `None` when nobody looks: standard error is not a terminal.
    pub(crate) fn to_terminal() -> Option<Self> {
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let columns = columns.unwrap_or(120);
        std::io::stderr().is_terminal().then_some(Self { columns })
    }

    pub(crate) fn show(&mut self, elapsed: Duration, standings: &[Standing]) {
        self.say(line(elapsed, standings));
    }

    /// Shows a line of other words.
    pub(crate) fn say(&mut self, mut text: String) {
        if let Some((end, _)) = text.char_indices().nth(self.columns.saturating_sub(1)) {
            text.truncate(end);
        }
        self.write(&format!("\r\x1b[K{text}"));
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        self.write("\r\x1b[K");
    }

    #[allow(clippy::unused_self, reason = "only who has one may write")]
    fn write(&self, text: &str) {
        // A terminal that is gone is no reason to end the run.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// One part in full, or several in short.
fn line(elapsed: Duration, standings: &[Standing]) -> String {
    let mut text = format!("{} s", elapsed.as_secs());
    for standing in standings {
        if standings.len() > 1 {
            let _ = write!(text, " | {}", standing.name);
        }
        let Some((window, seconds)) = &standing.newest else { continue };
        let per_second = |count: u64| if *seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let _ = write!(
            text,
            "  {:.0} rec/s {:.1} MB/s",
            per_second(window.records),
            per_second(window.bytes) / 1e6
        );
        if let Some((_, latency)) = window.latencies.iter().find(|(_, latency)| latency.count() > 0) {
            let (median, high) = (latency.percentile_ms(50.0), latency.percentile_ms(99.0));
            let _ = write!(text, "  p50 {median:.2} p99 {high:.2} ms");
        }
        let _ = write!(text, "  lag {}  errors {}", window.lag, standing.errors);
        if let Some(left) = seconds_left(standing) {
            let _ = write!(text, "  {left:.0} s left");
        }
    }
    text
}

/// How long it will take yet, at the rate so far; the nearer of two ends counts.
fn seconds_left(standing: &Standing) -> Option<f64> {
    let by_time = standing.goal.seconds.map(|seconds| (seconds - standing.elapsed_s).max(0.0));
    let by_records = standing.goal.records.filter(|_| standing.records > 0).map(|records| {
        records.saturating_sub(standing.records) as f64 * standing.elapsed_s / standing.records as f64
    });
    match (by_time, by_records) {
        (Some(time), Some(records)) => Some(time.min(records)),
        (time, records) => time.or(records),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(goal: Goal) -> Standing {
        let mut window = Window { records: 500, bytes: 1_000_000, lag: 7, ..Window::default() };
        window.latencies.record("latency", Duration::from_millis(3), 500);
        Standing {
            name: "writer".to_owned(),
            elapsed_s: 10.0,
            goal,
            records: 4000,
            errors: 2,
            newest: Some((window, 0.5)),
        }
    }

    #[test]
    fn the_line_says_rate_latency_lag_errors_and_time_left() {
        let one = standing(Goal { records: Some(6000), seconds: None });
        let text = line(Duration::from_secs(12), std::slice::from_ref(&one));
        assert_eq!(text, "12 s  1000 rec/s 2.0 MB/s  p50 3.00 p99 3.00 ms  lag 7  errors 2  5 s left");
        assert!(line(Duration::ZERO, &[one.clone(), one]).contains(" | writer"));
    }

    #[test]
    fn the_nearer_end_is_what_is_left() {
        let left = |records, seconds| seconds_left(&standing(Goal { records, seconds }));
        assert_eq!(left(None, None), None);
        assert_eq!(left(None, Some(15.0)), Some(5.0));
        assert_eq!(left(Some(8000), Some(15.0)), Some(5.0));
        assert_eq!(left(Some(4400), Some(15.0)), Some(1.0));
    }
}
