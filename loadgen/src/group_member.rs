//! A member of a classic consumer group: joins, takes its assignment, sends heartbeats, joins anew when told to, leaves.
//!
//! It reads nothing: what is looked at is the group itself. Who leads hands the partitions round.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use reactor::Instant;
use reactor::sync::Notify;
use wire::kafka::find_coordinator::FindCoordinatorRequest;
use wire::kafka::heartbeat::HeartbeatRequest;
use wire::kafka::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use wire::kafka::leave_group::{LeaveGroupRequest, MemberIdentity};
use wire::kafka::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use wire::kafka::{ErrorCode, Str};

use crate::client::{Access, ClientError, Connection};
use crate::limits::RETRY_PAUSE;
use crate::tally::Tally;

/// Name of the latency from the first member's joining until all of a new group have their assignments. Brokers wait for
/// more members then (`group.initial.rebalance.delay.ms`), so it is not mixed with what comes later.
pub(crate) const FORM: &str = "form";
/// Name of the latency from asking to join a group that exists until the first assignment.
pub(crate) const JOIN: &str = "join";
/// Name of the latency from a member's coming or going until the whole group has its assignments.
pub(crate) const REBALANCE: &str = "rebalance";

const PROTOCOL: &str = "range";
const PROTOCOL_TYPE: &str = "consumer";

/// How members behave.
#[derive(Clone, Debug)]
pub(crate) struct MemberSettings {
    pub(crate) access: Access,
    pub(crate) topic: String,
    pub(crate) partitions: usize,
    pub(crate) heartbeat: Duration,
    pub(crate) session_timeout_ms: i32,
    pub(crate) timeout: Duration,
}

/// A group as its members on this thread see it together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Members that are to belong to it now.
    pub(crate) wanted: Cell<usize>,
    /// The newest generation, and members that have its assignment.
    generation: Cell<(i32, usize)>,
    /// When the first change that is not yet settled began.
    changed: Cell<Option<Instant>>,
    pub(crate) rebalances: Cell<u64>,
}

impl Group {
    pub(crate) fn new(name: String) -> Rc<Self> {
        Rc::new(Self { name, generation: Cell::new((-1, 0)), ..Self::default() })
    }

    /// A member comes or goes, from now on.
    pub(crate) fn change(&self, wanted: usize) {
        self.wanted.set(wanted);
        if self.changed.get().is_none() {
            self.changed.set(Some(reactor::now()));
        }
    }

    /// Whether all members have the assignment of one generation.
    pub(crate) fn is_settled(&self) -> bool {
        self.changed.get().is_none()
    }

    /// Whether all members were once there.
    fn is_formed(&self) -> bool {
        self.rebalances.get() > 0
    }

    /// A member has its assignment of `generation`.
    fn assigned(&self, generation: i32, members: Option<usize>, tally: &Tally) {
        let (newest, count) = self.generation.get();
        if generation < newest {
            return;
        }
        let count = if generation > newest { 1 } else { count + 1 };
        self.generation.set((generation, count));
        // The leader knows how many the broker counts: one that has left without a word is not waited for.
        let whole = members.is_none_or(|members| members == self.wanted.get());
        if count == self.wanted.get()
            && whole
            && let Some(began) = self.changed.take()
        {
            let name = if self.is_formed() { REBALANCE } else { FORM };
            tally.record(name, began.elapsed(), 1);
            self.rebalances.set(self.rebalances.get() + 1);
        }
    }
}

/// Asks a member to leave.
#[derive(Default)]
pub(crate) struct Leaving {
    asked: Cell<bool>,
    told: Notify,
}

impl Leaving {
    pub(crate) fn ask(&self) {
        self.asked.set(true);
        self.told.notify_all();
    }
}

/// A member at work.
pub(crate) struct Member {
    settings: Rc<MemberSettings>,
    group: Rc<Group>,
    tally: Rc<Tally>,
    leaving: Rc<Leaving>,
    id: RefCell<Str>,
}

/// Where a member stands in its group.
struct Joined {
    generation: i32,
}

impl Member {
    pub(crate) fn new(
        settings: Rc<MemberSettings>,
        group: Rc<Group>,
        tally: Rc<Tally>,
        leaving: Rc<Leaving>,
    ) -> Self {
        Self { settings, group, tally, leaving, id: RefCell::new(Str::from_static("")) }
    }

    /// Belongs to the group until it is to leave or the run ends, then leaves.
    pub(crate) async fn run(self) -> Result<(), ClientError> {
        let connection = self.coordinator().await?;
        let (began, is_new) = (reactor::now(), !self.group.is_formed());
        let mut joined = self.join(&connection).await?;
        if !is_new {
            self.tally.record(JOIN, began.elapsed(), 1);
        }
        while !self.leaving.asked.get() {
            let told = reactor::timeout(self.settings.heartbeat, self.leaving.told.notified());
            // A heartbeat is due when nobody has said anything else.
            if !matches!(self.tally.unless_stopped(told).await, Some(Err(_))) {
                break;
            }
            if !self.beat(&connection, &joined).await? {
                joined = self.join(&connection).await?;
            }
        }
        self.leave(&connection).await
    }

    /// Finds the broker of the group, as long as it takes.
    async fn coordinator(&self) -> Result<Connection, ClientError> {
        let asking =
            Connection::open(&self.settings.access.bootstrap, &self.settings.access.security).await?;
        let is_new = asking.version::<FindCoordinatorRequest>()? >= 4;
        let name = Str::from(self.group.name.as_str());
        let request = FindCoordinatorRequest {
            key: if is_new { Str::default() } else { name.clone() },
            coordinator_keys: if is_new { vec![name] } else { Vec::new() },
            ..FindCoordinatorRequest::default()
        };
        let began = reactor::now();
        loop {
            let response = asking.call_within(self.settings.timeout, &request).await?;
            self.tally.count_request();
            let found = response.coordinators.first();
            let (code, host, port) = match found {
                Some(found) => (found.error_code, found.host.as_str().to_owned(), found.port),
                None => (response.error_code, response.host.as_str().to_owned(), response.port),
            };
            if code == 0 {
                let host = if host.contains(':') { format!("[{host}]") } else { host };
                let address = format!("{host}:{port}");
                return Connection::open(&address, &self.settings.access.security).await;
            }
            self.retry("cannot find the coordinator of", code, began).await?;
        }
    }

    /// Joins and takes an assignment, again until a generation stays long enough for that.
    async fn join(&self, connection: &Connection) -> Result<Joined, ClientError> {
        let began = reactor::now();
        loop {
            let response = self.ask_to_join(connection).await?;
            let code = response.error_code;
            if !response.member_id.is_empty() {
                *self.id.borrow_mut() = response.member_id.clone();
            }
            if code == ErrorCode::MemberIdRequired.code() {
                continue;
            }
            if code == ErrorCode::UnknownMemberId.code() {
                *self.id.borrow_mut() = Str::default();
            }
            if code != 0 {
                self.retry("cannot join", code, began).await?;
                continue;
            }
            let leads = response.leader == *self.id.borrow();
            let members = leads.then_some(response.members.len());
            let code = self.sync(connection, &response, leads).await?;
            if code == 0 {
                self.group.assigned(response.generation_id, members, &self.tally);
                return Ok(Joined { generation: response.generation_id });
            }
            if code != ErrorCode::RebalanceInProgress.code() {
                self.retry("cannot take an assignment of", code, began).await?;
            }
        }
    }

    async fn ask_to_join(&self, connection: &Connection) -> Result<JoinGroupResponse, ClientError> {
        let request = JoinGroupRequest {
            group_id: Str::from(self.group.name.as_str()),
            session_timeout_ms: self.settings.session_timeout_ms,
            rebalance_timeout_ms: self.settings.session_timeout_ms,
            member_id: self.id.borrow().clone(),
            protocol_type: Str::from_static(PROTOCOL_TYPE),
            protocols: vec![JoinGroupRequestProtocol {
                name: Str::from_static(PROTOCOL),
                metadata: subscription(&self.settings.topic),
            }],
            ..JoinGroupRequest::default()
        };
        // The broker waits for the others before it answers.
        let limit = self.settings.timeout + Duration::from_millis(self.settings.session_timeout_ms as u64);
        let response = connection.call_within(limit, &request).await;
        self.tally.count_request();
        response
    }

    async fn sync(
        &self,
        connection: &Connection,
        joined: &JoinGroupResponse,
        leads: bool,
    ) -> Result<i16, ClientError> {
        let members: &[JoinGroupResponseMember] = if leads { &joined.members } else { &[] };
        let assignment = |(index, member): (usize, &JoinGroupResponseMember)| SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: assignment(&self.settings.topic, self.settings.partitions, (index, members.len())),
        };
        let request = SyncGroupRequest {
            group_id: Str::from(self.group.name.as_str()),
            generation_id: joined.generation_id,
            member_id: self.id.borrow().clone(),
            protocol_type: Some(Str::from_static(PROTOCOL_TYPE)),
            protocol_name: Some(Str::from_static(PROTOCOL)),
            assignments: members.iter().enumerate().map(assignment).collect(),
            ..SyncGroupRequest::default()
        };
        let limit = self.settings.timeout + Duration::from_millis(self.settings.session_timeout_ms as u64);
        let response = connection.call_within(limit, &request).await?;
        self.tally.count_request();
        Ok(response.error_code)
    }

    /// Says that it is alive; `false`: it has to join anew.
    async fn beat(&self, connection: &Connection, joined: &Joined) -> Result<bool, ClientError> {
        let request = HeartbeatRequest {
            group_id: Str::from(self.group.name.as_str()),
            generation_id: joined.generation,
            member_id: self.id.borrow().clone(),
            ..HeartbeatRequest::default()
        };
        let response = connection.call_within(self.settings.timeout, &request).await?;
        self.tally.count_request();
        let anew = [ErrorCode::RebalanceInProgress, ErrorCode::IllegalGeneration, ErrorCode::UnknownMemberId];
        match response.error_code {
            0 => Ok(true),
            code if anew.iter().any(|known| known.code() == code) => Ok(false),
            code => Err(ClientError::broker(format!("heartbeat in {}", self.group.name), code, None)),
        }
    }

    async fn leave(&self, connection: &Connection) -> Result<(), ClientError> {
        let is_new = connection.version::<LeaveGroupRequest>()? >= 3;
        let id = self.id.borrow().clone();
        let member = || MemberIdentity { member_id: id.clone(), ..MemberIdentity::default() };
        let request = LeaveGroupRequest {
            group_id: Str::from(self.group.name.as_str()),
            member_id: if is_new { Str::default() } else { id.clone() },
            members: if is_new { vec![member()] } else { Vec::new() },
        };
        let response = connection.call_within(self.settings.timeout, &request).await?;
        self.tally.count_request();
        let inner = response.members.iter().map(|member| member.error_code).find(|code| *code != 0);
        match inner.unwrap_or(response.error_code) {
            0 => Ok(()),
            // Gone already.
            code if code == ErrorCode::UnknownMemberId.code() => Ok(()),
            code => Err(ClientError::broker(format!("cannot leave {}", self.group.name), code, None)),
        }
    }

    /// Waits a little after a failure that passes; any other, or one that lasts, is an error.
    async fn retry(&self, what: &str, code: i16, began: Instant) -> Result<(), ClientError> {
        self.tally.count_error();
        let error = ClientError::broker(format!("{what} {}", self.group.name), code, None);
        let anew = [ErrorCode::RebalanceInProgress, ErrorCode::IllegalGeneration, ErrorCode::UnknownMemberId];
        let passes = error.is_retriable() || anew.iter().any(|known| known.code() == code);
        if !passes || began.elapsed() >= self.settings.timeout || self.tally.must_stop() {
            return Err(error);
        }
        reactor::sleep(RETRY_PAUSE).await;
        Ok(())
    }
}

/// What a member wants to read (`ConsumerProtocolSubscription`, version 0).
fn subscription(topic: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    put_text(&mut bytes, topic);
    bytes.put_i32(-1);
    bytes.freeze()
}

/// A member's part of the partitions (`ConsumerProtocolAssignment`, version 0).
fn assignment(topic: &str, partitions: usize, member: (usize, usize)) -> Bytes {
    let own: Vec<usize> = (member.0..partitions).step_by(member.1.max(1)).collect();
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    put_text(&mut bytes, topic);
    bytes.put_i32(own.len() as i32);
    for partition in own {
        bytes.put_i32(partition as i32);
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

fn put_text(bytes: &mut BytesMut, text: &str) {
    bytes.put_i16(text.len() as i16);
    bytes.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_share_all_partitions_out() {
        assert_eq!(subscription("ab"), Bytes::from_static(b"\0\0\0\0\0\x01\0\x02ab\xff\xff\xff\xff"));
        let count = |member| {
            let bytes = assignment("ab", 7, (member, 3));
            i32::from_be_bytes(bytes[10..14].try_into().unwrap())
        };
        assert_eq!((0..3).map(count).collect::<Vec<_>>(), [3, 2, 2]);
    }
}
