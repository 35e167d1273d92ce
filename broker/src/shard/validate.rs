//! What a produced batch must be before it is appended, as Kafka's log validation has it.
//!
//! Runs on the shard of the connection, so that checking spreads over the cores. Gives the bytes to store: those
//! that came, except that the topic's clock or codec may ask for others.

use bytes::{Bytes, BytesMut};
use reactor::sync::{Permit, Semaphore};
use wire::kafka::compression::{Codec, Compressor, Decompressor};
use wire::kafka::error_code::ErrorCode;
use wire::kafka::record_batch::{self, Batch, BatchError, BatchHeader, HEADER_LEN, TimestampType};
use wire::kafka::record_validation::{
    self, Accepted, BatchRule, Keys, RecordRefusal, RecordRule, Refusal, Rules, Validation,
};

use crate::config::log::{self, CompressionType};
use crate::limits;
use crate::metadata::topic_config::TopicConfig;

/// How far records are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every record, compressed ones too.
    Records,
    /// The batch's header and CRC; what the header says of its records is believed.
    Header,
}

/// A batch that may be appended.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The whole batch; offsets and epoch are set when it is staged.
    pub bytes: Bytes,
    /// Its header, parsed.
    pub header: BatchHeader,
    /// The broker's time if the topic stamps with it, or -1.
    pub append_time_ms: i64,
}

/// Where Kafka looks for a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundIn {
    /// The request, before its partition's log is looked at: the answer names no log start.
    Request,
    /// The records, as they are about to be appended: the answer names the log start.
    Records,
}

/// A batch that is refused: the partition's error in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which check it failed.
    pub found_in: FoundIn,
    /// Kafka's code.
    pub code: ErrorCode,
    /// What the client is told beside it.
    pub message: String,
    /// Records at fault, by index in the batch, with what is wrong with each.
    pub records: Vec<(i32, String)>,
}

impl Rejection {
    fn new(code: ErrorCode, message: impl Into<String>) -> Rejection {
        Rejection { found_in: FoundIn::Request, code, message: message.into(), records: Vec::new() }
    }
}

/// The version of the produce request from which zstd is known to the client (KIP-110).
const ZSTD_FROM_VERSION: i16 = 7;

/// Checks the records of one partition of a produce request. A small batch may decompress to very much: others have their
/// turn in between, and `long` has one permit, so that many such batches take no more of them than one does.
pub async fn check(
    records: Option<Bytes>,
    config: &TopicConfig,
    version: i16,
    depth: Depth,
    long: &Semaphore,
) -> Result<Checked, Rejection> {
    let now_ms = reactor::wall_clock_ms();
    let records = records.unwrap_or_default();
    let batch = record_batch::single_batch(&records).map_err(|error| not_one_batch(&error, version))?;
    let codec = batch.header.codec().map_err(|error| malformed(&error))?;
    if codec == Codec::Zstd && version < ZSTD_FROM_VERSION {
        let message =
            format!("Produce requests with version {version} are not allowed to use ZStandard compression");
        return Err(Rejection::new(ErrorCode::UnsupportedCompressionType, message));
    }
    if batch.bytes.len() > config.max_message_bytes as usize {
        let message = format!(
            "The record batch size is {} bytes which exceeds the maximum configured value of {}.",
            batch.bytes.len(),
            config.max_message_bytes
        );
        return Err(Rejection::new(ErrorCode::MessageTooLarge, message));
    }
    if batch.header.attributes.is_transactional() {
        let message = "Transactions are not supported by this broker yet.";
        return Err(Rejection::new(ErrorCode::TransactionalIdAuthorizationFailed, message));
    }
    let mut steps = LongWork::new(long);
    let accepted = match depth {
        Depth::Records => check_records(&batch, &rules(config, now_ms), &mut steps).await,
        Depth::Header => validate_header(&batch, &rules(config, now_ms)),
    };
    let accepted = accepted.map_err(refused)?;
    let stored = stored_form(batch, codec, config, &accepted, &mut steps).await?;
    Ok(checked(stored, config, now_ms))
}

async fn check_records(batch: &Batch, rules: &Rules, steps: &mut LongWork<'_>) -> Result<Accepted, Refusal> {
    let mut validation = Validation::new(batch, rules)?;
    loop {
        if let Some(accepted) = validation.go_on(limits::CHECK_STEP_BYTES)? {
            return Ok(accepted);
        }
        steps.step(limits::CHECK_STEP_BYTES).await;
    }
}

/// Work on the records of one batch, in steps. Others have their turn in between, and beyond some bytes a shard goes on with one
/// such work at a time.
struct LongWork<'a> {
    long: &'a Semaphore,
    permit: Option<Permit>,
    done_bytes: usize,
}

impl<'a> LongWork<'a> {
    fn new(long: &'a Semaphore) -> LongWork<'a> {
        LongWork { long, permit: None, done_bytes: 0 }
    }

    async fn step(&mut self, bytes: usize) {
        self.done_bytes += bytes;
        if self.done_bytes >= limits::CHECK_LONG_BYTES && self.permit.is_none() {
            self.permit = Some(self.long.acquire(1).await);
        }
        reactor::give_way().await;
    }
}

fn rules(config: &TopicConfig, now_ms: i64) -> Rules {
    Rules {
        now_ms,
        timestamp_type: clock(config),
        timestamp_before_max_ms: config.timestamp_before_max_ms,
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        keys: Keys::Optional,
        decompressed_bytes_max: limits::DECOMPRESSED_BATCH_BYTES_MAX,
    }
}

fn clock(config: &TopicConfig) -> TimestampType {
    match config.timestamp_type {
        log::TimestampType::CreateTime => TimestampType::CreateTime,
        log::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
    }
}

/// The bytes as the topic wants them: its clock, its codec.
async fn stored_form(
    batch: Batch,
    codec: Codec,
    config: &TopicConfig,
    accepted: &Accepted,
    steps: &mut LongWork<'_>,
) -> Result<Batch, Rejection> {
    let (wanted, level) = match config.compression_type {
        CompressionType::Producer => (codec, None),
        CompressionType::Uncompressed => (Codec::None, None),
        CompressionType::Gzip => (Codec::Gzip, Some(config.compression_gzip_level)),
        CompressionType::Snappy => (Codec::Snappy, None),
        CompressionType::Lz4 => (Codec::Lz4, None),
        CompressionType::Zstd => (Codec::Zstd, Some(config.compression_zstd_level)),
    };
    // In a box: few need its state, and it would else be part of every connection.
    let mut batch =
        if wanted == codec { batch } else { Box::pin(recompressed(&batch, wanted, level, steps)).await? };
    if accepted.must_restamp {
        let mut bytes = BytesMut::from(&batch.bytes[..]);
        record_batch::set_timestamps(&mut bytes, clock(config), accepted.max_timestamp);
        let bytes = bytes.freeze();
        batch = record_batch::single_batch(&bytes).map_err(|error| malformed(&error))?;
    }
    Ok(batch)
}

/// The same records, compressed otherwise. Their encoding does not change, so they are not taken apart.
async fn recompressed(
    batch: &Batch,
    codec: Codec,
    level: Option<i32>,
    steps: &mut LongWork<'_>,
) -> Result<Batch, Rejection> {
    let records = &batch.bytes[HEADER_LEN..];
    let from = batch.header.codec().map_err(|error| malformed(&error))?;
    let mut plain = Decompressor::new(from, records, limits::DECOMPRESSED_BATCH_BYTES_MAX)
        .map_err(|error| malformed(&error))?;
    let mut stored = Compressor::new(codec, level, vec![0; HEADER_LEN]).map_err(|error| malformed(&error))?;
    loop {
        let piece = plain.fill().map_err(|error| malformed(&error))?;
        let count = piece.len().min(limits::COMPRESS_STEP_BYTES);
        if count == 0 {
            break;
        }
        stored.write(&piece[..count]).map_err(|error| malformed(&error))?;
        plain.consume(count);
        steps.step(count).await;
    }
    let mut bytes = stored.finish().map_err(|error| malformed(&error))?;
    let mut header = batch.header;
    header.size = bytes.len();
    header.attributes = header.attributes.with_codec(codec);
    bytes[..HEADER_LEN].copy_from_slice(&header.to_bytes());
    record_batch::set_crc(&mut bytes);
    record_batch::single_batch(&Bytes::from(bytes)).map_err(|error| malformed(&error))
}

/// Believes what the header says of the records.
fn validate_header(batch: &Batch, rules: &Rules) -> Result<Accepted, Refusal> {
    batch.header.verify_crc(&batch.bytes)?;
    record_validation::check_header(&batch.header).map_err(Refusal::Batch)?;
    let max_timestamp = match rules.timestamp_type {
        TimestampType::CreateTime => batch.header.max_timestamp,
        TimestampType::LogAppendTime => rules.now_ms,
    };
    Ok(Accepted {
        record_count: batch.header.record_count as u32,
        max_timestamp,
        record_bytes: batch.bytes.len() - HEADER_LEN,
        must_restamp: batch.header.attributes.timestamp_type() != rules.timestamp_type,
    })
}

fn checked(batch: Batch, config: &TopicConfig, now_ms: i64) -> Checked {
    let append_time_ms = match clock(config) {
        TimestampType::CreateTime => -1,
        TimestampType::LogAppendTime => now_ms,
    };
    Checked { header: batch.header, bytes: batch.bytes, append_time_ms }
}

/// Bytes that are not exactly one batch: Kafka refuses them before it looks at the topic.
fn not_one_batch(error: &BatchError, version: i16) -> Rejection {
    let message = match error {
        BatchError::Short { have: 0 } => {
            format!(
                "Produce requests with version {version} must have at least one record batch per partition"
            )
        }
        BatchError::SeveralBatches => format!(
            "Produce requests with version {version} are only allowed to contain exactly one record batch per partition"
        ),
        BatchError::Magic(0 | 1) => {
            format!(
                "Produce requests with version {version} are only allowed to contain record batches with magic version 2"
            )
        }
        other => return malformed(other),
    };
    Rejection::new(ErrorCode::InvalidRecord, message)
}

fn malformed(error: &BatchError) -> Rejection {
    let (code, found_in) = match error {
        BatchError::Length(_) | BatchError::Magic(_) | BatchError::Crc { .. } => {
            (ErrorCode::CorruptMessage, FoundIn::Request)
        }
        BatchError::TooLarge { .. } => (ErrorCode::MessageTooLarge, FoundIn::Request),
        BatchError::Short { .. } | BatchError::Truncated { .. } | BatchError::SeveralBatches => {
            (ErrorCode::InvalidRecord, FoundIn::Request)
        }
        BatchError::Codec(_) => (ErrorCode::UnsupportedCompressionType, FoundIn::Records),
        BatchError::Compressed { .. } | BatchError::Record { .. } | BatchError::TrailingBytes => {
            (ErrorCode::InvalidRecord, FoundIn::Records)
        }
    };
    Rejection { found_in, ..Rejection::new(code, error.to_string()) }
}

fn refused(refusal: Refusal) -> Rejection {
    match refusal {
        Refusal::Malformed(error) => malformed(&error),
        Refusal::Batch(rule) => Rejection {
            found_in: FoundIn::Records,
            ..Rejection::new(ErrorCode::InvalidRecord, batch_rule(rule))
        },
        Refusal::Records(records) => {
            let by_time = records.iter().any(|record| !matches!(record.rule, RecordRule::KeyMissing));
            let code = if by_time { ErrorCode::InvalidTimestamp } else { ErrorCode::InvalidRecord };
            Rejection {
                found_in: FoundIn::Records,
                code,
                message: "One or more records have been rejected".to_owned(),
                records: records.into_iter().map(record_rule).collect(),
            }
        }
    }
}

fn batch_rule(rule: BatchRule) -> String {
    match rule {
        BatchRule::BaseOffset(offset) => {
            format!("The baseOffset of the record batch in the append should be 0, but it is {offset}")
        }
        BatchRule::OffsetRange { last_offset_delta, record_count } => format!(
            "Record batch has {record_count} records but its last offset delta is {last_offset_delta}"
        ),
        BatchRule::Empty => "Record batch contains no records".to_owned(),
        BatchRule::Control => "Clients are not allowed to write control records".to_owned(),
        BatchRule::Sequence(sequence) => {
            format!("Invalid sequence number {sequence} in record batch of a producer with an id")
        }
    }
}

fn record_rule(refusal: RecordRefusal) -> (i32, String) {
    let message = match refusal.rule {
        RecordRule::KeyMissing => "Compacted topic cannot accept message without key".to_owned(),
        RecordRule::TimestampRange(timestamp) => {
            format!("Timestamp {timestamp} of the record is out of range")
        }
        RecordRule::AppendTimeFromClient => {
            "Invalid timestamp type: a producer cannot stamp with LogAppendTime".to_owned()
        }
    };
    (refusal.index as i32, message)
}
