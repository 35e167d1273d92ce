//! One partition's log, as the broker sees it.
//!
//! **Contract.** [`Log::stage`] fixes a batch's offsets and its place in the order of the log, and does not wait;
//! [`Log::durable`] waits until it is on disk. Batches of one log become durable in the order in which they were
//! staged, and if one fails none after it is ever acknowledged (the commit log is poisoned). Readers see nothing above
//! the flushed offset. `log start ≤ flushed ≤ log end`, always.
//!
//! Truncation, `DeleteRecords` and retention move the ends by entries of the commit log: answered when those are
//! durable; bytes are overwritten and files unlinked only after a checkpoint that knows of it.

pub(crate) mod core;

use std::rc::Rc;

use reactor::planted::{Planted, planted};

use wire::kafka::record_batch::BatchHeader;

use crate::commit_log::format::{Entry, EntryKind};
use crate::error::{ReadError, StageError, StorageError};
use crate::leader_epochs::EpochEnd;
use crate::options::LogConfig;
use crate::producer_state::{ProducerBatch, ProducerCheck};
use crate::reader::Read;
use crate::store::StoreInner;
use crate::types::{LeaderEpoch, LogId, Offset, Position, Timestamp};
use crate::watch::Watch;
use core::{Arriving, Health, LogCell};

/// A batch to stage.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// One whole batch whose CRC the caller has checked or made: the commit's is made from it, and a batch whose CRC does not
    /// hold makes its whole commit unreadable. Base offset and leader epoch are set in the log's copy.
    pub bytes: &'a [u8],
    /// Its header, parsed from `bytes`.
    pub header: &'a BatchHeader,
    /// Epoch of the leadership under which it is appended.
    pub epoch: LeaderEpoch,
}

/// When something staged is durable: the place of its commit in the order of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(crate) u64);

/// A batch that has its place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Staged {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Start of the log now.
    pub log_start: Offset,
    /// To wait for its durability.
    pub ticket: Ticket,
}

/// A partition's log. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct Log {
    pub(crate) store: Rc<StoreInner>,
    pub(crate) cell: Rc<LogCell>,
}

impl Log {
    /// Which log.
    pub fn id(&self) -> LogId {
        self.cell.id
    }

    /// `<topic>-<partition>`.
    pub fn name(&self) -> Rc<str> {
        Rc::clone(&self.cell.core.borrow().name)
    }

    /// Appends a batch to the log, in memory; see [`Log::durable`].
    ///
    /// # Errors
    /// Nothing of it is taken then. On [`StageError::Full`] await [`Store::admit`](crate::Store::admit) with the
    /// batch's length and stage again in the same poll.
    pub fn stage(&self, append: Append<'_>) -> Result<Staged, StageError> {
        let header = append.header;
        if header.size != append.bytes.len() || header.last_offset_delta < 0 {
            return Err(StageError::Invalid);
        }
        let producer = ProducerBatch::of(header).map_err(|_| StageError::Invalid)?;
        match self.cell.core.borrow().health {
            Health::Serving => {}
            Health::Offline => return Err(StageError::Offline),
            Health::Gone => return Err(StageError::Gone),
        }
        self.store.commit.enter(append.bytes.len())?;
        let arriving = Arriving {
            bytes: append.bytes.len() as u64,
            last_offset_delta: header.last_offset_delta,
            max_timestamp: Timestamp(header.max_timestamp),
            epoch: append.epoch,
            producer,
        };
        let now = Timestamp(reactor::wall_clock_ms());
        let (slot, log_start) = {
            let mut core = self.cell.core.borrow_mut();
            let slot = core.append(&arriving, now).ok_or(StageError::Invalid)?;
            core.unhandled += arriving.bytes;
            (slot, core.start)
        };
        let sequence = self.store.commit.append(&self.cell, &slot, &append);
        self.store.list(&self.cell);
        let last_offset = Offset(slot.next_offset.0 - 1);
        Ok(Staged { base_offset: slot.base_offset, last_offset, log_start, ticket: Ticket(sequence) })
    }

    /// Waits until what `ticket` stands for, and everything staged before it, is on disk.
    ///
    /// # Errors
    /// [`StorageError::Poisoned`]: it may or may not survive a restart; nothing may be acknowledged.
    pub async fn durable(&self, ticket: Ticket) -> Result<(), StorageError> {
        self.store.commit.durable(ticket.0).await
    }

    /// Waits until the flushed offset is above `offset`, which is below the log's end: for the answer to a duplicate.
    pub async fn flushed_above(&self, offset: Offset) -> Result<(), StorageError> {
        if planted(Planted::EarlyDuplicate) {
            return Ok(());
        }
        loop {
            {
                let core = self.cell.core.borrow();
                if core.flushed > offset {
                    return Ok(());
                }
                if core.end <= offset {
                    return Err(StorageError::OffsetOutOfRange { start: core.start, end: core.end });
                }
            }
            let staged = self.store.commit.staged();
            self.store.commit.durable(staged).await?;
            if self.cell.core.borrow().health == Health::Gone {
                return Err(StorageError::Gone);
            }
        }
    }

    /// Judges an idempotent batch against what its producer wrote last; call it right before [`Log::stage`].
    pub fn check_producer(&self, batch: &ProducerBatch) -> ProducerCheck {
        self.cell.core.borrow().producers.check(batch)
    }

    /// First offset that can be read.
    pub fn start_offset(&self) -> Offset {
        self.cell.core.borrow().start
    }

    /// Offset of the next batch to be staged.
    pub fn end_offset(&self) -> Offset {
        self.cell.core.borrow().end
    }

    /// Everything below is on disk; readers see no more.
    pub fn flushed_offset(&self) -> Offset {
        self.cell.core.borrow().flushed
    }

    /// Tells `watch` under `token` when the flushed offset or the log start grows, and when the log goes. What came before
    /// is the caller's to look at, afterwards.
    pub fn watch(&self, watch: &Watch, token: u32) {
        self.cell.watch(watch.watcher(token));
    }

    /// Whether the log was deleted or its store closed.
    pub fn is_gone(&self) -> bool {
        self.cell.core.borrow().health == Health::Gone
    }

    /// Whether the log's files have failed.
    pub fn is_offline(&self) -> bool {
        self.cell.core.borrow().health == Health::Offline
    }

    /// Batches from the one that holds `from` on: at least one whole batch if there is one below `up_to` and the
    /// flushed offset, then as many as fit `max_bytes`; the last may be cut, as Kafka allows. Empty at the end.
    pub async fn read(&self, from: Offset, max_bytes: usize, up_to: Offset) -> Result<Read, ReadError> {
        crate::reader::read(self, from, max_bytes, up_to).await
    }

    /// The first record below `up_to` with a timestamp of at least `timestamp` (`ListOffsets`).
    pub async fn offset_for_timestamp(
        &self,
        timestamp: Timestamp,
        up_to: Offset,
    ) -> Result<Option<TimestampedRecord>, ReadError> {
        crate::time_search::first_at_or_after(self, timestamp, up_to).await
    }

    /// The first record with the largest timestamp (`ListOffsets` with −3, KIP-734).
    pub async fn max_timestamp(&self) -> Result<Option<TimestampedRecord>, ReadError> {
        crate::time_search::newest(self).await
    }

    /// Where an epoch ended (`OffsetForLeaderEpoch`).
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> EpochEnd {
        let core = self.cell.core.borrow();
        core.epochs.end_of(epoch, core.end)
    }

    /// The epoch of the newest batch, or of the leadership that has begun.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.cell.core.borrow().epochs.latest().map(|latest| latest.epoch)
    }

    /// The epoch under which the record at `offset` was written.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.cell.core.borrow().epochs.epoch_at(offset)
    }

    /// A leadership begins at the log's end. Known durably with its first batch.
    pub fn assign_epoch(&self, epoch: LeaderEpoch) {
        let mut core = self.cell.core.borrow_mut();
        let end = core.end;
        if core.epochs.assign(epoch, end) {
            core.changed = true;
        }
    }

    /// Moves the log start up to `before` and answers the log start when that is durable (`DeleteRecords`).
    ///
    /// # Errors
    /// [`StorageError::OffsetOutOfRange`] above the flushed offset.
    pub async fn delete_records(&self, before: Offset) -> Result<Offset, StorageError> {
        let (entry, start) = {
            let core = self.cell.core.borrow();
            self.check_alive(core.health)?;
            let end = core.truncating.map_or(core.flushed, |end| end.min(core.flushed));
            if before > end || before < Offset::ZERO {
                return Err(StorageError::OffsetOutOfRange { start: core.start, end });
            }
            let end = core.end_at();
            let entry = Entry {
                kind: EntryKind::LogStart,
                log: self.cell.id,
                segment: end.segment,
                position: Position(end.position),
                offset: before,
                total: 0,
                fragment_at: 0,
                epoch: LeaderEpoch::NONE,
                length: 0,
            };
            (entry, core.start)
        };
        if before <= start {
            return Ok(start);
        }
        {
            let mut core = self.cell.core.borrow_mut();
            core.changed = true;
            core.start_staged = core.start_staged.max(before);
        }
        let sequence = self.store.commit.note(&self.cell, &entry, &[]);
        self.store.list(&self.cell);
        self.store.commit.durable(sequence).await?;
        let start = {
            let mut core = self.cell.core.borrow_mut();
            self.check_alive(core.health)?;
            core.advance_start(before);
            core.start
        };
        self.store.list(&self.cell);
        self.cell.notify_grew();
        Ok(start)
    }

    /// Ends the log at `to`, or at the start of the batch that holds it; answers the new end. For replication.
    ///
    /// # Errors
    /// [`StorageError::OffsetOutOfRange`] below the log start, or inside the batch that holds it.
    ///
    /// The caller stages nothing meanwhile. Returns after a checkpoint: from then on the bytes may be overwritten.
    pub async fn truncate(&self, to: Offset) -> Result<Offset, StorageError> {
        crate::truncate::truncate(self, to).await
    }

    /// Changes the settings; they hold from the next batch and the next look of retention on.
    pub fn set_config(&self, config: LogConfig) {
        let config = self.store.shared(config);
        self.cell.core.borrow_mut().config = config;
    }

    /// The settings.
    pub fn config(&self) -> Rc<LogConfig> {
        Rc::clone(&self.cell.core.borrow().config)
    }

    /// Bytes of the log's segments.
    pub fn size_bytes(&self) -> u64 {
        self.cell.core.borrow().size_bytes()
    }

    /// Number of segments, the active one included.
    pub fn segment_count(&self) -> usize {
        self.cell.core.borrow().segments.len()
    }

    /// Number of producers remembered.
    pub fn producer_count(&self) -> usize {
        self.cell.core.borrow().producers.len()
    }

    /// Drops the oldest segments by `retention.ms` and `retention.bytes`; answers how many.
    pub async fn apply_retention(&self, now: Timestamp) -> Result<usize, StorageError> {
        crate::retention::apply(self, now).await
    }

    /// Forgets idle producers; answers how many.
    pub fn expire_producers(&self, now: Timestamp) -> usize {
        let mut core = self.cell.core.borrow_mut();
        let gone = core.producers.expire(now, self.store.options.producer_expiration_ms);
        core.changed |= gone > 0;
        drop(core);
        if gone > 0 {
            self.store.list(&self.cell);
        }
        gone
    }

    pub(crate) fn check_alive(&self, health: Health) -> Result<(), StorageError> {
        match health {
            Health::Serving => Ok(()),
            Health::Offline => Err(StorageError::Offline(self.cell.id)),
            Health::Gone => Err(StorageError::Gone),
        }
    }
}

/// A record found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedRecord {
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its offset.
    pub offset: Offset,
    /// Leader epoch of its batch.
    pub epoch: LeaderEpoch,
}
