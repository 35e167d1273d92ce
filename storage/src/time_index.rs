//! Sparse index of one segment by time: largest timestamp so far → the offset that has it.
//!
//! An entry (T, o) says: up to and with offset o no record of this segment is newer than T, and the batch that ends
//! at o has it. So the first record at or after a time T' lies behind the newest entry with a timestamp below T'.
//! Timestamps are the clients' and go back and forth; only the running maximum is indexed, so entries ascend.
//!
//! The running maximum is kept here, batch by batch ([`TimeIndex::observe`]), and becomes an entry when the offset
//! index takes one and when the segment is rolled ([`TimeIndex::append`]), if it grew since. The byte image is
//! Kafka's `.timeindex` file: twelve bytes an entry, big endian, timestamp then relative offset.

use crate::corrupt::{Corrupt, split_array};
use crate::types::Timestamp;

/// Bytes of one entry in the file.
pub const ENTRY_BYTES: usize = 12;

/// What the structure is called in errors.
const WHAT: &str = "time index";

/// A timestamp and the offset, counted from the segment's base, of the batch that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// The largest timestamp of the segment up to that offset.
    pub timestamp: Timestamp,
    /// The offset, counted from the segment's base.
    pub relative_offset: u32,
}

/// The time index of one segment, in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeIndex {
    entries: Vec<TimeEntry>,
    largest: Option<TimeEntry>,
}

/// How many entries `segment.index.bytes` allows before the segment is rolled: one less than fit, because rolling
/// appends one more.
pub fn capacity(segment_index_bytes: u32) -> usize {
    (segment_index_bytes as usize / ENTRY_BYTES).saturating_sub(1)
}

impl TimeIndex {
    /// The index of an empty segment. Allocates nothing.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), largest: None }
    }

    /// Takes note of a batch: its largest timestamp and the offset to answer for it, which is not below those seen
    /// before. Equal timestamps keep the first offset; batches without timestamp change nothing.
    pub fn observe(&mut self, timestamp: Timestamp, relative_offset: u32) {
        if timestamp > self.largest.map_or(Timestamp::NONE, |largest| largest.timestamp) {
            self.largest = Some(TimeEntry { timestamp, relative_offset });
        }
    }

    /// Makes the running maximum an entry if it grew since the newest one; says whether it did.
    ///
    /// Called when the offset index takes an entry, and when the segment is rolled.
    pub fn append(&mut self) -> bool {
        let Some(largest) = self.largest else { return false };
        let newest = self.entries.last();
        if newest.is_some_and(|newest| newest.timestamp >= largest.timestamp) {
            return false;
        }
        assert!(newest.is_none_or(|newest| newest.relative_offset < largest.relative_offset));
        self.entries.push(largest);
        true
    }

    /// The largest timestamp of the segment and the first batch that has it; `None` when no batch has one.
    pub fn largest(&self) -> Option<TimeEntry> {
        self.largest
    }

    /// Where to start looking for the first record at or after `timestamp`: the newest entry at or below it.
    ///
    /// `None` means the segment's start. No record before the entry's offset is newer than the entry, and the
    /// entry's own offset may be the answer when the timestamps are equal.
    pub fn floor(&self, timestamp: Timestamp) -> Option<TimeEntry> {
        let above = self.entries.partition_point(|entry| entry.timestamp <= timestamp);
        self.entries[..above].last().copied()
    }

    /// Forgets the entries at `relative_offset` or later: the segment now ends below it.
    ///
    /// The running maximum falls back to the newest entry kept, when it lay in what is gone. It may then be too
    /// small by the batches between that entry and the end, as after decoding: who needs it exact walks their
    /// headers and calls [`TimeIndex::observe`].
    pub fn truncate(&mut self, relative_offset: u32) {
        let kept = self.entries.partition_point(|entry| entry.relative_offset < relative_offset);
        self.entries.truncate(kept);
        if self.largest.is_some_and(|largest| largest.relative_offset >= relative_offset) {
            self.largest = self.entries.last().copied();
        }
        if self.entries.is_empty() {
            self.entries = Vec::new();
        }
    }

    /// Gives back memory kept for growth; for a segment that is rolled.
    pub fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// The entries, ascending.
    pub fn entries(&self) -> &[TimeEntry] {
        &self.entries
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<TimeEntry>()
    }

    /// Appends the `.timeindex` image to `out`: [`ENTRY_BYTES`] per entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            out.extend_from_slice(&entry.timestamp.0.to_be_bytes());
            out.extend_from_slice(&entry.relative_offset.to_be_bytes());
        }
    }

    /// The index whose `.timeindex` image is `bytes`, for a segment that spans `offset_span` offsets.
    ///
    /// Fails when the length is no multiple of [`ENTRY_BYTES`], an entry does not ascend, has no timestamp or lies
    /// outside. The running maximum is the newest entry: exact for a rolled segment, see [`TimeIndex::truncate`]
    /// for an active one.
    pub fn decode(mut bytes: &[u8], offset_span: u64) -> Result<Self, Corrupt> {
        let corrupt = |entry, why| Corrupt { what: WHAT, entry, why };
        if !bytes.len().is_multiple_of(ENTRY_BYTES) {
            return Err(corrupt(bytes.len() / ENTRY_BYTES, "the last entry is cut"));
        }
        let mut entries: Vec<TimeEntry> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
        while let Some((timestamp, rest)) = split_array::<8>(bytes) {
            let Some((relative_offset, rest)) = split_array::<4>(rest) else { break };
            bytes = rest;
            let entry = TimeEntry {
                timestamp: Timestamp(i64::from_be_bytes(timestamp)),
                relative_offset: u32::from_be_bytes(relative_offset),
            };
            let place = entries.len();
            if u64::from(entry.relative_offset) >= offset_span
                || i32::try_from(entry.relative_offset).is_err()
            {
                return Err(corrupt(place, "outside of its segment"));
            }
            if entry.timestamp <= Timestamp::NONE {
                return Err(corrupt(place, "no timestamp"));
            }
            let ascends = entries.last().is_none_or(|newest| {
                newest.timestamp < entry.timestamp && newest.relative_offset < entry.relative_offset
            });
            if !ascends {
                return Err(corrupt(place, "not above the entry before"));
            }
            entries.push(entry);
        }
        let largest = entries.last().copied();
        Ok(Self { entries, largest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::{Random, SEEDS};

    /// Batches of random timestamps, about every fourth indexed.
    fn random_segment(random: &mut Random) -> (Vec<TimeEntry>, TimeIndex) {
        let (mut batches, mut index) = (Vec::new(), TimeIndex::new());
        let mut relative_offset = 0;
        for _ in 0..random.below(200) {
            let timestamp = Timestamp(random.below(500) as i64 - 1);
            index.observe(timestamp, relative_offset);
            batches.push(TimeEntry { timestamp, relative_offset });
            if random.one_in(4) {
                index.append();
            }
            relative_offset += 1 + random.below(20) as u32;
        }
        index.append();
        (batches, index)
    }

    #[test]
    fn an_empty_index_owns_no_memory() {
        let mut index = TimeIndex::new();
        assert_eq!(index.heap_bytes(), 0);
        assert!(!index.append());
        assert_eq!(index.largest(), None);
        assert_eq!(index.floor(Timestamp(5)), None);
    }

    #[test]
    fn only_a_grown_maximum_becomes_an_entry() {
        let mut index = TimeIndex::new();
        index.observe(Timestamp(50), 3);
        assert!(index.append());
        assert!(!index.append(), "nothing new");
        index.observe(Timestamp(40), 5);
        index.observe(Timestamp(50), 7);
        assert!(!index.append(), "not larger");
        index.observe(Timestamp(51), 9);
        assert!(index.append());
        let entries: Vec<_> = index.entries().iter().map(|e| (e.timestamp.0, e.relative_offset)).collect();
        assert_eq!(entries, [(50, 3), (51, 9)]);
    }

    #[test]
    fn a_batch_without_timestamp_is_not_the_largest() {
        let mut index = TimeIndex::new();
        index.observe(Timestamp::NONE, 0);
        assert_eq!(index.largest(), None);
        index.observe(Timestamp(0), 1);
        assert_eq!(index.largest(), Some(TimeEntry { timestamp: Timestamp(0), relative_offset: 1 }));
    }

    #[test]
    fn nothing_at_or_after_a_time_lies_before_the_floor() {
        for seed in SEEDS {
            let (batches, index) = random_segment(&mut Random::new(seed));
            for wanted in (0..501).map(Timestamp) {
                let start = index.floor(wanted).map_or(0, |entry| entry.relative_offset);
                let first = batches.iter().find(|batch| batch.timestamp >= wanted);
                assert!(
                    first.is_none_or(|first| first.relative_offset >= start),
                    "seed {seed} time {wanted}"
                );
            }
            let largest = batches.iter().map(|b| b.timestamp).max().filter(|t| *t > Timestamp::NONE);
            assert_eq!(index.largest().map(|e| e.timestamp), largest, "seed {seed}");
        }
    }

    #[test]
    fn an_index_survives_its_byte_image() {
        for seed in SEEDS {
            let (batches, index) = random_segment(&mut Random::new(seed));
            let mut bytes = Vec::new();
            index.encode(&mut bytes);
            let span = batches.last().map_or(0, |b| u64::from(b.relative_offset) + 1);
            assert_eq!(TimeIndex::decode(&bytes, span), Ok(index), "seed {seed}");
        }
    }

    #[test]
    fn the_image_is_kafkas() {
        let mut index = TimeIndex::new();
        index.observe(Timestamp(0x0102), 0x0304);
        index.append();
        let mut bytes = Vec::new();
        index.encode(&mut bytes);
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4]);
    }

    #[test]
    fn truncating_leaves_no_trace_of_what_is_gone() {
        for seed in SEEDS {
            let mut random = Random::new(seed);
            let (batches, mut index) = random_segment(&mut random);
            let Some(last) = batches.last() else { continue };
            let cut = random.below(u64::from(last.relative_offset) + 2) as u32;
            let before = index.entries().to_vec();
            index.truncate(cut);
            let kept: Vec<_> = before.into_iter().filter(|entry| entry.relative_offset < cut).collect();
            assert_eq!(index.entries(), kept, "seed {seed}");
            assert!(index.largest().is_none_or(|largest| largest.relative_offset < cut), "seed {seed}");
        }
    }

    #[test]
    fn bytes_that_do_not_ascend_or_lie_outside_are_refused() {
        let image = |entries: &[(i64, u32)]| {
            let mut bytes = Vec::new();
            for (timestamp, offset) in entries {
                bytes.extend_from_slice(&timestamp.to_be_bytes());
                bytes.extend_from_slice(&offset.to_be_bytes());
            }
            bytes
        };
        let why =
            |entries: &[(i64, u32)]| TimeIndex::decode(&image(entries), 10).map_err(|e| (e.entry, e.why));
        assert!(why(&[(1, 1), (2, 2)]).is_ok());
        assert_eq!(why(&[(1, 1), (1, 2)]), Err((1, "not above the entry before")));
        assert_eq!(why(&[(1, 1), (2, 1)]), Err((1, "not above the entry before")));
        assert_eq!(why(&[(1, 10)]), Err((0, "outside of its segment")));
        assert_eq!(why(&[(-1, 1)]), Err((0, "no timestamp")));
        assert!(TimeIndex::decode(&image(&[(1, 1)])[..11], 10).is_err());
    }

    #[test]
    fn random_bytes_never_panic() {
        for seed in SEEDS {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
            if let Ok(index) = TimeIndex::decode(&bytes, random.next()) {
                assert_eq!(index.len(), bytes.len() / ENTRY_BYTES);
            }
        }
    }

    #[test]
    fn the_last_slot_is_kept_for_rolling() {
        assert_eq!(capacity(10_485_760), 873_812);
        assert_eq!(capacity(0), 0);
    }
}
