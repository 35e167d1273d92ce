//! `DeleteTopics` (key 20).

use super::types::{Str, Uuid};

messages! {
    api DeleteTopics: DeleteTopicsRequest -> DeleteTopicsResponse, versions 1-6;
    flexible 4+;

    /// Topics to delete: in `topic_names` to version 5, in `topics` from version 6.
    struct DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6+],
        topic_names: Vec<Str> [0-5 ignorable],
        timeout_ms: i32 [0+],
    }

    /// A topic by name, or by id (name null).
    struct DeleteTopicState {
        name: Option<Str> [6+],
        topic_id: Uuid [6+],
    }

    /// The outcome for each topic.
    struct DeleteTopicsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [1+],
        responses: Vec<DeletableTopicResult> [0+],
    }

    /// The outcome for one topic.
    struct DeletableTopicResult {
        name: Option<Str> [0+ null 6+],
        topic_id: Uuid [6+ ignorable],
        error_code: i16 [0+],
        error_message: Option<Str> [5+ ignorable],
    }
}
