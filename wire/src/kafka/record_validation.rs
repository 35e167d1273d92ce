//! What a broker checks before it stores a batch from a producer, and what it learns on the way.
//!
//! The checks are those of Kafka 4.x (`UnifiedLog`, `LogValidator`), in its order: one batch, CRC, base offset 0, a count that fits
//! the offsets, no control records, a sequence where there is a producer id; then for each record its key where the topic is
//! compacted and its timestamp. Two are stricter: the size of every compressed record must be right, and offset deltas must be
//! 0, 1, 2, … where Kafka would rewrite (compressed) or believe (uncompressed) others.
//!
//! Which code each answers is for the broker to say, in its one table; the variants name Kafka's.

use super::record_batch::{Batch, BatchError, BatchHeader, NO_TIMESTAMP, TimestampType};
use super::record_walk::{Gaps, RecordShape, Step, Walk};
use crate::limits::RECORD_ERRORS_MAX;

/// What the topic asks of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Wall clock, milliseconds.
    pub now_ms: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// Whether `cleanup.policy` has `compact`: every record needs a key.
    pub keys: Keys,
    /// Bytes that compressed records may decompress to.
    pub decompressed_bytes_max: usize,
}

/// Whether records need keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// They may be null.
    Optional,
    /// They may not: the topic is compacted.
    Required,
}

/// Why a batch from a producer is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are no batch, or its records do not hold together; see the error for the code.
    Malformed(BatchError),
    /// The batch as a whole breaks a rule (`INVALID_RECORD`).
    Batch(BatchRule),
    /// These records break a rule, in order, at most [`RECORD_ERRORS_MAX`] (`INVALID_TIMESTAMP` when any of them is about a
    /// timestamp, else `INVALID_RECORD`; the list goes into `record_errors`).
    Records(Vec<RecordRefusal>),
}

/// The rule a batch breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchRule {
    /// Base offset is not 0.
    BaseOffset(i64),
    /// Last offset delta is negative, or does not fit the record count.
    OffsetRange {
        /// As the header says.
        last_offset_delta: i32,
        /// As the header says.
        record_count: i32,
    },
    /// There are no records.
    Empty,
    /// Only brokers write control records.
    Control,
    /// A producer id without a sequence.
    Sequence(i32),
}

/// One record that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRefusal {
    /// Which record of the batch, from 0.
    pub index: u32,
    /// Why.
    pub rule: RecordRule,
}

/// The rule a record breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordRule {
    /// A compacted topic takes no record without a key (`INVALID_RECORD`).
    KeyMissing,
    /// The timestamp is too far from the broker's clock (`INVALID_TIMESTAMP`).
    TimestampRange(i64),
    /// The producer stamped the batch as the broker would (`INVALID_TIMESTAMP`).
    AppendTimeFromClient,
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Self {
        Self::Malformed(error)
    }
}

/// What validation learnt of a batch that may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Records, at least 1.
    pub record_count: u32,
    /// Milliseconds; the largest timestamp of the records, -1 without any. For `LogAppendTime` topics: now.
    pub max_timestamp: i64,
    /// Bytes of the records, decompressed.
    pub record_bytes: usize,
    /// The batch's clock or max timestamp is not what it must be: call
    /// [`set_timestamps`](super::record_batch::set_timestamps) with the topic's clock and `max_timestamp` before storing it.
    pub must_restamp: bool,
}

/// Checks a batch from a producer. Its header was parsed, nothing else was looked at.
///
/// # Errors
/// The first [`Refusal`] in Kafka's order.
pub fn validate(batch: &Batch, rules: &Rules) -> Result<Accepted, Refusal> {
    let mut validation = Validation::new(batch, rules)?;
    loop {
        if let Some(accepted) = validation.go_on(usize::MAX)? {
            return Ok(accepted);
        }
    }
}

/// A [`validate`] that rests in between, as [`Walk`] does. Checksum and header are checked when it begins.
pub struct Validation<'b> {
    walk: Walk<'b>,
    header: BatchHeader,
    rules: Rules,
    refused: Vec<RecordRefusal>,
    largest: i64,
}

impl<'b> Validation<'b> {
    /// At the first record of the batch.
    ///
    /// # Errors
    /// What is wrong with the batch as a whole.
    pub fn new(batch: &'b Batch, rules: &Rules) -> Result<Self, Refusal> {
        let header = batch.header;
        header.verify_crc(&batch.bytes)?;
        check_header(&header).map_err(Refusal::Batch)?;
        let walk = Walk::new(&batch.bytes, &header, rules.decompressed_bytes_max, Gaps::Refused)?;
        Ok(Self { walk, header, rules: *rules, refused: Vec::new(), largest: NO_TIMESTAMP })
    }

    /// Goes on by about `most` bytes, decompressed; the verdict, when all was looked at.
    ///
    /// # Errors
    /// The first [`Refusal`] in Kafka's order.
    pub fn go_on(&mut self, most: usize) -> Result<Option<Accepted>, Refusal> {
        let Self { walk, header, rules, refused, largest } = self;
        let over = walk.go_on(most, &mut |record| {
            *largest = (*largest).max(record.timestamp);
            if let Some(rule) = check_record(record, header, rules) {
                refused.push(RecordRefusal { index: record.index, rule });
            }
            if refused.len() == RECORD_ERRORS_MAX { Step::Stop } else { Step::Next }
        })?;
        let Some(record_bytes) = over else { return Ok(None) };
        if !refused.is_empty() {
            return Err(Refusal::Records(std::mem::take(refused)));
        }
        let max_timestamp = match rules.timestamp_type {
            TimestampType::CreateTime => *largest,
            TimestampType::LogAppendTime => rules.now_ms,
        };
        Ok(Some(Accepted {
            record_count: header.record_count as u32,
            max_timestamp,
            record_bytes,
            must_restamp: header.attributes.timestamp_type() != rules.timestamp_type
                || header.max_timestamp != max_timestamp,
        }))
    }
}

/// The checks on the header of a batch from a producer.
pub fn check_header(header: &BatchHeader) -> Result<(), BatchRule> {
    if header.base_offset != 0 {
        return Err(BatchRule::BaseOffset(header.base_offset));
    }
    let range = BatchRule::OffsetRange {
        last_offset_delta: header.last_offset_delta,
        record_count: header.record_count,
    };
    if header.last_offset_delta < 0 {
        return Err(range);
    }
    if header.record_count <= 0 {
        return Err(BatchRule::Empty);
    }
    if i64::from(header.last_offset_delta) + 1 != i64::from(header.record_count) {
        return Err(range);
    }
    if header.attributes.is_control() {
        return Err(BatchRule::Control);
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return Err(BatchRule::Sequence(header.base_sequence));
    }
    Ok(())
}

fn check_record(record: &RecordShape, header: &BatchHeader, rules: &Rules) -> Option<RecordRule> {
    if rules.keys == Keys::Required && record.key_len.is_none() {
        return Some(RecordRule::KeyMissing);
    }
    if rules.timestamp_type == TimestampType::CreateTime && record.timestamp != NO_TIMESTAMP {
        let age = rules.now_ms.saturating_sub(record.timestamp);
        let late = age > rules.timestamp_before_max_ms;
        let early = age.saturating_neg() > rules.timestamp_after_max_ms;
        return (late || early).then_some(RecordRule::TimestampRange(record.timestamp));
    }
    let stamped = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    stamped.then_some(RecordRule::AppendTimeFromClient)
}
