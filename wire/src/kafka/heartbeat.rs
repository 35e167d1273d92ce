//! `Heartbeat` (key 12): a member of a classic group is alive.

use super::types::Str;

messages! {
    api Heartbeat: HeartbeatRequest -> HeartbeatResponse, versions 0-4;
    flexible 4+;

    /// The member and the generation it believes in.
    struct HeartbeatRequest {
        group_id: Str [0+],
        generation_id: i32 [0+],
        member_id: Str [0+],
        group_instance_id: Option<Str> [3+],
    }

    /// Whether it still belongs there.
    struct HeartbeatResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [1+ ignorable],
        error_code: i16 [0+],
    }
}
