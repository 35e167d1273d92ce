//! Record batch v2 (magic 2), seen in place: the header's 61 bytes, the CRC-32C, and the few fields that a broker rewrites.
//!
//! ```text
//!  0 base offset i64 | 8 batch length i32 | 12 partition leader epoch i32 | 16 magic i8 | 17 crc u32
//! 21 attributes i16 | 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64
//! 43 producer id i64 | 51 producer epoch i16 | 53 base sequence i32 | 57 record count i32 | 61 records
//! ```
//!
//! The batch length counts what follows it, so a batch is `12 + batch length` bytes. The CRC covers everything from the
//! attributes to the end: base offset and leader epoch are set without touching it ([`set_base_offset`],
//! [`set_leader_epoch`]), a timestamp rewrite recomputes it ([`set_timestamps`]).
//!
//! Nothing here trusts the bytes: a batch that does not hold together is a [`BatchError`]. Nothing here looks inside the
//! records either; that is [`walk`](super::record_walk) and [`validate`](super::record_validation).
//!
//! Source: KIP-98 (message format v2), KIP-534 (delete horizon), and the implementation notes on kafka.apache.org.

use std::fmt;

use bytes::Bytes;

use super::compression::Codec;

/// Bytes before the part that the batch length counts: base offset and the length itself.
pub const LENGTH_PREFIX: usize = 12;
/// Bytes of the header: the smallest batch there is.
pub const HEADER_LEN: usize = 61;
/// Where the part of a batch begins that its CRC covers; it ends with the batch.
pub const CRC_COVERS_FROM: usize = ATTRIBUTES_AT;
/// The one magic that is accepted: message format v2 (Kafka 0.11 and later).
pub const MAGIC: i8 = 2;
/// No timestamp is known.
pub const NO_TIMESTAMP: i64 = -1;
/// The batch has no producer id.
pub const NO_PRODUCER_ID: i64 = -1;
/// The batch has no sequence.
pub const NO_SEQUENCE: i32 = -1;

const EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

/// Why bytes are not a record batch that can be stored or read. The broker answers most of them with `CORRUPT_MESSAGE` or
/// `INVALID_RECORD`; each variant says which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than a header (`INVALID_RECORD` in a produce request: there is no batch at all).
    Short {
        /// Bytes there were.
        have: usize,
    },
    /// The batch claims more bytes than there are (`INVALID_RECORD` in a produce request, the end of a cut fetch response).
    Truncated {
        /// Bytes the batch claims, its prefix included.
        size: usize,
        /// Bytes there were.
        have: usize,
    },
    /// A batch length that no batch has: negative, or smaller than a header (`CORRUPT_MESSAGE`).
    Length(i32),
    /// An older or unknown message format (0 and 1: `INVALID_RECORD` from Produce v3, else `UNSUPPORTED_FOR_MESSAGE_FORMAT`;
    /// others: `CORRUPT_MESSAGE`).
    Magic(i8),
    /// The bytes are not those that were sent (`CORRUPT_MESSAGE`).
    Crc {
        /// The CRC in the header.
        stored: u32,
        /// The CRC of the bytes.
        computed: u32,
    },
    /// Bytes follow the one batch that is allowed (`INVALID_RECORD`).
    SeveralBatches,
    /// A codec id of 5, 6 or 7 (`UNSUPPORTED_COMPRESSION_TYPE`).
    Codec(u8),
    /// The compressed stream is broken (`CORRUPT_MESSAGE`).
    Compressed {
        /// The codec that refused it.
        codec: Codec,
        /// What it said.
        reason: &'static str,
    },
    /// The records decompress to more than the limit given (`MESSAGE_TOO_LARGE`).
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A record is not well formed (`INVALID_RECORD`).
    Record {
        /// Which record of the batch, from 0.
        index: u32,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// Bytes are left after the last of the records that the header counts (`INVALID_RECORD`).
    TrailingBytes,
}

/// What is wrong with the bytes of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordFault {
    /// The bytes end inside the record, or inside a field of it.
    Cut,
    /// A varint of more than 5 bytes (10 for a varlong), or of more bits than the field has.
    Varint,
    /// A record size, key size, value size or header count below what the format allows.
    NegativeSize,
    /// The record's fields end before or after the size it states.
    Size,
    /// A header without a key.
    NullHeaderKey,
    /// The record's offset delta is not its index in the batch.
    OffsetDelta,
    /// Base timestamp plus delta is no 64-bit number.
    Timestamp,
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "the bytes end inside it",
            Self::Varint => "a varint is too long",
            Self::NegativeSize => "a size is negative",
            Self::Size => "its fields do not fill its size",
            Self::NullHeaderKey => "a header has no key",
            Self::OffsetDelta => "its offset delta is not its index",
            Self::Timestamp => "its timestamp overflows",
        })
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { have } => write!(f, "{have} bytes are no record batch"),
            Self::Truncated { size, have } => write!(f, "record batch of {size} bytes is cut after {have}"),
            Self::Length(length) => write!(f, "record batch length {length} is impossible"),
            Self::Magic(magic) => write!(f, "record batch has magic {magic}, only {MAGIC} is accepted"),
            Self::Crc { stored, computed } => {
                write!(f, "record batch is corrupt: stored crc {stored:#010x}, computed {computed:#010x}")
            }
            Self::SeveralBatches => f.write_str("more than one record batch"),
            Self::Codec(id) => write!(f, "unknown compression codec {id}"),
            Self::Compressed { codec, reason } => write!(f, "broken {codec} stream: {reason}"),
            Self::TooLarge { limit } => write!(f, "records decompress to more than {limit} bytes"),
            Self::Record { index, fault } => write!(f, "record {index} is malformed: {fault}"),
            Self::TrailingBytes => f.write_str("bytes are left after the last record"),
        }
    }
}

impl std::error::Error for BatchError {}

/// Which clock a batch's timestamps are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// Set by the producer.
    CreateTime,
    /// Set by the broker; every record then has the batch's max timestamp.
    LogAppendTime,
}

/// The attributes of a batch, as they are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// The attributes of a batch with this codec and this clock.
    #[must_use]
    pub fn new(codec: Codec, timestamps: TimestampType) -> Self {
        Self(i16::from(codec.id())).with_timestamp_type(timestamps)
    }

    /// How the records are compressed; the error is an id that no codec has.
    pub fn codec(self) -> Result<Codec, BatchError> {
        let id = (self.0 & Self::CODEC) as u8;
        Codec::from_id(id).ok_or(BatchError::Codec(id))
    }

    /// The same attributes with another codec.
    #[must_use]
    pub fn with_codec(self, codec: Codec) -> Self {
        Self((self.0 & !Self::CODEC) | i16::from(codec.id()))
    }

    /// Which clock the timestamps are of.
    #[must_use]
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether the records belong to a transaction.
    #[must_use]
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the records are control records (transaction markers and the like) that clients do not see.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time from which compaction may drop the batch's tombstones (KIP-534).
    #[must_use]
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_timestamp_type(self, timestamps: TimestampType) -> Self {
        match timestamps {
            TimestampType::CreateTime => Self(self.0 & !Self::APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::APPEND_TIME),
        }
    }

    /// The same as part of a transaction.
    #[must_use]
    pub fn transactional(self) -> Self {
        Self(self.0 | Self::TRANSACTIONAL)
    }

    /// The same as control batch.
    #[must_use]
    pub fn control(self) -> Self {
        Self(self.0 | Self::CONTROL)
    }
}

/// The header of a record batch, copied out of its 61 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; 0 in what producers send.
    pub base_offset: i64,
    /// Bytes of the whole batch, the prefix of [`LENGTH_PREFIX`] included.
    pub size: usize,
    /// Leader epoch in which the batch was appended; -1 from producers. Outside the CRC.
    pub partition_leader_epoch: i32,
    /// CRC-32C over everything after it.
    pub crc: u32,
    /// Codec, clock, transactional, control, delete horizon.
    pub attributes: Attributes,
    /// Offset of the last record minus base offset. Compaction keeps it when it drops records.
    pub last_offset_delta: i32,
    /// Milliseconds; what the records' deltas are added to.
    pub base_timestamp: i64,
    /// Milliseconds; the largest timestamp, or the append time.
    pub max_timestamp: i64,
    /// Id of an idempotent or transactional producer, or -1.
    pub producer_id: i64,
    /// Epoch of that producer, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Records in the batch, as it says.
    pub record_count: i32,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl BatchHeader {
    /// The header of the batch at the start of `bytes`, all of whose bytes are there. More bytes may follow it.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::peek(bytes)?;
        if header.size > bytes.len() {
            return Err(BatchError::Truncated { size: header.size, have: bytes.len() });
        }
        Ok(header)
    }

    /// As [`parse`](Self::parse), when only the 61 bytes of the header have to be there.
    pub fn peek(bytes: &[u8]) -> Result<Self, BatchError> {
        // Length and magic sit at the same place in every message format, so they are judged first.
        if bytes.len() <= MAGIC_AT {
            return Err(BatchError::Short { have: bytes.len() });
        }
        let length = i32::from_be_bytes(array(bytes, 8));
        let magic = bytes[MAGIC_AT] as i8;
        if magic != MAGIC {
            return Err(BatchError::Magic(magic));
        }
        if length < (HEADER_LEN - LENGTH_PREFIX) as i32 {
            return Err(BatchError::Length(length));
        }
        if bytes.len() < HEADER_LEN {
            return Err(BatchError::Short { have: bytes.len() });
        }
        Ok(Self {
            base_offset: i64::from_be_bytes(array(bytes, 0)),
            size: LENGTH_PREFIX + length as usize,
            partition_leader_epoch: i32::from_be_bytes(array(bytes, EPOCH_AT)),
            crc: u32::from_be_bytes(array(bytes, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(array(bytes, ATTRIBUTES_AT))),
            last_offset_delta: i32::from_be_bytes(array(bytes, 23)),
            base_timestamp: i64::from_be_bytes(array(bytes, 27)),
            max_timestamp: i64::from_be_bytes(array(bytes, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(array(bytes, 43)),
            producer_epoch: i16::from_be_bytes(array(bytes, 51)),
            base_sequence: i32::from_be_bytes(array(bytes, 53)),
            record_count: i32::from_be_bytes(array(bytes, 57)),
        })
    }

    /// The 61 bytes of this header; the CRC is written as it stands.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&((self.size - LENGTH_PREFIX) as i32).to_be_bytes());
        out[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        out[16] = MAGIC as u8;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }

    /// Checks the CRC of the batch that this header was read from; `batch` is at least its `size` bytes.
    pub fn verify_crc(&self, batch: &[u8]) -> Result<(), BatchError> {
        let Some(covered) = batch.get(ATTRIBUTES_AT..self.size) else {
            return Err(BatchError::Truncated { size: self.size, have: batch.len() });
        };
        let computed = crc32c::crc32c(covered);
        if computed == self.crc { Ok(()) } else { Err(BatchError::Crc { stored: self.crc, computed }) }
    }

    /// As [`verify_crc`](Self::verify_crc), of a batch that lies in pieces.
    pub fn verify_crc_of<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(), BatchError> {
        let (mut at, mut computed) = (0, 0);
        for piece in pieces {
            let to = self.size.saturating_sub(at).min(piece.len());
            let from = ATTRIBUTES_AT.saturating_sub(at).min(to);
            computed = crc32c::crc32c_append(computed, &piece[from..to]);
            at += piece.len();
        }
        if at < self.size {
            return Err(BatchError::Truncated { size: self.size, have: at });
        }
        if computed == self.crc { Ok(()) } else { Err(BatchError::Crc { stored: self.crc, computed }) }
    }

    /// Offset of the last record; saturates on offsets that no log reaches.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence of the last record, or -1. Sequences wrap from `i32::MAX` to 0.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last & i64::from(i32::MAX)) as i32
    }

    /// Whether the batch comes from an idempotent or transactional producer.
    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// How the records are compressed.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        self.attributes.codec()
    }

    /// The timestamp of a record with this delta.
    pub(crate) fn record_timestamp(&self, delta: i64) -> Option<i64> {
        match self.attributes.timestamp_type() {
            TimestampType::CreateTime => self.base_timestamp.checked_add(delta),
            TimestampType::LogAppendTime => Some(self.max_timestamp),
        }
    }
}

/// Sets the offset of the first record, in place. Outside the CRC.
///
/// # Panics
/// When `batch` is shorter than a header: it must have been parsed.
pub fn set_base_offset(batch: &mut [u8], offset: i64) {
    assert!(batch.len() >= HEADER_LEN, "a parsed batch");
    batch[..8].copy_from_slice(&offset.to_be_bytes());
}

/// Sets the leader epoch, in place. Outside the CRC.
///
/// # Panics
/// When `batch` is shorter than a header: it must have been parsed.
pub fn set_leader_epoch(batch: &mut [u8], epoch: i32) {
    assert!(batch.len() >= HEADER_LEN, "a parsed batch");
    batch[EPOCH_AT..EPOCH_AT + 4].copy_from_slice(&epoch.to_be_bytes());
}

/// Sets clock and max timestamp in place, and the CRC with them. `batch` is exactly one batch. Nothing is written when both
/// are already so.
///
/// # Panics
/// When `batch` is shorter than a header: it must have been parsed.
pub fn set_timestamps(batch: &mut [u8], timestamps: TimestampType, max_timestamp: i64) {
    assert!(batch.len() >= HEADER_LEN, "a parsed batch");
    let old = Attributes(i16::from_be_bytes(array(batch, ATTRIBUTES_AT)));
    let new = old.with_timestamp_type(timestamps);
    if new == old && i64::from_be_bytes(array(batch, MAX_TIMESTAMP_AT)) == max_timestamp {
        return;
    }
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&new.0.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp.to_be_bytes());
    set_crc(batch);
}

/// Stamps the batch with the broker's time: `message.timestamp.type=LogAppendTime`.
///
/// # Panics
/// When `batch` is shorter than a header: it must have been parsed.
pub fn set_append_time(batch: &mut [u8], now_ms: i64) {
    set_timestamps(batch, TimestampType::LogAppendTime, now_ms);
}

/// Computes and sets the CRC of exactly one batch.
pub fn set_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// One batch with its bytes, which are a slice of those it was found in.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its header, parsed.
    pub header: BatchHeader,
    /// All of its bytes.
    pub bytes: Bytes,
}

/// The one batch that a partition of a produce request may hold (since Produce v3), header parsed, CRC not yet checked.
///
/// # Errors
/// [`BatchError::SeveralBatches`] when anything follows it; the errors of [`BatchHeader::parse`].
pub fn single_batch(bytes: &Bytes) -> Result<Batch, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    if header.size != bytes.len() {
        return Err(BatchError::SeveralBatches);
    }
    Ok(Batch { header, bytes: bytes.clone() })
}

/// Batches back to back, as in a fetch response or a segment. Ends at the first batch that is not whole, which is normal at
/// the end of a fetch response ([`rest`](Self::rest) is what is left of it), and yields one error for bytes that are no batch.
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
    failed: bool,
}

impl Batches {
    /// The batches in `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes, failed: false }
    }

    /// The bytes not yet gone through: after the end, the cut last batch, if any.
    #[must_use]
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        match BatchHeader::parse(&self.rest) {
            Ok(header) => Some(Ok(Batch { bytes: self.rest.split_to(header.size), header })),
            Err(BatchError::Short { .. } | BatchError::Truncated { .. }) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
