//! `CreatePartitions` (key 37): more partitions for a topic (KIP-195).

use super::types::Str;

messages! {
    api CreatePartitions: CreatePartitionsRequest -> CreatePartitionsResponse, versions 0-3;
    flexible 2+;

    /// Topics to extend.
    struct CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic> [0+],
        timeout_ms: i32 [0+],
        validate_only: bool [0+],
    }

    /// One topic to extend.
    struct CreatePartitionsTopic {
        name: Str [0+],
        /// Partitions afterwards, the old ones included.
        count: i32 [0+],
        /// Null: the broker places them.
        assignments: Option<Vec<CreatePartitionsAssignment>> [0+],
    }

    /// The brokers of one new partition.
    struct CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0+],
    }

    /// The outcome for each topic.
    struct CreatePartitionsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        results: Vec<CreatePartitionsTopicResult> [0+],
    }

    /// The outcome for one topic.
    struct CreatePartitionsTopicResult {
        name: Str [0+],
        error_code: i16 [0+],
        error_message: Option<Str> [0+],
    }
}
