//! Operations on open files.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use io_uring::{opcode, squeue, types};

use super::Driver;
use super::fixed::{self, Chunk};
use super::ops::{Keep, Op};
use super::parts::Parts;
use crate::executor;
use crate::limits::{FILE_OP_BYTES_MAX, READ_AHEAD_BYTES_MAX, READ_AHEAD_TIME_MAX, WRITE_PARTS_MAX};
use crate::sys;

/// An open file. Closed when the last handle and the last operation are gone.
#[derive(Debug)]
pub(crate) struct OpenFile {
    descriptor: Option<OwnedFd>,
    pub(crate) direct: bool,
    /// Where the last bytes ended that had to be fetched from the disk, and when that was (nanoseconds).
    missed: [AtomicU64; 2],
    /// A simulated disk has it.
    #[cfg(feature = "simulator")]
    pub(crate) simulated: Option<crate::sim::disk::Handle>,
}

impl OpenFile {
    pub(crate) fn new(descriptor: OwnedFd, direct: bool) -> Self {
        let mut file = Self::without_descriptor(direct);
        file.descriptor = Some(descriptor);
        file
    }

    fn without_descriptor(direct: bool) -> Self {
        Self {
            descriptor: None,
            direct,
            missed: [const { AtomicU64::new(0) }; 2],
            #[cfg(feature = "simulator")]
            simulated: None,
        }
    }

    /// Takes over the descriptor that an open operation returned.
    pub(crate) fn from_result(result: i32, direct: bool) -> io::Result<Self> {
        let descriptor = sys::outcome(result)?;
        #[cfg(feature = "simulator")]
        if let Some(handle) = crate::sim::Driver::handle_of_result(result) {
            let mut file = Self::without_descriptor(direct);
            file.simulated = Some(handle);
            return Ok(file);
        }
        // SAFETY: the kernel has just opened it for us, and nobody else knows it.
        Ok(Self::new(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) }, direct))
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.descriptor.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn target(&self) -> types::Fd {
        types::Fd(self.raw())
    }
}

// With a simulated file there is no descriptor; its handle closes itself.
impl Drop for OpenFile {
    /// Closing a file that was unlinked frees its blocks, which takes long: a kernel worker does it. Any other is closed here:
    /// the worker would cost more, and wake the reactor to tell of it.
    fn drop(&mut self) {
        let Some(descriptor) = self.descriptor.take() else { return };
        if has_name(&descriptor) {
            return drop(descriptor);
        }
        executor::try_with(|reactor| match reactor {
            Some(reactor) => reactor.driver().close(descriptor),
            None => drop(descriptor),
        });
    }
}

fn has_name(descriptor: &OwnedFd) -> bool {
    let mut status = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `status` is a valid place for the kernel to write a stat.
    let answer = unsafe { libc::fstat(descriptor.as_raw_fd(), status.as_mut_ptr()) };
    // SAFETY: written by the kernel, or zeros.
    answer == 0 && unsafe { status.assume_init() }.st_nlink > 0
}

/// What to read into a registered buffer.
#[derive(Clone, Copy)]
pub(crate) struct FixedRange {
    pub(crate) filled: usize,
    pub(crate) count: usize,
    pub(crate) position: u64,
}

impl Driver {
    pub(crate) fn close(&self, descriptor: OwnedFd) {
        let raw = std::os::fd::IntoRawFd::into_raw_fd(descriptor);
        let entry = opcode::Close::new(types::Fd(raw)).build().flags(squeue::Flags::ASYNC);
        // SAFETY: no pointers, and the descriptor is now the operation's.
        drop(unsafe { self.start(entry, Keep::Nothing) });
    }

    /// Reads up to `count` bytes at `position` behind the bytes that `buffer` holds. It must have room for them.
    pub(crate) fn read(&self, file: &Arc<OpenFile>, mut buffer: BytesMut, count: usize, position: u64) -> Op {
        let room = buffer.spare_capacity_mut();
        assert!(room.len() >= count, "the caller reserves room");
        let (place, count) = (room.as_mut_ptr().cast(), count.min(FILE_OP_BYTES_MAX) as u32);
        let entry = opcode::Read::new(file.target(), place, count).offset(position).build();
        // SAFETY: the buffer's heap memory does not move when the handle moves into the slot.
        unsafe { self.start(entry, Keep::Read(file.clone(), buffer)) }
    }

    /// Reads into a registered buffer, behind its first `filled` bytes.
    pub(crate) fn read_fixed(&self, file: &Arc<OpenFile>, mut chunk: Chunk, range: FixedRange) -> Op {
        let room = &mut chunk.bytes_mut()[range.filled..];
        let (place, count) = (room.as_mut_ptr(), range.count.min(room.len()) as u32);
        // Another reactor's chunk is plain memory to this one's ring.
        let entry = if self.is_fixed(place, count as usize) {
            opcode::ReadFixed::new(file.target(), place, count, fixed::INDEX).offset(range.position).build()
        } else {
            opcode::Read::new(file.target(), place, count).offset(range.position).build()
        };
        // SAFETY: the chunk is registered memory that does not move.
        unsafe { self.start(entry, Keep::ReadFixed(file.clone(), chunk)) }
    }

    pub(crate) fn write(&self, file: &Arc<OpenFile>, data: Bytes, position: u64, flags: i32) -> Op {
        let entry = self.write_entry(file, &data, position, flags);
        // SAFETY: the data's memory does not move when the handle moves into the slot.
        unsafe { self.start(entry, Keep::Write(file.clone(), data)) }
    }

    /// Writes the first parts, as many as one operation carries.
    pub(crate) fn write_parts(&self, file: &Arc<OpenFile>, mut parts: Parts, position: u64) -> Op {
        let vectors = parts.vectors(WRITE_PARTS_MAX);
        let (place, count) = (vectors.as_ptr(), vectors.len() as u32);
        let entry = opcode::Writev::new(file.target(), place, count).offset(position).build();
        // SAFETY: the vectors and what they point to are on the heap and stay there when the handle moves into the slot.
        unsafe { self.start(entry, Keep::WriteParts(file.clone(), parts)) }
    }

    fn write_entry(&self, file: &OpenFile, data: &[u8], position: u64, flags: i32) -> squeue::Entry {
        let (place, count) = (data.as_ptr(), data.len().min(FILE_OP_BYTES_MAX) as u32);
        if self.is_fixed(place, data.len()) {
            let write = opcode::WriteFixed::new(file.target(), place, count, fixed::INDEX);
            return write.offset(position).rw_flags(flags).build();
        }
        opcode::Write::new(file.target(), place, count).offset(position).rw_flags(flags).build()
    }

    /// A write and, when it has fully succeeded, an fdatasync.
    pub(crate) fn write_then_sync(&self, file: &Arc<OpenFile>, data: Bytes, position: u64) -> (Op, Op) {
        let write = self.write_entry(file, &data, position, 0);
        let sync = opcode::Fsync::new(file.target()).flags(types::FsyncFlags::DATASYNC).build();
        let bytes = data.len().min(FILE_OP_BYTES_MAX) as i32;
        let write = (write, Keep::Write(file.clone(), data));
        // SAFETY: as for `write`.
        unsafe { self.start_pair(write, bytes, (sync, Keep::File(file.clone()))) }
    }

    pub(crate) fn sync(&self, file: &Arc<OpenFile>, flags: types::FsyncFlags) -> Op {
        let entry = opcode::Fsync::new(file.target()).flags(flags).build();
        // SAFETY: no pointers; the slot keeps the file open.
        unsafe { self.start(entry, Keep::File(file.clone())) }
    }

    pub(crate) fn allocate(&self, file: &Arc<OpenFile>, position: u64, length: u64) -> Op {
        let entry = opcode::Fallocate::new(file.target(), length).offset(position).build();
        // SAFETY: no pointers; the slot keeps the file open.
        unsafe { self.start(entry, Keep::File(file.clone())) }
    }
}

/// Sets the length of a file. Done by the calling thread: the ring's operation for it needs Linux 6.9.
pub(crate) fn set_length(file: &OpenFile, length: u64) -> io::Result<()> {
    #[cfg(feature = "simulator")]
    if let Some(handle) = &file.simulated {
        return handle.set_length(length);
    }
    let length = i64::try_from(length).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: no pointers; the descriptor is open as long as `file`.
    sys::check(unsafe { libc::ftruncate(file.raw(), length) }.into()).map(drop)
}

/// Tells the kernel to read what is asked for and nothing ahead. A hint: nothing depends on its being taken.
pub(crate) fn advise_random(file: &OpenFile) {
    if file.descriptor.is_some() {
        // SAFETY: no pointers; the descriptor is open as long as `file`.
        unsafe { libc::posix_fadvise(file.raw(), 0, 0, libc::POSIX_FADV_RANDOM) };
    }
}

/// The length of an open file. Does not block: its inode is in memory.
pub(crate) fn length(file: &OpenFile) -> io::Result<u64> {
    #[cfg(feature = "simulator")]
    if let Some(handle) = &file.simulated {
        return handle.length();
    }
    let mut status = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `status` is a valid place for the kernel to write a stat.
    sys::check(unsafe { libc::fstat(file.raw(), status.as_mut_ptr()) }.into())?;
    // SAFETY: written by the kernel, which said so.
    Ok(unsafe { status.assume_init() }.st_size as u64)
}

const PAGE: u64 = 4096;

/// Notes that the disk had to be read up to `end` just now.
pub(crate) fn note_miss(file: &OpenFile, end: u64) {
    file.missed[0].store(end, Ordering::Relaxed);
    file.missed[1].store(sys::monotonic_ns(), Ordering::Relaxed);
}

/// Whether a range can be read without waiting for the disk.
///
/// Being in the page cache is not enough: the kernel reads ahead of a reader (of `sendfile` too), and counts pages as cached
/// while they are still on their way. So the range's ends are also read without waiting, and a range near one that was
/// missing a moment ago is taken as missing.
pub(crate) fn is_resident(file: &OpenFile, position: u64, length: u64) -> bool {
    let near = position.abs_diff(file.missed[0].load(Ordering::Relaxed)) < READ_AHEAD_BYTES_MAX;
    if near {
        let since = sys::monotonic_ns().saturating_sub(file.missed[1].load(Ordering::Relaxed));
        if Duration::from_nanos(since) < READ_AHEAD_TIME_MAX {
            return false;
        }
    }
    // A range that does not begin with a page touches one page more than its length says.
    let touched = (position + length).div_ceil(PAGE) - position / PAGE;
    resident_pages(file, position, length).is_some_and(|resident| resident >= touched)
        && is_readable_now(file, position)
        && is_readable_now(file, position + length - 1)
}

/// Whether the byte at a position can be read at once. At the end of the file there is nothing to wait for.
fn is_readable_now(file: &OpenFile, position: u64) -> bool {
    let mut byte = 0u8;
    let vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let place = &raw const vector;
    // SAFETY: the vector describes `byte`; both outlive the call.
    let count = unsafe { libc::preadv2(file.raw(), place, 1, position as libc::off_t, libc::RWF_NOWAIT) };
    count >= 0
}

/// How many pages of a range lie in the page cache; `None` if the kernel cannot say (cachestat is of Linux 6.5).
fn resident_pages(file: &OpenFile, position: u64, length: u64) -> Option<u64> {
    #[repr(C)]
    struct Range {
        position: u64,
        length: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Cached {
        pages: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    const CACHESTAT: libc::c_long = 451;
    let range = Range { position, length };
    let mut cached = Cached::default();
    // SAFETY: both structures are what cachestat(2) takes, and outlive the call.
    let code = unsafe { libc::syscall(CACHESTAT, file.raw(), &raw const range, &raw mut cached, 0) };
    (code == 0).then_some(cached.pages)
}
