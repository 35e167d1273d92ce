//! What must hold, one file for each promise. A check panics with a sentence; the runner adds the seed and the last events.

pub(crate) mod bounds;
pub(crate) mod bytes;
pub(crate) mod duplicates;
pub(crate) mod ends;
pub(crate) mod lost;
pub(crate) mod shown;
