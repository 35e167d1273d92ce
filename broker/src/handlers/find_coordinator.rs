//! `FindCoordinator`: the broker that answers for the shard of a group. Makes `__consumer_offsets` on first use.

use std::rc::Rc;

use wire::kafka::Str;
use wire::kafka::error_code::ErrorCode;
use wire::kafka::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

use super::brokers::Broker;
use super::groups::home;
use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal, auto_create};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// Answers for groups.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: FindCoordinatorRequest,
) -> Result<Response, Refusal> {
    let ready = prepare(context, body.key_type).await;
    let coordinator = |key: Str| {
        let found = ready.and_then(|()| find(context, &key));
        coordinator(key, found)
    };
    if request.header.api_version >= 4 {
        let coordinators = body.coordinator_keys.into_iter().map(coordinator).collect();
        return answer(request, &FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let found = coordinator(body.key);
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

type Failure = (ErrorCode, &'static str);

const NOT_AVAILABLE: Failure = (ErrorCode::CoordinatorNotAvailable, "The coordinator is not available.");

/// Whether there are coordinators of this type, now.
async fn prepare(context: &Rc<Context>, key_type: i8) -> Result<(), Failure> {
    match key_type {
        GROUP if auto_create::consumer_offsets(context).await => Ok(()),
        GROUP => Err(NOT_AVAILABLE),
        TRANSACTION => Err((ErrorCode::InvalidRequest, "Transactions are not supported by this broker yet.")),
        SHARE => Err((ErrorCode::InvalidRequest, "Share groups are not supported by this broker yet.")),
        _ => Err((ErrorCode::InvalidRequest, "Unknown coordinator key type.")),
    }
}

fn find(context: &Context, group: &str) -> Result<Broker, Failure> {
    let (shard, _) = home(context, group).map_err(|_| NOT_AVAILABLE)?;
    Ok(context.brokers.of_shard(&context.shard.image(), shard))
}

fn coordinator(key: Str, found: Result<Broker, Failure>) -> Coordinator {
    match found {
        Ok(Broker { id, host, port, .. }) => {
            Coordinator { key, node_id: id, host, port, error_code: 0, error_message: Some(Str::default()) }
        }
        Err((code, message)) => Coordinator {
            key,
            node_id: -1,
            host: Str::default(),
            port: -1,
            error_code: code.code(),
            error_message: Some(Str::from(message)),
        },
    }
}
