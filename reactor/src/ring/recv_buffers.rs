//! Provided receive buffers: a ring of buffers registered with the kernel, which takes one only when data has come. So
//! ten thousand idle streams hold no receive memory.

use std::cell::Cell;
use std::io;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::limits::{RECV_BUFFER_BYTES, RECV_BUFFERS};
use crate::sync::Notify;

/// The buffer group's id within its ring.
pub(crate) const GROUP: u16 = 0;

/// The buffers of one ring. Pages are touched only when a buffer is first used.
pub(crate) struct RecvBuffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    tail: Cell<u16>,
    waits: Cell<u64>,
    /// Buffers that the kernel has filled and that were not given back yet.
    taken: Cell<u16>,
    returned: Notify,
}

const ENTRIES_BYTES: usize = RECV_BUFFERS as usize * size_of::<BufRingEntry>();
const MEMORY_BYTES: usize = RECV_BUFFERS as usize * RECV_BUFFER_BYTES;
const _: () = assert!(RECV_BUFFERS.is_power_of_two());

impl RecvBuffers {
    pub(super) fn register(ring: &IoUring) -> io::Result<Self> {
        let entries = map(ENTRIES_BYTES)?.cast();
        let buffers = Self {
            entries,
            memory: map(MEMORY_BYTES)?,
            tail: Cell::new(0),
            waits: Cell::new(0),
            taken: Cell::new(0),
            returned: Notify::new(),
        };
        let address = entries.as_ptr().addr() as u64;
        // SAFETY: the mapping is page aligned, has RECV_BUFFERS entries, and is unmapped only after the ring is closed
        // (both are owned by the driver, which drops the ring first).
        unsafe { ring.submitter().register_buf_ring_with_flags(address, RECV_BUFFERS, GROUP, 0) }?;
        for bid in 0..RECV_BUFFERS {
            buffers.publish(bid);
        }
        Ok(buffers)
    }

    fn buffer(&self, bid: u16) -> *mut u8 {
        assert!(bid < RECV_BUFFERS, "the kernel names only buffers it was given");
        // SAFETY: within the mapping, by the assertion.
        unsafe { self.memory.as_ptr().add(bid as usize * RECV_BUFFER_BYTES) }
    }

    /// The first `count` bytes of a buffer that the kernel has filled and that was not given back yet.
    pub(crate) fn slice(&self, bid: u16, count: usize) -> &[u8] {
        assert!(count <= RECV_BUFFER_BYTES, "the kernel stays within a buffer");
        // SAFETY: within the mapping; nobody writes it until it is given back.
        unsafe { std::slice::from_raw_parts(self.buffer(bid), count) }
    }

    /// The kernel has filled a buffer.
    pub(super) fn take(&self) {
        self.taken.set(self.taken.get() + 1);
    }

    /// Gives a buffer back to the kernel and wakes the first receiver that waits for one.
    pub(crate) fn give_back(&self, bid: u16) {
        self.taken.set(self.taken.get() - 1);
        self.publish(bid);
        self.returned.notify_one_waiting();
    }

    fn publish(&self, bid: u16) {
        let tail = self.tail.get();
        let index = (tail & (RECV_BUFFERS - 1)) as usize;
        let address = self.buffer(bid).addr() as u64;
        // SAFETY: `index` is below RECV_BUFFERS, the number of entries in the mapping.
        let place = unsafe { self.entries.add(index) };
        // SAFETY: the kernel does not read entries at or beyond the published tail; this thread alone writes them.
        let entry = unsafe { &mut *place.as_ptr() };
        entry.set_addr(address);
        entry.set_len(RECV_BUFFER_BYTES as u32);
        entry.set_bid(bid);
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: the argument is the first entry, whose spare field is the ring's tail.
        let place = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: valid and aligned for u16; the kernel reads it concurrently, so it is accessed as an atomic.
        let published = unsafe { AtomicU16::from_ptr(place.cast_mut()) };
        published.store(self.tail.get(), Ordering::Release);
    }

    /// Waits, after the kernel found no buffer, until there is one: in the order of calling. What is returned is to be kept
    /// until the receive has succeeded or was given up.
    pub(crate) async fn wait(self: Rc<Self>) -> Turn {
        self.waits.set(self.waits.get() + 1);
        // If some were given back since, nobody will tell us.
        if self.taken.get() == RECV_BUFFERS {
            self.returned.notified().await;
        }
        Turn(self)
    }

    pub(crate) fn waits(&self) -> u64 {
        self.waits.get()
    }
}

/// A receiver's turn to take a buffer. When it is over, whether or not a buffer was taken, the next in the queue gets his if
/// there are buffers left: so no receiver waits while one is free.
pub(crate) struct Turn(Rc<RecvBuffers>);

impl Drop for Turn {
    fn drop(&mut self) {
        if self.0.taken.get() < RECV_BUFFERS {
            self.0.returned.notify_one_waiting();
        }
    }
}

impl Drop for RecvBuffers {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; nothing refers to it any more.
        unsafe { libc::munmap(self.entries.as_ptr().cast(), ENTRIES_BYTES) };
        // SAFETY: as above.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), MEMORY_BYTES) };
    }
}

/// Zeroed memory of its own pages.
fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
    let place = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(place.cast()).ok_or_else(|| io::Error::other("mmap gave address zero"))
}
