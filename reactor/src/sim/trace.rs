//! What happened: a hash of everything, and the last events for whoever looks at a failure.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;

use super::clock;

/// Events that are kept to be shown.
const KEPT: usize = 400;

/// One event.
#[derive(Clone, Debug)]
struct Event {
    at_ns: u64,
    what: &'static str,
    subject: u64,
    detail: u64,
}

/// The trace of one simulation.
#[derive(Default)]
pub(crate) struct Trace {
    hash: Cell<u64>,
    count: Cell<u64>,
    last: RefCell<VecDeque<Event>>,
}

impl Trace {
    pub(crate) fn note(&self, what: &'static str, subject: u64, detail: u64) {
        let at_ns = clock::now_ns().unwrap_or(0);
        let mut hash = self.hash.get();
        for part in [at_ns, what.len() as u64, u64::from(what.as_bytes()[0]), subject, detail] {
            hash = (hash ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            hash ^= hash >> 29;
        }
        self.hash.set(hash);
        self.count.set(self.count.get() + 1);
        let mut last = self.last.borrow_mut();
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(Event { at_ns, what, subject, detail });
    }

    /// Of all events so far, in order.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.get() ^ self.count.get()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in self.last.borrow().iter() {
            let us = event.at_ns.saturating_sub(clock::START_NS) as f64 / 1e3;
            writeln!(f, "{us:>14.3} us  {:<16} {:>6}  {}", event.what, event.subject, event.detail)?;
        }
        Ok(())
    }
}
