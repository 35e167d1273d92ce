//! `CreateTopics` (key 19).

use super::types::{Str, Uuid};

messages! {
    api CreateTopics: CreateTopicsRequest -> CreateTopicsResponse, versions 2-7;
    flexible 5+;

    /// Topics to create.
    struct CreateTopicsRequest {
        topics: Vec<CreatableTopic> [0+],
        timeout_ms: i32 [0+] = 60000,
        validate_only: bool [1+],
    }

    /// One topic to create.
    struct CreatableTopic {
        name: Str [0+],
        /// -1: the broker's default, or as many as are assigned.
        num_partitions: i32 [0+],
        /// -1: the broker's default, or as assigned.
        replication_factor: i16 [0+],
        assignments: Vec<CreatableReplicaAssignment> [0+],
        configs: Vec<CreatableTopicConfig> [0+],
    }

    /// The brokers of one partition, the preferred leader first.
    struct CreatableReplicaAssignment {
        partition_index: i32 [0+],
        broker_ids: Vec<i32> [0+],
    }

    /// A configuration that differs from the default.
    struct CreatableTopicConfig {
        name: Str [0+],
        value: Option<Str> [0+],
    }

    /// The outcome for each topic.
    struct CreateTopicsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [2+],
        topics: Vec<CreatableTopicResult> [0+],
    }

    /// The topic as created, or why not.
    struct CreatableTopicResult {
        name: Str [0+],
        topic_id: Uuid [7+ ignorable],
        error_code: i16 [0+],
        error_message: Option<Str> [1+],
        topic_config_error_code: i16 [5+ tag 0 ignorable],
        num_partitions: i32 [5+ ignorable] = -1,
        replication_factor: i16 [5+ ignorable] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [5+ ignorable],
    }

    /// One configuration of the topic created.
    struct CreatableTopicConfigs {
        name: Str [5+],
        value: Option<Str> [5+],
        read_only: bool [5+],
        /// See [`describe_configs`](super::describe_configs).
        config_source: i8 [5+ ignorable] = -1,
        is_sensitive: bool [5+],
    }
}
