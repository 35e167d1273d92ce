//! `DescribeCluster`: the brokers and the controller (KIP-700).

use std::rc::Rc;

use wire::kafka::Str;
use wire::kafka::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};
use wire::kafka::error_code::ErrorCode;

use super::metadata::CLUSTER_OPERATIONS;
use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};

/// Endpoints of brokers; the other kind, controllers, has no port of its own here.
const BROKERS: i8 = 1;

/// Answers from the shard's image.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: DescribeClusterRequest,
) -> Result<Response, Refusal> {
    if body.endpoint_type != BROKERS {
        let refused = DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType.code(),
            error_message: Some(Str::from(
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
            )),
            ..Default::default()
        };
        return answer(request, &refused);
    }
    let image = context.shard.image();
    let brokers = context.brokers.all(&image).into_iter().map(|broker| DescribeClusterBroker {
        broker_id: broker.id,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
        is_fenced: false,
    });
    let mut answered = DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: image.cluster_id().clone(),
        controller_id: context.brokers.controller(&image),
        brokers: brokers.collect(),
        ..Default::default()
    };
    if body.include_cluster_authorized_operations {
        answered.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    answer(request, &answered)
}
