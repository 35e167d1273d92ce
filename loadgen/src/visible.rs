//! What a consumer sees of a log: neither the marks of transactions, nor, if it asks for committed records only, what aborted
//! transactions wrote.
//!
//! The broker says with each answer which aborted transactions the answer touches, by producer and first offset; a transaction
//! ends with its mark. Kept for the answer of one partition only: the next one says it anew.

use std::collections::HashSet;

use wire::kafka::fetch::AbortedTransaction;
use wire::kafka::record::{ControlRecord, Records};
use wire::kafka::record_batch::Batch;

use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;

/// Which batches of one partition's answer are seen.
#[derive(Debug, Default)]
pub(crate) struct Visible {
    /// Aborted transactions that have not begun yet, the last first.
    to_come: Vec<AbortedTransaction>,
    /// Producers in the midst of one.
    aborting: HashSet<i64>,
}

impl Visible {
    pub(crate) fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self { to_come: aborted, aborting: HashSet::new() }
    }

    /// Whether the next batch of the answer is seen.
    pub(crate) fn shows(&mut self, batch: &Batch) -> Result<bool, String> {
        let (header, attributes) = (&batch.header, batch.header.attributes);
        while self.to_come.last().is_some_and(|transaction| transaction.first_offset < header.next_offset()) {
            self.aborting.extend(self.to_come.pop().map(|transaction| transaction.producer_id));
        }
        if attributes.is_control() {
            if is_abort(batch)? {
                self.aborting.remove(&header.producer_id);
            }
            return Ok(false);
        }
        Ok(!(attributes.is_transactional() && self.aborting.contains(&header.producer_id)))
    }
}

fn is_abort(batch: &Batch) -> Result<bool, String> {
    let mut records = Records::new(batch, DECOMPRESSED_BATCH_BYTES_MAX).map_err(|error| error.to_string())?;
    let first = records.next().transpose().map_err(|error| error.to_string())?;
    let key = first.and_then(|record| record.key).unwrap_or_default();
    Ok(ControlRecord::parse(&key) == Some(ControlRecord::Abort))
}

#[cfg(test)]
mod tests {
    use wire::kafka::batch_builder::{BatchBuilder, NewRecord, Producer};
    use wire::kafka::compression::Codec;
    use wire::kafka::record_batch::{Batches, set_base_offset};

    use super::*;

    /// A batch of one record at `offset`.
    fn batch(
        offset: i64,
        producer: i64,
        make: impl FnOnce(BatchBuilder) -> BatchBuilder,
        key: &[u8],
    ) -> Batch {
        let mut builder = make(BatchBuilder::new(Codec::None).producer(Producer {
            id: producer,
            epoch: 0,
            base_sequence: 0,
        }));
        builder.push(&NewRecord { key: Some(key), ..NewRecord::default() });
        let mut bytes = builder.build().unwrap().to_vec();
        set_base_offset(&mut bytes, offset);
        Batches::new(bytes.into()).next().unwrap().unwrap()
    }

    fn written(offset: i64, producer: i64) -> Batch {
        batch(offset, producer, BatchBuilder::transactional, b"k")
    }

    fn mark(offset: i64, producer: i64, kind: i16) -> Batch {
        let key = [[0, 0], kind.to_be_bytes()].concat();
        batch(offset, producer, |builder| builder.transactional().control(), &key)
    }

    const ABORT: i16 = 0;
    const COMMIT: i16 = 1;

    #[test]
    fn records_of_aborted_transactions_and_all_marks_are_hidden() {
        let aborted = |producer_id, first_offset| AbortedTransaction { producer_id, first_offset };
        let mut visible = Visible::new(vec![aborted(7, 20), aborted(7, 11), aborted(8, 12)]);
        let log = [
            (written(9, 7), true), // of a transaction before, whose mark comes next
            (mark(10, 7, COMMIT), false),
            (written(11, 7), false),
            (written(12, 8), false),
            (written(13, 9), true),
            (batch(14, -1, |builder| builder, b"k"), true),
            (mark(15, 7, ABORT), false),
            (written(16, 7), true),
            (written(17, 8), false),
            (mark(18, 7, COMMIT), false),
            (mark(19, 8, ABORT), false),
            (written(20, 7), false),
            (written(21, 8), true),
        ];
        for (batch, seen) in log {
            assert_eq!(visible.shows(&batch), Ok(seen), "{}", batch.header.base_offset);
        }
    }

    #[test]
    fn who_does_not_ask_for_committed_records_sees_all_but_marks() {
        let mut visible = Visible::default();
        assert_eq!(visible.shows(&written(1, 7)), Ok(true));
        assert_eq!(visible.shows(&mark(2, 7, ABORT)), Ok(false));
    }
}
