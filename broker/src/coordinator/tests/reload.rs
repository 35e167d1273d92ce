//! Load, snapshot, unload.

use wire::kafka::ErrorCode;

use super::world::{Join, LogMode, World};
use crate::coordinator::{GroupPolicy, Record, Reply};

/// The records of a whole snapshot in parts of `records_max`.
pub(super) fn snapshot(world: &World, records_max: usize) -> Vec<Record> {
    let mut records = Vec::new();
    let mut after = None;
    loop {
        let part = world.coordinator.snapshot(after.as_ref(), records_max, None);
        records.extend(part.records);
        match part.next {
            Some(next) => after = Some(next),
            None => return records,
        }
    }
}

#[test]
fn a_stable_group_is_stable_after_a_reload_and_its_sessions_begin_anew() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    world.pass(9_000);
    world.reload();
    world.pass(9_000);
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.heartbeat(generation, &ids[0]), ErrorCode::None);
    let token = world.sync(generation, &ids[1], &[]);
    assert_eq!(world.synced(token).assignment, ids[1].as_bytes());
    world.pass(1_000);
    assert_eq!(
        world.heartbeat(generation, &ids[1]),
        ErrorCode::UnknownMemberId,
        "that one was silent too long"
    );
}

#[test]
fn a_generation_whose_assignments_were_not_durable_is_not_there_after_a_reload() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    let answer = world.join_now(&Join::new(&ids[0]));
    assert_eq!(answer.generation_id, generation + 1);
    world.reload();
    assert_eq!(world.heartbeat(generation + 1, &ids[0]), ErrorCode::IllegalGeneration);
    assert_eq!(world.heartbeat(generation, &ids[0]), ErrorCode::None);
}

#[test]
fn a_group_larger_than_is_allowed_now_rebalances_when_it_is_loaded() {
    let mut world = World::new();
    let (ids, generation) = world.stable(3);
    let log = world.log.clone();
    let policy = GroupPolicy { members_max: 2, initial_rebalance_delay_ms: 0, ..GroupPolicy::default() };
    let mut world = World::with(policy);
    world.log = log;
    world.reload();
    assert_eq!(world.state(), "PreparingRebalance");
    let (first, second) = (world.join(&Join::new(&ids[0])), world.join(&Join::new(&ids[1])));
    let third = world.join_now(&Join::new(&ids[2]));
    assert_eq!(third.error_code, ErrorCode::GroupMaxSizeReached.code());
    assert_eq!(world.joined(first).generation_id, generation + 1);
    assert_eq!(world.joined(second).generation_id, generation + 1);
}

#[test]
fn a_snapshot_gives_the_same_state_as_the_log() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    for offset in 0..100 {
        world.commit(generation, &ids[0], offset);
    }
    let records = snapshot(&world, 1);
    assert_eq!(records.len() as u64, world.coordinator.live_records());
    world.log = records;
    world.reload();
    assert_eq!((world.state(), world.position()), ("Stable".to_owned(), 99));
    assert_eq!(world.heartbeat(generation, &ids[1]), ErrorCode::None);
}

#[test]
fn a_snapshot_has_what_is_on_its_way_to_the_log() {
    let mut world = World::new();
    world.commit(-1, "", 1);
    world.mode = LogMode::Held;
    world.commit_with(9, &World::commit_request(-1, "", 2));
    world.log = snapshot(&world, 100);
    world.reload();
    assert_eq!(world.position(), 2, "the log before the snapshot, with that commit, is about to go");
}

#[test]
fn a_snapshot_has_nothing_that_is_staged_behind_it_or_was_refused() {
    let mut world = World::new();
    world.commit(-1, "", 1);
    world.mode = LogMode::Held;
    world.commit_with(9, &World::commit_request(-1, "", 2));
    world.commit_with(9, &World::commit_request(-1, "", 3));
    let (first, second) = (world.held[0].id, world.held[1].id);
    let count = |world: &World, unstaged| world.coordinator.snapshot(None, 100, unstaged).records.len();
    assert_eq!((count(&world, Some(first)), count(&world, Some(second)), count(&world, None)), (1, 2, 3));
    let outputs = world.coordinator.append_finished(second, Err(ErrorCode::KafkaStorageError), world.now);
    assert!(outputs.replies.is_empty(), "its turn comes after the first");
    assert_eq!(count(&world, None), 2);
}

#[test]
fn a_snapshot_is_asked_for_when_the_log_has_grown_and_once() {
    let mut world = World::new();
    let mut offset = 0;
    while !world.coordinator.wants_snapshot() {
        world.commit(-1, "", offset);
        offset += 1;
        assert!(offset <= 10_000);
    }
    world.coordinator.snapshot_begins();
    world.commit(-1, "", offset);
    assert!(!world.coordinator.wants_snapshot());
    world.coordinator.snapshot_ends();
    assert!(!world.coordinator.wants_snapshot());
}

#[test]
fn who_waits_when_the_partition_is_moved_away_is_told_to_look_elsewhere() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let joins = world.join(&Join::new(&ids[0]));
    world.mode = LogMode::Held;
    let commits = world.commit_with(9, &World::commit_request(generation, &ids[1], 2));
    let late = world.held.front().unwrap().id;
    let outputs = world.coordinator.unload(ErrorCode::NotCoordinator);
    assert!(outputs.appends.is_empty());
    world.held.clear();
    world.carry_out(outputs);
    let not_here = ErrorCode::NotCoordinator.code();
    assert_eq!(world.joined(joins).error_code, not_here);
    assert_eq!(world.committed(commits).topics[0].partitions[0].error_code, not_here);
    assert!(world.waiting.is_empty());
    assert_eq!(world.coordinator.next_deadline(), None);
    let outputs = world.coordinator.append_finished(late, Ok(()), world.now);
    assert!(outputs.replies.is_empty(), "a result that comes too late has no effect");
    let syncs = world.sync(generation, &ids[0], &[]);
    assert!(matches!(world.replies.remove(&syncs), Some(Reply::Sync(answer)) if answer.error_code != 0));
}
