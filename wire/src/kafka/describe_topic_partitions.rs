//! `DescribeTopicPartitions` (key 75): topics in pages (KIP-966).

use super::types::{Str, Uuid};

messages! {
    api DescribeTopicPartitions: DescribeTopicPartitionsRequest -> DescribeTopicPartitionsResponse, versions 0-0;
    flexible 0+;

    /// Topics to describe; all when empty.
    struct DescribeTopicPartitionsRequest {
        topics: Vec<TopicRequest> [0+],
        response_partition_limit: i32 [0+] = 2000,
        cursor: Option<Cursor> [0+],
    }

    /// One topic.
    struct TopicRequest {
        name: Str [0+],
    }

    /// The partition at which the next page begins.
    struct Cursor {
        topic_name: Str [0+],
        partition_index: i32 [0+],
    }

    /// One page.
    struct DescribeTopicPartitionsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0+],
        next_cursor: Option<Cursor> [0+],
    }

    /// A topic or why it cannot be described.
    struct DescribeTopicPartitionsResponseTopic {
        error_code: i16 [0+],
        name: Option<Str> [0+],
        topic_id: Uuid [0+],
        is_internal: bool [0+],
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0+],
        topic_authorized_operations: i32 [0+] = i32::MIN,
    }

    /// A partition, its leader and its replicas.
    struct DescribeTopicPartitionsResponsePartition {
        error_code: i16 [0+],
        partition_index: i32 [0+],
        leader_id: i32 [0+],
        leader_epoch: i32 [0+] = -1,
        replica_nodes: Vec<i32> [0+],
        isr_nodes: Vec<i32> [0+],
        eligible_leader_replicas: Option<Vec<i32>> [0+],
        last_known_elr: Option<Vec<i32>> [0+],
        offline_replicas: Vec<i32> [0+],
    }
}
