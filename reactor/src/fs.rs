//! Folders and names, and what there is to know of the disk.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::executor;
use crate::faults::{FileOp, check};
use crate::limits::BUFFER_ALIGNMENT;
pub use crate::new_files::{NewFile, make_files};
use crate::ring::ops::Keep;
use crate::ring::path::c_string;
pub use crate::syncer::{can_sync_file_system, sync_file_system};
use crate::sys::{self, outcome};
use crate::{File, OpenOptions};

/// One name in a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// Without the folder's path.
    pub name: OsString,
    /// A folder itself.
    pub is_dir: bool,
    /// Length in bytes.
    pub len: u64,
}

/// What is known of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// It is a folder.
    pub is_dir: bool,
    /// Length in bytes.
    pub len: u64,
    /// Bytes of disk space it takes.
    pub allocated: u64,
    /// Time of the last change of its content, in milliseconds since 1970.
    pub modified_ms: i64,
    /// Alignment in bytes that direct I/O needs of positions and lengths; `None` if the file system does not say.
    pub direct_alignment: Option<u32>,
}

/// Makes a folder and those above it. No error if it is there.
pub async fn create_dir_all(path: &Path) -> io::Result<()> {
    let mut missing = vec![path.to_path_buf()];
    while let Some(dir) = missing.pop() {
        check(FileOp::Open, &dir)?;
        let made = executor::with(|reactor| reactor.driver().make_dir(&dir))?;
        match outcome(made.await.result) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
                    return Err(error);
                };
                let parent = parent.to_path_buf();
                missing.push(dir);
                missing.push(parent);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !metadata(&dir).await?.is_dir {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub async fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path, &OpenOptions::new().read(true)).await?.sync_all().await
}

/// Removes a file. Its blocks are freed when nobody has it open any more.
pub async fn remove_file(path: &Path) -> io::Result<()> {
    check(FileOp::Unlink, path)?;
    let operation = executor::with(|reactor| reactor.driver().unlink(path, 0))?;
    outcome(operation.await.result).map(drop)
}

/// Removes a folder with everything in it. Symbolic links are removed, not followed.
pub async fn remove_dir_all(path: &Path) -> io::Result<()> {
    if is_symlink(path)? {
        return remove_file(path).await;
    }
    let mut dirs = vec![(path.to_path_buf(), false)];
    while let Some((dir, emptied)) = dirs.pop() {
        if emptied {
            let operation = executor::with(|reactor| reactor.driver().unlink(&dir, libc::AT_REMOVEDIR))?;
            outcome(operation.await.result)?;
            continue;
        }
        let entries = read_dir(&dir)?;
        dirs.push((dir.clone(), true));
        for entry in entries {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                dirs.push((path, false));
            } else {
                remove_file(&path).await?;
            }
        }
    }
    Ok(())
}

fn is_symlink(path: &Path) -> io::Result<bool> {
    #[cfg(feature = "simulator")]
    if crate::sim::is_running() {
        return Ok(false);
    }
    std::fs::symlink_metadata(path).map(|metadata| metadata.is_symlink())
}

/// Gives a file or folder another name, replacing a file that has it.
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    check(FileOp::Rename, from)?;
    let operation = executor::with(|reactor| reactor.driver().rename(from, to))?;
    outcome(operation.await.result).map(drop)
}

/// The names in a folder, sorted. Blocks the thread: for start-up and tools (the ring has no operation for it).
pub fn read_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    #[cfg(feature = "simulator")]
    if let Some(disk) = crate::sim::current_disk() {
        return disk.borrow().read_dir(path);
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // removed meanwhile
            other => other?,
        };
        entries.push(DirEntry { name: entry.file_name(), is_dir: metadata.is_dir(), len: metadata.len() });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// What is known of a path; symbolic links are followed.
pub async fn metadata(path: &Path) -> io::Result<Metadata> {
    let operation = executor::with(|reactor| reactor.driver().status(path))?;
    let completion = operation.await;
    outcome(completion.result)?;
    let Keep::Path(arguments) = completion.keep else { panic!("an operation on a path gives it back") };
    let status = &arguments.status;
    let aligned = status.stx_mask & libc::STATX_DIOALIGN != 0 && status.stx_dio_offset_align != 0;
    Ok(Metadata {
        is_dir: u32::from(status.stx_mode) & libc::S_IFMT == libc::S_IFDIR,
        len: status.stx_size,
        allocated: status.stx_blocks * 512,
        modified_ms: status.stx_mtime.tv_sec * 1000 + i64::from(status.stx_mtime.tv_nsec / 1_000_000),
        direct_alignment: aligned.then_some(status.stx_dio_offset_align),
    })
}

/// True if the path is there.
pub async fn exists(path: &Path) -> io::Result<bool> {
    match metadata(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A lock on a folder, held by one process at a time; released when dropped, or when the process dies.
#[derive(Debug)]
pub struct DirLock {
    _file: Option<std::fs::File>,
    path: PathBuf,
}

impl DirLock {
    /// The lock file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Locks a folder by a file of the given name in it (`flock`), whose content becomes `note`. Blocks the thread for the
/// file's opening.
///
/// # Errors
/// `WouldBlock` if another process holds the lock; the message has the note that it left.
pub fn lock(dir: &Path, name: &str, note: &str) -> io::Result<DirLock> {
    let path = dir.join(name);
    #[cfg(feature = "simulator")]
    if crate::sim::is_running() {
        return Ok(DirLock { _file: None, path });
    }
    let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
    // SAFETY: no pointers; the file is open.
    let answer = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if let Err(error) = sys::check(answer.into()) {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(error);
        }
        let owner = std::fs::read_to_string(&path).unwrap_or_default();
        let text = format!("{} is in use by another process ({})", dir.display(), owner.trim());
        return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
    }
    // In place, for on a full disk a block given back may not come again; and a note is no reason not to start.
    let noted =
        std::io::Write::write_all(&mut &file, note.as_bytes()).and_then(|()| file.set_len(note.len() as u64));
    if let Err(error) = noted
        && !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    {
        return Err(error);
    }
    Ok(DirLock { _file: Some(file), path })
}

/// Bytes that may still be written to the file system of a path by this user.
pub fn free_space(path: &Path) -> io::Result<u64> {
    space(path).map(|space| space.free_bytes)
}

/// Room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that may still be written without privilege.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Room of the file system under a path.
pub fn space(path: &Path) -> io::Result<Space> {
    #[cfg(feature = "simulator")]
    if let Some(disk) = crate::sim::current_disk() {
        let free_bytes = disk.borrow().free_space();
        return Ok(Space { free_bytes, total_bytes: disk.borrow().capacity() });
    }
    let path = c_string(path)?;
    let mut space = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends with a zero byte, and `space` is a valid place for a statvfs.
    sys::check(unsafe { libc::statvfs(path.as_ptr(), space.as_mut_ptr()) }.into())?;
    // SAFETY: written by the kernel, which said so.
    let space = unsafe { space.assume_init() };
    Ok(Space { free_bytes: space.f_bavail * space.f_frsize, total_bytes: space.f_blocks * space.f_frsize })
}

/// Whether the block device under a path can make a single write durable by itself (FUA), or has no volatile cache that
/// would need it. `None`: not known, for instance because there is no block device.
pub fn device_has_fua(path: &Path) -> io::Result<Option<bool>> {
    #[cfg(feature = "simulator")]
    if let Some(disk) = crate::sim::current_disk() {
        return Ok(disk.borrow().has_fua());
    }
    let device = std::fs::metadata(path)?.dev();
    let name = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
    for queue in ["queue", "../queue"] {
        let read = |what: &str| std::fs::read_to_string(format!("{name}/{queue}/{what}"));
        if let Ok(fua) = read("fua") {
            let write_through = read("write_cache").is_ok_and(|cache| cache.trim() == "write through");
            return Ok(Some(fua.trim() == "1" || write_through));
        }
    }
    Ok(None)
}

/// Whether files in a folder can be written past the page cache. Tries it with a file that it removes again.
pub async fn supports_direct(dir: &Path) -> io::Result<bool> {
    let path = dir.join(format!(".direct-{:016x}", crate::random_u64()));
    let options = OpenOptions::new().write(true).create_new(true).direct(true);
    let file = match File::open(&path, &options).await {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let _ = remove_file(&path).await; // some file systems make it before they refuse
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let mut block = crate::aligned(BUFFER_ALIGNMENT);
    block.resize(BUFFER_ALIGNMENT, 0);
    let written = file.write_at(Bytes::from(block), 0).await;
    remove_file(&path).await?;
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}
