//! The rebalance: who is waited for, for how long, and the generation that comes of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use tracing::info;
use wire::kafka::{ErrorCode, Str};

use super::classic::{ClassicGroup, GroupState, InitialDelay};
use crate::coordinator::appends::After;
use crate::coordinator::effects::{Effects, TimerKey};

impl<T> ClassicGroup<T> {
    /// Starts a rebalance where one may start, or sees whether the one under way can end.
    pub(super) fn rebalance_or_go_on(&mut self, reason: &'static str, fx: &mut Effects<T>) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance | GroupState::Empty => {
                self.prepare_rebalance(reason, fx);
            }
            GroupState::PreparingRebalance => self.complete_join_if_ready(fx),
            GroupState::Dead => {}
        }
    }

    /// Starts a rebalance: members that wait for assignments are told to join again.
    pub(crate) fn prepare_rebalance(&mut self, reason: &'static str, fx: &mut Effects<T>) {
        if self.state == GroupState::CompletingRebalance {
            self.reset_assignments(ErrorCode::RebalanceInProgress, fx);
        }
        self.end_sync_wait(fx);
        let initial = self.state == GroupState::Empty;
        self.enter(GroupState::PreparingRebalance, fx.now.wall_ms);
        info!(group = %self.id, generation = self.generation, members = self.members.len(), reason, "rebalance");
        if initial {
            // More members of a new group are probably on their way.
            let delay_ms = i64::from(fx.policy.initial_rebalance_delay_ms);
            let remaining_ms = (self.rebalance_timeout_ms() - delay_ms).max(0);
            self.wait_for_first_members(InitialDelay { delay_ms, remaining_ms }, fx);
        } else if self.all_have_joined() {
            self.complete_join(fx);
        } else {
            fx.after(self.rebalance_timeout_ms(), TimerKey::Join(self.id.clone()));
        }
    }

    fn wait_for_first_members(&mut self, delay: InitialDelay, fx: &mut Effects<T>) {
        self.initial_delay = Some(delay);
        fx.after(delay.delay_ms, TimerKey::Join(self.id.clone()));
    }

    /// Ends the wait when everybody is there. The first rebalance of an empty group ends by time only.
    pub(super) fn complete_join_if_ready(&mut self, fx: &mut Effects<T>) {
        let ready = self.state == GroupState::PreparingRebalance && self.previous != GroupState::Empty;
        if ready && self.all_have_joined() {
            self.complete_join(fx);
        }
    }

    /// The join timer has fired.
    pub(crate) fn join_timed_out(&mut self, fx: &mut Effects<T>) {
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        match self.initial_delay.take() {
            Some(delay) if self.new_member_added && delay.remaining_ms != 0 => {
                self.new_member_added = false;
                let policy_ms = i64::from(fx.policy.initial_rebalance_delay_ms);
                let next = InitialDelay {
                    delay_ms: policy_ms.min(delay.remaining_ms),
                    remaining_ms: (delay.remaining_ms - delay.delay_ms).max(0),
                };
                self.wait_for_first_members(next, fx);
            }
            _ => self.complete_join(fx),
        }
    }

    /// Ends the wait: dynamic members that did not join are dropped, the others are the next generation.
    pub(super) fn complete_join(&mut self, fx: &mut Effects<T>) {
        fx.timers.cancel(&TimerKey::Join(self.id.clone()));
        self.initial_delay = None;
        let late = |member: &&super::member::Member<T>| {
            member.awaiting_join.is_none() && member.instance_id.is_none()
        };
        let late: Vec<Str> = self.members.values().filter(late).map(|member| member.id.clone()).collect();
        for member_id in &late {
            info!(group = %self.id, member = %member_id, "did not join in time");
            self.remove(member_id, fx);
        }
        if self.members.is_empty() {
            return self.become_empty(fx);
        }
        if !self.elect_joined_leader() {
            // Only static members are left, all of them silent: wait until one joins or their sessions end.
            return fx.after(self.rebalance_timeout_ms(), TimerKey::Join(self.id.clone()));
        }
        self.generation = self.generation.wrapping_add(1).max(0);
        self.protocol_name = self.select_protocol();
        assert!(self.protocol_name.is_some(), "members of group {} have no protocol in common", self.id);
        self.note_subscriptions();
        self.new_member_added = false;
        self.enter(GroupState::CompletingRebalance, fx.now.wall_ms);
        info!(group = %self.id, generation = self.generation, members = self.members.len(), "generation begins");
        self.answer_generation_to_all(fx);
        fx.after(self.rebalance_timeout_ms(), TimerKey::Sync(self.id.clone()));
    }

    fn answer_generation_to_all(&mut self, fx: &mut Effects<T>) {
        self.pending_sync.clear();
        let ids: Vec<Str> = self.members.keys().cloned().collect();
        for member_id in ids {
            let response = self.generation_for(&member_id);
            self.answer_join(&member_id, response, fx);
            self.restart_session(&member_id, fx);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.is_new = false;
            }
            self.pending_sync.insert(member_id);
        }
    }

    fn become_empty(&mut self, fx: &mut Effects<T>) {
        self.generation = self.generation.wrapping_add(1).max(0);
        self.protocol_name = None;
        self.leader = None;
        self.new_member_added = false;
        self.note_subscriptions();
        self.pending_sync.clear();
        self.enter(GroupState::Empty, fx.now.wall_ms);
        info!(group = %self.id, generation = self.generation, "empty");
        fx.append(vec![self.record(None)], After::EmptyGroup);
    }

    /// The session of a member, or of an id that was given and not used, has ended.
    pub(crate) fn session_ended(&mut self, member_id: &str, fx: &mut Effects<T>) {
        if self.state == GroupState::Dead {
            return;
        }
        if self.pending_join.contains(member_id) {
            self.remove(member_id, fx);
            return self.complete_join_if_all_joined(fx);
        }
        let Some(member) = self.members.get(member_id) else { return };
        if member.satisfies_heartbeat() {
            return;
        }
        info!(group = %self.id, member = %member_id, "session ended");
        self.remove(member_id, fx);
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.rebalance_or_go_on("a member's session ended", fx);
            }
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(fx),
            GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// As [`Self::complete_join_if_ready`], for the end of a session, which ends a first rebalance too.
    fn complete_join_if_all_joined(&mut self, fx: &mut Effects<T>) {
        if self.state == GroupState::PreparingRebalance && self.all_have_joined() {
            self.complete_join(fx);
        }
    }

    /// The sync timer has fired: members that have not asked for their assignment are dropped.
    pub(crate) fn sync_timed_out(&mut self, fx: &mut Effects<T>) {
        if !matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable) {
            return;
        }
        let silent = std::mem::take(&mut self.pending_sync);
        if silent.is_empty() {
            return;
        }
        for member_id in &silent {
            info!(group = %self.id, member = %member_id, "did not sync in time");
            self.remove(member_id, fx);
        }
        self.prepare_rebalance("members did not sync", fx);
    }

    /// Nobody is waited for to sync any more.
    fn end_sync_wait(&mut self, fx: &mut Effects<T>) {
        self.pending_sync.clear();
        fx.timers.cancel(&TimerKey::Sync(self.id.clone()));
    }

    /// Takes every assignment away and tells those who wait for theirs.
    pub(super) fn reset_assignments(&mut self, error: ErrorCode, fx: &mut Effects<T>) {
        self.set_assignments(&BTreeMap::new(), fx);
        self.answer_all_syncs(error, fx);
    }

    /// Gives every member its assignment; those without one get an empty one.
    pub(super) fn set_assignments(&mut self, assignments: &BTreeMap<Str, Bytes>, fx: &mut Effects<T>) {
        for member in self.members.values_mut() {
            let assignment = assignments.get(&member.id).cloned().unwrap_or_default();
            fx.member_bytes = fx.member_bytes + assignment.len() - member.assignment.len();
            member.assignment = assignment;
        }
    }

    /// Answers all who wait for their assignment. Their sessions begin anew: the end of one did not count meanwhile.
    pub(super) fn answer_all_syncs(&mut self, error: ErrorCode, fx: &mut Effects<T>) {
        let ids: Vec<Str> = self.members.keys().cloned().collect();
        for member_id in ids {
            if self.answer_sync(&member_id, error, fx) {
                self.restart_session(&member_id, fx);
            }
        }
    }
}
