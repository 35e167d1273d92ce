//! `Fetch` (key 1): read record batches.

use super::types::{Str, Uuid};
use super::writer::Records;

messages! {
    api Fetch: FetchRequest -> FetchResponse, versions 4-18;
    flexible 12+;

    /// What to read, from where, and how long to wait for how much.
    struct FetchRequest {
        cluster_id: Option<Str> [12+ tag 0 ignorable],
        /// -1 for consumers.
        replica_id: i32 [0-14] = -1,
        replica_state: ReplicaState [15+ tag 1],
        max_wait_ms: i32 [0+],
        min_bytes: i32 [0+],
        max_bytes: i32 [3+] = i32::MAX,
        /// 0: read uncommitted; 1: read committed.
        isolation_level: i8 [4+],
        /// 0 with epoch -1: no session; 0 with epoch 0: begin one (KIP-227).
        session_id: i32 [7+ ignorable],
        session_epoch: i32 [7+ ignorable] = -1,
        topics: Vec<FetchTopic> [0+],
        forgotten_topics_data: Vec<ForgottenTopic> [7+],
        rack_id: Str [11+ ignorable],
    }

    /// The follower that fetches (KIP-903).
    struct ReplicaState {
        replica_id: i32 [15+] = -1,
        replica_epoch: i64 [15+] = -1,
    }

    /// A topic by name (to version 12) or id (from version 13, KIP-516).
    struct FetchTopic {
        topic: Str [0-12 ignorable],
        topic_id: Uuid [13+ ignorable],
        partitions: Vec<FetchPartition> [0+],
    }

    /// Where to read in one partition.
    struct FetchPartition {
        partition: i32 [0+],
        current_leader_epoch: i32 [9+ ignorable] = -1,
        fetch_offset: i64 [0+],
        /// Asks for the point of divergence when not -1 (KIP-595).
        last_fetched_epoch: i32 [12+] = -1,
        log_start_offset: i64 [5+ ignorable] = -1,
        /// The first batch is returned even when larger (KIP-74).
        partition_max_bytes: i32 [0+],
        replica_directory_id: Uuid [17+ tag 0 ignorable],
        high_watermark: i64 [18+ tag 1 ignorable] = i64::MAX,
    }

    /// Partitions to drop from the session.
    struct ForgottenTopic {
        topic: Str [7-12 ignorable],
        topic_id: Uuid [13+ ignorable],
        partitions: Vec<i32> [7+],
    }

    /// Record batches by topic and partition.
    struct FetchResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [1+],
        error_code: i16 [7+ ignorable],
        session_id: i32 [7+],
        responses: Vec<FetchableTopicResponse> [0+],
        node_endpoints: Vec<NodeEndpoint> [16+ tag 0],
    }

    /// A topic by name (to version 12) or id (from version 13).
    struct FetchableTopicResponse {
        topic: Str [0-12 ignorable],
        topic_id: Uuid [13+ ignorable],
        partitions: Vec<PartitionData> [0+],
    }

    /// What one partition gives.
    struct PartitionData {
        partition_index: i32 [0+],
        error_code: i16 [0+],
        high_watermark: i64 [0+],
        last_stable_offset: i64 [4+] = -1,
        log_start_offset: i64 [5+ ignorable] = -1,
        diverging_epoch: EpochEndOffset [12+ tag 0],
        current_leader: LeaderIdAndEpoch [12+ tag 1],
        snapshot_id: SnapshotId [12+ tag 2],
        /// Null for readers of uncommitted records.
        aborted_transactions: Option<Vec<AbortedTransaction>> [4+],
        /// -1: this broker (KIP-392).
        preferred_read_replica: i32 [11+] = -1,
        records: Records [0+],
    }

    /// Where an epoch of leadership ended.
    struct EpochEndOffset {
        epoch: i32 [12+] = -1,
        end_offset: i64 [12+] = -1,
    }

    /// The partition's leader, when the request went elsewhere (KIP-951).
    struct LeaderIdAndEpoch {
        leader_id: i32 [12+] = -1,
        leader_epoch: i32 [12+] = -1,
    }

    /// A snapshot to fetch instead; only in the metadata log of Kafka.
    struct SnapshotId {
        end_offset: i64 [0+] = -1,
        epoch: i32 [0+] = -1,
    }

    /// A transaction whose records the consumer is to skip.
    struct AbortedTransaction {
        producer_id: i64 [4+],
        first_offset: i64 [4+],
    }

    /// Where a broker named as leader listens (KIP-951).
    struct NodeEndpoint {
        node_id: i32 [16+],
        host: Str [16+],
        port: i32 [16+],
        rack: Option<Str> [16+],
    }
}
