//! `OffsetCommit` (key 8): a group's positions.

use super::types::{Str, Uuid};

messages! {
    api OffsetCommit: OffsetCommitRequest -> OffsetCommitResponse, versions 2-10;
    flexible 8+;

    /// Positions to keep.
    struct OffsetCommitRequest {
        group_id: Str [0+],
        /// -1 with an empty member id: a consumer without membership.
        generation_id_or_member_epoch: i32 [1+] = -1,
        member_id: Str [1+],
        group_instance_id: Option<Str> [7+],
        /// -1: the broker's default.
        retention_time_ms: i64 [2-4 ignorable] = -1,
        topics: Vec<OffsetCommitRequestTopic> [0+],
    }

    /// A topic by name (to version 9) or id (from version 10, KIP-848).
    struct OffsetCommitRequestTopic {
        name: Str [0-9 ignorable],
        topic_id: Uuid [10+ ignorable],
        partitions: Vec<OffsetCommitRequestPartition> [0+],
    }

    /// The position in one partition.
    struct OffsetCommitRequestPartition {
        partition_index: i32 [0+],
        committed_offset: i64 [0+],
        committed_leader_epoch: i32 [6+ ignorable] = -1,
        committed_metadata: Option<Str> [0+],
    }

    /// The outcome for each partition.
    struct OffsetCommitResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [3+ ignorable],
        topics: Vec<OffsetCommitResponseTopic> [0+],
    }

    /// A topic by name (to version 9) or id (from version 10).
    struct OffsetCommitResponseTopic {
        name: Str [0-9 ignorable],
        topic_id: Uuid [10+ ignorable],
        partitions: Vec<OffsetCommitResponsePartition> [0+],
    }

    /// The outcome for one partition.
    struct OffsetCommitResponsePartition {
        partition_index: i32 [0+],
        error_code: i16 [0+],
    }
}
