//! One producer in one partition: its epoch and its last batches.

use super::{DuplicateBatch, ProducerBatch, ProducerCheck};
use crate::types::{Offset, ProducerEpoch, Sequence, Timestamp};

/// Batches remembered per producer: as many as a client may have in flight with idempotence on.
pub const BATCHES_KEPT: usize = 5;

/// A batch that was written: enough to recognise it and to answer for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WrittenBatch {
    pub(super) last_sequence: Sequence,
    pub(super) last_offset_delta: i32,
    pub(super) last_offset: Offset,
    pub(super) timestamp: Timestamp,
}

impl WrittenBatch {
    pub(super) fn base_sequence(&self) -> Sequence {
        self.last_sequence.wrapping_sub(self.last_offset_delta)
    }

    pub(super) fn base_offset(&self) -> Offset {
        Offset(self.last_offset.0 - i64::from(self.last_offset_delta))
    }
}

/// State of one producer.
#[derive(Clone, Debug)]
pub(super) struct Producer {
    pub(super) epoch: ProducerEpoch,
    /// Epoch of the transaction coordinator that wrote the last marker; −1 before the first. For transactions.
    pub(super) coordinator_epoch: i32,
    /// First offset of the open transaction. For transactions: until they come, always `None`.
    pub(super) current_txn_first_offset: Option<Offset>,
    /// When it last wrote, by the broker's clock.
    pub(super) seen: Timestamp,
    /// Oldest first; the first `count` are real.
    batches: [WrittenBatch; BATCHES_KEPT],
    count: u8,
}

impl Producer {
    /// A producer that has written nothing in `epoch`.
    pub(super) fn new(epoch: ProducerEpoch, seen: Timestamp) -> Self {
        Self {
            epoch,
            coordinator_epoch: -1,
            current_txn_first_offset: None,
            seen,
            batches: [WrittenBatch::default(); BATCHES_KEPT],
            count: 0,
        }
    }

    pub(super) fn has_open_transaction(&self) -> bool {
        self.current_txn_first_offset.is_some()
    }

    /// The last batches, oldest first.
    pub(super) fn batches(&self) -> &[WrittenBatch] {
        &self.batches[..usize::from(self.count)]
    }

    /// See [`super::ProducerState::check`].
    pub(super) fn check(&self, batch: &ProducerBatch) -> ProducerCheck {
        if batch.epoch < self.epoch {
            return ProducerCheck::InvalidProducerEpoch { current: self.epoch };
        }
        if batch.epoch > self.epoch {
            return Self::expect(Sequence::ZERO, batch);
        }
        let last_sequence = batch.last_sequence();
        let same = |written: &&WrittenBatch| {
            written.last_sequence == last_sequence && written.base_sequence() == batch.base_sequence
        };
        if let Some(written) = self.batches().iter().find(same) {
            return ProducerCheck::Duplicate(DuplicateBatch {
                base_offset: written.base_offset(),
                last_offset: written.last_offset,
                timestamp: written.timestamp,
            });
        }
        let newest = self.batches().last();
        Self::expect(newest.map_or(Sequence::ZERO, |newest| newest.last_sequence.wrapping_add(1)), batch)
    }

    fn expect(expected: Sequence, batch: &ProducerBatch) -> ProducerCheck {
        if batch.base_sequence == expected {
            ProducerCheck::Ok
        } else {
            ProducerCheck::OutOfOrderSequence { expected }
        }
    }

    /// See [`super::ProducerState::record`].
    pub(super) fn record(&mut self, batch: &ProducerBatch, base_offset: Offset, now: Timestamp) {
        assert!(self.batches().last().is_none_or(|newest| newest.last_offset < base_offset));
        if batch.epoch != self.epoch {
            self.epoch = batch.epoch;
            self.count = 0;
        }
        self.seen = now;
        self.push(WrittenBatch {
            last_sequence: batch.last_sequence(),
            last_offset_delta: batch.last_offset_delta,
            last_offset: Offset(base_offset.0 + i64::from(batch.last_offset_delta)),
            timestamp: batch.max_timestamp,
        });
    }

    /// Appends a batch, displacing the oldest when there are enough.
    pub(super) fn push(&mut self, batch: WrittenBatch) {
        if usize::from(self.count) == BATCHES_KEPT {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        self.batches[usize::from(self.count)] = batch;
        self.count += 1;
    }

    /// Forgets the batches at or above `log_end`; says whether the producer is still worth keeping.
    pub(super) fn truncate(&mut self, log_end: Offset) -> bool {
        let kept = self.batches().partition_point(|batch| batch.last_offset < log_end);
        self.count = kept as u8;
        if self.current_txn_first_offset.is_some_and(|first| first >= log_end) {
            self.current_txn_first_offset = None;
        }
        kept > 0 || self.has_open_transaction()
    }
}
