//! Quotas of clients: `DescribeClientQuotas`, `AlterClientQuotas` (KIP-546), and what a request is charged with.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use wire::kafka::alter_client_quotas::{AlterClientQuotasRequest, AlterClientQuotasResponse, EntryOutcome};
use wire::kafka::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse, EntityData, EntryData,
    ValueData,
};
use wire::kafka::error_code::ErrorCode;
use wire::kafka::header::RequestHeader;
use wire::kafka::{Float64, Str};

use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};
use crate::control::commands::{AlterClientQuotas, Mode};
use crate::control::quotas::CLIENT_ID;
use crate::metadata::client_quotas::{Quota, Quotas};
use crate::shard::quota::QuotaBuckets;

/// Counts bytes of a request or an answer; for how long its client is to be held back.
pub async fn charge(context: &Rc<Context>, quota: Quota, header: &RequestHeader, bytes: usize) -> Duration {
    let client_id = header.client_id.as_deref().unwrap_or_default();
    let Some(rate) = context.shard.client_quota(client_id, quota) else { return Duration::ZERO };
    let shard = QuotaBuckets::shard_of(client_id, context.lane.shards());
    let client_id = client_id.to_owned();
    let charge = move |owner: Rc<Context>| async move {
        owner.quota_buckets.charge(quota, &client_id, rate, bytes, reactor::now())
    };
    // A shard that is gone counts nothing any more.
    let throttle = context.on_shard(shard, charge).await.unwrap_or_default();
    context.shard.metrics.client_throttle_us.add(throttle.as_micros() as u64);
    throttle
}

/// As an answer tells it.
pub fn throttle_ms(throttle: Duration) -> i32 {
    // Rounded up: a client that waits so long is not held back again.
    throttle.as_micros().div_ceil(1000) as i32
}

/// Answers an `AlterClientQuotas` request.
pub async fn alter(
    context: &Rc<Context>,
    request: &Incoming,
    body: AlterClientQuotasRequest,
) -> Result<Response, Refusal> {
    let mode = if body.validate_only { Mode::ValidateOnly } else { Mode::Apply };
    let entities: Vec<_> = body.entries.iter().map(|entry| entry.entity.clone()).collect();
    let changes = body.entries.into_iter().map(|entry| AlterClientQuotas {
        entity: entry.entity.into_iter().map(|part| (part.entity_type, part.entity_name)).collect(),
        operations: entry.ops.into_iter().map(|op| (op.key, (!op.remove).then_some(op.value.0))).collect(),
    });
    let outcomes = context.control.alter_client_quotas(changes.collect(), mode).await;
    let outcomes = outcomes.map_err(|_| Refusal::Stopping)?;
    let entries = entities.into_iter().zip(outcomes).map(|(entity, outcome)| {
        let (error_code, error_message) = match outcome {
            Ok(()) => (0, None),
            Err(refusal) => (refusal.code.code(), Some(Str::from(refusal.message))),
        };
        EntryOutcome { error_code, error_message, entity }
    });
    answer(request, &AlterClientQuotasResponse { entries: entries.collect(), ..Default::default() })
}

/// Answers a `DescribeClientQuotas` request from the shard's image.
pub async fn describe(
    context: &Rc<Context>,
    request: &Incoming,
    body: DescribeClientQuotasRequest,
) -> Result<Response, Refusal> {
    if let Err((code, message)) = check(&body.components) {
        let refused = DescribeClientQuotasResponse {
            error_code: code.code(),
            error_message: Some(Str::from(message)),
            ..Default::default()
        };
        return answer(request, &refused);
    }
    let image = context.shard.image();
    // Every entity has a client id and nothing else, so whether the match is strict makes no difference, but for a
    // request that names no type at all.
    let nothing = body.strict && body.components.is_empty();
    let matching = image.client_quotas().entities().filter(|(client_id, _)| {
        !nothing && body.components.iter().all(|component| matches(component, *client_id))
    });
    let entries = matching.map(|(client_id, quotas)| entry(client_id, quotas)).collect();
    answer(request, &DescribeClientQuotasResponse { entries: Some(entries), ..Default::default() })
}

/// Code and sentence are Kafka's.
fn check(components: &[ComponentData]) -> Result<(), (ErrorCode, String)> {
    let mut seen = HashSet::new();
    for ComponentData { entity_type, match_type, r#match } in components {
        let kind = entity_type.as_str();
        let invalid = |text: String| Err((ErrorCode::InvalidRequest, text));
        if kind.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        if !seen.insert(kind) {
            return invalid(format!("Entity type {kind} cannot appear more than once in the filter."));
        }
        match (match_type, r#match) {
            (0, Some(_)) | (1 | 2, None) => {}
            (0, None) => {
                return invalid(
                    "Request specified MATCH_TYPE_EXACT, but set match string to null.".to_owned(),
                );
            }
            (1 | 2, Some(_)) => {
                let name = if *match_type == 1 { "DEFAULT" } else { "SPECIFIED" };
                return invalid(format!(
                    "Request specified MATCH_TYPE_{name}, but also specified a match string."
                ));
            }
            (other, _) => return invalid(format!("Unknown match type {other}")),
        }
        if !["user", "ip", CLIENT_ID].contains(&kind) {
            return Err((ErrorCode::UnsupportedVersion, format!("Unsupported entity type {kind}")));
        }
    }
    Ok(())
}

fn matches(component: &ComponentData, client_id: Option<&str>) -> bool {
    component.entity_type.as_str() == CLIENT_ID
        && match component.match_type {
            0 => client_id.is_some() && client_id == component.r#match.as_deref(),
            1 => client_id.is_none(),
            _ => true,
        }
}

fn entry(client_id: Option<&str>, quotas: &Quotas) -> EntryData {
    let entity_type = Str::from_static(CLIENT_ID);
    let value = |(quota, value): (&Quota, &f64)| ValueData {
        key: Str::from_static(quota.name()),
        value: Float64(*value),
    };
    EntryData {
        entity: vec![EntityData { entity_type, entity_name: client_id.map(Str::from) }],
        values: quotas.iter().map(value).collect(),
    }
}
