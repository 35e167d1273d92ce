//! The coordinator of one partition of `__consumer_offsets`: finds the group, runs its step, carries out what follows.

use std::collections::BTreeMap;

use tracing::warn;
use wire::kafka::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use wire::kafka::join_group::JoinGroupRequest;
use wire::kafka::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};
use wire::kafka::sync_group::SyncGroupRequest;
use wire::kafka::{ErrorCode, Str};

use super::appends::{After, AppendId, AppendResult, Finished, client_error};
use super::effects::{Caller, Effects, Now, Outputs, Reply, TimerKey};
use super::group::{ClassicGroup, GroupState, Joiner, sync_error};
use super::limits;
use super::member_ids::MemberIds;
use super::offsets::Offsets;
use super::policy::GroupPolicy;
use super::records::Record;
use super::snapshot::Growth;
use super::sweep::Sweep;

/// The first version of `LeaveGroup` with several members, and an answer for each (KIP-345).
const LEAVE_BATCH_FROM: i16 = 3;
/// The first version of `SyncGroup` that must name protocol type and protocol (KIP-559).
const SYNC_PROTOCOL_FROM: i16 = 5;

/// The groups and positions of one partition of `__consumer_offsets`. `T` names a request that is answered later.
#[derive(Debug)]
pub struct GroupCoordinator<T> {
    pub(super) groups: BTreeMap<Str, ClassicGroup<T>>,
    pub(super) offsets: Offsets,
    pub(super) sweep: Sweep,
    pub(super) growth: Growth,
    pub(super) fx: Effects<T>,
}

/// The partition of `__consumer_offsets`, out of `count`, that keeps the group: Java's string hash, as Kafka takes it.
pub fn partition_of(group_id: &str, count: u32) -> u32 {
    let hash =
        group_id.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka takes the magnitude, and 0 for the one number that has none.
    let magnitude = hash.checked_abs().unwrap_or(0).unsigned_abs();
    magnitude % count.max(1)
}

impl<T> GroupCoordinator<T> {
    /// An empty coordinator. `seed` should be random: member ids come from it.
    pub fn new(policy: GroupPolicy, seed: [u64; 2]) -> Self {
        Self {
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            sweep: Sweep::default(),
            growth: Growth::default(),
            fx: Effects::new(policy, MemberIds::new(seed)),
        }
    }

    /// Takes over changed settings; timers that run keep theirs.
    pub fn set_policy(&mut self, policy: GroupPolicy) {
        self.fx.policy = policy;
    }

    // ---- load and unload ----

    /// Takes in a record of the log, in the log's order, before [`Self::loaded`].
    pub fn replay(&mut self, record: Record) {
        self.growth.appended += 1;
        match record {
            Record::Group(id, Some(value)) => {
                self.drop_group(&id);
                let group = ClassicGroup::from_value(id.clone(), value, &mut self.fx);
                self.groups.insert(id, group);
            }
            Record::Group(id, None) => self.drop_group(&id),
            Record::Offset(key, value) => self.offsets.apply(&key, value),
        }
    }

    fn drop_group(&mut self, id: &str) {
        if let Some(mut group) = self.groups.remove(id) {
            group.discard(&mut self.fx);
        }
    }

    /// The log is read to its end: sessions begin anew, and the group can be served.
    pub fn loaded(&mut self, now: Now) -> Outputs<T> {
        self.fx.now = now;
        let simple: Vec<Str> =
            self.offsets.group_ids().filter(|id| !self.groups.contains_key(*id)).cloned().collect();
        for id in simple {
            self.groups.insert(id.clone(), ClassicGroup::new(id, now.wall_ms));
        }
        let fx = &mut self.fx;
        for group in self.groups.values_mut() {
            group.restart_all_sessions(fx);
            if group.member_count() > fx.policy.members_max {
                group.prepare_rebalance("the group is larger than is allowed now", fx);
            }
        }
        fx.after(fx.policy.offsets_sweep_interval_ms, TimerKey::Sweep);
        fx.take_outputs()
    }

    /// The partition is moved away, or the broker stops: everyone who waits is told `error`, and all is forgotten.
    pub fn unload(&mut self, error: ErrorCode) -> Outputs<T> {
        for group in self.groups.values_mut() {
            group.unload(error, &mut self.fx);
        }
        for finished in self.fx.appends.take_all(error) {
            match finished.after {
                After::OffsetCommit { token, response } => {
                    self.offsets_written(&finished.records, token, response, Err(error));
                }
                After::DeleteGroups { token, results, .. } => {
                    self.fx.reply(token, Reply::DeleteGroups(super::admin::failed(results, error)));
                }
                After::Assignments { .. }
                | After::StaticMember(_)
                | After::EmptyGroup
                | After::Sweep { .. } => {}
            }
        }
        let outputs = self.fx.take_outputs();
        self.groups.clear();
        self.offsets = Offsets::default();
        self.sweep = Sweep::default();
        self.growth = Growth::default();
        self.fx.forget();
        outputs
    }

    /// Groups that are kept here.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    // ---- membership ----

    /// `JoinGroup`. Answered at once, or when the rebalance ends.
    pub fn join(&mut self, caller: &Caller, request: &JoinGroupRequest, token: T, now: Now) -> Outputs<T> {
        self.fx.now = now;
        let joiner = Joiner::new(caller, request, token);
        if let Err(error) = self.check_join(request) {
            joiner.refuse(request.member_id.clone(), error, &mut self.fx);
            return self.fx.take_outputs();
        }
        let id = request.group_id.detached();
        let group =
            self.groups.entry(id.clone()).or_insert_with(|| ClassicGroup::new(id.clone(), now.wall_ms));
        group.join(joiner, &mut self.fx);
        self.drop_if_void(&id);
        self.fx.take_outputs()
    }

    fn check_join(&self, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
        let policy = &self.fx.policy;
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let allowed = policy.session_timeout_ms_min..=policy.session_timeout_ms_max;
        if !allowed.contains(&request.session_timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        if request.protocols.len() > limits::PROTOCOLS_PER_MEMBER_MAX {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        self.check_appends()?;
        if !self.groups.contains_key(&request.group_id) {
            if !request.member_id.is_empty() {
                return Err(ErrorCode::UnknownMemberId);
            }
            if self.groups.len() >= limits::GROUPS_MAX {
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
        }
        Ok(())
    }

    pub(super) fn check_appends(&self) -> Result<(), ErrorCode> {
        if self.fx.appends.len() < limits::PENDING_APPENDS_MAX {
            Ok(())
        } else {
            Err(ErrorCode::CoordinatorNotAvailable)
        }
    }

    /// `SyncGroup`. Answered at once, or when the leader's assignments are durable.
    pub fn sync(&mut self, caller: &Caller, request: &SyncGroupRequest, token: T, now: Now) -> Outputs<T> {
        self.fx.now = now;
        match self.check_sync(caller, request) {
            Err(error) => self.fx.reply(token, Reply::Sync(sync_error(error))),
            Ok(()) => match self.groups.get_mut(&request.group_id) {
                Some(group) => group.sync(request, token, &mut self.fx),
                None => self.fx.reply(token, Reply::Sync(sync_error(ErrorCode::UnknownMemberId))),
            },
        }
        self.fx.take_outputs()
    }

    fn check_sync(&self, caller: &Caller, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        let named = request.protocol_type.is_some() && request.protocol_name.is_some();
        if caller.api_version >= SYNC_PROTOCOL_FROM && !named {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.check_appends()
    }

    /// `Heartbeat`, answered at once.
    pub fn heartbeat(&mut self, request: &HeartbeatRequest, now: Now) -> HeartbeatResponse {
        self.fx.now = now;
        let outcome = if request.group_id.is_empty() {
            Err(ErrorCode::InvalidGroupId)
        } else if let Some(group) = self.groups.get_mut(&request.group_id) {
            group.heartbeat(request, &mut self.fx)
        } else {
            Err(ErrorCode::UnknownMemberId)
        };
        let error_code = outcome.err().unwrap_or(ErrorCode::None).code();
        HeartbeatResponse { error_code, ..HeartbeatResponse::default() }
    }

    /// `LeaveGroup`, answered at once; others may be answered by it.
    pub fn leave(&mut self, caller: &Caller, request: &LeaveGroupRequest, token: T, now: Now) -> Outputs<T> {
        self.fx.now = now;
        let outcome = self.leave_outcome(caller, request);
        let response = leave_response(caller.api_version, outcome);
        self.fx.reply(token, Reply::Leave(response));
        self.drop_if_void(&request.group_id);
        self.fx.take_outputs()
    }

    fn leave_outcome(
        &mut self,
        caller: &Caller,
        request: &LeaveGroupRequest,
    ) -> Result<Vec<MemberResponse>, ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let alone = [MemberIdentity { member_id: request.member_id.clone(), ..MemberIdentity::default() }];
        let leaving = if caller.api_version < LEAVE_BATCH_FROM { &alone[..] } else { &request.members };
        match self.groups.get_mut(&request.group_id) {
            None => Ok(leaving.iter().map(unknown_member).collect()),
            Some(group) if group.state() == GroupState::Dead => Err(ErrorCode::CoordinatorNotAvailable),
            Some(group) => Ok(group.leave(leaving, &mut self.fx)),
        }
    }

    /// A group that was made for a request that then did not enter leaves no trace.
    pub(super) fn drop_if_void(&mut self, id: &str) {
        if self.groups.get(id).is_some_and(ClassicGroup::is_void) && self.offsets.group(id).is_none() {
            self.groups.remove(id);
        }
    }

    // ---- appends and time ----

    /// The outcome of an append. Takes effect when those before it have theirs.
    pub fn append_finished(&mut self, id: AppendId, result: AppendResult, now: Now) -> Outputs<T> {
        self.fx.now = now;
        self.fx.appends.note(id, result);
        while let Some(finished) = self.fx.appends.take_finished() {
            if finished.result.is_ok() {
                self.apply(&finished.records);
            }
            self.carry_out(finished);
        }
        self.fx.take_outputs()
    }

    /// Records are durable: positions become visible.
    fn apply(&mut self, records: &[Record]) {
        self.growth.appended += records.len() as u64;
        for record in records {
            match record {
                Record::Group(id, value) => {
                    if let Some(group) = self.groups.get_mut(id) {
                        group.persisted.clone_from(value);
                    }
                }
                Record::Offset(key, value) => self.offsets.apply(key, value.clone()),
            }
        }
    }

    fn carry_out(&mut self, finished: Finished<T>) {
        let Finished { records, after, result } = finished;
        match after {
            After::Assignments { group, generation, assignments } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.assignments_written(generation, &assignments, result, &mut self.fx);
                }
            }
            After::StaticMember(rejoin) => {
                if let Some(group) = self.groups.get_mut(&rejoin.group) {
                    group.static_member_written(*rejoin, result, &mut self.fx);
                }
            }
            After::EmptyGroup => {
                if let Err(error) = result {
                    // The generation before is what the log has; its members are gone and time out after a reload.
                    warn!(?error, "an empty group could not be written down");
                }
            }
            After::OffsetCommit { token, response } => {
                self.offsets_written(&records, token, response, result);
            }
            After::DeleteGroups { token, results, groups } => {
                self.groups_deleted(&groups, result);
                let results = match result {
                    Ok(()) => results,
                    Err(error) => super::admin::failed(results, client_error(error)),
                };
                self.fx.reply(token, Reply::DeleteGroups(results));
            }
            After::Sweep { groups } => self.groups_deleted(&groups, result),
        }
    }

    /// The next time at which [`Self::tick`] has something to do, in monotonic milliseconds; it may have passed already.
    pub fn next_deadline(&self) -> Option<i64> {
        self.fx.timers.next()
    }

    /// Time has passed: runs the timers that are due, at most [`limits::TIMERS_PER_TICK`] of them.
    pub fn tick(&mut self, now: Now) -> Outputs<T> {
        self.fx.now = now;
        for _ in 0..limits::TIMERS_PER_TICK {
            let Some(key) = self.fx.timers.take_due(now.monotonic_ms) else { break };
            match key {
                TimerKey::Session(group, member) => {
                    if let Some(state) = self.groups.get_mut(&group) {
                        state.session_ended(&member, &mut self.fx);
                    }
                    self.drop_if_void(&group);
                }
                TimerKey::Join(group) => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.join_timed_out(&mut self.fx);
                    }
                }
                TimerKey::Sync(group) => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.sync_timed_out(&mut self.fx);
                    }
                }
                TimerKey::Sweep => {
                    self.sweep_step();
                    break;
                }
            }
        }
        self.fx.take_outputs()
    }
}

fn unknown_member(identity: &MemberIdentity) -> MemberResponse {
    MemberResponse {
        member_id: identity.member_id.clone(),
        group_instance_id: identity.group_instance_id.clone(),
        error_code: ErrorCode::UnknownMemberId.code(),
    }
}

/// Before version 3 the one member's outcome is the answer.
fn leave_response(api_version: i16, outcome: Result<Vec<MemberResponse>, ErrorCode>) -> LeaveGroupResponse {
    match outcome {
        Err(error) => LeaveGroupResponse { error_code: error.code(), ..LeaveGroupResponse::default() },
        Ok(members) if api_version < LEAVE_BATCH_FROM => {
            let error_code = members.first().map_or(0, |member| member.error_code);
            LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }
        }
        Ok(members) => LeaveGroupResponse { members, ..LeaveGroupResponse::default() },
    }
}
