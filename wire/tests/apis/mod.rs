//! The one list of APIs that the tests go through.

use std::ops::RangeInclusive;

use wire::kafka::Request;

/// Calls `$each!(module Request Response)` for every API of the crate.
#[macro_export]
macro_rules! for_each_api {
    ($each:ident) => {
        $each!(add_partitions_to_txn AddPartitionsToTxnRequest AddPartitionsToTxnResponse);
        $each!(alter_client_quotas AlterClientQuotasRequest AlterClientQuotasResponse);
        $each!(alter_configs AlterConfigsRequest AlterConfigsResponse);
        $each!(api_versions ApiVersionsRequest ApiVersionsResponse);
        $each!(create_partitions CreatePartitionsRequest CreatePartitionsResponse);
        $each!(create_topics CreateTopicsRequest CreateTopicsResponse);
        $each!(delete_groups DeleteGroupsRequest DeleteGroupsResponse);
        $each!(delete_records DeleteRecordsRequest DeleteRecordsResponse);
        $each!(delete_topics DeleteTopicsRequest DeleteTopicsResponse);
        $each!(describe_client_quotas DescribeClientQuotasRequest DescribeClientQuotasResponse);
        $each!(describe_cluster DescribeClusterRequest DescribeClusterResponse);
        $each!(describe_configs DescribeConfigsRequest DescribeConfigsResponse);
        $each!(describe_groups DescribeGroupsRequest DescribeGroupsResponse);
        $each!(describe_log_dirs DescribeLogDirsRequest DescribeLogDirsResponse);
        $each!(describe_topic_partitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse);
        $each!(end_txn EndTxnRequest EndTxnResponse);
        $each!(fetch FetchRequest FetchResponse);
        $each!(find_coordinator FindCoordinatorRequest FindCoordinatorResponse);
        $each!(heartbeat HeartbeatRequest HeartbeatResponse);
        $each!(incremental_alter_configs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse);
        $each!(init_producer_id InitProducerIdRequest InitProducerIdResponse);
        $each!(join_group JoinGroupRequest JoinGroupResponse);
        $each!(leave_group LeaveGroupRequest LeaveGroupResponse);
        $each!(list_groups ListGroupsRequest ListGroupsResponse);
        $each!(list_offsets ListOffsetsRequest ListOffsetsResponse);
        $each!(metadata MetadataRequest MetadataResponse);
        $each!(offset_commit OffsetCommitRequest OffsetCommitResponse);
        $each!(offset_fetch OffsetFetchRequest OffsetFetchResponse);
        $each!(offset_for_leader_epoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse);
        $each!(produce ProduceRequest ProduceResponse);
        $each!(sasl_authenticate SaslAuthenticateRequest SaslAuthenticateResponse);
        $each!(sasl_handshake SaslHandshakeRequest SaslHandshakeResponse);
        $each!(sync_group SyncGroupRequest SyncGroupResponse);
    };
}

/// The versions of a request, which are also its response's.
pub(crate) fn versions<R: Request>() -> RangeInclusive<i16> {
    R::VERSIONS
}

/// The seed of this run: `SEED` from the environment, or one that is always the same.
pub(crate) fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_260_101)
}

/// Says how to repeat a run that panics.
pub(crate) struct Repeat {
    /// The run's seed.
    pub(crate) seed: u64,
    /// The test binary.
    pub(crate) test: &'static str,
    /// What was being tried.
    pub(crate) doing: String,
}

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "while {}\nrepeat: SEED={} cargo test -p wire --test {}",
                self.doing, self.seed, self.test
            );
        }
    }
}
