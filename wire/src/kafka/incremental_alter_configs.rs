//! `IncrementalAlterConfigs` (key 44): change single configurations (KIP-339).

use super::types::Str;

messages! {
    api IncrementalAlterConfigs: IncrementalAlterConfigsRequest -> IncrementalAlterConfigsResponse, versions 0-1;
    flexible 1+;

    /// Resources to change.
    struct IncrementalAlterConfigsRequest {
        resources: Vec<AlterConfigsResource> [0+],
        validate_only: bool [0+],
    }

    /// One resource to change.
    struct AlterConfigsResource {
        resource_type: i8 [0+],
        resource_name: Str [0+],
        configs: Vec<AlterableConfig> [0+],
    }

    /// One configuration to change.
    struct AlterableConfig {
        name: Str [0+],
        /// 0 set, 1 delete, 2 append to a list, 3 subtract from a list.
        config_operation: i8 [0+],
        value: Option<Str> [0+],
    }

    /// The outcome for each resource.
    struct IncrementalAlterConfigsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        responses: Vec<AlterConfigsResourceResponse> [0+],
    }

    /// The outcome for one resource.
    struct AlterConfigsResourceResponse {
        error_code: i16 [0+],
        error_message: Option<Str> [0+],
        resource_type: i8 [0+],
        resource_name: Str [0+],
    }
}
