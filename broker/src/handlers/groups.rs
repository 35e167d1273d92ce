//! Classic consumer groups: each request goes to the shard that owns the group's partition of
//! `__consumer_offsets`, and is decided there by the group's coordinator.

use std::collections::HashSet;
use std::rc::Rc;

use futures_util::future::join_all;
use wire::kafka::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use wire::kafka::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};
use wire::kafka::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use wire::kafka::join_group::JoinGroupRequest;
use wire::kafka::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use wire::kafka::list_groups::{ListGroupsRequest, ListGroupsResponse};
use wire::kafka::sync_group::{SyncGroupRequest, SyncGroupResponse};
use wire::kafka::{ErrorCode, Str};

use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};
use crate::coordinator::host::{GroupHost, Token};
use crate::coordinator::{Caller, GroupCoordinator, Now, Outputs, Reply, join_refusal, partition_of};
use crate::metadata::ids::ShardId;
use crate::metadata::topic_name::OFFSETS_TOPIC;

/// What an unsecured broker allows on a group: read, describe, delete, describe and alter configs.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Which partition of `__consumer_offsets` keeps a group, and its owner.
pub fn home(context: &Context, group: &str) -> Result<(ShardId, i32), ErrorCode> {
    let image = context.shard.image();
    let topic = image.topic(OFFSETS_TOPIC).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let index = partition_of(group, topic.partitions.len() as u32) as i32;
    let partition = topic.partition(index).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    Ok((partition.shard, index))
}

/// Runs `work` with the host of the group's partition, on its owner.
pub async fn with_host<T, F, Fut>(context: &Rc<Context>, group: &str, work: F) -> Result<T, ErrorCode>
where
    T: Send + 'static,
    F: FnOnce(Rc<GroupHost>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, ErrorCode>> + 'static,
{
    let (shard, index) = home(context, group)?;
    if !context.answers_for(shard) {
        return Err(ErrorCode::NotCoordinator);
    }
    context
        .on_shard(shard, move |owner| async move {
            let host = owner.groups.get(index).ok_or(ErrorCode::NotCoordinator)?;
            work(host).await
        })
        .await
        .unwrap_or(Err(ErrorCode::NotCoordinator))
}

/// Runs a step of the group's coordinator, wherever that is, and waits for its answer.
pub async fn ask<F>(context: &Rc<Context>, group: &str, step: F) -> Result<Reply, ErrorCode>
where
    F: FnOnce(&mut GroupCoordinator<Token>, Token, Now) -> Outputs<Token> + Send + 'static,
{
    with_host(context, group, move |host| async move { host.ask(step).await }).await
}

/// Who asks, for the coordinator's member lists.
pub fn caller(request: &Incoming) -> Caller {
    Caller {
        api_version: request.header.api_version,
        client_id: request.header.client_id.as_ref().map(Str::detached).unwrap_or_default(),
        client_host: Str::from(format!("/{}", request.peer.address.ip())),
    }
}

/// Answers a `JoinGroup` request.
pub async fn join(
    context: &Rc<Context>,
    request: &Incoming,
    body: JoinGroupRequest,
) -> Result<Response, Refusal> {
    let (caller, group, member_id) = (caller(request), body.group_id.clone(), body.member_id.clone());
    let joined =
        ask(context, &group, move |groups, token, now| groups.join(&caller, &body, token, now)).await;
    match joined {
        Ok(Reply::Join(response)) => answer(request, &response),
        other => {
            let code = other.err().unwrap_or(ErrorCode::UnknownServerError);
            answer(request, &join_refusal(request.header.api_version, member_id, code))
        }
    }
}

/// Answers a `SyncGroup` request.
pub async fn sync(
    context: &Rc<Context>,
    request: &Incoming,
    body: SyncGroupRequest,
) -> Result<Response, Refusal> {
    let (caller, group) = (caller(request), body.group_id.clone());
    let synced =
        ask(context, &group, move |groups, token, now| groups.sync(&caller, &body, token, now)).await;
    match synced {
        Ok(Reply::Sync(response)) => answer(request, &response),
        other => answer(request, &SyncGroupResponse { error_code: code_of(other), ..Default::default() }),
    }
}

/// Answers a `Heartbeat` request.
pub async fn heartbeat(
    context: &Rc<Context>,
    request: &Incoming,
    body: HeartbeatRequest,
) -> Result<Response, Refusal> {
    let group = body.group_id.clone();
    let beat = with_host(context, &group, move |host| async move {
        host.look(|groups, now| groups.heartbeat(&body, now))
    });
    match beat.await {
        Ok(response) => answer(request, &response),
        // While the group's log is read nothing is known against the member, and Kafka says so.
        Err(ErrorCode::CoordinatorLoadInProgress) => answer(request, &HeartbeatResponse::default()),
        Err(code) => answer(request, &HeartbeatResponse { error_code: code.code(), ..Default::default() }),
    }
}

/// Answers a `LeaveGroup` request.
pub async fn leave(
    context: &Rc<Context>,
    request: &Incoming,
    body: LeaveGroupRequest,
) -> Result<Response, Refusal> {
    let (caller, group) = (caller(request), body.group_id.clone());
    let left = ask(context, &group, move |groups, token, now| groups.leave(&caller, &body, token, now)).await;
    match left {
        Ok(Reply::Leave(response)) => answer(request, &response),
        other => answer(request, &LeaveGroupResponse { error_code: code_of(other), ..Default::default() }),
    }
}

/// The code of a reply that is none of the expected ones.
pub fn code_of(reply: Result<Reply, ErrorCode>) -> i16 {
    match reply {
        Err(code) => code.code(),
        Ok(_) => ErrorCode::UnknownServerError.code(),
    }
}

/// Answers a `DescribeGroups` request.
pub async fn describe(
    context: &Rc<Context>,
    request: &Incoming,
    body: DescribeGroupsRequest,
) -> Result<Response, Refusal> {
    let version = request.header.api_version;
    let described = body.groups.into_iter().map(|group| async move {
        let id = group.clone();
        let asked = with_host(context, &id, move |host| async move {
            host.look(|groups, _| groups.describe(version, &group))
        });
        let mut described = asked.await.unwrap_or_else(|code| DescribedGroup {
            error_code: code.code(),
            group_id: id,
            ..Default::default()
        });
        if body.include_authorized_operations && described.error_code == 0 {
            described.authorized_operations = GROUP_OPERATIONS;
        }
        described
    });
    let groups = join_all(described).await;
    answer(request, &DescribeGroupsResponse { groups, ..Default::default() })
}

/// Answers a `ListGroups` request: every shard lists what it hosts, if it is not a broker of its own.
pub async fn list(
    context: &Rc<Context>,
    request: &Incoming,
    body: ListGroupsRequest,
) -> Result<Response, Refusal> {
    let lists = context.shards_of_broker().map(|shard| {
        let body = body.clone();
        context.on_shard(shard, move |owner| async move {
            let mut listed = Vec::new();
            for host in owner.groups.all() {
                listed.extend(host.look(|groups, _| groups.list(&body))?);
            }
            Ok::<_, ErrorCode>(listed)
        })
    });
    let mut response = ListGroupsResponse::default();
    for listed in join_all(lists).await {
        match listed.unwrap_or(Err(ErrorCode::CoordinatorNotAvailable)) {
            Ok(groups) => response.groups.extend(groups),
            Err(code) => response.error_code = code.code(),
        }
    }
    answer(request, &response)
}

/// Answers a `DeleteGroups` request.
pub async fn delete(
    context: &Rc<Context>,
    request: &Incoming,
    body: DeleteGroupsRequest,
) -> Result<Response, Refusal> {
    let mut names = body.groups_names;
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let deleted = names.into_iter().map(|group| async move {
        let names = vec![group.clone()];
        match ask(context, &group, move |groups, token, now| groups.delete_groups(&names, token, now)).await {
            Ok(Reply::DeleteGroups(results)) => results,
            // Nobody has committed yet, so there is no such group.
            Err(ErrorCode::CoordinatorNotAvailable) if no_offsets_topic(context) => {
                vec![DeletableGroupResult { group_id: group, error_code: ErrorCode::GroupIdNotFound.code() }]
            }
            other => vec![DeletableGroupResult { group_id: group, error_code: code_of(other) }],
        }
    });
    let results = join_all(deleted).await.into_iter().flatten().collect();
    answer(request, &DeleteGroupsResponse { results, ..Default::default() })
}

fn no_offsets_topic(context: &Context) -> bool {
    context.shard.image().topic(OFFSETS_TOPIC).is_none()
}
