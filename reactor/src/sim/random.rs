//! Seeded random streams. Each concern has its own, so that one more draw in one of them leaves the others as they were.

use std::cell::Cell;

/// One stream: splitmix64, which any seed starts well and which passes the usual test batteries.
#[derive(Debug)]
pub struct Random {
    state: Cell<u64>,
}

impl Random {
    /// The stream of a name under a seed.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
        for byte in name.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        let stream = Self { state: Cell::new(state) };
        stream.next();
        stream
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)] // an endless stream behind a shared reference is no iterator
    pub fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.state.set(state);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below 0");
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number of a range, whose end is not in it.
    pub fn range(&self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// True once in `n` times.
    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of some.
    pub fn pick<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}
