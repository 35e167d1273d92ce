//! Aligned memory for direct I/O.

use bytes::{Buf, Bytes, BytesMut};

use crate::executor;
use crate::limits::{BUFFER_ALIGNMENT, FIXED_BUFFER_BYTES};
use crate::ring::fixed::{Chunk, Taken, Use};

/// An empty buffer whose memory starts at a multiple of [`BUFFER_ALIGNMENT`], as `O_DIRECT` needs it. Pieces split off at
/// multiples of the alignment are aligned too.
///
/// Its capacity is exactly `capacity`, wherever the allocator has put it: whoever fills a buffer up to its capacity does the
/// same in every run.
///
/// Growing beyond the capacity moves the bytes and loses the alignment.
pub fn aligned(capacity: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(capacity + BUFFER_ALIGNMENT);
    let padding = buffer.as_ptr().align_offset(BUFFER_ALIGNMENT);
    assert!(padding <= BUFFER_ALIGNMENT, "a byte pointer can be aligned");
    buffer.resize(padding, 0);
    buffer.advance(padding);
    drop(buffer.split_off(capacity));
    buffer
}

/// True if the slice may be handed to direct I/O as it is.
pub fn is_aligned(slice: &[u8]) -> bool {
    slice.as_ptr().addr().is_multiple_of(BUFFER_ALIGNMENT) && slice.len().is_multiple_of(BUFFER_ALIGNMENT)
}

#[cfg(feature = "simulator")]
/// The largest power of two, up to [`BUFFER_ALIGNMENT`], of which both the slice's place and its length are multiples.
pub(crate) fn alignment_of(slice: &[u8]) -> usize {
    1 << (slice.as_ptr().addr() | slice.len() | BUFFER_ALIGNMENT).trailing_zeros()
}

/// An aligned buffer of a fixed size, in memory that a reactor keeps for it or in plain memory. Few buffers serve again and
/// again, so that filling one finds it in the processor's cache.
#[derive(Debug)]
pub struct FixedBuffer {
    pub(crate) memory: Memory,
    pub(crate) length: usize,
}

#[derive(Debug)]
pub(crate) enum Memory {
    Chunk(Chunk),
    Plain(BytesMut),
}

/// An empty buffer of [`FIXED_BUFFER_BYTES`] for writing: registered with the reactor's ring, which makes writes from it
/// cheaper, or in plain memory when all of those are taken. Waits only while the kernel gives it its pages.
///
/// # Panics
/// Outside a reactor.
pub async fn fixed_buffer() -> FixedBuffer {
    let memory = take(Use::Writing).await;
    FixedBuffer { memory: memory.unwrap_or_else(|| Memory::Plain(aligned(FIXED_BUFFER_BYTES))), length: 0 }
}

/// An empty buffer of [`READ_BUFFER_BYTES`](crate::limits::READ_BUFFER_BYTES) for reading; `None` when all
/// [`READ_BUFFERS`](crate::limits::READ_BUFFERS) of the reactor are taken: their number bounds what readers hold. Waits only
/// while the kernel gives it its pages.
///
/// # Panics
/// Outside a reactor.
pub async fn read_buffer() -> Option<FixedBuffer> {
    Some(FixedBuffer { memory: take(Use::Reading).await?, length: 0 })
}

async fn take(of: Use) -> Option<Memory> {
    loop {
        match executor::with(|reactor| reactor.driver().take(of)) {
            Taken::Memory(memory) => return Some(memory),
            Taken::None => return None,
            Taken::After(touching, chunks) => {
                // If the kernel cannot do it beforehand (before Linux 5.14), the first operation on them will.
                touching.await;
                executor::with(|reactor| reactor.driver().touched(of, chunks));
            }
        }
    }
}

impl FixedBuffer {
    /// True if the memory is the reactor's.
    pub fn is_chunk(&self) -> bool {
        matches!(self.memory, Memory::Chunk(_))
    }

    /// Bytes that it can hold.
    fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Chunk(chunk) => chunk.capacity(),
            Memory::Plain(plain) => plain.capacity(),
        }
    }

    /// Bytes in the buffer.
    pub fn len(&self) -> usize {
        self.length
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes that still have room.
    pub fn remaining(&self) -> usize {
        self.capacity() - self.length
    }

    /// Adds bytes at the end.
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let (start, end) = (self.length, self.length + bytes.len());
        match &mut self.memory {
            Memory::Chunk(chunk) => chunk.bytes_mut()[start..end].copy_from_slice(bytes),
            Memory::Plain(plain) => {
                assert!(end <= plain.capacity(), "the buffer has too little room");
                plain.extend_from_slice(bytes);
            }
        }
        self.length = end;
    }

    /// Cuts the buffer, or fills it up with a byte.
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn resize(&mut self, length: usize, fill: u8) {
        match &mut self.memory {
            Memory::Chunk(chunk) if length > self.length => {
                chunk.bytes_mut()[self.length..length].fill(fill);
            }
            Memory::Chunk(_) => {}
            Memory::Plain(plain) => {
                assert!(length <= plain.capacity(), "the buffer has too little room");
                plain.resize(length, fill);
            }
        }
        self.length = length;
    }

    /// The bytes for sharing. The memory is given back when the last handle is dropped, on any thread.
    pub fn freeze(self) -> Bytes {
        match self.memory {
            Memory::Plain(bytes) => bytes.freeze(),
            Memory::Chunk(chunk) => Bytes::from_owner(Frozen { chunk, length: self.length }),
        }
    }
}

impl std::ops::Deref for FixedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let whole = match &self.memory {
            Memory::Chunk(chunk) => chunk.bytes(),
            Memory::Plain(bytes) => bytes,
        };
        &whole[..self.length]
    }
}

impl std::ops::DerefMut for FixedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Chunk(chunk) => &mut chunk.bytes_mut()[..self.length],
            Memory::Plain(bytes) => bytes,
        }
    }
}

struct Frozen {
    chunk: Chunk,
    length: usize,
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        &self.chunk.bytes()[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_an_aligned_buffer_are_aligned() {
        for capacity in [1, 4096, 100_000, 1 << 20] {
            let mut buffer = aligned(capacity);
            assert!(buffer.is_empty());
            assert_eq!(buffer.capacity(), capacity);
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
