//! A simulated disk with its file system.
//!
//! Data, lengths, names and removals become durable only by their own sync: a file's by syncing the file, a name's by syncing
//! its folder. A power cut takes of the rest what chance says. More than any real disk loses, and never less than one may.
//! A write past the page cache is seen by readers at once and is as volatile as any other until it is synced.
//!
//! A sync of the whole file system brings all files' data, and all names, no further than to the drive's cache, as XFS may: the
//! next sync of any file that begins after it makes them durable.

pub(crate) mod content;
pub(crate) mod faults;
pub(crate) mod folder;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path};
use std::rc::Rc;

use super::random::Random;
use crate::fs::DirEntry;
use content::{Content, Loss};
use faults::Faults;
use folder::{Folder, Node};

pub use faults::{Fault, On};

/// Unit of allocation, in bytes.
const BLOCK: u64 = 4096;
const ROOT: Node = 1;

enum Inode {
    File(Content),
    Folder(Folder),
}

struct Open {
    node: Node,
    count: u32,
    direct: bool,
    path: Rc<str>,
}

/// What happened to a disk, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskStats {
    /// Finished syncs of files, by fdatasync, fsync or a write that syncs itself.
    pub syncs: u64,
    /// Finished syncs of the whole file system.
    pub syncs_of_all: u64,
    /// Written bytes.
    pub written_bytes: u64,
    /// Read bytes.
    pub read_bytes: u64,
    /// Operations that a fault has failed.
    pub failed: u64,
    /// Operations refused because the disk was full.
    pub no_space: u64,
}

/// The disk of one machine.
pub(crate) struct Disk {
    inodes: BTreeMap<Node, Inode>,
    next_node: Node,
    open: BTreeMap<u32, Open>,
    next_open: u32,
    /// Of all changes, in their order.
    sequence: u64,
    capacity: u64,
    fua: Option<bool>,
    /// Unit of writes past the page cache. Power cuts tear in smaller ones.
    pub(crate) sector: u64,
    /// Syncs of everything that were not followed by a flush of the drive's cache: when each ended, and what it covers.
    in_cache: Vec<(u64, u64)>,
    pub(crate) faults: Faults,
    pub(crate) stats: DiskStats,
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Disk {
    pub(crate) fn new(capacity: u64, fua: Option<bool>) -> Self {
        Self {
            inodes: BTreeMap::from([(ROOT, Inode::Folder(Folder::default()))]),
            next_node: ROOT + 1,
            open: BTreeMap::new(),
            next_open: 1,
            sequence: 0,
            capacity,
            fua,
            sector: content::SECTOR as u64,
            in_cache: Vec::new(),
            faults: Faults::default(),
            stats: DiskStats::default(),
        }
    }

    fn tick(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// The last change so far: what a sync that begins now will cover.
    pub(crate) fn now(&self) -> u64 {
        self.sequence
    }

    fn folder(&self, node: Node) -> io::Result<&Folder> {
        match self.inodes.get(&node) {
            Some(Inode::Folder(folder)) => Ok(folder),
            Some(Inode::File(_)) => Err(errno(libc::ENOTDIR)),
            None => Err(errno(libc::ENOENT)),
        }
    }

    fn folder_mut(&mut self, node: Node) -> io::Result<&mut Folder> {
        match self.inodes.get_mut(&node) {
            Some(Inode::Folder(folder)) => Ok(folder),
            Some(Inode::File(_)) => Err(errno(libc::ENOTDIR)),
            None => Err(errno(libc::ENOENT)),
        }
    }

    fn file(&self, handle: u32) -> io::Result<(&Open, &Content)> {
        let open = self.open.get(&handle).ok_or_else(|| errno(libc::EBADF))?;
        match self.inodes.get(&open.node) {
            Some(Inode::File(content)) => Ok((open, content)),
            _ => Err(errno(libc::EISDIR)),
        }
    }

    fn file_mut(&mut self, handle: u32) -> io::Result<&mut Content> {
        let open = self.open.get(&handle).ok_or_else(|| errno(libc::EBADF))?;
        match self.inodes.get_mut(&open.node) {
            Some(Inode::File(content)) => Ok(content),
            _ => Err(errno(libc::EISDIR)),
        }
    }

    /// The folder that holds a path's last name, and that name.
    fn parent(&self, path: &Path) -> io::Result<(Node, String)> {
        let mut names = names(path);
        let last = names.pop().ok_or_else(|| errno(libc::EBUSY))?;
        let mut node = ROOT;
        for name in names {
            node = self.folder(node)?.get(&name).ok_or_else(|| errno(libc::ENOENT))?;
        }
        self.folder(node)?;
        Ok((node, last))
    }

    fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = ROOT;
        for name in names(path) {
            node = self.folder(node)?.get(&name).ok_or_else(|| errno(libc::ENOENT))?;
        }
        Ok(node)
    }

    pub(crate) fn open(&mut self, path: &Path, flags: i32) -> io::Result<u32> {
        self.faults.check(On::Open, &path.to_string_lossy(), &mut self.stats)?;
        let node = match self.find(path) {
            Ok(_) if flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL => {
                return Err(errno(libc::EEXIST));
            }
            Ok(node) => node,
            Err(error) if error.kind() == io::ErrorKind::NotFound && flags & libc::O_CREAT != 0 => {
                let (folder, name) = self.parent(path)?;
                let (node, sequence) = (self.next_node, self.tick());
                self.next_node += 1;
                self.inodes.insert(node, Inode::File(Content::default()));
                self.folder_mut(folder)?.put(sequence, &name, node);
                node
            }
            Err(error) => return Err(error),
        };
        if flags & libc::O_TRUNC != 0 {
            let sequence = self.tick();
            if let Some(Inode::File(content)) = self.inodes.get_mut(&node) {
                content.set_length(sequence, 0);
            }
        }
        let handle = self.next_open;
        self.next_open += 1;
        let direct = flags & libc::O_DIRECT != 0;
        self.open.insert(handle, Open { node, count: 1, direct, path: path.to_string_lossy().into() });
        Ok(handle)
    }

    pub(crate) fn path_of(&self, handle: u32) -> Rc<str> {
        self.open.get(&handle).map_or_else(|| Rc::from(""), |open| open.path.clone())
    }

    pub(crate) fn close(&mut self, handle: u32) {
        if let Some(open) = self.open.get_mut(&handle) {
            open.count -= 1;
            if open.count == 0 {
                self.open.remove(&handle);
            }
        }
    }

    pub(crate) fn read(&mut self, handle: u32, position: u64, count: usize) -> io::Result<Vec<u8>> {
        let path = self.path_of(handle);
        self.faults.check(On::Read, &path, &mut self.stats)?;
        let (open, content) = self.file(handle)?;
        // Direct reads of the ring's kind are in blocks; the memory's alignment is checked by real disks in other tests.
        if open.direct && !(position.is_multiple_of(512) && count.is_multiple_of(512)) {
            return Err(errno(libc::EINVAL));
        }
        let bytes = content.read(position.min(1 << 40) as usize, count).to_vec();
        self.stats.read_bytes += bytes.len() as u64;
        Ok(bytes)
    }

    /// Writes; returns the number of the change. Past the page cache only whole sectors, in memory as on the disk.
    pub(crate) fn write(
        &mut self,
        handle: u32,
        position: u64,
        bytes: &[u8],
        alignment: usize,
    ) -> io::Result<u64> {
        let path = self.path_of(handle);
        let in_sectors = position.is_multiple_of(self.sector) && alignment as u64 >= self.sector;
        if self.file(handle)?.0.direct && !in_sectors {
            return Err(errno(libc::EINVAL));
        }
        if position > i64::MAX as u64 / 2 {
            return Err(errno(libc::EFBIG));
        }
        if let Err(error) = self.faults.check(On::Write, &path, &mut self.stats) {
            // Of a failed write any part may have been done.
            let part = bytes.len() / 2 / content::SECTOR * content::SECTOR;
            let sequence = self.tick();
            if part > 0 && position + part as u64 <= self.file(handle)?.1.len() as u64 {
                self.file_mut(handle)?.write(sequence, position as usize, &bytes[..part]);
            }
            return Err(error);
        }
        self.need_space(handle, position + bytes.len() as u64)?;
        let sequence = self.tick();
        let direct = self.file(handle)?.0.direct;
        let content = self.file_mut(handle)?;
        content.write(sequence, position as usize, bytes);
        content.direct = direct;
        self.stats.written_bytes += bytes.len() as u64;
        Ok(sequence)
    }

    /// A write was under way when the power was cut: any of its sectors may be on the medium.
    pub(crate) fn write_torn(&mut self, handle: u32, position: u64, bytes: &[u8]) {
        let sequence = self.tick();
        if position > i64::MAX as u64 / 2 {
            return;
        }
        if let Ok(content) = self.file_mut(handle) {
            content.write(sequence, position as usize, bytes);
        }
    }

    /// The sync of one write by itself (`RWF_DSYNC`).
    pub(crate) fn sync_write(&mut self, handle: u32, change: u64) -> io::Result<()> {
        let path = self.path_of(handle);
        if let Err(error) = self.faults.check(On::Sync, &path, &mut self.stats) {
            self.doom(handle, change);
            return Err(error);
        }
        self.stats.syncs += 1;
        self.file_mut(handle)?.persist_one(change);
        Ok(())
    }

    /// Ends a sync that began at the change `up_to`.
    pub(crate) fn sync(&mut self, handle: u32, up_to: u64) -> io::Result<()> {
        let path = self.path_of(handle);
        let failed = self.faults.check(On::Sync, &path, &mut self.stats).err();
        let node = self.open.get(&handle).ok_or_else(|| errno(libc::EBADF))?.node;
        self.stats.syncs += 1;
        if let Some(error) = failed {
            self.doom(handle, up_to);
            return Err(error);
        }
        match self.inodes.get_mut(&node) {
            Some(Inode::File(content)) => content.persist(up_to),
            Some(Inode::Folder(folder)) => folder.persist(up_to),
            None => {}
        }
        self.flush(up_to);
        Ok(())
    }

    /// A sync that began at a moment has flushed the drive's cache.
    fn flush(&mut self, moment: u64) {
        let covered = self.in_cache.extract_if(.., |(ended, _)| *ended <= moment).map(|(_, up_to)| up_to);
        let Some(up_to) = covered.max() else { return };
        for inode in self.inodes.values_mut() {
            match inode {
                Inode::File(content) => content.persist(up_to),
                Inode::Folder(folder) => folder.persist(up_to),
            }
        }
    }

    /// Ends a sync of all files that began at the change `up_to`. A file that fails fails it for all.
    pub(crate) fn sync_all(&mut self, up_to: u64) -> io::Result<()> {
        let mut result = Ok(());
        for (path, node) in self.paths() {
            let Some(Inode::File(content)) = self.inodes.get_mut(&node) else { continue };
            if !content.has_changes_up_to(up_to) {
                continue;
            }
            if let Err(error) = self.faults.check(On::Sync, &path, &mut self.stats) {
                if !content.direct {
                    content.doom(up_to);
                }
                result = result.and(Err(error));
            }
        }
        result?;
        self.stats.syncs_of_all += 1;
        let ended = self.tick();
        self.in_cache.push((ended, up_to));
        Ok(())
    }

    /// A sync has failed. What lay in the page cache is clean now and never written again; what went past it still lies in
    /// the drive's cache, which a later sync may yet empty.
    fn doom(&mut self, handle: u32, up_to: u64) {
        let buffered = self.open.get(&handle).filter(|open| !open.direct).map(|open| open.node);
        if let Some(Inode::File(content)) = buffered.and_then(|node| self.inodes.get_mut(&node)) {
            content.doom(up_to);
        }
    }

    pub(crate) fn allocate(&mut self, handle: u32, position: u64, length: u64) -> io::Result<()> {
        let path = self.path_of(handle);
        self.faults.check(On::Allocate, &path, &mut self.stats)?;
        self.need_space(handle, position + length)?;
        let sequence = self.tick();
        let content = self.file_mut(handle)?;
        if content.len() < (position + length) as usize {
            content.set_length(sequence, (position + length) as usize);
        }
        Ok(())
    }

    pub(crate) fn set_length(&mut self, handle: u32, length: u64) -> io::Result<()> {
        self.need_space(handle, length)?;
        let sequence = self.tick();
        self.file_mut(handle)?.set_length(sequence, length as usize);
        Ok(())
    }

    pub(crate) fn length(&self, handle: u32) -> io::Result<u64> {
        Ok(self.file(handle)?.1.len() as u64)
    }

    pub(crate) fn make_dir(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        if self.folder(parent)?.get(&name).is_some() {
            return Err(errno(libc::EEXIST));
        }
        let (node, sequence) = (self.next_node, self.tick());
        self.next_node += 1;
        self.inodes.insert(node, Inode::Folder(Folder::default()));
        self.folder_mut(parent)?.put(sequence, &name, node);
        Ok(())
    }

    pub(crate) fn unlink(&mut self, path: &Path, is_dir: bool) -> io::Result<()> {
        self.faults.check(On::Unlink, &path.to_string_lossy(), &mut self.stats)?;
        let (parent, name) = self.parent(path)?;
        let node = self.folder(parent)?.get(&name).ok_or_else(|| errno(libc::ENOENT))?;
        match (self.inodes.get(&node), is_dir) {
            (Some(Inode::Folder(_)), false) => return Err(errno(libc::EISDIR)),
            (Some(Inode::File(_)), true) => return Err(errno(libc::ENOTDIR)),
            (Some(Inode::Folder(folder)), true) if !folder.is_empty() => return Err(errno(libc::ENOTEMPTY)),
            _ => {}
        }
        let sequence = self.tick();
        self.folder_mut(parent)?.remove(sequence, &name);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check(On::Rename, &from.to_string_lossy(), &mut self.stats)?;
        let (old, old_name) = self.parent(from)?;
        let (new, new_name) = self.parent(to)?;
        let node = self.folder(old)?.get(&old_name).ok_or_else(|| errno(libc::ENOENT))?;
        let sequence = self.tick();
        if old == new {
            self.folder_mut(old)?.rename(sequence, &old_name, &new_name);
        } else {
            self.folder_mut(new)?.put(sequence, &new_name, node);
            self.folder_mut(old)?.remove(sequence, &old_name);
        }
        Ok(())
    }

    /// Length in bytes; `None` for a folder.
    pub(crate) fn status(&self, path: &Path) -> io::Result<Option<u64>> {
        match self.inodes.get(&self.find(path)?) {
            Some(Inode::File(content)) => Ok(Some(content.len() as u64)),
            Some(Inode::Folder(_)) => Ok(None),
            None => Err(errno(libc::ENOENT)),
        }
    }

    pub(crate) fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let entries = self.folder(self.find(path)?)?.entries();
        Ok(entries
            .filter_map(|(name, node)| {
                let (is_dir, len) = match self.inodes.get(&node)? {
                    Inode::File(content) => (false, content.len() as u64),
                    Inode::Folder(_) => (true, 0),
                };
                Some(DirEntry { name: OsString::from(name), is_dir, len })
            })
            .collect())
    }

    pub(crate) fn has_fua(&self) -> Option<bool> {
        self.fua
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    /// Bytes that take space: what is seen, and what is open without a name.
    pub(crate) fn used(&self) -> u64 {
        let mut seen = BTreeSet::new();
        let mut folders = vec![ROOT];
        while let Some(node) = folders.pop() {
            if let Some(Inode::Folder(folder)) = self.inodes.get(&node) {
                for (_, entry) in folder.entries() {
                    if seen.insert(entry) {
                        folders.push(entry);
                    }
                }
            }
        }
        seen.extend(self.open.values().map(|open| open.node));
        let sizes = seen.iter().map(|node| match self.inodes.get(node) {
            Some(Inode::File(content)) => (content.len() as u64).next_multiple_of(BLOCK),
            _ => BLOCK,
        });
        sizes.sum()
    }

    pub(crate) fn free_space(&self) -> u64 {
        if self.capacity == u64::MAX {
            return u64::MAX / 2;
        }
        self.capacity.saturating_sub(self.used())
    }

    /// Whether a file may grow to a length.
    fn need_space(&mut self, handle: u32, length: u64) -> io::Result<()> {
        let have = self.file(handle)?.1.len() as u64;
        let more = length.next_multiple_of(BLOCK).saturating_sub(have.next_multiple_of(BLOCK));
        if more > 0 && more > self.free_space() {
            self.stats.no_space += 1;
            return Err(errno(libc::ENOSPC));
        }
        Ok(())
    }

    /// The power is cut.
    pub(crate) fn cut(&mut self, random: &Random) {
        self.in_cache.clear();
        let losses = [
            Loss::All,
            Loss::Nothing,
            Loss::Changes,
            Loss::Sectors { keep: true },
            Loss::Sectors { keep: false },
            Loss::Suffix,
        ];
        // Mostly one way for the whole disk; at times each file its own.
        let mixed = random.one_in(3);
        let whole = *random.pick(&losses);
        for inode in self.inodes.values_mut() {
            let loss = if mixed { *random.pick(&losses) } else { whole };
            match inode {
                Inode::File(content) if content.has_changes() => content.cut(loss, random),
                Inode::File(_) => {}
                Inode::Folder(folder) => folder.cut(loss, random),
            }
        }
        self.close_all();
    }

    /// The process has ended: nothing is lost, all its files are closed.
    pub(crate) fn close_all(&mut self) {
        self.open.clear();
        self.forget_unreachable();
    }

    fn forget_unreachable(&mut self) {
        let mut kept = BTreeSet::from([ROOT]);
        let mut folders = vec![ROOT];
        while let Some(node) = folders.pop() {
            if let Some(Inode::Folder(folder)) = self.inodes.get(&node) {
                folders.extend(folder.reachable().filter(|node| kept.insert(*node)));
            }
        }
        kept.extend(self.open.values().map(|open| open.node));
        self.inodes.retain(|node, _| kept.contains(node));
    }

    /// Paths of all files, in order.
    pub(crate) fn files(&self) -> Vec<(String, u64)> {
        let length = |node| match self.inodes.get(&node) {
            Some(Inode::File(content)) => content.len() as u64,
            _ => 0,
        };
        self.paths().into_iter().map(|(path, node)| (path, length(node))).collect()
    }

    fn paths(&self) -> Vec<(String, Node)> {
        let mut found = Vec::new();
        let mut folders = vec![(String::new(), ROOT)];
        while let Some((path, node)) = folders.pop() {
            if let Some(Inode::Folder(folder)) = self.inodes.get(&node) {
                for (name, entry) in folder.entries() {
                    let path = format!("{path}/{name}");
                    match self.inodes.get(&entry) {
                        Some(Inode::File(_)) => found.push((path, entry)),
                        _ => folders.push((path, entry)),
                    }
                }
            }
        }
        found.sort();
        found
    }

    pub(crate) fn flip(&mut self, path: &Path, position: u64, bit: u8) -> io::Result<()> {
        let node = self.find(path)?;
        if let Some(Inode::File(content)) = self.inodes.get_mut(&node) {
            content.flip(position as usize, bit);
        }
        Ok(())
    }
}

fn names(path: &Path) -> Vec<String> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect()
}

/// An open simulated file. Closes itself, unless its machine was switched off meanwhile.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(super) machine: u32,
    /// Which start of the machine opened it.
    pub(super) boot: u32,
    pub(super) number: u32,
}

impl Handle {
    fn with<T>(&self, f: impl FnOnce(&RefCell<Disk>) -> io::Result<T>) -> io::Result<T> {
        let machine = super::machine(self.machine).filter(|machine| machine.boot.get() == self.boot);
        f(&machine.ok_or_else(|| errno(libc::EBADF))?.disk)
    }

    pub(crate) fn set_length(&self, length: u64) -> io::Result<()> {
        self.with(|disk| disk.borrow_mut().set_length(self.number, length))
    }

    pub(crate) fn length(&self) -> io::Result<u64> {
        self.with(|disk| disk.borrow().length(self.number))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.with(|disk| {
            disk.borrow_mut().close(self.number);
            Ok(())
        });
    }
}
