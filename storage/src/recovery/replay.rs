//! From a checkpoint and the entries behind it to logs. Pure: no I/O, no clock but the one given.
//!
//! Every entry is looked at twice. For its *bytes*: all that no segment holds safely, from whichever entries are
//! still in the ring, newer ones over older ones. For its *meaning* (offsets, indexes, producers, epochs, log start):
//! only entries that the log's record does not have yet, by their [`Lsn`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use wire::kafka::record_batch::BatchHeader;

use crate::commit_log::Lsn;
use crate::commit_log::format::{Entry, EntryKind};
use crate::log::core::{Arriving, LogCore, Salvage};
use crate::log_record::LogRecord;
use crate::options::{Catalog, LogConfig};
use crate::producer_state::{ProducerBatch, ProducerBudget};
use crate::salvage::Piece;
use crate::tail::{Chunk, Edges, Place};
use crate::types::{LogId, Offset, SegmentBase, Timestamp};

/// Why replay cannot go on; the caller names the place.
#[derive(Debug)]
pub(crate) enum ReplayError {
    Damage(String),
    Unknown { id: LogId, name: String },
}

/// Of bytes that come from a file of salvaged records: older than any commit.
pub(crate) const SALVAGED_SEQUENCE: u64 = 0;

/// A log that is being put together.
struct Partial {
    core: LogCore,
    /// Entries before it are in the record.
    from: Lsn,
    chunks: VecDeque<Chunk>,
    /// An append of which pieces are still to come, and how many of its bytes are there.
    pending: Option<(Entry, BatchHeader, u32)>,
}

/// The state of replay.
pub(crate) struct Replay<'a> {
    catalog: &'a Catalog,
    budget: Rc<ProducerBudget>,
    now: Timestamp,
    logs: BTreeMap<LogId, Partial>,
    /// Logs that the catalog proves deleted, with their names where known.
    pub(crate) deleted: BTreeMap<LogId, Option<String>>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(catalog: &'a Catalog, budget: Rc<ProducerBudget>, now: Timestamp) -> Self {
        Self { catalog, budget, now, logs: BTreeMap::new(), deleted: BTreeMap::new() }
    }

    /// Takes in what the checkpoint says of a log.
    pub(crate) fn record(&mut self, record: &LogRecord) -> Result<(), ReplayError> {
        let id = LogId(record.id);
        let Some(config) = self.config(id, Some(&record.name))? else { return Ok(()) };
        let core = record.restore(config, &self.budget).map_err(|error| {
            ReplayError::Damage(format!("the checkpoint's record of {}: {error}", record.name))
        })?;
        self.logs.insert(id, Partial::new(core, record.lsn()));
        Ok(())
    }

    /// Settings of a live log; `None` when it was deleted.
    fn config(&mut self, id: LogId, name: Option<&str>) -> Result<Option<LogConfig>, ReplayError> {
        if let Some(spec) = self.catalog.live.get(&id) {
            return Ok(Some(spec.config.clone()));
        }
        if id > self.catalog.issued_max {
            return Err(ReplayError::Unknown { id, name: name.unwrap_or("not known").to_owned() });
        }
        let known = self.deleted.entry(id).or_default();
        if known.is_none() {
            *known = name.map(str::to_owned);
        }
        Ok(None)
    }

    /// Takes in bytes of a log that were salvaged from the ring, before any entry; false when the log is deleted. The
    /// record speaks of them already. Without a record they are in the ring still.
    pub(crate) fn salvaged(&mut self, id: LogId, pieces: Vec<Piece>) -> bool {
        if let Some(log) = self.logs.get_mut(&id) {
            for piece in pieces {
                log.fill(piece.at, &piece.bytes, SALVAGED_SEQUENCE);
            }
            log.core.salvage = Salvage::Restored;
            log.core.changed = true;
        }
        self.catalog.live.contains_key(&id)
    }

    /// Takes in one entry; says whether a log has bytes of it.
    pub(crate) fn entry(&mut self, lsn: Lsn, entry: &Entry, payload: Bytes) -> Result<bool, ReplayError> {
        if !self.logs.contains_key(&entry.log) {
            if self.deleted.contains_key(&entry.log) {
                return Ok(false);
            }
            let Some(config) = self.config(entry.log, None)? else { return Ok(false) };
            let Some(spec) = self.catalog.live.get(&entry.log) else { return Ok(false) };
            let core = LogCore::new(&spec.name, Rc::new(config), Rc::clone(&self.budget));
            self.logs.insert(entry.log, Partial::new(core, Lsn::default()));
        }
        let Some(log) = self.logs.get_mut(&entry.log) else { return Ok(false) };
        log.overlay(lsn.sequence, entry, payload.clone());
        if lsn >= log.from {
            log.apply(entry, &payload, self.now).map_err(|why| {
                let at = format!("commit {}, entry {}, log {}", lsn.sequence, lsn.entry, entry.log);
                ReplayError::Damage(format!("{at}: {why}"))
            })?;
        }
        Ok(!payload.is_empty())
    }

    /// The logs, each with exactly the bytes in memory that its segments do not hold.
    pub(crate) fn finish(self) -> Result<BTreeMap<LogId, LogCore>, ReplayError> {
        let finish = |(id, log): (LogId, Partial)| {
            let core = log.finish().map_err(|why| ReplayError::Damage(format!("log {id}: {why}")))?;
            Ok((id, core))
        };
        self.logs.into_iter().map(finish).collect()
    }
}

impl Partial {
    fn new(core: LogCore, from: Lsn) -> Self {
        Self { core, from, chunks: VecDeque::new(), pending: None }
    }

    /// Lays an entry's bytes over those of earlier entries.
    fn overlay(&mut self, sequence: u64, entry: &Entry, payload: Bytes) {
        let at = Place { segment: entry.segment, position: entry.position.0 };
        match entry.kind {
            EntryKind::Append => {
                self.cut(at);
                let edges = match (entry.fragment_at == 0, entry.completes()) {
                    (true, true) => Edges::Whole,
                    (true, false) => Edges::First,
                    (false, false) => Edges::Middle,
                    (false, true) => Edges::Last,
                };
                self.chunks.push_back(Chunk {
                    at,
                    bytes: payload,
                    sequence,
                    base_offset: entry.offset,
                    // Known when the batch is applied; corrected in `finish`.
                    next_offset: Offset::NONE,
                    edges,
                });
            }
            EntryKind::Carry => self.fill(at, &payload, sequence),
            EntryKind::Truncate => self.cut(at),
            EntryKind::LogStart => {}
        }
    }

    /// Forgets bytes at or after `at`.
    fn cut(&mut self, at: Place) {
        while let Some(newest) = self.chunks.back_mut() {
            if newest.at >= at {
                self.chunks.pop_back();
            } else {
                if newest.at.segment == at.segment && newest.end() > at.position {
                    newest.bytes.truncate((at.position - newest.at.position) as usize);
                    newest.edges = Edges::Raw;
                }
                return;
            }
        }
    }

    /// A carried block: what of it is not in entries that are there.
    fn fill(&mut self, at: Place, payload: &Bytes, sequence: u64) {
        let end = at.position + payload.len() as u64;
        let mut gaps = Vec::new();
        let mut position = at.position;
        for chunk in self.chunks.iter().filter(|chunk| chunk.at.segment == at.segment) {
            if chunk.at.position >= end {
                break;
            }
            if chunk.at.position > position {
                gaps.push(position..chunk.at.position);
            }
            position = position.max(chunk.end());
        }
        if position < end {
            gaps.push(position..end);
        }
        for gap in gaps {
            let range = (gap.start - at.position) as usize..(gap.end - at.position) as usize;
            self.chunks.push_back(Chunk {
                at: Place { segment: at.segment, position: gap.start },
                bytes: payload.slice(range),
                sequence,
                base_offset: Offset::ZERO,
                next_offset: Offset::ZERO,
                edges: Edges::Raw,
            });
        }
        self.chunks.make_contiguous().sort_by_key(|chunk| chunk.at);
    }

    fn apply(&mut self, entry: &Entry, payload: &Bytes, now: Timestamp) -> Result<(), &'static str> {
        match entry.kind {
            EntryKind::Append => self.append(entry, payload, now),
            EntryKind::Carry => Ok(()),
            EntryKind::Truncate => {
                let at = Place { segment: entry.segment, position: entry.position.0 };
                let core = &mut self.core;
                let fits = core.segment(at.segment).is_some_and(|segment| at.position <= segment.bytes);
                if !fits || entry.offset < core.start || entry.offset > core.end {
                    return Err("a truncation outside of the log");
                }
                core.truncate(entry.offset, at);
                self.flush();
                Ok(())
            }
            EntryKind::LogStart => {
                if entry.offset > self.core.end {
                    return Err("a log start above the end");
                }
                if entry.segment > self.core.active().base {
                    self.roll_to(entry)?;
                }
                self.flush();
                self.core.advance_start(entry.offset);
                Ok(())
            }
        }
    }

    fn roll_to(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let core = &mut self.core;
        let follows = entry.segment.offset() == core.end && entry.position.0 == 0 && core.active().bytes > 0;
        if !follows {
            return Err("a segment that does not begin at the log's end");
        }
        core.roll();
        Ok(())
    }

    fn flush(&mut self) {
        self.core.flushed = self.core.end;
        self.core.flushed_at = self.core.end_at();
    }

    fn append(&mut self, entry: &Entry, payload: &Bytes, now: Timestamp) -> Result<(), &'static str> {
        let (first, header, have) = if entry.fragment_at == 0 {
            let header = BatchHeader::peek(payload).map_err(|_| "an append that is no record batch")?;
            if header.size != entry.total as usize || header.base_offset != entry.offset.0 {
                return Err("an append that does not fit its batch");
            }
            (*entry, header, entry.length)
        } else {
            let Some((first, header, have)) = self.pending.take() else {
                return Err("a piece of an append without those before it");
            };
            if have != entry.fragment_at || first.offset != entry.offset {
                return Err("a piece of another append");
            }
            (first, header, have + entry.length)
        };
        if !entry.completes() {
            self.pending = Some((first, header, have));
            return Ok(());
        }
        if first.segment > self.core.active().base {
            self.roll_to(&first)?;
        }
        let place = Place { segment: first.segment, position: first.position.0 };
        if place != self.core.end_at() || first.offset != self.core.end {
            return Err("an append that is not at the log's end");
        }
        let arriving = Arriving {
            bytes: u64::from(first.total),
            last_offset_delta: header.last_offset_delta,
            max_timestamp: Timestamp(header.max_timestamp),
            epoch: first.epoch,
            producer: ProducerBatch::of(&header).ok().flatten(),
        };
        if header.last_offset_delta < 0 {
            return Err("a batch with a negative length");
        }
        let arrival = self.core.arrival(&arriving, now).ok_or("offsets overflow")?;
        self.core.apply(&arriving, arrival);
        self.flush();
        Ok(())
    }

    fn finish(mut self) -> Result<LogCore, String> {
        self.flush();
        let mut core = self.core;
        let (end, safe) = (core.end_at(), core.unsafe_from());
        // An append of which the last piece was not durable was never acknowledged.
        while self.chunks.back().is_some_and(|chunk| chunk.at >= end) {
            self.chunks.pop_back();
        }
        let mut at = safe;
        let bases: BTreeSet<_> = core.segments.iter().map(|segment| segment.base).collect();
        let mut unhandled = 0;
        let mut chunks: Vec<Chunk> = Vec::new();
        for mut chunk in self.chunks {
            if !bases.contains(&chunk.at.segment) || chunk.at.segment < at.segment {
                continue;
            }
            // Pieces of an append that never became whole, in an earlier life, lie behind their segment's end.
            let bytes = core.segment(chunk.at.segment).map_or(0, |segment| segment.bytes);
            if chunk.at.position >= bytes {
                continue;
            }
            chunk.bytes.truncate((bytes - chunk.at.position) as usize);
            if chunk.at.segment == at.segment && chunk.at.position < at.position {
                let cut = (at.position - chunk.at.position) as usize;
                if cut >= chunk.bytes.len() {
                    continue;
                }
                chunk.bytes = chunk.bytes.slice(cut..);
                chunk.at = at;
                chunk.edges = Edges::Raw;
            }
            if chunk.at.segment > at.segment && behind_full(&core, at) == Some(chunk.at.segment) {
                at = Place { segment: chunk.at.segment, position: 0 };
            }
            if chunk.at != at {
                return Err(format!("bytes from {} of segment {} on are missing", at.position, at.segment));
            }
            at.position = chunk.end();
            unhandled += chunk.bytes.len() as u64;
            chunks.push(chunk);
        }
        // A truncation to the start of a segment leaves it there, empty.
        if end.position == 0 && behind_full(&core, at) == Some(end.segment) {
            at = end;
        }
        if at != end && !(safe == at && core.segments.iter().all(crate::segment::Segment::is_safe)) {
            return Err(format!("bytes from {} of segment {} on are missing", at.position, at.segment));
        }
        set_next_offsets(&mut chunks, core.end);
        for chunk in chunks {
            core.tail.push(chunk);
        }
        core.unhandled = unhandled;
        Ok(core)
    }
}

/// The segment that follows a place, if that is the end of its own.
fn behind_full(core: &LogCore, at: Place) -> Option<SegmentBase> {
    let full = core.segment(at.segment).is_some_and(|segment| segment.bytes == at.position);
    core.segments.iter().map(|segment| segment.base).find(|base| full && *base > at.segment)
}

/// A batch ends where the next one begins.
fn set_next_offsets(chunks: &mut [Chunk], end: Offset) {
    let (mut next, mut current) = (end, end);
    for chunk in chunks.iter_mut().rev() {
        if chunk.edges == Edges::Raw {
            (chunk.base_offset, chunk.next_offset) = (Offset::ZERO, Offset::ZERO);
            continue;
        }
        if chunk.edges.ends() {
            current = next;
        }
        chunk.next_offset = current;
        next = chunk.base_offset;
    }
    // Raw bytes are in front only: a batch before them has lost its start.
    if let Some(last_raw) = chunks.iter().rposition(|chunk| chunk.edges == Edges::Raw) {
        for chunk in &mut chunks[..last_raw] {
            chunk.edges = Edges::Raw;
            (chunk.base_offset, chunk.next_offset) = (Offset::ZERO, Offset::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::LogSpec;
    use crate::types::{LeaderEpoch, Position, SegmentBase};
    use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
    use wire::kafka::compression::Codec;
    use wire::kafka::record_batch::set_base_offset;

    fn catalog() -> Catalog {
        let spec = LogSpec { id: LogId(1), name: "t-0".to_owned(), config: LogConfig::default() };
        Catalog { live: [(LogId(1), spec)].into(), issued_max: LogId(5) }
    }

    fn batch(offset: i64, length: usize) -> Bytes {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(&NewRecord { value: Some(&vec![offset as u8; length]), ..NewRecord::default() });
        let mut bytes = builder.build().unwrap().to_vec();
        set_base_offset(&mut bytes, offset);
        bytes.into()
    }

    fn append(position: u64, offset: i64, total: usize, fragment: std::ops::Range<usize>) -> Entry {
        Entry {
            kind: EntryKind::Append,
            log: LogId(1),
            segment: SegmentBase(0),
            position: Position(position + fragment.start as u64),
            offset: Offset(offset),
            total: total as u32,
            fragment_at: fragment.start as u32,
            epoch: LeaderEpoch(0),
            length: fragment.len() as u32,
        }
    }

    fn lsn(sequence: u64) -> Lsn {
        Lsn { sequence, entry: 0 }
    }

    fn replay(catalog: &Catalog) -> Replay<'_> {
        Replay::new(catalog, Rc::default(), Timestamp(0))
    }

    #[test]
    fn an_append_without_its_last_piece_leaves_no_trace() {
        let catalog = catalog();
        let mut replay = replay(&catalog);
        let (first, second) = (batch(0, 50), batch(1, 500));
        replay.entry(lsn(1), &append(0, 0, first.len(), 0..first.len()), first.clone()).unwrap();
        let at = first.len() as u64;
        replay.entry(lsn(2), &append(at, 1, second.len(), 0..300), second.slice(..300)).unwrap();
        let core = replay.finish().unwrap().remove(&LogId(1)).unwrap();
        assert_eq!((core.end, core.flushed, core.unhandled), (Offset(1), Offset(1), at));
        assert_eq!(core.memory(SegmentBase(0), 0, u64::MAX), [first]);
    }

    #[test]
    fn pieces_make_a_batch_again() {
        let catalog = catalog();
        let mut replay = replay(&catalog);
        let bytes = batch(0, 500);
        for (number, range) in [(1, 0..200), (2, 200..400), (3, 400..bytes.len())] {
            let piece = bytes.slice(range.clone());
            replay.entry(lsn(number), &append(0, 0, bytes.len(), range), piece).unwrap();
        }
        let core = replay.finish().unwrap().remove(&LogId(1)).unwrap();
        assert_eq!(core.end, Offset(1));
        assert_eq!(core.memory(SegmentBase(0), 0, u64::MAX).concat(), bytes);
        assert_eq!(core.tail.batch_of(Offset(0)), Some(0));
    }

    #[test]
    fn an_append_that_leaves_a_gap_is_damage() {
        let catalog = catalog();
        let bytes = batch(3, 50);
        let error = replay(&catalog).entry(lsn(1), &append(0, 3, bytes.len(), 0..bytes.len()), bytes.clone());
        assert!(matches!(error, Err(ReplayError::Damage(_))));
        let error = replay(&catalog).entry(lsn(1), &append(0, 0, 99, 0..99), bytes.slice(..99));
        assert!(matches!(error, Err(ReplayError::Damage(_))), "not its batch's length");
    }

    #[test]
    fn a_carried_block_fills_the_gaps_only() {
        let mut partial = Partial::new(LogCore::new("t-0", Rc::default(), Rc::default()), lsn(100));
        let whole: Bytes = (0..100u8).collect::<Vec<u8>>().into();
        let carry = |range: std::ops::Range<usize>| Entry {
            kind: EntryKind::Carry,
            ..append(range.start as u64, 0, 0, 0..0)
        };
        let piece = |entry: Entry, range: std::ops::Range<usize>| (entry, whole.slice(range));
        for (sequence, (entry, bytes)) in [
            piece(append(20, 0, 20, 0..20), 20..40),
            piece(append(60, 0, 10, 0..10), 60..70),
            piece(carry(10..30), 10..30),
            piece(carry(10..90), 10..90),
        ]
        .into_iter()
        .enumerate()
        {
            partial.overlay(sequence as u64, &entry, bytes);
        }
        let mut at = 10;
        for chunk in &partial.chunks {
            assert_eq!((chunk.at.position, u64::from(chunk.bytes[0])), (at, at));
            at = chunk.end();
        }
        assert_eq!(at, 90);
    }

    #[test]
    fn unknown_logs_are_told_from_deleted_ones() {
        let catalog = catalog();
        let bytes = batch(0, 50);
        let entry = |id| Entry { log: LogId(id), ..append(0, 0, bytes.len(), 0..bytes.len()) };
        let mut replay = replay(&catalog);
        assert!(!replay.entry(lsn(1), &entry(4), bytes.clone()).unwrap());
        assert!(replay.deleted.contains_key(&LogId(4)));
        let error = replay.entry(lsn(2), &entry(6), bytes.clone());
        assert!(matches!(error, Err(ReplayError::Unknown { id: LogId(6), .. })));
    }
}
