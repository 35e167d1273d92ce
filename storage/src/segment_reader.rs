//! Reading a segment's bytes and walking its batches, from memory where the tail has them, else from the file.

use bytes::{Bytes, BytesMut};
use reactor::File;
use wire::kafka::record_batch::{BatchHeader, HEADER_LEN};

use crate::cold_segments::{Way, segment_path};
use crate::error::StorageError;
use crate::limits::{BATCH_BYTES_MAX, WALK_BYTES};
use crate::log::Log;
use crate::types::{Offset, SegmentBase};

/// Reads one segment up to an end that was looked up by the caller.
pub(crate) struct SegmentReader<'a> {
    log: &'a Log,
    base: SegmentBase,
    end: u64,
    file: Option<File>,
    /// What was read last, and where it begins.
    window: (u64, Bytes),
    /// Bytes read at once.
    ahead: usize,
}

impl<'a> SegmentReader<'a> {
    pub(crate) fn new(log: &'a Log, base: SegmentBase, end: u64) -> Self {
        Self { log, base, end, file: None, window: (0, Bytes::new()), ahead: WALK_BYTES }
    }

    /// Reads so many bytes at once from now on.
    pub(crate) fn read_ahead(&mut self, bytes: usize) {
        self.ahead = bytes.max(WALK_BYTES);
    }

    /// The header of the batch at `position`, which begins at `expected` if that is known, as logs are dense. What a
    /// batch's checksum leaves out is checked so: its offset, and its epoch by the log's history.
    pub(crate) async fn following(
        &mut self,
        position: u64,
        expected: Option<i64>,
    ) -> Result<BatchHeader, StorageError> {
        let header = self.header(position).await?;
        self.vet(position, &header, expected)?;
        Ok(header)
    }

    /// See [`following`](Self::following).
    pub(crate) fn vet(
        &self,
        position: u64,
        header: &BatchHeader,
        expected: Option<i64>,
    ) -> Result<(), StorageError> {
        if let Some(expected) = expected.filter(|expected| *expected != header.base_offset) {
            let what = format!("a batch begins at offset {}, not at {expected}", header.base_offset);
            return Err(self.damaged(position, &what));
        }
        let epoch = self.log.cell.core.borrow().epochs.epoch_at(Offset(header.base_offset));
        if let Some(epoch) = epoch.filter(|epoch| epoch.0 != header.partition_leader_epoch) {
            let what = format!("a batch has epoch {}, not {epoch}", header.partition_leader_epoch);
            return Err(self.damaged(position, &what));
        }
        Ok(())
    }

    /// As [`following`](Self::following), of a batch whose checksum was found right in this life too.
    pub(crate) async fn checked(
        &mut self,
        position: u64,
        expected: Option<i64>,
    ) -> Result<BatchHeader, StorageError> {
        let header = self.following(position, expected).await?;
        let (id, end) = (self.log.cell.id, position + header.size as u64);
        let cold = &self.log.store.cold;
        if self.is_in_file(position)
            && cold.checked_from(id, self.base, position).is_none_or(|checked| checked < end)
        {
            self.batch(position, &header).await?;
            self.note_checked(position, end);
        }
        Ok(header)
    }

    /// What lies in memory has never been on a disk that it came from.
    fn is_in_file(&self, position: u64) -> bool {
        let core = self.log.cell.core.borrow();
        core.memory(self.base, position, position + 1).is_empty()
    }

    /// The header of the batch at `position`.
    pub(crate) async fn header(&mut self, position: u64) -> Result<BatchHeader, StorageError> {
        let length = (self.end.saturating_sub(position)).min(HEADER_LEN as u64) as usize;
        let bytes = self.bytes(position, length, self.ahead).await?;
        let header = BatchHeader::peek(&bytes).map_err(|error| self.damaged(position, &error))?;
        if header.size as u64 > self.end - position {
            return Err(self.damaged(position, &"a batch is longer than its segment"));
        }
        Ok(header)
    }

    /// The batch at `position` whose header is `header`, and its checksum is right.
    pub(crate) async fn batch(&mut self, position: u64, header: &BatchHeader) -> Result<Bytes, StorageError> {
        if header.size > BATCH_BYTES_MAX {
            return Err(self.damaged(position, &"a batch is longer than any can be"));
        }
        let bytes = self.bytes(position, header.size, self.ahead).await?;
        header.verify_crc(&bytes).map_err(|error| self.damaged(position, &error))?;
        Ok(bytes)
    }

    /// The batches between were found right.
    pub(crate) fn note_checked(&self, from: u64, to: u64) {
        self.log.store.cold.note_checked(self.log.cell.id, self.base, from, to);
    }

    /// The segment's file for a first read: past the page cache while commits are frequent.
    pub(crate) async fn file_for_first_read(&self) -> Result<File, StorageError> {
        let frequent = self.log.store.options.frequent_commits.are_on(reactor::now());
        let way = if frequent { Way::Direct } else { Way::Send };
        self.log.store.cold.file(self.log, self.base, way).await
    }

    /// Up to where the batches from `position` on were found right in this life.
    pub(crate) fn checked_from(&self, position: u64) -> Option<u64> {
        self.log.store.cold.checked_from(self.log.cell.id, self.base, position)
    }

    /// What is wrong with this segment, and where.
    pub(crate) fn damaged(&self, position: u64, what: &dyn std::fmt::Display) -> StorageError {
        let dir = self.log.store.log_dir(self.log.cell.id, &self.log.name());
        StorageError::corrupt(segment_path(&dir, self.base, "log"), format!("at position {position}: {what}"))
    }

    /// `length` bytes at `position`, reading up to `ahead` of them at once.
    async fn bytes(&mut self, position: u64, length: usize, ahead: usize) -> Result<Bytes, StorageError> {
        let end = position + length as u64;
        let (start, window) = (self.window.0, &self.window.1);
        if position >= start && end <= start + window.len() as u64 {
            return Ok(window.slice((position - start) as usize..(end - start) as usize));
        }
        let wanted = self.end.min(position + ahead.max(length) as u64);
        loop {
            let file_end = self.file_end()?;
            let in_memory = join(self.log.cell.core.borrow().memory(self.base, position, wanted));
            let window = if in_memory.len() >= length {
                in_memory
            } else {
                let from_file = self.read_file(position, wanted.min(file_end)).await?;
                if from_file.len() >= length {
                    from_file
                } else {
                    // The batch begins in the file and goes on in memory.
                    let split = position + from_file.len() as u64;
                    let parts = self.log.cell.core.borrow().memory(self.base, split, wanted);
                    join([vec![from_file], parts].concat())
                }
            };
            if window.len() >= length {
                self.window = (position, window.clone());
                return Ok(window.slice(..length));
            }
            // While the file was read, writeback may have brought into it what memory then gave up.
            if self.file_end()? == file_end {
                return Err(self.damaged(position, &"bytes are missing"));
            }
        }
    }

    /// How far the file has the segment's bytes.
    fn file_end(&self) -> Result<u64, StorageError> {
        let core = self.log.cell.core.borrow();
        let segment = core.segment(self.base).ok_or(StorageError::Gone)?;
        Ok(segment.written.max(segment.safe))
    }

    async fn read_file(&mut self, position: u64, end: u64) -> Result<Bytes, StorageError> {
        if end <= position {
            return Ok(Bytes::new());
        }
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.log.store.cold.file(self.log, self.base, Way::Walk).await?,
        };
        self.file = Some(file.clone());
        let length = (end - position) as usize;
        let (read, bytes) = file.read_at(BytesMut::with_capacity(length), length, position).await;
        read.map_err(|cause| self.failed(cause))?;
        Ok(bytes.freeze())
    }

    /// A read of the file that failed.
    pub(crate) fn failed(&self, cause: std::io::Error) -> StorageError {
        let dir = self.log.store.log_dir(self.log.cell.id, &self.log.name());
        StorageError::io("read", segment_path(&dir, self.base, "log"))(cause)
    }
}

fn join(mut parts: Vec<Bytes>) -> Bytes {
    match parts.len() {
        0 => Bytes::new(),
        1 => parts.swap_remove(0),
        _ => Bytes::from(parts.concat()),
    }
}
