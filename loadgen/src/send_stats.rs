//! What was sent and acknowledged, how fast, and exactly which records.

use std::collections::HashMap;
use std::ops::Range;

use reactor::Instant;

use crate::accumulator::Batch;
use crate::transaction::Outcome;

/// What a lane has sent and heard.
#[derive(Clone, Debug)]
pub(crate) struct SendStats {
    pub(crate) records: u64,
    pub(crate) value_bytes: u64,
    /// Bytes of the batches, as they lie in the log.
    pub(crate) batch_bytes: u64,
    pub(crate) batches: u64,
    pub(crate) requests: u64,
    /// Batches sent again.
    pub(crate) retries: u64,
    pub(crate) last_ack: Option<Instant>,
    /// Numbers of the acknowledged records by partition, ascending, disjoint.
    pub(crate) acknowledged: Numbers,
    /// Of those in the transaction that is open.
    open: Numbers,
    /// Of those in transactions that were aborted.
    pub(crate) aborted: Numbers,
}

/// Numbers of records by partition, ascending, disjoint.
pub(crate) type Numbers = HashMap<i32, Vec<Range<u64>>>;

/// Whether a batch counts when it is acknowledged, or when its transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    Now,
    WhenCommitted,
}

impl SendStats {
    pub(crate) fn new() -> Self {
        Self {
            records: 0,
            value_bytes: 0,
            batch_bytes: 0,
            batches: 0,
            requests: 0,
            retries: 0,
            last_ack: None,
            acknowledged: Numbers::new(),
            open: Numbers::new(),
            aborted: Numbers::new(),
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.records += other.records;
        self.value_bytes += other.value_bytes;
        self.batch_bytes += other.batch_bytes;
        self.batches += other.batches;
        self.requests += other.requests;
        self.retries += other.retries;
        self.last_ack = self.last_ack.max(other.last_ack);
        self.acknowledged.extend(other.acknowledged);
        self.open.extend(other.open);
        self.aborted.extend(other.aborted);
    }

    /// Records in transactions that were aborted.
    pub(crate) fn aborted_records(&self) -> u64 {
        self.aborted.values().flatten().map(|numbers| numbers.end - numbers.start).sum()
    }

    /// The transaction has ended.
    pub(crate) fn settle(&mut self, outcome: Outcome) {
        let ended = match outcome {
            Outcome::Committed => &mut self.acknowledged,
            Outcome::Aborted => &mut self.aborted,
        };
        for (partition, ranges) in self.open.drain() {
            for numbers in ranges {
                append(ended, partition, numbers);
            }
        }
    }

    /// Counts an acknowledged batch of `partition`.
    pub(crate) fn acknowledge(&mut self, partition: i32, batch: &Batch, counts: Counts, now: Instant) {
        self.records += u64::from(batch.records);
        self.value_bytes += batch.value_bytes;
        self.batch_bytes += batch.bytes.len() as u64;
        self.batches += 1;
        self.last_ack = Some(now);
        let numbers = batch.first_number..batch.first_number + u64::from(batch.records);
        let known = if counts == Counts::Now { &mut self.acknowledged } else { &mut self.open };
        append(known, partition, numbers);
    }
}

fn append(known: &mut Numbers, partition: i32, numbers: Range<u64>) {
    let known = known.entry(partition).or_default();
    match known.last_mut() {
        Some(last) if last.end == numbers.start => last.end = numbers.end,
        _ => known.push(numbers),
    }
}
