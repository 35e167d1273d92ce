//! `DescribeClientQuotas` (key 48): which quotas are set (KIP-546).

use super::types::{Float64, Str};

messages! {
    api DescribeClientQuotas: DescribeClientQuotasRequest -> DescribeClientQuotasResponse, versions 0-1;
    flexible 1+;

    /// Which entities to tell of.
    struct DescribeClientQuotasRequest {
        components: Vec<ComponentData> [0+],
        /// Whether an entity may have no other types than those asked for.
        strict: bool [0+],
    }

    /// What an entity must be.
    struct ComponentData {
        entity_type: Str [0+],
        /// 0: of this name; 1: the default; 2: of any name.
        match_type: i8 [0+],
        /// The name, for match type 0.
        r#match: Option<Str> [0+],
    }

    /// The quotas found.
    struct DescribeClientQuotasResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        error_code: i16 [0+],
        error_message: Option<Str> [0+],
        entries: Option<Vec<EntryData>> [0+],
    }

    /// The quotas of one entity.
    struct EntryData {
        entity: Vec<EntityData> [0+],
        values: Vec<ValueData> [0+],
    }

    /// One part of an entity.
    struct EntityData {
        entity_type: Str [0+],
        /// Null is the default.
        entity_name: Option<Str> [0+],
    }

    /// One quota.
    struct ValueData {
        key: Str [0+],
        value: Float64 [0+],
    }
}
