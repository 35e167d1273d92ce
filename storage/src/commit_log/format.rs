//! Bytes of a commit: a header, then entries back to back, then zeros up to the next block.
//!
//! ```text
//! header (128 bytes, little endian)
//!   0 magic u64 | 8 version u32 | 12 header crc u32 (over the other 124 bytes) | 16 ring id u128
//!  32 incarnation u64 | 40 sequence u64 | 48 length u32 (header and entries) | 52 entries u32
//!  56 header crc of the commit before u32 | 60 body crc u32 (over the entries)
//!  64 highest sequence known durable u64 | 72 highest checkpoint known durable u64 | 80 zeros
//! entry (56 bytes, little endian, then `padding` zeros, then `length` bytes)
//!   0 kind u8 | 1 zeros | 4 length u32 | 8 log id u64 | 16 segment base i64 | 24 position in the segment u64
//!  32 offset i64 | 40 length of the whole append u32 | 44 place of these bytes in it u32 | 48 leader epoch i32
//!  52 padding u16 | 54 zeros
//! ```
//!
//! Large payloads are padded so that they lie in the commit as they will lie in the segment's file, modulo a sector: writeback
//! writes them from where they are, and copies only the sectors in which two of them meet.
//!
//! The header has a CRC of its own, so that a commit whose entries have rotted still says its place in the sequence:
//! recovery can tell lost acknowledged records from a torn tail. The body's CRC is part of what the header's covers,
//! and each header names the one before, so the chain vouches for all bytes.

use bytes::Bytes;

use crate::limits::{COMMIT_BYTES_MAX, PAYLOAD_ALIGNED_FROM, SECTOR};
use crate::types::{LeaderEpoch, LogId, Offset, Position, SegmentBase};

/// Bytes of a commit's header.
pub(crate) const HEADER_BYTES: usize = 128;
/// Bytes of an entry before its payload.
pub(crate) const ENTRY_BYTES: usize = 56;

const MAGIC: u64 = u64::from_le_bytes(*b"CLcommit");
const VERSION: u32 = 1;
const CRC_AT: usize = 12;

/// Header of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitHeader {
    /// Which ring: random, so that no bytes of a client can pass for a commit.
    pub(crate) ring_id: u128,
    /// Which life of the ring.
    pub(crate) incarnation: u64,
    /// Place in the order of commits, from 1, without gaps.
    pub(crate) sequence: u64,
    /// Bytes of header and entries.
    pub(crate) length: u32,
    /// Number of entries.
    pub(crate) entries: u32,
    /// [`CommitHeader::crc`] of the commit before; 0 for the first of a ring.
    pub(crate) previous_crc: u32,
    /// CRC-32C of the entries.
    pub(crate) body_crc: u32,
    /// All commits up to this sequence were durable when this one was written.
    pub(crate) durable: u64,
    /// The checkpoint with this sequence was durable when this one was written.
    pub(crate) checkpoint: u64,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn header_crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), &bytes[CRC_AT + 4..])
}

impl CommitHeader {
    /// The header's bytes, and the CRC by which the next one names it.
    pub(crate) fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..32].copy_from_slice(&self.ring_id.to_le_bytes());
        out[32..40].copy_from_slice(&self.incarnation.to_le_bytes());
        out[40..48].copy_from_slice(&self.sequence.to_le_bytes());
        out[48..52].copy_from_slice(&self.length.to_le_bytes());
        out[52..56].copy_from_slice(&self.entries.to_le_bytes());
        out[56..60].copy_from_slice(&self.previous_crc.to_le_bytes());
        out[60..64].copy_from_slice(&self.body_crc.to_le_bytes());
        out[64..72].copy_from_slice(&self.durable.to_le_bytes());
        out[72..80].copy_from_slice(&self.checkpoint.to_le_bytes());
        let crc = header_crc(&out);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        (out, crc)
    }

    /// The header at the start of `block` and its CRC; `None` when there is none, which is normal.
    pub(crate) fn decode(block: &[u8]) -> Option<(Self, u32)> {
        let bytes: &[u8; HEADER_BYTES] = block.first_chunk()?;
        if u64_at(bytes, 0) != MAGIC || u32_at(bytes, 8) != VERSION {
            return None;
        }
        let crc = u32_at(bytes, CRC_AT);
        if header_crc(bytes) != crc {
            return None;
        }
        let header = Self {
            ring_id: u128::from_le_bytes(array(bytes, 16)),
            incarnation: u64_at(bytes, 32),
            sequence: u64_at(bytes, 40),
            length: u32_at(bytes, 48),
            entries: u32_at(bytes, 52),
            previous_crc: u32_at(bytes, 56),
            body_crc: u32_at(bytes, 60),
            durable: u64_at(bytes, 64),
            checkpoint: u64_at(bytes, 72),
        };
        let length = header.length as usize;
        ((HEADER_BYTES..=COMMIT_BYTES_MAX).contains(&length)).then_some((header, crc))
    }
}

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// Bytes of a batch, whole or a piece of it, at the end of the log.
    Append = 1,
    /// Bytes that earlier entries held already: a partial last block, brought forward.
    Carry = 2,
    /// The log ends at `offset`, which lies at `position` of the segment.
    Truncate = 3,
    /// The log starts at `offset`.
    LogStart = 4,
}

/// An entry without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: EntryKind,
    pub(crate) log: LogId,
    /// Segment of the bytes.
    pub(crate) segment: SegmentBase,
    /// Where the first of these bytes lies in the segment.
    pub(crate) position: Position,
    /// Append: base offset of the batch. Truncate, log start: the offset.
    pub(crate) offset: Offset,
    /// Append: bytes of the whole batch.
    pub(crate) total: u32,
    /// Append: place of these bytes in the batch.
    pub(crate) fragment_at: u32,
    /// Append: leader epoch of the batch.
    pub(crate) epoch: LeaderEpoch,
    /// Bytes that follow.
    pub(crate) length: u32,
}

impl Entry {
    /// Zeros between the entry and its payload when the entry begins at `at` in its commit.
    pub(crate) fn padding(&self, at: usize) -> usize {
        if (self.length as usize) < PAYLOAD_ALIGNED_FROM {
            return 0;
        }
        let (lies, wanted) = ((at + ENTRY_BYTES) % SECTOR, (self.position.0 % SECTOR as u64) as usize);
        (wanted + SECTOR - lies) % SECTOR
    }

    pub(crate) fn encode(&self, padding: usize) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[0] = self.kind as u8;
        out[4..8].copy_from_slice(&self.length.to_le_bytes());
        out[8..16].copy_from_slice(&self.log.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.segment.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.position.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.offset.0.to_le_bytes());
        out[40..44].copy_from_slice(&self.total.to_le_bytes());
        out[44..48].copy_from_slice(&self.fragment_at.to_le_bytes());
        out[48..52].copy_from_slice(&self.epoch.0.to_le_bytes());
        out[52..54].copy_from_slice(&(padding as u16).to_le_bytes());
        out
    }

    /// The entry, and its padding.
    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<(Self, usize)> {
        let kind = match bytes[0] {
            1 => EntryKind::Append,
            2 => EntryKind::Carry,
            3 => EntryKind::Truncate,
            4 => EntryKind::LogStart,
            _ => return None,
        };
        let entry = Self {
            kind,
            log: LogId(u64_at(bytes, 8)),
            segment: SegmentBase(i64::from_le_bytes(array(bytes, 16))),
            position: Position(u64_at(bytes, 24)),
            offset: Offset(i64::from_le_bytes(array(bytes, 32))),
            total: u32_at(bytes, 40),
            fragment_at: u32_at(bytes, 44),
            epoch: LeaderEpoch(u32_at(bytes, 48) as i32),
            length: u32_at(bytes, 4),
        };
        let sane = entry.segment.0 >= 0
            && entry.position.0 <= 1 << 40
            && entry.offset.0 >= 0
            && (kind != EntryKind::Append
                || entry.fragment_at.checked_add(entry.length).is_some_and(|end| end <= entry.total));
        sane.then_some((entry, usize::from(u16::from_le_bytes(array(bytes, 52)))))
    }

    /// Whether this is the last, or only, piece of an append.
    pub(crate) fn completes(&self) -> bool {
        self.fragment_at + self.length == self.total
    }
}

/// The entries of a commit's body with their payloads, which are slices of it; `None` when they do not fill it as
/// the header says.
pub(crate) fn entries(mut body: Bytes, count: u32) -> Option<Vec<(Entry, Bytes)>> {
    if count as usize > body.len() / ENTRY_BYTES {
        return None;
    }
    let mut out = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (entry, padding) = Entry::decode(body.first_chunk()?)?;
        if ENTRY_BYTES + padding + entry.length as usize > body.len() {
            return None;
        }
        drop(body.split_to(ENTRY_BYTES + padding));
        out.push((entry, body.split_to(entry.length as usize)));
    }
    body.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::{Random, SEEDS};

    fn random_entry(random: &mut Random, length: u32) -> Entry {
        Entry {
            kind: EntryKind::Append,
            log: LogId(random.next()),
            segment: SegmentBase(random.below(1 << 40) as i64),
            position: Position(random.below(1 << 31)),
            offset: Offset(random.below(1 << 40) as i64),
            total: length + 5,
            fragment_at: 5,
            epoch: LeaderEpoch(random.below(100) as i32),
            length,
        }
    }

    #[test]
    fn headers_and_entries_survive_their_bytes() {
        for seed in SEEDS {
            let mut random = Random::new(seed);
            let mut body = Vec::new();
            let mut written = Vec::new();
            for _ in 0..random.below(20) {
                let payload: Vec<u8> = (0..random.below(100)).map(|_| random.next() as u8).collect();
                let entry = random_entry(&mut random, payload.len() as u32);
                let padding = random.below(SECTOR as u64) as usize;
                body.extend_from_slice(&entry.encode(padding));
                body.resize(body.len() + padding, 0);
                body.extend_from_slice(&payload);
                written.push((entry, Bytes::from(payload)));
            }
            let header = CommitHeader {
                ring_id: u128::from(random.next()) << 64 | u128::from(random.next()),
                incarnation: random.next(),
                sequence: random.next(),
                length: (HEADER_BYTES + body.len()) as u32,
                entries: written.len() as u32,
                previous_crc: random.next() as u32,
                body_crc: crc32c::crc32c(&body),
                durable: random.next(),
                checkpoint: random.next(),
            };
            let (bytes, crc) = header.encode();
            assert_eq!(CommitHeader::decode(&bytes), Some((header, crc)), "seed {seed}");
            assert_eq!(entries(Bytes::from(body), header.entries), Some(written), "seed {seed}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_header_is_seen() {
        let header = CommitHeader {
            ring_id: 7,
            incarnation: 1,
            sequence: 2,
            length: 4096,
            entries: 0,
            previous_crc: 9,
            body_crc: 0,
            durable: 1,
            checkpoint: 1,
        };
        let (bytes, _) = header.encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(CommitHeader::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        for seed in SEEDS {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> = (0..random.below(400)).map(|_| random.next() as u8).collect();
            CommitHeader::decode(&bytes);
            entries(Bytes::from(bytes), random.below(8) as u32);
        }
    }
}
