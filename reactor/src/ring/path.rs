//! Operations on names: open, make, rename, remove, ask.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use io_uring::{opcode, types};

use super::Driver;
use super::ops::{Keep, Op};

/// Paths (and the place for what is asked about one) that the kernel looks at during an operation.
pub(crate) struct PathArguments {
    path: CString,
    second: CString,
    pub(crate) status: libc::statx,
}

impl PathArguments {
    pub(crate) fn new(path: &Path) -> io::Result<Box<Self>> {
        // SAFETY: all bytes zero is a valid statx.
        let status = unsafe { std::mem::zeroed() };
        Ok(Box::new(Self { path: c_string(path)?, second: CString::default(), status }))
    }
}

/// A path as system calls want it.
pub(crate) fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path contains a zero byte"))
}

const HERE: types::Fd = types::Fd(libc::AT_FDCWD);

impl Driver {
    pub(crate) fn open(&self, path: &Path, flags: i32) -> io::Result<Op> {
        let arguments = PathArguments::new(path)?;
        let entry = opcode::OpenAt::new(HERE, arguments.path.as_ptr())
            .flags(flags | libc::O_CLOEXEC)
            .mode(0o644)
            .build();
        // SAFETY: the path's heap memory stays where it is in the slot.
        Ok(unsafe { self.start(entry, Keep::Open(arguments)) })
    }

    pub(crate) fn make_dir(&self, path: &Path) -> io::Result<Op> {
        let arguments = PathArguments::new(path)?;
        let entry = opcode::MkDirAt::new(HERE, arguments.path.as_ptr()).mode(0o755).build();
        // SAFETY: as in `open`.
        Ok(unsafe { self.start(entry, Keep::Path(arguments)) })
    }

    /// `flags`: 0 for a file, `AT_REMOVEDIR` for an empty directory.
    pub(crate) fn unlink(&self, path: &Path, flags: i32) -> io::Result<Op> {
        let arguments = PathArguments::new(path)?;
        let entry = opcode::UnlinkAt::new(HERE, arguments.path.as_ptr()).flags(flags).build();
        // SAFETY: as in `open`.
        Ok(unsafe { self.start(entry, Keep::Path(arguments)) })
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<Op> {
        let mut arguments = PathArguments::new(from)?;
        arguments.second = c_string(to)?;
        let entry =
            opcode::RenameAt::new(HERE, arguments.path.as_ptr(), HERE, arguments.second.as_ptr()).build();
        // SAFETY: as in `open`.
        Ok(unsafe { self.start(entry, Keep::Path(arguments)) })
    }

    /// Asks for everything statx knows, direct I/O alignment included. The answer is in the arguments that come back.
    pub(crate) fn status(&self, path: &Path) -> io::Result<Op> {
        let mut arguments = PathArguments::new(path)?;
        let place = (&raw mut arguments.status).cast();
        let entry = opcode::Statx::new(HERE, arguments.path.as_ptr(), place)
            .mask(libc::STATX_BASIC_STATS | libc::STATX_DIOALIGN)
            .build();
        // SAFETY: as in `open`; the status is in the box too.
        Ok(unsafe { self.start(entry, Keep::Path(arguments)) })
    }
}

/// Closes a descriptor that an open operation returned to nobody.
pub(crate) fn close(descriptor: i32) {
    // SAFETY: the kernel opened it for an operation whose future is gone; nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
}
