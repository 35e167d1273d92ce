//! What goes into the coordinator with a request, and what comes out of it.

use wire::kafka::Str;
use wire::kafka::delete_groups::DeletableGroupResult;
use wire::kafka::heartbeat::HeartbeatResponse;
use wire::kafka::join_group::JoinGroupResponse;
use wire::kafka::leave_group::LeaveGroupResponse;
use wire::kafka::offset_commit::OffsetCommitResponse;
use wire::kafka::sync_group::SyncGroupResponse;

use super::appends::{After, Append, Appends};
use super::member_ids::MemberIds;
use super::policy::GroupPolicy;
use super::records::Record;
use super::timers::Timers;

/// The two clocks, read by the shell. Sessions and rebalances run on the first, what is written down on the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds that never go back, from any start.
    pub monotonic_ms: i64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

/// Who asks, from the request's header and connection.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The request's version.
    pub api_version: i16,
    /// The header's client id; empty when null.
    pub client_id: Str,
    /// The peer's address as Kafka shows it, with a slash before it: `/127.0.0.1`.
    pub client_host: Str,
}

/// An answer, ready to be encoded in the version of its request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To `JoinGroup`.
    Join(JoinGroupResponse),
    /// To `SyncGroup`.
    Sync(SyncGroupResponse),
    /// To `Heartbeat`.
    Heartbeat(HeartbeatResponse),
    /// To `LeaveGroup`.
    Leave(LeaveGroupResponse),
    /// To `OffsetCommit`.
    OffsetCommit(OffsetCommitResponse),
    /// To `DeleteGroups`: this coordinator's part of the answer.
    DeleteGroups(Vec<DeletableGroupResult>),
}

/// What one step asks of the shell: send the replies, append the records in order.
///
/// Every token given to the coordinator comes back in exactly one reply, in this step or a later one. Every append must
/// be answered with `append_finished`; order between appends is the order in which they are given out.
#[derive(Debug, PartialEq)]
#[must_use]
pub struct Outputs<T> {
    /// Answers, each to the token that its request came with.
    pub replies: Vec<(T, Reply)>,
    /// Records for the log.
    pub appends: Vec<Append>,
}

impl<T> Default for Outputs<T> {
    fn default() -> Self {
        Self { replies: Vec::new(), appends: Vec::new() }
    }
}

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TimerKey {
    /// The member, or the id it was given, is dead.
    Session(Str, Str),
    /// The rebalance goes on with those who joined.
    Join(Str),
    /// Members that did not sync are dropped.
    Sync(Str),
    /// Look for positions that may be forgotten.
    Sweep,
}

/// All that a group's state machine may touch outside itself.
#[derive(Debug)]
pub(super) struct Effects<T> {
    pub(super) policy: GroupPolicy,
    pub(super) now: Now,
    pub(super) timers: Timers<TimerKey>,
    pub(super) appends: Appends<T>,
    pub(super) member_ids: MemberIds,
    /// Bytes of all members; see [`super::limits::MEMBER_BYTES_MAX`].
    pub(super) member_bytes: usize,
    out: Outputs<T>,
}

impl<T> Effects<T> {
    pub(super) fn new(policy: GroupPolicy, member_ids: MemberIds) -> Self {
        Self {
            policy,
            now: Now::default(),
            timers: Timers::default(),
            appends: Appends::default(),
            member_ids,
            member_bytes: 0,
            out: Outputs::default(),
        }
    }

    pub(super) fn reply(&mut self, token: T, reply: Reply) {
        self.out.replies.push((token, reply));
    }

    pub(super) fn append(&mut self, records: Vec<Record>, after: After<T>) {
        let append = self.appends.push(records, after);
        self.out.appends.push(append);
    }

    /// Sets a timer `delay_ms` from now.
    pub(super) fn after(&mut self, delay_ms: i64, key: TimerKey) {
        self.timers.set(key, self.now.monotonic_ms.saturating_add(delay_ms.max(0)));
    }

    /// Forgets timers and budgets; the numbers of appends go on.
    pub(super) fn forget(&mut self) {
        self.timers = Timers::default();
        self.member_bytes = 0;
    }

    pub(super) fn take_outputs(&mut self) -> Outputs<T> {
        std::mem::take(&mut self.out)
    }
}
