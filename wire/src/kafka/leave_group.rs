//! `LeaveGroup` (key 13): one member leaves; from version 3 several (KIP-345).

use super::types::Str;

messages! {
    api LeaveGroup: LeaveGroupRequest -> LeaveGroupResponse, versions 0-5;
    flexible 4+;

    /// Who leaves.
    struct LeaveGroupRequest {
        group_id: Str [0+],
        member_id: Str [0-2],
        members: Vec<MemberIdentity> [3+],
    }

    /// A member by id or instance id.
    struct MemberIdentity {
        member_id: Str [3+],
        group_instance_id: Option<Str> [3+],
        reason: Option<Str> [5+ ignorable],
    }

    /// The outcome for each member.
    struct LeaveGroupResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [1+ ignorable],
        error_code: i16 [0+],
        members: Vec<MemberResponse> [3+],
    }

    /// The outcome for one member.
    struct MemberResponse {
        member_id: Str [3+],
        group_instance_id: Option<Str> [3+],
        error_code: i16 [3+],
    }
}
