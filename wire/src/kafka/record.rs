//! Records with their keys, values and headers, for whoever needs the contents: coordinators reading their own partitions, the
//! command line, tests. The broker's data path only [walks](super::record_walk) them.
//!
//! Keys and values are slices of the batch, or of the one buffer it was decompressed into; reading them copies nothing more.

use bytes::Bytes;

use super::compression::{Codec, decompress};
use super::record_batch::{Batch, BatchError, BatchHeader, HEADER_LEN, RecordFault};
use super::record_source::{SliceSource, Source};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Offset in the log.
    pub offset: i64,
    /// Milliseconds; the batch's append time when that is its clock.
    pub timestamp: i64,
    /// Its key, if it has one.
    pub key: Option<Bytes>,
    /// Its value; none is a tombstone where the topic is compacted.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Headers,
}

/// The headers of a record, checked, still in their encoded form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    count: u32,
    encoded: Bytes,
}

/// One header. The key should be UTF-8, which nobody checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name, not unique.
    pub key: Bytes,
    /// Its value, if it has one.
    pub value: Option<Bytes>,
}

impl Headers {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers in order.
    pub fn iter(&self) -> impl Iterator<Item = Header> + '_ {
        let mut source = SliceSource::new(&self.encoded);
        // They were gone through once, so none of them fails now.
        (0..self.count).map_while(move |_| header(&mut source, &self.encoded).ok())
    }
}

/// The records of a batch.
#[derive(Debug)]
pub struct Records {
    header: BatchHeader,
    bytes: Bytes,
    at: usize,
    index: u32,
    failed: bool,
}

impl Records {
    /// The records of `batch`; compressed ones may decompress to at most `output_max` bytes. The CRC is not checked.
    pub fn new(batch: &Batch, output_max: usize) -> Result<Self, BatchError> {
        let records = batch.bytes.slice(HEADER_LEN..batch.header.size);
        let bytes = match batch.header.codec()? {
            Codec::None => records,
            codec => Bytes::from(decompress(codec, &records, output_max)?),
        };
        Ok(Self { header: batch.header, bytes, at: 0, index: 0, failed: false })
    }

    fn read(&mut self) -> Result<Record, RecordFault> {
        let rest = &self.bytes[self.at..];
        let mut source = SliceSource::new(rest);
        let size = usize::try_from(source.varint()?).map_err(|_| RecordFault::NegativeSize)?;
        let from = self.at + source.position();
        source.skip(size)?;
        let bytes = self.bytes.slice(from..from + size);
        self.at = from + size;

        let mut source = SliceSource::new(&bytes);
        source.byte()?;
        let timestamp = self.header.record_timestamp(source.varlong()?).ok_or(RecordFault::Timestamp)?;
        let delta = source.varint()?;
        if delta < 0 || delta > self.header.last_offset_delta {
            return Err(RecordFault::OffsetDelta);
        }
        let key = nullable(&mut source, &bytes)?;
        let value = nullable(&mut source, &bytes)?;
        let count = u32::try_from(source.varint()?).map_err(|_| RecordFault::NegativeSize)?;
        let encoded = bytes.slice(source.position()..);
        for _ in 0..count {
            header(&mut source, &bytes)?;
        }
        if source.remaining() > 0 {
            return Err(RecordFault::Size);
        }
        Ok(Record {
            offset: self.header.base_offset.saturating_add(i64::from(delta)),
            timestamp,
            key,
            value,
            headers: Headers { count, encoded },
        })
    }
}

fn nullable(source: &mut SliceSource<'_>, bytes: &Bytes) -> Result<Option<Bytes>, RecordFault> {
    let Some(len) = source.nullable_size()? else { return Ok(None) };
    let from = source.position();
    source.skip(len)?;
    Ok(Some(bytes.slice(from..from + len)))
}

fn header(source: &mut SliceSource<'_>, bytes: &Bytes) -> Result<Header, RecordFault> {
    let key = nullable(source, bytes)?.ok_or(RecordFault::NullHeaderKey)?;
    Ok(Header { key, value: nullable(source, bytes)? })
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if i64::from(self.index) >= i64::from(self.header.record_count) {
            self.failed = true;
            return (self.at < self.bytes.len()).then_some(Err(BatchError::TrailingBytes));
        }
        let record = self.read().map_err(|fault| BatchError::Record { index: self.index, fault });
        self.failed = record.is_err();
        self.index += 1;
        Some(record)
    }
}

/// What a control record says (KIP-98, KIP-595). Its key is a version and a type, 16 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRecord {
    /// The producer's transaction was aborted.
    Abort,
    /// The producer's transaction was committed.
    Commit,
    /// A type that is not a transaction marker; consumers pass over it.
    Other(i16),
}

impl ControlRecord {
    /// Reads the key of a record in a control batch; `None` when it is too short.
    #[must_use]
    pub fn parse(key: &[u8]) -> Option<Self> {
        let kind = key.get(2..4)?;
        Some(match i16::from_be_bytes([kind[0], kind[1]]) {
            0 => Self::Abort,
            1 => Self::Commit,
            other => Self::Other(other),
        })
    }

    /// The key of such a record, version 0.
    #[must_use]
    pub fn key(self) -> [u8; 4] {
        let kind = match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::Other(kind) => kind,
        };
        let [high, low] = kind.to_be_bytes();
        [0, 0, high, low]
    }
}
