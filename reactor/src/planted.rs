//! Bugs that a simulation can plant, to see that its checks find them. Without the feature `simulator` none ever is, and the
//! compiler drops the question.

use bytes::Bytes;

/// A bug that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Planted {
    /// Acknowledges a commit when its write is done, before its sync.
    AckBeforeSync,
    /// Hands the write and the sync of a commit over apart, without the link.
    SplitPair,
    /// Replays commits of an earlier life of the ring.
    StaleSuffix,
    /// Answers a retry before the original is flushed.
    EarlyDuplicate,
    /// Leaves out the sync of a folder with new names.
    NoFolderSync,
    /// Writes a checkpoint before the data that it vouches for is synced.
    CheckpointBeforeData,
    /// Uses ring files again before the checkpoint that frees them is durable.
    EarlyReuse,
    /// Changes a commit's bytes while the disk has them.
    BufferInFlight,
    /// Vouches for files that were written together before their file system is synced.
    SafeBeforeFileSystemSync,
    /// Leaves the files of such a sync in the device's cache.
    NoFlushOfDevice,
}

impl Planted {
    /// All of them.
    pub const ALL: [Planted; 10] = [
        Planted::AckBeforeSync,
        Planted::SplitPair,
        Planted::StaleSuffix,
        Planted::EarlyDuplicate,
        Planted::NoFolderSync,
        Planted::CheckpointBeforeData,
        Planted::EarlyReuse,
        Planted::BufferInFlight,
        Planted::SafeBeforeFileSystemSync,
        Planted::NoFlushOfDevice,
    ];
}

/// True if a bug is planted in the simulation that runs on this thread.
#[inline]
pub fn planted(bug: Planted) -> bool {
    #[cfg(feature = "simulator")]
    return crate::sim::current().is_some_and(|world| world.planted(bug));
    #[cfg(not(feature = "simulator"))]
    {
        let _ = bug;
        false
    }
}

/// Changes a byte of bytes that may be shared, as a program would that uses a buffer again while a disk still reads it. Does
/// nothing unless [`Planted::BufferInFlight`] is planted.
#[inline]
pub fn scribble(bytes: &Bytes) {
    if !planted(Planted::BufferInFlight) || bytes.is_empty() {
        return;
    }
    let middle = &raw const bytes[bytes.len() / 2];
    let byte = !bytes[bytes.len() / 2];
    // SAFETY: none, and that is the point: a planted bug. The memory is a buffer that was written through the same allocation
    // before, on this thread; the simulator reads it only between such calls.
    unsafe { middle.cast_mut().write_volatile(byte) };
}
