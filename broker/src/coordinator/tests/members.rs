//! Sessions, `Heartbeat` and `LeaveGroup`.

use wire::kafka::ErrorCode;

use super::world::{Join, LogMode, World};

#[test]
fn a_member_lives_by_heartbeats_and_is_dropped_without() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    for _ in 0..20 {
        world.pass(9_999);
        assert_eq!(world.heartbeat(generation, &ids[0]), ErrorCode::None);
    }
    world.pass(10_000);
    assert_eq!(world.heartbeat(generation, &ids[0]), ErrorCode::UnknownMemberId);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn bad_heartbeats_get_kafkas_codes() {
    let mut world = World::new();
    assert_eq!(world.heartbeat(0, "who"), ErrorCode::UnknownMemberId);
    let (ids, generation) = world.stable(1);
    assert_eq!(world.heartbeat(generation + 1, &ids[0]), ErrorCode::IllegalGeneration);
    assert_eq!(world.heartbeat(generation, "who"), ErrorCode::UnknownMemberId);
}

#[test]
fn the_end_of_one_session_rebalances_the_others() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    for _ in 0..10 {
        world.pass(1_000);
        world.heartbeat(generation, &ids[1]);
    }
    assert_eq!(world.heartbeat(generation, &ids[1]), ErrorCode::RebalanceInProgress);
    let answer = world.join_now(&Join::new(&ids[1]));
    assert_eq!((answer.generation_id, answer.members.len()), (generation + 1, 1));
    assert_eq!(answer.leader, ids[1]);
}

#[test]
fn a_new_member_whose_join_waits_too_long_is_told_to_begin_again() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    let mut patient = Join::new(&ids[0]).speaking(&[("range", b"x")]);
    patient.request.rebalance_timeout_ms = 3_600_000;
    let answer = world.join_now(&patient);
    assert_eq!(answer.generation_id, generation + 1);
    let (_, waits) = world.enter(&Join::new(""));
    for _ in 0..299 {
        world.pass(1_000);
        world.heartbeat(answer.generation_id, &ids[0]);
    }
    assert!(!world.replies.contains_key(&waits));
    world.pass(1_000);
    let answer = world.joined(waits);
    assert_eq!((answer.error_code, &*answer.member_id), (ErrorCode::UnknownMemberId.code(), ""));
}

#[test]
fn a_member_that_leaves_is_gone_and_the_others_rebalance() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let response = world.leave(5, &[(&ids[0], None), ("who", None)]);
    assert_eq!(response.error_code, 0);
    let codes: Vec<_> = response.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::UnknownMemberId.code()]);
    assert_eq!(world.heartbeat(generation, &ids[0]), ErrorCode::UnknownMemberId);
    assert_eq!(world.join_now(&Join::new(&ids[1])).leader, ids[1]);
}

#[test]
fn before_version_3_the_outcome_of_leaving_is_the_answers() {
    let mut world = World::new();
    let (ids, _) = world.stable(1);
    assert_eq!(world.leave(2, &[("who", None)]).error_code, ErrorCode::UnknownMemberId.code());
    let response = world.leave(2, &[(&ids[0], None)]);
    assert_eq!((response.error_code, response.members.len()), (0, 0));
    assert_eq!(world.state(), "Empty");
}

#[test]
fn leaving_a_group_that_is_not_there_is_told_for_each_member() {
    let mut world = World::new();
    let response = world.leave(4, &[("a", None), ("b", Some("i"))]);
    assert_eq!(response.error_code, 0);
    assert!(response.members.iter().all(|member| member.error_code == ErrorCode::UnknownMemberId.code()));
    assert_eq!(response.members[1].group_instance_id.as_deref(), Some("i"));
}

#[test]
fn the_last_member_to_leave_empties_the_group_and_that_is_written_down() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    world.leave(5, &[(&ids[0], None)]);
    assert_eq!(world.state(), "Empty");
    world.reload();
    assert_eq!(world.state(), "Empty");
    let (_, token) = world.enter(&Join::new(""));
    assert_eq!(world.joined(token).generation_id, generation + 2);
}

#[test]
fn an_id_that_was_given_can_leave_before_it_is_used() {
    let mut world = World::new();
    let first = world.join_now(&Join::new(""));
    let response = world.leave(5, &[(&first.member_id, None)]);
    assert_eq!(response.members[0].error_code, 0);
    assert_eq!(world.join_now(&Join::new(&first.member_id)).error_code, ErrorCode::UnknownMemberId.code());
}

#[test]
fn who_leaves_while_its_requests_wait_has_them_answered() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let joins = world.join(&Join::new(&ids[0]));
    world.leave(5, &[(&ids[0], None)]);
    assert_eq!(world.joined(joins).error_code, ErrorCode::UnknownMemberId.code());
    let answer = world.join_now(&Join::new(&ids[1]));
    assert_eq!(answer.generation_id, generation + 1);
    world.mode = LogMode::Held;
    let syncs = world.sync(answer.generation_id, &ids[1], &[]);
    world.leave(5, &[(&ids[1], None)]);
    assert_eq!(world.synced(syncs).error_code, ErrorCode::UnknownMemberId.code());
    world.release();
    assert_eq!(world.state(), "Empty");
    assert!(world.waiting.is_empty());
}

#[test]
fn a_rebalance_goes_on_when_the_last_one_it_waits_for_leaves() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let joins = world.join(&Join::new(&ids[0]));
    world.leave(5, &[(&ids[1], None)]);
    assert_eq!(world.joined(joins).generation_id, generation + 1);
}
