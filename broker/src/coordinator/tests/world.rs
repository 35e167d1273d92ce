//! A coordinator with a clock that the test moves and a log that the test may hold back or break.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use wire::kafka::heartbeat::HeartbeatRequest;
use wire::kafka::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use wire::kafka::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use wire::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use wire::kafka::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::kafka::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use wire::kafka::{ErrorCode, Str};

use crate::coordinator::{Append, Caller, GroupCoordinator, GroupPolicy, Now, Outputs, Record, Reply};

pub(super) type Token = u64;

/// What becomes of appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogMode {
    /// Durable at once.
    Prompt,
    /// Kept until [`World::release`] or [`World::fail`].
    Held,
}

pub(super) struct World {
    pub(super) coordinator: GroupCoordinator<Token>,
    pub(super) now: Now,
    pub(super) mode: LogMode,
    pub(super) log: Vec<Record>,
    pub(super) held: VecDeque<Append>,
    pub(super) replies: BTreeMap<Token, Reply>,
    pub(super) waiting: BTreeSet<Token>,
    policy: GroupPolicy,
    tokens: Token,
}

/// A `JoinGroup` to be made: the defaults are those of a consumer of version 9.
#[derive(Clone)]
pub(super) struct Join {
    pub(super) version: i16,
    pub(super) request: JoinGroupRequest,
}

impl Join {
    pub(super) fn new(member: &str) -> Self {
        let request = JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            member_id: member.into(),
            protocol_type: "consumer".into(),
            ..JoinGroupRequest::default()
        };
        Self { version: 9, request }.speaking(&[("range", b"meta")])
    }

    pub(super) fn version(mut self, version: i16) -> Self {
        self.version = version;
        self
    }

    pub(super) fn instance(mut self, instance: &str) -> Self {
        self.request.group_instance_id = Some(instance.into());
        self
    }

    pub(super) fn speaking(mut self, protocols: &[(&str, &[u8])]) -> Self {
        let protocol = |(name, metadata): &(&str, &[u8])| JoinGroupRequestProtocol {
            name: Str::from(*name),
            metadata: Bytes::copy_from_slice(metadata),
        };
        self.request.protocols = protocols.iter().map(protocol).collect();
        self
    }
}

/// A consumer's metadata: version 0, topics, no user data.
pub(super) fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut metadata = vec![0, 0];
    metadata.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        metadata.extend((topic.len() as i16).to_be_bytes());
        metadata.extend(topic.as_bytes());
    }
    metadata.extend((-1_i32).to_be_bytes());
    metadata
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(GroupPolicy { initial_rebalance_delay_ms: 0, ..GroupPolicy::default() })
    }

    pub(super) fn with(policy: GroupPolicy) -> Self {
        let mut world = Self {
            coordinator: GroupCoordinator::new(policy.clone(), [1, 2]),
            now: Now { monotonic_ms: 1_000, wall_ms: 1_700_000_000_000 },
            mode: LogMode::Prompt,
            log: Vec::new(),
            held: VecDeque::new(),
            replies: BTreeMap::new(),
            waiting: BTreeSet::new(),
            policy,
            tokens: 0,
        };
        let outputs = world.coordinator.loaded(world.now);
        world.carry_out(outputs);
        world
    }

    // ---- shell ----

    pub(super) fn token(&mut self) -> Token {
        self.tokens += 1;
        self.waiting.insert(self.tokens);
        self.tokens
    }

    pub(super) fn carry_out(&mut self, outputs: Outputs<Token>) {
        for (token, reply) in outputs.replies {
            assert!(self.waiting.remove(&token), "token {token} is answered twice, or was never given");
            self.replies.insert(token, reply);
        }
        self.held.extend(outputs.appends);
        if self.mode == LogMode::Prompt {
            self.release();
        }
        // Timers that are due run at once, as the shell lets them.
        for _ in 0..1_000 {
            if self.coordinator.next_deadline().is_none_or(|at| at > self.now.monotonic_ms) {
                return;
            }
            let outputs = self.coordinator.tick(self.now);
            for (token, reply) in outputs.replies {
                assert!(self.waiting.remove(&token), "token {token} is answered twice");
                self.replies.insert(token, reply);
            }
            self.held.extend(outputs.appends);
            if self.mode == LogMode::Prompt {
                self.release();
            }
        }
        panic!("timers are due for ever");
    }

    /// Everything held is durable.
    pub(super) fn release(&mut self) {
        while let Some(append) = self.held.pop_front() {
            self.log.extend(append.records);
            let outputs = self.coordinator.append_finished(append.id, Ok(()), self.now);
            self.carry_out(outputs);
        }
    }

    /// The oldest append that is held fails.
    pub(super) fn fail(&mut self, error: ErrorCode) {
        let append = self.held.pop_front().expect("an append is held");
        let outputs = self.coordinator.append_finished(append.id, Err(error), self.now);
        self.carry_out(outputs);
    }

    /// Time passes; timers fire at their time.
    pub(super) fn pass(&mut self, ms: i64) {
        let until = self.now.monotonic_ms + ms;
        while let Some(at) = self.coordinator.next_deadline().filter(|at| *at <= until) {
            let step = (at - self.now.monotonic_ms).max(0);
            self.now.monotonic_ms += step;
            self.now.wall_ms += step;
            let outputs = self.coordinator.tick(self.now);
            self.carry_out(outputs);
        }
        let step = until - self.now.monotonic_ms;
        self.now.monotonic_ms += step;
        self.now.wall_ms += step;
    }

    /// The broker dies and starts again: what was held is lost, who waited hangs up.
    pub(super) fn reload(&mut self) {
        self.held.clear();
        self.waiting.clear();
        self.coordinator = GroupCoordinator::new(self.policy.clone(), [self.tokens, 7]);
        for record in self.log.clone() {
            let (key, value) = record.encode();
            let record = Record::decode(key, value).expect("readable").expect("ours");
            self.coordinator.replay(record);
        }
        let outputs = self.coordinator.loaded(self.now);
        self.carry_out(outputs);
    }

    // ---- requests ----

    pub(super) fn join(&mut self, join: &Join) -> Token {
        let token = self.token();
        let caller =
            Caller { api_version: join.version, client_id: "c".into(), client_host: "/127.0.0.1".into() };
        let outputs = self.coordinator.join(&caller, &join.request, token, self.now);
        self.carry_out(outputs);
        token
    }

    pub(super) fn joined(&mut self, token: Token) -> JoinGroupResponse {
        match self.replies.remove(&token) {
            Some(Reply::Join(response)) => response,
            other => panic!("an answer to JoinGroup, not {other:?}"),
        }
    }

    /// Joins and has the answer at once.
    pub(super) fn join_now(&mut self, join: &Join) -> JoinGroupResponse {
        let token = self.join(join);
        self.joined(token)
    }

    /// A new dynamic member's two requests; gives its id and the token of the second.
    pub(super) fn enter(&mut self, join: &Join) -> (Str, Token) {
        let first = self.join_now(join);
        assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
        let mut again = join.clone();
        again.request.member_id = first.member_id.clone();
        (first.member_id, self.join(&again))
    }

    pub(super) fn sync_request(generation: i32, member: &str, assigns: &[(&str, &str)]) -> SyncGroupRequest {
        let assignment = |(member, assignment): &(&str, &str)| SyncGroupRequestAssignment {
            member_id: Str::from(*member),
            assignment: Bytes::copy_from_slice(assignment.as_bytes()),
        };
        SyncGroupRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: member.into(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: assigns.iter().map(assignment).collect(),
            ..SyncGroupRequest::default()
        }
    }

    pub(super) fn sync(&mut self, generation: i32, member: &str, assigns: &[(&str, &str)]) -> Token {
        let request = Self::sync_request(generation, member, assigns);
        self.sync_with(&request)
    }

    pub(super) fn sync_with(&mut self, request: &SyncGroupRequest) -> Token {
        let token = self.token();
        let caller = Caller { api_version: 5, ..Caller::default() };
        let outputs = self.coordinator.sync(&caller, request, token, self.now);
        self.carry_out(outputs);
        token
    }

    pub(super) fn synced(&mut self, token: Token) -> SyncGroupResponse {
        match self.replies.remove(&token) {
            Some(Reply::Sync(response)) => response,
            other => panic!("an answer to SyncGroup, not {other:?}"),
        }
    }

    pub(super) fn heartbeat(&mut self, generation: i32, member: &str) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: member.into(),
            group_instance_id: None,
        };
        let response = self.coordinator.heartbeat(&request, self.now);
        ErrorCode::from_code(response.error_code).expect("a known code")
    }

    pub(super) fn leave(&mut self, version: i16, members: &[(&str, Option<&str>)]) -> LeaveGroupResponse {
        let token = self.token();
        let identity = |(member, instance): &(&str, Option<&str>)| MemberIdentity {
            member_id: Str::from(*member),
            group_instance_id: instance.map(Str::from),
            reason: None,
        };
        let mut request = LeaveGroupRequest { group_id: "g".into(), ..LeaveGroupRequest::default() };
        if version < 3 {
            request.member_id = members[0].0.into();
        } else {
            request.members = members.iter().map(identity).collect();
        }
        let caller = Caller { api_version: version, ..Caller::default() };
        let outputs = self.coordinator.leave(&caller, &request, token, self.now);
        self.carry_out(outputs);
        match self.replies.remove(&token) {
            Some(Reply::Leave(response)) => response,
            other => panic!("an answer to LeaveGroup, not {other:?}"),
        }
    }

    pub(super) fn commit_request(generation: i32, member: &str, offset: i64) -> OffsetCommitRequest {
        let partition = OffsetCommitRequestPartition {
            partition_index: 0,
            committed_offset: offset,
            committed_leader_epoch: 3,
            committed_metadata: Some("note".into()),
        };
        OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: generation,
            member_id: member.into(),
            topics: vec![OffsetCommitRequestTopic {
                name: "t".into(),
                partitions: vec![partition],
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        }
    }

    pub(super) fn commit_with(&mut self, version: i16, request: &OffsetCommitRequest) -> Token {
        let token = self.token();
        let caller = Caller { api_version: version, ..Caller::default() };
        let outputs = self.coordinator.commit(&caller, request, token, self.now);
        self.carry_out(outputs);
        token
    }

    pub(super) fn committed(&mut self, token: Token) -> OffsetCommitResponse {
        match self.replies.remove(&token) {
            Some(Reply::OffsetCommit(response)) => response,
            other => panic!("an answer to OffsetCommit, not {other:?}"),
        }
    }

    /// Commits `offset` for partition 0 of topic `t`, at once.
    pub(super) fn commit(&mut self, generation: i32, member: &str, offset: i64) -> ErrorCode {
        let token = self.commit_with(9, &Self::commit_request(generation, member, offset));
        let response = self.committed(token);
        ErrorCode::from_code(response.topics[0].partitions[0].error_code).expect("a known code")
    }

    /// The position of group `g` in partition 0 of topic `t`.
    pub(super) fn position(&self) -> i64 {
        let topic = OffsetFetchRequestTopics {
            name: "t".into(),
            partition_indexes: vec![0],
            ..OffsetFetchRequestTopics::default()
        };
        let request = OffsetFetchRequestGroup {
            group_id: "g".into(),
            topics: Some(vec![topic]),
            ..OffsetFetchRequestGroup::default()
        };
        self.coordinator.fetch(&request).topics[0].partitions[0].committed_offset
    }

    pub(super) fn state(&self) -> String {
        self.coordinator.describe(5, &"g".into()).group_state.to_string()
    }

    /// A stable group of `count` dynamic members: their ids, the leader first, and the generation.
    pub(super) fn stable(&mut self, count: usize) -> (Vec<Str>, i32) {
        let entered: Vec<_> = (0..count).map(|_| self.enter(&Join::new(""))).collect();
        // With no initial delay the first has a generation of its own already; then all join again.
        let mut ids: Vec<Str> = entered.iter().map(|(id, _)| id.clone()).collect();
        let mut tokens: Vec<Token> = entered.iter().map(|(_, token)| *token).collect();
        if count > 1 {
            tokens[0] = self.join(&Join::new(&ids[0]));
            for at in 1..count {
                if self.replies.contains_key(&tokens[at]) {
                    tokens[at] = self.join(&Join::new(&ids[at]));
                }
            }
        }
        let answers: Vec<_> = tokens.iter().map(|token| self.joined(*token)).collect();
        let generation = answers[0].generation_id;
        assert!(answers.iter().all(|answer| answer.error_code == 0 && answer.generation_id == generation));
        let leader = answers[0].leader.clone();
        ids.sort_by_key(|id| *id != leader);
        let assigns: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        let mut syncs = Vec::new();
        for id in ids.iter().rev() {
            let assigns = if *id == leader { assigns.as_slice() } else { &[] };
            syncs.push(self.sync(generation, id, assigns));
        }
        for token in syncs {
            assert_eq!(self.synced(token).error_code, 0);
        }
        assert_eq!(self.state(), "Stable");
        self.replies.clear();
        (ids, generation)
    }
}
