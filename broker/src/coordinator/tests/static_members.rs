//! Static members (KIP-345, KIP-814).

use wire::kafka::{ErrorCode, Str};

use super::world::{Join, LogMode, World};

/// A stable group of one static member `i`: its id and the generation.
fn stable(world: &mut World) -> (Str, i32) {
    let answer = world.join_now(&Join::new("").instance("i"));
    assert_eq!(answer.error_code, 0);
    assert!(answer.member_id.starts_with("i-"));
    let sync = world.sync(answer.generation_id, &answer.member_id, &[(&answer.member_id, "A")]);
    assert_eq!(world.synced(sync).error_code, 0);
    (answer.member_id, answer.generation_id)
}

#[test]
fn a_static_member_that_is_back_keeps_generation_and_assignment_under_a_new_id() {
    let mut world = World::new();
    let (old, generation) = stable(&mut world);
    let answer = world.join_now(&Join::new("").instance("i"));
    assert_eq!((answer.error_code, answer.generation_id), (0, generation));
    assert_ne!(answer.member_id, old);
    assert_eq!(answer.leader, answer.member_id);
    assert!(answer.skip_assignment, "the leader is told that its assignment stands");
    assert_eq!(answer.members.len(), 1);
    assert_eq!(world.state(), "Stable");
    let sync = world.sync(generation, &answer.member_id, &[]);
    assert_eq!(&world.synced(sync).assignment[..], b"A");
    assert_eq!(world.heartbeat(generation, &old), ErrorCode::UnknownMemberId);
    world.reload();
    assert_eq!(world.heartbeat(generation, &answer.member_id), ErrorCode::None);
}

#[test]
fn before_version_9_a_leader_that_is_back_is_told_the_old_leaders_id() {
    let mut world = World::new();
    let (old, generation) = stable(&mut world);
    let answer = world.join_now(&Join::new("").instance("i").version(8));
    assert_eq!((answer.error_code, answer.generation_id), (0, generation));
    assert_eq!(answer.leader, old);
    assert!(answer.members.is_empty());
    assert!(!answer.skip_assignment);
}

#[test]
fn who_uses_the_old_id_with_the_instance_id_is_fenced() {
    let mut world = World::new();
    let (old, generation) = stable(&mut world);
    world.join_now(&Join::new("").instance("i"));
    let fenced = world.join_now(&Join::new(&old).instance("i"));
    assert_eq!(fenced.error_code, ErrorCode::FencedInstanceId.code());
    let mut sync = World::sync_request(generation, &old, &[]);
    sync.group_instance_id = Some("i".into());
    let token = world.sync_with(&sync);
    assert_eq!(world.synced(token).error_code, ErrorCode::FencedInstanceId.code());
    let mut commit = World::commit_request(generation, &old, 5);
    commit.group_instance_id = Some("i".into());
    let token = world.commit_with(9, &commit);
    assert_eq!(world.committed(token).topics[0].partitions[0].error_code, ErrorCode::FencedInstanceId.code());
    assert_eq!(
        world.leave(5, &[(&old, Some("i"))]).members[0].error_code,
        ErrorCode::FencedInstanceId.code()
    );
}

#[test]
fn a_static_member_that_is_back_and_changes_the_protocol_starts_a_rebalance() {
    let mut world = World::new();
    let first = world.join_now(&Join::new("").instance("i").speaking(&[("range", b"1"), ("sticky", b"2")]));
    let sync = world.sync(first.generation_id, &first.member_id, &[(&first.member_id, "A")]);
    assert_eq!(world.synced(sync).error_code, 0);
    let answer = world.join_now(&Join::new("").instance("i").speaking(&[("sticky", b"2"), ("range", b"1")]));
    assert_eq!((answer.error_code, answer.generation_id), (0, first.generation_id + 1));
    assert_eq!(answer.protocol_name.as_deref(), Some("sticky"));
}

#[test]
fn two_that_claim_one_instance_id_during_a_rebalance_leave_the_second_in() {
    let mut world = World::new();
    let (leader, _) = stable(&mut world);
    let first = world.join(&Join::new("").instance("j"));
    let second = world.join(&Join::new("").instance("j"));
    let fenced = world.joined(first);
    assert_eq!(fenced.error_code, ErrorCode::FencedInstanceId.code());
    let answer = world.join_now(&Join::new(&leader).instance("i"));
    assert_eq!(answer.members.len(), 2);
    assert_eq!(world.joined(second).generation_id, answer.generation_id);
}

#[test]
fn a_static_member_that_is_back_while_assignments_are_awaited_starts_over() {
    let mut world = World::new();
    let first = world.join_now(&Join::new("").instance("i"));
    let waits = world.sync(first.generation_id, "nobody", &[]);
    assert_eq!(world.synced(waits).error_code, ErrorCode::UnknownMemberId.code());
    let second = world.join_now(&Join::new("").instance("i"));
    assert_eq!(second.generation_id, first.generation_id + 1);
    assert_ne!(second.member_id, first.member_id);
}

#[test]
fn a_new_id_that_cannot_be_written_down_is_taken_back() {
    let mut world = World::new();
    let (old, generation) = stable(&mut world);
    world.mode = LogMode::Held;
    let token = world.join(&Join::new("").instance("i").speaking(&[("range", b"new")]));
    assert!(!world.replies.contains_key(&token));
    world.fail(ErrorCode::NotEnoughReplicas);
    let answer = world.joined(token);
    assert_eq!(answer.error_code, ErrorCode::CoordinatorNotAvailable.code());
    assert_eq!(answer.member_id, "");
    assert_eq!(world.heartbeat(generation, &old), ErrorCode::None);
    let described = world.coordinator.describe(6, &"g".into());
    assert_eq!(&described.members[0].member_metadata[..], b"meta");
}

#[test]
fn a_new_id_whose_record_is_late_is_overtaken_by_a_rebalance() {
    let mut world = World::new();
    stable(&mut world);
    world.mode = LogMode::Held;
    let token = world.join(&Join::new("").instance("i"));
    let other = world.join(&Join::new("").instance("j"));
    let (first, second) = (world.joined(token), world.joined(other));
    assert_eq!(first.generation_id, second.generation_id);
    assert_eq!(first.members.len() + second.members.len(), 2);
    world.release();
    assert_eq!(world.state(), "CompletingRebalance");
}

#[test]
fn static_members_are_not_dropped_by_a_rebalance_but_by_the_end_of_their_session() {
    let mut world = World::new();
    let (silent, generation) = stable(&mut world);
    let other = world.join(&Join::new("").instance("j"));
    world.pass(9_000);
    assert_eq!(world.heartbeat(generation, &silent), ErrorCode::RebalanceInProgress);
    world.pass(10_000);
    let answer = world.joined(other);
    assert_eq!((answer.generation_id, answer.members.len()), (generation + 1, 1));
}

#[test]
fn an_operator_removes_a_static_member_by_its_instance_id() {
    let mut world = World::new();
    stable(&mut world);
    let response = world.leave(5, &[("", Some("i")), ("", Some("k")), ("", None)]);
    let codes: Vec<_> = response.members.iter().map(|member| member.error_code).collect();
    let unknown = ErrorCode::UnknownMemberId.code();
    assert_eq!(codes, [0, unknown, unknown]);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn an_id_given_to_a_dynamic_member_cannot_be_used_by_a_static_one() {
    let mut world = World::new();
    let first = world.join_now(&Join::new(""));
    let answer = world.join_now(&Join::new(&first.member_id).instance("i"));
    assert_eq!(answer.error_code, ErrorCode::UnknownServerError.code());
}
