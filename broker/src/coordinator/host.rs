//! The shell around a [`GroupCoordinator`]: its log, its clock, and those who wait for its answers.
//!
//! One task appends, so that records reach the log in the order in which the coordinator gave them out; each append's
//! durability is awaited by a task of its own and reported back. One task keeps the timers. When the log has become
//! much longer than what it says, its live records are written once more and the log start moves up to them.
//!
//! An append of several batches may be refused in the middle. Then the log says neither what was before nor what was
//! asked, and the coordinator is loaded again from what the log has.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use reactor::Priority;
use reactor::sync::Notify;
use storage::types::Offset;
use tracing::{error, info, warn};
use wire::kafka::record_batch::{BatchError, Batches, single_batch};
use wire::kafka::{ErrorCode, Str, Uuid};

use super::{Append, AppendId, GroupCoordinator, GroupPolicy, Now, Outputs, Record, Reply, records};
use crate::shard::partition::{Appended, Partition};
use crate::shard::validate::Checked;

/// Names a request that is answered later.
pub type Token = oneshot::Sender<Reply>;

/// Bytes read of the log at a time while it is loaded.
const LOAD_BYTES: usize = 1 << 20;
/// Records of one part of a snapshot, about.
const SNAPSHOT_RECORDS: usize = 1_000;
/// Timers that are due are looked at again after this long when a tick could not run them all.
const TICK_AGAIN: Duration = Duration::from_millis(1);

/// Why records did not get into the log.
struct NotStaged {
    code: ErrorCode,
    /// Batches that got in before.
    batches_before: usize,
}

/// Work for the task that appends.
enum Work {
    Append(Append),
    /// The part of a snapshot behind this group; told when it is durable, and where the next begins.
    Snapshot(Option<Str>, oneshot::Sender<Result<Option<Str>, ErrorCode>>),
}

/// The groups of one partition of `__consumer_offsets`.
pub struct GroupHost {
    partition: Rc<Partition>,
    coordinator: RefCell<GroupCoordinator<Token>>,
    /// What keeps requests from being served: loading, a failed load, or that the partition went away.
    closed: Cell<Option<ErrorCode>>,
    work: RefCell<VecDeque<Work>>,
    work_added: Notify,
    deadline_changed: Notify,
}

/// Both clocks, now.
fn now() -> Now {
    Now { monotonic_ms: (reactor::now().as_ns() / 1_000_000) as i64, wall_ms: reactor::wall_clock_ms() }
}

impl GroupHost {
    /// Hosts the groups of a partition that this shard owns. Requests are refused until its log is read.
    pub fn start(partition: Rc<Partition>, policy: GroupPolicy) -> Rc<GroupHost> {
        let seed = [reactor::random_u64(), reactor::random_u64()];
        let host = Rc::new(GroupHost {
            partition,
            coordinator: RefCell::new(GroupCoordinator::new(policy, seed)),
            closed: Cell::new(Some(ErrorCode::CoordinatorLoadInProgress)),
            work: RefCell::default(),
            work_added: Notify::new(),
            deadline_changed: Notify::new(),
        });
        reactor::spawn(Priority::Latency, "group-load", host.clone().run()).detach();
        host
    }

    /// Runs a step whose answer may come later.
    pub async fn ask<F>(self: &Rc<Self>, step: F) -> Result<Reply, ErrorCode>
    where
        F: FnOnce(&mut GroupCoordinator<Token>, Token, Now) -> Outputs<Token>,
    {
        self.check_open()?;
        let (token, answer) = oneshot::channel();
        let outputs = step(&mut self.coordinator.borrow_mut(), token, now());
        self.carry_out(outputs);
        answer.await.map_err(|_| ErrorCode::NotCoordinator)
    }

    /// Runs a step that is answered at once.
    pub fn look<T>(
        self: &Rc<Self>,
        step: impl FnOnce(&mut GroupCoordinator<Token>, Now) -> T,
    ) -> Result<T, ErrorCode> {
        self.check_open()?;
        let answer = step(&mut self.coordinator.borrow_mut(), now());
        self.deadline_changed.notify_all();
        Ok(answer)
    }

    /// Groups that are kept here.
    pub fn group_count(&self) -> usize {
        self.coordinator.borrow().group_count()
    }

    /// A topic is deleted: its positions are forgotten.
    pub fn topic_deleted(self: &Rc<Self>, name: &Str, id: Uuid) {
        self.coordinator.borrow_mut().topic_deleted(name, id, now());
        self.deadline_changed.notify_all();
    }

    /// The partition is gone: everyone who waits is told to look for another coordinator.
    pub fn stop(self: &Rc<Self>) {
        self.closed.set(Some(ErrorCode::NotCoordinator));
        let outputs = self.coordinator.borrow_mut().unload(ErrorCode::NotCoordinator);
        self.carry_out(outputs);
        self.work.borrow_mut().clear();
        self.work_added.notify_all();
        self.deadline_changed.notify_all();
    }

    fn check_open(&self) -> Result<(), ErrorCode> {
        self.closed.get().map_or(Ok(()), Err)
    }

    fn is_gone(&self) -> bool {
        self.closed.get() == Some(ErrorCode::NotCoordinator)
    }

    fn carry_out(self: &Rc<Self>, outputs: Outputs<Token>) {
        for (token, reply) in outputs.replies {
            // A client that has gone away needs no answer.
            let _ = token.send(reply);
        }
        if !outputs.appends.is_empty() {
            self.work.borrow_mut().extend(outputs.appends.into_iter().map(Work::Append));
            self.work_added.notify_all();
        }
        self.deadline_changed.notify_all();
    }

    async fn run(self: Rc<Self>) {
        if self.open().await {
            reactor::spawn(Priority::Latency, "group-timers", self.clone().keep_time()).detach();
            self.append_all().await;
        }
    }

    /// Reads the log and begins to serve; false when it cannot.
    async fn open(self: &Rc<Self>) -> bool {
        let loaded = self.load().await;
        if self.is_gone() {
            return false;
        }
        match loaded {
            Ok(records) => {
                let outputs = self.coordinator.borrow_mut().loaded(now());
                self.closed.set(None);
                self.carry_out(outputs);
                if records > 0 {
                    info!(partition = %self.partition.log.name(), records, "groups loaded");
                }
                true
            }
            Err(cause) => {
                error!(partition = %self.partition.log.name(), %cause, "groups not loaded: their consumers cannot work");
                self.closed.set(Some(ErrorCode::CoordinatorNotAvailable));
                false
            }
        }
    }

    /// Forgets everything and takes it from the log again; everyone who waits is told to come back.
    async fn reopen(self: &Rc<Self>) -> bool {
        self.closed.set(Some(ErrorCode::CoordinatorLoadInProgress));
        let outputs = self.coordinator.borrow_mut().unload(ErrorCode::NotCoordinator);
        self.carry_out(outputs);
        self.work.borrow_mut().clear();
        let log = &self.partition.log;
        let last = Offset(log.end_offset().0 - 1);
        if let Err(cause) = log.flushed_above(last).await {
            // Nothing will be acknowledged any more; what is flushed is what everybody sees.
            warn!(partition = %log.name(), %cause, "groups are loaded again from a log that lost its end");
        }
        self.open().await
    }

    /// Reads the log from its start to its end.
    async fn load(&self) -> Result<u64, String> {
        let log = &self.partition.log;
        let mut at = log.start_offset();
        let mut count = 0;
        while at < log.flushed_offset() {
            let end = log.flushed_offset();
            let read = log.read(at, LOAD_BYTES, end).await.map_err(|error| error.to_string())?;
            let bytes = read.into_bytes().await.map_err(|error| error.to_string())?;
            let before = at;
            for batch in Batches::new(bytes) {
                let batch = batch.map_err(|error| format!("at offset {at}: {error}"))?;
                for record in
                    records::decode_batch(&batch).map_err(|error| format!("at offset {at}: {error}"))?
                {
                    self.coordinator.borrow_mut().replay(record);
                    count += 1;
                }
                at = Offset(batch.header.next_offset());
            }
            if at == before {
                return Err(format!("nothing can be read at offset {at}"));
            }
            if reactor::should_yield() {
                reactor::yield_now().await;
            }
        }
        Ok(count)
    }

    async fn keep_time(self: Rc<Self>) {
        while !self.is_gone() {
            // Nothing is due while groups are loaded again.
            let open = self.closed.get().is_none();
            let deadline = self.coordinator.borrow().next_deadline().filter(|_| open);
            let changed = self.deadline_changed.notified();
            let Some(deadline) = deadline else {
                changed.await;
                continue;
            };
            let left = deadline.saturating_sub(now().monotonic_ms);
            if left <= 0 {
                let outputs = self.coordinator.borrow_mut().tick(now());
                self.carry_out(outputs);
                let more = self.coordinator.borrow().next_deadline();
                if more.is_some_and(|next| next <= now().monotonic_ms) {
                    reactor::sleep(TICK_AGAIN).await;
                }
                continue;
            }
            let sleep = std::pin::pin!(reactor::sleep(Duration::from_millis(left as u64)));
            match select(sleep, std::pin::pin!(changed)).await {
                Either::Left(_) | Either::Right(_) => {}
            }
        }
    }

    async fn append_all(self: &Rc<Self>) {
        while !self.is_gone() {
            let work = self.work.borrow_mut().pop_front();
            match work {
                None => self.work_added.notified().await,
                Some(Work::Append(append)) => {
                    if !self.append(append).await {
                        return;
                    }
                }
                Some(Work::Snapshot(after, done)) => self.append_snapshot(after, done).await,
            }
        }
    }

    /// False when the host has had to give up.
    async fn append(self: &Rc<Self>, Append { id, records }: Append) -> bool {
        match self.stage(&records).await {
            // Reported before anything else is staged: a snapshot must not hold what the log refused.
            Err(NotStaged { code, batches_before: 0 }) => self.finished(id, Err(code)),
            Err(NotStaged { code, batches_before }) => {
                let partition = self.partition.log.name();
                warn!(%partition, ?code, batches_before, "group records refused midway, groups are loaded again");
                return self.reopen().await;
            }
            Ok(staged) => {
                let host = self.clone();
                let report = async move {
                    let result = host.wait(staged).await;
                    host.finished(id, result);
                };
                reactor::spawn(Priority::Latency, "group-append", report).detach();
            }
        }
        true
    }

    async fn append_snapshot(
        self: &Rc<Self>,
        after: Option<Str>,
        done: oneshot::Sender<Result<Option<Str>, ErrorCode>>,
    ) {
        let unstaged = self.work.borrow().iter().find_map(|work| match work {
            Work::Append(append) => Some(append.id),
            Work::Snapshot(..) => None,
        });
        let part = self.coordinator.borrow().snapshot(after.as_ref(), SNAPSHOT_RECORDS, unstaged);
        match self.stage(&part.records).await {
            // Half a snapshot says nothing that the log before it does not say.
            Err(NotStaged { code, .. }) => {
                let _ = done.send(Err(code));
            }
            Ok(staged) => {
                let host = self.clone();
                let report = async move {
                    let _ = done.send(host.wait(staged).await.map(|()| part.next));
                };
                reactor::spawn(Priority::Latency, "group-snapshot", report).detach();
            }
        }
    }

    /// Puts records on their way to the disk; the last append is durable after the others.
    async fn stage(&self, all: &[Record]) -> Result<Option<Appended>, NotStaged> {
        let wall_ms = reactor::wall_clock_ms();
        let not_encoded = |cause: BatchError| {
            error!(%cause, "group records not encoded");
            NotStaged { code: ErrorCode::UnknownServerError, batches_before: 0 }
        };
        let mut batches = Vec::new();
        for bytes in records::batches(all, wall_ms).map_err(not_encoded)? {
            let header = single_batch(&bytes).map_err(not_encoded)?.header;
            batches.push(Checked { bytes, header, append_time_ms: -1 });
        }
        let mut last = None;
        for (batches_before, batch) in batches.iter().enumerate() {
            let appended = self.partition.append(batch).await;
            last = Some(appended.map_err(|error| NotStaged { code: error.code(), batches_before })?);
        }
        Ok(last)
    }

    async fn wait(&self, staged: Option<Appended>) -> Result<(), ErrorCode> {
        match staged {
            Some(appended) => self.partition.durable(appended).await.map_err(|error| error.code()),
            None => Ok(()),
        }
    }

    fn finished(self: &Rc<Self>, id: AppendId, result: Result<(), ErrorCode>) {
        if self.is_gone() {
            return;
        }
        let (outputs, crowded) = {
            let mut coordinator = self.coordinator.borrow_mut();
            let outputs = coordinator.append_finished(id, result, now());
            let crowded = coordinator.wants_snapshot();
            if crowded {
                coordinator.snapshot_begins();
            }
            (outputs, crowded)
        };
        self.carry_out(outputs);
        if crowded {
            reactor::spawn(Priority::Background, "group-snapshot", self.clone().shorten_log()).detach();
        }
    }

    /// Writes what is live once more, then moves the log start up to it.
    async fn shorten_log(self: Rc<Self>) {
        let start = self.partition.log.end_offset();
        let outcome = self.write_snapshot().await;
        self.coordinator.borrow_mut().snapshot_ends();
        if let Err(code) = outcome {
            warn!(partition = %self.partition.log.name(), ?code, "groups not written once more, their log stays long");
            return;
        }
        if let Err(code) = self.partition.delete_records(start.0).await {
            warn!(partition = %self.partition.log.name(), ?code, "log of groups not shortened");
        }
    }

    async fn write_snapshot(&self) -> Result<(), ErrorCode> {
        let mut after: Option<Str> = None;
        loop {
            let (done, written) = oneshot::channel();
            self.work.borrow_mut().push_back(Work::Snapshot(after.take(), done));
            self.work_added.notify_all();
            after = written.await.unwrap_or(Err(ErrorCode::NotCoordinator))?;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
