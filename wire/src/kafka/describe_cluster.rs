//! `DescribeCluster` (key 60): brokers and controller (KIP-700).

use super::types::Str;

messages! {
    api DescribeCluster: DescribeClusterRequest -> DescribeClusterResponse, versions 0-2;
    flexible 0+;

    /// What to tell beyond the brokers.
    struct DescribeClusterRequest {
        include_cluster_authorized_operations: bool [0+],
        /// 1: brokers; 2: controllers.
        endpoint_type: i8 [1+] = 1,
        include_fenced_brokers: bool [2+],
    }

    /// The cluster.
    struct DescribeClusterResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        error_code: i16 [0+],
        error_message: Option<Str> [0+],
        endpoint_type: i8 [1+] = 1,
        cluster_id: Str [0+],
        controller_id: i32 [0+] = -1,
        brokers: Vec<DescribeClusterBroker> [0+],
        /// Bit field; `i32::MIN` when not asked for.
        cluster_authorized_operations: i32 [0+] = i32::MIN,
    }

    /// One broker.
    struct DescribeClusterBroker {
        broker_id: i32 [0+],
        host: Str [0+],
        port: i32 [0+],
        rack: Option<Str> [0+],
        is_fenced: bool [2+],
    }
}
