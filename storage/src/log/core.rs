//! State of one log. No I/O and no waiting: what the other modules borrow between their awaits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

use crate::leader_epochs::LeaderEpochs;
use crate::limits::BLOCK;
use crate::options::LogConfig;
use crate::producer_state::{ProducerBatch, ProducerBudget, ProducerState};
use crate::segment::{Arrival, Segment};
use crate::tail::{Chunk, Place, Tail};
use crate::types::{LeaderEpoch, LogId, Offset, SegmentBase, Timestamp};
use crate::watch::Watcher;

/// A log as its shard holds it.
pub(crate) struct LogCell {
    pub(crate) id: LogId,
    pub(crate) core: RefCell<LogCore>,
    /// Told when the flushed offset or the log start grows, or the log goes.
    watchers: Cell<Vec<Watcher>>,
}

/// Whether a log serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Serving,
    /// Its files have failed.
    Offline,
    /// Deleted, or the store is closed.
    Gone,
}

/// Whether a file of salvaged bytes is there for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Salvage {
    /// None.
    No,
    /// Written in this life, because the log went offline: the ring is not needed for it.
    Written,
    /// Of an earlier life: the log was recovered with it, and needs it until segments hold the bytes.
    Restored,
}

/// State of a log. Everything here is of the *staged* end, but for `flushed`.
pub(crate) struct LogCore {
    pub(crate) name: Rc<str>,
    pub(crate) config: Rc<LogConfig>,
    pub(crate) start: Offset,
    /// Where the log will start when the entries staged so far are durable.
    pub(crate) start_staged: Offset,
    /// Where it will end, while a truncation is on its way.
    pub(crate) truncating: Option<Offset>,
    pub(crate) end: Offset,
    /// Below it everything is durable, at `flushed_at`.
    pub(crate) flushed: Offset,
    pub(crate) flushed_at: Place,
    /// Never empty; the last is the active one.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) tail: Tail,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) producers: ProducerState,
    pub(crate) health: Health,
    /// What became of bytes that only the ring held when the files failed.
    pub(crate) salvage: Salvage,
    /// Differs from what the last checkpoint says.
    pub(crate) changed: bool,
    /// In the store's list of logs that a checkpoint looks at.
    pub(crate) listed: bool,
    /// The partial block was carried forward once and nothing came since.
    pub(crate) carried: bool,
    /// Bytes staged since writeback last went through the log: its part of the dirty budget.
    pub(crate) unhandled: u64,
    /// Changes with every truncation: who held a position across an await looks again.
    pub(crate) generation: u32,
    /// Segments out of the log whose files go after the next checkpoint.
    pub(crate) doomed: Vec<SegmentBase>,
}

/// Where and as what a batch is staged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) at: Place,
    pub(crate) base_offset: Offset,
    pub(crate) next_offset: Offset,
}

/// A batch as the log sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arriving {
    pub(crate) bytes: u64,
    pub(crate) last_offset_delta: i32,
    pub(crate) max_timestamp: Timestamp,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) producer: Option<ProducerBatch>,
}

impl LogCell {
    pub(crate) fn new(id: LogId, core: LogCore) -> Rc<Self> {
        Rc::new(Self { id, core: RefCell::new(core), watchers: Cell::default() })
    }

    /// Tells `watcher` of growth from now on.
    pub(crate) fn watch(&self, watcher: Watcher) {
        let mut watchers = self.watchers.take();
        watchers.retain(Watcher::is_wanted);
        watchers.push(watcher);
        self.watchers.set(watchers);
    }

    pub(crate) fn notify_grew(&self) {
        let mut watchers = self.watchers.take();
        if !watchers.is_empty() {
            watchers.retain(Watcher::tell);
        }
        self.watchers.set(watchers);
    }

    /// A commit with bytes of this log is on its way to disk.
    pub(crate) fn push_chunk(&self, chunk: Chunk) {
        self.core.borrow_mut().tail.push(chunk);
    }

    /// A commit is durable up to this offset and place.
    pub(crate) fn flush_to(&self, flushed: Offset, at: Place) {
        let mut core = self.core.borrow_mut();
        if core.health == Health::Gone {
            return;
        }
        assert!(core.flushed <= flushed && flushed <= core.end && core.flushed_at <= at);
        core.flushed = flushed;
        core.flushed_at = at;
        drop(core);
        self.notify_grew();
    }

    /// The commit buffer of `sequence` is given up.
    pub(crate) fn release(&self, sequence: u64) {
        let mut core = self.core.borrow_mut();
        let safe = core.unsafe_from();
        core.tail.release(sequence, safe);
    }
}

impl LogCore {
    pub(crate) fn new(name: &str, config: Rc<LogConfig>, budget: Rc<ProducerBudget>) -> Self {
        let mut segments = VecDeque::with_capacity(1);
        segments.push_back(Segment::new(SegmentBase(0)));
        Self {
            name: name.into(),
            config,
            start: Offset::ZERO,
            start_staged: Offset::ZERO,
            truncating: None,
            end: Offset::ZERO,
            flushed: Offset::ZERO,
            flushed_at: Place { segment: SegmentBase(0), position: 0 },
            segments,
            tail: Tail::default(),
            epochs: LeaderEpochs::new(),
            producers: ProducerState::new(budget),
            health: Health::Serving,
            salvage: Salvage::No,
            changed: false,
            listed: false,
            carried: false,
            unhandled: 0,
            generation: 0,
            doomed: Vec::new(),
        }
    }

    pub(crate) fn active(&self) -> &Segment {
        let Some(active) = self.segments.back() else { unreachable!("a log has an active segment") };
        active
    }

    pub(crate) fn active_mut(&mut self) -> &mut Segment {
        let Some(active) = self.segments.back_mut() else { unreachable!("a log has an active segment") };
        active
    }

    pub(crate) fn end_at(&self) -> Place {
        let active = self.active();
        Place { segment: active.base, position: active.bytes }
    }

    /// Where the bytes begin that are only in the ring and in memory.
    pub(crate) fn unsafe_from(&self) -> Place {
        let segment = self.segments.iter().find(|segment| !segment.is_safe());
        segment.unwrap_or(self.active()).unsafe_from()
    }

    /// Fixes where a batch goes, rolling the segment if it must; `None` when offsets would overflow.
    pub(crate) fn append(&mut self, arriving: &Arriving, now: Timestamp) -> Option<Slot> {
        let arrival = self.arrival(arriving, now)?;
        if self.active().must_roll(&arrival, &self.config) {
            self.roll();
        }
        Some(self.apply(arriving, arrival))
    }

    /// A batch at the log's end; `None` when its offsets would overflow.
    pub(crate) fn arrival(&self, arriving: &Arriving, now: Timestamp) -> Option<Arrival> {
        let last_offset = self.end.checked_add(i64::from(arriving.last_offset_delta))?;
        last_offset.checked_next()?;
        Some(Arrival { bytes: arriving.bytes, last_offset, max_timestamp: arriving.max_timestamp, now })
    }

    /// Counts a batch at the end of the active segment.
    pub(crate) fn apply(&mut self, arriving: &Arriving, arrival: Arrival) -> Slot {
        let base_offset = self.end;
        let next_offset = Offset(arrival.last_offset.0 + 1);
        let slot = Slot { at: self.end_at(), base_offset, next_offset };
        let interval = self.config.index_interval_bytes;
        self.active_mut().append(&arrival, interval);
        if arriving.epoch > LeaderEpoch::NONE
            && self.epochs.latest().is_none_or(|latest| latest.epoch < arriving.epoch)
        {
            self.epochs.assign(arriving.epoch, base_offset);
        }
        if let Some(producer) = &arriving.producer {
            self.producers.record(producer, base_offset, arrival.now);
        }
        self.end = next_offset;
        self.changed = true;
        self.carried = false;
        assert!(self.start <= self.flushed && self.flushed <= self.end);
        slot
    }

    /// Begins another segment at the log's end.
    pub(crate) fn roll(&mut self) {
        let base = SegmentBase::from(self.end);
        let active = self.active_mut();
        assert!(active.bytes > 0 && active.base < base);
        if let Some(indexes) = &mut active.indexes {
            indexes.times.append();
            indexes.offsets.shrink();
            indexes.times.shrink();
        }
        self.segments.push_back(Segment::new(base));
        if self.flushed == self.end {
            self.flushed_at = Place { segment: base, position: 0 };
        }
        self.changed = true;
    }

    /// The segment that holds `offset`, or the active one.
    pub(crate) fn segment_index(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base.offset() <= offset).saturating_sub(1)
    }

    /// The segment with this base.
    pub(crate) fn segment(&self, base: SegmentBase) -> Option<&Segment> {
        let index = self.segments.binary_search_by_key(&base, |segment| segment.base).ok()?;
        self.segments.get(index)
    }

    pub(crate) fn segment_mut(&mut self, base: SegmentBase) -> Option<&mut Segment> {
        let index = self.segments.binary_search_by_key(&base, |segment| segment.base).ok()?;
        self.segments.get_mut(index)
    }

    /// How far of a segment is durable, in the ring or in the file.
    pub(crate) fn flushed_bytes(&self, segment: &Segment) -> u64 {
        match segment.base.cmp(&self.flushed_at.segment) {
            std::cmp::Ordering::Less => segment.bytes,
            std::cmp::Ordering::Equal => self.flushed_at.position,
            std::cmp::Ordering::Greater => 0,
        }
    }

    /// Moves the log start to `to`, which is not above the end; whole segments below it are doomed.
    pub(crate) fn advance_start(&mut self, to: Offset) {
        if to <= self.start {
            return;
        }
        assert!(to <= self.end);
        self.start = to;
        self.start_staged = self.start_staged.max(to);
        while self.segments.len() > 1 && self.segments[0].next_offset <= to {
            if let Some(gone) = self.segments.pop_front() {
                self.doomed.push(gone.base);
            }
        }
        let first = self.segments[0].base;
        self.tail.forget_below(first);
        self.epochs.truncate_start(to);
        self.changed = true;
    }

    /// Ends the log at `to`, which begins a batch at `at` (or is the end).
    pub(crate) fn truncate(&mut self, to: Offset, at: Place) {
        assert!(self.start <= to && to <= self.end);
        while self.segments.len() > 1 && self.active().base > at.segment {
            if let Some(gone) = self.segments.pop_back() {
                self.doomed.push(gone.base);
            }
        }
        let segment = self.active_mut();
        assert!(segment.base == at.segment && at.position <= segment.bytes);
        segment.bytes = at.position;
        segment.next_offset = to;
        segment.safe = segment.safe.min(at.position);
        segment.written = segment.written.min(at.position / BLOCK * BLOCK);
        if let Some(relative) = to.relative_to(segment.base)
            && let Some(indexes) = &mut segment.indexes
        {
            indexes.offsets.truncate(relative, at.position);
            indexes.times.truncate(relative);
            indexes.recorded =
                (indexes.recorded.0.min(indexes.offsets.len()), indexes.recorded.1.min(indexes.times.len()));
        }
        if segment.largest.is_some_and(|(_, offset)| offset >= to) {
            // As the index has it, which may be a little too small; Kafka takes the same.
            let left = segment.indexes.as_ref().and_then(|indexes| indexes.times.largest());
            let base = segment.base.offset();
            segment.largest =
                left.map(|left| (left.timestamp, Offset(base.0 + i64::from(left.relative_offset))));
        }
        self.tail.truncate(at);
        self.epochs.truncate_end(to);
        self.producers.truncate(to);
        self.end = to;
        self.truncating = None;
        if self.flushed > to {
            self.flushed = to;
            self.flushed_at = at;
        }
        self.generation += 1;
        self.changed = true;
    }

    /// Bytes of all segments that hold records.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes of one segment from `from` to `to`, as far as memory has them from `from` on without a gap.
    pub(crate) fn memory(&self, segment: SegmentBase, from: u64, to: u64) -> Vec<Bytes> {
        let mut at = from;
        let mut parts = Vec::new();
        for chunk in self.tail.from(self.tail.index_of(Place { segment, position: from })) {
            if chunk.at.segment != segment || chunk.at.position > at || at >= to {
                break;
            }
            let begin = (at - chunk.at.position) as usize;
            let end = (to.min(chunk.end()) - chunk.at.position) as usize;
            if begin < end {
                parts.push(chunk.bytes.slice(begin..end));
                at += (end - begin) as u64;
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_log_costs_less_than_a_kibibyte() {
        let heap = size_of::<Segment>() + "topic-of-usual-length-17".len() + size_of::<LogConfig>();
        let total = size_of::<LogCell>() + 16 + heap;
        assert!(total < 1024, "{total} bytes");
    }
}
