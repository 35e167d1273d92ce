//! `DescribeGroups` (key 15): classic groups and their members.

use bytes::Bytes;

use super::types::Str;

messages! {
    api DescribeGroups: DescribeGroupsRequest -> DescribeGroupsResponse, versions 0-6;
    flexible 5+;

    /// Groups to describe.
    struct DescribeGroupsRequest {
        groups: Vec<Str> [0+],
        include_authorized_operations: bool [3+],
    }

    /// The groups.
    struct DescribeGroupsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [1+ ignorable],
        groups: Vec<DescribedGroup> [0+],
    }

    /// A group or why it cannot be described.
    struct DescribedGroup {
        error_code: i16 [0+],
        error_message: Option<Str> [6+],
        group_id: Str [0+],
        group_state: Str [0+],
        protocol_type: Str [0+],
        protocol_data: Str [0+],
        members: Vec<DescribedGroupMember> [0+],
        /// Bit field; `i32::MIN` when not asked for.
        authorized_operations: i32 [3+] = i32::MIN,
    }

    /// One member.
    struct DescribedGroupMember {
        member_id: Str [0+],
        group_instance_id: Option<Str> [4+ ignorable],
        client_id: Str [0+],
        client_host: Str [0+],
        member_metadata: Bytes [0+],
        member_assignment: Bytes [0+],
    }
}
