//! `IncrementalAlterConfigs` (KIP-339) and its elder `AlterConfigs`.

use std::rc::Rc;

use wire::kafka::Str;
use wire::kafka::alter_configs::{self, AlterConfigsRequest, AlterConfigsResponse};
use wire::kafka::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};
use crate::control::commands::{AlterConfigs, ConfigChange, ConfigOperation, Mode};

/// Answers an `IncrementalAlterConfigs` request.
pub async fn handle_incremental(
    context: &Rc<Context>,
    request: &Incoming,
    body: IncrementalAlterConfigsRequest,
) -> Result<Response, Refusal> {
    let changes = body.resources.into_iter().map(|resource| AlterConfigs {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        change: ConfigChange::Incremental(
            resource
                .configs
                .into_iter()
                .map(|config| ConfigOperation {
                    name: config.name,
                    operation: config.config_operation,
                    value: config.value,
                })
                .collect(),
        ),
    });
    let outcomes = alter(context, changes.collect(), body.validate_only).await?;
    let responses = outcomes.into_iter().map(|outcome| AlterConfigsResourceResponse {
        error_code: outcome.error_code,
        error_message: outcome.error_message,
        resource_type: outcome.resource_type,
        resource_name: outcome.resource_name,
    });
    answer(request, &IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}

/// Answers an `AlterConfigs` request: what it names is all that is set afterwards.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: AlterConfigsRequest,
) -> Result<Response, Refusal> {
    let changes = body.resources.into_iter().map(|resource| AlterConfigs {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        change: ConfigChange::Replace(resource.configs.into_iter().map(|c| (c.name, c.value)).collect()),
    });
    let outcomes = alter(context, changes.collect(), body.validate_only).await?;
    let responses = outcomes.into_iter().map(|outcome| alter_configs::AlterConfigsResourceResponse {
        error_code: outcome.error_code,
        error_message: outcome.error_message,
        resource_type: outcome.resource_type,
        resource_name: outcome.resource_name,
    });
    answer(request, &AlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}

struct Altered {
    error_code: i16,
    error_message: Option<Str>,
    resource_type: i8,
    resource_name: Str,
}

async fn alter(
    context: &Rc<Context>,
    changes: Vec<AlterConfigs>,
    validate_only: bool,
) -> Result<Vec<Altered>, Refusal> {
    let mode = if validate_only { Mode::ValidateOnly } else { Mode::Apply };
    let resources: Vec<(i8, Str)> =
        changes.iter().map(|change| (change.resource_type, change.resource_name.clone())).collect();
    let outcomes = context.control.alter_configs(changes, mode).await.map_err(|_| Refusal::Stopping)?;
    let altered = resources.into_iter().zip(outcomes).map(|((resource_type, resource_name), outcome)| {
        let (error_code, error_message) = match outcome {
            Ok(()) => (0, None),
            Err(refusal) => (refusal.code.code(), Some(Str::from(refusal.message))),
        };
        Altered { error_code, error_message, resource_type, resource_name }
    });
    Ok(altered.collect())
}
