//! One partition as its owner sees it: leadership, bounds of what may be read, appends and their durability.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use storage::producer_state::{ProducerBatch, ProducerCheck};
use storage::types::{LeaderEpoch, Offset, Timestamp};
use storage::{Append, Log, ReadError, ReadPart, StageError, StorageError, Store, Ticket};
use wire::kafka::error_code::ErrorCode;

use super::PartitionId;
use super::validate::Checked;
use crate::limits;
use crate::metadata::topic_config::TopicConfig;

/// A partition owned by this shard.
pub struct Partition {
    /// Topic id and index.
    pub id: PartitionId,
    /// The partition's log.
    pub log: Log,
    store: Store,
    config: RefCell<Arc<TopicConfig>>,
    leader_epoch: LeaderEpoch,
    /// When a failed read was told of last.
    told: Cell<Option<reactor::Instant>>,
}

/// An append whose place is fixed and which is on its way to the disk.
#[derive(Debug, Clone, Copy)]
pub struct Appended {
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The broker's time if the topic stamps with it, or -1; for a retry the largest timestamp of its original.
    pub append_time_ms: i64,
    /// The commit to wait for; `None` for a retry of a batch that the log has already.
    commit: Option<Ticket>,
}

impl Appended {
    /// Whether the log had the batch already.
    pub fn is_repeated(&self) -> bool {
        self.commit.is_none()
    }
}

/// Why a batch was not appended, or is not known to be durable.
#[derive(Debug, Clone)]
pub enum AppendError {
    /// This shard does not own the partition (any more).
    NotLeader,
    /// The sequence is neither the next nor one of the last five.
    OutOfOrderSequence,
    /// A newer instance of the producer has appended.
    InvalidProducerEpoch,
    /// The log did not take it.
    Stage(StageError),
    /// The log took it and could not make it durable.
    Storage(StorageError),
}

impl AppendError {
    /// The code that Kafka answers in this case.
    pub fn code(&self) -> ErrorCode {
        match self {
            AppendError::NotLeader => ErrorCode::NotLeaderOrFollower,
            AppendError::OutOfOrderSequence => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
            AppendError::Stage(error) => stage_code(error),
            AppendError::Storage(error) => storage_code(error),
        }
    }

    /// Whether the log judged the batch, so that Kafka's answer names the log's start.
    pub fn is_verdict_on_the_batch(&self) -> bool {
        match self {
            AppendError::OutOfOrderSequence
            | AppendError::InvalidProducerEpoch
            | AppendError::Stage(StageError::Invalid) => true,
            AppendError::NotLeader | AppendError::Stage(_) | AppendError::Storage(_) => false,
        }
    }

    /// What the client is told beside the code.
    pub fn message(&self) -> Option<String> {
        match self {
            AppendError::NotLeader | AppendError::OutOfOrderSequence | AppendError::InvalidProducerEpoch => {
                None
            }
            AppendError::Stage(error) => Some(error.to_string()),
            AppendError::Storage(error) => Some(error.to_string()),
        }
    }
}

fn stage_code(error: &StageError) -> ErrorCode {
    match error {
        StageError::Full | StageError::NoSpace | StageError::Poisoned | StageError::Offline => {
            ErrorCode::KafkaStorageError
        }
        StageError::Gone => ErrorCode::NotLeaderOrFollower,
        StageError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        StageError::Invalid => ErrorCode::InvalidRecord,
    }
}

/// The code that Kafka answers when storage fails.
pub fn storage_code(error: &StorageError) -> ErrorCode {
    match error {
        StorageError::Gone => ErrorCode::NotLeaderOrFollower,
        StorageError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        StorageError::Io { .. }
        | StorageError::Poisoned(_)
        | StorageError::UnknownFormat { .. }
        | StorageError::Locked { .. }
        | StorageError::NoDirectIo(_)
        | StorageError::Corrupt { .. }
        | StorageError::UnknownLog { .. }
        | StorageError::NoSpace
        | StorageError::Offline(_) => ErrorCode::KafkaStorageError,
    }
}

/// What a fetch asks of one partition.
#[derive(Debug, Clone, Copy)]
pub struct ReadSpec {
    /// Which partition.
    pub id: PartitionId,
    /// First offset wanted.
    pub from: i64,
    /// Leader epoch that the client knows, or -1.
    pub current_leader_epoch: i32,
    /// Epoch of the last record that the client has, or -1.
    pub last_fetched_epoch: i32,
    /// Bytes wanted at most.
    pub bytes_max: usize,
}

/// What a read of one partition gave.
#[derive(Debug, Clone)]
pub struct ReadOutcome {
    /// `None` when the rest counts.
    pub error: ErrorCode,
    /// First offset that is not shown yet.
    pub high_watermark: i64,
    /// First offset that is kept.
    pub log_start_offset: i64,
    /// Epoch and end offset where the client's log and this one part (KIP-595).
    pub diverging: Option<(i32, i64)>,
    /// The records.
    pub parts: Vec<ReadPart>,
    /// Bytes of the records.
    pub bytes: usize,
}

impl ReadOutcome {
    /// Nothing but an error.
    pub fn failed(error: ErrorCode) -> ReadOutcome {
        ReadOutcome {
            error,
            high_watermark: -1,
            log_start_offset: -1,
            diverging: None,
            parts: Vec::new(),
            bytes: 0,
        }
    }
}

impl Partition {
    /// A partition over its log.
    pub fn new(
        id: PartitionId,
        store: Store,
        log: Log,
        config: Arc<TopicConfig>,
        leader_epoch: LeaderEpoch,
    ) -> Partition {
        Partition { id, log, store, config: RefCell::new(config), leader_epoch, told: Cell::new(None) }
    }

    /// The topic's configuration as last applied.
    pub fn config(&self) -> Arc<TopicConfig> {
        self.config.borrow().clone()
    }

    /// Takes a new configuration.
    pub fn set_config(&self, config: Arc<TopicConfig>) {
        *self.config.borrow_mut() = config;
    }

    /// The epoch under which this shard leads.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch.0
    }

    /// First offset that is kept.
    pub fn log_start_offset(&self) -> i64 {
        self.log.start_offset().0
    }

    /// First offset that is not shown to consumers: with one replica, everything that is on disk is committed.
    pub fn high_watermark(&self) -> i64 {
        self.log.flushed_offset().0
    }

    /// Waits for room, then fixes the batch's offsets and puts it on its way to the disk.
    pub async fn append(&self, batch: &Checked) -> Result<Appended, AppendError> {
        loop {
            // Checked anew after each wait: the producer may have been heard in between.
            if let Some(duplicate) = self.check_producer(batch)? {
                return Ok(duplicate);
            }
            let append = Append { bytes: &batch.bytes, header: &batch.header, epoch: self.leader_epoch };
            match self.log.stage(append) {
                Ok(staged) => {
                    return Ok(Appended {
                        base_offset: staged.base_offset,
                        last_offset: staged.last_offset,
                        append_time_ms: batch.append_time_ms,
                        commit: Some(staged.ticket),
                    });
                }
                Err(StageError::Full) => {
                    self.store.admit(batch.bytes.len()).await.map_err(AppendError::Stage)?;
                }
                Err(refused) => return Err(AppendError::Stage(refused)),
            }
        }
    }

    /// The place of a batch that the log has already, `None` for one that it has not.
    fn check_producer(&self, batch: &Checked) -> Result<Option<Appended>, AppendError> {
        let producer =
            ProducerBatch::of(&batch.header).map_err(|_| AppendError::Stage(StageError::Invalid))?;
        let Some(producer) = producer else { return Ok(None) };
        match self.log.check_producer(&producer) {
            ProducerCheck::Ok => Ok(None),
            ProducerCheck::Duplicate(original) => Ok(Some(Appended {
                base_offset: original.base_offset,
                last_offset: original.last_offset,
                // Kafka 4.3 answers this whatever clock the topic has.
                append_time_ms: original.timestamp.0,
                commit: None,
            })),
            ProducerCheck::OutOfOrderSequence { .. } => Err(AppendError::OutOfOrderSequence),
            ProducerCheck::InvalidProducerEpoch { .. } => Err(AppendError::InvalidProducerEpoch),
        }
    }

    /// Waits until the append is on disk; a retry waits for its original.
    pub async fn durable(&self, appended: Appended) -> Result<(), AppendError> {
        let durable = match appended.commit {
            Some(ticket) => self.log.durable(ticket).await,
            None => self.log.flushed_above(appended.last_offset).await,
        };
        durable.map_err(AppendError::Storage)
    }

    /// Whether [`Self::durable`] returns at once.
    pub fn is_durable(&self, appended: Appended) -> bool {
        self.log.flushed_offset() > appended.last_offset
    }

    /// Reads from `spec.from` up to the high watermark.
    pub async fn read(&self, spec: &ReadSpec, bytes_max: usize) -> ReadOutcome {
        if let Err(code) = self.check_epoch(spec.current_leader_epoch) {
            return ReadOutcome::failed(code);
        }
        let high_watermark = self.high_watermark();
        let empty = ReadOutcome {
            high_watermark,
            log_start_offset: self.log_start_offset(),
            ..ReadOutcome::failed(ErrorCode::None)
        };
        if let Some(diverging) = self.diverging(spec) {
            return ReadOutcome { diverging: Some(diverging), ..empty };
        }
        if spec.from < self.log_start_offset() || spec.from > self.log.end_offset().0 {
            return ReadOutcome::failed(ErrorCode::OffsetOutOfRange);
        }
        if spec.from >= high_watermark || bytes_max == 0 {
            return empty;
        }
        match self.log.read(Offset(spec.from), bytes_max, Offset(high_watermark)).await {
            Ok(read) => ReadOutcome { parts: read.parts, bytes: read.bytes, ..empty },
            Err(error) => ReadOutcome::failed(self.read_failed(&error)),
        }
    }

    /// Whether a client that knows `epoch` as the leader's may go on.
    pub fn check_epoch(&self, epoch: i32) -> Result<(), ErrorCode> {
        match epoch {
            -1 => Ok(()),
            older if older < self.leader_epoch.0 => Err(ErrorCode::FencedLeaderEpoch),
            newer if newer > self.leader_epoch.0 => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }

    fn diverging(&self, spec: &ReadSpec) -> Option<(i32, i64)> {
        if spec.last_fetched_epoch < 0 {
            return None;
        }
        let (epoch, end) = self.epoch_end(spec.last_fetched_epoch);
        let parted = end < spec.from || epoch < spec.last_fetched_epoch;
        (epoch >= 0 && parted).then_some((epoch, end))
    }
}

/// What `ListOffsets` asks of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The high watermark.
    Latest,
    /// The log start offset.
    Earliest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The first record whose timestamp is this or later, in ms.
    AtOrAfter(i64),
    /// A place that exists only with tiered storage.
    Nothing,
}

/// An offset and what belongs to it; -1 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// In ms, for queries by time.
    pub timestamp: i64,
    /// The offset.
    pub offset: i64,
    /// Epoch of the leader that appended the record there.
    pub leader_epoch: i32,
}

impl Found {
    /// No such record.
    pub const NOTHING: Found = Found { timestamp: -1, offset: -1, leader_epoch: -1 };
}

impl Partition {
    /// Answers one query of `ListOffsets`; consumers see nothing at or above the high watermark.
    pub async fn find(&self, query: OffsetQuery) -> Result<Found, ErrorCode> {
        let bound = Offset(self.high_watermark());
        let by_time = match query {
            OffsetQuery::Latest => return Ok(self.at(bound.0)),
            OffsetQuery::Earliest => return Ok(self.at(self.log_start_offset())),
            OffsetQuery::Nothing => return Ok(Found::NOTHING),
            OffsetQuery::MaxTimestamp => self.log.max_timestamp().await,
            OffsetQuery::AtOrAfter(time) => self.log.offset_for_timestamp(Timestamp(time), bound).await,
        };
        match by_time {
            Ok(Some(found)) => Ok(Found {
                timestamp: found.timestamp.0,
                offset: found.offset.0,
                leader_epoch: found.epoch.0,
            }),
            Ok(None) => Ok(Found::NOTHING),
            Err(error) => Err(self.read_failed(&error)),
        }
    }

    fn read_failed(&self, error: &ReadError) -> ErrorCode {
        match error {
            ReadError::Gone => ErrorCode::NotLeaderOrFollower,
            ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::Storage(cause) => {
                // Clients ask again and again.
                let due = self.told.get().is_none_or(|told| told.elapsed() >= limits::READ_FAILED_TOLD_EVERY);
                if due {
                    self.told.set(Some(reactor::now()));
                    tracing::error!(partition = %self.log.name(), %cause, "read failed");
                }
                storage_code(cause)
            }
        }
    }

    /// The epoch of the record there, or of the leader for the end of the log.
    fn epoch_at(&self, offset: i64) -> i32 {
        self.log.epoch_at(Offset(offset)).map_or(self.leader_epoch.0, |epoch| epoch.0)
    }

    fn at(&self, offset: i64) -> Found {
        Found { timestamp: -1, offset, leader_epoch: self.epoch_at(offset) }
    }
}

impl Partition {
    /// Moves the log start to `offset` (-1: to the high watermark) and gives the new one once it is durable.
    pub async fn delete_records(&self, offset: i64) -> Result<i64, ErrorCode> {
        let high_watermark = self.high_watermark();
        let before = if offset == -1 { high_watermark } else { offset };
        if before < 0 || before > high_watermark {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        match self.log.delete_records(Offset(before)).await {
            Ok(start) => Ok(start.0),
            Err(error) => {
                tracing::error!(partition = %self.log.name(), %error, "records not deleted");
                Err(storage_code(&error))
            }
        }
    }

    /// The last epoch that is not above the one asked, and the offset at which it ended; -1 for none.
    pub fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        let end = self.log.epoch_end(LeaderEpoch(epoch));
        (end.epoch.0, end.end.0.min(self.high_watermark()))
    }
}
