//! `OffsetCommit`: positions of a group, answered when they are durable.

use std::collections::HashMap;
use std::rc::Rc;

use wire::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use wire::kafka::{ErrorCode, Str, Uuid};

use super::groups::{ask, caller, code_of};
use super::reply::Response;
use super::table::answer_paced;
use super::{Context, Incoming, Refusal};
use crate::coordinator::Reply;

/// The version from which topics are named by id.
const IDS_FROM: i16 = 10;

/// The outcome of each partition, by name or id of its topic.
type Codes = HashMap<(Str, Uuid, i32), i16>;

/// Answers an `OffsetCommit` request. Partitions that do not exist are refused here; the rest goes to the coordinator.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    mut body: OffsetCommitRequest,
) -> Result<Response, Refusal> {
    let by_id = request.header.api_version >= IDS_FROM;
    let asked = body.topics.clone();
    let known = body.topics.drain(..).filter_map(|topic| known_part(context, topic, by_id)).collect();
    body.topics = known;
    let mut codes = Codes::new();
    if !body.topics.is_empty() {
        let (caller, group) = (caller(request), body.group_id.clone());
        let sent = body.topics.clone();
        let reply =
            ask(context, &group, move |groups, token, now| groups.commit(&caller, &body, token, now)).await;
        match reply {
            Ok(Reply::OffsetCommit(response)) => {
                for topic in response.topics {
                    for partition in topic.partitions {
                        let key = key(&topic.name, topic.topic_id, partition.partition_index, by_id);
                        codes.insert(key, partition.error_code);
                    }
                }
            }
            other => {
                let code = code_of(other);
                for topic in sent {
                    for partition in topic.partitions {
                        codes
                            .insert(key(&topic.name, topic.topic_id, partition.partition_index, by_id), code);
                    }
                }
            }
        }
    }
    let topics = asked.into_iter().map(|topic| outcome(context, topic, by_id, &codes)).collect();
    answer_paced(request, &OffsetCommitResponse { topics, ..Default::default() }).await
}

fn key(name: &Str, id: Uuid, partition: i32, by_id: bool) -> (Str, Uuid, i32) {
    if by_id { (Str::default(), id, partition) } else { (name.clone(), Uuid::ZERO, partition) }
}

/// The topic with its name and id filled in and only its partitions that exist; `None` if there are none.
fn known_part(
    context: &Context,
    mut topic: OffsetCommitRequestTopic,
    by_id: bool,
) -> Option<OffsetCommitRequestTopic> {
    let image = context.shard.image();
    let known = if by_id { image.topic_by_id(&topic.topic_id) } else { image.topic(&topic.name) }?;
    topic.name = known.name.clone();
    topic.topic_id = known.id;
    topic.partitions.retain(|partition| known.partition(partition.partition_index).is_some());
    (!topic.partitions.is_empty()).then_some(topic)
}

fn outcome(
    context: &Context,
    topic: OffsetCommitRequestTopic,
    by_id: bool,
    codes: &Codes,
) -> OffsetCommitResponseTopic {
    let unknown_id = by_id && context.shard.image().topic_by_id(&topic.topic_id).is_none();
    let absent = if unknown_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
    let partitions = topic.partitions.iter().map(|partition| {
        let key = key(&topic.name, topic.topic_id, partition.partition_index, by_id);
        OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: codes.get(&key).copied().unwrap_or(absent.code()),
        }
    });
    OffsetCommitResponseTopic {
        partitions: partitions.collect(),
        name: topic.name.clone(),
        topic_id: topic.topic_id,
    }
}
