//! `ListGroups` (key 16).

use super::types::Str;

messages! {
    api ListGroups: ListGroupsRequest -> ListGroupsResponse, versions 0-5;
    flexible 3+;

    /// Which groups to list; all states and types when empty (KIP-518, KIP-848).
    struct ListGroupsRequest {
        states_filter: Vec<Str> [4+],
        types_filter: Vec<Str> [5+],
    }

    /// The groups that this broker coordinates.
    struct ListGroupsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [1+ ignorable],
        error_code: i16 [0+],
        groups: Vec<ListedGroup> [0+],
    }

    /// One group.
    struct ListedGroup {
        group_id: Str [0+],
        protocol_type: Str [0+],
        group_state: Str [4+ ignorable],
        group_type: Str [5+ ignorable],
    }
}
