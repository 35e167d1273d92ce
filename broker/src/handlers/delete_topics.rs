//! `DeleteTopics`, by name or by id.

use std::rc::Rc;

use wire::kafka::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use wire::kafka::{ErrorCode, Uuid};

use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};
use crate::control::commands::TopicKey;

/// Answers a `DeleteTopics` request.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: DeleteTopicsRequest,
) -> Result<Response, Refusal> {
    // Up to version 5 there are only names; a topic without either is refused as Kafka refuses it.
    let by_name = body.topic_names.into_iter().map(|name| (Some(name), Uuid::ZERO));
    let asked: Vec<_> = by_name.chain(body.topics.into_iter().map(|t| (t.name, t.topic_id))).collect();
    let mut responses = Vec::with_capacity(asked.len());
    let mut keys = Vec::with_capacity(asked.len());
    for (name, topic_id) in asked {
        match (name, topic_id) {
            (Some(name), Uuid::ZERO) => keys.push(TopicKey::Name(name)),
            (None, id) if !id.is_zero() => keys.push(TopicKey::Id(id)),
            (name, topic_id) => responses.push(DeletableTopicResult {
                name,
                topic_id,
                error_code: ErrorCode::InvalidRequest.code(),
                error_message: Some("Neither topic name nor id were specified.".into()),
            }),
        }
    }
    let outcomes = context.control.delete_topics(keys.clone()).await.map_err(|_| Refusal::Stopping)?;
    responses.extend(keys.into_iter().zip(outcomes).map(|(key, outcome)| match outcome {
        Ok(deleted) => {
            DeletableTopicResult { name: Some(deleted.name), topic_id: deleted.id, ..Default::default() }
        }
        Err(refusal) => {
            let (name, topic_id) = match key {
                TopicKey::Name(name) => (Some(name), Uuid::ZERO),
                TopicKey::Id(id) => (None, id),
            };
            let error_message = Some(refusal.message.into());
            DeletableTopicResult { name, topic_id, error_code: refusal.code.code(), error_message }
        }
    }));
    answer(request, &DeleteTopicsResponse { responses, ..Default::default() })
}
