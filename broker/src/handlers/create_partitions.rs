//! `CreatePartitions`: adds partitions to topics (KIP-195).

use std::rc::Rc;

use wire::kafka::Str;
use wire::kafka::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};
use crate::control::commands::{Mode, MorePartitions};

/// Answers a `CreatePartitions` request.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: CreatePartitionsRequest,
) -> Result<Response, Refusal> {
    let mode = if body.validate_only { Mode::ValidateOnly } else { Mode::Apply };
    let names: Vec<Str> = body.topics.iter().map(|topic| topic.name.clone()).collect();
    let wanted = body.topics.into_iter().map(|topic| MorePartitions {
        topic: topic.name,
        count: topic.count,
        assignments: topic.assignments.map(|all| all.into_iter().map(|each| each.broker_ids).collect()),
    });
    let outcomes = context.control.create_partitions(wanted.collect(), mode).await;
    let outcomes = outcomes.map_err(|_| Refusal::Stopping)?;
    let results = names.into_iter().zip(outcomes).map(|(name, outcome)| {
        let (error_code, error_message) = match outcome {
            Ok(()) => (0, None),
            Err(refusal) => (refusal.code.code(), Some(Str::from(refusal.message))),
        };
        CreatePartitionsTopicResult { name, error_code, error_message }
    });
    answer(request, &CreatePartitionsResponse { results: results.collect(), ..Default::default() })
}
