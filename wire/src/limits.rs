//! Named bounds of this crate.

/// Heap that the arrays of one decoded message may take, in bytes.
///
/// An array's count is already bounded by the bytes that are left in the frame; this bounds the product of a large
/// frame and a large element (a 100 MiB frame of one-byte strings would otherwise become gigabytes of handles).
pub const MESSAGE_HEAP_BYTES_MAX: usize = 64 << 20;

/// Bytes of one string. A Kafka string's length is an int16, and its compact form keeps the same bound.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// A field of bytes from this size on is woven into what is sent; a smaller one costs less when it is copied.
pub const WOVEN_BYTES_MIN: usize = 4096;

/// Faulty records of one batch that are told one by one; Kafka tells all of them.
pub const RECORD_ERRORS_MAX: usize = 100;

/// Bytes of output produced at a time by the codecs that have no blocks (gzip, zstd).
pub const DECOMPRESSED_PIECE_BYTES: usize = 16 * 1024;

/// A block of snappy or LZ4 that may become larger than this is decompressed in pieces, others in one go. Clients write blocks of
/// 32 or 64 KiB, but for those that write one block a batch.
pub const BLOCK_AT_ONCE_BYTES: usize = 256 * 1024;

/// Bytes of output of one such piece.
pub const BLOCK_PIECE_BYTES: usize = 64 * 1024;

/// The largest window of a zstd frame that is accepted, as a power of two: that of `--ultra -22`, and of Java's default.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A zstd context that grew beyond this, for a frame of a large window, is not kept by its thread. Java's level 3 needs 2 MiB.
pub const ZSTD_CONTEXT_BYTES_KEPT_MAX: usize = 4 << 20;

/// What a record, or a field of one that is taken apart, counts for at least when a walk is told how far to go: small ones take
/// longer than their bytes.
pub const RECORD_WORK_BYTES: usize = 64;
