//! Going through the records of a batch without keeping them: what a broker does with every batch it accepts.
//!
//! An uncompressed batch is walked where it lies. A compressed one is decompressed piece by piece and never held whole
//! ([`compression`](super::compression)); its records may span pieces. Either way every field of every record is gone through,
//! each record fills exactly the size it states, the offset deltas are 0, 1, 2, …, the number of records is the header's, and
//! nothing follows the last: what passes can be read by any consumer.

use super::compression::{Codec, Decompressor};
use super::record_batch::{BatchError, BatchHeader, HEADER_LEN, RecordFault};
use super::record_source::{SliceSource, Source};
use crate::limits::RECORD_WORK_BYTES;

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
#[derive(Default)]
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
    let mut walk = Walk::new(batch, header, output_max, gaps)?;
    loop {
        if let Some(bytes) = walk.go_on(usize::MAX, &mut visit)? {
            return Ok(bytes);
        }
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

/// A [`walk`] that rests in between, also inside a record: a small batch may decompress to much more than a thread that has
/// other things to do should go through at once.
pub struct Walk<'b> {
    header: BatchHeader,
    gaps: Gaps,
    offset_delta_min: i32,
    count: u32,
    records: Records<'b>,
    /// The record that is in more than one piece of the stream.
    partial: Option<Partial>,
    /// Of whole records.
    bytes: usize,
}

enum Records<'b> {
    Slice(SliceSource<'b>),
    Stream(Decompressor<'b>),
}

impl<'b> Walk<'b> {
    /// At the first record of `batch`; see [`walk`].
    pub fn new(
        batch: &'b [u8],
        header: &BatchHeader,
        output_max: usize,
        gaps: Gaps,
    ) -> Result<Self, BatchError> {
        let records = batch
            .get(HEADER_LEN..header.size)
            .ok_or(BatchError::Truncated { size: header.size, have: batch.len() })?;
        let records = match header.codec()? {
            Codec::None => Records::Slice(SliceSource::new(records)),
            codec => Records::Stream(Decompressor::new(codec, records, output_max)?),
        };
        Ok(Self { header: *header, gaps, offset_delta_min: 0, count: 0, records, partial: None, bytes: 0 })
    }

    /// Goes on by about `most` bytes, decompressed; a small record counts for more than it has. When the walk is over: the bytes of the records.
    pub fn go_on(
        &mut self,
        most: usize,
        visit: &mut impl FnMut(&RecordShape) -> Step,
    ) -> Result<Option<usize>, BatchError> {
        let mut left = most;
        while self.count < self.total() {
            if left == 0 {
                return Ok(None);
            }
            let Some((body, len)) = self.next(&mut left)? else { return Ok(None) };
            self.bytes += len;
            if self.accept(&body, visit)? == Step::Stop {
                return Ok(Some(self.bytes));
            }
        }
        let whole = match &mut self.records {
            Records::Slice(source) => source.remaining() == 0,
            Records::Stream(stream) => stream.fill()?.is_empty(),
        };
        if whole { Ok(Some(self.bytes)) } else { Err(BatchError::TrailingBytes) }
    }

    fn total(&self) -> u32 {
        u32::try_from(self.header.record_count).unwrap_or(0)
    }

    fn fault(&self, fault: RecordFault) -> BatchError {
        BatchError::Record { index: self.count, fault }
    }

    /// The next record and its bytes, taken from `left`: in one piece when it lies there whole, else field by field. `None`
    /// when nothing is left inside a record.
    fn next(&mut self, left: &mut usize) -> Result<Option<(Body, usize)>, BatchError> {
        let index = self.count;
        let at = |fault| BatchError::Record { index, fault };
        let stream = match &mut self.records {
            Records::Slice(source) => {
                let start = source.position();
                let body = sized(source).map_err(at)?;
                let len = source.position() - start;
                *left = left.saturating_sub(len.max(RECORD_WORK_BYTES));
                return Ok(Some((body, len)));
            }
            Records::Stream(stream) => stream,
        };
        if self.partial.is_none() {
            stream.fill()?;
            let mut source = SliceSource::new(stream.ready());
            match sized(&mut source) {
                Ok(body) => {
                    let len = source.position();
                    stream.consume(len);
                    *left = left.saturating_sub(len.max(RECORD_WORK_BYTES));
                    return Ok(Some((body, len)));
                }
                Err(RecordFault::Cut) => {}
                Err(fault) => return Err(at(fault)),
            }
        }
        // Not whole in this piece: from its start again, over as many pieces as it takes.
        let partial = self.partial.get_or_insert_default();
        let mut source = StreamSource { stream, left: partial.left, error: None };
        let done = partial.go_on(&mut source, left);
        match (done, source.error) {
            (_, Some(error)) => Err(error),
            (Err(fault), None) => Err(at(fault)),
            (Ok(false), None) => Ok(None),
            (Ok(true), None) => Ok(self.partial.take().map(|partial| (partial.body, partial.len))),
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

/// Which field of a record comes next.
#[derive(Clone, Copy)]
enum Next {
    Size,
    UpToKey,
    Value,
    HeaderCount,
    HeaderKey,
    HeaderValue,
}

/// A record with the size before it, over as many pieces of a stream as it takes.
struct Partial {
    next: Next,
    /// Bytes of the field before it that are still to be passed over.
    skip: usize,
    /// Bytes of the record that are still to come.
    left: usize,
    /// Bytes of the record with its size, once that is known.
    len: usize,
    headers_left: u32,
    body: Body,
}

impl Default for Partial {
    fn default() -> Self {
        Self { next: Next::Size, skip: 0, left: usize::MAX, len: 0, headers_left: 0, body: Body::default() }
    }
}

impl Partial {
    /// Goes on by about `most` bytes; whether the record is whole.
    fn go_on(&mut self, source: &mut StreamSource<'_, '_>, most: &mut usize) -> Result<bool, RecordFault> {
        loop {
            let mut whole = false;
            if self.skip > 0 {
                let passed = source.skip_some(self.skip)?;
                self.skip -= passed;
                *most = most.saturating_sub(passed);
            } else {
                // A field or its length has a few bytes.
                whole = self.field(source)?;
                *most = most.saturating_sub(RECORD_WORK_BYTES);
            }
            self.left = source.left;
            if whole || *most == 0 {
                return Ok(whole);
            }
        }
    }

    /// Reads one field, or its length; whether the record has no more.
    fn field(&mut self, source: &mut StreamSource<'_, '_>) -> Result<bool, RecordFault> {
        self.next = match self.next {
            Next::Size => {
                let size = size_of_record(source.varint()?)?;
                self.len = size + (usize::MAX - source.left);
                source.left = size;
                Next::UpToKey
            }
            Next::UpToKey => {
                source.byte()?; // attributes: none are defined
                self.body.timestamp_delta = source.varlong()?;
                self.body.offset_delta = source.varint()?;
                self.body.key_len = self.begin_skip(source)?;
                Next::Value
            }
            Next::Value => {
                self.body.value_len = self.begin_skip(source)?;
                Next::HeaderCount
            }
            Next::HeaderCount => {
                self.body.header_count =
                    u32::try_from(source.varint()?).map_err(|_| RecordFault::NegativeSize)?;
                self.headers_left = self.body.header_count;
                Next::HeaderKey
            }
            Next::HeaderKey if self.headers_left == 0 => {
                return if source.left > 0 { Err(RecordFault::Size) } else { Ok(true) };
            }
            Next::HeaderKey => {
                self.begin_skip(source)?.ok_or(RecordFault::NullHeaderKey)?;
                Next::HeaderValue
            }
            Next::HeaderValue => {
                self.begin_skip(source)?;
                self.headers_left -= 1;
                Next::HeaderKey
            }
        };
        Ok(false)
    }

    fn begin_skip(&mut self, source: &mut StreamSource<'_, '_>) -> Result<Option<usize>, RecordFault> {
        let len = source.nullable_size()?;
        self.skip = len.unwrap_or(0);
        if self.skip > source.left { Err(RecordFault::Size) } else { Ok(len) }
    }
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

impl StreamSource<'_, '_> {
    /// Passes over some of `count` bytes, which the record has.
    fn skip_some(&mut self, count: usize) -> Result<usize, RecordFault> {
        let (passed, _) = self.advance(count);
        self.left -= passed;
        if passed == 0 { Err(RecordFault::Cut) } else { Ok(passed) }
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
    Search::at_or_after(batch, header, timestamp, output_max)?.finish()
}

/// The first record of `batch` that has the batch's largest timestamp, for `ListOffsets` with -3 (KIP-734).
pub fn find_max_timestamp(
    batch: &[u8],
    header: &BatchHeader,
    output_max: usize,
) -> Result<Option<TimestampedOffset>, BatchError> {
    Search::largest(batch, header, output_max)?.finish()
}

/// A search of a batch by time that rests in between, as [`Walk`] does.
pub struct Search<'b> {
    walk: Walk<'b>,
    /// The time to stop at; none looks for the largest.
    at_or_after: Option<i64>,
    found: Option<TimestampedOffset>,
}

impl<'b> Search<'b> {
    /// As [`find_timestamp`].
    pub fn at_or_after(
        batch: &'b [u8],
        header: &BatchHeader,
        timestamp: i64,
        output_max: usize,
    ) -> Result<Self, BatchError> {
        let walk = Walk::new(batch, header, output_max, Gaps::Allowed)?;
        Ok(Self { walk, at_or_after: Some(timestamp), found: None })
    }

    /// As [`find_max_timestamp`].
    pub fn largest(batch: &'b [u8], header: &BatchHeader, output_max: usize) -> Result<Self, BatchError> {
        let walk = Walk::new(batch, header, output_max, Gaps::Allowed)?;
        Ok(Self { walk, at_or_after: None, found: None })
    }

    /// Goes on by about `most` bytes, decompressed; what was found, when the search is over.
    pub fn go_on(&mut self, most: usize) -> Result<Option<Option<TimestampedOffset>>, BatchError> {
        let (header, wanted, found) = (self.walk.header, self.at_or_after, &mut self.found);
        let over = self.walk.go_on(most, &mut |record| match wanted {
            Some(timestamp) if record.timestamp >= timestamp => {
                *found = Some(at(&header, record));
                Step::Stop
            }
            Some(_) => Step::Next,
            None => {
                if found.is_none_or(|largest| record.timestamp > largest.timestamp) {
                    *found = Some(at(&header, record));
                }
                Step::Next
            }
        })?;
        Ok(over.map(|_| self.found))
    }

    fn finish(mut self) -> Result<Option<TimestampedOffset>, BatchError> {
        loop {
            if let Some(found) = self.go_on(usize::MAX)? {
                return Ok(found);
            }
        }
    }
}

fn at(header: &BatchHeader, record: &RecordShape) -> TimestampedOffset {
    TimestampedOffset {
        offset: header.base_offset.saturating_add(i64::from(record.index)),
        timestamp: record.timestamp,
    }
}
