//! Seeds that found bugs, with what they found.

pub(crate) const SEEDS: [(u64, &str); 0] = [];
