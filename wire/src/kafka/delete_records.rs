//! `DeleteRecords` (key 21): move the start of a log (KIP-107).

use super::types::Str;

messages! {
    api DeleteRecords: DeleteRecordsRequest -> DeleteRecordsResponse, versions 0-2;
    flexible 2+;

    /// Logs to cut.
    struct DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic> [0+],
        timeout_ms: i32 [0+],
    }

    /// Partitions of one topic.
    struct DeleteRecordsTopic {
        name: Str [0+],
        partitions: Vec<DeleteRecordsPartition> [0+],
    }

    /// Records below `offset` are deleted; -1: all below the high watermark.
    struct DeleteRecordsPartition {
        partition_index: i32 [0+],
        offset: i64 [0+],
    }

    /// The outcome for each partition.
    struct DeleteRecordsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        topics: Vec<DeleteRecordsTopicResult> [0+],
    }

    /// Partitions of one topic.
    struct DeleteRecordsTopicResult {
        name: Str [0+],
        partitions: Vec<DeleteRecordsPartitionResult> [0+],
    }

    /// The new start of one log.
    struct DeleteRecordsPartitionResult {
        partition_index: i32 [0+],
        low_watermark: i64 [0+],
        error_code: i16 [0+],
    }
}
