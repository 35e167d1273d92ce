//! `SyncGroup`: the leader brings the assignments, they are written down, then everybody gets their own.

use std::collections::BTreeMap;

use bytes::Bytes;
use wire::kafka::sync_group::SyncGroupRequest;
use wire::kafka::{ErrorCode, Str};

use super::classic::{ClassicGroup, GroupState, sync_error};
use super::member::Refusal;
use crate::coordinator::appends::{After, AppendResult, client_error};
use crate::coordinator::effects::{Effects, Reply, TimerKey};
use crate::coordinator::limits;

impl<T> ClassicGroup<T> {
    /// Handles a `SyncGroup`.
    pub(crate) fn sync(&mut self, request: &SyncGroupRequest, token: T, fx: &mut Effects<T>) {
        if let Err(error) = self.check_sync(request) {
            return fx.reply(token, Reply::Sync(sync_error(error)));
        }
        let member_id = request.member_id.detached();
        match self.state {
            GroupState::CompletingRebalance => {
                // The same request again: only the last one is answered with the assignment.
                self.answer_sync(&member_id, ErrorCode::RebalanceInProgress, fx);
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.awaiting_sync = Some(token);
                }
                self.has_synced(&member_id, fx);
                if self.is_leader(&member_id) && self.assigning != Some(self.generation) {
                    self.write_assignments(request, fx);
                }
            }
            GroupState::Stable => {
                self.has_synced(&member_id, fx);
                let response = self.assignment_of(&member_id);
                fx.reply(token, Reply::Sync(response));
            }
            GroupState::Empty | GroupState::PreparingRebalance | GroupState::Dead => {
                fx.reply(token, Reply::Sync(sync_error(ErrorCode::RebalanceInProgress)));
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), Refusal> {
        match self.state {
            GroupState::Empty => return Err(ErrorCode::UnknownMemberId),
            GroupState::Dead => return Err(ErrorCode::CoordinatorNotAvailable),
            GroupState::PreparingRebalance | GroupState::CompletingRebalance | GroupState::Stable => {}
        }
        self.check_member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |theirs: &Option<Str>, ours: &Option<Str>| matches!((theirs, ours), (Some(theirs), Some(ours)) if theirs != ours);
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn has_synced(&mut self, member_id: &str, fx: &mut Effects<T>) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            fx.timers.cancel(&TimerKey::Sync(self.id.clone()));
        }
    }

    fn write_assignments(&mut self, request: &SyncGroupRequest, fx: &mut Effects<T>) {
        let mut assignments: BTreeMap<Str, Bytes> = BTreeMap::new();
        let mut bytes = 0;
        for theirs in &request.assignments {
            // Assignments of strangers are dropped.
            if let Some(member) = self.members.get(&theirs.member_id) {
                bytes += theirs.assignment.len();
                assignments.insert(member.id.clone(), Bytes::copy_from_slice(&theirs.assignment));
            }
        }
        if fx.member_bytes + bytes > limits::MEMBER_BYTES_MAX {
            return self.answer_all_syncs(ErrorCode::UnknownServerError, fx);
        }
        self.assigning = Some(self.generation);
        let record = self.record(Some(&assignments));
        let after = After::Assignments { group: self.id.clone(), generation: self.generation, assignments };
        fx.append(vec![record], after);
    }

    /// The assignments of `generation` are durable, or could not be written.
    pub(crate) fn assignments_written(
        &mut self,
        generation: i32,
        assignments: &BTreeMap<Str, Bytes>,
        result: AppendResult,
        fx: &mut Effects<T>,
    ) {
        if self.assigning == Some(generation) {
            self.assigning = None;
        }
        if self.state != GroupState::CompletingRebalance || self.generation != generation {
            // A rebalance began meanwhile; everybody was told.
            return;
        }
        match result {
            Ok(()) => {
                self.set_assignments(assignments, fx);
                self.enter(GroupState::Stable, fx.now.wall_ms);
                self.answer_all_syncs(ErrorCode::None, fx);
            }
            Err(error) => {
                self.reset_assignments(client_error(error), fx);
                self.prepare_rebalance("the assignments could not be written", fx);
            }
        }
    }
}
