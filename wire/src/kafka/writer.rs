//! The writing side: bytes, and records that are woven in when the frame is sent.
//!
//! A fetch response is a few hundred bytes of fields around megabytes of record batches that are already in memory or
//! in a file. The writer keeps only the lengths of those; [`Encoded`] says at which positions of the head they belong, so
//! that the sender can hand head slices and records to a vectored write or a splice. Any other large field of bytes, such as
//! the batches of a produce request, is woven in likewise.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::WOVEN_BYTES_MIN;

/// The records of one partition in a fetch response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Records {
    /// No record set at all. Real brokers send an empty one instead; use `Bytes(vec![])`.
    #[default]
    Null,
    /// Whole batches, in order, not contiguous in memory.
    Bytes(Vec<Bytes>),
    /// `len` bytes that the sender knows by `id` (a file range).
    External {
        /// Length in bytes.
        len: usize,
        /// The sender's own number.
        id: usize,
    },
}

impl Records {
    /// Length in bytes; null counts as zero.
    pub fn len(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Bytes(parts) => parts.iter().map(Bytes::len).sum(),
            Self::External { len, .. } => *len,
        }
    }

    /// Whether there is no byte of records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An encoded frame or message: `head` with records to be inserted.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// All bytes but the records.
    pub head: Bytes,
    /// Records and the position in `head` before which they belong, ascending; none is empty.
    pub inserts: Vec<(usize, Records)>,
}

impl Encoded {
    /// Length with all records, in bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.inserts.iter().map(|(_, records)| records.len()).sum::<usize>()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slices of the head and records in the order of the wire. External records come out as `Err((len, id))`.
    pub fn parts(self) -> Vec<Result<Bytes, (usize, usize)>> {
        let mut parts = Vec::with_capacity(self.inserts.len() * 2 + 1);
        let mut sent = 0;
        for (position, records) in self.inserts {
            parts.push(Ok(self.head.slice(sent..position)));
            sent = position;
            match records {
                Records::Null => {}
                Records::Bytes(slices) => parts.extend(slices.into_iter().map(Ok)),
                Records::External { len, id } => parts.push(Err((len, id))),
            }
        }
        if sent < self.head.len() {
            parts.push(Ok(self.head.slice(sent..)));
        }
        parts
    }

    /// One copy of everything, for tests and small messages. External records are left out.
    pub fn into_contiguous(self) -> Bytes {
        if self.inserts.is_empty() {
            return self.head;
        }
        let mut all = BytesMut::with_capacity(self.len());
        for part in self.parts().into_iter().flatten() {
            all.extend_from_slice(&part);
        }
        all.freeze()
    }
}

/// Collects the bytes of one message or frame.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: BytesMut,
    inserts: Vec<(usize, Records)>,
    /// Tagged fields that are being written, one in the other.
    tags: u32,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `capacity` bytes (records do not count).
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(capacity), inserts: Vec::new(), tags: 0 }
    }

    /// Length so far with all records, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.inserts.iter().map(|(_, records)| records.len()).sum::<usize>()
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.inserts.is_empty()
    }

    /// What was written.
    pub fn finish(self) -> Encoded {
        Encoded { head: self.bytes.freeze(), inserts: self.inserts }
    }

    /// One byte.
    #[inline]
    pub fn put_u8(&mut self, value: u8) {
        self.bytes.put_u8(value);
    }

    /// One signed byte.
    #[inline]
    pub fn put_i8(&mut self, value: i8) {
        self.bytes.put_i8(value);
    }

    /// A big-endian 16-bit integer.
    #[inline]
    pub fn put_i16(&mut self, value: i16) {
        self.bytes.put_i16(value);
    }

    /// A big-endian 32-bit integer.
    #[inline]
    pub fn put_i32(&mut self, value: i32) {
        self.bytes.put_i32(value);
    }

    /// A big-endian 64-bit integer.
    #[inline]
    pub fn put_i64(&mut self, value: i64) {
        self.bytes.put_i64(value);
    }

    /// Bytes as they are.
    #[inline]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.bytes.put_slice(bytes);
    }

    /// Bytes that are shared, not copied, when there are many. A tagged field is copied: its size comes before it.
    #[inline]
    pub(crate) fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < WOVEN_BYTES_MIN || self.tags > 0 {
            self.put_slice(bytes);
        } else {
            self.inserts.push((self.bytes.len(), Records::Bytes(vec![bytes.clone()])));
        }
    }

    /// An unsigned varint (KIP-482).
    #[inline]
    pub fn put_uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(value as u8);
    }

    /// A length in the compact form, one above the length; zero for null.
    #[inline]
    pub(crate) fn put_compact_len(&mut self, len: Option<usize>) {
        self.put_uvarint(len.map_or(0, |len| len as u32 + 1));
    }

    /// A string's length.
    #[inline]
    pub(crate) fn put_string_len(&mut self, len: Option<usize>, flexible: bool) {
        debug_assert!(
            len.is_none_or(|len| len <= crate::limits::STRING_BYTES_MAX),
            "a string that no peer can read"
        );
        if flexible { self.put_compact_len(len) } else { self.put_i16(len.map_or(-1, |len| len as i16)) }
    }

    /// The length of bytes or records, or the count of an array.
    #[inline]
    pub(crate) fn put_bytes_len(&mut self, len: Option<usize>, flexible: bool) {
        debug_assert!(len.is_none_or(|len| i32::try_from(len).is_ok()), "a length that no peer can read");
        if flexible { self.put_compact_len(len) } else { self.put_i32(len.map_or(-1, |len| len as i32)) }
    }

    /// The length of `records`, and a mark that they belong here.
    #[inline]
    pub(crate) fn put_records(&mut self, records: &Records, flexible: bool) {
        let len = records.len();
        self.put_bytes_len((*records != Records::Null).then_some(len), flexible);
        if len > 0 {
            self.inserts.push((self.bytes.len(), records.clone()));
        }
    }

    /// One tagged field: its tag, its size, and what `write` puts.
    #[inline]
    pub(crate) fn put_tagged(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        self.put_uvarint(tag);
        let inserts = self.inserts.len();
        let size_at = self.bytes.len();
        self.put_u8(0);
        self.tags += 1;
        write(self);
        self.tags -= 1;
        assert_eq!(self.inserts.len(), inserts, "records are never in a tagged field");
        let size = self.bytes.len() - size_at - 1;
        if size < 0x80 {
            self.bytes[size_at] = size as u8;
            return;
        }
        // Rare: the size takes more than the one byte left for it, so the field moves.
        let field = self.bytes.split_off(size_at + 1);
        self.bytes.truncate(size_at);
        self.put_uvarint(size as u32);
        self.put_slice(&field);
    }

    /// Overwrites the int32 at `position`.
    pub(crate) fn set_i32(&mut self, position: usize, value: i32) {
        self.bytes[position..position + 4].copy_from_slice(&value.to_be_bytes());
    }
}
