//! What is wrong with bytes that this crate wrote once and reads again.
//!
//! Indexes, epoch histories and producer states are rebuilt from the log when their bytes are bad, so one small
//! error serves all their decoders: it says which structure, which entry and what the entry breaks, for the log
//! line of the person on call. It carries no bytes and allocates nothing.

use std::fmt;

/// Bytes of one small on-disk structure that cannot have been written by this crate whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// The structure, in words: `offset index`, `producer state`, …
    pub what: &'static str,
    /// Place of the first bad entry, from 0; the number of good entries when the structure itself is bad.
    pub entry: usize,
    /// What it breaks, in words.
    pub why: &'static str,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "corrupt {} at entry {}: {}", self.what, self.entry, self.why)
    }
}

impl std::error::Error for Corrupt {}

/// The first `N` bytes and the rest; `None` when there are fewer.
pub(crate) fn split_array<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    Some((*head, rest))
}
