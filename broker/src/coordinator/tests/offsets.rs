//! `OffsetCommit`, `OffsetFetch`, expiry and deleted topics.

use wire::kafka::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use wire::kafka::{ErrorCode, Uuid};

use super::world::{Join, LogMode, World, subscription};
use crate::coordinator::{fetch_groups, fetch_response};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

#[test]
fn a_member_commits_and_finds_its_position_again_after_a_reload() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    assert_eq!(world.position(), -1);
    assert_eq!(world.commit(generation, &ids[0], 42), ErrorCode::None);
    assert_eq!(world.position(), 42);
    world.reload();
    assert_eq!(world.position(), 42);
}

#[test]
fn a_position_is_answered_and_seen_only_when_it_is_durable() {
    let mut world = World::new();
    world.commit(-1, "", 1);
    world.mode = LogMode::Held;
    let first = world.commit_with(9, &World::commit_request(-1, "", 2));
    let second = world.commit_with(9, &World::commit_request(-1, "", 3));
    assert_eq!((world.position(), world.replies.len()), (1, 0));
    world.fail(ErrorCode::NotEnoughReplicas);
    let failed = world.committed(first);
    assert_eq!(failed.topics[0].partitions[0].error_code, ErrorCode::CoordinatorNotAvailable.code());
    assert_eq!(world.position(), 1);
    world.release();
    assert_eq!(world.committed(second).topics[0].partitions[0].error_code, 0);
    assert_eq!(world.position(), 3);
}

#[test]
fn results_that_come_out_of_order_take_effect_in_the_order_of_the_log() {
    let mut world = World::new();
    world.mode = LogMode::Held;
    let first = world.commit_with(9, &World::commit_request(-1, "", 1));
    let second = world.commit_with(9, &World::commit_request(-1, "", 2));
    let (a, b) = (world.held.pop_front().unwrap(), world.held.pop_front().unwrap());
    let outputs = world.coordinator.append_finished(b.id, Ok(()), world.now);
    assert!(outputs.replies.is_empty(), "the one before it is not durable yet");
    let outputs = world.coordinator.append_finished(a.id, Ok(()), world.now);
    world.carry_out(outputs);
    assert!(world.replies.contains_key(&first) && world.replies.contains_key(&second));
    assert_eq!(world.position(), 2);
    let again = world.coordinator.append_finished(a.id, Ok(()), world.now);
    assert!(again.replies.is_empty() && again.appends.is_empty());
}

#[test]
fn who_may_commit_depends_on_group_and_generation() {
    let mut world = World::new();
    let token = world.commit_with(8, &World::commit_request(5, "m", 1));
    assert_eq!(
        world.committed(token).topics[0].partitions[0].error_code,
        ErrorCode::IllegalGeneration.code()
    );
    assert_eq!(world.commit(5, "m", 1), ErrorCode::GroupIdNotFound, "from version 9");
    assert_eq!(world.commit(-1, "", 1), ErrorCode::None, "a group that only keeps positions");
    assert_eq!(world.commit(5, "m", 2), ErrorCode::UnknownMemberId);
    let (ids, generation) = world.stable(1);
    assert_eq!(world.commit(-1, "", 3), ErrorCode::UnknownMemberId, "not while the group has members");
    assert_eq!(world.commit(-1, &ids[0], 3), ErrorCode::IllegalGeneration);
    assert_eq!(world.commit(generation + 1, &ids[0], 3), ErrorCode::IllegalGeneration);
    assert_eq!(world.commit(generation, "who", 3), ErrorCode::UnknownMemberId);
    assert_eq!(world.commit(generation, &ids[0], 4), ErrorCode::None);
    world.join(&Join::new(&ids[0]));
    assert_eq!(world.state(), "CompletingRebalance");
    assert_eq!(world.commit(generation + 1, &ids[0], 5), ErrorCode::RebalanceInProgress);
    assert_eq!(world.position(), 4);
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    for offset in 0..5 {
        world.pass(9_000);
        assert_eq!(world.commit(generation, &ids[0], offset), ErrorCode::None);
    }
}

#[test]
fn a_commit_during_a_rebalance_is_taken_from_the_old_generation() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    world.join(&Join::new(&ids[0]));
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(world.commit(generation, &ids[1], 9), ErrorCode::None);
}

#[test]
fn metadata_that_is_too_long_spoils_only_its_partition() {
    let mut world = World::new();
    let mut request = World::commit_request(-1, "", 1);
    let mut second = request.topics[0].partitions[0].clone();
    second.partition_index = 1;
    second.committed_metadata = Some("x".repeat(4_097).into());
    request.topics[0].partitions.push(second);
    let token = world.commit_with(9, &request);
    let codes: Vec<_> =
        world.committed(token).topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::OffsetMetadataTooLarge.code()]);
    assert_eq!(world.position(), 1);
}

#[test]
fn a_commit_of_nothing_that_can_be_kept_makes_no_group() {
    let mut world = World::new();
    let mut request = World::commit_request(-1, "", 1);
    request.topics[0].partitions[0].committed_metadata = Some("x".repeat(4_097).into());
    let token = world.commit_with(9, &request);
    world.committed(token);
    assert_eq!(world.state(), "Dead");
}

#[test]
fn all_positions_are_fetched_when_no_topics_are_named() {
    let mut world = World::new();
    world.commit(-1, "", 7);
    let request = OffsetFetchRequestGroup { group_id: "g".into(), ..OffsetFetchRequestGroup::default() };
    let response = world.coordinator.fetch(&request);
    assert_eq!(response.topics.len(), 1);
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.committed_offset, partition.committed_leader_epoch), (7, 3));
    assert_eq!(partition.metadata.as_deref(), Some("note"));
    let request = OffsetFetchRequestGroup { group_id: "h".into(), ..OffsetFetchRequestGroup::default() };
    let response = world.coordinator.fetch(&request);
    assert_eq!((response.error_code, response.topics.len()), (0, 0), "an unknown group has none");
}

#[test]
fn old_versions_of_fetch_ask_for_one_group_and_get_one() {
    let mut world = World::new();
    world.commit(-1, "", 7);
    let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0, 1] };
    let request = OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(vec![topic]),
        ..OffsetFetchRequest::default()
    };
    let groups = fetch_groups(7, request);
    let response = fetch_response(7, groups.iter().map(|group| world.coordinator.fetch(group)).collect());
    let offsets: Vec<_> =
        response.topics[0].partitions.iter().map(|partition| partition.committed_offset).collect();
    assert_eq!((response.error_code, offsets), (0, vec![7, -1]));
}

#[test]
fn a_position_of_a_topic_that_was_made_anew_is_not_given_to_who_knows_the_new_one() {
    let mut world = World::new();
    let mut request = World::commit_request(-1, "", 7);
    request.topics[0].topic_id = Uuid([1; 16]);
    let token = world.commit_with(10, &request);
    world.committed(token);
    let fetch = |id| {
        let topic = wire::kafka::offset_fetch::OffsetFetchRequestTopics {
            name: "t".into(),
            topic_id: id,
            partition_indexes: vec![0],
        };
        let group = OffsetFetchRequestGroup {
            group_id: "g".into(),
            topics: Some(vec![topic]),
            ..OffsetFetchRequestGroup::default()
        };
        world.coordinator.fetch(&group).topics[0].partitions[0].committed_offset
    };
    assert_eq!((fetch(Uuid([1; 16])), fetch(Uuid::ZERO), fetch(Uuid([2; 16]))), (7, 7, -1));
}

#[test]
fn positions_of_a_group_that_only_keeps_them_expire_after_the_last_commit() {
    let mut world = World::new();
    world.commit(-1, "", 7);
    world.pass(6 * DAY_MS);
    assert_eq!(world.position(), 7);
    world.pass(DAY_MS + 600_000);
    assert_eq!(world.position(), -1);
    assert_eq!(world.state(), "Dead", "and the group with them");
    world.reload();
    assert_eq!(world.state(), "Dead");
}

#[test]
fn positions_of_a_group_expire_after_its_last_member_left() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    world.commit(generation, &ids[0], 7);
    world.pass(9_000);
    world.leave(5, &[(&ids[0], None)]);
    world.pass(7 * DAY_MS - 700_000);
    assert_eq!(world.position(), 7);
    world.reload();
    world.pass(1_400_000);
    assert_eq!(world.position(), -1, "also when the broker was started again in between");
}

#[test]
fn positions_of_topics_that_members_still_consume_do_not_expire() {
    let mut world = World::new();
    let consumer = |id: &str, topics: &[&str]| Join::new(id).speaking(&[("range", &subscription(topics))]);
    let (id, token) = world.enter(&consumer("", &["t"]));
    let mut generation = world.joined(token).generation_id;
    let sync = world.sync(generation, &id, &[(&id, "A")]);
    world.synced(sync);
    world.commit(generation, &id, 7);
    let live = |world: &mut World, generation, ms: i64| {
        for _ in 0..=ms / 9_000 {
            world.pass(9_000);
            world.heartbeat(generation, &id);
        }
    };
    live(&mut world, generation, 8 * DAY_MS);
    assert_eq!(world.position(), 7);
    generation = world.join_now(&consumer(&id, &["other"])).generation_id;
    let sync = world.sync(generation, &id, &[(&id, "A")]);
    world.synced(sync);
    live(&mut world, generation, 600_000);
    assert_eq!(world.position(), -1, "it is not subscribed any more, and the commit is old");
    assert_eq!(world.state(), "Stable");
}

#[test]
fn a_retention_of_the_commits_own_comes_first() {
    let mut world = World::new();
    let mut request = World::commit_request(-1, "", 7);
    request.retention_time_ms = 1_000_000;
    let token = world.commit_with(4, &request);
    world.committed(token);
    world.pass(900_000);
    world.reload();
    assert_eq!(world.position(), 7);
    world.pass(700_000);
    assert_eq!(world.position(), -1);
}

#[test]
fn a_deleted_topics_positions_go_and_those_of_its_successor_stay() {
    let mut world = World::new();
    world.commit(-1, "", 7);
    let mut other = World::commit_request(-1, "", 8);
    other.topics[0].name = "u".into();
    other.topics[0].topic_id = Uuid([2; 16]);
    let token = world.commit_with(9, &other);
    world.committed(token);
    world.coordinator.topic_deleted(&"t".into(), Uuid([1; 16]), world.now);
    world.coordinator.topic_deleted(&"u".into(), Uuid([1; 16]), world.now);
    world.pass(0);
    assert_eq!(world.position(), -1);
    let all = OffsetFetchRequestGroup { group_id: "g".into(), ..OffsetFetchRequestGroup::default() };
    let left = world.coordinator.fetch(&all);
    assert_eq!(left.topics.len(), 1);
    assert_eq!(left.topics[0].name, "u");
}

#[test]
fn a_commit_on_its_way_to_the_log_is_not_swept_away() {
    let mut world = World::new();
    world.commit(-1, "", 7);
    world.pass(8 * DAY_MS - 1_200_000 - DAY_MS);
    world.mode = LogMode::Held;
    let token = world.commit_with(9, &World::commit_request(-1, "", 8));
    world.pass(3_000_000);
    world.release();
    world.committed(token);
    assert_eq!(world.position(), 8);
    world.reload();
    assert_eq!(world.position(), 8);
}
