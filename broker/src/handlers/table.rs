//! The one table of APIs: `ApiVersions` answers from it and dispatch follows it.

use std::ops::RangeInclusive;
use std::rc::Rc;

use wire::kafka::api_key::ApiKey;
use wire::kafka::message::{Message, Request};

use super::reply::Response;
use super::{Context, Incoming, Refusal};
use super::{
    alter_configs, api_versions, client_quotas, create_partitions, create_topics, delete_records,
    delete_topics, describe_cluster, describe_configs, describe_log_dirs, describe_topic_partitions, fetch,
    find_coordinator, groups, init_producer_id, list_offsets, metadata, offset_commit, offset_fetch,
    offset_for_leader_epoch,
};
use crate::limits;
use crate::shard::turn::Turn;

/// One row: an API, the versions that are spoken, and whether `ApiVersions` names it.
pub struct Row {
    /// Which API.
    pub key: ApiKey,
    /// What `ApiVersions` says.
    pub advertised: RangeInclusive<i16>,
    /// What is decoded and answered.
    pub spoken: RangeInclusive<i16>,
}

macro_rules! table {
    ($($request:ty => $handler:path),+ $(,)?) => {
        /// Every API but produce, which `begin` serves by itself, in order of key.
        const ROWS: &[Row] = &[
            // Old librdkafka refuses a broker whose lowest produce version is above 0.
            Row { key: ApiKey::Produce, advertised: 0..=13, spoken: 3..=13 },
            $(Row {
                key: <$request as Request>::API_KEY,
                advertised: <$request as Request>::VERSIONS,
                spoken: <$request as Request>::VERSIONS,
            }),+
        ];

        /// Decodes the request and runs its handler.
        pub async fn run(context: &Rc<Context>, mut request: Incoming) -> Result<Response, Refusal> {
            let version = request.header.api_version;
            if request.key == ApiKey::ApiVersions && !speaks(request.key, version) {
                return Ok(api_versions::unsupported(&request));
            }
            $(if request.key == <$request as Request>::API_KEY {
                let body: $request = decode(&mut request).await?;
                return $handler(context, &request, body).await;
            })+
            Err(Refusal::UnknownApi(request.key as i16))
        }
    };
}

table! {
    wire::kafka::fetch::FetchRequest => fetch::handle,
    wire::kafka::list_offsets::ListOffsetsRequest => list_offsets::handle,
    wire::kafka::metadata::MetadataRequest => metadata::handle,
    wire::kafka::offset_commit::OffsetCommitRequest => offset_commit::handle,
    wire::kafka::offset_fetch::OffsetFetchRequest => offset_fetch::handle,
    wire::kafka::find_coordinator::FindCoordinatorRequest => find_coordinator::handle,
    wire::kafka::join_group::JoinGroupRequest => groups::join,
    wire::kafka::heartbeat::HeartbeatRequest => groups::heartbeat,
    wire::kafka::leave_group::LeaveGroupRequest => groups::leave,
    wire::kafka::sync_group::SyncGroupRequest => groups::sync,
    wire::kafka::describe_groups::DescribeGroupsRequest => groups::describe,
    wire::kafka::list_groups::ListGroupsRequest => groups::list,
    wire::kafka::api_versions::ApiVersionsRequest => api_versions::handle,
    wire::kafka::create_topics::CreateTopicsRequest => create_topics::handle,
    wire::kafka::delete_topics::DeleteTopicsRequest => delete_topics::handle,
    wire::kafka::delete_records::DeleteRecordsRequest => delete_records::handle,
    wire::kafka::init_producer_id::InitProducerIdRequest => init_producer_id::handle,
    wire::kafka::offset_for_leader_epoch::OffsetForLeaderEpochRequest => offset_for_leader_epoch::handle,
    wire::kafka::describe_configs::DescribeConfigsRequest => describe_configs::handle,
    wire::kafka::alter_configs::AlterConfigsRequest => alter_configs::handle,
    wire::kafka::describe_log_dirs::DescribeLogDirsRequest => describe_log_dirs::handle,
    wire::kafka::create_partitions::CreatePartitionsRequest => create_partitions::handle,
    wire::kafka::incremental_alter_configs::IncrementalAlterConfigsRequest => alter_configs::handle_incremental,
    wire::kafka::delete_groups::DeleteGroupsRequest => groups::delete,
    wire::kafka::describe_client_quotas::DescribeClientQuotasRequest => client_quotas::describe,
    wire::kafka::alter_client_quotas::AlterClientQuotasRequest => client_quotas::alter,
    wire::kafka::describe_cluster::DescribeClusterRequest => describe_cluster::handle,
    wire::kafka::describe_topic_partitions::DescribeTopicPartitionsRequest => describe_topic_partitions::handle,
}

/// The body of a request. A long one is read with rests, in which others of the shard run.
pub async fn decode<M: Message>(request: &mut Incoming) -> Result<M, Refusal> {
    let version = request.header.api_version;
    let decoded = if request.body.left() > limits::DECODE_STEP_BYTES {
        let mut turn = Turn::default();
        // In a box: the state of so deep a walk would else be part of every connection.
        Box::pin(M::decode_paced(&mut request.body, version, &mut turn)).await
    } else {
        M::decode(&mut request.body, version)
    };
    decoded.map_err(|error| Refusal::Body(request.key, version, error))
}

/// All rows, in order of key.
pub fn rows() -> &'static [Row] {
    ROWS
}

/// Whether the API is served at all.
pub fn knows(key: ApiKey) -> bool {
    ROWS.iter().any(|row| row.key == key)
}

/// Whether this version of the API is decoded and answered.
pub fn speaks(key: ApiKey, version: i16) -> bool {
    ROWS.iter().any(|row| row.key == key && row.spoken.contains(&version))
}

/// The answer to `request` when its handler has a body and no records.
pub fn answer<M: Message>(request: &Incoming, body: &M) -> Result<Response, Refusal> {
    Ok(Response::encode(request.key, &request.header, body, &mut []))
}

/// [`answer`] for bodies with very many elements: others of the shard run in between.
pub async fn answer_paced<M: Message>(request: &Incoming, body: &M) -> Result<Response, Refusal> {
    Ok(Response::encode_paced(request.key, &request.header, body, &mut []).await)
}
