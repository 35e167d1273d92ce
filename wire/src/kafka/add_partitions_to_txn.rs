//! `AddPartitionsToTxn` (key 24): names the partitions that a transaction writes to before it does (KIP-98). Versions 4 and 5 ask
//! for several transactions at once (KIP-890) and are between brokers; clients speak version 3.

use super::types::Str;

messages! {
    api AddPartitionsToTxn: AddPartitionsToTxnRequest -> AddPartitionsToTxnResponse, versions 0-5;
    flexible 3+;

    /// One transaction to version 3, many from version 4.
    struct AddPartitionsToTxnRequest {
        transactions: Vec<AddPartitionsToTxnTransaction> [4+],
        v3_and_below_transactional_id: Str [0-3],
        v3_and_below_producer_id: i64 [0-3],
        v3_and_below_producer_epoch: i16 [0-3],
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic> [0-3],
    }

    /// A transaction and what to add to it.
    struct AddPartitionsToTxnTransaction {
        transactional_id: Str [4+],
        producer_id: i64 [4+],
        producer_epoch: i16 [4+],
        /// Only asks whether the partitions belong to it.
        verify_only: bool [4+],
        topics: Vec<AddPartitionsToTxnTopic> [4+],
    }

    /// Partitions of a topic.
    struct AddPartitionsToTxnTopic {
        name: Str [0+],
        partitions: Vec<i32> [0+],
    }

    /// The outcome for each partition.
    struct AddPartitionsToTxnResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        error_code: i16 [4+ ignorable],
        results_by_transaction: Vec<AddPartitionsToTxnResult> [4+],
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> [0-3],
    }

    /// The outcome for a transaction.
    struct AddPartitionsToTxnResult {
        transactional_id: Str [4+],
        topic_results: Vec<AddPartitionsToTxnTopicResult> [4+],
    }

    /// The outcome for a topic.
    struct AddPartitionsToTxnTopicResult {
        name: Str [0+],
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult> [0+],
    }

    /// The outcome for a partition.
    struct AddPartitionsToTxnPartitionResult {
        partition_index: i32 [0+],
        partition_error_code: i16 [0+],
    }
}
