//! `Metadata`: the brokers, and topics with their partitions; creates topics on first use where that is allowed.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use wire::kafka::error_code::ErrorCode;
use wire::kafka::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};

use super::brokers::{Broker, Brokers};
use super::reply::Response;
use super::table::{answer, answer_paced};
use super::{Context, Incoming, Refusal, auto_create};
use crate::metadata::image::{MetadataImage, Partition, Topic};

/// All operations on a topic that an unsecured broker allows: read, write, create, delete, alter, describe,
/// describe and alter configs, as bits by the number of the operation (KIP-430).
pub const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// All operations on the cluster.
pub const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// Answers from the shard's image.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: MetadataRequest,
) -> Result<Response, Refusal> {
    let version = request.header.api_version;
    let asked = body.topics.filter(|topics| version > 0 || !topics.is_empty());
    if (10..12).contains(&version)
        && asked.iter().flatten().any(|topic| topic.name.is_none() || !topic.topic_id.is_zero())
    {
        return answer(request, &refused(asked.into_iter().flatten()));
    }
    // Held until the answer is encoded.
    let mut _long = None;
    let topics = match &asked {
        None => {
            _long = Some(context.shard.long_answers.acquire(1).await);
            all_topics(context).await
        }
        Some(asked) => {
            if body.allow_auto_topic_creation {
                auto_create::missing(
                    context,
                    asked
                        .iter()
                        .filter(|topic| topic.topic_id.is_zero())
                        .filter_map(|topic| topic.name.as_ref()),
                )
                .await;
            }
            let image = context.shard.image();
            let mut seen = HashSet::new();
            let mut topics = Vec::with_capacity(asked.len());
            for topic in asked.iter().filter(|topic| seen.insert((topic.name.clone(), topic.topic_id))) {
                topics.push(find(&context.brokers, &image, topic));
                reactor::give_way().await;
            }
            topics
        }
    };
    let image = context.shard.image();
    let mut answered = MetadataResponse {
        brokers: context.brokers.all(&image).into_iter().map(told).collect(),
        cluster_id: Some(image.cluster_id().clone()),
        controller_id: context.brokers.controller(&image),
        topics,
        ..Default::default()
    };
    if body.include_topic_authorized_operations {
        for topic in answered.topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    if body.include_cluster_authorized_operations {
        answered.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    let response = answer_paced(request, &answered).await;
    // Freeing what stands for very many partitions takes its time too.
    for topic in answered.topics {
        drop(topic);
        reactor::give_way().await;
    }
    response
}

/// Versions 10 and 11 have a place for ids and for null names, but no meaning: Kafka refuses the whole request.
fn refused(asked: impl Iterator<Item = MetadataRequestTopic>) -> MetadataResponse {
    let refuse = |topic: MetadataRequestTopic| MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(topic.name.unwrap_or_default()),
        topic_id: topic.topic_id,
        ..Default::default()
    };
    MetadataResponse { topics: asked.map(refuse).collect(), ..Default::default() }
}

/// However many there are, with rests.
async fn all_topics(context: &Context) -> Vec<MetadataResponseTopic> {
    let image = context.shard.image();
    let mut topics = Vec::with_capacity(image.topic_count());
    for topic in image.topics() {
        topics.push(describe(&context.brokers, topic));
        reactor::give_way().await;
    }
    topics
}

fn told(Broker { id, host, port, rack }: Broker) -> MetadataResponseBroker {
    MetadataResponseBroker { node_id: id, host, port, rack }
}

fn find(brokers: &Brokers, image: &MetadataImage, asked: &MetadataRequestTopic) -> MetadataResponseTopic {
    // An id wins over a name: Java's client sends an empty name beside it.
    if !asked.topic_id.is_zero() {
        return image.topic_by_id(&asked.topic_id).map_or_else(
            || MetadataResponseTopic {
                error_code: ErrorCode::UnknownTopicId.code(),
                topic_id: asked.topic_id,
                ..Default::default()
            },
            |topic| describe(brokers, topic),
        );
    }
    let Some(name) = &asked.name else {
        return MetadataResponseTopic {
            error_code: ErrorCode::UnknownServerError.code(),
            ..Default::default()
        };
    };
    image.topic(name).map_or_else(
        || MetadataResponseTopic {
            error_code: unknown_name(name).code(),
            name: Some(name.clone()),
            ..Default::default()
        },
        |topic| describe(brokers, topic),
    )
}

fn unknown_name(name: &str) -> ErrorCode {
    match crate::metadata::topic_name::check(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    }
}

fn describe(brokers: &Brokers, topic: &Arc<Topic>) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: 0,
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: topic.internal,
        partitions: topic.partitions.iter().map(|each| partition(brokers, each)).collect(),
        ..Default::default()
    }
}

fn partition(brokers: &Brokers, partition: &Partition) -> MetadataResponsePartition {
    let replicas = brokers.replicas(partition);
    MetadataResponsePartition {
        error_code: 0,
        partition_index: partition.index,
        leader_id: brokers.leader(partition),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: replicas.clone(),
        isr_nodes: replicas,
        offline_replicas: Vec::new(),
    }
}
