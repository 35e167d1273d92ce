//! Newest bytes of one log in memory: slices of the commit buffers they were written from.
//!
//! Chunks lie in the order of the log. Most are whole batches; a batch longer than a commit is several, and what is
//! left of a partial block after its batch was evicted, or brought back by recovery, is a chunk without batch
//! boundaries ([`Edges::Raw`]). Chunks that the segment file holds safely are a cache and may go; the others are the
//! only copy outside of the ring and stay, as exact copies when their commit buffer is given up, so that a quiet
//! partition does not pin a large buffer.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::types::{Offset, SegmentBase};

/// A place in a log's bytes: segment, then position in it. Ordered as the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: SegmentBase,
    pub(crate) position: u64,
}

/// Which ends of a batch a chunk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edges {
    Whole,
    First,
    Middle,
    Last,
    /// Bytes of which the batch boundaries are not known.
    Raw,
}

impl Edges {
    pub(crate) fn starts(self) -> bool {
        matches!(self, Self::Whole | Self::First)
    }

    pub(crate) fn ends(self) -> bool {
        matches!(self, Self::Whole | Self::Last)
    }
}

/// Bytes of a log in memory.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) at: Place,
    pub(crate) bytes: Bytes,
    /// Commit that holds these bytes.
    pub(crate) sequence: u64,
    /// Of the batch that this is, or is a piece of; meaningless when raw.
    pub(crate) base_offset: Offset,
    pub(crate) next_offset: Offset,
    pub(crate) edges: Edges,
}

impl Chunk {
    pub(crate) fn end(&self) -> u64 {
        self.at.position + self.bytes.len() as u64
    }

    fn end_place(&self) -> Place {
        Place { segment: self.at.segment, position: self.end() }
    }
}

/// The chunks of one log.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    chunks: VecDeque<Chunk>,
}

impl Tail {
    /// Appends the newest bytes.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        assert!(self.chunks.back().is_none_or(|newest| newest.end_place() <= chunk.at));
        self.chunks.push_back(chunk);
    }

    /// Index of the first chunk that has bytes at or after `place`.
    pub(crate) fn index_of(&self, place: Place) -> usize {
        self.chunks.partition_point(|chunk| chunk.end_place() <= place)
    }

    /// The chunks from an index on.
    pub(crate) fn from(&self, index: usize) -> impl Iterator<Item = &Chunk> {
        self.chunks.range(index.min(self.chunks.len())..)
    }

    /// Index of the chunk that starts the batch which holds `offset`, or the first batch after it; `None` when a
    /// batch before the first in memory may hold it.
    pub(crate) fn batch_of(&self, offset: Offset) -> Option<usize> {
        let first = self.chunks.iter().find(|chunk| chunk.edges.starts())?;
        if offset < first.base_offset {
            return None;
        }
        // Raw chunks are in front only; their offsets are 0 and below any other.
        let index =
            self.chunks.partition_point(|chunk| chunk.edges == Edges::Raw || chunk.next_offset <= offset);
        let chunk = self.chunks.get(index)?;
        chunk.edges.starts().then_some(index)
    }

    /// Sequence of the oldest commit that holds bytes at or after `place`. A carried block is newer than what follows it.
    pub(crate) fn needed(&self, place: Place) -> Option<u64> {
        self.from(self.index_of(place)).map(|chunk| chunk.sequence).min()
    }

    /// Gives up what the commit buffers up to `sequence` hold: safe chunks go, the rest is copied out.
    pub(crate) fn release(&mut self, sequence: u64, safe: Place) {
        while let Some(chunk) = self.chunks.front() {
            // A raw chunk is no use to readers, and its sequence may be above those behind it.
            let given_up = chunk.sequence <= sequence || chunk.edges == Edges::Raw;
            if !given_up || chunk.end_place() > safe {
                break;
            }
            self.chunks.pop_front();
        }
        for chunk in &mut self.chunks {
            if chunk.sequence > sequence && chunk.edges != Edges::Raw {
                break;
            }
            if chunk.sequence == sequence {
                copy_out(chunk, safe);
            }
        }
        self.shrink();
    }

    /// Replaces the bytes before `end` that are not safe by one exact copy that the commit `sequence` holds too.
    pub(crate) fn carried(&mut self, safe: Place, end: u64, bytes: Bytes, sequence: u64) {
        let index = self.index_of(safe);
        let at = safe;
        let mut rest: Vec<Chunk> = Vec::new();
        for mut chunk in self.chunks.drain(index..) {
            if chunk.at.segment != at.segment || chunk.at.position >= end {
                rest.push(chunk);
            } else if chunk.end() > end {
                // Its front is in the copy.
                chunk.bytes = chunk.bytes.slice((end - chunk.at.position) as usize..);
                chunk.at.position = end;
                chunk.edges = if chunk.edges.ends() { Edges::Last } else { Edges::Middle };
                rest.push(chunk);
            }
        }
        self.chunks.push_back(Chunk {
            at,
            bytes,
            sequence,
            base_offset: Offset::ZERO,
            next_offset: Offset::ZERO,
            edges: Edges::Raw,
        });
        // Raw chunks are in front only, so what was cached before goes.
        let last = self.chunks.len() - 1;
        self.chunks.drain(..last);
        self.chunks.extend(rest);
    }

    /// Forgets chunks that are safe.
    pub(crate) fn forget_safe(&mut self, safe: Place) {
        while self.chunks.front().is_some_and(|chunk| chunk.end_place() <= safe) {
            self.chunks.pop_front();
        }
        self.shrink();
    }

    /// Forgets segments below `segment`.
    pub(crate) fn forget_below(&mut self, segment: SegmentBase) {
        while self.chunks.front().is_some_and(|chunk| chunk.at.segment < segment) {
            self.chunks.pop_front();
        }
    }

    /// Forgets bytes at or after `place`, which is the start of a batch.
    pub(crate) fn truncate(&mut self, place: Place) {
        while let Some(chunk) = self.chunks.back_mut() {
            if chunk.end_place() <= place {
                break;
            }
            if chunk.at >= place {
                self.chunks.pop_back();
                continue;
            }
            let kept = (place.position - chunk.at.position) as usize;
            chunk.bytes = chunk.bytes.slice(..kept);
            chunk.edges = Edges::Raw;
            break;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.chunks = VecDeque::new();
    }

    fn shrink(&mut self) {
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        } else if self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to_fit();
        }
    }
}

/// Turns a slice of a commit buffer into a copy of exactly what is not safe of it.
fn copy_out(chunk: &mut Chunk, safe: Place) {
    if chunk.at < safe && chunk.at.segment == safe.segment {
        let cut = (safe.position - chunk.at.position) as usize;
        chunk.bytes = Bytes::copy_from_slice(&chunk.bytes[cut..]);
        chunk.at = safe;
        chunk.edges = Edges::Raw;
    } else {
        chunk.bytes = Bytes::copy_from_slice(&chunk.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentBase = SegmentBase(0);

    fn at(position: u64) -> Place {
        Place { segment: SEGMENT, position }
    }

    /// Batches of 100 bytes and one offset, batch n in commit n + 1.
    fn tail(batches: u64) -> Tail {
        let mut tail = Tail::default();
        for number in 0..batches {
            tail.push(Chunk {
                at: at(number * 100),
                bytes: Bytes::from(vec![number as u8; 100]),
                sequence: number + 1,
                base_offset: Offset(number as i64),
                next_offset: Offset(number as i64 + 1),
                edges: Edges::Whole,
            });
        }
        tail
    }

    fn places(tail: &Tail) -> Vec<(u64, u64)> {
        tail.chunks.iter().map(|chunk| (chunk.at.position, chunk.end())).collect()
    }

    #[test]
    fn a_batch_is_found_by_any_of_its_offsets_unless_an_older_one_may_hold_it() {
        let mut tail = tail(5);
        assert_eq!(tail.batch_of(Offset(3)), Some(3));
        tail.release(2, at(500));
        assert_eq!(tail.batch_of(Offset(1)), None);
        assert_eq!(tail.batch_of(Offset(2)), Some(0));
        assert_eq!(tail.batch_of(Offset(5)), None);
    }

    #[test]
    fn releasing_drops_what_is_safe_and_keeps_the_rest_exactly() {
        let mut tail = tail(3);
        tail.release(1, at(150));
        assert_eq!(places(&tail), [(100, 200), (200, 300)]);
        tail.release(2, at(150));
        assert_eq!(places(&tail), [(150, 200), (200, 300)]);
        assert_eq!(tail.chunks[0].edges, Edges::Raw);
        assert_eq!(tail.batch_of(Offset(2)), Some(1));
    }

    #[test]
    fn a_carried_block_takes_the_place_of_the_batches_it_holds() {
        let mut tail = tail(4);
        tail.carried(at(150), 300, Bytes::from(vec![9; 150]), 7);
        assert_eq!(places(&tail), [(150, 300), (300, 400)]);
        assert_eq!(tail.needed(at(150)), Some(4), "what follows is older than the copy");
        assert_eq!(tail.needed(at(300)), Some(4));
        tail.forget_safe(at(300));
        assert_eq!(places(&tail), [(300, 400)]);
    }

    #[test]
    fn truncating_forgets_what_is_behind() {
        let mut tail = tail(4);
        tail.truncate(at(200));
        assert_eq!(places(&tail), [(0, 100), (100, 200)]);
        tail.truncate(at(0));
        assert!(tail.chunks.is_empty());
    }
}
