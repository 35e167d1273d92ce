//! Idempotence state of one partition: what each producer wrote last (KIP-98, KIP-360).
//!
//! A producer numbers its records per partition. For each producer id the partition remembers the epoch and the last
//! five batches, and so tells a batch that continues from one that was seen before (a retry) and from one that leaves
//! a gap. The rules are those of Kafka 4.3, each tried on a 4.3.1 broker ([`ProducerState::check`]); a producer without state, be it new, expired
//! or evicted, may begin at any sequence, as there.
//!
//! # Contract with the log
//! * `check`, then fix the offsets, then [`ProducerState::record`], without a pause in between: the state is that of
//!   the log's *staged* end, so that batches in flight are checked against those before them.
//! * A [`ProducerCheck::Duplicate`] names a batch that may still be in flight: the answer "success" must wait until
//!   its last offset is flushed.
//! * Staged batches are not rolled back. The only way for a staged batch to fail is a failed commit, which poisons
//!   the shard's ring: no produce is accepted until restart, and recovery restores a snapshot and replays the batches
//!   that are on disk. [`ProducerState::truncate`] serves a log that is cut while it lives.
//! * [`ProducerState::snapshot`] is the state at exactly one offset, the log's end when it is taken. It must not
//!   become the truth before everything below that offset is durable: a sequence remembered without its records
//!   would turn the retry of a lost batch into a false success. [`ProducerState::restore`] demands the same offset,
//!   and the caller replays every batch from there on with `record`.
//!
//! # Memory
//! A partition without producers owns no heap. One producer costs about 200 bytes. Counts are bounded per partition
//! and, by a [`ProducerBudget`], per shard; beyond that the producers idle longest are forgotten, as expiry would
//! have done later. Time here is the broker's clock, not the records' timestamps as in Kafka, where a producer of old
//! records is expired at once.

mod budget;
mod producer;
mod snapshot;

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use wire::kafka::record_batch::BatchHeader;

use crate::corrupt::Corrupt;
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

pub use budget::{
    PRODUCERS_PER_PARTITION_MAX, PRODUCERS_PER_PARTITION_MIN, PRODUCERS_PER_SHARD_MAX, ProducerBudget,
};
pub use producer::BATCHES_KEPT;

use producer::Producer;

/// When the table is full, one in this many producers is evicted at once, so that the search for them is paid once.
const EVICT_ONE_IN: usize = 16;

/// The fields of an idempotent batch that its producer set, checked for sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Who wrote it; not negative.
    pub id: ProducerId,
    /// In which incarnation; not negative.
    pub epoch: ProducerEpoch,
    /// Sequence of its first record; not negative.
    pub base_sequence: Sequence,
    /// Offset of its last record less that of its first; not negative.
    pub last_offset_delta: i32,
    /// Its largest timestamp as it will lie in the log.
    pub max_timestamp: Timestamp,
}

/// A batch has a producer id but a negative epoch, sequence or length (Kafka: `INVALID_RECORD`; it lets a negative epoch
/// pass, which no client sends, for then nothing is checked).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidProducerBatch;

impl fmt::Display for InvalidProducerBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch has a producer id but no valid epoch and sequence")
    }
}

impl std::error::Error for InvalidProducerBatch {}

impl ProducerBatch {
    /// What `header` says about its producer; `None` when the batch is not idempotent, or a control batch, which
    /// has no sequence.
    pub fn of(header: &BatchHeader) -> Result<Option<Self>, InvalidProducerBatch> {
        if !ProducerId(header.producer_id).is_some() || header.attributes.is_control() {
            return Ok(None);
        }
        if header.producer_epoch < 0 || header.base_sequence < 0 || header.last_offset_delta < 0 {
            return Err(InvalidProducerBatch);
        }
        Ok(Some(Self {
            id: ProducerId(header.producer_id),
            epoch: ProducerEpoch(header.producer_epoch),
            base_sequence: Sequence(header.base_sequence),
            last_offset_delta: header.last_offset_delta,
            max_timestamp: Timestamp(header.max_timestamp),
        }))
    }

    /// Sequence of the last record.
    pub fn last_sequence(&self) -> Sequence {
        self.base_sequence.wrapping_add(self.last_offset_delta)
    }
}

/// Where a batch lies that a producer has sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DuplicateBatch {
    /// Offset of its first record: what the producer is answered.
    pub base_offset: Offset,
    /// Offset of its last record: what must be flushed before the answer.
    pub last_offset: Offset,
    /// Its largest timestamp. Kafka 4.3.1 answers it as the append time, whatever the topic's timestamp type.
    pub timestamp: Timestamp,
}

/// What the state says about a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerCheck {
    /// It continues, or begins: append it.
    Ok,
    /// It is one of the producer's last five: answer success, once that one is flushed.
    Duplicate(DuplicateBatch),
    /// It leaves a gap, or is older than the last five (Kafka: `OUT_OF_ORDER_SEQUENCE_NUMBER`).
    OutOfOrderSequence {
        /// The sequence that would continue.
        expected: Sequence,
    },
    /// A newer incarnation of the producer has written here (Kafka: `INVALID_PRODUCER_EPOCH`).
    InvalidProducerEpoch {
        /// The epoch of the newer incarnation.
        current: ProducerEpoch,
    },
}

/// The producers of one partition.
pub struct ProducerState {
    #[expect(
        clippy::box_collection,
        reason = "most partitions have none, and 100,000 of them pay 8 bytes, not 48"
    )]
    producers: Option<Box<HashMap<ProducerId, Producer>>>,
    budget: Rc<ProducerBudget>,
}

impl ProducerState {
    /// No producer yet. Allocates nothing.
    pub fn new(budget: Rc<ProducerBudget>) -> Self {
        Self { producers: None, budget }
    }

    /// Judges a batch that a client sent, by the rules of Kafka 4.3 in this order:
    ///
    /// 1. a producer without state here may begin at any sequence;
    /// 2. same epoch and exactly the sequences of one of the last five batches: a duplicate;
    /// 3. an older epoch is refused;
    /// 4. a newer epoch begins at sequence 0, else it is out of order;
    /// 5. the same epoch continues right after its last sequence (0 after `i32::MAX`; 0 if it has written nothing),
    ///    else it is out of order.
    pub fn check(&self, batch: &ProducerBatch) -> ProducerCheck {
        let Some(producer) = self.get(batch.id) else { return ProducerCheck::Ok };
        producer.check(batch)
    }

    /// Notes a batch that was staged at `base_offset`, or is replayed from disk, at `now` by the broker's clock.
    ///
    /// For a new batch `check` must have answered [`ProducerCheck::Ok`]. A replayed batch is believed: it was
    /// checked when it was written. Offsets of one producer must ascend, which is asserted.
    pub fn record(&mut self, batch: &ProducerBatch, base_offset: Offset, now: Timestamp) {
        if let Some(producer) = self.producers.as_mut().and_then(|producers| producers.get_mut(&batch.id)) {
            producer.record(batch, base_offset, now);
            return;
        }
        let mut producer = Producer::new(batch.epoch, now);
        producer.record(batch, base_offset, now);
        self.insert(batch.id, producer);
    }

    /// Forgets producers idle for `producer.id.expiration.ms` or longer, unless a transaction is open; says how many.
    pub fn expire(&mut self, now: Timestamp, expiration_ms: u64) -> usize {
        self.retain(|producer| {
            producer.has_open_transaction() || now.saturating_ms_since(producer.seen) < expiration_ms
        })
    }

    /// The log was cut to end at `log_end`: forgets the batches at or above.
    ///
    /// A producer of which no batch is left is forgotten as a whole, and may begin anew at any sequence; one that
    /// keeps some continues after them. What was displaced from the last five, or from an older epoch, by the
    /// batches that are gone does not come back: the state then recognises fewer retries, but refuses no batch that
    /// continues.
    pub fn truncate(&mut self, log_end: Offset) {
        self.retain(|producer| producer.truncate(log_end));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.retain(|_| false);
    }

    /// Number of producers.
    pub fn len(&self) -> usize {
        self.producers.as_ref().map_or(0, |producers| producers.len())
    }

    /// Whether there is no producer.
    pub fn is_empty(&self) -> bool {
        self.producers.is_none()
    }

    /// Bytes on the heap, about.
    pub fn heap_bytes(&self) -> usize {
        let slot = size_of::<(ProducerId, Producer)>() + 1;
        self.producers.as_ref().map_or(0, |producers| size_of_val(&**producers) + producers.capacity() * slot)
    }

    /// The state as bytes, at `at`, the log's end; `None` when there is no producer.
    ///
    /// Every batch noted must lie below `at`, which is asserted.
    pub fn snapshot(&self, at: Offset) -> Option<Vec<u8>> {
        let producers = self.producers.as_ref()?;
        let mut sorted: Vec<(ProducerId, &Producer)> =
            producers.iter().map(|(id, producer)| (*id, producer)).collect();
        sorted.sort_unstable_by_key(|(id, _)| *id);
        Some(snapshot::encode(&sorted, at))
    }

    /// The state whose [`ProducerState::snapshot`] at `at` is `bytes`.
    ///
    /// The bytes are checked whole: layout, version, the offset, and that what they say can have come from
    /// `record`. Fails without allocating more than the bytes justify. A flipped bit inside a number may pass, so
    /// the file around carries a checksum.
    pub fn restore(bytes: &[u8], at: Offset, budget: Rc<ProducerBudget>) -> Result<Self, Corrupt> {
        let mut state = Self::new(budget);
        for (id, producer) in snapshot::decode(bytes, at)? {
            state.insert(id, producer);
        }
        Ok(state)
    }

    fn get(&self, id: ProducerId) -> Option<&Producer> {
        self.producers.as_ref()?.get(&id)
    }

    fn insert(&mut self, id: ProducerId, producer: Producer) {
        if self.budget.is_full_for(self.len()) {
            self.evict();
        }
        let replaced = self.producers.get_or_insert_default().insert(id, producer);
        assert!(replaced.is_none());
        self.budget.add(1);
    }

    /// Forgets the producers idle longest, a sixteenth of all but at least one.
    fn evict(&mut self) {
        let Some(producers) = self.producers.as_ref() else { return };
        let mut idle: Vec<(Timestamp, ProducerId)> = producers
            .iter()
            .filter(|(_, producer)| !producer.has_open_transaction())
            .map(|(id, producer)| (producer.seen, *id))
            .collect();
        if idle.is_empty() {
            return;
        }
        let count = idle.len().div_ceil(EVICT_ONE_IN);
        let (_, newest_evicted, _) = idle.select_nth_unstable(count - 1);
        let newest_evicted = *newest_evicted;
        let before = self.len();
        if let Some(producers) = self.producers.as_mut() {
            producers.retain(|id, producer| {
                producer.has_open_transaction() || (producer.seen, *id) > newest_evicted
            });
        }
        self.budget.evicted(before - self.len());
        self.settle(before);
    }

    /// Keeps the producers for which `keep` is true; says how many went.
    fn retain(&mut self, mut keep: impl FnMut(&mut Producer) -> bool) -> usize {
        let before = self.len();
        if let Some(producers) = self.producers.as_mut() {
            producers.retain(|_, producer| keep(producer));
        }
        self.settle(before)
    }

    /// After producers went: gives budget and memory back. Says how many went.
    fn settle(&mut self, before: usize) -> usize {
        let gone = before - self.len();
        self.budget.remove(gone);
        if self.producers.as_ref().is_some_and(|producers| producers.is_empty()) {
            self.producers = None;
        } else if let Some(producers) = self.producers.as_mut()
            && producers.len() < producers.capacity() / 4
        {
            producers.shrink_to_fit();
        }
        gone
    }
}

impl Drop for ProducerState {
    fn drop(&mut self) {
        self.budget.remove(self.len());
    }
}

impl fmt::Debug for ProducerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerState").field("producers", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
