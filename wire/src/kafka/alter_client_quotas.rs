//! `AlterClientQuotas` (key 49): sets and removes quotas (KIP-546).

use super::types::{Float64, Str};

messages! {
    api AlterClientQuotas: AlterClientQuotasRequest -> AlterClientQuotasResponse, versions 0-1;
    flexible 1+;

    /// What to change.
    struct AlterClientQuotasRequest {
        entries: Vec<EntryData> [0+],
        validate_only: bool [0+],
    }

    /// What to change of one entity.
    struct EntryData {
        entity: Vec<EntityData> [0+],
        ops: Vec<OpData> [0+],
    }

    /// One part of an entity.
    struct EntityData {
        entity_type: Str [0+],
        /// Null is the default.
        entity_name: Option<Str> [0+],
    }

    /// One quota to set or to remove.
    struct OpData {
        key: Str [0+],
        value: Float64 [0+],
        remove: bool [0+],
    }

    /// The outcome for each entity.
    struct AlterClientQuotasResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        entries: Vec<EntryOutcome> [0+],
    }

    /// The outcome for one entity.
    struct EntryOutcome {
        error_code: i16 [0+],
        error_message: Option<Str> [0+],
        entity: Vec<EntityData> [0+],
    }
}
