//! The files of a commit log: which are written, which are free, where the next commit goes.
//!
//! A ring file is written full of zeros and synced, its name made durable, and only then used; so a commit changes
//! neither the file's length nor its extents, and its sync costs no journal. A commit lies in one file. A file is
//! free again when [`Ring::reclaim`] says that nothing in it is needed: its commits are covered by a durable
//! checkpoint. Files are used in any order; the sequence in each commit's header is the order.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use reactor::{File, OpenOptions};

use crate::error::StorageError;
use crate::limits::{BLOCK, RING_FILE_BYTES_MIN, RING_FILES_MAX, RING_FILL_BYTES};
use crate::options::Direct;

/// One file.
pub(crate) struct RingFile {
    pub(crate) number: u32,
    pub(crate) file: File,
    pub(crate) bytes: u64,
    /// First and last sequence of the commits in it that may be needed; `None` when it is free.
    pub(crate) holds: Option<(u64, u64)>,
}

/// All files of one commit log.
#[derive(Default)]
pub(crate) struct Ring {
    files: Vec<RingFile>,
    /// The file being filled and where its next commit goes.
    current: Option<(usize, u64)>,
}

/// Name of a ring file.
pub(crate) fn file_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("ring-{number}.log"))
}

/// The number in a ring file's name.
pub(crate) fn file_number(name: &str) -> Option<u32> {
    name.strip_prefix("ring-")?.strip_suffix(".log")?.parse().ok()
}

/// Opens a ring file that exists.
pub(crate) async fn open_file(path: &Path, direct: Direct) -> Result<File, StorageError> {
    let options = OpenOptions::new().read(true).write(true).direct(direct == Direct::Required);
    File::open(path, &options).await.map_err(StorageError::io("open", path))
}

/// Makes a ring file: zeros in every byte, synced, its name durable. One that was cut short by a crash under its
/// temporary name is overwritten.
pub(crate) async fn make_file(
    dir: &Path,
    number: u32,
    bytes: u64,
    direct: Direct,
) -> Result<RingFile, StorageError> {
    assert!(bytes >= RING_FILE_BYTES_MIN && bytes.is_multiple_of(BLOCK));
    let path = file_path(dir, number);
    let beside = dir.join(format!("ring-{number}.new"));
    let failed = |doing| StorageError::io(doing, &path);
    let options = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .direct(direct == Direct::Required);
    let file = File::open(&beside, &options).await.map_err(failed("make"))?;
    file.allocate(0, bytes).await.map_err(failed("reserve space for"))?;
    let mut zeros = reactor::aligned(RING_FILL_BYTES);
    zeros.resize(RING_FILL_BYTES, 0);
    let zeros = Bytes::from(zeros);
    let mut position = 0;
    while position < bytes {
        let length = (bytes - position).min(RING_FILL_BYTES as u64);
        file.write_at(zeros.slice(..length as usize), position).await.map_err(failed("fill"))?;
        position += length;
    }
    file.sync_all().await.map_err(failed("sync"))?;
    reactor::fs::rename(&beside, &path).await.map_err(failed("name"))?;
    reactor::fs::sync_dir(dir).await.map_err(StorageError::io("sync", dir))?;
    Ok(RingFile { number, file, bytes, holds: None })
}

impl Ring {
    /// Takes a file in, free or not.
    pub(crate) fn add(&mut self, file: RingFile) {
        assert!(self.files.len() < RING_FILES_MAX);
        self.files.push(file);
    }

    /// Goes on filling the file that holds the newest commit, behind it at `position`.
    pub(crate) fn resume(&mut self, number: u32, position: u64) {
        assert!(self.current.is_none() && position.is_multiple_of(BLOCK));
        self.current =
            self.files.iter().position(|file| file.number == number).map(|index| (index, position));
    }

    /// Where a commit of `bytes` with this sequence goes; `None` when no file has room now.
    pub(crate) fn place(&mut self, bytes: u64, sequence: u64) -> Option<(File, u64)> {
        assert!(bytes.is_multiple_of(BLOCK) && bytes > 0);
        let fits = self.current.is_some_and(|(index, at)| at + bytes <= self.files[index].bytes);
        if !fits {
            // The smallest that fits, so that large files stay for large commits.
            let free = (0..self.files.len())
                .filter(|index| self.files[*index].holds.is_none() && self.files[*index].bytes >= bytes)
                .filter(|index| self.current.is_none_or(|(current, _)| current != *index))
                .min_by_key(|index| self.files[*index].bytes)?;
            self.current = Some((free, 0));
        }
        let (index, at) = self.current?;
        let file = &mut self.files[index];
        assert!(file.holds.is_none_or(|(_, last)| last < sequence));
        file.holds = Some((file.holds.map_or(sequence, |(first, _)| first), sequence));
        self.current = Some((index, at + bytes));
        Some((file.file.clone(), at))
    }

    /// Frees the files whose commits all have a sequence of at most `sequence`; says whether there were any.
    pub(crate) fn reclaim(&mut self, sequence: u64) -> bool {
        let mut freed = false;
        for (index, file) in self.files.iter_mut().enumerate() {
            let is_current = self.current.is_some_and(|(current, _)| current == index);
            if !is_current && file.holds.is_some_and(|(_, last)| last <= sequence) {
                file.holds = None;
                freed = true;
            }
        }
        freed
    }

    /// The last sequences of the files that are full, ascending: what a checkpoint can free.
    pub(crate) fn closed(&self) -> Vec<u64> {
        let current = self.current.map(|(index, _)| index);
        let closed = self.files.iter().enumerate().filter(|(index, _)| Some(*index) != current);
        let mut last: Vec<u64> = closed.filter_map(|(_, file)| file.holds.map(|(_, last)| last)).collect();
        last.sort_unstable();
        last
    }

    /// Bytes of all files.
    pub(crate) fn total(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Bytes that commits may still take before anything is freed.
    pub(crate) fn free(&self) -> u64 {
        let rest = self.current.map_or(0, |(index, at)| self.files[index].bytes - at);
        let current = self.current.map(|(index, _)| index);
        let free = self
            .files
            .iter()
            .enumerate()
            .filter(|(index, file)| file.holds.is_none() && Some(*index) != current);
        rest + free.map(|(_, file)| file.bytes).sum::<u64>()
    }

    /// A block where no commit is that may be needed: where the next one goes, or the start of a free file.
    pub(crate) fn unused_block(&self) -> Option<(File, u64)> {
        if let Some((index, at)) = self.current
            && at < self.files[index].bytes
        {
            return Some((self.files[index].file.clone(), at));
        }
        self.files.iter().find(|file| file.holds.is_none()).map(|file| (file.file.clone(), 0))
    }

    /// Number for the next new file.
    pub(crate) fn next_number(&self) -> u32 {
        self.files.iter().map(|file| file.number + 1).max().unwrap_or(0)
    }

    /// Bytes of the smallest file.
    pub(crate) fn smallest(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).min().unwrap_or(0)
    }

    /// Number of files.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }
}
