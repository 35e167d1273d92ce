//! Building a record batch: for the broker's own records (offsets, markers), the command line, the load generator and tests.

use bytes::Bytes;

use super::compression::{Codec, compress};
use super::record_batch::{
    Attributes, BatchError, BatchHeader, HEADER_LEN, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP,
    TimestampType, set_crc,
};
use super::record_source::{put_varint, put_varlong, varint_len};

/// A record to be written. Borrowed: nothing is copied but into the batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRecord<'a> {
    /// Milliseconds.
    pub timestamp: i64,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone where the topic is compacted.
    pub value: Option<&'a [u8]>,
    /// Names and values.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// The idempotent producer a batch is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Its id, from `InitProducerId`.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence of the batch's first record.
    pub base_sequence: i32,
}

/// Gathers records into one batch with base offset 0.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    attributes: Attributes,
    codec: Codec,
    level: Option<i32>,
    producer: Producer,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    /// Room for the header, then the records, not compressed.
    bytes: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch whose records will be compressed with `codec` when it is built.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self::new_in(Vec::new(), codec)
    }

    /// As [`BatchBuilder::new`], in the memory of `buffer`, whatever it held.
    #[must_use]
    pub fn new_in(mut buffer: Vec<u8>, codec: Codec) -> Self {
        buffer.clear();
        buffer.resize(HEADER_LEN, 0);
        Self {
            attributes: Attributes::new(codec, TimestampType::CreateTime),
            codec,
            level: None,
            producer: Producer { id: NO_PRODUCER_ID, epoch: -1, base_sequence: NO_SEQUENCE },
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            count: 0,
            bytes: buffer,
        }
    }

    /// The level of `compression.<codec>.level`.
    #[must_use]
    pub fn level(self, level: i32) -> Self {
        Self { level: Some(level), ..self }
    }

    /// The producer the batch is from.
    #[must_use]
    pub fn producer(self, producer: Producer) -> Self {
        Self { producer, ..self }
    }

    /// Marks the records as part of the producer's transaction.
    #[must_use]
    pub fn transactional(self) -> Self {
        Self { attributes: self.attributes.transactional(), ..self }
    }

    /// Makes it a control batch.
    #[must_use]
    pub fn control(self) -> Self {
        Self { attributes: self.attributes.control(), ..self }
    }

    /// Records so far.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch so far, were it not compressed.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record. Its offset is that of the batch plus the number of records before it.
    pub fn push(&mut self, record: &NewRecord<'_>) {
        if self.count == 0 {
            self.base_timestamp = record.timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let delta = record.timestamp.wrapping_sub(self.base_timestamp);
        let out = &mut self.bytes;
        put_varint(out, body_len(record, delta, self.count) as i32);
        out.push(0);
        put_varlong(out, delta);
        put_varint(out, self.count);
        put_nullable(out, record.key);
        put_nullable(out, record.value);
        put_varint(out, record.headers.len() as i32);
        for (key, value) in record.headers {
            put_nullable(out, Some(key.as_bytes()));
            put_nullable(out, *value);
        }
        self.count += 1;
    }

    /// The batch. Without records it is an empty batch, which no broker takes.
    ///
    /// # Errors
    /// [`BatchError::Compressed`] when the codec refuses the level.
    pub fn build(self) -> Result<Bytes, BatchError> {
        let mut batch = if self.codec == Codec::None {
            self.bytes
        } else {
            let mut batch = Vec::with_capacity(HEADER_LEN + self.bytes.len() / 2);
            batch.resize(HEADER_LEN, 0);
            compress(self.codec, self.level, &self.bytes[HEADER_LEN..], &mut batch)?;
            batch
        };
        let header = BatchHeader {
            base_offset: 0,
            size: batch.len(),
            partition_leader_epoch: -1,
            crc: 0,
            attributes: self.attributes,
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            base_sequence: self.producer.base_sequence,
            record_count: self.count,
        };
        batch[..HEADER_LEN].copy_from_slice(&header.to_bytes());
        set_crc(&mut batch);
        Ok(Bytes::from(batch))
    }
}

fn body_len(record: &NewRecord<'_>, timestamp_delta: i64, offset_delta: i32) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|(key, value)| nullable_len(Some(key.as_bytes())) + nullable_len(*value))
        .sum();
    1 + varint_len(timestamp_delta)
        + varint_len(i64::from(offset_delta))
        + nullable_len(record.key)
        + nullable_len(record.value)
        + varint_len(record.headers.len() as i64)
        + headers
}

fn nullable_len(field: Option<&[u8]>) -> usize {
    field.map_or(1, |field| varint_len(field.len() as i64) + field.len())
}

fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => put_varint(out, -1),
        Some(field) => {
            put_varint(out, field.len() as i32);
            out.extend_from_slice(field);
        }
    }
}
