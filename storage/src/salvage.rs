//! What becomes of a partition whose segment files fail: it goes offline, and the bytes that only the ring holds go to
//! a file of their own, so that the ring moves on and the other partitions with it.
//!
//! The file is `salvage-<log id>` beside the ring. The next start lays its bytes between the checkpoint and the ring,
//! so that the partition has all its records again; when a checkpoint finds them in segments, the file is removed.
//!
//! ```text
//! 0 magic u64 | 8 version u32 | 12 crc u32 (over the rest) | 16 log id u64 | 24 pieces u32 | 28 length of the name u32
//! 32 name of the partition, then the pieces: segment base i64 | position in the segment u64 | length u64 | bytes
//! ```
//!
//! Crash order: everything staged is durable in the ring → the file is written beside, synced, named, its folder
//! synced → checkpoints stop asking the ring for these bytes. A crash before the last step leaves them in both.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::{Buf as _, Bytes, BytesMut};
use reactor::{File, OpenOptions};

use crate::error::StorageError;
use crate::limits::{SALVAGE_BYTES_MAX, SEGMENT_WRITE_BYTES};
use crate::log::core::{Health, LogCell, LogCore, Salvage};
use crate::options::StoreOptions;
use crate::store::StoreInner;
use crate::tail::Place;
use crate::types::{LogId, SegmentBase};

const MAGIC: u64 = u64::from_le_bytes(*b"CLsalvag");
const VERSION: u32 = 1;
const CRC_AT: usize = 12;
const HEADER_BYTES: usize = 32;

/// Bytes of one segment that its file does not hold safely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) at: Place,
    pub(crate) bytes: Bytes,
}

/// What a file says.
#[derive(Debug)]
pub(crate) struct Salvaged {
    pub(crate) path: PathBuf,
    pub(crate) log: LogId,
    pub(crate) pieces: Vec<Piece>,
}

/// Takes a log offline whose files have failed, and salvages what the ring holds of it.
pub(crate) async fn take_offline(
    inner: &Rc<StoreInner>,
    cell: &Rc<LogCell>,
    cause: &StorageError,
) -> Result<(), StorageError> {
    {
        let mut core = cell.core.borrow_mut();
        if core.health == Health::Serving {
            core.health = Health::Offline;
            inner.counters.offline_logs.set(inner.counters.offline_logs.get() + 1);
            tracing::error!(log = &*core.name, error = %cause, "partition offline: its files have failed");
        }
    }
    cell.notify_grew();
    finish(inner, cell).await
}

/// Salvages what is not yet salvaged of a log that is offline.
pub(crate) async fn finish(inner: &Rc<StoreInner>, cell: &Rc<LogCell>) -> Result<(), StorageError> {
    let is_open = |core: &LogCore| core.health == Health::Offline && core.salvage != Salvage::Written;
    if !is_open(&cell.core.borrow()) {
        return Ok(());
    }
    // Nothing more is staged for it; what was, has its place in the ring, and is acknowledged with its commit.
    inner.commit.durable(inner.commit.staged()).await?;
    // What an earlier life salvaged may be in segments by now, but no checkpoint says so yet: it is kept.
    let before = earlier(inner, cell).await?;
    let (name, mut pieces, unhandled) = {
        let mut core = cell.core.borrow_mut();
        if !is_open(&core) {
            return Ok(());
        }
        let unhandled = std::mem::take(&mut core.unhandled);
        (Rc::clone(&core.name), pieces(&core), unhandled)
    };
    inner.commit.handled(unhandled);
    pieces.extend(before);
    let bytes: u64 = pieces.iter().map(|piece| piece.bytes.len() as u64).sum();
    let path = save(&inner.options, cell.id, &name, &pieces).await?;
    inner.counters.salvaged_bytes.set(inner.counters.salvaged_bytes.get() + bytes);
    let held = inner.counters.salvaged_held.get() + bytes;
    let mut core = cell.core.borrow_mut();
    core.salvage = Salvage::Written;
    core.changed = true;
    if held <= inner.options.dirty_bytes + inner.options.tail_bytes {
        inner.counters.salvaged_held.set(held);
    } else {
        // Memory is bounded: consumers read what the files still give.
        core.tail.clear();
    }
    tracing::error!(log = &*name, bytes, file = %path.display(), "what only the commit log held is salvaged");
    Ok(())
}

/// What the file of an earlier life holds of a log, if the last checkpoint may still need it.
async fn earlier(inner: &StoreInner, cell: &LogCell) -> Result<Vec<Piece>, StorageError> {
    if cell.core.borrow().salvage != Salvage::Restored {
        return Ok(Vec::new());
    }
    for dir in dirs(&inner.options) {
        match load(path_of(&dir, cell.id), cell.id).await {
            Ok(salvaged) => return Ok(salvaged.pieces),
            Err(StorageError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Vec::new())
}

/// Everything of a log from the first byte on that no segment holds safely, as recovery wants it: later segments whole, also
/// if some of them is safe.
fn pieces(core: &LogCore) -> Vec<Piece> {
    let first = core.unsafe_from();
    let behind = core.segments.iter().filter(|segment| segment.base >= first.segment);
    let pieces = behind.flat_map(|segment| {
        let mut at = if segment.base == first.segment { first.position } else { 0 };
        let parts = core.memory(segment.base, at, core.flushed_bytes(segment));
        let base = segment.base;
        parts.into_iter().map(move |bytes| {
            let place = Place { segment: base, position: at };
            at += bytes.len() as u64;
            Piece { at: place, bytes }
        })
    });
    pieces.collect()
}

/// Writes the file where the ring is, or else where the checkpoints are.
async fn save(
    options: &StoreOptions,
    log: LogId,
    name: &str,
    pieces: &[Piece],
) -> Result<PathBuf, StorageError> {
    let content = encode(log, name, pieces);
    let mut result = Err(StorageError::Gone);
    for dir in dirs(options) {
        result = write(&dir, log, content.clone()).await;
        match &result {
            Ok(_) => break,
            Err(error) => tracing::error!(log = name, %error, "cannot salvage here"),
        }
    }
    result
}

async fn write(dir: &Path, log: LogId, mut content: Bytes) -> Result<PathBuf, StorageError> {
    let path = path_of(dir, log);
    let beside = path.with_extension("new");
    let failed = |doing| StorageError::io(doing, &beside);
    let options = OpenOptions::new().write(true).create(true).truncate(true);
    let file = File::open(&beside, &options).await.map_err(failed("make"))?;
    let mut position = 0;
    while !content.is_empty() {
        let part = content.split_to(content.len().min(SEGMENT_WRITE_BYTES));
        let length = part.len() as u64;
        file.write_at(part, position).await.map_err(failed("write"))?;
        position += length;
    }
    file.sync_all().await.map_err(failed("sync"))?;
    reactor::fs::rename(&beside, &path).await.map_err(failed("name"))?;
    reactor::fs::sync_dir(dir).await.map_err(StorageError::io("sync", dir))?;
    Ok(path)
}

/// Where a shard's files of this kind may be.
fn dirs(options: &StoreOptions) -> Vec<PathBuf> {
    let mut dirs = vec![options.ring_dir(), options.shard_dir()];
    dirs.dedup();
    dirs
}

fn path_of(dir: &Path, log: LogId) -> PathBuf {
    dir.join(format!("salvage-{:016x}", log.0))
}

/// Removes what was salvaged of a log that needs it no more.
pub(crate) async fn remove(options: &StoreOptions, log: LogId) -> Result<(), StorageError> {
    for dir in dirs(options) {
        let path = path_of(&dir, log);
        match reactor::fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::io("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// All files of a shard.
pub(crate) async fn load_all(options: &StoreOptions) -> Result<Vec<Salvaged>, StorageError> {
    let mut all = Vec::new();
    for dir in dirs(options) {
        let entries = reactor::fs::read_dir(&dir).map_err(StorageError::io("read folder", &dir))?;
        for entry in entries {
            let name = entry.name.to_string_lossy();
            let Some(id) = name.strip_prefix("salvage-").and_then(|id| u64::from_str_radix(id, 16).ok())
            else {
                continue;
            };
            all.push(load(dir.join(&*name), LogId(id)).await?);
        }
    }
    Ok(all)
}

async fn load(path: PathBuf, log: LogId) -> Result<Salvaged, StorageError> {
    let file = File::open(&path, &OpenOptions::new().read(true)).await;
    let file = file.map_err(StorageError::io("open", &path))?;
    let length = file.size().await.map_err(StorageError::io("read", &path))?.min(SALVAGE_BYTES_MAX) as usize;
    let (read, bytes) = file.read_at(BytesMut::with_capacity(length), length, 0).await;
    read.map_err(StorageError::io("read", &path))?;
    match decode(bytes.freeze()) {
        Some((named, pieces)) if named == log => Ok(Salvaged { path, log, pieces }),
        _ => Err(StorageError::corrupt(path, "its checksum or its content is not that of salvaged records")),
    }
}

fn encode(log: LogId, name: &str, pieces: &[Piece]) -> Bytes {
    let bytes: usize = pieces.iter().map(|piece| 24 + piece.bytes.len()).sum();
    let mut out = BytesMut::with_capacity(HEADER_BYTES + name.len() + bytes);
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&log.0.to_le_bytes());
    out.extend_from_slice(&(pieces.len() as u32).to_le_bytes());
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    for piece in pieces {
        out.extend_from_slice(&piece.at.segment.0.to_le_bytes());
        out.extend_from_slice(&piece.at.position.to_le_bytes());
        out.extend_from_slice(&(piece.bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(&piece.bytes);
    }
    let crc = crc32c::crc32c(&out[CRC_AT + 4..]);
    out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    out.freeze()
}

fn decode(mut bytes: Bytes) -> Option<(LogId, Vec<Piece>)> {
    if bytes.len() < HEADER_BYTES {
        return None;
    }
    let actual = crc32c::crc32c(&bytes[CRC_AT + 4..]);
    let (magic, version, crc) = (bytes.get_u64_le(), bytes.get_u32_le(), bytes.get_u32_le());
    if (magic, version, crc) != (MAGIC, VERSION, actual) {
        return None;
    }
    let log = LogId(bytes.get_u64_le());
    let (count, name) = (bytes.get_u32_le(), bytes.get_u32_le() as usize);
    if name > bytes.len() {
        return None;
    }
    bytes.advance(name);
    let mut pieces = Vec::new();
    for _ in 0..count {
        if bytes.len() < 24 {
            return None;
        }
        let at = Place { segment: SegmentBase(bytes.get_i64_le()), position: bytes.get_u64_le() };
        let length = usize::try_from(bytes.get_u64_le()).ok().filter(|length| *length <= bytes.len())?;
        pieces.push(Piece { at, bytes: bytes.split_to(length) });
    }
    bytes.is_empty().then_some((log, pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<Piece>, Bytes) {
        let piece = |base, position, bytes: &'static [u8]| Piece {
            at: Place { segment: SegmentBase(base), position },
            bytes: Bytes::from_static(bytes),
        };
        let pieces = vec![piece(0, 4096, b"the end of a segment"), piece(17, 0, b"and the next one")];
        let bytes = encode(LogId(7), "orders-3", &pieces);
        (pieces, bytes)
    }

    #[test]
    fn what_was_salvaged_comes_back() {
        let (pieces, bytes) = sample();
        assert_eq!(decode(bytes), Some((LogId(7), pieces)));
    }

    #[test]
    fn a_flipped_bit_or_a_cut_anywhere_is_seen() {
        let (_, bytes) = sample();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(bad.into()), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(bytes.slice(..length)), None, "cut at {length}");
        }
    }
}
