//! The broker's named bounds. A queue, buffer or loop of this crate that has no name here is a bug.

use std::time::Duration;

/// Requests of one connection that may be read ahead of their answers.
pub const CONNECTION_REQUESTS_MAX: usize = 64;
/// Calls that one shard may have queued towards another on one lane of the mesh.
pub const MESH_CALLS_MAX: usize = 1024;
/// Bytes that a connection asks of the kernel in one receive before a frame's length is known.
pub const FRAME_SMALL_BYTES: usize = 16 << 10;
/// Frames above this share a few slots of their own, so that half-read giants cannot starve small requests.
pub const FRAME_LARGE_BYTES: usize = 1 << 20;
/// How many frames above [`FRAME_LARGE_BYTES`] a shard reads at a time.
pub const FRAME_LARGE_SLOTS: usize = 4;
/// Request bytes that a shard holds at a time, over all of its connections (large frames are counted apart).
pub const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Of these, what is kept for frames up to [`FRAME_SMALL_BYTES`], so that they never wait for larger ones.
pub const REQUEST_SMALL_BYTES_MAX: usize = 16 << 20;
/// Bytes of one buffer that a shard keeps for frames; larger ones, and those that find none free, get memory of the allocator,
pub const FRAME_BUFFER_BYTES: usize = 1 << 20;
/// of all of them,
pub const FRAME_BUFFERS_BYTES_MAX: u64 = 24 << 20;
/// and how many are kept free until then, once two large frames have come.
pub const FRAME_BUFFERS_READY: usize = 2;
/// Bytes of a frame that are charged at a time when request memory is short.
pub const FRAME_STEP_BYTES: usize = 64 << 10;
/// Requests of a connection that are read before the clock is looked at.
pub const FRAMES_STEP: u32 = 8;
/// Bytes of a frame that are received at a time.
pub const FRAME_RECEIVE_BYTES: usize = 256 << 10;
/// Frames that began and may be read to their end although request memory is used up.
pub const FRAME_COMPLETION_SLOTS: usize = 16;
/// How long a step of a frame may take while others wait for the memory that the frame holds.
pub const FRAME_STALL: Duration = Duration::from_secs(1);
/// The same when much more memory is waited for than there is.
pub const FRAME_STALL_MIN: Duration = Duration::from_millis(100);
/// Seconds within which a frame that has begun must go on arriving, by [`FRAME_RECEIVE_BYTES`] at least.
pub const FRAME_PROGRESS_SECONDS: u64 = 60;
/// Connections that a shard's listener may queue before they are accepted.
pub const LISTEN_BACKLOG: u32 = 1024;
/// Seconds that a start on a folder in use before waits for its address, which a broker killed just before may hold.
pub const ADDRESS_WAIT_SECONDS: u64 = 60;
/// Fetch sessions that a shard keeps; the oldest idle one gives way (KIP-227).
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 100_000;
/// Bytes of one step of a large answer: what the kernel copies in one go while others wait for their turn.
pub const STEP_BYTES: usize = 128 << 10;
/// The same while nobody else is about to send.
pub const STEP_BYTES_ALONE: usize = 1 << 20;
/// Sends and receives from this size on are counted: a shard begins a few of each in a turn.
pub const BULK_BYTES: usize = 64 << 10;
/// How many of each.
pub const BULK_BEGUN_A_TURN: u64 = 2;
/// Bytes of answers that are gathered before they are sent.
pub const SEND_BATCH_BYTES: usize = 1 << 20;
/// Bytes that a batch may decompress to while its records are checked.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 128 << 20;
/// Bytes of records, decompressed, that are checked before it is looked whether others should have their turn.
pub const CHECK_STEP_BYTES: usize = 32 << 10;
/// The same of records that are compressed anew, which takes many times as long.
pub const COMPRESS_STEP_BYTES: usize = 8 << 10;
/// Bytes of records after which a check is a long one. A shard goes on with one of these at a time.
pub const CHECK_LONG_BYTES: usize = 1 << 20;
/// Clients with quotas of which a shard knows what they used; beyond, they share.
pub const QUOTA_CLIENTS_MAX: usize = 10_000;
/// The longest that a client is held back at a time for its quota; the rest comes with its next request.
pub const THROTTLE_MAX: Duration = Duration::from_secs(10);
/// How often one who is held back looks whether the broker stops.
pub const THROTTLE_STEP: Duration = Duration::from_millis(200);
/// Lines about single connections that a shard writes to the log in a second.
pub const CONNECTION_LINES_PER_SECOND: u32 = 10;
/// The longest time between two looks for idle connections,
pub const IDLE_SWEEP_MAX: Duration = Duration::from_secs(5);
/// and the shortest, when they may not be idle for long.
pub const IDLE_SWEEP_MIN: Duration = Duration::from_millis(100);
/// Seconds that a stopping shard waits for requests in flight before it closes their connections.
pub const STOP_GRACE_SECONDS: u64 = 10;
/// How often a partition of which reads fail says so.
pub const READ_FAILED_TOLD_EVERY: Duration = Duration::from_secs(10);
/// How often a shard says which task held its core for longest,
pub const STALL_TOLD_EVERY: Duration = Duration::from_secs(10);
/// and how long that must have been. Shorter ones, from a millisecond, are only counted.
pub const STALL_TOLD_FROM: Duration = Duration::from_millis(5);
/// A device that reads further ahead of readers is told of. Beside a consumer of old data at 200 MB/s the p50 of others was 5 to
/// 8 ms at 8 MiB, and 1.1 to 1.3 ms at 512 KiB (perf-reports/reports/2026-11-22-compare).
pub const READ_AHEAD_TOLD_FROM_BYTES: u64 = 1 << 20;
/// Work on an answer, in bytes, before the clock is looked at, whether others should run.
pub const ENCODE_STEP_BYTES: usize = 16 << 10;
/// Bytes of a request that are decoded without a look at the clock.
pub const DECODE_STEP_BYTES: usize = 16 << 10;
/// Partitions of a request that are asked at a time, where each is asked by itself.
pub const PARTITIONS_ASKED_AT_ONCE: usize = 128;
/// Partitions of a request that are served before the clock is looked at.
pub const PARTITIONS_STEP: u32 = 16;
