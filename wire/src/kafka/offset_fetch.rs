//! `OffsetFetch` (key 9): a group's positions; from version 8 of several groups (KIP-709).

use super::types::{Str, Uuid};

messages! {
    api OffsetFetch: OffsetFetchRequest -> OffsetFetchResponse, versions 1-10;
    flexible 6+;

    /// Whose positions to give.
    struct OffsetFetchRequest {
        group_id: Str [0-7],
        /// Null: every partition with a position.
        topics: Option<Vec<OffsetFetchRequestTopic>> [0-7 null 2+],
        groups: Vec<OffsetFetchRequestGroup> [8+],
        /// Refuse positions that an open transaction may still change (KIP-447).
        require_stable: bool [7+],
    }

    /// Partitions of one topic.
    struct OffsetFetchRequestTopic {
        name: Str [0-7],
        partition_indexes: Vec<i32> [0-7],
    }

    /// One group.
    struct OffsetFetchRequestGroup {
        group_id: Str [8+],
        member_id: Option<Str> [9+ ignorable],
        member_epoch: i32 [9+ ignorable] = -1,
        /// Null: every partition with a position.
        topics: Option<Vec<OffsetFetchRequestTopics>> [8+],
    }

    /// A topic by name (to version 9) or id (from version 10).
    struct OffsetFetchRequestTopics {
        name: Str [8-9 ignorable],
        topic_id: Uuid [10+ ignorable],
        partition_indexes: Vec<i32> [8+],
    }

    /// The positions: in `topics` to version 7, in `groups` from version 8.
    struct OffsetFetchResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [3+ ignorable],
        topics: Vec<OffsetFetchResponseTopic> [0-7],
        error_code: i16 [2-7 ignorable],
        groups: Vec<OffsetFetchResponseGroup> [8+],
    }

    /// Positions in one topic.
    struct OffsetFetchResponseTopic {
        name: Str [0-7],
        partitions: Vec<OffsetFetchResponsePartition> [0-7],
    }

    /// The position in one partition; -1 when there is none.
    struct OffsetFetchResponsePartition {
        partition_index: i32 [0-7],
        committed_offset: i64 [0-7],
        committed_leader_epoch: i32 [5-7 ignorable] = -1,
        metadata: Option<Str> [0-7],
        error_code: i16 [0-7],
    }

    /// Positions of one group.
    struct OffsetFetchResponseGroup {
        group_id: Str [8+],
        topics: Vec<OffsetFetchResponseTopics> [8+],
        error_code: i16 [8+],
    }

    /// A topic by name (to version 9) or id (from version 10).
    struct OffsetFetchResponseTopics {
        name: Str [8-9 ignorable],
        topic_id: Uuid [10+ ignorable],
        partitions: Vec<OffsetFetchResponsePartitions> [8+],
    }

    /// The position in one partition; -1 when there is none.
    struct OffsetFetchResponsePartitions {
        partition_index: i32 [8+],
        committed_offset: i64 [8+],
        committed_leader_epoch: i32 [8+ ignorable] = -1,
        metadata: Option<Str> [8+],
        error_code: i16 [8+],
    }
}
