//! A reactor's own buffers for files: regions of memory cut into equal chunks, used again and again.
//!
//! The region for writing is registered: its pages are held by the kernel once for all, instead of at each operation. A write
//! of 1 MiB costs a third less CPU time from it, one of 4 KiB about a twentieth. It is registered when first asked for. The
//! kernel may refuse (the user's limit of locked memory): then, and when all chunks are taken, callers get plain aligned
//! memory, and nothing else changes.
//!
//! The region for reading is a bound: what is read into it may be held by slow readers, so there is no more when all chunks
//! are taken. Its pages are given out by the kernel as they are touched, and stay.

use std::cell::OnceCell;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Driver;
use crate::buffer::Memory;
use crate::limits::{FIXED_BUFFER_BYTES, FIXED_BUFFERS, READ_BUFFER_BYTES, READ_BUFFERS};

/// Of x86-64 and of aarch64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;
const _: () = assert!(FIXED_BUFFERS <= 64 && FIXED_BUFFER_BYTES.is_multiple_of(4096));
const _: () = assert!(READ_BUFFERS <= 64 && READ_BUFFER_BYTES.is_multiple_of(4096));

/// The region's index in the ring's table of registered buffers.
pub(crate) const INDEX: u16 = 0;

/// Memory of one reactor. Its chunks may be freed on other threads, and after the reactor's end.
#[derive(Debug)]
pub(crate) struct Region {
    chunk_bytes: usize,
    chunks: u32,
    mapped: NonNull<u8>,
    /// Within what is mapped, at a multiple of the size of a huge page.
    memory: NonNull<u8>,
    /// One bit for each chunk that nobody has.
    free: AtomicU64,
}

// SAFETY: the memory is reached only through chunks, each of which has one owner.
unsafe impl Send for Region {}
// SAFETY: as above; the bit set is atomic.
unsafe impl Sync for Region {}

impl Region {
    /// At most 64 chunks.
    fn new(chunk_bytes: usize, chunks: u32) -> io::Result<Self> {
        let bytes = chunk_bytes * chunks as usize;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), bytes + HUGE_PAGE_BYTES, access, kind, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapped: NonNull<u8> =
            NonNull::new(mapped.cast()).ok_or_else(|| io::Error::other("mmap gave address zero"))?;
        let ahead = mapped.as_ptr().align_offset(HUGE_PAGE_BYTES);
        assert!(ahead < HUGE_PAGE_BYTES, "a byte pointer can be aligned");
        // SAFETY: the mapping is longer than the region by one huge page.
        let memory = unsafe { mapped.add(ahead) };
        // SAFETY: advice about memory mapped above; that it is not taken (no huge page is free) changes nothing.
        unsafe { libc::madvise(memory.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        let all = u64::MAX >> (64 - chunks);
        Ok(Self { chunk_bytes, chunks, mapped, memory, free: AtomicU64::new(all) })
    }

    fn bytes(&self) -> usize {
        self.chunk_bytes * self.chunks as usize
    }

    fn take(self: &Arc<Self>) -> Option<Chunk> {
        let mut free = self.free.load(Ordering::Relaxed);
        while free != 0 {
            let bit = free & free.wrapping_neg();
            match self.free.compare_exchange_weak(free, free & !bit, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Chunk { region: self.clone(), index: bit.trailing_zeros() }),
                Err(now) => free = now,
            }
        }
        None
    }

    /// Whether a slice lies in this region.
    fn contains(&self, place: *const u8, length: usize) -> bool {
        let offset = place.addr().wrapping_sub(self.memory.as_ptr().addr());
        offset < self.bytes() && length <= self.bytes() - offset
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no chunk refers to it any more.
        unsafe { libc::munmap(self.mapped.as_ptr().cast(), self.bytes() + HUGE_PAGE_BYTES) };
    }
}

/// A piece of a region, given back when dropped.
#[derive(Debug)]
pub(crate) struct Chunk {
    region: Arc<Region>,
    index: u32,
}

impl Chunk {
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        // SAFETY: the index is below the number of chunks, so the result is within the mapping.
        unsafe { self.region.memory.as_ptr().add(self.index as usize * self.capacity()) }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.region.chunk_bytes
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: within the mapping, which starts zeroed; this chunk is its memory's only owner.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.capacity()) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr(), self.capacity()) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.region.free.fetch_or(1 << self.index, Ordering::Release);
    }
}

/// The regions of one ring, when they were first asked for.
#[derive(Default)]
pub(crate) struct FixedBuffers {
    /// `None` inside: the kernel has refused.
    region: OnceCell<Option<Arc<Region>>>,
    reading: OnceCell<Option<Arc<Region>>>,
}

impl Driver {
    /// A registered chunk, unless there is none.
    pub(crate) fn take_fixed(&self) -> Option<Memory> {
        self.fixed.region.get_or_init(|| self.register_region().ok()).as_ref()?.take().map(Memory::Chunk)
    }

    /// A chunk for reading, unless all are taken.
    pub(crate) fn take_reading(&self) -> Option<Memory> {
        let region = || Region::new(READ_BUFFER_BYTES, READ_BUFFERS).ok().map(Arc::new);
        self.fixed.reading.get_or_init(region).as_ref()?.take().map(Memory::Chunk)
    }

    fn register_region(&self) -> io::Result<Arc<Region>> {
        let region = Arc::new(Region::new(FIXED_BUFFER_BYTES, FIXED_BUFFERS)?);
        let whole = libc::iovec { iov_base: region.memory.as_ptr().cast(), iov_len: region.bytes() };
        // SAFETY: the driver keeps the region until the ring is closed.
        unsafe { self.ring.borrow().submitter().register_buffers(&[whole]) }?;
        Ok(region)
    }

    /// Whether the slice may be used with the ring's operations on registered buffers.
    pub(super) fn is_fixed(&self, place: *const u8, length: usize) -> bool {
        let region = self.fixed.region.get();
        region.is_some_and(|region| region.as_ref().is_some_and(|region| region.contains(place, length)))
    }
}
