//! The state of one classic group, and the small steps that the protocol's steps are made of.
//!
//! Invariants: `support` counts for each protocol the members that speak it; `awaiting_join` counts the members with a
//! parked `JoinGroup`; the leader is a member whenever there are members; every static member's instance id maps to it.
//! A parked request is answered when its member goes, is replaced, or sends the same request again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use wire::kafka::consumer_offsets::{GroupMetadataValue, MemberMetadata};
use wire::kafka::describe_groups::{DescribedGroup, DescribedGroupMember};
use wire::kafka::join_group::{JoinGroupResponse, JoinGroupResponseMember};
use wire::kafka::sync_group::SyncGroupResponse;
use wire::kafka::{ErrorCode, Str};

use super::member::{Member, ParkedJoin, Protocol, Refusal, Terms};
use super::subscription;
use crate::coordinator::effects::{Effects, Reply, TimerKey};
use crate::coordinator::records::Record;

/// The first version of `JoinGroup` whose answer may have no protocol (KIP-559).
const JOIN_NULL_PROTOCOL_FROM: i16 = 7;

/// Where a group is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    /// No members; perhaps positions.
    Empty,
    /// Members are to join again.
    PreparingRebalance,
    /// Members have joined; the leader's assignments are awaited.
    CompletingRebalance,
    /// Every member can have its assignment.
    Stable,
    /// About to be deleted.
    Dead,
}

impl GroupState {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }

    fn may_follow(self, previous: Self) -> bool {
        match self {
            Self::Empty => matches!(previous, Self::PreparingRebalance | Self::Dead),
            Self::PreparingRebalance => {
                matches!(previous, Self::Stable | Self::CompletingRebalance | Self::Empty)
            }
            Self::CompletingRebalance => previous == Self::PreparingRebalance,
            Self::Stable => previous == Self::CompletingRebalance,
            Self::Dead => true,
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The first rebalance of an empty group: how long its timer runs, and how much longer it may be extended.
#[derive(Clone, Copy, Debug)]
pub(super) struct InitialDelay {
    pub(super) delay_ms: i64,
    pub(super) remaining_ms: i64,
}

/// One group.
#[derive(Debug)]
pub(crate) struct ClassicGroup<T> {
    pub(super) id: Str,
    pub(super) state: GroupState,
    pub(super) previous: GroupState,
    /// Wall clock; unknown for a group written by an old broker.
    pub(super) state_since_ms: Option<i64>,
    pub(super) protocol_type: Option<Str>,
    pub(super) protocol_name: Option<Str>,
    pub(super) generation: i32,
    pub(super) leader: Option<Str>,
    pub(super) members: BTreeMap<Str, Member<T>>,
    /// Instance id → member id.
    pub(super) static_members: BTreeMap<Str, Str>,
    /// Ids given with `MEMBER_ID_REQUIRED`, not used yet.
    pub(super) pending_join: BTreeSet<Str>,
    /// Members of this generation whose `SyncGroup` has not come.
    pub(super) pending_sync: BTreeSet<Str>,
    pub(super) awaiting_join: usize,
    support: BTreeMap<Str, usize>,
    /// `None` when the members' metadata does not tell.
    subscribed: Option<BTreeSet<Str>>,
    pub(super) initial_delay: Option<InitialDelay>,
    pub(super) new_member_added: bool,
    /// The generation whose assignments are on their way to the log.
    pub(super) assigning: Option<i32>,
    /// What the log says of the group.
    pub(crate) persisted: Option<GroupMetadataValue>,
}

impl<T> ClassicGroup<T> {
    /// A group without members, positions or history.
    pub(crate) fn new(id: Str, wall_ms: i64) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            previous: GroupState::Dead,
            state_since_ms: Some(wall_ms),
            protocol_type: None,
            protocol_name: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join: 0,
            support: BTreeMap::new(),
            subscribed: None,
            initial_delay: None,
            new_member_added: false,
            assigning: None,
            persisted: None,
        }
    }

    /// A group as the log knows it: stable, or empty.
    pub(crate) fn from_value(id: Str, value: GroupMetadataValue, fx: &mut Effects<T>) -> Self {
        let mut group = Self::new(id, 0);
        group.state = if value.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        group.state_since_ms = Some(value.current_state_timestamp).filter(|at| *at != -1);
        group.protocol_type = Some(value.protocol_type.clone()).filter(|name| !name.is_empty());
        group.protocol_name.clone_from(&value.protocol);
        group.generation = value.generation;
        for member in &value.members {
            group.insert(Member::from_metadata(member, value.protocol.as_ref()), fx);
        }
        // A leader that is no member would be a record of another broker's making; take any member instead.
        let known = value.leader.clone().filter(|leader| group.members.contains_key(leader));
        group.leader = known.or_else(|| group.members.keys().next().cloned());
        group.note_subscriptions();
        group.persisted = Some(value);
        group
    }

    pub(crate) fn id(&self) -> &Str {
        &self.id
    }

    pub(crate) fn state(&self) -> GroupState {
        self.state
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn has_pending_members(&self) -> bool {
        !self.pending_join.is_empty()
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_ref().is_some_and(|leader| *leader == *member)
    }

    /// Moves to another state; which may follow which is asserted.
    pub(crate) fn enter(&mut self, state: GroupState, wall_ms: i64) {
        assert!(state.may_follow(self.state), "group {} goes from {} to {state}", self.id, self.state);
        self.previous = self.state;
        self.state = state;
        self.state_since_ms = Some(wall_ms);
    }

    // ---- members ----

    /// Adds a member. The caller has checked that it fits.
    pub(super) fn insert(&mut self, member: Member<T>, fx: &mut Effects<T>) {
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_join.remove(&member.id);
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        self.count_protocols(&member.terms.protocols);
        fx.member_bytes += member.bytes();
        let before = self.members.insert(member.id.clone(), member);
        assert!(before.is_none(), "a member joins group {} twice", self.id);
    }

    /// Takes a member or a pending id out. What it still waits for is answered `UNKNOWN_MEMBER_ID`.
    pub(super) fn remove(&mut self, member_id: &str, fx: &mut Effects<T>) {
        fx.timers.cancel(&TimerKey::Session(self.id.clone(), Str::from(member_id)));
        self.answer_join_error(member_id, ErrorCode::UnknownMemberId, fx);
        self.answer_sync(member_id, ErrorCode::UnknownMemberId, fx);
        if let Some(member) = self.members.remove(member_id) {
            self.uncount_protocols(&member.terms.protocols);
            fx.member_bytes -= member.bytes();
            if let Some(instance) = &member.instance_id {
                self.static_members.remove(instance);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_join.remove(member_id);
        self.pending_sync.remove(member_id);
    }

    /// New terms, and a `JoinGroup` that waits from now on; an older one that still waits is told to join again.
    pub(super) fn update(
        &mut self,
        member_id: &str,
        terms: Terms,
        parked: ParkedJoin<T>,
        fx: &mut Effects<T>,
    ) {
        self.answer_join_error(member_id, ErrorCode::RebalanceInProgress, fx);
        self.replace_terms(member_id, terms, fx);
        if let Some(member) = self.members.get_mut(member_id) {
            member.awaiting_join = Some(parked);
            self.awaiting_join += 1;
        }
    }

    /// New terms; gives the old ones.
    pub(super) fn replace_terms(
        &mut self,
        member_id: &str,
        terms: Terms,
        fx: &mut Effects<T>,
    ) -> Option<Terms> {
        let member = self.members.get_mut(member_id)?;
        fx.member_bytes = fx.member_bytes + terms.bytes() - member.terms.bytes();
        let old = std::mem::replace(&mut member.terms, terms);
        let new = member.terms.protocols.clone();
        self.uncount_protocols(&old.protocols);
        self.count_protocols(&new);
        Some(old)
    }

    /// Gives a static member another id. Requests of the old id that wait are fenced.
    pub(super) fn rename_static(&mut self, old_id: &str, new_id: &Str, fx: &mut Effects<T>) {
        self.answer_join_error(old_id, ErrorCode::FencedInstanceId, fx);
        self.answer_sync(old_id, ErrorCode::FencedInstanceId, fx);
        let Some(mut member) = self.members.remove(old_id) else { return };
        fx.timers.cancel(&TimerKey::Session(self.id.clone(), member.id.clone()));
        fx.member_bytes = fx.member_bytes + new_id.len() - member.id.len();
        member.id = new_id.clone();
        member.is_new = false;
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), new_id.clone());
        }
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.clone());
        }
        self.members.insert(new_id.clone(), member);
    }

    /// Whether the request's member is one, under the instance id it claims.
    pub(super) fn check_member(&self, member_id: &str, instance_id: Option<&Str>) -> Result<(), Refusal> {
        if let Some(instance) = instance_id {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(owner) if *owner != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Restarts the member's session, with its own timeout.
    pub(super) fn restart_session(&self, member_id: &str, fx: &mut Effects<T>) {
        if let Some(member) = self.members.get(member_id) {
            let key = TimerKey::Session(self.id.clone(), member.id.clone());
            fx.after(i64::from(member.terms.session_timeout_ms), key);
        }
    }

    pub(super) fn all_have_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    /// The longest that any member needs to join again.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        let longest = self.members.values().map(|member| member.terms.rebalance_timeout_ms).max();
        i64::from(longest.unwrap_or(0).max(0))
    }

    /// Makes sure that the leader is one who joined. False when nobody did.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: &&Member<T>| member.awaiting_join.is_some();
        let Some(leader) = self.leader.as_ref().and_then(|leader| self.members.get(leader)) else {
            return false;
        };
        if joined(&leader) {
            return true;
        }
        let Some(next) = self.members.values().find(joined).map(|member| member.id.clone()) else {
            return false;
        };
        self.leader = Some(next);
        true
    }

    // ---- protocols ----

    /// Whether a member that speaks these can be in the group.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let spoken_by_all = |protocol: &Protocol| {
            self.support.get(&protocol.name).copied().unwrap_or(0) == self.members.len()
        };
        self.protocol_type.as_ref().is_some_and(|own| *own == *protocol_type)
            && protocols.iter().any(spoken_by_all)
    }

    /// The protocol that every member speaks and most prefer; of equals the first by name. None without members.
    pub(super) fn select_protocol(&self) -> Option<Str> {
        let common = |protocol: &&Protocol| self.support.get(&protocol.name) == Some(&self.members.len());
        let mut votes: BTreeMap<&Str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(preferred) = member.terms.protocols.iter().find(common) {
                *votes.entry(&preferred.name).or_default() += 1;
            }
        }
        let most = votes.values().max().copied();
        votes.into_iter().find(|(_, count)| Some(*count) == most).map(|(name, _)| name.clone())
    }

    fn count_protocols(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            *self.support.entry(protocol.name.clone()).or_default() += 1;
        }
    }

    fn uncount_protocols(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            if let Some(count) = self.support.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.support.remove(&protocol.name);
                }
            }
        }
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_ref().is_some_and(|name| *name == *subscription::CONSUMER)
    }

    /// Reads what the members subscribe to in the protocol of this generation.
    pub(super) fn note_subscriptions(&mut self) {
        self.subscribed = self.read_subscriptions();
    }

    fn read_subscriptions(&self) -> Option<BTreeSet<Str>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol_name.as_ref()?;
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            all.append(&mut subscription::topics(member.metadata(protocol)).ok()?);
        }
        Some(all)
    }

    /// Whether members consume the topic. A consumer group whose subscriptions are unreadable may consume any.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed
            .as_ref()
            .map_or_else(|| self.uses_consumer_protocol(), |topics| topics.contains(topic))
    }

    /// Whether the subscriptions of its members are known.
    pub(crate) fn knows_subscriptions(&self) -> bool {
        self.subscribed.is_some()
    }

    /// The group's protocol type; none for a group that only keeps positions.
    pub(crate) fn protocol_type(&self) -> Option<&Str> {
        self.protocol_type.as_ref()
    }

    /// Wall-clock time of the last change of state, if known.
    pub(crate) fn state_since_ms(&self) -> Option<i64> {
        self.state_since_ms
    }

    // ---- answers ----

    /// Answers the member's `JoinGroup`, if it has one waiting.
    pub(super) fn answer_join(
        &mut self,
        member_id: &str,
        response: JoinGroupResponse,
        fx: &mut Effects<T>,
    ) -> bool {
        let Some(parked) = self.members.get_mut(member_id).and_then(|member| member.awaiting_join.take())
        else {
            return false;
        };
        self.awaiting_join -= 1;
        reply_join(parked, response, fx);
        true
    }

    fn answer_join_error(&mut self, member_id: &str, error: ErrorCode, fx: &mut Effects<T>) -> bool {
        // A member that is gone must not use its id again; one that is fenced or asked to retry keeps it.
        let known = if error == ErrorCode::UnknownMemberId { "" } else { member_id };
        self.answer_join(member_id, join_error(known.into(), error), fx)
    }

    /// Answers the member's `SyncGroup`, if it has one waiting, with its assignment or an error.
    pub(super) fn answer_sync(&mut self, member_id: &str, error: ErrorCode, fx: &mut Effects<T>) -> bool {
        let Some(token) = self.members.get_mut(member_id).and_then(|member| member.awaiting_sync.take())
        else {
            return false;
        };
        let response =
            if error == ErrorCode::None { self.assignment_of(member_id) } else { sync_error(error) };
        fx.reply(token, Reply::Sync(response));
        true
    }

    /// The member's assignment as an answer.
    pub(super) fn assignment_of(&self, member_id: &str) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: self
                .members
                .get(member_id)
                .map_or_else(Bytes::new, |member| member.assignment.clone()),
            ..SyncGroupResponse::default()
        }
    }

    /// The current generation as an answer to the member; the leader also learns who the members are.
    pub(super) fn generation_for(&self, member_id: &Str) -> JoinGroupResponse {
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.clone(),
            members: if self.is_leader(member_id) { self.members_for_leader() } else { Vec::new() },
            ..JoinGroupResponse::default()
        }
    }

    pub(super) fn members_for_leader(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol_name.clone().unwrap_or_default();
        let shown = |member: &Member<T>| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(&protocol),
        };
        self.members.values().map(shown).collect()
    }

    /// The group as `DescribeGroups` shows it; metadata only when the group is stable.
    pub(crate) fn describe(&self) -> DescribedGroup {
        let stable = self.protocol_name.as_ref().filter(|_| self.state == GroupState::Stable);
        let members = self.members.values().map(|member| DescribedGroupMember {
            member_metadata: stable.map_or_else(Bytes::new, |protocol| member.metadata(protocol)),
            ..member.describe()
        });
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: self.state.name().into(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: stable.cloned().unwrap_or_default(),
            members: members.collect(),
            ..DescribedGroup::default()
        }
    }

    // ---- records ----

    /// The record of this generation with the given assignments; those of members not among them stay as they are.
    pub(super) fn record(&self, assignments: Option<&BTreeMap<Str, Bytes>>) -> Record {
        let protocol = self.protocol_name.clone().unwrap_or_default();
        let assigned = |member: &Member<T>| match assignments {
            Some(assignments) => assignments.get(&member.id).cloned().unwrap_or_default(),
            None => member.assignment.clone(),
        };
        let members = self.members.values().map(|member| MemberMetadata {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.terms.rebalance_timeout_ms,
            session_timeout: member.terms.session_timeout_ms,
            subscription: member.metadata(&protocol),
            assignment: assigned(member),
        });
        let value = GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol_name.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: members.collect(),
        };
        Record::Group(self.id.clone(), Some(value))
    }
}

/// Sends an answer to `JoinGroup`.
pub(super) fn reply_join<T>(parked: ParkedJoin<T>, response: JoinGroupResponse, fx: &mut Effects<T>) {
    let ParkedJoin { token, api_version } = parked;
    fx.reply(token, Reply::Join(for_version(api_version, response)));
}

/// The answer to a `JoinGroup` that no coordinator here can take, in the form that its version has.
pub fn join_refusal(api_version: i16, member_id: Str, error: ErrorCode) -> JoinGroupResponse {
    for_version(api_version, join_error(member_id, error))
}

/// Before version 7 there is no null protocol.
fn for_version(api_version: i16, mut response: JoinGroupResponse) -> JoinGroupResponse {
    if api_version < JOIN_NULL_PROTOCOL_FROM && response.protocol_name.is_none() {
        response.protocol_name = Some(Str::default());
    }
    response
}

pub(super) fn join_error(member_id: Str, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { error_code: error.code(), member_id, ..JoinGroupResponse::default() }
}

pub(crate) fn sync_error(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() }
}
