//! `Metadata` (key 3): brokers, topics, partitions and their leaders.

use super::types::{Str, Uuid};

messages! {
    api Metadata: MetadataRequest -> MetadataResponse, versions 0-13;
    flexible 9+;

    /// Which topics to describe.
    struct MetadataRequest {
        /// Null: all topics; in version 0 an empty list says so.
        topics: Option<Vec<MetadataRequestTopic>> [0+ null 1+],
        allow_auto_topic_creation: bool [4+] = true,
        include_cluster_authorized_operations: bool [8-10],
        include_topic_authorized_operations: bool [8+],
    }

    /// A topic by name, or by id (name null, from version 12).
    struct MetadataRequestTopic {
        topic_id: Uuid [10+ ignorable],
        name: Option<Str> [0+ null 10+],
    }

    /// The cluster as the broker knows it.
    struct MetadataResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [3+ ignorable],
        brokers: Vec<MetadataResponseBroker> [0+],
        cluster_id: Option<Str> [2+ ignorable],
        /// -1 when unknown.
        controller_id: i32 [1+ ignorable] = -1,
        topics: Vec<MetadataResponseTopic> [0+],
        /// Bit field; `i32::MIN` when not asked for.
        cluster_authorized_operations: i32 [8-10] = i32::MIN,
        error_code: i16 [13+ ignorable],
    }

    /// A broker and where its listener is.
    struct MetadataResponseBroker {
        node_id: i32 [0+],
        host: Str [0+],
        port: i32 [0+],
        rack: Option<Str> [1+ ignorable],
    }

    /// A topic or why it cannot be described.
    struct MetadataResponseTopic {
        error_code: i16 [0+],
        name: Option<Str> [0+ null 12+],
        topic_id: Uuid [10+ ignorable],
        is_internal: bool [1+ ignorable],
        partitions: Vec<MetadataResponsePartition> [0+],
        /// Bit field; `i32::MIN` when not asked for.
        topic_authorized_operations: i32 [8+] = i32::MIN,
    }

    /// A partition, its leader and its replicas.
    struct MetadataResponsePartition {
        error_code: i16 [0+],
        partition_index: i32 [0+],
        /// -1 when there is none.
        leader_id: i32 [0+],
        leader_epoch: i32 [7+ ignorable] = -1,
        replica_nodes: Vec<i32> [0+],
        isr_nodes: Vec<i32> [0+],
        offline_replicas: Vec<i32> [5+ ignorable],
    }
}
