//! Appends on their way to the log, in order, each with what is to be done when it is durable or has failed.
//!
//! Results may be reported in any order; they take effect in the order of the log. So what is in memory after a result
//! is what a replay of the log up to there would give.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wire::kafka::delete_groups::DeletableGroupResult;
use wire::kafka::offset_commit::OffsetCommitResponse;
use wire::kafka::{ErrorCode, Str};

use super::group::StaticRejoin;
use super::records::Record;

/// Names an append of one coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(u64);

/// Records to be appended, in this order, after those of all earlier appends.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// To be given back with the result.
    pub id: AppendId,
    /// At least one.
    pub records: Vec<Record>,
}

/// What an append was for.
#[derive(Debug)]
pub(super) enum After<T> {
    /// The leader's assignments of a generation.
    Assignments { group: Str, generation: i32, assignments: BTreeMap<Str, Bytes> },
    /// A static member that came back to a stable group under a new id.
    StaticMember(Box<StaticRejoin<T>>),
    /// A group without members.
    EmptyGroup,
    /// Positions.
    OffsetCommit { token: T, response: OffsetCommitResponse },
    /// Groups that are deleted on request.
    DeleteGroups { token: T, results: Vec<DeletableGroupResult>, groups: Vec<Str> },
    /// Positions that are forgotten, and groups with nothing left.
    Sweep { groups: Vec<Str> },
}

/// The outcome of an append: the error is what the log said.
pub type AppendResult = Result<(), ErrorCode>;

#[derive(Debug)]
struct Pending<T> {
    id: AppendId,
    records: Vec<Record>,
    after: After<T>,
    result: Option<AppendResult>,
}

/// An append whose turn has come.
#[derive(Debug)]
pub(super) struct Finished<T> {
    pub(super) records: Vec<Record>,
    pub(super) after: After<T>,
    pub(super) result: AppendResult,
}

#[derive(Debug)]
pub(super) struct Appends<T> {
    queue: VecDeque<Pending<T>>,
    next: u64,
}

impl<T> Default for Appends<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), next: 0 }
    }
}

impl<T> Appends<T> {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, records: Vec<Record>, after: After<T>) -> Append {
        assert!(!records.is_empty(), "an append without records");
        let id = AppendId(self.next);
        self.next += 1;
        self.queue.push_back(Pending { id, records: records.clone(), after, result: None });
        Append { id, records }
    }

    /// Notes a result. An append that is not pending any more is passed over.
    pub(super) fn note(&mut self, id: AppendId, result: AppendResult) {
        // Ids are consecutive in the queue.
        let Some(first) = self.queue.front().map(|pending| pending.id.0) else { return };
        let Some(index) = id.0.checked_sub(first) else { return };
        if let Some(pending) = self.queue.get_mut(index as usize) {
            assert!(pending.id == id, "appends are numbered without gaps");
            pending.result.get_or_insert(result);
        }
    }

    /// The oldest append, when its result is known.
    pub(super) fn take_finished(&mut self) -> Option<Finished<T>> {
        let result = self.queue.front()?.result?;
        let Pending { records, after, .. } = self.queue.pop_front()?;
        Some(Finished { records, after, result })
    }

    /// Every append, as if it had failed; for a coordinator that is moved away.
    pub(super) fn take_all(&mut self, error: ErrorCode) -> Vec<Finished<T>> {
        let finished = |Pending { records, after, .. }| Finished { records, after, result: Err(error) };
        self.queue.drain(..).map(finished).collect()
    }

    /// Records on their way to the log, oldest first, of the appends before `unstaged`.
    pub(super) fn records(&self, unstaged: Option<AppendId>) -> impl Iterator<Item = &Record> {
        let staged =
            self.queue.iter().take_while(move |pending| unstaged.is_none_or(|first| pending.id < first));
        // One that is known to have failed, and waits for its turn to take effect, is not on its way.
        staged.filter(|pending| !matches!(pending.result, Some(Err(_)))).flat_map(|pending| &pending.records)
    }
}

/// What a client is told when the log refused.
pub(super) fn client_error(log_error: ErrorCode) -> ErrorCode {
    match log_error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        other => other,
    }
}
