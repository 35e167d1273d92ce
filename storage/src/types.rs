//! The integers of storage, each with its meaning in its type.
//!
//! An [`Offset`] counts records in a log, a [`Position`] counts bytes in a segment file; mixing them up is the
//! classic bug of a log, so the compiler keeps them apart. The widths and signs are Kafka's, because these values
//! travel in its protocol; the special values (`-1` for "none") are constants here and never bare numbers elsewhere.
//!
//! Arithmetic with numbers that come from bytes is checked (`checked_add`, `checked_next`); `since` and friends
//! answer `None` where the difference does not fit. Only [`Sequence`] wraps, as the protocol says it does.

use std::fmt;

/// Defines a newtype over one integer, ordered and printed as that integer.
macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl $name {
            /// The integer itself, as it travels in the protocol or lies on disk.
            #[inline]
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$int> for $name {
            fn from(value: $int) -> Self {
                Self(value)
            }
        }

        impl From<$name> for $int {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

newtype! {
    /// Place of a record in a partition's log, from 0. Printed as a number.
    Offset(i64)
}
newtype! {
    /// Place of a byte in a segment file, from 0.
    Position(u64)
}
newtype! {
    /// First offset of a segment: the name of its files and the zero of the relative offsets in its indexes.
    SegmentBase(i64)
}
newtype! {
    /// Number of a partition's leadership; it grows with every change of leader (KIP-101).
    LeaderEpoch(i32)
}
newtype! {
    /// Identity of one partition instance on this node; never reused, also not by a topic of the same name.
    LogId(u64)
}
newtype! {
    /// Identity of an idempotent producer (KIP-98); negative means the batch has none.
    ProducerId(i64)
}
newtype! {
    /// Incarnation of a producer id: a higher one fences a lower one.
    ProducerEpoch(i16)
}
newtype! {
    /// Sequence number of a record of one producer epoch in one partition: from 0 to `i32::MAX`, then 0 again.
    Sequence(i32)
}
newtype! {
    /// Milliseconds since the Unix epoch, UTC; −1 means the record has none.
    Timestamp(i64)
}

impl Offset {
    /// Start of every log.
    pub const ZERO: Offset = Offset(0);
    /// "No offset" in the protocol's answers.
    pub const NONE: Offset = Offset(-1);
    /// Larger than any offset that a record can have.
    pub const MAX: Offset = Offset(i64::MAX);

    /// This offset moved up by `count` records; `None` when that does not fit or `count` is negative.
    #[inline]
    pub fn checked_add(self, count: i64) -> Option<Offset> {
        if count < 0 { None } else { self.0.checked_add(count).map(Offset) }
    }

    /// The offset of the next record; `None` after `i64::MAX`.
    #[inline]
    pub fn checked_next(self) -> Option<Offset> {
        self.0.checked_add(1).map(Offset)
    }

    /// Records from `earlier` up to this one; `None` when `earlier` is larger or the distance does not fit.
    #[inline]
    pub fn since(self, earlier: Offset) -> Option<u64> {
        if self < earlier { None } else { Some(self.0.wrapping_sub(earlier.0) as u64) }
    }

    /// This offset counted from the base of its segment; `None` when it lies below or does not fit Kafka's
    /// index entries, whose relative offsets end at `i32::MAX`.
    #[inline]
    pub fn relative_to(self, base: SegmentBase) -> Option<u32> {
        let relative = self.since(base.offset())?;
        u32::try_from(relative).ok().filter(|relative| i32::try_from(*relative).is_ok())
    }
}

impl Position {
    /// Start of a file.
    pub const ZERO: Position = Position(0);

    /// This position moved up by `bytes`; `None` when that does not fit.
    #[inline]
    pub fn checked_add(self, bytes: u64) -> Option<Position> {
        self.0.checked_add(bytes).map(Position)
    }

    /// Bytes from `earlier` up to this one; `None` when `earlier` is larger.
    #[inline]
    pub fn since(self, earlier: Position) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// This position rounded down to a multiple of `block`, which must be a power of two.
    #[must_use]
    #[inline]
    pub fn align_down(self, block: u64) -> Position {
        assert!(block.is_power_of_two());
        Position(self.0 & !(block - 1))
    }

    /// This position rounded up to a multiple of `block`, a power of two; `None` when that does not fit.
    #[inline]
    pub fn align_up(self, block: u64) -> Option<Position> {
        self.0.checked_add(block - 1).map(|end| Position(end).align_down(block))
    }
}

impl SegmentBase {
    /// The same number as the offset that it is.
    #[inline]
    pub const fn offset(self) -> Offset {
        Offset(self.0)
    }

    /// The offset of an index entry; `None` when it does not fit.
    #[inline]
    pub fn absolute(self, relative: u32) -> Option<Offset> {
        self.0.checked_add(i64::from(relative)).map(Offset)
    }

    /// Stem of the segment's file names, as Kafka's: twenty digits.
    pub fn file_stem(self) -> String {
        format!("{:020}", self.0)
    }
}

impl From<Offset> for SegmentBase {
    fn from(offset: Offset) -> Self {
        SegmentBase(offset.0)
    }
}

impl LeaderEpoch {
    /// "No epoch", as in batches from before epochs and in the protocol's answers.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}

impl ProducerId {
    /// "No producer id": the batch is not idempotent.
    pub const NONE: ProducerId = ProducerId(-1);

    /// Whether a batch with this id takes part in idempotence.
    #[inline]
    pub const fn is_some(self) -> bool {
        self.0 >= 0
    }
}

impl ProducerEpoch {
    /// "No epoch": the batch is not idempotent.
    pub const NONE: ProducerEpoch = ProducerEpoch(-1);
}

impl Sequence {
    /// The first sequence of a producer epoch.
    pub const ZERO: Sequence = Sequence(0);
    /// "No sequence": the batch is not idempotent, or carries only control records.
    pub const NONE: Sequence = Sequence(-1);

    /// The sequence `count` records later: after `i32::MAX` comes 0, as in Kafka.
    ///
    /// Both sides must be non-negative; a batch from outside is checked before it comes here.
    #[must_use]
    #[inline]
    pub fn wrapping_add(self, count: i32) -> Sequence {
        assert!(self.0 >= 0 && count >= 0);
        Sequence(((i64::from(self.0) + i64::from(count)) & i64::from(i32::MAX)) as i32)
    }

    /// The sequence `count` records earlier: before 0 comes `i32::MAX`.
    #[must_use]
    #[inline]
    pub fn wrapping_sub(self, count: i32) -> Sequence {
        assert!(self.0 >= 0 && count >= 0);
        Sequence(((i64::from(self.0) - i64::from(count)) & i64::from(i32::MAX)) as i32)
    }

    /// Whether `next` is the sequence right after this one.
    #[inline]
    pub fn is_followed_by(self, next: Sequence) -> bool {
        self.0 >= 0 && self.wrapping_add(1) == next
    }
}

impl Timestamp {
    /// "No timestamp".
    pub const NONE: Timestamp = Timestamp(-1);

    /// Milliseconds from `earlier` to this, 0 when the clock went back, the largest value when it does not fit.
    #[inline]
    pub fn saturating_ms_since(self, earlier: Timestamp) -> u64 {
        if self <= earlier { 0 } else { self.0.wrapping_sub(earlier.0) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_largest_sequence_comes_zero() {
        assert_eq!(Sequence(i32::MAX).wrapping_add(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 2).wrapping_add(5), Sequence(2));
        assert_eq!(Sequence(0).wrapping_sub(1), Sequence(i32::MAX));
        assert_eq!(Sequence(i32::MAX).wrapping_add(i32::MAX), Sequence(i32::MAX - 1));
        assert!(Sequence(i32::MAX).is_followed_by(Sequence(0)));
        assert!(!Sequence(i32::MAX).is_followed_by(Sequence(1)));
        assert!(!Sequence::NONE.is_followed_by(Sequence(0)));
    }

    #[test]
    fn going_forth_and_back_gives_the_same_sequence() {
        for start in [0, 1, 7, i32::MAX - 1, i32::MAX] {
            for count in [0, 1, 5, i32::MAX - 1, i32::MAX] {
                assert_eq!(Sequence(start).wrapping_add(count).wrapping_sub(count), Sequence(start));
            }
        }
    }

    #[test]
    fn offsets_do_not_overflow() {
        assert_eq!(Offset::MAX.checked_next(), None);
        assert_eq!(Offset(5).checked_add(i64::MAX), None);
        assert_eq!(Offset(5).checked_add(-1), None);
        assert_eq!(Offset(5).since(Offset(6)), None);
        assert_eq!(Offset::MAX.since(Offset(i64::MIN)), Some(u64::MAX));
    }

    #[test]
    fn a_relative_offset_ends_where_kafkas_index_entries_end() {
        let base = SegmentBase(100);
        assert_eq!(Offset(99).relative_to(base), None);
        assert_eq!(Offset(100).relative_to(base), Some(0));
        assert_eq!(Offset(100 + i64::from(i32::MAX)).relative_to(base), Some(i32::MAX as u32));
        assert_eq!(Offset(101 + i64::from(i32::MAX)).relative_to(base), None);
        assert_eq!(base.absolute(7), Some(Offset(107)));
        assert_eq!(SegmentBase(i64::MAX).absolute(1), None);
    }

    #[test]
    fn a_segment_is_named_by_twenty_digits() {
        assert_eq!(SegmentBase(4096).file_stem(), "00000000000000004096");
    }

    #[test]
    fn positions_round_to_blocks() {
        assert_eq!(Position(4097).align_down(4096), Position(4096));
        assert_eq!(Position(4097).align_up(4096), Some(Position(8192)));
        assert_eq!(Position(4096).align_up(4096), Some(Position(4096)));
        assert_eq!(Position(u64::MAX).align_up(4096), None);
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_negative_age() {
        assert_eq!(Timestamp(5).saturating_ms_since(Timestamp(9)), 0);
        assert_eq!(Timestamp(9).saturating_ms_since(Timestamp(5)), 4);
        assert_eq!(Timestamp(i64::MAX).saturating_ms_since(Timestamp(i64::MIN)), u64::MAX);
    }
}
