//! `CreateTopics`. Answered when every shard has taken the new image, so a client that gets the answer can produce.

use std::rc::Rc;

use wire::kafka::Str;
use wire::kafka::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};
use crate::control::commands::{self, Assignment, CreatedTopic, Mode, NewTopic};
use crate::metadata::describe;

/// Answers a `CreateTopics` request.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: CreateTopicsRequest,
) -> Result<Response, Refusal> {
    let mode = if body.validate_only { Mode::ValidateOnly } else { Mode::Apply };
    let names: Vec<Str> = body.topics.iter().map(|topic| topic.name.clone()).collect();
    let wanted = body.topics.into_iter().map(new_topic).collect();
    let outcomes = context.control.create_topics(wanted, mode).await.map_err(|_| Refusal::Stopping)?;
    let topics = names.into_iter().zip(outcomes).map(|(name, outcome)| match outcome {
        Ok(created) => made(context, created),
        Err(refusal) => refused(name, refusal),
    });
    answer(request, &CreateTopicsResponse { topics: topics.collect(), ..Default::default() })
}

fn new_topic(topic: CreatableTopic) -> NewTopic {
    let assignment = |assigned: wire::kafka::create_topics::CreatableReplicaAssignment| Assignment {
        partition: assigned.partition_index,
        brokers: assigned.broker_ids,
    };
    NewTopic {
        name: topic.name.detached(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments.into_iter().map(assignment).collect(),
        configs: topic.configs.into_iter().map(|config| (config.name, config.value)).collect(),
    }
}

fn made(context: &Context, created: CreatedTopic) -> CreatableTopicResult {
    let mut entries = describe::topic(&context.shard.image(), &created.overrides);
    entries.sort_unstable_by_key(|entry| entry.name);
    let configs = entries.into_iter().map(|entry| CreatableTopicConfigs {
        name: Str::from_static(entry.name),
        value: entry.value.map(Str::from),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: entry.sensitive,
    });
    CreatableTopicResult {
        name: created.name,
        topic_id: created.id,
        num_partitions: created.partitions,
        replication_factor: created.replication_factor,
        configs: Some(configs.collect()),
        ..Default::default()
    }
}

fn refused(name: Str, refusal: commands::Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: refusal.code.code(),
        error_message: Some(Str::from(refusal.message)),
        configs: Some(Vec::new()),
        ..Default::default()
    }
}
