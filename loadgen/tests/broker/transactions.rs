//! Transactions of the test broker: marks are written when a transaction ends, and nothing is answered later than that.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use wire::kafka::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopicResult,
};
use wire::kafka::batch_builder::{BatchBuilder, NewRecord, Producer};
use wire::kafka::compression::Codec;
use wire::kafka::end_txn::{EndTxnRequest, EndTxnResponse};
use wire::kafka::fetch::AbortedTransaction;
use wire::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use wire::kafka::record_batch::BatchHeader;

use super::{Fault, Log, State};

/// The producer that is not transactional.
const PRODUCER: i64 = 77;
/// Of the first one that is.
const FIRST_TRANSACTIONAL: i64 = 1000;

/// What the coordinator knows.
#[derive(Default)]
pub(crate) struct Transactions {
    /// Producers by transactional id.
    producers: HashMap<String, i64>,
    /// Partitions of the open transaction, by producer.
    added: HashMap<i64, BTreeSet<i32>>,
    /// How often an end was asked for: the first time the coordinator is busy.
    ends: u64,
}

/// What a log knows of transactions.
#[derive(Default)]
pub(crate) struct Marked {
    /// First offsets of open ones, by producer.
    open: HashMap<i64, i64>,
    /// Aborted ones: producer, first offset, offset of the mark.
    aborted: Vec<(i64, i64, i64)>,
}

impl State {
    pub(crate) fn init_producer(&mut self, request: &InitProducerIdRequest) -> InitProducerIdResponse {
        let count = self.transactions.producers.len() as i64;
        let producer_id = match &request.transactional_id {
            None => PRODUCER,
            Some(id) => {
                *self.transactions.producers.entry(id.to_string()).or_insert(FIRST_TRANSACTIONAL + count)
            }
        };
        InitProducerIdResponse { producer_id, ..InitProducerIdResponse::default() }
    }

    pub(crate) fn add_partitions(
        &mut self,
        request: &AddPartitionsToTxnRequest,
    ) -> AddPartitionsToTxnResponse {
        let topic = &request.v3_and_below_topics[0];
        let added = self.transactions.added.entry(request.v3_and_below_producer_id).or_default();
        added.extend(&topic.partitions);
        let result = |partition_index: &i32| AddPartitionsToTxnPartitionResult {
            partition_index: *partition_index,
            partition_error_code: 0,
        };
        AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: vec![AddPartitionsToTxnTopicResult {
                name: topic.name.clone(),
                results_by_partition: topic.partitions.iter().map(result).collect(),
            }],
            ..AddPartitionsToTxnResponse::default()
        }
    }

    pub(crate) fn end_transaction(&mut self, request: &EndTxnRequest) -> EndTxnResponse {
        self.transactions.ends += 1;
        if self.transactions.ends == 1 {
            // CONCURRENT_TRANSACTIONS
            return EndTxnResponse { error_code: 51, ..EndTxnResponse::default() };
        }
        let producer = request.producer_id;
        for partition in self.transactions.added.remove(&producer).unwrap_or_default() {
            self.partitions[partition as usize].mark(producer, request.committed);
        }
        EndTxnResponse::default()
    }

    /// Whether the batch is in no transaction, or in one that its partition was added to.
    pub(crate) fn is_in_order(&self, partition: i32, bytes: &Bytes) -> bool {
        let header = BatchHeader::parse(bytes).unwrap();
        let added = self.transactions.added.get(&header.producer_id);
        !header.attributes.is_transactional() || added.is_some_and(|added| added.contains(&partition))
    }
}

impl Log {
    /// A batch was placed at this offset.
    pub(crate) fn note(&mut self, header: &BatchHeader, offset: i64) {
        if header.attributes.is_transactional() && !header.attributes.is_control() {
            self.marked.open.entry(header.producer_id).or_insert(offset);
        }
    }

    fn mark(&mut self, producer: i64, committed: bool) {
        let Some(first) = self.marked.open.remove(&producer) else { return };
        if !committed {
            self.marked.aborted.push((producer, first, self.next_offset));
        }
        let producer = Producer { id: producer, epoch: 0, base_sequence: -1 };
        let mut mark = BatchBuilder::new(Codec::None).producer(producer).transactional().control();
        let key = [0, 0, 0, u8::from(committed)];
        mark.push(&NewRecord { key: Some(&key), value: Some(&[0; 6]), ..NewRecord::default() });
        self.append(&mark.build().unwrap());
    }

    /// Where the first open transaction begins, or the end.
    pub(crate) fn last_stable(&self) -> i64 {
        self.marked.open.values().copied().min().unwrap_or(self.next_offset)
    }

    /// Aborted transactions that a reader from this offset may meet.
    pub(crate) fn aborted_from(&self, offset: i64, fault: Fault) -> Vec<AbortedTransaction> {
        let told =
            self.marked.aborted.iter().filter(|(_, _, mark)| *mark >= offset && fault != Fault::HidesAborts);
        told.map(|(producer_id, first_offset, _)| AbortedTransaction {
            producer_id: *producer_id,
            first_offset: *first_offset,
        })
        .collect()
    }
}
