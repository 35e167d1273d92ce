//! Virtual time of the simulation that runs on this thread.

use std::cell::Cell;

thread_local! {
    /// 0: no simulation runs here.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// The clock's first moment.
pub(super) const START_NS: u64 = 1_000_000_000;
/// The wall clock's reading then: some day in 2026.
const WALL_START_MS: u64 = 1_790_000_000_000;

/// Nanoseconds of virtual time, if a simulation runs on this thread.
pub(crate) fn now_ns() -> Option<u64> {
    let now = NOW.get();
    (now != 0).then_some(now)
}

/// The wall clock's reading at a virtual moment.
pub(crate) fn wall_ms(now_ns: u64) -> i64 {
    (WALL_START_MS + now_ns / 1_000_000) as i64
}

pub(super) fn set(now_ns: u64) {
    assert!(now_ns >= NOW.get(), "time does not run backwards");
    NOW.set(now_ns);
}

pub(super) fn start() {
    assert_eq!(NOW.get(), 0, "a simulation already runs on this thread");
    NOW.set(START_NS);
}

pub(super) fn stop() {
    NOW.set(0);
}
