//! Recovery is bounded by the ring: in virtual time and in bytes read.

use std::time::Duration;

use super::Verdict;

/// What a start took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) took: Duration,
    pub(crate) read_bytes: u64,
    /// Of all shards together, fully grown, of this life and the one before.
    pub(crate) ring_bytes: u64,
    /// Times by which the disk was slower than usual.
    pub(crate) slowness: u32,
}

/// A start without anything to replay, with 80 idle partitions.
const TIME_BASE: Duration = Duration::from_secs(2);
const TIME_PER_MIB: Duration = Duration::from_secs(2);
/// Checkpoints, the metadata log, and the tails of segments.
const BYTES_BASE: u64 = 16 << 20;

pub(crate) fn bounded(start: Start) -> Verdict {
    let mib = (start.ring_bytes >> 20) as u32 + 1;
    let time_max = (TIME_BASE + TIME_PER_MIB * mib) * start.slowness;
    // Every ring is read twice: to find its last commit, then to replay.
    let bytes_max = BYTES_BASE + 4 * start.ring_bytes;
    if start.took > time_max || start.read_bytes > bytes_max {
        return Err(format!("{start:?}: {time_max:?} and {bytes_max} bytes are allowed"));
    }
    Ok(())
}
