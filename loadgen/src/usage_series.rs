//! What a process used, interval by interval.

use reactor::Instant;
use serde::Serialize;

use crate::process::Usage;
use crate::watched::Watched;

/// Who is looked at.
enum Who {
    Own,
    Broker(Watched),
}

/// Looks at a process again and again.
pub(crate) struct UsageSeries {
    who: Who,
    first: Option<(Instant, Usage)>,
    last: Option<(Instant, Usage)>,
    resident_bytes_max: u64,
    intervals: Vec<UsageInterval>,
}

/// A member of `usage.*.intervals` in the run file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UsageInterval {
    start_s: f64,
    seconds: f64,
    cpu_s: f64,
    resident_bytes: u64,
    written_bytes: Option<u64>,
}

/// A member of `usage` in the run file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UsageRecord {
    source: &'static str,
    cpu_s: f64,
    resident_bytes_max: u64,
    written_bytes: Option<u64>,
    read_bytes: Option<u64>,
    intervals: Vec<UsageInterval>,
}

impl UsageSeries {
    /// Of this program.
    pub(crate) fn own(now: Instant) -> Self {
        Self::new(Who::Own, now)
    }

    pub(crate) fn broker(watched: Watched, now: Instant) -> Self {
        Self::new(Who::Broker(watched), now)
    }

    fn new(who: Who, now: Instant) -> Self {
        let mut series = Self { who, first: None, last: None, resident_bytes_max: 0, intervals: Vec::new() };
        series.look(now, now);
        series
    }

    /// Looks, and adds an interval since the last look. A process that is away, perhaps to be started again, is passed
    /// over.
    pub(crate) fn look(&mut self, started: Instant, now: Instant) {
        let usage = match &self.who {
            Who::Own => Usage::of("self").ok(),
            Who::Broker(watched) => watched.usage().ok().flatten(),
        };
        let Some(usage) = usage else { return };
        self.resident_bytes_max = self.resident_bytes_max.max(usage.resident_bytes_max);
        if let Some((before, last)) = self.last
            && now > before
        {
            self.intervals.push(UsageInterval {
                start_s: before.since(started).as_secs_f64(),
                seconds: now.since(before).as_secs_f64(),
                cpu_s: usage.cpu_seconds - last.cpu_seconds,
                resident_bytes: usage.resident_bytes,
                written_bytes: difference(last.written_bytes, usage.written_bytes),
            });
        }
        self.first.get_or_insert((now, usage));
        self.last = Some((now, usage));
    }

    /// The whole; `None` when nothing was ever seen.
    pub(crate) fn finish(self) -> Option<UsageRecord> {
        let ((_, first), (_, last)) = self.first.zip(self.last)?;
        Some(UsageRecord {
            source: match &self.who {
                Who::Own => "proc",
                Who::Broker(watched) => watched.source(),
            },
            cpu_s: last.cpu_seconds - first.cpu_seconds,
            resident_bytes_max: self.resident_bytes_max,
            written_bytes: difference(first.written_bytes, last.written_bytes),
            read_bytes: difference(first.read_bytes, last.read_bytes),
            intervals: self.intervals,
        })
    }
}

fn difference(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    before.zip(after).map(|(before, after)| after.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_add_up_to_the_whole() {
        let start = reactor::now();
        let mut series = UsageSeries::own(start);
        let mut number = 1_u64;
        for _ in 0..3 {
            while reactor::now().since(start).as_millis() % 40 != 39 {
                number = number.wrapping_mul(3);
            }
            series.look(start, reactor::now());
        }
        assert_ne!(number, 0);
        let record = series.finish().unwrap();
        let sum: f64 = record.intervals.iter().map(|interval| interval.cpu_s).sum();
        assert!((sum - record.cpu_s).abs() < 1e-6 && record.resident_bytes_max > 0);
        assert_eq!(record.source, "proc");
    }

    #[test]
    fn a_process_that_is_not_there_has_no_figures() {
        let now = reactor::now();
        assert!(UsageSeries::broker(Watched::Process(0), now).finish().is_none());
    }
}
