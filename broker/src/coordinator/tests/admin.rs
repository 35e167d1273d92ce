//! `DescribeGroups`, `ListGroups`, `DeleteGroups`.

use wire::kafka::list_groups::ListGroupsRequest;
use wire::kafka::{ErrorCode, Str};

use super::world::{Join, LogMode, World};
use crate::coordinator::{Reply, partition_of};

fn delete(world: &mut World, names: &[&str]) -> u64 {
    let token = world.token();
    let names: Vec<Str> = names.iter().map(|name| Str::from(*name)).collect();
    let outputs = world.coordinator.delete_groups(&names, token, world.now);
    world.carry_out(outputs);
    token
}

fn deleted(world: &mut World, token: u64) -> Vec<ErrorCode> {
    match world.replies.remove(&token) {
        Some(Reply::DeleteGroups(results)) => {
            results.iter().map(|result| ErrorCode::from_code(result.error_code).unwrap()).collect()
        }
        other => panic!("an answer to DeleteGroups, not {other:?}"),
    }
}

#[test]
fn a_group_is_described_with_metadata_when_it_is_stable() {
    let mut world = World::new();
    let (ids, _) = world.stable(1);
    let group = world.coordinator.describe(6, &"g".into());
    assert_eq!(
        (&*group.group_state, &*group.protocol_type, &*group.protocol_data),
        ("Stable", "consumer", "range")
    );
    let member = &group.members[0];
    assert_eq!((&*member.client_id, &*member.client_host), ("c", "/127.0.0.1"));
    assert_eq!(
        (&member.member_metadata[..], &member.member_assignment[..]),
        (&b"meta"[..], ids[0].as_bytes().as_ref())
    );
    world.join(&Join::new(&ids[0]));
    let group = world.coordinator.describe(6, &"g".into());
    assert_eq!((&*group.group_state, &*group.protocol_data), ("CompletingRebalance", ""));
    assert!(group.members[0].member_metadata.is_empty());
}

#[test]
fn an_unknown_group_is_dead_and_from_version_6_not_found() {
    let world = World::new();
    let group = world.coordinator.describe(5, &"x".into());
    assert_eq!((group.error_code, &*group.group_state, group.error_message), (0, "Dead", None));
    let group = world.coordinator.describe(6, &"x".into());
    assert_eq!((group.error_code, &*group.group_state), (ErrorCode::GroupIdNotFound.code(), "Dead"));
    assert_eq!(group.error_message.as_deref(), Some("Group x not found."));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut world = World::new();
    world.stable(1);
    let list = |states: &[&str], types: &[&str]| {
        let request = ListGroupsRequest {
            states_filter: states.iter().map(|name| Str::from(*name)).collect(),
            types_filter: types.iter().map(|name| Str::from(*name)).collect(),
        };
        world.coordinator.list(&request).len()
    };
    assert_eq!(list(&[], &[]), 1);
    assert_eq!(list(&["stable"], &["Classic"]), 1);
    assert_eq!(list(&["Empty"], &[]), 0);
    assert_eq!(list(&[], &["consumer"]), 0);
    let listed = world.coordinator.list(&ListGroupsRequest::default());
    assert_eq!((&*listed[0].protocol_type, &*listed[0].group_type), ("consumer", "classic"));
}

#[test]
fn only_a_group_without_members_is_deleted_with_its_positions() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    world.commit(generation, &ids[0], 7);
    let token = delete(&mut world, &["g", "x"]);
    assert_eq!(deleted(&mut world, token), [ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound]);
    world.leave(5, &[(&ids[0], None)]);
    let token = delete(&mut world, &["g"]);
    assert_eq!(deleted(&mut world, token), [ErrorCode::None]);
    assert_eq!((world.state(), world.position()), ("Dead".to_owned(), -1));
    world.reload();
    assert_eq!((world.state(), world.position()), ("Dead".to_owned(), -1));
    let (_, token) = world.enter(&Join::new(""));
    assert_eq!(world.joined(token).generation_id, 1, "a new group of that name begins at the beginning");
}

#[test]
fn a_group_that_is_being_deleted_is_not_served_and_lives_on_if_that_fails() {
    let mut world = World::new();
    world.commit(-1, "", 7);
    world.mode = LogMode::Held;
    let token = delete(&mut world, &["g"]);
    let join = world.join_now(&Join::new(""));
    assert_eq!(join.error_code, ErrorCode::CoordinatorNotAvailable.code());
    assert_eq!(world.commit(-1, "", 8), ErrorCode::CoordinatorNotAvailable);
    world.fail(ErrorCode::KafkaStorageError);
    assert_eq!(deleted(&mut world, token), [ErrorCode::NotCoordinator]);
    assert_eq!((world.state(), world.position()), ("Empty".to_owned(), 7));
}

#[test]
fn a_commit_on_its_way_when_the_group_is_deleted_goes_with_it() {
    let mut world = World::new();
    world.commit(-1, "", 7);
    world.mode = LogMode::Held;
    let mut request = World::commit_request(-1, "", 8);
    request.topics[0].partitions[0].partition_index = 5;
    let commit = world.commit_with(9, &request);
    let token = delete(&mut world, &["g"]);
    world.release();
    world.committed(commit);
    assert_eq!(deleted(&mut world, token), [ErrorCode::None]);
    assert_eq!(world.coordinator.live_records(), 0);
    world.reload();
    assert_eq!(world.coordinator.live_records(), 0, "and does not come back");
}

#[test]
fn a_groups_partition_is_where_kafka_looks_for_it() {
    // Java: Math.abs(name.hashCode()) % 50, and 0 for Integer.MIN_VALUE.
    assert_eq!(partition_of("", 50), 0);
    assert_eq!(partition_of("my-group", 50), 12);
    assert_eq!(partition_of("polygenelubricants", 50), 0);
    assert_eq!(partition_of("gruppe-ä-😀", 1_000), 450);
}
