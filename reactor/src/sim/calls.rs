//! Calls that block ([`crate::blocking`]), on the simulated disk: each takes its time at once, and the power may fail before
//! any of them. From then on the machine does nothing more: its calls fail and change nothing until the test, which is
//! told, cuts the power for good.

use std::io;
use std::path::Path;

use super::disk::Handle;
use super::{DiskOf, clock, current, current_disk, world::World};
use crate::OpenOptions;

/// The disk under a call; `None` without a simulation.
fn disk() -> Option<io::Result<DiskOf>> {
    let world = current()?;
    let disk = current_disk()?;
    let machine = &disk.0;
    match machine.calls_left.get() {
        Some(0) => return Some(Err(io::Error::from_raw_os_error(libc::EIO))),
        Some(left) => machine.calls_left.set(Some(left - 1)),
        None => {}
    }
    clock::set(World::now_ns() + world.disk_random.range(1_000..50_000));
    world.trace.note("call", u64::from(machine.id), 0);
    Some(Ok(disk))
}

pub(crate) fn open(path: &Path, options: OpenOptions) -> Option<io::Result<Handle>> {
    Some(disk()?.and_then(|disk| {
        let number = disk.borrow_mut().open(path, options.flags())?;
        Ok(Handle { machine: disk.0.id, boot: disk.0.boot.get(), number })
    }))
}

fn with_handle<T>(handle: &Handle, f: impl FnOnce(&DiskOf, u32) -> io::Result<T>) -> io::Result<T> {
    let disk = disk().unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))?;
    // A file of an earlier start of the machine is open no more.
    if disk.0.boot.get() != handle.boot {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    f(&disk, handle.number)
}

pub(crate) fn write(handle: &Handle, bytes: &[u8], position: u64) -> io::Result<()> {
    with_handle(handle, |disk, number| disk.borrow_mut().write(number, position, bytes, 1).map(drop))
}

pub(crate) fn set_length(handle: &Handle, length: u64) -> io::Result<()> {
    with_handle(handle, |disk, number| disk.borrow_mut().set_length(number, length))
}

pub(crate) fn sync(handle: &Handle) -> io::Result<()> {
    with_handle(handle, |disk, number| {
        let up_to = disk.borrow().now();
        disk.borrow_mut().sync(number, up_to)
    })
}

pub(crate) fn read(path: &Path) -> Option<io::Result<Vec<u8>>> {
    let handle = match open(path, OpenOptions::new().read(true))? {
        Ok(handle) => handle,
        Err(error) => return Some(Err(error)),
    };
    Some(with_handle(&handle, |disk, number| {
        let length = disk.borrow().length(number)?;
        disk.borrow_mut().read(number, 0, length as usize)
    }))
}

pub(crate) fn create_dir_all(path: &Path) -> Option<io::Result<()>> {
    Some(disk()?.and_then(|disk| {
        let folders: Vec<&Path> = path.ancestors().filter(|path| path.file_name().is_some()).collect();
        for folder in folders.into_iter().rev() {
            match disk.borrow_mut().make_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Option<io::Result<()>> {
    Some(disk()?.and_then(|disk| disk.borrow_mut().rename(from, to)))
}

pub(crate) fn remove_file(path: &Path) -> Option<io::Result<()>> {
    Some(disk()?.and_then(|disk| disk.borrow_mut().unlink(path, false)))
}

/// False without a simulation.
pub(crate) fn fill_random(bytes: &mut [u8]) -> bool {
    let Some(world) = current() else { return false };
    for byte in bytes {
        *byte = world.schedule.next() as u8;
    }
    true
}
