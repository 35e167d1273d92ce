//! History of a partition's leadership: which epoch wrote from which offset on (KIP-101, KIP-279, KIP-320).
//!
//! An entry (epoch, start offset) says that the records from that offset up to the start of the next entry were
//! written under that epoch. Both columns ascend strictly. Followers and consumers compare their history with the
//! leader's by asking where an epoch ended ([`LeaderEpochs::end_of`]) and so find the offset at which two logs part.
//!
//! The history is part of the log: what truncates or trims the log truncates or trims it too, and the checkpoint
//! carries its byte image (twelve bytes an entry, big endian: epoch, start offset). It stays small because epochs
//! that wrote nothing vanish at the next assignment and retention trims the front; it is bounded all the same.

use crate::corrupt::{Corrupt, split_array};
use crate::types::{LeaderEpoch, Offset};

/// Bytes of one entry in the image.
pub const ENTRY_BYTES: usize = 12;

/// Most entries kept; the oldest is merged into its successor beyond that, which only makes the answer for epochs
/// that old less exact: their followers truncate further back than they had to.
pub const EPOCHS_MAX: usize = 4096;

/// What the structure is called in errors.
const WHAT: &str = "leader epoch history";

/// Start of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Offset of the first record that may have been written under it.
    pub start: Offset,
}

/// Where an epoch ended: the answer to `OffsetForLeaderEpoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest known epoch not above the one asked for; [`LeaderEpoch::NONE`] when the question has no answer.
    pub epoch: LeaderEpoch,
    /// One past the last offset of that epoch; [`Offset::NONE`] when the question has no answer.
    pub end: Offset,
}

impl EpochEnd {
    /// "Unknown", as the protocol says it: −1 and −1.
    pub const UNKNOWN: EpochEnd = EpochEnd { epoch: LeaderEpoch::NONE, end: Offset::NONE };
}

/// The epoch history of one partition. Empty until the first assignment, and then without allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochStart>,
}

impl LeaderEpochs {
    /// The history of a log that no leader has written yet.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Begins `epoch` at `start`, the log's end; says whether the history changed.
    ///
    /// The latest epoch again is no change, unless it starts lower than known. Entries at or above the epoch, or at
    /// or above the start, contradict the new one and are dropped: an epoch that wrote nothing leaves no trace.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        assert!(epoch > LeaderEpoch::NONE && start >= Offset::ZERO);
        if self.latest().is_some_and(|latest| latest.epoch == epoch && start >= latest.start) {
            return false;
        }
        while self.latest().is_some_and(|latest| latest.epoch >= epoch || latest.start >= start) {
            self.entries.pop();
        }
        if self.entries.len() == EPOCHS_MAX {
            self.entries.remove(0);
        }
        if self.entries.is_empty() {
            // Most partitions have one leader for life.
            self.entries.reserve_exact(1);
        }
        self.entries.push(EpochStart { epoch, start });
        true
    }

    /// The newest epoch and its start.
    pub fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// Where `epoch` ended in a log that ends at `log_end`, as Kafka answers it:
    ///
    /// * the newest epoch ends at the log's end;
    /// * an epoch between two known ones: the one below it, ended where the next known one starts;
    /// * an epoch below all known ones: that epoch itself, ended where the log's first known one starts;
    /// * an epoch above the newest, or none: [`EpochEnd::UNKNOWN`].
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> EpochEnd {
        if epoch <= LeaderEpoch::NONE {
            return EpochEnd::UNKNOWN;
        }
        if self.latest().is_some_and(|latest| latest.epoch == epoch) {
            return EpochEnd { epoch, end: log_end };
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        match (self.entries[..above].last(), self.entries.get(above)) {
            (_, None) => EpochEnd::UNKNOWN,
            (None, Some(next)) => EpochEnd { epoch, end: next.start },
            (Some(floor), Some(next)) => EpochEnd { epoch: floor.epoch, end: next.start },
        }
    }

    /// The epoch under which `offset` was written, or will be when it is the log's end; `None` below the history.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.entries.partition_point(|entry| entry.start <= offset);
        self.entries[..above].last().map(|entry| entry.epoch)
    }

    /// The log was truncated to end at `log_end`: epochs that start there or later are forgotten.
    pub fn truncate_end(&mut self, log_end: Offset) {
        let kept = self.entries.partition_point(|entry| entry.start < log_end);
        self.entries.truncate(kept);
    }

    /// The log now starts at `log_start`: epochs that ended before are forgotten, and the one that holds the new
    /// start begins there.
    pub fn truncate_start(&mut self, log_start: Offset) {
        let above = self.entries.partition_point(|entry| entry.start <= log_start);
        if above == 0 {
            return;
        }
        self.entries.drain(..above - 1);
        self.entries[0].start = log_start;
    }

    /// The entries, ascending.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// Appends the byte image to `out`: [`ENTRY_BYTES`] per entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            out.extend_from_slice(&entry.epoch.0.to_be_bytes());
            out.extend_from_slice(&entry.start.0.to_be_bytes());
        }
    }

    /// The history whose image is `bytes`; fails when it is cut, too long, negative or does not ascend.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Corrupt> {
        let corrupt = |entry, why| Corrupt { what: WHAT, entry, why };
        let count = bytes.len() / ENTRY_BYTES;
        if !bytes.len().is_multiple_of(ENTRY_BYTES) {
            return Err(corrupt(count, "the last entry is cut"));
        }
        if count > EPOCHS_MAX {
            return Err(corrupt(EPOCHS_MAX, "too many entries"));
        }
        let mut entries: Vec<EpochStart> = Vec::with_capacity(count);
        while let Some((epoch, rest)) = split_array::<4>(bytes) {
            let Some((start, rest)) = split_array::<8>(rest) else { break };
            bytes = rest;
            let entry = EpochStart {
                epoch: LeaderEpoch(i32::from_be_bytes(epoch)),
                start: Offset(i64::from_be_bytes(start)),
            };
            if entry.epoch <= LeaderEpoch::NONE || entry.start < Offset::ZERO {
                return Err(corrupt(entries.len(), "negative"));
            }
            let ascends =
                entries.last().is_none_or(|newest| newest.epoch < entry.epoch && newest.start < entry.start);
            if !ascends {
                return Err(corrupt(entries.len(), "not above the entry before"));
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::{Random, SEEDS};

    fn history(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::new();
        for (epoch, start) in entries {
            epochs.assign(LeaderEpoch(*epoch), Offset(*start));
        }
        epochs
    }

    fn pairs(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
        epochs.entries().iter().map(|entry| (entry.epoch.0, entry.start.0)).collect()
    }

    fn end_of(epochs: &LeaderEpochs, epoch: i32) -> (i32, i64) {
        let EpochEnd { epoch, end } = epochs.end_of(LeaderEpoch(epoch), Offset(100));
        (epoch.0, end.0)
    }

    #[test]
    fn the_newest_epoch_ends_at_the_logs_end() {
        assert_eq!(end_of(&history(&[(2, 0), (5, 40)]), 5), (5, 100));
    }

    #[test]
    fn an_epoch_in_between_is_answered_by_the_one_below_it() {
        let epochs = history(&[(2, 10), (5, 40), (9, 70)]);
        assert_eq!(end_of(&epochs, 2), (2, 40));
        assert_eq!(end_of(&epochs, 4), (2, 40));
        assert_eq!(end_of(&epochs, 5), (5, 70));
        assert_eq!(end_of(&epochs, 8), (5, 70));
    }

    #[test]
    fn an_epoch_below_all_known_ones_ends_where_they_start() {
        assert_eq!(end_of(&history(&[(2, 10), (5, 40)]), 1), (1, 10));
    }

    #[test]
    fn an_epoch_above_the_newest_or_none_is_unknown() {
        let epochs = history(&[(2, 10)]);
        assert_eq!(end_of(&epochs, 3), (-1, -1));
        assert_eq!(end_of(&epochs, -1), (-1, -1));
        assert_eq!(end_of(&LeaderEpochs::new(), 0), (-1, -1));
    }

    #[test]
    fn the_same_epoch_again_changes_nothing() {
        let mut epochs = history(&[(2, 10)]);
        assert!(!epochs.assign(LeaderEpoch(2), Offset(10)));
        assert!(!epochs.assign(LeaderEpoch(2), Offset(50)));
        assert_eq!(pairs(&epochs), [(2, 10)]);
    }

    #[test]
    fn an_epoch_that_wrote_nothing_leaves_no_trace() {
        assert_eq!(pairs(&history(&[(1, 0), (2, 10), (3, 10)])), [(1, 0), (3, 10)]);
    }

    #[test]
    fn an_older_epoch_or_a_lower_start_drops_what_contradicts_it() {
        assert_eq!(pairs(&history(&[(1, 0), (4, 10), (6, 20), (4, 30)])), [(1, 0), (4, 30)]);
        assert_eq!(pairs(&history(&[(1, 0), (4, 10), (6, 20), (7, 5)])), [(1, 0), (7, 5)]);
        assert_eq!(pairs(&history(&[(4, 10), (4, 5)])), [(4, 5)]);
    }

    #[test]
    fn truncating_the_end_forgets_epochs_that_start_there() {
        let mut epochs = history(&[(1, 0), (4, 10), (6, 20)]);
        epochs.truncate_end(Offset(20));
        assert_eq!(pairs(&epochs), [(1, 0), (4, 10)]);
        epochs.truncate_end(Offset(0));
        assert!(epochs.latest().is_none());
    }

    #[test]
    fn trimming_the_start_moves_the_epoch_that_holds_it() {
        let mut epochs = history(&[(1, 5), (4, 10), (6, 20)]);
        epochs.truncate_start(Offset(3));
        assert_eq!(pairs(&epochs), [(1, 5), (4, 10), (6, 20)]);
        epochs.truncate_start(Offset(12));
        assert_eq!(pairs(&epochs), [(4, 12), (6, 20)]);
        epochs.truncate_start(Offset(20));
        assert_eq!(pairs(&epochs), [(6, 20)]);
        epochs.truncate_start(Offset(99));
        assert_eq!(pairs(&epochs), [(6, 99)]);
    }

    #[test]
    fn every_offset_has_the_epoch_that_wrote_it() {
        for seed in SEEDS {
            let mut random = Random::new(seed);
            let mut epochs = LeaderEpochs::new();
            // The epoch of each offset, by plain bookkeeping.
            let mut written: Vec<i32> = Vec::new();
            let mut epoch = 0;
            for _ in 0..random.below(40) {
                match random.below(5) {
                    0 => {
                        let end = random.below(written.len() as u64 + 1) as usize;
                        written.truncate(end);
                        epochs.truncate_end(Offset(end as i64));
                    }
                    _ => epoch += random.below(3) as i32,
                }
                epochs.assign(LeaderEpoch(epoch), Offset(written.len() as i64));
                written.resize(written.len() + random.below(4) as usize, epoch);
            }
            for (offset, epoch) in written.iter().enumerate() {
                let found = epochs.epoch_at(Offset(offset as i64));
                assert_eq!(found, Some(LeaderEpoch(*epoch)), "seed {seed} offset {offset}");
                let end = epochs.end_of(LeaderEpoch(*epoch), Offset(written.len() as i64)).end.0 as usize;
                assert!(end > offset && written[offset..end].iter().all(|e| e == epoch), "seed {seed}");
                assert!(written.get(end).is_none_or(|next| next > epoch), "seed {seed}");
            }
            let mut bytes = Vec::new();
            epochs.encode(&mut bytes);
            assert_eq!(LeaderEpochs::decode(&bytes), Ok(epochs), "seed {seed}");
        }
    }

    #[test]
    fn the_history_is_bounded() {
        let mut epochs = LeaderEpochs::new();
        for number in 0..EPOCHS_MAX as i32 + 10 {
            epochs.assign(LeaderEpoch(number), Offset(i64::from(number)));
        }
        assert_eq!(epochs.entries().len(), EPOCHS_MAX);
        assert_eq!(end_of(&epochs, 3), (3, 10), "answered as below all known ones");
        let too_long = vec![0; (EPOCHS_MAX + 1) * ENTRY_BYTES];
        assert_eq!(LeaderEpochs::decode(&too_long).map_err(|e| e.why), Err("too many entries"));
    }

    #[test]
    fn bytes_that_are_no_history_are_refused() {
        let image = |entries: &[(i32, i64)]| {
            let mut bytes = Vec::new();
            for (epoch, start) in entries {
                bytes.extend_from_slice(&epoch.to_be_bytes());
                bytes.extend_from_slice(&start.to_be_bytes());
            }
            bytes
        };
        let why =
            |entries: &[(i32, i64)]| LeaderEpochs::decode(&image(entries)).map_err(|e| (e.entry, e.why));
        assert!(why(&[]).is_ok());
        assert_eq!(why(&[(-1, 0)]), Err((0, "negative")));
        assert_eq!(why(&[(1, -5)]), Err((0, "negative")));
        assert_eq!(why(&[(1, 0), (1, 5)]), Err((1, "not above the entry before")));
        assert_eq!(why(&[(1, 5), (2, 5)]), Err((1, "not above the entry before")));
        assert!(LeaderEpochs::decode(&image(&[(1, 5)])[..11]).is_err());
    }
}
