//! `ListOffsets`: earliest, latest, largest timestamp, and first record at or after a time.

use std::rc::Rc;

use wire::kafka::Str;
use wire::kafka::error_code::ErrorCode;
use wire::kafka::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::partitions::{each, on_partition};
use super::reply::Response;
use super::table::answer_paced;
use super::{Context, Incoming, Refusal};
use crate::shard::partition::{Found, OffsetQuery};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The first version whose answer has an epoch.
const EPOCH_FROM: i16 = 4;

/// Answers a `ListOffsets` request.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: ListOffsetsRequest,
) -> Result<Response, Refusal> {
    let version = request.header.api_version;
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        let partitions = each(&topic.partitions, |asked| async move {
            response(asked.partition_index, look_up(context, &topic.name, asked, version).await, version)
        });
        let partitions = partitions.await;
        topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions });
    }
    answer_paced(request, &ListOffsetsResponse { topics, ..Default::default() }).await
}

async fn look_up(
    context: &Rc<Context>,
    topic: &Str,
    asked: &ListOffsetsPartition,
    version: i16,
) -> Result<Found, ErrorCode> {
    let epoch = asked.current_leader_epoch;
    let query = query(asked.timestamp, version)?;
    on_partition(context, topic, asked.partition_index, move |partition| async move {
        partition.check_epoch(epoch)?;
        partition.find(query).await
    })
    .await
}

/// Special timestamps came one by one; a version that lacks one says so.
fn query(timestamp: i64, version: i16) -> Result<OffsetQuery, ErrorCode> {
    match timestamp {
        LATEST => Ok(OffsetQuery::Latest),
        EARLIEST => Ok(OffsetQuery::Earliest),
        MAX_TIMESTAMP if version >= 7 => Ok(OffsetQuery::MaxTimestamp),
        EARLIEST_LOCAL if version >= 8 => Ok(OffsetQuery::Earliest),
        LATEST_TIERED if version >= 9 => Ok(OffsetQuery::Nothing),
        EARLIEST_PENDING_UPLOAD if version >= 11 => Ok(OffsetQuery::Nothing),
        time if time >= 0 => Ok(OffsetQuery::AtOrAfter(time)),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

fn response(
    partition_index: i32,
    found: Result<Found, ErrorCode>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let (error_code, found) = match found {
        Ok(found) => (0, found),
        Err(code) => (code.code(), Found::NOTHING),
    };
    ListOffsetsPartitionResponse {
        partition_index,
        error_code,
        timestamp: found.timestamp,
        offset: found.offset,
        leader_epoch: if version >= EPOCH_FROM { found.leader_epoch } else { -1 },
    }
}
