//! `OffsetForLeaderEpoch` (key 23): where an epoch of leadership ended, to find a truncation (KIP-320).

use super::types::Str;

messages! {
    api OffsetForLeaderEpoch: OffsetForLeaderEpochRequest -> OffsetForLeaderEpochResponse, versions 2-4;
    flexible 4+;

    /// Epochs to look up.
    struct OffsetForLeaderEpochRequest {
        /// -1 for consumers, -2 before version 3.
        replica_id: i32 [3+ ignorable] = -2,
        topics: Vec<OffsetForLeaderTopic> [0+],
    }

    /// Partitions of one topic.
    struct OffsetForLeaderTopic {
        topic: Str [0+],
        partitions: Vec<OffsetForLeaderPartition> [0+],
    }

    /// The epoch to look up.
    struct OffsetForLeaderPartition {
        partition: i32 [0+],
        current_leader_epoch: i32 [2+] = -1,
        leader_epoch: i32 [0+],
    }

    /// Where each epoch ended.
    struct OffsetForLeaderEpochResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [2+],
        topics: Vec<OffsetForLeaderTopicResult> [0+],
    }

    /// Partitions of one topic.
    struct OffsetForLeaderTopicResult {
        topic: Str [0+],
        partitions: Vec<EpochEndOffset> [0+],
    }

    /// Where the epoch ended, or the next lower one that exists.
    struct EpochEndOffset {
        error_code: i16 [0+],
        partition: i32 [0+],
        leader_epoch: i32 [1+] = -1,
        end_offset: i64 [0+] = -1,
    }
}
