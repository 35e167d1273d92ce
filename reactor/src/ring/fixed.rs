//! Registered buffers: memory whose pages the kernel holds once for all, instead of at each operation. A write of 1 MiB costs
//! a third less CPU time from them, one of 4 KiB about a twentieth.
//!
//! One region per reactor, registered when first asked for, cut into equal chunks. The kernel may refuse (the user's limit of
//! locked memory): then, and when all chunks are taken, callers get plain aligned memory, and nothing else changes.

use std::cell::OnceCell;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Driver;
use crate::limits::{FIXED_BUFFER_BYTES, FIXED_BUFFERS};

const REGION_BYTES: usize = FIXED_BUFFERS as usize * FIXED_BUFFER_BYTES;
/// Of x86-64 and of aarch64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;
const MAPPED_BYTES: usize = REGION_BYTES + HUGE_PAGE_BYTES;
const _: () = assert!(FIXED_BUFFERS <= 64 && FIXED_BUFFER_BYTES.is_multiple_of(4096));

/// The region's index in the ring's table of registered buffers.
pub(crate) const INDEX: u16 = 0;

/// The registered memory of one reactor. Its chunks may be freed on other threads, and after the reactor's end.
#[derive(Debug)]
pub(crate) struct Region {
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
    fn new() -> io::Result<Self> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), MAPPED_BYTES, access, kind, -1, 0) };
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
        unsafe { libc::madvise(memory.as_ptr().cast(), REGION_BYTES, libc::MADV_HUGEPAGE) };
        let all = u64::MAX >> (64 - FIXED_BUFFERS);
        Ok(Self { mapped, memory, free: AtomicU64::new(all) })
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
        offset < REGION_BYTES && length <= REGION_BYTES - offset
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no chunk refers to it any more.
        unsafe { libc::munmap(self.mapped.as_ptr().cast(), MAPPED_BYTES) };
    }
}

/// A piece of registered memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Chunk {
    region: Arc<Region>,
    index: u32,
}

impl Chunk {
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        // SAFETY: the index is below FIXED_BUFFERS, so the result is within the mapping.
        unsafe { self.region.memory.as_ptr().add(self.index as usize * FIXED_BUFFER_BYTES) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: within the mapping, which starts zeroed; this chunk is its memory's only owner.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), FIXED_BUFFER_BYTES) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr(), FIXED_BUFFER_BYTES) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.region.free.fetch_or(1 << self.index, Ordering::Release);
    }
}

/// The region of one ring, if there is one.
#[derive(Default)]
pub(crate) struct FixedBuffers {
    /// `None` inside: the kernel has refused.
    region: OnceCell<Option<Arc<Region>>>,
}

impl Driver {
    /// A registered chunk, unless there is none.
    pub(crate) fn take_fixed(&self) -> Option<Chunk> {
        self.fixed.region.get_or_init(|| self.register_region().ok()).as_ref()?.take()
    }

    fn register_region(&self) -> io::Result<Arc<Region>> {
        let region = Arc::new(Region::new()?);
        let whole = libc::iovec { iov_base: region.memory.as_ptr().cast(), iov_len: REGION_BYTES };
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
