//! `LeaveGroup` and `Heartbeat`; what a commit means to the group; the ways in which a group ends here.

use wire::kafka::heartbeat::HeartbeatRequest;
use wire::kafka::leave_group::{MemberIdentity, MemberResponse};
use wire::kafka::offset_commit::OffsetCommitRequest;
use wire::kafka::{ErrorCode, Str};

use super::classic::{ClassicGroup, GroupState, join_error};
use super::member::Refusal;
use crate::coordinator::effects::{Effects, TimerKey};

impl<T> ClassicGroup<T> {
    /// The answer to a `Heartbeat`; it restarts the member's session.
    pub(crate) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        fx: &mut Effects<T>,
    ) -> Result<(), Refusal> {
        if self.state == GroupState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.check_member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        self.restart_session(&request.member_id, fx);
        match self.state {
            GroupState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::Empty | GroupState::Dead => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// Takes the members out and tells for each how that went. The group is not dead.
    pub(crate) fn leave(&mut self, leaving: &[MemberIdentity], fx: &mut Effects<T>) -> Vec<MemberResponse> {
        let mut responses = Vec::with_capacity(leaving.len());
        let mut left = false;
        for identity in leaving {
            let outcome = self.leave_one(identity, fx);
            left |= outcome.is_ok();
            responses.push(MemberResponse {
                member_id: identity.member_id.clone(),
                group_instance_id: identity.group_instance_id.clone(),
                error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
            });
        }
        if left {
            match self.state {
                GroupState::Stable | GroupState::CompletingRebalance => {
                    self.rebalance_or_go_on("members leave", fx);
                }
                GroupState::PreparingRebalance => self.complete_join_if_ready(fx),
                GroupState::Empty | GroupState::Dead => {}
            }
        }
        responses
    }

    fn leave_one(&mut self, identity: &MemberIdentity, fx: &mut Effects<T>) -> Result<(), Refusal> {
        let MemberIdentity { member_id, group_instance_id, .. } = identity;
        if member_id.is_empty() {
            // An operator removes a static member.
            let instance = group_instance_id.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
            let member_id = self.static_members.get(instance).cloned().ok_or(ErrorCode::UnknownMemberId)?;
            self.remove(&member_id, fx);
        } else if self.pending_join.contains(member_id) {
            self.remove(member_id, fx);
        } else {
            self.check_member(member_id, group_instance_id.as_ref())?;
            self.remove(member_id, fx);
        }
        Ok(())
    }

    /// Answers all who wait; the group is not served here any more.
    pub(crate) fn unload(&mut self, error: ErrorCode, fx: &mut Effects<T>) {
        let ids: Vec<Str> = self.members.keys().cloned().collect();
        for member_id in ids {
            self.answer_join(&member_id, join_error(member_id.clone(), error), fx);
            self.answer_sync(&member_id, error, fx);
        }
    }

    /// Whether who commits may do so now.
    pub(crate) fn check_commit(&self, request: &OffsetCommitRequest) -> Result<(), Refusal> {
        let generation = request.generation_id_or_member_epoch;
        match self.state {
            GroupState::Dead => return Err(ErrorCode::CoordinatorNotAvailable),
            // From a consumer that assigns its own partitions, or an operator.
            GroupState::Empty if generation < 0 => return Ok(()),
            _ => {}
        }
        let anonymous = generation < 0 && request.member_id.is_empty() && request.group_instance_id.is_none();
        if anonymous {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check_member(&request.member_id, request.group_instance_id.as_ref())?;
        if generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        // It knows the generation but not yet its assignment; it is to sync first.
        if self.state == GroupState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// A commit that was let through is a sign of life.
    pub(crate) fn note_commit(&self, member_id: &str, fx: &mut Effects<T>) {
        if matches!(self.state, GroupState::Stable | GroupState::PreparingRebalance) {
            self.restart_session(member_id, fx);
        }
    }

    /// After a load nobody has been heard of: every session begins anew.
    pub(crate) fn restart_all_sessions(&self, fx: &mut Effects<T>) {
        for member_id in self.members.keys() {
            self.restart_session(member_id, fx);
        }
    }

    /// Takes every trace of the group out of timers and budgets; nobody waits in it any more.
    pub(crate) fn discard(&mut self, fx: &mut Effects<T>) {
        let ids: Vec<Str> = self.members.keys().chain(&self.pending_join).cloned().collect();
        for member_id in ids {
            self.remove(&member_id, fx);
        }
        fx.timers.cancel(&TimerKey::Join(self.id.clone()));
        fx.timers.cancel(&TimerKey::Sync(self.id.clone()));
    }

    /// Whether nothing was ever written of the group and nobody is in it, or about to be.
    pub(crate) fn is_void(&self) -> bool {
        self.state == GroupState::Empty
            && self.pending_join.is_empty()
            && self.generation == 0
            && self.persisted.is_none()
    }
}
