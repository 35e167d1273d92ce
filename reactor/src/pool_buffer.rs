//! Large buffers that are filled from front to back, given away in pieces, and used again when the last piece is gone.
//!
//! Their memory is of huge pages where the kernel has them. What is filled with gigabytes a second is seldom in the processor's
//! caches, and with small pages each piece of 4 KiB also costs a walk through the page tables; on a virtual machine, through
//! two of them.

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use crate::executor;
use crate::limits::{POOL_GROWTH_BYTES, POOL_REGION_BUFFERS};
use crate::ring::fixed::{Chunk, Region};
use crate::{Priority, aligned, spawn};

/// Memory to be filled and given away from its front. It starts at a multiple of
/// [`BUFFER_ALIGNMENT`](crate::limits::BUFFER_ALIGNMENT), and so do pieces behind pieces of such a length.
#[derive(Debug, Default)]
pub struct PoolBuffer {
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    Plain(BytesMut),
    /// Of the chunk, the bytes from `start` to `limit` are this buffer's own; those up to `end` are filled.
    Pooled {
        chunk: Arc<Chunk>,
        start: usize,
        end: usize,
        limit: usize,
    },
}

impl Default for Memory {
    fn default() -> Self {
        Self::Plain(BytesMut::new())
    }
}

impl PoolBuffer {
    /// An empty buffer in memory of the allocator.
    pub fn plain(capacity: usize) -> Self {
        Self { memory: Memory::Plain(aligned(capacity)) }
    }

    /// Bytes that it has, and may yet have.
    pub fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Plain(bytes) => bytes.capacity(),
            Memory::Pooled { start, limit, .. } => limit - start,
        }
    }

    /// Leaves room for so many more bytes, or for all that the buffer can have, if these are fewer. What is received into it
    /// next is no more than that. Memory of the allocator keeps the room that it has.
    pub fn leave_room(&mut self, bytes: usize) {
        if let Memory::Pooled { chunk, end, limit, .. } = &mut self.memory {
            *limit = end.saturating_add(bytes).min(chunk.capacity());
        }
    }

    /// Adds bytes at the end.
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.capacity() - self.len(), "the buffer has too little room");
        match &mut self.memory {
            Memory::Plain(plain) => plain.extend_from_slice(bytes),
            Memory::Pooled { .. } => {
                let from = self.len();
                self.set_len(from + bytes.len());
                self[from..].copy_from_slice(bytes);
            }
        }
    }

    /// Makes room for so many more bytes, in other memory if there is none here.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        if self.capacity() - self.len() < bytes {
            let mut larger = BytesMut::with_capacity(self.len() + bytes);
            larger.extend_from_slice(self);
            self.memory = Memory::Plain(larger);
        }
    }

    /// Room that is not filled yet.
    pub(crate) fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        match &mut self.memory {
            Memory::Plain(bytes) => bytes.spare_capacity_mut(),
            // SAFETY: within the chunk; nobody else has these bytes, and `self` is borrowed mutably.
            Memory::Pooled { chunk, end, limit, .. } => unsafe {
                std::slice::from_raw_parts_mut(chunk.at(*end).cast(), *limit - *end)
            },
        }
    }

    /// So many more bytes are filled.
    ///
    /// # Safety
    /// They must have been written.
    pub(crate) unsafe fn filled(&mut self, count: usize) {
        assert!(count <= self.capacity() - self.len(), "no more than there is room");
        match &mut self.memory {
            // SAFETY: by this function's contract.
            Memory::Plain(bytes) => unsafe { bytes.set_len(bytes.len() + count) },
            Memory::Pooled { end, .. } => *end += count,
        }
    }

    /// Adds zeros at the end, up to a length.
    ///
    /// # Panics
    /// If there is no room for them, or the buffer is longer.
    pub fn extend_to(&mut self, length: usize) {
        let from = self.len();
        self.set_len(length);
        self[from..].fill(0);
    }

    /// What is between the old length and the new one is any bytes.
    fn set_len(&mut self, length: usize) {
        assert!(self.len() <= length && length <= self.capacity(), "the buffer has too little room");
        match &mut self.memory {
            Memory::Plain(bytes) => bytes.resize(length, 0),
            Memory::Pooled { start, end, .. } => *end = *start + length,
        }
    }

    /// Drops the first bytes.
    ///
    /// # Panics
    /// If the buffer has fewer.
    pub fn skip(&mut self, length: usize) {
        assert!(length <= self.len(), "no more than there is");
        match &mut self.memory {
            Memory::Plain(bytes) => bytes.advance(length),
            Memory::Pooled { start, .. } => *start += length,
        }
    }

    /// Gives the first bytes away.
    ///
    /// # Panics
    /// If the buffer has fewer.
    pub fn give(&mut self, length: usize) -> Bytes {
        assert!(length <= self.len(), "no more than there is");
        match &mut self.memory {
            Memory::Plain(bytes) => bytes.split_to(length).freeze(),
            Memory::Pooled { chunk, start, .. } => {
                let piece = Piece { chunk: Arc::clone(chunk), start: *start, length };
                *start += length;
                Bytes::from_owner(piece)
            }
        }
    }
}

impl Deref for PoolBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Plain(bytes) => bytes,
            // SAFETY: within the chunk, whose memory starts as zeros; pieces that were given away lie before `start`.
            Memory::Pooled { chunk, start, end, .. } => unsafe {
                std::slice::from_raw_parts(chunk.at(*start), end - start)
            },
        }
    }
}

impl DerefMut for PoolBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Plain(bytes) => bytes,
            // SAFETY: as above; nobody else has these bytes, and `self` is borrowed mutably.
            Memory::Pooled { chunk, start, end, .. } => unsafe {
                std::slice::from_raw_parts_mut(chunk.at(*start), *end - *start)
            },
        }
    }
}

/// What was given away.
struct Piece {
    chunk: Arc<Chunk>,
    start: usize,
    length: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: within the chunk; the buffer that gave it away does not touch it any more.
        unsafe { std::slice::from_raw_parts(self.chunk.at(self.start), self.length) }
    }
}

/// What [`TcpStream::recv_into`](crate::TcpStream::recv_into) fills.
pub trait ReceiveBuffer: Sized {
    #[doc(hidden)]
    fn into_pool_buffer(self) -> PoolBuffer;
    #[doc(hidden)]
    fn from_pool_buffer(buffer: PoolBuffer) -> Self;
}

impl ReceiveBuffer for PoolBuffer {
    fn into_pool_buffer(self) -> PoolBuffer {
        self
    }

    fn from_pool_buffer(buffer: PoolBuffer) -> Self {
        buffer
    }
}

impl ReceiveBuffer for BytesMut {
    fn into_pool_buffer(self) -> PoolBuffer {
        PoolBuffer { memory: Memory::Plain(self) }
    }

    fn from_pool_buffer(buffer: PoolBuffer) -> Self {
        match buffer.memory {
            Memory::Plain(bytes) => bytes,
            Memory::Pooled { .. } => unreachable!("plain memory stays plain"),
        }
    }
}

/// Buffers of one size, for one reactor. The pool begins without memory, and grows when a second buffer is asked for.
#[derive(Debug)]
pub struct BufferPool {
    buffer_bytes: usize,
    buffers_max: usize,
    /// It grows until so many are free.
    ready: usize,
    regions: RefCell<Vec<Arc<Region>>>,
    /// Buffers of the last region that have their pages.
    touched: Cell<u32>,
    asked: Cell<bool>,
    growing: Cell<bool>,
    /// The kernel gives no memory, or there is no kernel.
    refused: Cell<bool>,
}

impl BufferPool {
    /// Of buffers of `buffer_bytes`, at most `bytes_max` in all, of which `ready` are kept free until then.
    ///
    /// # Panics
    /// If a buffer is no multiple of a page.
    pub fn new(buffer_bytes: usize, bytes_max: u64, ready: usize) -> Rc<Self> {
        assert!(buffer_bytes > 0 && buffer_bytes.is_multiple_of(4096), "whole pages");
        Rc::new(Self {
            buffer_bytes,
            buffers_max: usize::try_from(bytes_max / buffer_bytes as u64).unwrap_or(usize::MAX),
            ready,
            regions: RefCell::default(),
            touched: Cell::new(0),
            asked: Cell::new(false),
            growing: Cell::new(false),
            refused: Cell::new(false),
        })
    }

    /// An empty buffer with room for `capacity` bytes; `None` when there is none now, or none so large. What is used the most is
    /// handed out first, so that it may still be in the processor's caches.
    ///
    /// # Panics
    /// Outside a reactor.
    pub fn take(self: &Rc<Self>, capacity: usize) -> Option<PoolBuffer> {
        if capacity > self.buffer_bytes {
            return None;
        }
        let chunk = self.regions.borrow().iter().find_map(Region::take);
        if self.asked.replace(true) && self.wants_more() && !self.growing.replace(true) {
            let pool = Rc::clone(self);
            let grow = async move {
                while pool.wants_more() {
                    pool.grow().await;
                }
                pool.growing.set(false);
            };
            spawn(Priority::Background, "buffers", grow).detach();
        }
        let memory = Memory::Pooled { chunk: Arc::new(chunk?), start: 0, end: 0, limit: capacity };
        Some(PoolBuffer { memory })
    }

    fn wants_more(&self) -> bool {
        let free: usize = self.regions.borrow().iter().map(|region| region.free_chunks()).sum();
        free < self.ready && !self.refused.get() && self.buffers() < self.buffers_max
    }

    fn buffers(&self) -> usize {
        let whole = self.regions.borrow().len().saturating_sub(1);
        whole * POOL_REGION_BUFFERS as usize + self.touched.get() as usize
    }

    /// Has a kernel worker give some more buffers their pages.
    async fn grow(&self) {
        if self.regions.borrow().is_empty() || self.touched.get() == POOL_REGION_BUFFERS {
            match Region::new(self.buffer_bytes, POOL_REGION_BUFFERS) {
                Ok(region) => self.regions.borrow_mut().push(Arc::new(region)),
                Err(_) => return self.refused.set(true),
            }
            self.touched.set(0);
        }
        let Some(region) = self.regions.borrow().last().map(Arc::clone) else { return };
        let from = self.touched.get();
        let more = (POOL_GROWTH_BYTES / self.buffer_bytes).clamp(1, self.buffers_max - self.buffers());
        let to = POOL_REGION_BUFFERS.min(from + more as u32);
        let Some(touching) = executor::with(|reactor| reactor.driver().touch(&region, from..to)) else {
            return self.refused.set(true);
        };
        self.touched.set(to);
        // If the kernel cannot do it beforehand (before Linux 5.14), the first use gives them their pages.
        touching.await;
        region.release(from..to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_buffer_are_aligned_and_keep_their_bytes() {
        let mut buffer = PoolBuffer::plain(3 * 4096);
        buffer.extend_from_slice(&[1; 4096]);
        let first = buffer.give(4096);
        buffer.extend_from_slice(&[2; 5]);
        buffer.extend_to(4096);
        let second = buffer.give(4096);
        assert!(crate::is_aligned(&first) && crate::is_aligned(&second));
        assert_eq!(first, vec![1; 4096]);
        assert_eq!(second[..6], [2, 2, 2, 2, 2, 0]);
        assert_eq!((buffer.len(), buffer.capacity()), (0, 4096));
        buffer.extend_from_slice(&[3; 10]);
        buffer.skip(9);
        assert_eq!(&buffer[..], [3]);
    }

    #[test]
    #[should_panic(expected = "too little room")]
    fn a_buffer_never_moves_by_itself() {
        PoolBuffer::plain(4096).extend_from_slice(&[0; 4097]);
    }
}
