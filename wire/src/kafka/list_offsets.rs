//! `ListOffsets` (key 2): the offset at a timestamp.

use super::types::Str;

messages! {
    api ListOffsets: ListOffsetsRequest -> ListOffsetsResponse, versions 1-11;
    flexible 6+;

    /// Timestamps to look up.
    struct ListOffsetsRequest {
        /// -1 for consumers.
        replica_id: i32 [0+],
        /// 0: read uncommitted; 1: read committed.
        isolation_level: i8 [2+],
        topics: Vec<ListOffsetsTopic> [0+],
        timeout_ms: i32 [10+ ignorable],
    }

    /// Partitions of one topic.
    struct ListOffsetsTopic {
        name: Str [0+],
        partitions: Vec<ListOffsetsPartition> [0+],
    }

    /// One timestamp to look up.
    struct ListOffsetsPartition {
        partition_index: i32 [0+],
        current_leader_epoch: i32 [4+ ignorable] = -1,
        /// In ms; -1 latest, -2 earliest, -3 of the greatest timestamp, -4 to -6 with tiered storage.
        timestamp: i64 [0+],
    }

    /// The offsets found.
    struct ListOffsetsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [2+ ignorable],
        topics: Vec<ListOffsetsTopicResponse> [0+],
    }

    /// Partitions of one topic.
    struct ListOffsetsTopicResponse {
        name: Str [0+],
        partitions: Vec<ListOffsetsPartitionResponse> [0+],
    }

    /// The offset found; -1 when there is none.
    struct ListOffsetsPartitionResponse {
        partition_index: i32 [0+],
        error_code: i16 [0+],
        timestamp: i64 [1+] = -1,
        offset: i64 [1+] = -1,
        leader_epoch: i32 [4+] = -1,
    }
}
