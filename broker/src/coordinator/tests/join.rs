//! `JoinGroup` of dynamic members.

use wire::kafka::ErrorCode;

use super::world::{Join, World};
use crate::coordinator::{GroupPolicy, join_refusal};

#[test]
fn a_dynamic_member_must_come_back_with_the_id_it_is_given() {
    let mut world = World::new();
    let first = world.join_now(&Join::new(""));
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
    assert!(first.member_id.starts_with("c-"));
    assert_eq!(first.generation_id, -1);
    let second = world.join_now(&Join::new(&first.member_id));
    assert_eq!((second.error_code, second.generation_id), (0, 1));
    assert_eq!(second.leader, second.member_id);
    assert_eq!(second.protocol_name.as_deref(), Some("range"));
    assert_eq!(second.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(second.members.len(), 1);
    assert_eq!(&second.members[0].metadata[..], b"meta");
    assert!(!second.skip_assignment);
}

#[test]
fn before_version_4_a_dynamic_member_enters_with_one_request() {
    let mut world = World::new();
    let answer = world.join_now(&Join::new("").version(3));
    assert_eq!((answer.error_code, answer.generation_id), (0, 1));
}

#[test]
fn an_id_that_is_not_used_within_the_session_timeout_is_forgotten() {
    let mut world = World::new();
    let first = world.join_now(&Join::new(""));
    world.pass(10_001);
    let second = world.join_now(&Join::new(&first.member_id));
    assert_eq!(second.error_code, ErrorCode::UnknownMemberId.code());
    assert_eq!(world.state(), "Dead", "nothing is left of the group");
}

#[test]
fn bad_requests_get_kafkas_codes() {
    let mut world = World::new();
    let mut nameless = Join::new("");
    nameless.request.group_id = "".into();
    assert_eq!(world.join_now(&nameless).error_code, ErrorCode::InvalidGroupId.code());
    for timeout in [5_999, 1_800_001] {
        let mut join = Join::new("");
        join.request.session_timeout_ms = timeout;
        assert_eq!(world.join_now(&join).error_code, ErrorCode::InvalidSessionTimeout.code());
    }
    let stranger = world.join_now(&Join::new("who"));
    assert_eq!(stranger.error_code, ErrorCode::UnknownMemberId.code());
    assert_eq!(stranger.member_id, "who");
    let mute = world.join_now(&Join::new("").speaking(&[]));
    assert_eq!(mute.error_code, ErrorCode::InconsistentGroupProtocol.code());
    let mut typeless = Join::new("");
    typeless.request.protocol_type = "".into();
    assert_eq!(world.join_now(&typeless).error_code, ErrorCode::InconsistentGroupProtocol.code());
    assert_eq!(world.state(), "Dead", "no group was made for any of them");
}

#[test]
fn a_refusal_before_version_7_has_an_empty_protocol_and_from_7_a_null() {
    let mut world = World::new();
    assert_eq!(world.join_now(&Join::new("who").version(6)).protocol_name.as_deref(), Some(""));
    assert_eq!(world.join_now(&Join::new("who").version(7)).protocol_name, None);
    let loading = join_refusal(5, "who".into(), ErrorCode::CoordinatorLoadInProgress);
    assert_eq!((loading.error_code, loading.protocol_name.as_deref()), (14, Some("")));
}

#[test]
fn a_member_that_shares_no_protocol_or_type_is_refused() {
    let mut world = World::new();
    world.stable(1);
    let other_protocol = world.join_now(&Join::new("").speaking(&[("sticky", b"")]));
    assert_eq!(other_protocol.error_code, ErrorCode::InconsistentGroupProtocol.code());
    let mut other_type = Join::new("");
    other_type.request.protocol_type = "connect".into();
    assert_eq!(world.join_now(&other_type).error_code, ErrorCode::InconsistentGroupProtocol.code());
    assert_eq!(world.state(), "Stable");
}

#[test]
fn the_first_rebalance_waits_for_the_initial_delay_and_again_while_members_come() {
    let mut world = World::with(GroupPolicy::default());
    let (_, first) = world.enter(&Join::new(""));
    world.pass(2_000);
    let (_, second) = world.enter(&Join::new(""));
    world.pass(2_000);
    assert_eq!(world.replies.len(), 0, "a member came within the first delay: another delay");
    world.pass(2_000);
    let (first, second) = (world.joined(first), world.joined(second));
    assert_eq!((first.generation_id, second.generation_id), (1, 1));
    assert_eq!(first.leader, second.leader);
    let members: Vec<_> = [&first, &second].iter().map(|answer| answer.members.len()).collect();
    assert!(members == [2, 0] || members == [0, 2], "only the leader is told who the members are");
}

#[test]
fn the_initial_delay_is_not_extended_beyond_the_rebalance_timeout() {
    let mut world = World::with(GroupPolicy::default());
    let mut hasty = Join::new("");
    hasty.request.rebalance_timeout_ms = 7_000;
    let mut tokens = vec![world.enter(&hasty).1];
    for _ in 0..6 {
        world.pass(1_000);
        tokens.push(world.enter(&hasty).1);
    }
    world.pass(1_000);
    for token in tokens {
        assert_eq!(world.joined(token).generation_id, 1);
    }
}

#[test]
fn a_second_member_rebalances_a_stable_group() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    let (second_id, second) = world.enter(&Join::new(""));
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(world.heartbeat(generation, &ids[0]), ErrorCode::RebalanceInProgress);
    let first = world.join_now(&Join::new(&ids[0]));
    let second = world.joined(second);
    assert_eq!((first.generation_id, second.generation_id), (generation + 1, generation + 1));
    assert_eq!(first.members.len(), 2);
    assert_eq!(second.member_id, second_id);
    assert!(second.members.is_empty());
}

#[test]
fn members_that_do_not_join_again_within_the_rebalance_timeout_are_dropped() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let rejoin = world.join(&Join::new(&ids[0]));
    for _ in 0..59 {
        world.pass(1_000);
        let code = world.heartbeat(generation, &ids[1]);
        assert_eq!(code, ErrorCode::RebalanceInProgress);
    }
    world.pass(1_000);
    let answer = world.joined(rejoin);
    assert_eq!((answer.generation_id, answer.members.len()), (generation + 1, 1));
    assert_eq!(world.heartbeat(generation, &ids[1]), ErrorCode::UnknownMemberId);
}

#[test]
fn another_leader_is_elected_when_the_old_one_does_not_join() {
    let mut world = World::new();
    let (ids, generation) = world.stable(3);
    let changed = |id: &str| Join::new(id).speaking(&[("range", b"other")]);
    let (second, third) = (world.join(&changed(&ids[1])), world.join(&changed(&ids[2])));
    world.pass(60_000);
    let (second, third) = (world.joined(second), world.joined(third));
    assert_eq!(second.generation_id, generation + 1);
    assert_ne!(second.leader, ids[0]);
    assert_eq!(second.leader, third.leader);
    assert_eq!(second.members.len() + third.members.len(), 2);
}

#[test]
fn a_follower_that_joins_again_unchanged_gets_the_same_generation_and_a_leader_starts_a_new_one() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let follower = world.join_now(&Join::new(&ids[1]));
    assert_eq!((follower.generation_id, follower.members.len()), (generation, 0));
    assert_eq!(world.state(), "Stable");
    world.join(&Join::new(&ids[0]));
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_follower_that_changes_its_metadata_starts_a_rebalance() {
    let mut world = World::new();
    let (ids, _) = world.stable(2);
    world.join(&Join::new(&ids[1]).speaking(&[("range", b"other")]));
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_join_that_is_repeated_while_assignments_are_awaited_gets_the_same_generation() {
    let mut world = World::new();
    let (id, token) = world.enter(&Join::new(""));
    let first = world.joined(token);
    let again = world.join_now(&Join::new(&id));
    assert_eq!((again.generation_id, again.members.len()), (first.generation_id, 1));
    assert_eq!(world.state(), "CompletingRebalance");
}

#[test]
fn the_protocol_with_most_votes_is_chosen_of_those_that_all_speak() {
    let mut world = World::with(GroupPolicy::default());
    let (_, one) = world.enter(&Join::new("").speaking(&[("a", b"1"), ("b", b"2"), ("c", b"3")]));
    let (_, two) = world.enter(&Join::new("").speaking(&[("c", b"4"), ("b", b"5")]));
    let (_, three) = world.enter(&Join::new("").speaking(&[("b", b"6"), ("c", b"7"), ("a", b"8")]));
    world.pass(10_000);
    let answers: Vec<_> = [one, two, three].into_iter().map(|token| world.joined(token)).collect();
    assert!(answers.iter().all(|answer| answer.protocol_name.as_deref() == Some("b")));
    let leader = answers.iter().find(|answer| !answer.members.is_empty()).unwrap();
    let mut metadata: Vec<_> = leader.members.iter().map(|member| member.metadata[0]).collect();
    metadata.sort_unstable();
    assert_eq!(metadata, b"256", "each member's words in the protocol that was chosen");
}

#[test]
fn a_full_group_refuses_the_next_member() {
    let policy = GroupPolicy { members_max: 2, initial_rebalance_delay_ms: 0, ..GroupPolicy::default() };
    let mut world = World::with(policy);
    let (ids, _) = world.stable(2);
    let refused = world.join_now(&Join::new(""));
    assert_eq!(refused.error_code, ErrorCode::GroupMaxSizeReached.code());
    assert_eq!(refused.member_id, "");
    assert_eq!(world.join_now(&Join::new(&ids[1])).error_code, 0, "those inside stay");
}

#[test]
fn a_join_sent_twice_is_answered_twice_and_only_the_last_one_enters() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let first = world.join(&Join::new(&ids[0]));
    let second = world.join(&Join::new(&ids[0]));
    assert_eq!(world.joined(first).error_code, ErrorCode::RebalanceInProgress.code());
    world.join(&Join::new(&ids[1]));
    assert_eq!(world.joined(second).generation_id, generation + 1);
}

#[test]
fn a_version_0_member_has_its_session_timeout_to_join_again() {
    let mut world = World::new();
    let mut old = Join::new("").version(0);
    old.request.rebalance_timeout_ms = -1;
    let first = world.join_now(&old);
    assert_eq!(first.error_code, 0);
    let second = world.join(&old);
    world.pass(9_000);
    assert_eq!(world.heartbeat(first.generation_id, &first.member_id), ErrorCode::RebalanceInProgress);
    world.pass(1_000);
    assert_eq!(world.joined(second).members.len(), 1, "the first member had ten seconds");
}
