//! `OffsetFetch`: the durable positions of one or many groups.

use std::rc::Rc;

use futures_util::future::join_all;
use wire::kafka::ErrorCode;
use wire::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};

use super::groups::with_host;
use super::reply::Response;
use super::table::answer_paced;
use super::{Context, Incoming, Refusal};
use crate::coordinator::{fetch_groups, fetch_response};

/// The version from which topics are named by id.
const IDS_FROM: i16 = 10;

/// Answers an `OffsetFetch` request of any version.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: OffsetFetchRequest,
) -> Result<Response, Refusal> {
    let version = request.header.api_version;
    let groups = fetch_groups(version, body);
    let fetched = groups.into_iter().map(|group| fetch(context, group, version >= IDS_FROM));
    let fetched = join_all(fetched).await;
    answer_paced(request, &fetch_response(version, fetched)).await
}

async fn fetch(
    context: &Rc<Context>,
    mut asked: OffsetFetchRequestGroup,
    by_id: bool,
) -> OffsetFetchResponseGroup {
    let group_id = asked.group_id.clone();
    let mut unknown = Vec::new();
    if by_id {
        asked.topics = asked.topics.map(|topics| {
            let image = context.shard.image();
            let (known, absent) =
                topics.into_iter().partition(|topic| image.topic_by_id(&topic.topic_id).is_some());
            unknown = absent;
            let mut known: Vec<wire::kafka::offset_fetch::OffsetFetchRequestTopics> = known;
            for topic in &mut known {
                if let Some(found) = image.topic_by_id(&topic.topic_id) {
                    topic.name = found.name.clone();
                }
            }
            known
        });
    }
    let fetched =
        with_host(context, &group_id, move |host| async move { host.look(|groups, _| groups.fetch(&asked)) });
    let mut response = fetched.await.unwrap_or_else(|code| OffsetFetchResponseGroup {
        group_id,
        error_code: code.code(),
        ..Default::default()
    });
    if by_id {
        let image = context.shard.image();
        for topic in response.topics.iter_mut().filter(|topic| topic.topic_id.is_zero()) {
            topic.topic_id = image.topic(&topic.name).map(|found| found.id).unwrap_or_default();
        }
        // A topic that was deleted since has no id by which it could be named.
        response.topics.retain(|topic| !topic.topic_id.is_zero());
    }
    response.topics.extend(unknown.into_iter().map(|topic| OffsetFetchResponseTopics {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.into_iter().map(unknown_partition).collect(),
    }));
    response
}

fn unknown_partition(partition_index: i32) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some("".into()),
        error_code: ErrorCode::UnknownTopicId.code(),
    }
}
