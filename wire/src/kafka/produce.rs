//! `Produce` (key 0): append record batches. Versions 0 to 2 are only advertised, see the broker's table.

use bytes::Bytes;

use super::types::{Str, Uuid};

messages! {
    api Produce: ProduceRequest -> ProduceResponse, versions 3-13;
    flexible 9+;

    /// Batches to append, by topic and partition.
    struct ProduceRequest {
        transactional_id: Option<Str> [3+],
        /// 0: no answer; 1: the leader; -1: all replicas in sync.
        acks: i16 [0+],
        timeout_ms: i32 [0+],
        topic_data: Vec<TopicProduceData> [0+],
    }

    /// A topic by name (to version 12) or id (from version 13, KIP-516).
    struct TopicProduceData {
        name: Str [0-12 ignorable],
        topic_id: Uuid [13+ ignorable],
        partition_data: Vec<PartitionProduceData> [0+],
    }

    /// The record batches for one partition.
    struct PartitionProduceData {
        index: i32 [0+],
        /// A slice of the frame.
        records: Option<Bytes> [0+],
    }

    /// The outcome for each partition; not sent for `acks` 0.
    struct ProduceResponse {
        responses: Vec<TopicProduceResponse> [0+],
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [1+],
        node_endpoints: Vec<NodeEndpoint> [10+ tag 0],
    }

    /// The outcome for each partition of a topic.
    struct TopicProduceResponse {
        name: Str [0-12 ignorable],
        topic_id: Uuid [13+ ignorable],
        partition_responses: Vec<PartitionProduceResponse> [0+],
    }

    /// Where the batch went, or why not.
    struct PartitionProduceResponse {
        index: i32 [0+],
        error_code: i16 [0+],
        base_offset: i64 [0+],
        /// -1 when the topic keeps the producer's timestamps.
        log_append_time_ms: i64 [2+] = -1,
        log_start_offset: i64 [5+ ignorable] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage> [8+ ignorable],
        error_message: Option<Str> [8+ ignorable],
        current_leader: LeaderIdAndEpoch [10+ tag 0],
    }

    /// A record that was refused, and why (KIP-467).
    struct BatchIndexAndErrorMessage {
        batch_index: i32 [8+],
        batch_index_error_message: Option<Str> [8+],
    }

    /// The partition's leader, when the request went elsewhere (KIP-951).
    struct LeaderIdAndEpoch {
        leader_id: i32 [10+] = -1,
        leader_epoch: i32 [10+] = -1,
    }

    /// Where a broker named as leader listens (KIP-951).
    struct NodeEndpoint {
        node_id: i32 [10+],
        host: Str [10+],
        port: i32 [10+],
        rack: Option<Str> [10+],
    }
}
