//! `FindCoordinator` (key 10): which broker holds a group or a transactional id. Several keys from version 4 (KIP-699).

use super::types::Str;

messages! {
    api FindCoordinator: FindCoordinatorRequest -> FindCoordinatorResponse, versions 0-6;
    flexible 3+;

    /// Keys to look up.
    struct FindCoordinatorRequest {
        key: Str [0-3],
        /// 0: group; 1: transactional id; 2: share group.
        key_type: i8 [1+],
        coordinator_keys: Vec<Str> [4+],
    }

    /// One coordinator to version 3, many from version 4.
    struct FindCoordinatorResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [1+ ignorable],
        error_code: i16 [0-3],
        error_message: Option<Str> [1-3 ignorable],
        node_id: i32 [0-3],
        host: Str [0-3],
        port: i32 [0-3],
        coordinators: Vec<Coordinator> [4+],
    }

    /// The coordinator of one key.
    struct Coordinator {
        key: Str [4+],
        node_id: i32 [4+],
        host: Str [4+],
        port: i32 [4+],
        error_code: i16 [4+],
        error_message: Option<Str> [4+ ignorable],
    }
}
