//! Coordinators: the state machines behind internal topics. For now the one of classic groups and their positions.
//!
//! A [`GroupCoordinator`] holds the groups of one partition of `__consumer_offsets`; it lives on the shard that owns the
//! partition. It is pure: requests, results of appends and the passing of time go in, [`Outputs`] come out. It never
//! waits, reads no clock and does no I/O, so that every decision can be tested and simulated without a runtime.
//!
//! # The shell around it
//! ```text
//! load      for each batch of the partition: coordinator.replay(record) for each of records::decode_batch(batch)
//!           coordinator.loaded(now)                      until then answer COORDINATOR_LOAD_IN_PROGRESS (14)
//! request   token = oneshot; outputs = coordinator.join(&caller, &request, token, now); carry_out(outputs)
//! carry_out for each reply: wake its token
//!           for each append, in order: records::batches(&append.records, wall_ms) → log.stage each batch, then spawn:
//!           wait until the last is durable → carry_out(coordinator.append_finished(append.id, result, now))
//!           a stage that fails is a result too, reported before anything else is staged
//! timer     sleep until coordinator.next_deadline(), then carry_out(coordinator.tick(now)); look at the deadline again
//!           after every call, it may have come nearer, also to now
//! snapshot  when coordinator.wants_snapshot(): remember the log's end as `start`; coordinator.snapshot_begins();
//!           parts = coordinator.snapshot(after, max, unstaged) until `next` is None, each staged as soon as it is taken
//!           and awaited, requests served in between; then move the log start to `start`; coordinator.snapshot_ends()
//! move      carry_out(coordinator.unload(ErrorCode::NotCoordinator))
//! ```
//! Promises: every token is answered exactly once; positions are answered and seen only when durable; what is in memory
//! after the result of an append is what a replay of the log up to there gives.

mod admin;
mod appends;
mod effects;
mod group;
mod group_coordinator;
pub mod host;
pub mod hosts;
pub mod limits;
mod member_ids;
mod offset_requests;
mod offsets;
mod policy;
pub mod records;
mod snapshot;
mod sweep;
mod timers;

#[cfg(test)]
mod tests;

pub use appends::{Append, AppendId, AppendResult};
pub use effects::{Caller, Now, Outputs, Reply};
pub use group::{GroupState, join_refusal};
pub use group_coordinator::{GroupCoordinator, partition_of};
pub use offset_requests::{fetch_groups, fetch_response};
pub use policy::GroupPolicy;
pub use records::{OffsetKey, Record};
pub use snapshot::SnapshotPart;
