//! Aligned memory for direct I/O.

use bytes::{Buf, BytesMut};

use crate::limits::BUFFER_ALIGNMENT;

/// An empty buffer of at least `capacity` bytes whose memory starts at a multiple of [`BUFFER_ALIGNMENT`], as `O_DIRECT`
/// needs it. Pieces split off at multiples of the alignment are aligned too.
///
/// Growing beyond the capacity moves the bytes and loses the alignment.
pub fn aligned(capacity: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(capacity + BUFFER_ALIGNMENT);
    let padding = buffer.as_ptr().align_offset(BUFFER_ALIGNMENT);
    assert!(padding <= BUFFER_ALIGNMENT, "a byte pointer can be aligned");
    buffer.resize(padding, 0);
    buffer.advance(padding);
    buffer
}

/// True if the slice may be handed to direct I/O as it is.
pub fn is_aligned(slice: &[u8]) -> bool {
    slice.as_ptr().addr().is_multiple_of(BUFFER_ALIGNMENT) && slice.len().is_multiple_of(BUFFER_ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_an_aligned_buffer_are_aligned() {
        for capacity in [1, 4096, 100_000, 1 << 20] {
            let mut buffer = aligned(capacity);
            assert!(buffer.is_empty() && buffer.capacity() >= capacity);
            assert_eq!(buffer.as_ptr().addr() % BUFFER_ALIGNMENT, 0);
            buffer.resize(capacity, 7);
            if capacity > 8192 {
                let piece = buffer.split_to(4096).freeze();
                assert!(is_aligned(&piece));
                assert_eq!(buffer.as_ptr().addr() % BUFFER_ALIGNMENT, 0);
            }
        }
    }
}
