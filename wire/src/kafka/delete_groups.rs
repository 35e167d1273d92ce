//! `DeleteGroups` (key 42): groups and their positions (KIP-229).

use super::types::Str;

messages! {
    api DeleteGroups: DeleteGroupsRequest -> DeleteGroupsResponse, versions 0-2;
    flexible 2+;

    /// Groups to delete.
    struct DeleteGroupsRequest {
        groups_names: Vec<Str> [0+],
    }

    /// The outcome for each group.
    struct DeleteGroupsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        results: Vec<DeletableGroupResult> [0+],
    }

    /// The outcome for one group.
    struct DeletableGroupResult {
        group_id: Str [0+],
        error_code: i16 [0+],
    }
}
