//! Named bounds of this crate.

/// Heap that the arrays of one decoded message may take, in bytes.
///
/// An array's count is already bounded by the bytes that are left in the frame; this bounds the product of a large
/// frame and a large element (a 100 MiB frame of one-byte strings would otherwise become gigabytes of handles).
pub const MESSAGE_HEAP_BYTES_MAX: usize = 64 << 20;

/// Bytes of one string. A Kafka string's length is an int16, and its compact form keeps the same bound.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;
