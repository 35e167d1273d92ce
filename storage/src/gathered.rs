//! What one write of writeback consists of: bytes written from where they lie, and copies of the others.
//!
//! A write past the page cache takes from memory what begins and ends at sectors, in memory as in the file. Large payloads lie
//! so in their commit ([`format`](crate::commit_log::format)); only the sectors in which two of them meet are copied, and small
//! ones whole.

use std::ops::Range;

use bytes::Bytes;
use reactor::FixedBuffer;

use crate::limits::{BLOCK, SECTOR, WRITE_IN_PLACE_FROM};

/// Bytes for one write, whole blocks.
pub(crate) struct Gathered {
    pub(crate) bytes: Lying,
    /// How many of them were copied.
    pub(crate) copied: u64,
}

/// Where they are.
pub(crate) enum Lying {
    /// Copied, all of them.
    Together(Bytes),
    /// In the order of the file.
    Parts(Vec<Bytes>),
}

/// Collects the bytes for one write.
pub(crate) struct Gather {
    /// Copies. Its length and `at` have the same place in a sector.
    buffer: FixedBuffer,
    pieces: Vec<Piece>,
    /// Position in the file.
    at: u64,
    /// Whether anything may be written from where it lies.
    in_place: bool,
}

enum Piece {
    Copied(Range<usize>),
    InPlace(Bytes),
}

impl Gather {
    /// For a write at `at`, the boundary of a block, with room for everything in `buffer`, which is empty.
    pub(crate) fn new(buffer: FixedBuffer, at: u64, in_place: bool) -> Self {
        assert!(at.is_multiple_of(BLOCK) && buffer.is_empty());
        Self { buffer, pieces: Vec::new(), at, in_place }
    }

    /// Position behind what was added.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Adds the next bytes.
    pub(crate) fn add(&mut self, bytes: &Bytes) {
        let mut bytes = bytes.clone();
        while !bytes.is_empty() {
            let into_sector = (self.at % SECTOR as u64) as usize;
            let to_next = (SECTOR - into_sector) % SECTOR;
            let lies_so = bytes.as_ptr().addr() % SECTOR == into_sector;
            let in_place = self.in_place && lies_so && bytes.len() >= to_next + WRITE_IN_PLACE_FROM;
            if in_place && to_next == 0 {
                let piece = bytes.split_to(bytes.len() / SECTOR * SECTOR);
                self.at += piece.len() as u64;
                self.pieces.push(Piece::InPlace(piece));
            } else {
                let length = if in_place { to_next } else { bytes.len() };
                self.copy(&bytes.split_to(length));
            }
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.copied(bytes.len());
    }

    /// The last bytes of the buffer come next.
    fn copied(&mut self, length: usize) {
        let end = self.buffer.len();
        self.at += length as u64;
        match self.pieces.last_mut() {
            Some(Piece::Copied(range)) => range.end = end,
            _ => self.pieces.push(Piece::Copied(end - length..end)),
        }
    }

    /// What was added, with zeros up to the end of the block.
    pub(crate) fn finish(mut self) -> Gathered {
        let zeros = (self.at.next_multiple_of(BLOCK) - self.at) as usize;
        if zeros > 0 {
            self.buffer.resize(self.buffer.len() + zeros, 0);
            self.copied(zeros);
        }
        let copies = self.buffer.freeze();
        let copied = copies.len() as u64;
        if self.pieces.iter().all(|piece| matches!(piece, Piece::Copied(_))) {
            return Gathered { bytes: Lying::Together(copies), copied };
        }
        let part = |piece| match piece {
            Piece::Copied(range) => copies.slice(range),
            Piece::InPlace(bytes) => bytes,
        };
        Gathered { bytes: Lying::Parts(self.pieces.into_iter().map(part).collect()), copied }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::{Random, SEEDS};

    fn is_sectors(part: &Bytes) -> bool {
        part.as_ptr().addr().is_multiple_of(SECTOR) && part.len().is_multiple_of(SECTOR)
    }

    /// Bytes that lie in memory with this remainder of a sector.
    fn lying_at(remainder: usize, bytes: &[u8]) -> Bytes {
        let mut memory = reactor::aligned(remainder + bytes.len());
        memory.resize(remainder, 0);
        memory.extend_from_slice(bytes);
        memory.freeze().slice(remainder..)
    }

    async fn check(random: &mut Random, in_place: bool) -> bool {
        let from = random.below(4) * BLOCK;
        let mut gather = Gather::new(reactor::fixed_buffer().await, from, in_place);
        let mut wanted = Vec::new();
        for _ in 0..random.below(6) {
            let most = [600, 100_000, 5 * SECTOR as u64][random.below(3) as usize];
            let length = random.below(most) as usize;
            let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            let right = (gather.at() % SECTOR as u64) as usize;
            let remainder = if random.below(3) == 0 { random.below(SECTOR as u64) as usize } else { right };
            gather.add(&lying_at(remainder, &bytes));
            wanted.extend_from_slice(&bytes);
        }
        assert_eq!(gather.at(), from + wanted.len() as u64);
        wanted.resize(wanted.len().next_multiple_of(BLOCK as usize), 0);
        let gathered = gather.finish();
        match gathered.bytes {
            Lying::Together(bytes) => {
                assert_eq!(bytes, wanted);
                assert_eq!(gathered.copied, wanted.len() as u64);
                false
            }
            Lying::Parts(parts) => {
                assert!(gathered.copied < wanted.len() as u64);
                assert!(parts.iter().all(is_sectors));
                assert_eq!(parts.concat(), wanted);
                true
            }
        }
    }

    #[test]
    fn what_is_gathered_is_what_was_added_in_sectors() {
        reactor::Builder::new("gather")
            .run(|| async {
                let (mut any, mut random) = (false, Random::new(1));
                for _ in SEEDS.flat_map(|_| 0..20) {
                    any |= check(&mut random, true).await;
                    assert!(!check(&mut random, false).await);
                }
                assert!(any);
            })
            .unwrap();
    }
}
