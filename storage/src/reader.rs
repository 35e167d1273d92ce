//! From an offset to bytes: slices of memory for the newest batches, ranges of files for older ones.
//!
//! Nothing is copied: a part in memory is a slice of a commit buffer, a part in a file is for the network to send
//! from the page cache. A read is of whole batches at its start and ends at a batch's end where that is known for
//! free; a cut last batch is normal in Kafka's protocol. Parts lie wholly below the flushed offset.

use bytes::Bytes;
use reactor::{File, SharedFile};

use crate::cold_segments::{ColdIndexes, Way};
use crate::error::{ReadError, StorageError};
use crate::first_read;
use crate::limits::CHECK_BYTES;
use crate::log::Log;
use crate::log::core::{Health, LogCore};
use crate::offset_index::OffsetIndex;
use crate::options::Direct;
use crate::segment_reader::SegmentReader;
use crate::tail::Place;
use crate::types::{Offset, SegmentBase};

/// How often a read begins again because the log was truncated meanwhile.
const ATTEMPTS: usize = 4;

/// A piece of a read.
#[derive(Clone, Debug)]
pub enum ReadPart {
    /// Bytes in memory.
    Memory(Bytes),
    /// Bytes of a segment file, which stays readable also when it is unlinked.
    File {
        /// The file, opened through the page cache.
        file: SharedFile,
        /// First byte.
        position: u64,
        /// Number of bytes; the file has them.
        len: usize,
    },
}

impl ReadPart {
    /// Bytes of this piece.
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// The bytes in order.
    pub parts: Vec<ReadPart>,
    /// How many.
    pub bytes: usize,
}

impl Read {
    fn of(parts: Vec<ReadPart>) -> Self {
        let bytes = parts.iter().map(ReadPart::len).sum();
        Self { parts, bytes }
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The bytes in one piece, read from the files where they lie there. For tools, tests and coordinators.
    pub async fn into_bytes(self) -> std::io::Result<Bytes> {
        let mut out = bytes::BytesMut::with_capacity(self.bytes);
        for part in self.parts {
            match part {
                ReadPart::Memory(bytes) => out.extend_from_slice(&bytes),
                ReadPart::File { file, position, len } => {
                    let (read, back) = File::from_shared(file).read_at(out, len, position).await;
                    out = back;
                    if read? < len {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
        Ok(out.freeze())
    }
}

/// What a look at memory decided.
enum Plan {
    Done(Read),
    Segment { base: SegmentBase, floor: Option<u64>, end: u64, limit: Offset, generation: u32 },
}

/// A batch found in a segment.
#[derive(Clone, Copy)]
struct Found {
    base: SegmentBase,
    position: u64,
    size: u64,
    limit: Offset,
}

/// See [`Log::read`].
pub(crate) async fn read(
    log: &Log,
    from: Offset,
    max_bytes: usize,
    up_to: Offset,
) -> Result<Read, ReadError> {
    let mut turn = None;
    for _ in 0..=ATTEMPTS {
        let (base, floor, end, limit, generation) = match plan(log, from, max_bytes, up_to)? {
            Plan::Done(read) => return Ok(read),
            Plan::Segment { .. } if turn.is_none() => {
                // A few at a time: what is checked needs memory, and what one has checked the next need not check again.
                turn = Some(log.store.cold_reads.acquire(1).await);
                continue;
            }
            Plan::Segment { base, floor, end, limit, generation } => (base, floor, end, limit, generation),
        };
        let cold = match floor {
            Some(_) => None,
            None => match log.store.cold.indexes(log, base).await {
                Ok(indexes) => Some(indexes),
                Err(StorageError::Gone) => continue,
                Err(error) => return Err(error.into()),
            },
        };
        let relative = from.relative_to(base).unwrap_or(0);
        let floor = floor.or(cold.as_ref().map(|cold| cold.offsets.floor(relative).0)).unwrap_or(0);
        let mut reader = SegmentReader::new(log, base, end);
        let anchor = anchor(log, base, floor, cold.as_deref());
        let (position, header) = match find(&mut reader, from, floor, end, anchor).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Read::default()),
            Err(StorageError::Gone) => continue,
            Err(error) if log.cell.core.borrow().generation == generation && !has_left(log, from) => {
                // It may be the index that is wrong.
                if cold.is_some() && log.store.cold.repair(log, base).await.is_ok_and(|repaired| repaired) {
                    continue;
                }
                return Err(error.into());
            }
            Err(_) => continue,
        };
        if header.next_offset() > limit.0 {
            return not_shown_yet(log, &mut reader, position, header.base_offset, generation).await;
        }
        let found = Found { base, position, size: header.size as u64, limit };
        let file = match log.store.cold.file(log, base, Way::Send).await {
            Ok(file) => Some(file),
            Err(_) if has_left(log, from) => continue,
            Err(StorageError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let gathered = {
            let core = log.cell.core.borrow();
            if core.generation != generation || core.segment(base).is_none() {
                continue;
            }
            let offsets = cold.as_ref().map(|cold| &cold.offsets);
            match gather(log, &core, found, max_bytes, offsets, file.as_ref()) {
                Ok(gathered) => gathered,
                // Since it was looked for, writeback has made the file, and memory has given its bytes up.
                Err(_) if file.is_none() => continue,
                Err(error) => return Err(error.into()),
            }
        };
        let served = look_at(log, &mut reader, (position, header.base_offset), gathered).await;
        let stale = log.cell.core.borrow().generation != generation;
        match served {
            _ if stale || has_left(log, from) => {}
            Ok(read) => return Ok(read),
            Err(error) => return Err(error.into()),
        }
    }
    Err(ReadError::Gone)
}

/// Whether an offset went, with its segment or with the whole log, since it was asked for.
fn has_left(log: &Log, from: Offset) -> bool {
    from < log.start_offset() || log.is_gone()
}

fn plan(log: &Log, from: Offset, max_bytes: usize, up_to: Offset) -> Result<Plan, ReadError> {
    let core = log.cell.core.borrow();
    match core.health {
        Health::Gone => return Err(ReadError::Gone),
        Health::Serving | Health::Offline => {}
    }
    if from < core.start || from > core.end {
        return Err(ReadError::OffsetOutOfRange { start: core.start, end: core.end });
    }
    let limit = up_to.min(core.flushed);
    if from >= limit {
        return Ok(Plan::Done(Read::default()));
    }
    if let Some(index) = core.tail.batch_of(from) {
        return Ok(Plan::Done(from_memory(&core, index, max_bytes, limit)));
    }
    let segment = &core.segments[core.segment_index(from)];
    let relative = from.relative_to(segment.base).unwrap_or(0);
    let floor = segment.indexes.as_ref().map(|indexes| indexes.offsets.floor(relative).0);
    // A segment that is not finished has its indexes in memory; without any it is small or empty.
    let floor = if segment.base == core.active().base { floor.or(Some(0)) } else { floor };
    let end = core.flushed_bytes(segment);
    Ok(Plan::Segment { base: segment.base, floor, end, limit, generation: core.generation })
}

/// Whole batches from memory.
fn from_memory(core: &LogCore, index: usize, max_bytes: usize, limit: Offset) -> Read {
    let mut parts = Vec::new();
    let (mut bytes, mut whole, mut whole_bytes) = (0, 0, 0);
    for chunk in core.tail.from(index) {
        if chunk.next_offset > limit || (whole > 0 && bytes + chunk.bytes.len() > max_bytes) {
            break;
        }
        bytes += chunk.bytes.len();
        parts.push(ReadPart::Memory(chunk.bytes.clone()));
        if chunk.edges.ends() {
            (whole, whole_bytes) = (parts.len(), bytes);
            if bytes >= max_bytes {
                break;
            }
        }
    }
    parts.truncate(whole);
    Read { parts, bytes: whole_bytes }
}

/// What the index says of the batch at `floor`: its last offset. Of the first batch, its first.
#[derive(Clone, Copy)]
enum Anchor {
    First(i64),
    Last(i64),
    Unknown,
}

fn anchor(log: &Log, base: SegmentBase, floor: u64, cold: Option<&ColdIndexes>) -> Anchor {
    if floor == 0 {
        return Anchor::First(base.0);
    }
    let core = log.cell.core.borrow();
    let own = core.segment(base).and_then(|segment| segment.indexes.as_ref()).map(|own| &own.offsets);
    let Some(offsets) = cold.map(|cold| &cold.offsets).or(own) else { return Anchor::Unknown };
    let entries = offsets.entries();
    let place = entries.binary_search_by_key(&floor, |entry| u64::from(entry.position));
    place.map_or(Anchor::Unknown, |place| Anchor::Last(base.0 + i64::from(entries[place].relative_offset)))
}

/// Nothing of a batch is shown yet, if it is what it says.
async fn not_shown_yet(
    log: &Log,
    reader: &mut SegmentReader<'_>,
    position: u64,
    base_offset: i64,
    generation: u32,
) -> Result<Read, ReadError> {
    let checked = reader.checked(position, Some(base_offset)).await;
    let stale = log.cell.core.borrow().generation != generation;
    match checked {
        Err(error) if !stale && !has_left(log, Offset(base_offset)) => Err(error.into()),
        _ => Ok(Read::default()),
    }
}

/// What was gathered, with what was not looked at in this life looked at.
async fn look_at(
    log: &Log,
    reader: &mut SegmentReader<'_>,
    (position, base_offset): (u64, i64),
    gathered: Read,
) -> Result<Read, StorageError> {
    let mut read = gathered;
    read_first(log, reader, (position, base_offset), &mut read).await?;
    check(reader, position, base_offset, &read).await?;
    Ok(read)
}

/// Reads what lies in the file and was not looked at in this life, see [`first_read`].
async fn read_first(
    log: &Log,
    reader: &SegmentReader<'_>,
    (position, base_offset): (u64, i64),
    read: &mut Read,
) -> Result<(), StorageError> {
    let Some(ReadPart::File { file, len, .. }) = read.parts.first() else { return Ok(()) };
    let (file, end) = (file.clone(), position + *len as u64);
    let is_known = reader.checked_from(position).is_some_and(|checked| checked >= end);
    if is_known || log.store.options.direct == Direct::Off {
        return Ok(());
    }
    // If it cannot be opened so, reading it the other way tells why.
    let Ok(to_read) = reader.file_for_first_read().await else { return Ok(()) };
    let first = first_read::read(reader, &to_read, position..end, base_offset).await?;
    if first.end == position {
        return Ok(());
    }
    let mut parts: Vec<ReadPart> = first.parts.into_iter().map(ReadPart::Memory).collect();
    let rest = read.parts.split_off(1);
    if first.end < end && !(first.cut && rest.is_empty()) {
        parts.push(ReadPart::File { file, position: first.end, len: (end - first.end) as usize });
    }
    parts.extend(rest);
    *read = Read::of(parts);
    Ok(())
}

/// Looks at the batches of which a read has bytes from a file, those that were not looked at in this life: a client may
/// not check them, and cannot check their offsets. What is read here is in the page cache when it is sent.
async fn check(
    reader: &mut SegmentReader<'_>,
    position: u64,
    base_offset: i64,
    read: &Read,
) -> Result<(), StorageError> {
    let in_file = read.parts.iter().rposition(|part| matches!(part, ReadPart::File { .. }));
    let Some(last) = in_file else { return Ok(()) };
    let length: usize = read.parts[..=last].iter().map(ReadPart::len).sum();
    let end = position + length as u64;
    reader.read_ahead(length.min(CHECK_BYTES));
    let (mut position, mut expected) = (position, Some(base_offset));
    while position < end {
        if let Some(checked) = reader.checked_from(position) {
            (position, expected) = (checked, None);
            continue;
        }
        let header = reader.checked(position, expected).await?;
        (position, expected) = (position + header.size as u64, Some(header.next_offset()));
        if reactor::should_yield() {
            reactor::yield_now().await;
        }
    }
    Ok(())
}

/// Walks from `floor` to the batch that holds `from`, or the first one after it.
async fn find(
    reader: &mut SegmentReader<'_>,
    from: Offset,
    floor: u64,
    end: u64,
    anchor: Anchor,
) -> Result<Option<(u64, wire::kafka::record_batch::BatchHeader)>, StorageError> {
    let mut position = floor;
    let mut expected = match anchor {
        Anchor::First(offset) => Some(offset),
        Anchor::Last(_) | Anchor::Unknown => None,
    };
    while position < end {
        let header = reader.following(position, expected).await?;
        if let Anchor::Last(offset) = anchor
            && position == floor
            && header.last_offset() != offset
        {
            return Err(reader.damaged(position, &format!("a batch does not end at offset {offset}")));
        }
        if header.last_offset() >= from.0 {
            // Logs are dense: a batch that begins above was looked for in the wrong place.
            if header.base_offset > from.0 {
                return Err(reader.damaged(position, &format!("offset {from} is not where it should be")));
            }
            // Its checksum is looked at with those of what is read behind it.
            return Ok(Some((position, header)));
        }
        reader.checked(position, expected).await?;
        expected = Some(header.next_offset());
        position += header.size as u64;
        if reactor::should_yield() {
            reactor::yield_now().await;
        }
    }
    Ok(None)
}

/// The parts from a found batch on, in its segment.
fn gather(
    log: &Log,
    core: &LogCore,
    found: Found,
    max_bytes: usize,
    cold: Option<&OffsetIndex>,
    file: Option<&File>,
) -> Result<Read, StorageError> {
    let Some(segment) = core.segment(found.base) else { return Err(StorageError::Gone) };
    let offsets = segment.indexes.as_ref().map(|indexes| &indexes.offsets).or(cold);
    let first_end = found.position + found.size;
    let limit_end = if found.limit >= segment.next_offset || found.limit == core.flushed {
        core.flushed_bytes(segment)
    } else {
        let relative = found.limit.relative_to(found.base).unwrap_or(u32::MAX);
        offsets.map_or(0, |offsets| offsets.floor(relative).0).max(first_end)
    };
    let mut end = limit_end.min(found.position.saturating_add(max_bytes as u64)).max(first_end);
    if end < limit_end
        && let Some(offsets) = offsets
    {
        let entries = offsets.entries();
        let above = entries.partition_point(|entry| u64::from(entry.position) <= end);
        let boundary = entries[..above].last().map_or(0, |entry| u64::from(entry.position));
        if boundary >= first_end {
            end = boundary;
        }
    }
    let in_file = segment.written.max(segment.safe);
    let mut parts = Vec::new();
    let mut at = found.position;
    while at < end {
        let memory = core.memory(found.base, at, end);
        if !memory.is_empty() {
            at += memory.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
            parts.extend(memory.into_iter().map(ReadPart::Memory));
            continue;
        }
        let next = core.tail.from(core.tail.index_of(Place { segment: found.base, position: at })).next();
        let next = next.filter(|chunk| chunk.at.segment == found.base).map_or(end, |chunk| chunk.at.position);
        let stop = end.min(in_file).min(next);
        let Some(file) = file.filter(|_| stop > at) else {
            let dir = log.store.log_dir(log.cell.id, &core.name);
            return Err(StorageError::corrupt(
                dir,
                format!("bytes at {at} of segment {} are nowhere", found.base),
            ));
        };
        parts.push(ReadPart::File { file: file.share(), position: at, len: (stop - at) as usize });
        at = stop;
    }
    Ok(Read::of(parts))
}
