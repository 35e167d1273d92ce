//! Checkpoints on disk: two slots, each a full snapshot with deltas behind it.
//!
//! A slot is a file of frames. A checkpoint is one or more frames with the same sequence, the last one marked; it
//! counts only when all of them are whole. The first checkpoint of a slot is full, the ones behind it hold the logs
//! that changed. When the deltas outgrow the snapshot, a full checkpoint goes to the other slot, which is emptied
//! first; so the older slot is whole until the newer one is durable. The higher sequence wins.
//!
//! A lost or rotted checkpoint is not taken for an older state of the world: the headers in the ring name the highest
//! checkpoint that was durable, and recovery refuses to go on from a lower one.
//!
//! ```text
//! frame: 0 magic u64 | 8 version u32 | 12 crc u32 (over the rest) | 16 generation u64 | 24 sequence u64
//!        32 flags u32 (1 full, 2 last) | 36 part u32 | 40 length u64 | 48 payload (rkyv, checked before use)
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use reactor::{File, OpenOptions};
use rkyv::rancor::{Failure, Panic};
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::error::StorageError;
use crate::limits::{CHECKPOINT_DELTA_BYTES_MIN, CHECKPOINT_FRAME_BYTES, CHECKPOINT_FRAME_BYTES_MAX};
use crate::log_record::LogRecord;

const MAGIC: u64 = u64::from_le_bytes(*b"CLcheckp");
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;
const CRC_AT: usize = 12;
const FLAG_FULL: u32 = 1;
const FLAG_LAST: u32 = 2;

/// What a checkpoint says of the ring.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Which ring.
    pub(crate) ring_id: [u8; 16],
    /// The ring's life, and the first sequence of it: a commit of an earlier life at or above it is stale.
    pub(crate) incarnation: u64,
    pub(crate) incarnation_from: u64,
    /// Commits up to here are not needed.
    pub(crate) reclaimed: u64,
}

/// Payload of a frame.
#[derive(Archive, Serialize, Deserialize, Default, Debug)]
pub(crate) struct Frame {
    pub(crate) logs: Vec<LogRecord>,
    pub(crate) removed: Vec<u64>,
    /// In the last frame of a checkpoint.
    pub(crate) summary: Option<Summary>,
}

/// Everything a slot says.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) sequence: u64,
    pub(crate) summary: Summary,
    pub(crate) logs: BTreeMap<u64, LogRecord>,
    generation: u64,
    slot: usize,
}

/// Whether a checkpoint holds all logs or those that changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Full,
    Delta,
}

/// The two slots of a shard.
pub(crate) struct Slots {
    dir: PathBuf,
    slot: usize,
    file: Option<File>,
    generation: u64,
    /// Of the newest durable checkpoint.
    sequence: u64,
    position: u64,
    full_bytes: u64,
    /// The last attempt failed: what is behind `position` is unknown, and index marks are not to be trusted.
    broken: bool,
}

/// A checkpoint being written.
pub(crate) struct Writing {
    file: File,
    kind: Kind,
    slot: usize,
    generation: u64,
    sequence: u64,
    position: u64,
    part: u32,
}

fn slot_path(dir: &Path, slot: usize) -> PathBuf {
    dir.join(format!("checkpoint-{slot}"))
}

impl Slots {
    /// The slots behind a snapshot that was loaded, or of a new shard.
    pub(crate) fn new(dir: &Path, loaded: Option<&Snapshot>) -> Self {
        Self {
            dir: dir.to_path_buf(),
            slot: loaded.map_or(1, |loaded| loaded.slot),
            file: None,
            generation: loaded.map_or(0, |loaded| loaded.generation),
            sequence: loaded.map_or(0, |loaded| loaded.sequence),
            position: 0,
            full_bytes: 0,
            broken: false,
        }
    }

    /// Of the newest durable checkpoint.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether the next checkpoint must be full.
    pub(crate) fn next_kind(&self) -> Kind {
        let outgrown = self.position > 2 * self.full_bytes + CHECKPOINT_DELTA_BYTES_MIN;
        if self.file.is_none() || self.broken || outgrown { Kind::Full } else { Kind::Delta }
    }

    /// Where and as what the next checkpoint is written. From now on, until [`Slots::finished`], it counts as failed.
    pub(crate) fn plan(&mut self, kind: Kind) -> (PathBuf, Kind, Option<Writing>) {
        self.broken = true;
        let sequence = self.sequence + 1;
        let path = slot_path(&self.dir, self.slot);
        match (kind, &self.file) {
            (Kind::Delta, Some(file)) => {
                let writing = Writing {
                    file: file.clone(),
                    kind,
                    slot: self.slot,
                    generation: self.generation,
                    sequence,
                    position: self.position,
                    part: 0,
                };
                (path, kind, Some(writing))
            }
            _ => (slot_path(&self.dir, 1 - self.slot), Kind::Full, None),
        }
    }

    /// A full checkpoint into the file at the path that [`Slots::plan`] named.
    pub(crate) fn full_into(&self, file: File) -> Writing {
        Writing {
            file,
            kind: Kind::Full,
            slot: 1 - self.slot,
            generation: self.generation + 1,
            sequence: self.sequence + 1,
            position: 0,
            part: 0,
        }
    }

    /// A checkpoint is durable.
    pub(crate) fn finished(&mut self, writing: Writing) -> u64 {
        assert!(writing.sequence == self.sequence + 1 && writing.generation >= self.generation);
        self.sequence = writing.sequence;
        self.generation = writing.generation;
        self.slot = writing.slot;
        self.position = writing.position;
        if writing.kind == Kind::Full {
            self.full_bytes = writing.position;
        }
        self.file = Some(writing.file);
        self.broken = false;
        self.sequence
    }
}

/// Opens and empties the file of a full checkpoint.
pub(crate) async fn empty_slot(path: &Path) -> Result<File, StorageError> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(true);
    let file = File::open(path, &options).await.map_err(StorageError::io("open", path))?;
    let dir = path.parent().unwrap_or(path);
    reactor::fs::sync_dir(dir).await.map_err(StorageError::io("sync", dir))?;
    Ok(file)
}

/// Writes a full checkpoint of `records` into the other slot, durably.
pub(crate) async fn write_full(
    slots: &mut Slots,
    records: impl Iterator<Item = LogRecord>,
    summary: Summary,
) -> Result<(), StorageError> {
    let (path, ..) = slots.plan(Kind::Full);
    let file = empty_slot(&path).await?;
    let mut writing = slots.full_into(file);
    let failed = |error| StorageError::io("write", &path)(error);
    let mut frame = Frame::default();
    let mut bytes = 0;
    for record in records {
        bytes += record.size_hint();
        frame.logs.push(record);
        if bytes >= CHECKPOINT_FRAME_BYTES {
            writing.write(&std::mem::take(&mut frame)).await.map_err(failed)?;
            bytes = 0;
        }
        if reactor::should_yield() {
            reactor::yield_now().await;
        }
    }
    frame.summary = Some(summary);
    writing.write(&frame).await.map_err(failed)?;
    writing.sync().await.map_err(failed)?;
    slots.finished(writing);
    Ok(())
}

impl Writing {
    /// Writes a frame. The checkpoint counts after the one with a summary, and [`Writing::sync`].
    pub(crate) async fn write(&mut self, frame: &Frame) -> std::io::Result<()> {
        let Ok(payload) = rkyv::to_bytes::<Panic>(frame);
        let full = if self.kind == Kind::Full { FLAG_FULL } else { 0 };
        let last = if frame.summary.is_some() { FLAG_LAST } else { 0 };
        let mut out = BytesMut::with_capacity(HEADER_BYTES + payload.len());
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&(full | last).to_le_bytes());
        out.extend_from_slice(&self.part.to_le_bytes());
        out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        out.extend_from_slice(&payload);
        let crc = crc32c::crc32c(&out[CRC_AT + 4..]);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        let length = out.len() as u64;
        self.file.write_at(out.freeze(), self.position).await?;
        self.position += length;
        self.part += 1;
        Ok(())
    }

    /// Makes it durable.
    pub(crate) async fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data().await
    }
}

struct FrameHeader {
    generation: u64,
    sequence: u64,
    flags: u32,
    part: u32,
    length: usize,
}

/// The newest whole checkpoint of a shard; `None` when there is none.
pub(crate) async fn load(dir: &Path) -> Result<Option<Snapshot>, StorageError> {
    let mut newest: Option<Snapshot> = None;
    for slot in 0..2 {
        let path = slot_path(dir, slot);
        let file = match File::open(&path, &OpenOptions::new().read(true)).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StorageError::io("open", path)(error)),
        };
        let length = file.size().await.map_err(StorageError::io("read", &path))? as usize;
        let (read, bytes) = file.read_at(BytesMut::with_capacity(length), length, 0).await;
        read.map_err(StorageError::io("read", &path))?;
        if let Some(snapshot) = replay(bytes.freeze(), slot).await
            && newest.as_ref().is_none_or(|newest| newest.sequence < snapshot.sequence)
        {
            newest = Some(snapshot);
        }
    }
    Ok(newest)
}

/// What the frames of a slot say, up to the last whole checkpoint; `None` when not even the first is whole.
async fn replay(mut bytes: Bytes, slot: usize) -> Option<Snapshot> {
    let mut snapshot: Option<Snapshot> = None;
    let mut pending: Vec<Frame> = Vec::new();
    while let Some((header, frame)) = next_frame(&mut bytes) {
        let full = header.flags & FLAG_FULL != 0;
        let fits = match &snapshot {
            None => full,
            Some(current) => {
                !full && header.generation == current.generation && header.sequence == current.sequence + 1
            }
        };
        if !fits || header.part as usize != pending.len() {
            break;
        }
        pending.push(frame);
        reactor::give_way().await;
        if header.flags & FLAG_LAST == 0 {
            continue;
        }
        let current = snapshot.get_or_insert_with(|| Snapshot { slot, ..Snapshot::default() });
        (current.generation, current.sequence) = (header.generation, header.sequence);
        for frame in pending.drain(..) {
            if !apply(current, frame) {
                // Whole frames that do not fit together were not written by this program.
                return None;
            }
            reactor::give_way().await;
        }
    }
    snapshot
}

fn apply(snapshot: &mut Snapshot, frame: Frame) -> bool {
    for id in frame.removed {
        snapshot.logs.remove(&id);
    }
    for mut log in frame.logs {
        if !log.complete_from(snapshot.logs.get(&log.id)) {
            return false;
        }
        snapshot.logs.insert(log.id, log);
    }
    if let Some(summary) = frame.summary {
        snapshot.summary = summary;
    }
    true
}

fn next_frame(bytes: &mut Bytes) -> Option<(FrameHeader, Frame)> {
    let head: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let header = FrameHeader {
        generation: u64_at(16),
        sequence: u64_at(24),
        flags: u32_at(32),
        part: u32_at(36),
        length: usize::try_from(u64_at(40)).ok()?,
    };
    if u64_at(0) != MAGIC
        || u32_at(8) != VERSION
        || header.length > CHECKPOINT_FRAME_BYTES_MAX
        || header.length > bytes.len() - HEADER_BYTES
    {
        return None;
    }
    let crc = u32_at(CRC_AT);
    let whole = bytes.split_to(HEADER_BYTES + header.length);
    if crc32c::crc32c(&whole[CRC_AT + 4..]) != crc {
        return None;
    }
    let mut aligned = AlignedVec::<16>::with_capacity(header.length);
    aligned.extend_from_slice(&whole[HEADER_BYTES..]);
    let frame = rkyv::from_bytes::<Frame, Failure>(&aligned).ok()?;
    Some((header, frame))
}
