//! Pipes through which file pages go to sockets. Pooled, for making one costs two descriptors and up to a megabyte of
//! kernel memory; a pipe that may still hold bytes is never pooled.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use crate::limits::{PIPE_BYTES, PIPES_KEPT_MAX, PIPES_MAX};
use crate::sync::Semaphore;
use crate::sys;

/// A pipe and its capacity.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    pub(crate) capacity: usize,
}

impl Pipe {
    fn open() -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: `ends` is a place for two descriptors.
        sys::check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) }.into())?;
        // SAFETY: just opened, owned by nobody else.
        let read = unsafe { OwnedFd::from_raw_fd(ends[0]) };
        // SAFETY: as above.
        let write = unsafe { OwnedFd::from_raw_fd(ends[1]) };
        // SAFETY: no pointers. Refused above the user's limit: then the pipe keeps its 64 KiB.
        unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES as libc::c_int) };
        // SAFETY: no pointers.
        let capacity = sys::check(unsafe { libc::fcntl(write.as_raw_fd(), libc::F_GETPIPE_SZ) }.into())?;
        Ok(Self { read, write, capacity: capacity as usize })
    }

    pub(crate) fn read_end(&self) -> RawFd {
        self.read.as_raw_fd()
    }

    pub(crate) fn write_end(&self) -> RawFd {
        self.write.as_raw_fd()
    }
}

/// Empty pipes of one reactor.
pub(crate) struct PipePool {
    pipes: RefCell<Vec<Rc<Pipe>>>,
    places: Semaphore,
}

impl Default for PipePool {
    fn default() -> Self {
        Self { pipes: RefCell::default(), places: Semaphore::new(PIPES_MAX) }
    }
}

impl PipePool {
    /// A permit of these is to be held by whoever uses a pipe.
    pub(crate) fn places(&self) -> Semaphore {
        self.places.clone()
    }

    /// An empty pipe.
    pub(crate) fn take(&self) -> io::Result<Rc<Pipe>> {
        match self.pipes.borrow_mut().pop() {
            Some(pipe) => Ok(pipe),
            None => Pipe::open().map(Rc::new),
        }
    }

    /// Takes back a pipe of which the caller knows that it is empty and that no operation uses it.
    pub(crate) fn give_back(&self, pipe: Rc<Pipe>) {
        let mut pipes = self.pipes.borrow_mut();
        if pipes.len() < PIPES_KEPT_MAX {
            pipes.push(pipe);
        }
    }
}
