//! `JoinGroup`: who may enter, and when entering starts a rebalance.

use std::fmt;

use bytes::Bytes;
use wire::kafka::ErrorCode;
use wire::kafka::Str;
use wire::kafka::join_group::{JoinGroupRequest, JoinGroupResponse};

use super::classic::{ClassicGroup, GroupState, join_error, reply_join};
use super::member::{Member, ParkedJoin, Refusal, Terms, protocols_of};
use crate::coordinator::appends::{After, AppendResult, client_error};
use crate::coordinator::effects::{Caller, Effects, TimerKey};
use crate::coordinator::limits;

/// The first version whose dynamic members must come back with the id they are given (KIP-394).
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
/// The first version in which a static leader is told that its assignment still stands (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

/// A `JoinGroup` request in memory of its own.
#[derive(Debug)]
pub(crate) struct Joiner<T> {
    /// Empty for a member that has no id yet.
    member_id: Str,
    instance_id: Option<Str>,
    client_id: Str,
    client_host: Str,
    protocol_type: Str,
    terms: Terms,
    parked: ParkedJoin<T>,
}

impl<T> Joiner<T> {
    pub(crate) fn new(caller: &Caller, request: &JoinGroupRequest, token: T) -> Self {
        let no_rebalance_timeout = caller.api_version < 1;
        let session_timeout_ms = request.session_timeout_ms;
        Self {
            member_id: request.member_id.detached(),
            instance_id: request.group_instance_id.as_ref().map(Str::detached),
            client_id: caller.client_id.detached(),
            client_host: caller.client_host.detached(),
            protocol_type: request.protocol_type.detached(),
            terms: Terms {
                rebalance_timeout_ms: if no_rebalance_timeout {
                    session_timeout_ms
                } else {
                    request.rebalance_timeout_ms
                },
                session_timeout_ms,
                protocols: protocols_of(&request.protocols),
            },
            parked: ParkedJoin { token, api_version: caller.api_version },
        }
    }

    /// Answers without entering. `known` is the id the member may go on with.
    pub(crate) fn refuse(self, known: Str, error: Refusal, fx: &mut Effects<T>) {
        reply_join(self.parked, join_error(known, error), fx);
    }
}

/// A static member came back to a stable group under a new id; what to restore when that cannot be written down.
pub(crate) struct StaticRejoin<T> {
    pub(crate) group: Str,
    generation: i32,
    old_id: Str,
    new_id: Str,
    old_terms: Terms,
    old_leader: Option<Str>,
    api_version: i16,
    // The token waits in the member.
    token: std::marker::PhantomData<T>,
}

impl<T> fmt::Debug for StaticRejoin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticRejoin({}: {} is now {})", self.group, self.old_id, self.new_id)
    }
}

impl<T> ClassicGroup<T> {
    /// Handles a `JoinGroup` whose group id and session timeout are in order.
    pub(crate) fn join(&mut self, mut joiner: Joiner<T>, fx: &mut Effects<T>) {
        let unknown = joiner.member_id.is_empty();
        if !self.has_room_for(&joiner, fx) {
            if self.state == GroupState::PreparingRebalance {
                let member_id = std::mem::take(&mut joiner.member_id);
                self.remove(&member_id, fx);
                self.complete_join_if_ready(fx);
            }
            return joiner.refuse(Str::default(), ErrorCode::GroupMaxSizeReached, fx);
        }
        if self.state == GroupState::Dead {
            let known = joiner.member_id.clone();
            return joiner.refuse(known, ErrorCode::CoordinatorNotAvailable, fx);
        }
        if !self.supports(&joiner.protocol_type, &joiner.terms.protocols) {
            let known = joiner.member_id.clone();
            return joiner.refuse(known, ErrorCode::InconsistentGroupProtocol, fx);
        }
        match (unknown, joiner.instance_id.clone()) {
            (true, Some(instance)) => self.join_new_static(&instance, joiner, fx),
            (true, None) => self.join_new_dynamic(joiner, fx),
            (false, _) if self.pending_join.contains(&joiner.member_id) => self.join_pending(joiner, fx),
            (false, _) => self.join_known(joiner, fx),
        }
    }

    /// Whether the group may have one more, or has this one already.
    fn has_room_for(&self, joiner: &Joiner<T>, fx: &Effects<T>) -> bool {
        let members_max = fx.policy.members_max.min(limits::MEMBERS_PER_GROUP_MAX);
        let member = self.members.get(&joiner.member_id);
        let accepted = match self.state {
            GroupState::Empty | GroupState::Dead => true,
            // Those who joined are counted, not those who are members: the group may be larger than it is now allowed
            // to be, and then the last to join again are the ones to go.
            GroupState::PreparingRebalance => {
                member.is_some_and(|member| member.awaiting_join.is_some())
                    || self.awaiting_join < members_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.members.len() < members_max
            }
        };
        let is_dynamic_stranger = joiner.member_id.is_empty() && joiner.instance_id.is_none();
        let pending_full = self.pending_join.len() >= limits::PENDING_MEMBERS_PER_GROUP_MAX;
        let bytes_full = fx.member_bytes + joiner.terms.bytes() > limits::MEMBER_BYTES_MAX;
        accepted && !bytes_full && !(is_dynamic_stranger && pending_full)
    }

    fn join_new_dynamic(&mut self, mut joiner: Joiner<T>, fx: &mut Effects<T>) {
        let id = fx.member_ids.next(&joiner.client_id);
        if joiner.parked.api_version >= MEMBER_ID_REQUIRED_FROM {
            let session_ms = i64::from(joiner.terms.session_timeout_ms);
            self.pending_join.insert(id.clone());
            fx.after(session_ms, TimerKey::Session(self.id.clone(), id.clone()));
            return joiner.refuse(id, ErrorCode::MemberIdRequired, fx);
        }
        joiner.member_id = id;
        self.enter_member(joiner, fx);
    }

    fn join_new_static(&mut self, instance: &Str, mut joiner: Joiner<T>, fx: &mut Effects<T>) {
        let new_id = fx.member_ids.next(instance);
        joiner.member_id = new_id;
        match self.static_members.get(instance).cloned() {
            Some(old_id) => self.replace_static(&old_id, joiner, fx),
            None => self.enter_member(joiner, fx),
        }
    }

    fn join_pending(&mut self, joiner: Joiner<T>, fx: &mut Effects<T>) {
        if joiner.instance_id.is_some() {
            // Only dynamic members are ever given an id to come back with.
            return joiner.refuse(Str::default(), ErrorCode::UnknownServerError, fx);
        }
        self.enter_member(joiner, fx);
    }

    fn join_known(&mut self, joiner: Joiner<T>, fx: &mut Effects<T>) {
        let member_id = joiner.member_id.clone();
        if let Err(error) = self.check_member(&member_id, joiner.instance_id.as_ref()) {
            return joiner.refuse(member_id, error, fx);
        }
        let unchanged =
            self.members.get(&member_id).is_some_and(|m| m.terms.protocols == joiner.terms.protocols);
        match self.state {
            // It may not have got its answer: the generation is still its own.
            GroupState::CompletingRebalance if unchanged => self.answer_generation(joiner, fx),
            // A leader that joins wants a rebalance: the topics may have changed, which metadata does not show.
            GroupState::Stable if unchanged && !self.is_leader(&member_id) => {
                self.answer_generation(joiner, fx);
            }
            GroupState::PreparingRebalance | GroupState::CompletingRebalance | GroupState::Stable => {
                self.rejoin(joiner, fx);
            }
            GroupState::Empty | GroupState::Dead => joiner.refuse(member_id, ErrorCode::UnknownMemberId, fx),
        }
    }

    fn answer_generation(&mut self, joiner: Joiner<T>, fx: &mut Effects<T>) {
        reply_join(joiner.parked, self.generation_for(&joiner.member_id), fx);
    }

    fn rejoin(&mut self, joiner: Joiner<T>, fx: &mut Effects<T>) {
        self.update(&joiner.member_id, joiner.terms, joiner.parked, fx);
        self.rebalance_or_go_on("a member joins again", fx);
    }

    fn enter_member(&mut self, joiner: Joiner<T>, fx: &mut Effects<T>) {
        let member_id = joiner.member_id.clone();
        if self.state == GroupState::PreparingRebalance && self.previous == GroupState::Empty {
            self.new_member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(joiner.protocol_type);
        }
        let member = Member {
            id: joiner.member_id,
            instance_id: joiner.instance_id,
            client_id: joiner.client_id,
            client_host: joiner.client_host,
            terms: joiner.terms,
            assignment: Bytes::new(),
            awaiting_join: Some(joiner.parked),
            awaiting_sync: None,
            is_new: true,
        };
        self.insert(member, fx);
        // It cannot send heartbeats before it is answered, and nothing tells us that it hung up.
        let session = TimerKey::Session(self.id.clone(), member_id);
        fx.after(limits::NEW_MEMBER_JOIN_TIMEOUT_MS, session);
        self.rebalance_or_go_on("a member joins", fx);
    }

    /// A static member is back without an id: it gets a new one, and whoever still uses the old one is fenced.
    fn replace_static(&mut self, old_id: &Str, joiner: Joiner<T>, fx: &mut Effects<T>) {
        let Joiner { member_id: new_id, terms, parked, .. } = joiner;
        let api_version = parked.api_version;
        let old_leader = self.leader.clone();
        let Some(old_terms) = self.members.get(old_id).map(|member| member.terms.clone()) else { return };
        self.rename_static(old_id, &new_id, fx);
        self.update(&new_id, terms, parked, fx);
        self.restart_session(&new_id, fx);
        match self.state {
            GroupState::Stable if self.select_protocol() == self.protocol_name => {
                let rejoin = StaticRejoin {
                    group: self.id.clone(),
                    generation: self.generation,
                    old_id: old_id.clone(),
                    new_id,
                    old_terms,
                    old_leader,
                    api_version,
                    token: std::marker::PhantomData,
                };
                fx.append(vec![self.record(None)], After::StaticMember(Box::new(rejoin)));
            }
            GroupState::Stable => self.rebalance_or_go_on("a static member changes the protocol", fx),
            // The leader may have been told the old id and would assign to it.
            GroupState::CompletingRebalance => self.prepare_rebalance("a static member is back", fx),
            GroupState::PreparingRebalance => self.complete_join_if_ready(fx),
            GroupState::Empty | GroupState::Dead => {
                unreachable!("a group that is empty or dead has no static members")
            }
        }
    }

    /// The new id of a static member is durable, or could not be written.
    pub(crate) fn static_member_written(
        &mut self,
        rejoin: StaticRejoin<T>,
        result: AppendResult,
        fx: &mut Effects<T>,
    ) {
        let StaticRejoin { generation, old_id, new_id, old_terms, old_leader, api_version, .. } = rejoin;
        if self.state != GroupState::Stable
            || self.generation != generation
            || !self.members.contains_key(&new_id)
        {
            // A rebalance began meanwhile and will answer the member, or has done so.
            return;
        }
        if let Err(error) = result {
            let refusal = JoinGroupResponse {
                error_code: client_error(error).code(),
                member_id: Str::default(),
                leader: old_leader.unwrap_or_default(),
                ..self.generation_for(&Str::default())
            };
            self.answer_join(&new_id, refusal, fx);
            self.replace_terms(&new_id, old_terms, fx);
            self.rename_static(&new_id, &old_id, fx);
            return self.restart_session(&old_id, fx);
        }
        let response = if api_version >= SKIP_ASSIGNMENT_FROM {
            JoinGroupResponse { skip_assignment: self.is_leader(&new_id), ..self.generation_for(&new_id) }
        } else {
            // It must not take itself for the leader, or it would assign to members that are not waiting.
            let leader = old_leader.unwrap_or_default();
            JoinGroupResponse { leader, members: Vec::new(), ..self.generation_for(&new_id) }
        };
        self.answer_join(&new_id, response, fx);
        self.restart_session(&new_id, fx);
    }
}
