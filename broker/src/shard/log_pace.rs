//! How often a shard writes a line about a single connection.
//!
//! Whoever connects can cause such lines: without a bound he could fill the disk with them, and slow down commits, which
//! wait for the same disk. What is left out is counted, here and by reason in the metrics.

use std::cell::Cell;
use std::time::Duration;

use reactor::Instant;
use tracing::info;

use crate::limits;

/// Lines written in the present second, and those left out.
#[derive(Default)]
pub struct LogPace {
    second: Cell<Option<Instant>>,
    written: Cell<u32>,
    left_out: Cell<u64>,
}

impl LogPace {
    /// Whether one more line may be written now. The caller writes it then.
    pub fn allows(&self) -> bool {
        let left_out = self.begin(reactor::now());
        if left_out > 0 {
            info!(left_out, "lines about closed connections were left out");
        }
        self.take()
    }

    /// Begins another second when it is time; how many lines were left out in those before.
    fn begin(&self, now: Instant) -> u64 {
        if self.second.get().is_some_and(|second| now.since(second) < Duration::from_secs(1)) {
            return 0;
        }
        self.second.set(Some(now));
        self.written.set(0);
        self.left_out.take()
    }

    fn take(&self) -> bool {
        if self.written.get() == limits::CONNECTION_LINES_PER_SECOND {
            self.left_out.set(self.left_out.get() + 1);
            return false;
        }
        self.written.set(self.written.get() + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_are_written_a_second_and_the_others_counted() {
        let (pace, start) = (LogPace::default(), reactor::now());
        let lines = |at: u64| {
            let left_out = pace.begin(start + Duration::from_millis(at));
            (left_out, (0..1000).filter(|_| pace.take()).count() as u32)
        };
        let most = limits::CONNECTION_LINES_PER_SECOND;
        assert_eq!(lines(0), (0, most));
        assert_eq!(lines(999), (0, 0));
        assert_eq!(lines(1000), (2000 - u64::from(most), most));
    }
}
