//! `SyncGroup` (key 14): the leader brings assignments, each member takes its own.

use bytes::Bytes;

use super::types::Str;

messages! {
    api SyncGroup: SyncGroupRequest -> SyncGroupResponse, versions 0-5;
    flexible 4+;

    /// Assignments from the leader; none from the others.
    struct SyncGroupRequest {
        group_id: Str [0+],
        generation_id: i32 [0+],
        member_id: Str [0+],
        group_instance_id: Option<Str> [3+],
        protocol_type: Option<Str> [5+ ignorable],
        protocol_name: Option<Str> [5+ ignorable],
        assignments: Vec<SyncGroupRequestAssignment> [0+],
    }

    /// The assignment of one member; opaque to the broker.
    struct SyncGroupRequestAssignment {
        member_id: Str [0+],
        assignment: Bytes [0+],
    }

    /// The member's assignment.
    struct SyncGroupResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [1+ ignorable],
        error_code: i16 [0+],
        protocol_type: Option<Str> [5+ ignorable],
        protocol_name: Option<Str> [5+ ignorable],
        assignment: Bytes [0+],
    }
}
