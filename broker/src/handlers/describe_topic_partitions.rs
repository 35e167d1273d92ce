//! `DescribeTopicPartitions`: topics in pages of partitions, ordered by name (KIP-966).

use std::rc::Rc;
use std::sync::Arc;

use wire::kafka::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use wire::kafka::error_code::ErrorCode;
use wire::kafka::{Str, Uuid};

use super::brokers::Brokers;
use super::metadata::TOPIC_OPERATIONS;
use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};
use crate::metadata::image::{MetadataImage, Partition, Topic};

/// Partitions in one page at most, as Kafka's `max.request.partition.size.limit`.
const PAGE_MAX: i32 = 2000;

/// Answers from the shard's image.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: DescribeTopicPartitionsRequest,
) -> Result<Response, Refusal> {
    let image = context.shard.image();
    if body.cursor.as_ref().is_some_and(|cursor| cursor.partition_index < 0) {
        let refused = body.topics.into_iter().map(|topic| failed(topic.name, ErrorCode::InvalidRequest));
        let body = DescribeTopicPartitionsResponse { topics: refused.collect(), ..Default::default() };
        return answer(request, &body);
    }
    let names = names(&image, &body);
    let mut left = body.response_partition_limit.clamp(1, PAGE_MAX) as usize;
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for name in names {
        let from = match &body.cursor {
            Some(cursor) if cursor.topic_name == name => cursor.partition_index,
            _ => 0,
        };
        if left == 0 {
            next_cursor = Some(Cursor { topic_name: name, partition_index: from });
            break;
        }
        let Some(topic) = image.topic(&name) else {
            topics.push(unknown(name));
            continue;
        };
        let described = describe(&context.brokers, topic, from, left);
        left -= described.partitions.len();
        let reached = from + described.partitions.len() as i32;
        topics.push(described);
        if (reached as usize) < topic.partitions.len() {
            next_cursor = Some(Cursor { topic_name: name, partition_index: reached });
            break;
        }
    }
    answer(request, &DescribeTopicPartitionsResponse { topics, next_cursor, ..Default::default() })
}

/// What is asked for, in order, from the cursor on.
fn names(image: &MetadataImage, body: &DescribeTopicPartitionsRequest) -> Vec<Str> {
    let from = body.cursor.as_ref().map_or("", |cursor| cursor.topic_name.as_str());
    if body.topics.is_empty() {
        // No page holds more topics than partitions.
        return image.topics_from(from).take(PAGE_MAX as usize + 1).map(|topic| topic.name.clone()).collect();
    }
    let mut names: Vec<Str> =
        body.topics.iter().map(|topic| topic.name.clone()).filter(|name| name.as_str() >= from).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn unknown(name: Str) -> DescribeTopicPartitionsResponseTopic {
    let code = match crate::metadata::topic_name::check(&name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    failed(name, code)
}

fn failed(name: Str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(name),
        topic_id: Uuid::ZERO,
        ..Default::default()
    }
}

fn describe(
    brokers: &Brokers,
    topic: &Arc<Topic>,
    from: i32,
    limit: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = topic.partitions.iter().skip(from as usize).take(limit);
    DescribeTopicPartitionsResponseTopic {
        error_code: 0,
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: topic.internal,
        partitions: partitions.map(|each| partition(brokers, each)).collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
    }
}

fn partition(brokers: &Brokers, partition: &Partition) -> DescribeTopicPartitionsResponsePartition {
    let replicas = brokers.replicas(partition);
    DescribeTopicPartitionsResponsePartition {
        error_code: 0,
        partition_index: partition.index,
        leader_id: brokers.leader(partition),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: replicas.clone(),
        isr_nodes: replicas,
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: Vec::new(),
    }
}
