//! The bounds of every queue, buffer and file in this crate, by name.

use std::time::Duration;

/// Unit of direct I/O: commits, segment writes and positions of commits are multiples of it.
pub const BLOCK: u64 = 4096;
/// Most bytes of one commit, header and padding included. A longer append is cut over several.
pub const COMMIT_BYTES_MAX: usize = 1 << 20;
/// What direct writes from memory must begin and end at, in memory and in the file: a sector of most devices.
pub const SECTOR: usize = 512;
/// Bytes from which a payload lies in its commit as it will lie in its segment, modulo a sector. Half a sector is lost on average.
pub const PAYLOAD_ALIGNED_FROM: usize = 16 << 10;
/// Commits written at the same time.
pub const COMMITS_IN_FLIGHT_MAX: usize = 4;
/// Staged bytes from which a commit starts although another is in flight.
pub const COMMIT_EAGER_BYTES: usize = 256 << 10;
/// Bytes of one buffer that commits are made in, one behind the other: two huge pages, of which less than a commit is left over.
pub const COMMIT_BUFFER_BYTES: usize = 4 << 20;
/// Such buffers that are made ready before they are needed, once a log has filled its first.
pub const COMMIT_BUFFERS_READY: usize = 2;
/// Bytes of such buffers beyond those that the tail and the appends behind it may take.
pub const COMMIT_BUFFERS_AHEAD_BYTES: u64 = 8 << 20;
/// Whole batches from this size on are taken into a commit's checksum by their own CRC, which takes about 0.1 us whatever
/// the size; to read 2 KiB takes as long.
pub const KNOWN_CRC_FROM_BYTES: usize = 4 << 10;
/// Commits of which one is read as a whole before it is written, to see that its checksum is right: a wrong one must not stay
/// unseen until a restart.
pub const BODY_LOOKED_AT_ONE_IN: u64 = 256;
/// Size of the first ring file: what a start must write before it can serve.
pub const RING_FIRST_FILE_BYTES: u64 = 8 << 20;
/// Size of the ring files made behind a running broker.
pub const RING_FILE_BYTES: u64 = 16 << 20;
/// Smallest ring file: two commits of the smallest kind.
pub const RING_FILE_BYTES_MIN: u64 = 64 << 10;
/// Files of a fully grown ring at least.
pub const RING_FILES_MIN: u64 = 4;
/// Files of a ring at most, which bounds what recovery opens.
pub const RING_FILES_MAX: usize = 4096;
/// Bytes of zeros written at a time when a ring file is made.
pub const RING_FILL_BYTES: usize = 1 << 20;
/// One part in this many of the ring is kept for the log's own entries (carried blocks), out of reach of appends.
pub const RING_RESERVE_ONE_IN: u64 = 4;
/// A checkpoint begins when one part in this many of the ring is in use.
pub const CHECKPOINT_AT_ONE_IN: u64 = 4;
/// The ring grows by a file when one part in this many of it is in use.
pub const GROW_AT_ONE_IN: u64 = 8;
/// Commits timed by the probe at start.
pub const PROBE_COMMITS: usize = 16;
/// Bytes of one write to a segment: as many as fit in one of the reactor's registered buffers.
pub const SEGMENT_WRITE_BYTES: usize = reactor::limits::FIXED_BUFFER_BYTES;
/// Bytes of it that are gathered before it is looked whether others should have their turn.
pub const GATHERED_A_STEP_BYTES: u64 = 128 << 10;
/// Bytes from which a piece of such a write is written from where it lies; shorter ones are copied.
pub const WRITE_IN_PLACE_FROM: usize = 8 << 10;
/// Segment bytes reserved ahead for partitions that write much.
pub const SEGMENT_AHEAD_BYTES: u64 = 16 << 20;
/// A writeback of this many bytes or more makes a partition one that writes much.
pub const SEGMENT_AHEAD_FROM_BYTES: u64 = 1 << 20;
/// Writeback under pressure stops when one part in this many of the dirty budget is left.
pub const RELIEVE_TO_ONE_IN: u64 = 4;
/// Partitions written back at the same time. Few: their syncs share the kernel's workers with those of the commits.
pub const WRITEBACKS_MAX: usize = 2;
/// Files from which a checkpoint makes what it wrote durable together, by one sync of their file system. Each sync of its own
/// holds a kernel worker, flushes the device and wakes the shard; a sync of everything waits for what others have dirty there.
pub const SYNC_TOGETHER_FROM: usize = 64;
/// Bytes read at a time when batch headers are walked.
pub const WALK_BYTES: usize = 16 << 10;
/// Largest batch that is read into memory as a whole (Kafka's own bound on a batch is `i32::MAX`).
pub const BATCH_BYTES_MAX: usize = 128 << 20;
/// Decompressed bytes that a search by time looks through in one batch.
pub const TIME_SEARCH_BYTES_MAX: usize = 256 << 20;
/// Decompressed bytes that such a search goes through before it looks whether others should have their turn.
pub const TIME_SEARCH_STEP_BYTES: usize = 32 << 10;
/// Reads of segments that are looked for and checked at the same time; sending what they found is not counted.
pub const COLD_READS_MAX: u64 = 4;
/// Segments whose descriptor and indexes are kept ready for readers.
pub const COLD_SEGMENTS_MAX: usize = 512;
/// Ranges of each such segment that are known to be undamaged.
pub const CHECKED_RANGES_MAX: usize = 64;
/// Bytes read at a time when batches are checked before they are served.
pub const CHECK_BYTES: usize = 256 << 10;
/// Commits of one shard within a window from which commits are frequent: a producer is at work, not just groups that store
/// their offsets every few seconds. Then first reads of old batches keep out of their way.
pub const FREQUENT_COMMITS: u32 = 10;
/// The window.
pub const FREQUENT_COMMITS_WINDOW: Duration = Duration::from_secs(1);
/// Buffers of the reactor that one first read of old batches takes at most.
pub const FIRST_READ_BUFFERS_MAX: usize = 16;
/// Bytes of indexes kept for readers of old segments.
pub const COLD_INDEX_BYTES_MAX: usize = 32 << 20;
/// Bytes of one checkpoint frame, about: longer checkpoints are cut between logs.
pub const CHECKPOINT_FRAME_BYTES: usize = 256 << 10;
/// Bytes of one checkpoint frame that is believed when read.
pub const CHECKPOINT_FRAME_BYTES_MAX: usize = 512 << 20;
/// Deltas may outgrow the snapshot they follow by this much before a new one is written.
pub const CHECKPOINT_DELTA_BYTES_MIN: u64 = 1 << 20;
/// How often an idle store looks at its disk and its timers.
pub const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);
/// How long maintenance waits after a failed write before it tries again.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// Bytes of a partition's name in its folder's: file systems allow 255, the log id takes 17.
pub const FOLDER_NAME_KEPT: usize = 238;
/// Reserve of each shard for checkpoints on a full disk: about 10,000 partitions' worth.
pub const CHECKPOINT_RESERVE_BYTES: u64 = 4 << 20;
/// Space counts as there again when one part in this many of the reserve is free beside it.
pub const HYSTERESIS_ONE_IN: u64 = 8;
/// Checkpoints that fail one after another, not for want of space, until the shard takes nothing any more.
pub const CHECKPOINT_FAILURES_MAX: u32 = 5;
/// Bytes of a file of salvaged records that are believed when it is read.
pub const SALVAGE_BYTES_MAX: u64 = 4 << 30;
/// Files unlinked in one go before other tasks get their turn.
pub const UNLINKS_A_TURN: usize = 16;
/// Logs that give up an old commit's buffer in one go: with small batches a commit has thousands, which copy out what they still
/// need of it.
pub const EVICTED_A_TURN: usize = 512;
/// Logs that a loop over all of them looks at before it looks at the clock.
pub const LOGS_STEP: u32 = 32;
/// Logs that are written when a store is closed; also quiet logs whose partial block one checkpoint writes; the others are carried
/// again,
pub const QUIET_WRITTEN_MAX: usize = 2048;
/// within this part of the ring.
pub const CARRIED_AGAIN_ONE_IN: u64 = 16;
