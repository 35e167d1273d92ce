//! Reading a segment's bytes and walking its batches, from memory where the tail has them, else from the file.

use bytes::{Bytes, BytesMut};
use reactor::File;
use wire::kafka::record_batch::{BatchHeader, HEADER_LEN};

use crate::cold_segments::segment_path;
use crate::error::StorageError;
use crate::limits::{BATCH_BYTES_MAX, WALK_BYTES};
use crate::log::Log;
use crate::types::SegmentBase;

/// Reads one segment up to an end that was looked up by the caller.
pub(crate) struct SegmentReader<'a> {
    log: &'a Log,
    base: SegmentBase,
    end: u64,
    file: Option<File>,
    /// What was read last, and where it begins.
    window: (u64, Bytes),
}

impl<'a> SegmentReader<'a> {
    pub(crate) fn new(log: &'a Log, base: SegmentBase, end: u64) -> Self {
        Self { log, base, end, file: None, window: (0, Bytes::new()) }
    }

    /// The header of the batch at `position`.
    pub(crate) async fn header(&mut self, position: u64) -> Result<BatchHeader, StorageError> {
        let length = (self.end.saturating_sub(position)).min(HEADER_LEN as u64) as usize;
        let bytes = self.bytes(position, length, WALK_BYTES).await?;
        let header = BatchHeader::peek(&bytes).map_err(|error| self.damaged(position, &error))?;
        if header.size as u64 > self.end - position {
            return Err(self.damaged(position, &"a batch is longer than its segment"));
        }
        Ok(header)
    }

    /// The batch at `position` whose header is `header`.
    pub(crate) async fn batch(&mut self, position: u64, header: &BatchHeader) -> Result<Bytes, StorageError> {
        if header.size > BATCH_BYTES_MAX {
            return Err(self.damaged(position, &"a batch is longer than any can be"));
        }
        self.bytes(position, header.size, header.size).await
    }

    fn damaged(&self, position: u64, what: &dyn std::fmt::Display) -> StorageError {
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
        let (in_memory, file_end) = {
            let core = self.log.cell.core.borrow();
            let segment = core.segment(self.base).ok_or(StorageError::Gone)?;
            let parts = core.memory(self.base, position, wanted);
            (join(parts), segment.written.max(segment.safe))
        };
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
        if window.len() < length {
            return Err(self.damaged(position, &"bytes are missing"));
        }
        self.window = (position, window.clone());
        Ok(window.slice(..length))
    }

    async fn read_file(&mut self, position: u64, end: u64) -> Result<Bytes, StorageError> {
        if end <= position {
            return Ok(Bytes::new());
        }
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.log.store.cold.file(self.log, self.base).await?,
        };
        self.file = Some(file.clone());
        let length = (end - position) as usize;
        let (read, bytes) = file.read_at(BytesMut::with_capacity(length), length, position).await;
        let dir = self.log.store.log_dir(self.log.cell.id, &self.log.name());
        read.map_err(StorageError::io("read", segment_path(&dir, self.base, "log")))?;
        Ok(bytes.freeze())
    }
}

fn join(mut parts: Vec<Bytes>) -> Bytes {
    match parts.len() {
        0 => Bytes::new(),
        1 => parts.swap_remove(0),
        _ => Bytes::from(parts.concat()),
    }
}
