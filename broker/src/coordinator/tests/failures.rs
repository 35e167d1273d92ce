//! At the bounds: errors, no growth.

use wire::kafka::ErrorCode;

use super::world::{Join, LogMode, World};
use crate::coordinator::limits;

#[test]
fn a_group_gives_out_only_so_many_ids_that_nobody_uses() {
    let mut world = World::new();
    for _ in 0..limits::PENDING_MEMBERS_PER_GROUP_MAX {
        assert_eq!(world.join_now(&Join::new("")).error_code, ErrorCode::MemberIdRequired.code());
    }
    assert_eq!(world.join_now(&Join::new("")).error_code, ErrorCode::GroupMaxSizeReached.code());
    world.pass(10_001);
    assert_eq!(world.join_now(&Join::new("")).error_code, ErrorCode::MemberIdRequired.code());
}

#[test]
fn a_member_that_speaks_too_many_protocols_is_refused() {
    let mut world = World::new();
    let names: Vec<String> = (0..=limits::PROTOCOLS_PER_MEMBER_MAX).map(|at| at.to_string()).collect();
    let protocols: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let answer = world.join_now(&Join::new("").speaking(&protocols));
    assert_eq!(answer.error_code, ErrorCode::InconsistentGroupProtocol.code());
}

#[test]
fn when_the_log_stands_still_commits_are_refused_before_they_pile_up() {
    let mut world = World::new();
    world.mode = LogMode::Held;
    for offset in 0..limits::PENDING_APPENDS_MAX {
        world.commit_with(9, &World::commit_request(-1, "", offset as i64));
    }
    assert_eq!(world.commit(-1, "", 0), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(world.join_now(&Join::new("")).error_code, ErrorCode::CoordinatorNotAvailable.code());
    world.release();
    assert_eq!(world.position(), limits::PENDING_APPENDS_MAX as i64 - 1);
}

#[test]
fn the_bytes_of_all_members_together_are_bounded_and_given_back() {
    let mut world = World::new();
    let large = vec![7; limits::MEMBER_BYTES_MAX / 4];
    let fat = |instance: &str| Join::new("").instance(instance).version(9).speaking(&[("range", &large)]);
    let mut tokens = Vec::new();
    for instance in ["a", "b", "c"] {
        tokens.push(world.join(&fat(instance)));
    }
    assert_eq!(world.join_now(&fat("d")).error_code, ErrorCode::GroupMaxSizeReached.code());
    world.leave(5, &[("", Some("a"))]);
    let token = world.join(&fat("d"));
    assert!(!world.replies.contains_key(&token), "it waits for the others");
}
