//! `SyncGroup`.

use wire::kafka::ErrorCode;

use super::world::{Join, LogMode, World};

/// A group of two that awaits assignments: leader, follower, generation.
fn awaiting(world: &mut World) -> (String, String, i32) {
    let (ids, _) = world.stable(2);
    let (leader, follower) = (world.join(&Join::new(&ids[0])), world.join(&Join::new(&ids[1])));
    let (leader, follower) = (world.joined(leader), world.joined(follower));
    assert_eq!(leader.leader, leader.member_id);
    (leader.member_id.to_string(), follower.member_id.to_string(), leader.generation_id)
}

#[test]
fn followers_wait_for_the_leader_and_each_gets_its_own_assignment() {
    let mut world = World::new();
    let (leader, follower, generation) = awaiting(&mut world);
    let waits = world.sync(generation, &follower, &[]);
    assert!(!world.replies.contains_key(&waits));
    let leads = world.sync(generation, &leader, &[(&leader, "L"), (&follower, "F")]);
    let (leads, waits) = (world.synced(leads), world.synced(waits));
    assert_eq!((leads.error_code, &leads.assignment[..]), (0, &b"L"[..]));
    assert_eq!((waits.error_code, &waits.assignment[..]), (0, &b"F"[..]));
    assert_eq!(waits.protocol_name.as_deref(), Some("range"));
    assert_eq!(waits.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(world.state(), "Stable");
    let late = world.sync(generation, &follower, &[]);
    assert_eq!(&world.synced(late).assignment[..], b"F", "and again, as often as it asks");
}

#[test]
fn nobody_is_answered_before_the_assignments_are_durable() {
    let mut world = World::new();
    let (leader, follower, generation) = awaiting(&mut world);
    world.mode = LogMode::Held;
    let waits = world.sync(generation, &follower, &[]);
    let leads = world.sync(generation, &leader, &[(&follower, "F")]);
    assert!(world.replies.is_empty());
    assert_eq!(world.state(), "CompletingRebalance");
    world.release();
    assert!(world.synced(leads).assignment.is_empty(), "the leader gave itself nothing");
    assert_eq!(&world.synced(waits).assignment[..], b"F");
}

#[test]
fn a_rebalance_that_begins_while_assignments_are_written_sends_everybody_back() {
    let mut world = World::new();
    let (leader, follower, generation) = awaiting(&mut world);
    world.mode = LogMode::Held;
    let waits = world.sync(generation, &follower, &[]);
    let leads = world.sync(generation, &leader, &[(&follower, "F")]);
    world.enter(&Join::new(""));
    assert_eq!(world.synced(waits).error_code, ErrorCode::RebalanceInProgress.code());
    assert_eq!(world.synced(leads).error_code, ErrorCode::RebalanceInProgress.code());
    world.release();
    assert_eq!(world.state(), "PreparingRebalance", "the old assignments have no effect any more");
}

#[test]
fn assignments_that_cannot_be_written_start_another_rebalance() {
    let mut world = World::new();
    let (leader, follower, generation) = awaiting(&mut world);
    world.mode = LogMode::Held;
    let waits = world.sync(generation, &follower, &[]);
    let leads = world.sync(generation, &leader, &[(&follower, "F")]);
    world.fail(ErrorCode::KafkaStorageError);
    assert_eq!(world.synced(waits).error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(world.synced(leads).error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_leader_that_syncs_twice_is_answered_twice_and_its_first_word_counts() {
    let mut world = World::new();
    let (leader, follower, generation) = awaiting(&mut world);
    world.mode = LogMode::Held;
    let first = world.sync(generation, &leader, &[(&follower, "first")]);
    let second = world.sync(generation, &leader, &[(&follower, "second")]);
    assert_eq!(world.synced(first).error_code, ErrorCode::RebalanceInProgress.code());
    assert_eq!(world.held.len(), 1);
    world.release();
    assert_eq!(world.synced(second).error_code, 0);
    let follower = world.sync(generation, &follower, &[]);
    assert_eq!(&world.synced(follower).assignment[..], b"first");
}

#[test]
fn bad_syncs_get_kafkas_codes() {
    let mut world = World::new();
    let no_group = world.sync(1, "who", &[]);
    assert_eq!(world.synced(no_group).error_code, ErrorCode::UnknownMemberId.code());
    let (ids, generation) = world.stable(1);
    let mut code = |request: &wire::kafka::sync_group::SyncGroupRequest| {
        let token = world.sync_with(request);
        ErrorCode::from_code(world.synced(token).error_code).unwrap()
    };
    let good = World::sync_request(generation, &ids[0], &[]);
    assert_eq!(code(&good), ErrorCode::None);
    let mut request = good.clone();
    request.group_id = "".into();
    assert_eq!(code(&request), ErrorCode::InvalidGroupId);
    let mut request = good.clone();
    request.generation_id += 1;
    assert_eq!(code(&request), ErrorCode::IllegalGeneration);
    let mut request = good.clone();
    request.member_id = "who".into();
    assert_eq!(code(&request), ErrorCode::UnknownMemberId);
    let mut request = good.clone();
    request.group_instance_id = Some("nobody's".into());
    assert_eq!(code(&request), ErrorCode::UnknownMemberId);
    let mut request = good.clone();
    request.protocol_name = Some("sticky".into());
    assert_eq!(code(&request), ErrorCode::InconsistentGroupProtocol);
    let mut request = good.clone();
    request.protocol_type = None;
    assert_eq!(code(&request), ErrorCode::InconsistentGroupProtocol);
}

#[test]
fn a_sync_during_a_rebalance_is_told_so() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    world.join(&Join::new(&ids[0]));
    let token = world.sync(generation, &ids[1], &[]);
    assert_eq!(world.synced(token).error_code, ErrorCode::RebalanceInProgress.code());
}

#[test]
fn members_that_never_sync_are_dropped_after_the_rebalance_timeout() {
    let mut world = World::new();
    let (leader, follower, generation) = awaiting(&mut world);
    let leads = world.sync(generation, &leader, &[(&leader, "L")]);
    assert_eq!(world.synced(leads).error_code, 0);
    for _ in 0..59 {
        world.pass(1_000);
        assert_eq!(world.heartbeat(generation, &leader), ErrorCode::None);
        assert_eq!(world.heartbeat(generation, &follower), ErrorCode::None);
    }
    world.pass(1_000);
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(world.heartbeat(generation, &leader), ErrorCode::RebalanceInProgress);
    assert_eq!(world.heartbeat(generation, &follower), ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_that_waits_for_its_assignment_does_not_time_out() {
    let mut world = World::new();
    let (leader, follower, generation) = awaiting(&mut world);
    let waits = world.sync(generation, &follower, &[]);
    for _ in 0..30 {
        world.pass(1_000);
        assert_eq!(world.heartbeat(generation, &leader), ErrorCode::None);
    }
    let leads = world.sync(generation, &leader, &[(&follower, "F")]);
    assert_eq!(world.synced(leads).error_code, 0);
    assert_eq!(&world.synced(waits).assignment[..], b"F");
    world.pass(9_000);
    assert_eq!(world.heartbeat(generation, &follower), ErrorCode::None, "its session began anew");
    world.pass(10_001);
    assert_eq!(world.heartbeat(generation, &follower), ErrorCode::UnknownMemberId);
}
