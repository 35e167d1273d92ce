//! The framing of the files of the metadata log.
//!
//! A file is a header and frames. The header names the kind of file, the version of the framing, the sequence number
//! that the file starts after, and an id made for this file. A frame is what one sync made durable: its sequence
//! number and its payload. Every checksum covers the file's id, so that a frame of an earlier file in recycled blocks
//! is never taken for one of this file. Integers are little-endian.
//!
//! ```text
//! header  magic "corelane" 8 | kind 4 | version 4 | base sequence 8 | file id 16 | zero 4 | CRC-32C 4     48 bytes
//! frame   magic 4 | payload length 4 | sequence 8 | CRC-32C of id, length, sequence, payload 4 | payload
//! ```

use std::fmt;

use crate::control::limits::FRAME_BYTES_MAX;

/// Bytes of a file's header.
pub const HEADER_BYTES: usize = 48;
/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 20;

const FILE_MAGIC: &[u8; 8] = b"corelane";
const FRAME_MAGIC: &[u8; 4] = b"\xc0\x1aMF";
const VERSION: u32 = 1;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum FileKind {
    /// Groups of records since a snapshot.
    Log = 1,
    /// The state at one sequence number.
    Snapshot = 2,
}

/// A file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// What the file holds.
    pub kind: FileKind,
    /// A log: frames come after this sequence number. A snapshot: the state after it.
    pub base: u64,
    /// Random, of this file alone.
    pub id: [u8; 16],
}

/// A frame in the bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its sequence number.
    pub sequence: u64,
    /// What it carries.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes of the frame in its file.
    pub fn size(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload.len()
    }
}

/// A header that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHeader {
    /// Fewer bytes than a header has.
    Short,
    /// Not a file of ours, or damaged.
    Damaged,
    /// Of a version that this program does not know.
    Version(u32),
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the file ends inside its header"),
            Self::Damaged => f.write_str("the file's header is damaged"),
            Self::Version(version) => {
                write!(f, "the file has version {version}, this program knows {VERSION}")
            }
        }
    }
}

impl FileHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(FILE_MAGIC);
        bytes[8..12].copy_from_slice(&(self.kind as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.id);
        let crc = crc32c::crc32c(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of a file.
    ///
    /// # Errors
    /// Bytes that are not a header of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(BadHeader::Short)?;
        if &bytes[..8] != FILE_MAGIC || crc32c::crc32c(&bytes[..44]) != u32_at(bytes, 44) {
            return Err(BadHeader::Damaged);
        }
        let kind = match (u32_at(bytes, 12), u32_at(bytes, 8)) {
            (VERSION, 1) => FileKind::Log,
            (VERSION, 2) => FileKind::Snapshot,
            (VERSION, _) => return Err(BadHeader::Damaged),
            (version, _) => return Err(BadHeader::Version(version)),
        };
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[24..40]);
        Ok(Self { kind, base: u64_at(bytes, 16), id })
    }

    /// Adds a frame of this file to `to`.
    pub fn put_frame(&self, to: &mut Vec<u8>, sequence: u64, payload: &[u8]) {
        assert!(payload.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", payload.len());
        let length = (payload.len() as u32).to_le_bytes();
        to.reserve(FRAME_HEADER_BYTES + payload.len());
        to.extend_from_slice(FRAME_MAGIC);
        to.extend_from_slice(&length);
        to.extend_from_slice(&sequence.to_le_bytes());
        to.extend_from_slice(&self.checksum(length, sequence, payload).to_le_bytes());
        to.extend_from_slice(payload);
    }

    /// The frame that begins at the first byte, if there is a whole and undamaged one.
    pub fn frame<'a>(&self, bytes: &'a [u8]) -> Option<Frame<'a>> {
        let header = bytes.get(..FRAME_HEADER_BYTES)?;
        if &header[..4] != FRAME_MAGIC {
            return None;
        }
        let (length, sequence) = (u32_at(header, 4), u64_at(header, 8));
        let end = FRAME_HEADER_BYTES.checked_add(length as usize)?;
        let payload = bytes.get(FRAME_HEADER_BYTES..end)?;
        let whole = self.checksum(length.to_le_bytes(), sequence, payload) == u32_at(header, 16);
        whole.then_some(Frame { sequence, payload })
    }

    /// The sequence number of the first whole frame anywhere in these bytes.
    pub fn find_frame(&self, bytes: &[u8]) -> Option<u64> {
        let starts = (0..bytes.len().saturating_sub(FRAME_HEADER_BYTES - 1))
            .filter(|&at| bytes[at..].starts_with(FRAME_MAGIC));
        starts.into_iter().find_map(|at| self.frame(&bytes[at..])).map(|frame| frame.sequence)
    }

    fn checksum(&self, length: [u8; 4], sequence: u64, payload: &[u8]) -> u32 {
        let crc = crc32c::crc32c(&self.id);
        let crc = crc32c::crc32c_append(crc, &length);
        let crc = crc32c::crc32c_append(crc, &sequence.to_le_bytes());
        crc32c::crc32c_append(crc, payload)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}
