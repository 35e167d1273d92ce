//! Sparse index of one segment: relative offset → position of its batch.
//!
//! A reader asks for the floor of its offset, gets a position at or before the batch that holds it, and walks batch
//! headers from there: never more than about `index.interval.bytes` of them. An entry is (last offset of a batch,
//! position of that batch's first byte), as Kafka writes it, made when more than the interval was appended since
//! the entry before; so a small segment has no entry, and no entry means no allocation.
//!
//! The byte image is Kafka's `.index` file: eight bytes an entry, big endian, relative offset then position, both
//! strictly ascending and at most `i32::MAX`. Nothing here does I/O. An index can always be rebuilt from its
//! segment, so bad bytes are a [`Corrupt`] for the caller to answer by rebuilding, and never a panic.

use crate::corrupt::{Corrupt, split_array};
use crate::types::{Offset, Position, SegmentBase};

/// Bytes of one entry in the file.
pub const ENTRY_BYTES: usize = 8;

/// What the structure is called in errors.
const WHAT: &str = "offset index";

/// One entry: the batch that ends at `relative_offset` starts at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Last offset of the batch, counted from the segment's base.
    pub relative_offset: u32,
    /// First byte of the batch in the segment's file.
    pub position: u32,
}

/// A batch just appended to a segment, as both indexes see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedBatch {
    /// Its last offset, counted from the segment's base.
    pub last_relative_offset: u32,
    /// Its first byte in the segment's file.
    pub position: u32,
    /// Its length in bytes.
    pub len: u32,
}

impl IndexedBatch {
    /// A batch that ends at `last_offset` and lies at `position`, seen from its segment.
    ///
    /// `None` when either does not fit a Kafka index entry (31 bits): the segment must be rolled first.
    pub fn new(base: SegmentBase, last_offset: Offset, position: Position, len: u32) -> Option<Self> {
        let last_relative_offset = last_offset.relative_to(base)?;
        let position = u32::try_from(position.0).ok().filter(|p| i32::try_from(*p).is_ok())?;
        Some(Self { last_relative_offset, position, len })
    }
}

/// What the entries of a segment's index must lie within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexBounds {
    /// Bytes of the segment: every position is below.
    pub segment_bytes: u64,
    /// Offsets that the segment spans, from its base to its end: every relative offset is below.
    pub offset_span: u64,
}

/// The offset index of one segment, in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetIndex {
    entries: Vec<IndexEntry>,
    /// Bytes appended to the segment since the newest entry (the batch of that entry included).
    bytes_since_entry: u32,
}

/// How many entries `segment.index.bytes` allows; a segment whose index holds as many is rolled.
pub fn capacity(segment_index_bytes: u32) -> usize {
    segment_index_bytes as usize / ENTRY_BYTES
}

impl OffsetIndex {
    /// The index of an empty segment. Allocates nothing.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), bytes_since_entry: 0 }
    }

    /// Counts a batch and indexes it when more than `interval_bytes` came since the newest entry; says whether it
    /// did, which is also when the time index takes an entry.
    ///
    /// Batches must come in the order of the segment: that is asserted against the newest entry.
    pub fn append(&mut self, batch: IndexedBatch, interval_bytes: u32) -> bool {
        if let Some(newest) = self.entries.last() {
            assert!(newest.relative_offset < batch.last_relative_offset && newest.position < batch.position);
        }
        let due = self.bytes_since_entry > interval_bytes;
        if due {
            self.entries
                .push(IndexEntry { relative_offset: batch.last_relative_offset, position: batch.position });
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(batch.len);
        due
    }

    /// Where to start looking for `relative_offset`: the position of the last indexed batch that ends at or below
    /// it, or the segment's start. The batch that holds the offset is never before that position.
    pub fn floor(&self, relative_offset: u32) -> Position {
        let above = self.entries.partition_point(|entry| entry.relative_offset <= relative_offset);
        self.entries[..above].last().map_or(Position::ZERO, |entry| Position(u64::from(entry.position)))
    }

    /// Where a walk that started at or before `position` may stop: the first indexed position above it.
    pub fn next_position(&self, position: Position) -> Option<Position> {
        let above = self.entries.partition_point(|entry| u64::from(entry.position) <= position.0);
        self.entries.get(above).map(|entry| Position(u64::from(entry.position)))
    }

    /// Forgets the batches that end at `relative_offset` or later: the segment now ends below it, at
    /// `segment_bytes`.
    pub fn truncate(&mut self, relative_offset: u32, segment_bytes: u64) {
        let kept = self.entries.partition_point(|entry| {
            entry.relative_offset < relative_offset && u64::from(entry.position) < segment_bytes
        });
        self.entries.truncate(kept);
        let newest = self.entries.last().map_or(0, |entry| u64::from(entry.position));
        self.bytes_since_entry = u32::try_from(segment_bytes.saturating_sub(newest)).unwrap_or(u32::MAX);
        if self.entries.is_empty() {
            self.entries = Vec::new();
        }
    }

    /// Gives back memory kept for growth; for a segment that is rolled.
    pub fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// The entries, ascending.
    pub fn entries(&self) -> &[IndexEntry] {
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
        self.entries.capacity() * size_of::<IndexEntry>()
    }

    /// Appends the `.index` image to `out`: [`ENTRY_BYTES`] per entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            out.extend_from_slice(&entry.relative_offset.to_be_bytes());
            out.extend_from_slice(&entry.position.to_be_bytes());
        }
    }

    /// The index whose `.index` image is `bytes`, for a segment within `bounds`.
    ///
    /// Fails when the length is no multiple of [`ENTRY_BYTES`], an entry does not ascend or lies outside.
    /// Allocates what the entries at hand need.
    pub fn decode(mut bytes: &[u8], bounds: IndexBounds) -> Result<Self, Corrupt> {
        let corrupt = |entry, why| Corrupt { what: WHAT, entry, why };
        if !bytes.len().is_multiple_of(ENTRY_BYTES) {
            return Err(corrupt(bytes.len() / ENTRY_BYTES, "the last entry is cut"));
        }
        let mut entries: Vec<IndexEntry> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
        while let Some((relative_offset, rest)) = split_array::<4>(bytes) {
            let Some((position, rest)) = split_array::<4>(rest) else { break };
            bytes = rest;
            let entry = IndexEntry {
                relative_offset: u32::from_be_bytes(relative_offset),
                position: u32::from_be_bytes(position),
            };
            let place = entries.len();
            let outside = u64::from(entry.position) >= bounds.segment_bytes
                || u64::from(entry.relative_offset) >= bounds.offset_span
                || i32::try_from(entry.relative_offset.max(entry.position)).is_err();
            if outside {
                return Err(corrupt(place, "outside of its segment"));
            }
            let ascends = entries.last().is_none_or(|newest| {
                newest.relative_offset < entry.relative_offset && newest.position < entry.position
            });
            if !ascends {
                return Err(corrupt(place, "not above the entry before"));
            }
            entries.push(entry);
        }
        let newest = entries.last().map_or(0, |entry| u64::from(entry.position));
        let bytes_since_entry = u32::try_from(bounds.segment_bytes - newest).unwrap_or(u32::MAX);
        Ok(Self { entries, bytes_since_entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::{Random, SEEDS};

    const INTERVAL: u32 = 4096;

    /// A segment of random batches, with its index.
    fn random_segment(random: &mut Random) -> (Vec<IndexedBatch>, OffsetIndex, IndexBounds) {
        let (mut batches, mut index) = (Vec::new(), OffsetIndex::new());
        let (mut offset, mut position) = (0u32, 0u32);
        for _ in 0..random.below(300) {
            let len = 61 + random.below(3000) as u32;
            let last_relative_offset = offset + random.below(50) as u32;
            let batch = IndexedBatch { last_relative_offset, position, len };
            index.append(batch, INTERVAL);
            batches.push(batch);
            offset = last_relative_offset + 1 + random.below(3) as u32;
            position += len;
        }
        let bounds = IndexBounds { segment_bytes: u64::from(position), offset_span: u64::from(offset) };
        (batches, index, bounds)
    }

    #[test]
    fn an_empty_index_owns_no_memory() {
        let index = OffsetIndex::new();
        assert_eq!(index.heap_bytes(), 0);
        assert_eq!(index.floor(17), Position::ZERO);
        assert_eq!(index.next_position(Position::ZERO), None);
    }

    #[test]
    fn an_entry_is_made_when_more_than_the_interval_was_appended() {
        let mut index = OffsetIndex::new();
        let batch = |last, position| IndexedBatch { last_relative_offset: last, position, len: 4096 };
        assert!(!index.append(batch(0, 0), INTERVAL));
        assert!(!index.append(batch(1, 4096), INTERVAL), "4096 is not more than 4096");
        assert!(index.append(batch(2, 8192), INTERVAL));
        assert_eq!(index.entries(), [IndexEntry { relative_offset: 2, position: 8192 }]);
    }

    #[test]
    fn the_floor_is_never_after_the_batch_that_holds_the_offset_and_close_to_it() {
        for seed in SEEDS {
            let (batches, index, _) = random_segment(&mut Random::new(seed));
            for batch in &batches {
                let floor = index.floor(batch.last_relative_offset).0;
                assert!(floor <= u64::from(batch.position), "seed {seed}");
                let walked = u64::from(batch.position) - floor;
                assert!(walked <= u64::from(INTERVAL) + 2 * 3061, "seed {seed}: {walked} bytes to walk");
                assert!(
                    index.next_position(Position(floor)).is_none_or(|next| next.0 > floor),
                    "seed {seed}"
                );
            }
        }
    }

    #[test]
    fn an_index_survives_its_byte_image() {
        for seed in SEEDS {
            let (_, index, bounds) = random_segment(&mut Random::new(seed));
            let mut bytes = Vec::new();
            index.encode(&mut bytes);
            assert_eq!(bytes.len(), index.len() * ENTRY_BYTES);
            let back = OffsetIndex::decode(&bytes, bounds).expect("our own bytes");
            assert_eq!(back, index, "seed {seed}");
        }
    }

    #[test]
    fn the_image_is_kafkas() {
        let index = OffsetIndex {
            entries: vec![IndexEntry { relative_offset: 0x0102, position: 0x0304_0506 }],
            bytes_since_entry: 0,
        };
        let mut bytes = Vec::new();
        index.encode(&mut bytes);
        assert_eq!(bytes, [0, 0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn truncating_forgets_what_ends_at_the_offset_or_later_and_appending_goes_on_as_if_never_written() {
        for seed in SEEDS {
            let mut random = Random::new(seed);
            let (batches, mut index, _) = random_segment(&mut random);
            if batches.is_empty() {
                continue;
            }
            let kept = random.below(batches.len() as u64) as usize;
            let cut = batches[kept];
            index.truncate(cut.last_relative_offset, u64::from(cut.position));
            let mut expected = OffsetIndex::new();
            for batch in &batches[..kept] {
                expected.append(*batch, INTERVAL);
            }
            assert_eq!(index, expected, "seed {seed}");
        }
    }

    #[test]
    fn bytes_that_do_not_ascend_or_lie_outside_are_refused() {
        let bounds = IndexBounds { segment_bytes: 1000, offset_span: 10 };
        let image = |entries: &[(u32, u32)]| {
            entries
                .iter()
                .flat_map(|(o, p)| [o.to_be_bytes(), p.to_be_bytes()])
                .flatten()
                .collect::<Vec<u8>>()
        };
        let why = |entries: &[(u32, u32)]| {
            OffsetIndex::decode(&image(entries), bounds).map_err(|e| (e.entry, e.why))
        };
        assert!(why(&[(1, 100), (2, 200)]).is_ok());
        assert_eq!(why(&[(1, 100), (1, 200)]), Err((1, "not above the entry before")));
        assert_eq!(why(&[(1, 100), (2, 100)]), Err((1, "not above the entry before")));
        assert_eq!(why(&[(1, 1000)]), Err((0, "outside of its segment")));
        assert_eq!(why(&[(10, 100)]), Err((0, "outside of its segment")));
        assert_eq!(why(&[(u32::MAX, u32::MAX)]), Err((0, "outside of its segment")));
        let cut = OffsetIndex::decode(&image(&[(1, 100)])[..7], bounds);
        assert_eq!(cut, Err(Corrupt { what: WHAT, entry: 0, why: "the last entry is cut" }));
    }

    #[test]
    fn random_bytes_never_panic() {
        for seed in SEEDS {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
            let bounds = IndexBounds { segment_bytes: random.next(), offset_span: random.next() };
            if let Ok(index) = OffsetIndex::decode(&bytes, bounds) {
                assert_eq!(index.len(), bytes.len() / ENTRY_BYTES);
            }
        }
    }

    #[test]
    fn what_does_not_fit_31_bits_asks_for_another_segment() {
        let base = SegmentBase(10);
        assert!(IndexedBatch::new(base, Offset(9), Position(0), 61).is_none());
        assert!(IndexedBatch::new(base, Offset(10), Position(1 << 31), 61).is_none());
        assert!(IndexedBatch::new(base, Offset(10 + (1 << 31)), Position(0), 61).is_none());
        let fits = IndexedBatch::new(base, Offset(9 + (1 << 31)), Position((1 << 31) - 1), 61);
        assert_eq!(fits.map(|b| b.position), Some(i32::MAX as u32));
    }

    #[test]
    fn segment_index_bytes_bounds_the_entries() {
        assert_eq!(capacity(10_485_760), 1_310_720);
        assert_eq!(capacity(7), 0);
    }
}
