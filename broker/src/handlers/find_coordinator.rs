//! `FindCoordinator`: on one node, every group is coordinated here. Makes `__consumer_offsets` on first use.

use std::rc::Rc;

use wire::kafka::Str;
use wire::kafka::error_code::ErrorCode;
use wire::kafka::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

use super::metadata::brokers;
use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal, auto_create};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// Answers with this node, for groups.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: FindCoordinatorRequest,
) -> Result<Response, Refusal> {
    let outcome = find(context, body.key_type).await;
    if request.header.api_version >= 4 {
        let coordinators =
            body.coordinator_keys.into_iter().map(|key| coordinator(context, key, &outcome)).collect();
        return answer(request, &FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let found = coordinator(context, body.key, &outcome);
    let body = FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: if found.error_code == 0 { Some(Str::from("NONE")) } else { found.error_message },
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    };
    answer(request, &body)
}

async fn find(context: &Rc<Context>, key_type: i8) -> Result<(), (ErrorCode, &'static str)> {
    match key_type {
        GROUP if auto_create::consumer_offsets(context).await => Ok(()),
        GROUP => Err((ErrorCode::CoordinatorNotAvailable, "The coordinator is not available.")),
        TRANSACTION => Err((ErrorCode::InvalidRequest, "Transactions are not supported by this broker yet.")),
        SHARE => Err((ErrorCode::InvalidRequest, "Share groups are not supported by this broker yet.")),
        _ => Err((ErrorCode::InvalidRequest, "Unknown coordinator key type.")),
    }
}

fn coordinator(context: &Context, key: Str, outcome: &Result<(), (ErrorCode, &'static str)>) -> Coordinator {
    match outcome {
        Ok(()) => {
            let node = brokers(context).swap_remove(0);
            Coordinator {
                key,
                node_id: node.node_id,
                host: node.host,
                port: node.port,
                error_code: 0,
                error_message: Some(Str::default()),
            }
        }
        Err((code, message)) => Coordinator {
            key,
            node_id: -1,
            host: Str::default(),
            port: -1,
            error_code: code.code(),
            error_message: Some(Str::from(*message)),
        },
    }
}
