//! Finding the commits of a ring: every block of every file is looked at, and the chain decides.
//!
//! A commit counts when its ring id is ours, its checksums hold, it follows the one before (sequence, previous CRC,
//! incarnation not falling), and it is not a leftover of an earlier life: one of a lower incarnation at or above the
//! sequence from which the current one began. The end of the chain is the end of the log, unless some header, of
//! whatever commit, names a higher sequence as durable: then acknowledged commits are gone, which is damage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use reactor::File;
use reactor::planted::{Planted, planted};

use crate::checkpoint::Summary;
use crate::commit_log::format::{CommitHeader, Entry, HEADER_BYTES, entries};
use crate::commit_log::ring::{self, RingFile, file_number};
use crate::error::StorageError;
use crate::limits::{BLOCK, RING_FILE_BYTES_MIN, RING_FILES_MAX, RING_FILL_BYTES};
use crate::options::Direct;

/// A header found in a ring.
#[derive(Clone, Copy)]
struct Candidate {
    header: CommitHeader,
    crc: u32,
    /// Index of the file, position in it.
    file: usize,
    at: u64,
}

/// A ring as found.
pub(crate) struct Scan {
    pub(crate) files: Vec<RingFile>,
    dir: PathBuf,
    candidates: BTreeMap<u64, Vec<Candidate>>,
    /// Any header at all, of any ring.
    pub(crate) has_commits: bool,
    /// Highest commit and highest checkpoint that headers of this ring call durable.
    pub(crate) named_durable: u64,
    pub(crate) named_checkpoint: u64,
    /// Commits of the chain that no header calls durable: file, position, bytes. Few: a header names all that were
    /// durable when its commit began, and only so many are in flight.
    unnamed: Vec<(usize, u64, u64)>,
}

/// A commit of the chain.
pub(crate) struct Found {
    pub(crate) sequence: u64,
    pub(crate) bytes: u64,
    pub(crate) entries: Vec<(Entry, Bytes)>,
}

/// Where the chain stands.
pub(crate) struct Chain {
    pub(crate) sequence: u64,
    pub(crate) crc: u32,
    incarnation: u64,
    first: bool,
    /// File number and position behind the newest commit.
    pub(crate) end: Option<(u32, u64)>,
}

impl Chain {
    /// Before the first commit that is needed.
    pub(crate) fn new(reclaimed: u64) -> Self {
        Self { sequence: reclaimed, crc: 0, incarnation: 0, first: true, end: None }
    }
}

/// Opens the files of a ring and finds all commit headers.
pub(crate) async fn scan(
    dir: &Path,
    direct: Direct,
    summary: Option<&Summary>,
) -> Result<Scan, StorageError> {
    let mut scan = Scan {
        files: Vec::new(),
        dir: dir.to_path_buf(),
        candidates: BTreeMap::new(),
        has_commits: false,
        named_durable: 0,
        named_checkpoint: 0,
        unnamed: Vec::new(),
    };
    let names = reactor::fs::read_dir(dir).map_err(StorageError::io("read folder", dir))?;
    for entry in names {
        let name = entry.name.to_string_lossy().into_owned();
        if name.strip_prefix("ring-").is_some_and(|rest| rest.strip_suffix(".new").is_some()) {
            let path = dir.join(&name);
            reactor::fs::remove_file(&path).await.map_err(StorageError::io("remove", path))?;
        }
        let Some(number) = file_number(&name) else { continue };
        let path = dir.join(&name);
        if entry.len < RING_FILE_BYTES_MIN
            || !entry.len.is_multiple_of(BLOCK)
            || scan.files.len() == RING_FILES_MAX
        {
            return Err(StorageError::corrupt(
                path,
                format!("{} bytes is no length of a ring file", entry.len),
            ));
        }
        let file = ring::open_file(&path, direct).await?;
        let index = scan.files.len();
        scan.look(&file, index, entry.len, summary).await.map_err(StorageError::io("read", &path))?;
        scan.files.push(RingFile { number, file, bytes: entry.len, holds: None });
    }
    Ok(scan)
}

impl Scan {
    async fn look(
        &mut self,
        file: &File,
        index: usize,
        bytes: u64,
        summary: Option<&Summary>,
    ) -> std::io::Result<()> {
        let mut buffer = reactor::aligned(RING_FILL_BYTES);
        let mut position = 0;
        while position < bytes {
            let length = (bytes - position).min(RING_FILL_BYTES as u64) as usize;
            buffer.clear();
            let (read, back) = file.read_at(buffer, length, position).await;
            buffer = back;
            read?;
            for (block, content) in buffer.chunks_exact(BLOCK as usize).enumerate() {
                let Some((header, crc)) = CommitHeader::decode(content) else { continue };
                self.has_commits = true;
                let at = position + block as u64 * BLOCK;
                self.take(Candidate { header, crc, file: index, at }, summary);
            }
            position += length as u64;
            reactor::yield_now().await;
        }
        Ok(())
    }

    fn take(&mut self, candidate: Candidate, summary: Option<&Summary>) {
        let Some(summary) = summary else { return };
        let header = &candidate.header;
        if header.ring_id != u128::from_le_bytes(summary.ring_id) {
            return;
        }
        self.named_durable = self.named_durable.max(header.durable);
        self.named_checkpoint = self.named_checkpoint.max(header.checkpoint);
        let stale = header.incarnation < summary.incarnation
            && header.sequence >= summary.incarnation_from
            && !planted(Planted::StaleSuffix);
        if header.sequence > summary.reclaimed && !stale {
            self.candidates.entry(header.sequence).or_default().push(candidate);
        }
    }

    /// The next commit of the chain, with its entries; `None` at its end.
    pub(crate) async fn next(&mut self, chain: &mut Chain) -> Result<Option<Found>, StorageError> {
        let sequence = chain.sequence + 1;
        let Some(mut candidates) = self.candidates.remove(&sequence) else { return Ok(None) };
        candidates.sort_unstable_by_key(|candidate| std::cmp::Reverse(candidate.header.incarnation));
        for candidate in candidates {
            let header = &candidate.header;
            let follows =
                chain.first || (header.previous_crc == chain.crc && header.incarnation >= chain.incarnation);
            let follows = follows || planted(Planted::StaleSuffix);
            if !follows {
                continue;
            }
            let Some(entries) = self.body(&candidate).await? else { continue };
            let padded = u64::from(header.length).next_multiple_of(BLOCK);
            let file = &mut self.files[candidate.file];
            file.holds = Some((file.holds.map_or(sequence, |(first, _)| first), sequence));
            if sequence > self.named_durable {
                self.unnamed.push((candidate.file, candidate.at, padded));
            }
            *chain = Chain {
                sequence,
                crc: candidate.crc,
                incarnation: header.incarnation,
                first: false,
                end: Some((file.number, candidate.at + padded)),
            };
            return Ok(Some(Found { sequence, bytes: padded, entries }));
        }
        Ok(None)
    }

    /// Writes the commits again that nobody knows to be durable. That they can be read says nothing: their sync may have
    /// failed, and what a failed sync covered is not made durable by the next one. The same bytes are as good torn as
    /// they were.
    pub(crate) async fn write_again(&self) -> Result<(), StorageError> {
        for (index, at, bytes) in &self.unnamed {
            let file = &self.files[*index];
            let path = ring::file_path(&self.dir, file.number);
            let length = *bytes as usize;
            let (read, commit) = file.file.read_at(reactor::aligned(length), length, *at).await;
            read.map_err(StorageError::io("read", &path))?;
            file.file.write_at(commit.freeze(), *at).await.map_err(StorageError::io("write", &path))?;
        }
        Ok(())
    }

    /// The entries of a commit; `None` when it is not whole.
    async fn body(&self, candidate: &Candidate) -> Result<Option<Vec<(Entry, Bytes)>>, StorageError> {
        let length = candidate.header.length as usize;
        let padded = length.next_multiple_of(BLOCK as usize);
        let file = &self.files[candidate.file];
        if candidate.at + padded as u64 > file.bytes {
            return Ok(None);
        }
        let (read, bytes) = file.file.read_at(reactor::aligned(padded), padded, candidate.at).await;
        let path = ring::file_path(&self.dir, file.number);
        let read = read.map_err(StorageError::io("read", path))?;
        if read < padded {
            return Ok(None);
        }
        let body = bytes.freeze().slice(HEADER_BYTES..length);
        if crc32c::crc32c(&body) != candidate.header.body_crc {
            return Ok(None);
        }
        Ok(entries(body, candidate.header.entries))
    }

    /// A ring has its files without a gap, and at least one once there is a checkpoint.
    pub(crate) fn check_files(&self, used: bool) -> Result<(), StorageError> {
        if used && self.files.is_empty() {
            let what = "the commit log is missing, of which the checkpoint knows: is its disk mounted?";
            return Err(StorageError::corrupt(&self.dir, what));
        }
        let mut numbers: Vec<u32> = self.files.iter().map(|file| file.number).collect();
        numbers.sort_unstable();
        match numbers.iter().zip(0..).find(|(number, wanted)| *number != wanted) {
            Some((_, missing)) => {
                Err(StorageError::corrupt(ring::file_path(&self.dir, missing), "the file is missing"))
            }
            None => Ok(()),
        }
    }

    /// The folder, for errors.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}
