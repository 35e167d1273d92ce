//! `DescribeConfigs` (key 32). Resource types: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.

use super::types::Str;

messages! {
    api DescribeConfigs: DescribeConfigsRequest -> DescribeConfigsResponse, versions 1-4;
    flexible 4+;

    /// Whose configurations to describe.
    struct DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource> [0+],
        include_synonyms: bool [1+],
        include_documentation: bool [3+],
    }

    /// One resource.
    struct DescribeConfigsResource {
        resource_type: i8 [0+],
        resource_name: Str [0+],
        /// Null: all of them.
        configuration_keys: Option<Vec<Str>> [0+],
    }

    /// Configurations of each resource.
    struct DescribeConfigsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        results: Vec<DescribeConfigsResult> [0+],
    }

    /// One resource, or why it cannot be described.
    struct DescribeConfigsResult {
        error_code: i16 [0+],
        error_message: Option<Str> [0+],
        resource_type: i8 [0+],
        resource_name: Str [0+],
        configs: Vec<DescribeConfigsResourceResult> [0+],
    }

    /// One configuration.
    struct DescribeConfigsResourceResult {
        name: Str [0+],
        value: Option<Str> [0+],
        read_only: bool [0+],
        /// 1 topic, 2 dynamic broker, 3 dynamic default broker, 4 static broker, 5 default, 6 broker logger, 8 group.
        config_source: i8 [1+] = -1,
        is_sensitive: bool [0+],
        synonyms: Vec<DescribeConfigsSynonym> [1+],
        /// 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password.
        config_type: i8 [3+ ignorable],
        documentation: Option<Str> [3+ ignorable],
    }

    /// Another place that could have set the configuration.
    struct DescribeConfigsSynonym {
        name: Str [1+],
        value: Option<Str> [1+],
        source: i8 [1+],
    }
}
