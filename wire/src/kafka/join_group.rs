//! `JoinGroup` (key 11): enter a classic group.

use bytes::Bytes;

use super::types::Str;

messages! {
    api JoinGroup: JoinGroupRequest -> JoinGroupResponse, versions 0-9;
    flexible 6+;

    /// Who joins, and what it speaks.
    struct JoinGroupRequest {
        group_id: Str [0+],
        session_timeout_ms: i32 [0+],
        /// -1 before version 1: the session timeout.
        rebalance_timeout_ms: i32 [1+ ignorable] = -1,
        member_id: Str [0+],
        group_instance_id: Option<Str> [5+],
        protocol_type: Str [0+],
        protocols: Vec<JoinGroupRequestProtocol> [0+],
        reason: Option<Str> [8+ ignorable],
    }

    /// An assignor and what it needs to know of the member; opaque to the broker.
    struct JoinGroupRequestProtocol {
        name: Str [0+],
        metadata: Bytes [0+],
    }

    /// The generation; for the leader also its members.
    struct JoinGroupResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [2+ ignorable],
        error_code: i16 [0+],
        generation_id: i32 [0+] = -1,
        protocol_type: Option<Str> [7+ ignorable],
        protocol_name: Option<Str> [0+ null 7+],
        leader: Str [0+],
        skip_assignment: bool [9+],
        member_id: Str [0+],
        members: Vec<JoinGroupResponseMember> [0+],
    }

    /// A member, as the leader sees it.
    struct JoinGroupResponseMember {
        member_id: Str [0+],
        group_instance_id: Option<Str> [5+ ignorable],
        metadata: Bytes [0+],
    }
}
