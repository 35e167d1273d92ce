//! The reading cursor over one frame.
//!
//! Every length, count and varint is checked against the bytes that are left before anything is allocated or sliced.
//! Slices share the frame's memory. A reader that returned an error is of no further use.

use std::fmt;

use bytes::Bytes;

use crate::limits::{MESSAGE_HEAP_BYTES_MAX, STRING_BYTES_MAX};

/// Why bytes are not a message. Small, so that results of integers stay in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A field, length or count reaches beyond the end of its frame.
    Truncated,
    /// An unsigned varint has more than five bytes or more than 32 bits.
    Varint,
    /// A length or count below -1, which is null.
    Length,
    /// A string longer than [`STRING_BYTES_MAX`].
    StringLength,
    /// Null for a field that has no null in this version.
    Null,
    /// A string that is not UTF-8.
    Utf8,
    /// A known tagged field that is longer or shorter than its announced size.
    TagLength,
    /// The message's arrays would take more than [`MESSAGE_HEAP_BYTES_MAX`].
    Heap,
    /// A request header with an API key that nobody knows.
    Header,
    /// A version that nobody knows, of a value that carries its own.
    Version(i16),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("a field reaches beyond the end of the message"),
            Self::Varint => f.write_str("a varint has more than 32 bits"),
            Self::Length => f.write_str("a length is negative"),
            Self::StringLength => f.write_str("a string is longer than 32,767 bytes"),
            Self::Null => f.write_str("null for a field that has no null"),
            Self::Utf8 => f.write_str("a string is not UTF-8"),
            Self::TagLength => f.write_str("a tagged field differs from its size"),
            Self::Heap => f.write_str("the message has too many elements"),
            Self::Header => f.write_str("the request header has an unknown API key"),
            Self::Version(version) => write!(f, "version {version} is unknown"),
        }
    }
}

impl std::error::Error for DecodeError {}

type Result<T> = std::result::Result<T, DecodeError>;

/// A cursor over one frame.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
    /// End of the frame, or of the tagged field being read.
    end: usize,
    /// Heap that arrays may still take.
    heap_left: usize,
}

impl Reader {
    /// Reads `bytes` from the beginning.
    pub fn new(bytes: Bytes) -> Self {
        let end = bytes.len();
        Self { bytes, position: 0, end, heap_left: MESSAGE_HEAP_BYTES_MAX }
    }

    /// Bytes not yet read.
    #[inline]
    pub fn left(&self) -> usize {
        self.end - self.position
    }

    #[inline]
    fn advance(&mut self, len: usize) -> Result<usize> {
        let from = self.position;
        if len > self.end - from {
            return Err(DecodeError::Truncated);
        }
        self.position = from + len;
        Ok(from)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let from = self.advance(N)?;
        match self.bytes[from..].first_chunk() {
            Some(chunk) => Ok(*chunk),
            None => Err(DecodeError::Truncated),
        }
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// One signed byte.
    #[inline]
    pub fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// A big-endian 16-bit integer.
    #[inline]
    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// A big-endian 32-bit integer.
    #[inline]
    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// A big-endian 64-bit integer.
    #[inline]
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Sixteen bytes.
    #[inline]
    pub fn uuid(&mut self) -> Result<[u8; 16]> {
        self.array()
    }

    /// An unsigned varint of at most 32 bits in at most five bytes (KIP-482).
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::Varint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint)
    }

    /// The next `len` bytes, shared with the frame.
    #[inline]
    pub fn slice(&mut self, len: usize) -> Result<Bytes> {
        let from = self.advance(len)?;
        Ok(self.bytes.slice(from..from + len))
    }

    /// A length in the compact form: a varint, one above the length, zero for null.
    #[inline]
    pub fn compact_len(&mut self) -> Result<Option<usize>> {
        Ok((self.uvarint()? as usize).checked_sub(1))
    }

    /// A length as int16 (strings) or int32 (bytes, arrays); -1 is null.
    #[inline]
    pub(crate) fn signed_len(length: i32) -> Result<Option<usize>> {
        match length {
            -1 => Ok(None),
            0.. => Ok(Some(length as usize)),
            _ => Err(DecodeError::Length),
        }
    }

    /// A string's length.
    #[inline]
    pub(crate) fn string_len(&mut self, flexible: bool) -> Result<Option<usize>> {
        let len = if flexible { self.compact_len()? } else { Self::signed_len(i32::from(self.i16()?))? };
        match len {
            Some(len) if len > STRING_BYTES_MAX => Err(DecodeError::StringLength),
            len => Ok(len),
        }
    }

    /// The length of bytes or records, or the count of an array.
    #[inline]
    pub(crate) fn bytes_len(&mut self, flexible: bool) -> Result<Option<usize>> {
        if flexible { self.compact_len() } else { Self::signed_len(self.i32()?) }
    }

    /// An array's count, of elements of `element_bytes` in memory and at least `least_len` bytes on the wire.
    #[inline]
    pub(crate) fn count(
        &mut self,
        flexible: bool,
        least_len: usize,
        element_bytes: usize,
    ) -> Result<Option<usize>> {
        let Some(count) = self.bytes_len(flexible)? else { return Ok(None) };
        if count > self.left() / least_len.max(1) {
            return Err(DecodeError::Truncated);
        }
        let heap = count.saturating_mul(element_bytes);
        self.heap_left = self.heap_left.checked_sub(heap).ok_or(DecodeError::Heap)?;
        Ok(Some(count))
    }

    /// Begins a tagged field: its tag, and the outer end to give to [`Reader::leave_tag`].
    #[inline]
    pub(crate) fn enter_tag(&mut self) -> Result<(u32, usize)> {
        let tag = self.uvarint()?;
        let len = self.uvarint()? as usize;
        if len > self.left() {
            return Err(DecodeError::Truncated);
        }
        let outer = self.end;
        self.end = self.position + len;
        Ok((tag, outer))
    }

    /// Skips what is left of the frame, or of the tagged field being read.
    #[inline]
    pub(crate) fn skip_rest(&mut self) {
        self.position = self.end;
    }

    /// Ends a tagged field, all of which must have been read.
    #[inline]
    pub(crate) fn leave_tag(&mut self, outer: usize) -> Result<()> {
        if self.position != self.end {
            return Err(DecodeError::TagLength);
        }
        self.end = outer;
        Ok(())
    }

    /// Skips a block of tagged fields, none of them known.
    pub fn skip_tags(&mut self) -> Result<()> {
        for _ in 0..self.uvarint()? {
            let (_, outer) = self.enter_tag()?;
            self.skip_rest();
            self.leave_tag(outer)?;
        }
        Ok(())
    }
}
