//! A reactor's own buffers for files: regions of memory cut into equal chunks, used again and again.
//!
//! The region for writing is registered: its pages are held by the kernel once for all, instead of at each operation. A write
//! of 1 MiB costs a third less CPU time from it, one of 4 KiB about a twentieth. The kernel may refuse (the user's limit of
//! locked memory), and nothing else changes.
//!
//! The region for reading is a bound: what is read into it may be held by slow readers, so there is no more when all chunks
//! are taken.
//!
//! Pages come when chunks are first asked for, and stay. A kernel worker clears them, which takes 1 to 5 ms a huge page on a
//! virtual machine: left to the first operation on them, they would hold the reactor for as long.

use std::cell::{Cell, OnceCell};
use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use io_uring::opcode;

use super::Driver;
use super::ops::{Keep, Op};
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
    /// One bit for each chunk that nobody has and whose pages are there.
    free: AtomicU64,
}

// SAFETY: the memory is reached only through chunks, each of which has one owner.
unsafe impl Send for Region {}
// SAFETY: as above; the bit set is atomic.
unsafe impl Sync for Region {}

impl Region {
    /// At most 64 chunks.
    pub(crate) fn new(chunk_bytes: usize, chunks: u32) -> io::Result<Self> {
        assert!(chunks <= 64, "a bit for each");
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
        Ok(Self { chunk_bytes, chunks, mapped, memory, free: AtomicU64::new(0) })
    }

    fn bytes(&self) -> usize {
        self.chunk_bytes * self.chunks as usize
    }

    pub(crate) fn take(self: &Arc<Self>) -> Option<Chunk> {
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

    /// These chunks have their pages, and can be taken from now on.
    pub(crate) fn release(&self, chunks: Range<u32>) {
        let fresh = (u64::MAX >> (64 - chunks.end)) & !((1 << chunks.start) - 1);
        self.free.fetch_or(fresh, Ordering::Release);
    }

    /// How many can be taken.
    pub(crate) fn free_chunks(&self) -> usize {
        self.free.load(Ordering::Relaxed).count_ones() as usize
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

    /// A place in it.
    pub(crate) fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.capacity(), "within the chunk");
        // SAFETY: within the chunk, or just behind it.
        unsafe { self.as_ptr().add(offset) }
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

/// Which of a reactor's regions.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    Writing,
    Reading,
}

/// What asking for a chunk gives.
pub(crate) enum Taken {
    Memory(Memory),
    /// All are taken, or the kernel gives no memory for them.
    None,
    /// There may be one when the operation has ended and [`Driver::touched`] was told that so many chunks have pages.
    After(Op, u32),
}

/// A region, made when it is first asked for.
#[derive(Default)]
struct Pool {
    /// `None` inside: the kernel has refused.
    region: OnceCell<Option<Arc<Region>>>,
    /// Chunks, from the first, that have their pages.
    touched: Cell<u32>,
}

/// The regions of one ring.
#[derive(Default)]
pub(crate) struct FixedBuffers {
    writing: Pool,
    reading: Pool,
    /// Whether the region for writing is registered, when that was tried.
    registered: OnceCell<bool>,
}

impl FixedBuffers {
    fn pool(&self, of: Use) -> &Pool {
        match of {
            Use::Writing => &self.writing,
            Use::Reading => &self.reading,
        }
    }
}

impl Driver {
    /// A chunk, unless there is none.
    pub(crate) fn take(&self, of: Use) -> Taken {
        let (bytes, chunks, at_once) = match of {
            Use::Writing => (FIXED_BUFFER_BYTES, FIXED_BUFFERS, FIXED_BUFFERS),
            Use::Reading => (READ_BUFFER_BYTES, READ_BUFFERS, (HUGE_PAGE_BYTES / READ_BUFFER_BYTES) as u32),
        };
        let pool = self.fixed.pool(of);
        let region = pool.region.get_or_init(|| Region::new(bytes, chunks).ok().map(Arc::new));
        let Some(region) = region else { return Taken::None };
        if let Some(chunk) = region.take() {
            return Taken::Memory(Memory::Chunk(chunk));
        }
        let touched = pool.touched.get();
        if touched == chunks {
            return Taken::None;
        }
        let end = chunks.min(touched + at_once);
        match self.touch(region, touched..end) {
            Some(touching) => Taken::After(touching, end),
            None => Taken::None,
        }
    }

    /// Has pages given to a range of chunks. `None` where memory is not the kernel's.
    #[allow(clippy::unnecessary_wraps)] // as in the simulator
    pub(crate) fn touch(&self, region: &Arc<Region>, chunks: Range<u32>) -> Option<Op> {
        let (offset, length) =
            (chunks.start as usize * region.chunk_bytes, chunks.len() * region.chunk_bytes);
        // SAFETY: the range is within the mapping.
        let place = unsafe { region.memory.add(offset) };
        let entry = opcode::Madvise::new(
            place.as_ptr().cast_const().cast(),
            length as libc::off_t,
            libc::MADV_POPULATE_WRITE,
        );
        // SAFETY: the slot keeps the region; giving it pages changes no byte.
        Some(unsafe { self.start(entry.build(), Keep::Region(region.clone())) })
    }

    /// These first chunks have their pages, or the kernel knows no way to give them beforehand.
    pub(crate) fn touched(&self, of: Use, chunks: u32) {
        let pool = self.fixed.pool(of);
        let Some(Some(region)) = pool.region.get() else { return };
        let before = pool.touched.get();
        if before >= chunks {
            return;
        }
        pool.touched.set(chunks);
        if chunks == region.chunks && matches!(of, Use::Writing) {
            self.fixed.registered.get_or_init(|| self.register(region).is_ok());
        }
        region.release(before..chunks);
    }

    fn register(&self, region: &Region) -> io::Result<()> {
        let whole = libc::iovec { iov_base: region.memory.as_ptr().cast(), iov_len: region.bytes() };
        // SAFETY: the driver keeps the region until the ring is closed.
        unsafe { self.ring.borrow().submitter().register_buffers(&[whole]) }
    }

    /// Whether the slice may be used with the ring's operations on registered buffers.
    pub(super) fn is_fixed(&self, place: *const u8, length: usize) -> bool {
        let region = self.fixed.writing.region.get().and_then(Option::as_ref);
        self.fixed.registered.get() == Some(&true)
            && region.is_some_and(|region| region.contains(place, length))
    }
}
