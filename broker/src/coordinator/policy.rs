//! What an operator may set of groups and offsets, in the coordinator's units.

use crate::config::group::GroupSettings;

use super::limits;

/// The settings a coordinator decides by. Milliseconds and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPolicy {
    /// The shortest session timeout a member may ask for.
    pub session_timeout_ms_min: i32,
    /// The longest session timeout a member may ask for.
    pub session_timeout_ms_max: i32,
    /// How long the first rebalance of an empty group waits for more members.
    pub initial_rebalance_delay_ms: i32,
    /// The most members of one group.
    pub members_max: usize,
    /// How long positions are kept once nobody uses them.
    pub offsets_retention_ms: i64,
    /// How often positions are looked at for what may be forgotten.
    pub offsets_sweep_interval_ms: i64,
    /// The longest text that may be attached to a position, in UTF-16 units as Kafka counts.
    pub offset_metadata_max: usize,
}

impl Default for GroupPolicy {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            members_max: limits::MEMBERS_PER_GROUP_MAX,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            offsets_sweep_interval_ms: 600_000,
            offset_metadata_max: 4_096,
        }
    }
}

impl From<&GroupSettings> for GroupPolicy {
    fn from(settings: &GroupSettings) -> Self {
        Self {
            session_timeout_ms_min: settings.min_session_timeout_ms,
            session_timeout_ms_max: settings.max_session_timeout_ms,
            initial_rebalance_delay_ms: settings.initial_rebalance_delay_ms.max(0),
            members_max: usize::try_from(settings.max_size).unwrap_or(0).min(limits::MEMBERS_PER_GROUP_MAX),
            offsets_retention_ms: i64::from(settings.offsets_retention_minutes) * 60_000,
            offsets_sweep_interval_ms: settings.offsets_retention_check_interval_ms.max(1),
            offset_metadata_max: usize::try_from(settings.offset_metadata_max_bytes).unwrap_or(0),
        }
    }
}
