//! The bounds of every queue, pool and loop in this crate, by name.

use std::time::Duration;

/// Reactors alive at one time in one process.
pub const REACTORS_MAX: usize = 1024;
/// Tasks alive at one time on one reactor: the slot number in a waker has 24 bits.
pub const TASKS_MAX: usize = 1 << 24;
/// Submission entries of a ring unless the builder says otherwise. Completions get four times as many.
pub const RING_ENTRIES: u32 = 1024;
/// Submission entries below which a ring is not made smaller, however little memory may be locked.
pub const RING_ENTRIES_MIN: u32 = 32;
/// Pauses in which a new reactor waits for the kernel to stop counting the memory of closed rings,
pub const MEMORY_WAITS_MAX: u32 = 50;
/// and the length of each.
pub const MEMORY_WAIT: Duration = Duration::from_millis(20);
/// How long tasks of [`Priority::Latency`](crate::Priority) run in one turn before the ring is looked at again.
pub const LATENCY_BUDGET: Duration = Duration::from_micros(100);
/// How long tasks of [`Priority::Background`](crate::Priority) run in one turn. At least one is polled each turn.
pub const BACKGROUND_BUDGET: Duration = Duration::from_micros(50);
/// A poll that uses the core for longer than this is counted against its task's name.
pub const LONG_POLL: Duration = Duration::from_millis(1);
/// Size of one provided receive buffer in bytes.
pub const RECV_BUFFER_BYTES: usize = 16 << 10;
/// Provided receive buffers of one reactor (a power of two). Their memory is touched only when used.
pub const RECV_BUFFERS: u16 = 256;
/// Accepted connections that wait in a listener for `accept` before accepting pauses. The kernel takes its whole backlog in one
/// go before it sees the pause, so at most this many and a backlog more are open and not yet taken.
pub const ACCEPT_QUEUE_MAX: usize = 64;
/// Parts of one vectored send that go to the kernel in one operation (`IOV_MAX` is 1024).
pub const SEND_PARTS_MAX: usize = 512;
/// Parts of one vectored write to a file that go to the kernel in one operation.
pub const WRITE_PARTS_MAX: usize = 512;
/// Pipes a reactor uses at one time for splicing files to sockets: twice as many as its kernel workers can fill or empty.
pub const PIPES_MAX: u64 = 16;
/// Pipes kept by a reactor for splicing; more are made when needed, up to [`PIPES_MAX`], and closed after use.
pub const PIPES_KEPT_MAX: usize = 8;
/// Capacity asked of a splice pipe in bytes (an unprivileged user may get less).
pub const PIPE_BYTES: usize = 1 << 20;
/// Bytes of one splice from file to socket.
pub const SPLICE_BYTES: usize = 256 << 10;
/// How far the kernel may be reading ahead of bytes that were fetched from the disk,
pub const READ_AHEAD_BYTES_MAX: u64 = 32 << 20;
/// and for how long afterwards such pages may still be on their way.
pub const READ_AHEAD_TIME_MAX: Duration = Duration::from_millis(50);
/// Bytes of one `sendfile` call on the reactor's own thread: about 0.1 ms (0.46 s/GB on loopback), now and then several times
/// that, as the kernel does the receiver's work in it when both are on one machine. Each call wakes the receiver, and asks the
/// kernel before whether the range is in the page cache.
pub const SENDFILE_BYTES: usize = 256 << 10;
/// Bytes of one read or write operation; longer ones are done in several.
pub const FILE_OP_BYTES_MAX: usize = 1 << 30;
/// Kernel worker threads of a reactor for operations on files (bounded) and for others (unbounded). An fdatasync holds one
/// for its whole time: with 4 of them 16 commits at a time reached 0.71 of a plain ring's rate, with 8 they reach 0.94.
pub const KERNEL_WORKERS: [u32; 2] = [8, 8];
/// Calls of [`sync_file_system`](crate::fs::sync_file_system) that wait in one process: one for each reactor.
pub const FILE_SYSTEM_SYNCS_MAX: usize = REACTORS_MAX;
/// Files of one call of [`make_files`](crate::fs::make_files): some milliseconds of its thread, and open files of this one.
pub const FILES_MADE_MAX: usize = 64;
/// Such calls that wait in one process: one for each reactor.
pub const FILES_MADE_CALLS_MAX: usize = REACTORS_MAX;
/// How long a reactor that ends waits for operations the kernel still holds before it leaks their buffers.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// Size of one registered buffer in bytes.
pub const FIXED_BUFFER_BYTES: usize = 1 << 20;
/// Registered buffers of a reactor, at most 64. Their pages are locked when the first is asked for.
pub const FIXED_BUFFERS: u32 = 4;
/// Size of one buffer for reading in bytes: reads of this size keep commits beside them waiting for least, see decision 0007.
pub const READ_BUFFER_BYTES: usize = 256 << 10;
/// Buffers for reading of a reactor, at most 64: what slow readers may hold of what was read for them.
pub const READ_BUFFERS: u32 = 64;
/// Alignment in bytes of the buffers of [`aligned`](crate::aligned).
pub const BUFFER_ALIGNMENT: usize = 4096;
/// Buffers of one region of a [`BufferPool`](crate::BufferPool), at most 64.
pub const POOL_REGION_BUFFERS: u32 = 64;
/// Bytes by which such a pool grows at a time: some huge pages, which a kernel worker clears in a few milliseconds at most.
pub const POOL_GROWTH_BYTES: usize = 4 << 20;
