//! When records are due: the open loop.
//!
//! A closed loop that waits for a slow answer also stops asking, and so hides the slowness from its own figures
//! (coordinated omission). Here each record has an intended time that depends on the rate alone; it is sent as soon
//! after that as the machine can, and its latency counts from the intended time.

use std::time::Duration;

use reactor::Instant;

/// A steady stream of intended times, without drift: the n-th is computed from n, not from the one before.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    start: Instant,
    per_second: f64,
    sent: u64,
}

impl Arrivals {
    /// `per_second` records from `start` on; must be above 0.
    pub(crate) fn new(start: Instant, per_second: f64) -> Self {
        assert!(per_second > 0.0);
        Self { start, per_second, sent: 0 }
    }

    /// The intended time of the next record.
    pub(crate) fn next_due(&self) -> Instant {
        let offset = Duration::from_secs_f64(self.sent as f64 / self.per_second);
        Instant::from_ns(self.start.as_ns().saturating_add(offset.as_nanos() as u64))
    }

    /// Takes the next record if it is due at `now`.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next_due();
        if due > now {
            return None;
        }
        self.sent += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_intended_times_keep_the_rate_however_late_they_are_taken() {
        let mut arrivals = Arrivals::new(Instant::from_ns(1_000), 1_000.0);
        let late = Instant::from_ns(1_000 + 2_500_000);
        let taken: Vec<u64> = std::iter::from_fn(|| arrivals.take(late)).map(Instant::as_ns).collect();
        assert_eq!(taken, [1_000, 1_001_000, 2_001_000]);
        assert_eq!(arrivals.next_due().as_ns(), 3_001_000);
    }

    #[test]
    fn the_rate_does_not_drift() {
        let mut arrivals = Arrivals::new(Instant::from_ns(0), 3.0);
        let hour = Instant::from_ns(3_600_000_000_000 - 1);
        let mut count = 0;
        while arrivals.take(hour).is_some() {
            count += 1;
        }
        assert_eq!(count, 3 * 3600);
    }
}
