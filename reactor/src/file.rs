//! Open files.

use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use io_uring::types::FsyncFlags;

use crate::buffer::{FixedBuffer, Memory};
use crate::executor;
use crate::faults::{FileOp, Tag, check};
use crate::limits::FILE_OP_BYTES_MAX;
use crate::planted::{Planted, planted};
use crate::ring::file::{self as ring_file, FixedRange, OpenFile};
use crate::ring::ops::{Completion, Keep, Op};
use crate::ring::parts::Parts;
use crate::sys::outcome;

/// How to open a file. Everything is off at first.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // independent switches, as in std
pub struct OpenOptions {
    read: bool,
    write: bool,
    create: bool,
    create_new: bool,
    truncate: bool,
    direct: bool,
}

impl OpenOptions {
    /// Nothing is allowed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// For reading.
    #[must_use]
    pub fn read(mut self, on: bool) -> Self {
        self.read = on;
        self
    }

    /// For writing.
    #[must_use]
    pub fn write(mut self, on: bool) -> Self {
        self.write = on;
        self
    }

    /// Makes the file if there is none.
    #[must_use]
    pub fn create(mut self, on: bool) -> Self {
        self.create = on;
        self
    }

    /// Makes the file; an error if there is one.
    #[must_use]
    pub fn create_new(mut self, on: bool) -> Self {
        self.create_new = on;
        self
    }

    /// Empties the file.
    #[must_use]
    pub fn truncate(mut self, on: bool) -> Self {
        self.truncate = on;
        self
    }

    /// Past the page cache (`O_DIRECT`): positions, lengths and buffers must be aligned, see [`aligned`](crate::aligned).
    #[must_use]
    pub fn direct(mut self, on: bool) -> Self {
        self.direct = on;
        self
    }

    /// The same for the standard library's files.
    pub(crate) fn for_system(self) -> std::fs::OpenOptions {
        use std::os::unix::fs::OpenOptionsExt as _;

        let mut options = std::fs::OpenOptions::new();
        options.read(self.read).write(self.write).truncate(self.truncate);
        options.create(self.create).create_new(self.create_new);
        options.custom_flags(if self.direct { libc::O_DIRECT } else { 0 });
        options
    }

    pub(crate) fn flags(self) -> i32 {
        let access = match (self.read, self.write) {
            (true, true) => libc::O_RDWR,
            (false, true) => libc::O_WRONLY,
            _ => libc::O_RDONLY,
        };
        let mut flags = access;
        for (on, flag) in [
            (self.create || self.create_new, libc::O_CREAT),
            (self.create_new, libc::O_EXCL),
            (self.truncate, libc::O_TRUNC),
            (self.direct, libc::O_DIRECT),
        ] {
            if on {
                flags |= flag;
            }
        }
        flags
    }
}

/// How a write is made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncMethod {
    /// A write and an fdatasync linked behind it. The right one where the device has no FUA.
    LinkedFdatasync,
    /// One write with `RWF_DSYNC`. On a device without FUA it may wait milliseconds behind a busy core.
    WriteDsync,
}

/// An open file. Cloning gives another handle of the same open file. Closed when the last handle and the last operation
/// on it are gone.
#[derive(Clone, Debug)]
pub struct File {
    open: Arc<OpenFile>,
    tag: Tag,
    not_send: PhantomData<*const ()>,
}

/// An open file on its way to another reactor, or held for [`TcpStream::send_file`](crate::TcpStream::send_file).
#[derive(Clone, Debug)]
pub struct SharedFile {
    open: Arc<OpenFile>,
    tag: Tag,
}

impl SharedFile {
    pub(crate) fn open_file(&self) -> &Arc<OpenFile> {
        &self.open
    }

    pub(crate) fn tag(&self) -> &Tag {
        &self.tag
    }
}

impl File {
    fn new(open: OpenFile, path: &Path) -> Self {
        Self { open: Arc::new(open), tag: Tag::new(path), not_send: PhantomData }
    }

    /// Opens a file. New files get mode 0644.
    pub async fn open(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        check(FileOp::Open, path)?;
        let operation = executor::with(|reactor| reactor.driver().open(path, options.flags()))?;
        Ok(Self::new(OpenFile::from_result(operation.await.result, options.direct)?, path))
    }

    /// A file that was opened outside the ring.
    pub(crate) fn from_system(file: std::fs::File, path: &Path, options: OpenOptions) -> Self {
        Self::new(OpenFile::new(file.into(), options.direct), path)
    }

    /// Reads through the page cache bring what is asked for and nothing ahead of it, so that they are as short as the reader
    /// makes them.
    pub fn no_read_ahead(&self) {
        ring_file::advise_random(&self.open);
    }

    /// Reads `length` bytes at `position`, fewer only if the file ends, behind the bytes that `buffer` holds. Returns how
    /// many were read, and the buffer in any case.
    ///
    /// # Errors
    /// `InvalidInput` if the spare capacity is below `length`; else the file's.
    pub async fn read_at(
        &self,
        buffer: BytesMut,
        length: usize,
        position: u64,
    ) -> (io::Result<usize>, BytesMut) {
        if buffer.capacity() - buffer.len() < length {
            return (
                Err(io::Error::new(io::ErrorKind::InvalidInput, "the buffer has too little room")),
                buffer,
            );
        }
        if let Err(error) = self.tag.check(FileOp::Read) {
            return (Err(error), buffer);
        }
        let mut buffer = buffer;
        let mut count = 0;
        while count < length {
            let operation = executor::with(|reactor| {
                reactor.driver().read(&self.open, buffer, length - count, position + count as u64)
            });
            let Completion { result, keep, .. } = operation.await;
            let Keep::Read(_, back) = keep else { panic!("a read gives its buffer back") };
            buffer = back;
            match outcome(result) {
                Ok(0) => break,
                Ok(read) => {
                    // SAFETY: the kernel has written this many bytes behind the buffer's length.
                    unsafe { buffer.set_len(buffer.len() + read) };
                    count += read;
                    if count < length && self.ends_at(position + count as u64) {
                        break;
                    }
                }
                Err(error) if is_temporary(&error) => {}
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(count), buffer)
    }

    /// Whether a short read past the page cache has reached the file's end. The next read would not be aligned then, and fail.
    fn ends_at(&self, position: u64) -> bool {
        self.open.direct && ring_file::length(&self.open).is_ok_and(|length| position >= length)
    }

    /// Reads as [`read_at`](Self::read_at), behind the bytes that a fixed buffer holds.
    pub async fn read_fixed(
        &self,
        buffer: FixedBuffer,
        length: usize,
        position: u64,
    ) -> (io::Result<usize>, FixedBuffer) {
        if buffer.remaining() < length {
            return (
                Err(io::Error::new(io::ErrorKind::InvalidInput, "the buffer has too little room")),
                buffer,
            );
        }
        let filled = buffer.length;
        let mut chunk = match buffer.memory {
            Memory::Chunk(chunk) => chunk,
            Memory::Plain(bytes) => {
                let (result, bytes) = self.read_at(bytes, length, position).await;
                let length = bytes.len();
                return (result, FixedBuffer { memory: Memory::Plain(bytes), length });
            }
        };
        if let Err(error) = self.tag.check(FileOp::Read) {
            return (Err(error), FixedBuffer { memory: Memory::Chunk(chunk), length: filled });
        }
        let mut count = 0;
        let result = loop {
            if count == length {
                break Ok(count);
            }
            let (filled, left) = (filled + count, length - count);
            let range = FixedRange { filled, count: left, position: position + count as u64 };
            let operation = executor::with(|reactor| reactor.driver().read_fixed(&self.open, chunk, range));
            let Completion { result, keep, .. } = operation.await;
            let Keep::ReadFixed(_, back) = keep else { panic!("a read gives its buffer back") };
            chunk = back;
            match outcome(result) {
                Ok(0) => break Ok(count),
                Ok(read) => count += read,
                Err(error) if is_temporary(&error) => continue,
                Err(error) => break Err(error),
            }
            if count < length && self.ends_at(position + count as u64) {
                break Ok(count);
            }
        };
        (result, FixedBuffer { memory: Memory::Chunk(chunk), length: filled + count })
    }

    /// Writes all of `data` at `position`, or fails. Not durable before a sync. A failed write may have written a part.
    pub async fn write_at(&self, data: Bytes, position: u64) -> io::Result<()> {
        self.tag.check(FileOp::Write)?;
        let mut data = data;
        let mut position = position;
        while !data.is_empty() {
            let operation = executor::with(|reactor| reactor.driver().write(&self.open, data, position, 0));
            let Completion { result, keep, .. } = operation.await;
            let Keep::Write(_, back) = keep else { panic!("a write gives its data back") };
            data = back;
            match outcome(result) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    data.advance(count);
                    position += count as u64;
                }
                Err(error) if is_temporary(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes `parts`, one behind the other, at `position`, all of them, or fails, as [`write_at`](Self::write_at) does. Past the
    /// page cache each part has to be aligned in memory as the device wants it (most want 512 bytes), and its length too.
    pub async fn write_parts_at(&self, parts: Vec<Bytes>, position: u64) -> io::Result<()> {
        self.tag.check(FileOp::Write)?;
        let mut parts = Parts::new(parts);
        let mut position = position;
        while !parts.is_empty() {
            let operation =
                executor::with(|reactor| reactor.driver().write_parts(&self.open, parts, position));
            let Completion { result, keep, .. } = operation.await;
            let Keep::WriteParts(_, back) = keep else { panic!("a write gives its parts back") };
            parts = back;
            match outcome(result) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    parts.advance(count);
                    position += count as u64;
                }
                Err(error) if is_temporary(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `data` at `position` and makes it durable. Started by this call, not by the first poll; both
    /// operations of a linked pair go to the kernel in one submission. It runs to its end also if the future is dropped.
    ///
    /// # Errors
    /// Of the write or the sync. A short write is an error and is not continued; after any error nothing is known of the
    /// bytes, and a sync that failed must not be tried again.
    pub fn write_and_sync(&self, data: Bytes, position: u64, how: SyncMethod) -> Commit {
        let length = data.len();
        if length > FILE_OP_BYTES_MAX {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "too long for one write");
            return Commit { length, stage: Stage::Failed(Some(error)) };
        }
        if let Err(error) = self.tag.check(FileOp::Write) {
            return Commit { length, stage: Stage::Failed(Some(error)) };
        }
        if let Err(error) = self.tag.check(FileOp::Sync) {
            let write = executor::with(|reactor| reactor.driver().write(&self.open, data, position, 0));
            return Commit { length, stage: Stage::Writing { write, synced: Err(error), paired: false } };
        }
        let stage = executor::with(|reactor| match how {
            SyncMethod::LinkedFdatasync => {
                let (write, sync) = reactor.driver().write_then_sync(&self.open, data, position);
                Stage::Syncing { write, sync }
            }
            SyncMethod::WriteDsync => {
                let write = reactor.driver().write(&self.open, data, position, libc::RWF_DSYNC);
                Stage::Writing { write, synced: Ok(()), paired: false }
            }
        });
        Commit { length, stage }
    }

    async fn sync(&self, flags: FsyncFlags) -> io::Result<()> {
        self.tag.check(FileOp::Sync)?;
        let operation = executor::with(|reactor| reactor.driver().sync(&self.open, flags));
        outcome(operation.await.result).map(drop)
    }

    /// Makes durable what was written before this call, and the length (`fdatasync`).
    pub async fn sync_data(&self) -> io::Result<()> {
        self.sync(FsyncFlags::DATASYNC).await
    }

    /// Makes data and all attributes durable (`fsync`).
    pub async fn sync_all(&self) -> io::Result<()> {
        self.sync(FsyncFlags::empty()).await
    }

    /// Reserves disk space for a range, growing the file if it ends earlier (`fallocate`). The range reads as zeros.
    pub async fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        self.tag.check(FileOp::Allocate)?;
        let operation = executor::with(|reactor| reactor.driver().allocate(&self.open, position, length));
        outcome(operation.await.result).map(drop)
    }

    /// Cuts or extends the file. Blocks the reactor for as long as the file system takes to free the blocks.
    // Async, so that a kernel that has the operation on the ring, and the simulator, can wait.
    #[allow(clippy::unused_async)]
    pub async fn set_len(&self, length: u64) -> io::Result<()> {
        self.tag.check(FileOp::Write)?;
        ring_file::set_length(&self.open, length)
    }

    /// The file's length in bytes.
    #[allow(clippy::unused_async)] // as for `set_len`
    pub async fn size(&self) -> io::Result<u64> {
        ring_file::length(&self.open)
    }

    /// A handle for other reactors.
    pub fn share(&self) -> SharedFile {
        SharedFile { open: self.open.clone(), tag: self.tag.clone() }
    }

    /// The file behind a shared handle, for use on this reactor.
    pub fn from_shared(shared: SharedFile) -> Self {
        Self { open: shared.open, tag: shared.tag, not_send: PhantomData }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Future of [`File::write_and_sync`].
#[must_use = "the result says whether the bytes are durable"]
pub struct Commit {
    length: usize,
    stage: Stage,
}

enum Stage {
    Failed(Option<io::Error>),
    Syncing { write: Op, sync: Op },
    Writing { write: Op, synced: io::Result<()>, paired: bool },
}

impl Future for Commit {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let length = self.length;
        if planted(Planted::AckBeforeSync)
            && let Stage::Syncing { write, .. } = &mut self.stage
        {
            return Poll::Ready(outcome(ready!(Pin::new(write).poll(context)).result).map(drop));
        }
        // The kernel speaks of the sync only, unless the write fails: one wake-up for both.
        if let Stage::Syncing { sync, .. } = &mut self.stage {
            let synced = outcome(ready!(Pin::new(sync).poll(context)).result).map(drop);
            let Stage::Syncing { write, .. } = std::mem::replace(&mut self.stage, Stage::Failed(None)) else {
                unreachable!("the stage was just looked at")
            };
            self.stage = Stage::Writing { write, synced, paired: true };
        }
        match &mut self.stage {
            Stage::Failed(error) => {
                Poll::Ready(Err(error.take().unwrap_or_else(|| io::Error::other("polled after its end"))))
            }
            Stage::Writing { write, synced, paired } => {
                let written = match Pin::new(write).poll(context) {
                    Poll::Ready(completion) => outcome(completion.result),
                    // A pair that was torn apart on its way to the kernel: of this write there may be no news.
                    Poll::Pending if *paired && synced.is_err() => {
                        return Poll::Ready(std::mem::replace(synced, Ok(())));
                    }
                    Poll::Pending => return Poll::Pending,
                };
                let synced = std::mem::replace(synced, Ok(()));
                Poll::Ready(match written {
                    Ok(count) if count == length => synced,
                    Ok(_) => Err(io::Error::new(io::ErrorKind::WriteZero, "the write was cut short")),
                    Err(error) => Err(error),
                })
            }
            Stage::Syncing { .. } => unreachable!("left above"),
        }
    }
}
