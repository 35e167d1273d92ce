//! What a checkpoint says of one log: everything that its segment files do not say themselves.
//!
//! A record is the log's state at one [`Lsn`]: exactly the entries before it are in. Its byte positions (`safe`) are
//! those of synced data. Indexes of unfinished segments are recorded as what came since the record before
//! (`kept` entries stay), so that a checkpoint costs what changed.

use std::rc::Rc;

use rkyv::{Archive, Deserialize, Serialize};

use crate::commit_log::Lsn;
use crate::corrupt::Corrupt;
use crate::leader_epochs::LeaderEpochs;
use crate::limits::BLOCK;
use crate::log::core::{Health, LogCore};
use crate::offset_index::{ENTRY_BYTES, IndexBounds, OffsetIndex};
use crate::options::LogConfig;
use crate::producer_state::{ProducerBudget, ProducerState};
use crate::segment::{Indexes, Segment};
use crate::tail::Place;
use crate::time_index::{self, TimeIndex};
use crate::types::{LogId, Offset, SegmentBase, Timestamp};

/// State of one log.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct LogRecord {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) lsn_sequence: u64,
    pub(crate) lsn_entry: u32,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) segments: Vec<SegmentRecord>,
    pub(crate) epochs: Vec<u8>,
    pub(crate) producers: Option<Vec<u8>>,
    /// Segments whose files are to be unlinked.
    pub(crate) doomed: Vec<i64>,
}

/// State of one segment.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct SegmentRecord {
    pub(crate) base: i64,
    pub(crate) bytes: u64,
    pub(crate) next_offset: i64,
    pub(crate) first_timestamp: i64,
    pub(crate) largest_timestamp: i64,
    pub(crate) largest_offset: i64,
    pub(crate) safe: u64,
    pub(crate) allocated: u64,
    pub(crate) indexes: Option<IndexRecord>,
}

/// Index entries of an unfinished segment: of those in the record before, so many are kept; these follow.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct IndexRecord {
    pub(crate) offsets_kept: u32,
    pub(crate) offsets: Vec<u8>,
    pub(crate) times_kept: u32,
    pub(crate) times: Vec<u8>,
}

/// How much of the indexes a record holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    Whole,
    SinceLast,
}

impl LogRecord {
    /// The log's state now, before the entry `lsn`. Notes that the indexes are recorded.
    pub(crate) fn of(id: LogId, core: &mut LogCore, lsn: Lsn, extent: Extent) -> Self {
        assert!(core.health != Health::Gone);
        let mut epochs = Vec::new();
        core.epochs.encode(&mut epochs);
        Self {
            id: id.0,
            name: core.name.to_string(),
            lsn_sequence: lsn.sequence,
            lsn_entry: lsn.entry,
            // The entry that moves the start may lie before `lsn` and not be applied yet. It is durable when the
            // checkpoint counts.
            start: core.start_staged.0,
            end: core.end.0,
            segments: core.segments.iter_mut().map(|segment| SegmentRecord::of(segment, extent)).collect(),
            epochs,
            producers: core.producers.snapshot(core.end),
            doomed: core.doomed.iter().map(|base| base.0).collect(),
        }
    }

    /// Bytes in a checkpoint, about.
    pub(crate) fn size_hint(&self) -> usize {
        let indexes = |segment: &SegmentRecord| {
            segment.indexes.as_ref().map_or(0, |indexes| indexes.offsets.len() + indexes.times.len())
        };
        let segments: usize = self.segments.iter().map(|segment| 80 + indexes(segment)).sum();
        256 + segments + self.epochs.len() + self.producers.as_ref().map_or(0, Vec::len)
    }

    pub(crate) fn lsn(&self) -> Lsn {
        Lsn { sequence: self.lsn_sequence, entry: self.lsn_entry }
    }

    /// Completes the indexes from the record that this one replaces; false when they do not fit together.
    #[must_use]
    pub(crate) fn complete_from(&mut self, before: Option<&LogRecord>) -> bool {
        for segment in &mut self.segments {
            let Some(indexes) = &mut segment.indexes else { continue };
            if indexes.offsets_kept == 0 && indexes.times_kept == 0 {
                continue;
            }
            let old = before
                .and_then(|before| before.segments.iter().find(|old| old.base == segment.base))
                .and_then(|old| old.indexes.as_ref());
            let Some(old) = old else { return false };
            let offsets = old.offsets.get(..indexes.offsets_kept as usize * ENTRY_BYTES);
            let times = old.times.get(..indexes.times_kept as usize * time_index::ENTRY_BYTES);
            let (Some(offsets), Some(times)) = (offsets, times) else { return false };
            indexes.offsets = [offsets, &indexes.offsets].concat();
            indexes.times = [times, &indexes.times].concat();
            (indexes.offsets_kept, indexes.times_kept) = (0, 0);
        }
        true
    }

    /// The log that this record describes; flushed up to its end, which the caller makes true.
    pub(crate) fn restore(&self, config: LogConfig, budget: &Rc<ProducerBudget>) -> Result<LogCore, Corrupt> {
        let corrupt = |entry, why| Corrupt { what: "log record", entry, why };
        let mut core = LogCore::new(&self.name, Rc::new(config), Rc::clone(budget));
        core.segments.clear();
        for (entry, record) in self.segments.iter().enumerate() {
            let segment = record.restore()?;
            let ascends = core.segments.back().is_none_or(|before: &Segment| {
                before.base < segment.base && before.next_offset <= segment.base.offset()
            });
            if !ascends {
                return Err(corrupt(entry, "segments do not ascend"));
            }
            core.segments.push_back(segment);
        }
        let Some(active) = core.segments.back() else { return Err(corrupt(0, "no segment")) };
        if active.next_offset.0 != self.end || self.start < 0 || self.start > self.end {
            return Err(corrupt(self.segments.len(), "start and end do not fit the segments"));
        }
        core.end = Offset(self.end);
        core.flushed = core.end;
        core.flushed_at = Place { segment: active.base, position: active.bytes };
        core.epochs = LeaderEpochs::decode(&self.epochs)?;
        if let Some(producers) = &self.producers {
            core.producers = ProducerState::restore(producers, core.end, Rc::clone(budget))?;
        }
        core.doomed = self.doomed.iter().map(|base| SegmentBase(*base)).collect();
        core.advance_start(Offset(self.start));
        Ok(core)
    }
}

impl SegmentRecord {
    fn of(segment: &mut Segment, extent: Extent) -> Self {
        let (timestamp, offset) = segment.largest.unwrap_or((Timestamp::NONE, Offset::NONE));
        Self {
            base: segment.base.0,
            bytes: segment.bytes,
            next_offset: segment.next_offset.0,
            first_timestamp: segment.first_timestamp.0,
            largest_timestamp: timestamp.0,
            largest_offset: offset.0,
            safe: segment.safe,
            allocated: segment.allocated,
            indexes: segment.indexes.as_mut().map(|indexes| IndexRecord::of(indexes, extent)),
        }
    }

    fn restore(&self) -> Result<Segment, Corrupt> {
        let corrupt = |why| Corrupt { what: "segment record", entry: 0, why };
        if self.base < 0 || self.next_offset < self.base || self.safe > self.bytes {
            return Err(corrupt("numbers do not fit together"));
        }
        let mut segment = Segment::new(SegmentBase(self.base));
        segment.bytes = self.bytes;
        segment.next_offset = Offset(self.next_offset);
        segment.first_timestamp = Timestamp(self.first_timestamp);
        if self.largest_timestamp > Timestamp::NONE.0 {
            segment.largest = Some((Timestamp(self.largest_timestamp), Offset(self.largest_offset)));
        }
        segment.safe = self.safe;
        segment.written = self.safe / BLOCK * BLOCK;
        segment.allocated = self.allocated;
        if let Some(indexes) = &self.indexes {
            let span = (self.next_offset - self.base) as u64;
            let bounds = IndexBounds { segment_bytes: self.bytes, offset_span: span };
            let mut times = TimeIndex::decode(&indexes.times, span)?;
            if let Some((timestamp, offset)) = segment.largest
                && let Some(relative) = offset.relative_to(segment.base)
            {
                times.observe(timestamp, relative);
            }
            let offsets = OffsetIndex::decode(&indexes.offsets, bounds)?;
            let recorded = (offsets.len(), times.len());
            segment.indexes = Some(Box::new(Indexes { offsets, times, recorded }));
        }
        Ok(segment)
    }
}

impl IndexRecord {
    fn of(indexes: &mut Indexes, extent: Extent) -> Self {
        let kept = match extent {
            Extent::Whole => (0, 0),
            Extent::SinceLast => indexes.recorded,
        };
        let (mut offsets, mut times) = (Vec::new(), Vec::new());
        indexes.offsets.encode(&mut offsets);
        indexes.times.encode(&mut times);
        offsets.drain(..kept.0 * ENTRY_BYTES);
        times.drain(..kept.1 * time_index::ENTRY_BYTES);
        indexes.recorded = (indexes.offsets.len(), indexes.times.len());
        Self { offsets_kept: kept.0 as u32, offsets, times_kept: kept.1 as u32, times }
    }
}
