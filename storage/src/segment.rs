//! One segment of a log: its span, how much of it its file holds, and when the next one begins.
//!
//! A segment begins as a decision in memory: at stage time, deterministically, so that the commit log's entries can
//! name it and its positions. Its file comes with the first writeback. `written` and `safe` say how far the file is:
//! below `written` (a multiple of the block) writes have completed, below `safe` they are synced, and `safe` may lie
//! inside the block at `written` when that block was written padded (at roll, at shutdown, or for a partition that has
//! gone quiet). Only `safe` goes into the checkpoint.

use crate::limits::BLOCK;
use crate::offset_index::{self, IndexedBatch, OffsetIndex};
use crate::options::LogConfig;
use crate::tail::Place;
use crate::time_index::{self, TimeIndex};
use crate::types::{Offset, Position, SegmentBase, Timestamp};

/// Both indexes of a segment that is not finished, and how much of them the last checkpoint holds.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
    /// Entries of both that are in the checkpoint.
    pub(crate) recorded: (usize, usize),
}

/// One segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: SegmentBase,
    /// Bytes staged.
    pub(crate) bytes: u64,
    /// Offset after the last batch.
    pub(crate) next_offset: Offset,
    /// Largest timestamp of the first batch: from it `segment.ms` counts.
    pub(crate) first_timestamp: Timestamp,
    /// Largest timestamp and the last offset of the batch that brought it.
    pub(crate) largest: Option<(Timestamp, Offset)>,
    /// By the broker's clock: the first append since the segment began or was recovered, and the last. A segment
    /// whose records have no timestamps rolls by the one and ages by the other, as Kafka's do by their files' times.
    pub(crate) opened: Timestamp,
    pub(crate) touched: Timestamp,
    /// Writes below are complete; a multiple of the block.
    pub(crate) written: u64,
    /// Bytes below are durable in the file.
    pub(crate) safe: u64,
    /// Bytes of space reserved for the file.
    pub(crate) allocated: u64,
    /// Until the segment is finished: afterwards they are in files.
    pub(crate) indexes: Option<Box<Indexes>>,
}

/// A batch about to be appended, as the rules of rolling see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) bytes: u64,
    pub(crate) last_offset: Offset,
    pub(crate) max_timestamp: Timestamp,
    /// The broker's clock.
    pub(crate) now: Timestamp,
}

impl Segment {
    pub(crate) fn new(base: SegmentBase) -> Self {
        Self {
            base,
            bytes: 0,
            next_offset: base.offset(),
            first_timestamp: Timestamp::NONE,
            largest: None,
            opened: Timestamp::NONE,
            touched: Timestamp::NONE,
            written: 0,
            safe: 0,
            allocated: 0,
            indexes: None,
        }
    }

    /// Whether `arrival` must begin another segment; Kafka's conditions (`LogSegment.shouldRoll`), by the batches'
    /// timestamps where they have them, else by the broker's clock.
    pub(crate) fn must_roll(&self, arrival: &Arrival, config: &LogConfig) -> bool {
        if self.bytes == 0 {
            return false;
        }
        let age = if self.first_timestamp > Timestamp::NONE {
            arrival.max_timestamp.saturating_ms_since(self.first_timestamp)
        } else if self.opened > Timestamp::NONE {
            arrival.now.saturating_ms_since(self.opened)
        } else {
            0
        };
        let aged = age > config.segment_ms;
        let full = self.bytes + arrival.bytes > config.segment_bytes;
        let unindexable =
            IndexedBatch::new(self.base, arrival.last_offset, Position(self.bytes), 0).is_none();
        let indexes_full = self.indexes.as_ref().is_some_and(|indexes| {
            indexes.offsets.len() >= offset_index::capacity(config.segment_index_bytes).max(1)
                || indexes.times.len() >= time_index::capacity(config.segment_index_bytes).max(1)
        });
        aged || full || unindexable || indexes_full
    }

    /// Counts and indexes a batch at the end.
    pub(crate) fn append(&mut self, arrival: &Arrival, interval_bytes: u32) {
        let position = Position(self.bytes);
        let batch = IndexedBatch::new(self.base, arrival.last_offset, position, arrival.bytes as u32);
        // A batch that opens a segment fits its index, and any other was asked about with `must_roll`.
        assert!(batch.is_some() || self.bytes == 0);
        if let Some(batch) = batch {
            let indexes = self.indexes.get_or_insert_default();
            indexes.times.observe(arrival.max_timestamp, batch.last_relative_offset);
            if indexes.offsets.append(batch, interval_bytes) {
                indexes.times.append();
            }
        }
        if self.bytes == 0 {
            self.first_timestamp = arrival.max_timestamp;
        }
        if self.opened == Timestamp::NONE {
            self.opened = arrival.now;
        }
        self.touched = arrival.now;
        if arrival.max_timestamp > self.largest.map_or(Timestamp::NONE, |(timestamp, _)| timestamp) {
            self.largest = Some((arrival.max_timestamp, arrival.last_offset));
        }
        self.bytes += arrival.bytes;
        self.next_offset = Offset(arrival.last_offset.0 + 1);
    }

    /// Where the bytes begin that are only in the ring and in memory.
    pub(crate) fn unsafe_from(&self) -> Place {
        Place { segment: self.base, position: self.safe }
    }

    /// All bytes are durable in the file.
    pub(crate) fn is_safe(&self) -> bool {
        self.safe == self.bytes
    }

    /// Notes that writes up to `written` are complete.
    pub(crate) fn advance_written(&mut self, written: u64) {
        assert!(written.is_multiple_of(BLOCK) && written >= self.written);
        self.written = written;
    }

    /// A sync of what was written has failed: nothing of it is believed, all of it is written again.
    pub(crate) fn write_again(&mut self) {
        self.written = self.safe / BLOCK * BLOCK;
    }

    /// Notes that bytes up to `safe` are durable.
    pub(crate) fn advance_safe(&mut self, safe: u64) {
        assert!(safe <= self.bytes);
        self.safe = self.safe.max(safe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(bytes: u64, last_offset: i64, timestamp: i64) -> Arrival {
        Arrival {
            bytes,
            last_offset: Offset(last_offset),
            max_timestamp: Timestamp(timestamp),
            now: Timestamp(0),
        }
    }

    #[test]
    fn a_segment_rolls_by_size_time_and_offset_but_never_when_empty() {
        let config = LogConfig { segment_bytes: 1000, segment_ms: 100, ..LogConfig::default() };
        let mut segment = Segment::new(SegmentBase(0));
        assert!(!segment.must_roll(&arrival(5000, 0, 0), &config), "one batch always fits");
        segment.append(&arrival(900, 0, 50), 4096);
        assert!(!segment.must_roll(&arrival(100, 1, 150), &config));
        assert!(segment.must_roll(&arrival(101, 1, 150), &config), "size");
        assert!(segment.must_roll(&arrival(1, 1, 151), &config), "time");
        assert!(segment.must_roll(&arrival(1, 1 << 31, 60), &config), "offset");
    }

    #[test]
    fn a_segment_without_timestamps_rolls_by_the_brokers_clock() {
        let config = LogConfig { segment_ms: 100, ..LogConfig::default() };
        let at = |now: i64, last_offset: i64| Arrival { now: Timestamp(now), ..arrival(10, last_offset, -1) };
        let mut segment = Segment::new(SegmentBase(0));
        segment.append(&at(5_000, 0), 4096);
        segment.append(&at(5_050, 1), 4096);
        assert!(!segment.must_roll(&at(5_100, 2), &config));
        assert!(segment.must_roll(&at(5_101, 2), &config), "counted from the first append");
        let recovered = Segment { opened: Timestamp::NONE, ..segment };
        assert!(!recovered.must_roll(&at(9_000, 2), &config), "a recovered segment begins anew, as in Kafka");
    }

    #[test]
    fn the_struct_of_a_segment_stays_small() {
        assert!(size_of::<Segment>() <= 128, "{}", size_of::<Segment>());
    }
}
