//! `ApiVersions` (key 18): what the broker speaks. The first request on a connection (KIP-35, KIP-511).

use super::types::Str;

messages! {
    api ApiVersions: ApiVersionsRequest -> ApiVersionsResponse, versions 0-4;
    flexible 3+;

    /// Asks for the APIs and versions that the broker speaks.
    struct ApiVersionsRequest {
        client_software_name: Str [3+ ignorable],
        client_software_version: Str [3+ ignorable],
    }

    /// The APIs that the broker speaks; its header is always version 0.
    struct ApiVersionsResponse {
        error_code: i16 [0+],
        api_keys: Vec<ApiVersion> [0+],
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [1+ ignorable],
        supported_features: Vec<SupportedFeatureKey> [3+ tag 0 ignorable],
        /// -1 when unknown.
        finalized_features_epoch: i64 [3+ tag 1 ignorable] = -1,
        finalized_features: Vec<FinalizedFeatureKey> [3+ tag 2 ignorable],
        zk_migration_ready: bool [3+ tag 3 ignorable],
    }

    /// One API and its versions.
    struct ApiVersion {
        api_key: i16 [0+],
        min_version: i16 [0+],
        max_version: i16 [0+],
    }

    /// A feature that the broker could use (KIP-584).
    struct SupportedFeatureKey {
        name: Str [3+],
        min_version: i16 [3+],
        max_version: i16 [3+],
    }

    /// A feature that the cluster uses (KIP-584).
    struct FinalizedFeatureKey {
        name: Str [3+],
        max_version_level: i16 [3+],
        min_version_level: i16 [3+],
    }
}
