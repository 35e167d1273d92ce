//! Going through the records of a batch without keeping them: what a broker does with every batch it accepts.
//!
//! An uncompressed batch is walked where it lies. A compressed one is decompressed piece by piece and never held whole
//! ([`compression`](super::compression)); its records may span pieces. Either way every field of every record is gone through,
//! each record fills exactly the size it states, the offset deltas are 0, 1, 2, …, the number of records is the header's, and
//! nothing follows the last: what passes can be read by any consumer.

use super::compression::{Codec, Decompressor};
use super::record_batch::{BatchError, BatchHeader, HEADER_LEN, RecordFault};
use super::record_source::{SliceSource, Source};

/// What the walk knows of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordShape {
    /// Which record of the batch, from 0; also its offset delta.
    pub index: u32,
    /// Milliseconds; the batch's append time when that is its clock.
    pub timestamp: i64,
    /// Bytes of the key, `None` without one.
    pub key_len: Option<usize>,
    /// Bytes of the value, `None` for a tombstone.
    pub value_len: Option<usize>,
    /// Headers of the record.
    pub header_count: u32,
}

/// Whether a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To the next record.
    Next,
    /// No further: what follows is not looked at.
    Stop,
}

/// Fields of a record that come before it is known to be whole.
struct Body {
    timestamp_delta: i64,
    offset_delta: i32,
    key_len: Option<usize>,
    value_len: Option<usize>,
    header_count: u32,
}

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// Offset in the log.
    pub offset: i64,
    /// Milliseconds.
    pub timestamp: i64,
}

/// Calls `visit` with every record of `batch`, whose header was parsed from it. Compressed records may decompress to at most
/// `output_max` bytes. Returns the bytes of the records, decompressed.
///
/// Compaction leaves gaps in the offsets of stored batches; a batch that came from a producer has none. `gaps` says which is
/// expected.
pub fn walk(
    batch: &[u8],
    header: &BatchHeader,
    output_max: usize,
    gaps: Gaps,
    mut visit: impl FnMut(&RecordShape) -> Step,
) -> Result<usize, BatchError> {
    let records = batch
        .get(HEADER_LEN..header.size)
        .ok_or(BatchError::Truncated { size: header.size, have: batch.len() })?;
    let mut walker = Walker { header, gaps, offset_delta_min: 0, count: 0 };
    match header.codec()? {
        Codec::None => walker.slice(records, &mut visit),
        codec => walker.stream(&mut Decompressor::new(codec, records, output_max)?, &mut visit),
    }
}

/// Whether the offsets of a batch's records may have gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gaps {
    /// The deltas are 0, 1, 2, …, as producers must send them.
    Refused,
    /// The deltas rise, as compaction leaves them.
    Allowed,
}

struct Walker<'h> {
    header: &'h BatchHeader,
    gaps: Gaps,
    offset_delta_min: i32,
    count: u32,
}

impl Walker<'_> {
    fn total(&self) -> u32 {
        u32::try_from(self.header.record_count).unwrap_or(0)
    }

    fn fault(&self, fault: RecordFault) -> BatchError {
        BatchError::Record { index: self.count, fault }
    }

    fn slice(
        &mut self,
        records: &[u8],
        visit: &mut impl FnMut(&RecordShape) -> Step,
    ) -> Result<usize, BatchError> {
        let mut source = SliceSource::new(records);
        while self.count < self.total() {
            let body = sized(&mut source).map_err(|fault| self.fault(fault))?;
            if self.accept(&body, visit)? == Step::Stop {
                return Ok(source.position());
            }
        }
        if source.remaining() > 0 { Err(BatchError::TrailingBytes) } else { Ok(records.len()) }
    }

    fn stream(
        &mut self,
        stream: &mut Decompressor<'_>,
        visit: &mut impl FnMut(&RecordShape) -> Step,
    ) -> Result<usize, BatchError> {
        let mut bytes = 0;
        while self.count < self.total() {
            let (body, len) = self.streamed(stream)?;
            bytes += len;
            if self.accept(&body, visit)? == Step::Stop {
                return Ok(bytes);
            }
        }
        if stream.fill()?.is_empty() { Ok(bytes) } else { Err(BatchError::TrailingBytes) }
    }

    /// The next record of a stream and its bytes: in one piece of it when it lies there whole, else field by field.
    fn streamed(&self, stream: &mut Decompressor<'_>) -> Result<(Body, usize), BatchError> {
        stream.fill()?;
        let mut source = SliceSource::new(stream.ready());
        match sized(&mut source) {
            Ok(body) => {
                let len = source.position();
                stream.consume(len);
                return Ok((body, len));
            }
            Err(RecordFault::Cut) => {}
            Err(fault) => return Err(self.fault(fault)),
        }
        // Not whole in this piece: from its start again, over as many pieces as it takes.
        let mut source = StreamSource { stream, left: usize::MAX, error: None };
        let body = across(&mut source);
        let len = usize::MAX - source.left;
        match (body, source.error) {
            (_, Some(error)) => Err(error),
            (Ok((body, prefix)), None) => Ok((body, prefix + len)),
            (Err(fault), None) => Err(self.fault(fault)),
        }
    }

    fn accept(
        &mut self,
        body: &Body,
        visit: &mut impl FnMut(&RecordShape) -> Step,
    ) -> Result<Step, BatchError> {
        let delta = body.offset_delta;
        let expected = match self.gaps {
            Gaps::Refused => delta == self.offset_delta_min,
            Gaps::Allowed => delta >= self.offset_delta_min && delta <= self.header.last_offset_delta,
        };
        if !expected {
            return Err(self.fault(RecordFault::OffsetDelta));
        }
        let timestamp = self
            .header
            .record_timestamp(body.timestamp_delta)
            .ok_or_else(|| self.fault(RecordFault::Timestamp))?;
        let shape = RecordShape {
            index: delta as u32,
            timestamp,
            key_len: body.key_len,
            value_len: body.value_len,
            header_count: body.header_count,
        };
        self.offset_delta_min = delta.saturating_add(1);
        self.count += 1;
        Ok(visit(&shape))
    }
}

fn size_of_record(size: i32) -> Result<usize, RecordFault> {
    usize::try_from(size).map_err(|_| RecordFault::NegativeSize)
}

/// A record with the size before it.
#[inline]
fn sized(source: &mut SliceSource<'_>) -> Result<Body, RecordFault> {
    let size = size_of_record(source.varint()?)?;
    let mut inner = SliceSource::new(source.take(size)?);
    // The size is there, so what ends early inside it is a wrong size, not a cut stream.
    let body = body(&mut inner)
        .map_err(|fault| if fault == RecordFault::Cut { RecordFault::Size } else { fault })?;
    if inner.remaining() > 0 { Err(RecordFault::Size) } else { Ok(body) }
}

/// A record with the size before it, over as many pieces of a stream as it takes. Also the bytes of that size.
fn across(source: &mut StreamSource<'_, '_>) -> Result<(Body, usize), RecordFault> {
    let size = size_of_record(source.varint()?)?;
    let prefix = usize::MAX - source.left;
    source.left = size;
    let body = body(source)?;
    if source.left > 0 {
        return Err(RecordFault::Size);
    }
    source.left = usize::MAX - size;
    Ok((body, prefix))
}

/// A record's fields, in a source that ends where the record does.
#[inline]
fn body<S: Source>(source: &mut S) -> Result<Body, RecordFault> {
    source.byte()?; // attributes: none are defined
    let timestamp_delta = source.varlong()?;
    let offset_delta = source.varint()?;
    let key_len = skip_nullable(source)?;
    let value_len = skip_nullable(source)?;
    let header_count = u32::try_from(source.varint()?).map_err(|_| RecordFault::NegativeSize)?;
    for _ in 0..header_count {
        if skip_nullable(source)?.is_none() {
            return Err(RecordFault::NullHeaderKey);
        }
        skip_nullable(source)?;
    }
    Ok(Body { timestamp_delta, offset_delta, key_len, value_len, header_count })
}

#[inline]
fn skip_nullable<S: Source>(source: &mut S) -> Result<Option<usize>, RecordFault> {
    let len = source.nullable_size()?;
    if let Some(len) = len {
        source.skip(len)?;
    }
    Ok(len)
}

/// A stream that is decompressed as it is read. An error of the stream is kept aside and seen as its end.
struct StreamSource<'d, 'a> {
    stream: &'d mut Decompressor<'a>,
    left: usize,
    error: Option<BatchError>,
}

impl StreamSource<'_, '_> {
    /// Passes over up to `most` bytes of the current piece; 0 at the end. The last one passed is returned.
    fn advance(&mut self, most: usize) -> (usize, u8) {
        match self.stream.fill() {
            Ok(piece) => {
                let count = piece.len().min(most);
                let last = if count > 0 { piece[count - 1] } else { 0 };
                self.stream.consume(count);
                (count, last)
            }
            Err(error) => {
                self.error = Some(error);
                (0, 0)
            }
        }
    }
}

impl Source for StreamSource<'_, '_> {
    fn byte(&mut self) -> Result<u8, RecordFault> {
        if self.left == 0 {
            return Err(RecordFault::Size);
        }
        let (count, byte) = self.advance(1);
        if count == 0 {
            return Err(RecordFault::Cut);
        }
        self.left -= 1;
        Ok(byte)
    }

    fn skip(&mut self, count: usize) -> Result<(), RecordFault> {
        if count > self.left {
            return Err(RecordFault::Size);
        }
        let mut left = count;
        while left > 0 {
            let (passed, _) = self.advance(left);
            if passed == 0 {
                return Err(RecordFault::Cut);
            }
            left -= passed;
        }
        self.left -= count;
        Ok(())
    }

    fn remaining(&self) -> usize {
        self.left
    }
}

/// The first record of `batch` at or after `timestamp` (milliseconds), for `ListOffsets`. `None` when all are earlier.
pub fn find_timestamp(
    batch: &[u8],
    header: &BatchHeader,
    timestamp: i64,
    output_max: usize,
) -> Result<Option<TimestampedOffset>, BatchError> {
    find(batch, header, output_max, |record| record.timestamp >= timestamp)
}

/// The first record of `batch` that has the batch's largest timestamp, for `ListOffsets` with -3 (KIP-734).
pub fn find_max_timestamp(
    batch: &[u8],
    header: &BatchHeader,
    output_max: usize,
) -> Result<Option<TimestampedOffset>, BatchError> {
    let mut largest: Option<TimestampedOffset> = None;
    walk(batch, header, output_max, Gaps::Allowed, |record| {
        if largest.is_none_or(|largest| record.timestamp > largest.timestamp) {
            largest = Some(at(header, record));
        }
        Step::Next
    })?;
    Ok(largest)
}

fn find(
    batch: &[u8],
    header: &BatchHeader,
    output_max: usize,
    wanted: impl Fn(&RecordShape) -> bool,
) -> Result<Option<TimestampedOffset>, BatchError> {
    let mut found = None;
    walk(batch, header, output_max, Gaps::Allowed, |record| {
        if wanted(record) {
            found = Some(at(header, record));
            return Step::Stop;
        }
        Step::Next
    })?;
    Ok(found)
}

fn at(header: &BatchHeader, record: &RecordShape) -> TimestampedOffset {
    TimestampedOffset {
        offset: header.base_offset.saturating_add(i64::from(record.index)),
        timestamp: record.timestamp,
    }
}
