//! The first read of old batches in this life: into buffers, checked where they lie, and sent from there.
//!
//! While commits are frequent ([`commit_rate`](crate::commit_rate)) it goes past the page cache: it costs no copy and no page
//! of the cache, and the device is asked for little at a time, so that commits beside it do not wait. Otherwise it goes
//! through the page cache, for which the kernel reads ahead, and the next reader finds it there. What is read a second time
//! goes through the page cache anyway ([`reader`](crate::reader)).
//!
//! Readers may be slow, and hold what was read for them: the reactor has only so many buffers for it
//! ([`reactor::read_buffer`]). When none is left, the rest is read through the page cache, too. Decision 0007.

use std::ops::Range;

use bytes::Bytes;
use reactor::File;
use wire::kafka::record_batch::{BatchHeader, HEADER_LEN};

use crate::error::StorageError;
use crate::limits::{BLOCK, FIRST_READ_BUFFERS_MAX};
use crate::segment_reader::SegmentReader;

/// What was read.
pub(crate) struct FirstRead {
    /// Whole, checked batches in order.
    pub(crate) parts: Vec<Bytes>,
    /// Where they end in the segment.
    pub(crate) end: u64,
    /// What follows in the range is the beginning of a batch that does not end in it.
    pub(crate) cut: bool,
}

/// Reads a range of a segment's file that begins with a batch, at `base_offset`, as far as there are buffers.
pub(crate) async fn read(
    reader: &SegmentReader<'_>,
    file: &File,
    range: Range<u64>,
    base_offset: i64,
) -> Result<FirstRead, StorageError> {
    let mut rope = Rope { begin: range.start / BLOCK * BLOCK, length: 0, buffers: Vec::new() };
    let (mut position, mut expected) = (range.start, base_offset);
    let cut = loop {
        match rope.batch(reader, position, range.end)? {
            Batch::Whole(header) => {
                reader.vet(position, &header, Some(expected))?;
                let checked = header.verify_crc_of(rope.pieces(position..position + header.size as u64));
                checked.map_err(|error| reader.damaged(position, &error))?;
                (position, expected) = (position + header.size as u64, header.next_offset());
                reader.note_checked(range.start, position);
                if reactor::should_yield() {
                    reactor::yield_now().await;
                }
            }
            Batch::Cut => break true,
            Batch::More => {
                if rope.buffers.len() == FIRST_READ_BUFFERS_MAX {
                    break false;
                }
                let Some(buffer) = reactor::read_buffer().await else { break false };
                let from = rope.begin + rope.length as u64;
                let left = (range.end - from).next_multiple_of(BLOCK);
                let wanted = buffer.remaining().min(left as usize);
                let (read, buffer) = file.read_fixed(buffer, wanted, from).await;
                let read = read.map_err(|cause| reader.failed(cause))?;
                if from + (read as u64) < range.end.min(from + wanted as u64) {
                    return Err(reader.damaged(from + read as u64, &"the file ends"));
                }
                rope.length += wanted;
                rope.buffers.push(buffer.freeze());
            }
            Batch::End => break false,
        }
    };
    Ok(FirstRead { parts: rope.shared(range.start..position), end: position, cut })
}

/// What there is at a position.
enum Batch {
    Whole(BatchHeader),
    /// More has to be read to know.
    More,
    /// It goes on beyond the range.
    Cut,
    /// Nothing.
    End,
}

/// Buffers that hold consecutive bytes of a file.
struct Rope {
    /// Where they begin in the file.
    begin: u64,
    length: usize,
    buffers: Vec<Bytes>,
}

impl Rope {
    fn batch(&self, reader: &SegmentReader<'_>, position: u64, end: u64) -> Result<Batch, StorageError> {
        if position == end {
            return Ok(Batch::End);
        }
        if end - position < HEADER_LEN as u64 {
            return Ok(Batch::Cut);
        }
        let known = end.min(self.begin + self.length as u64);
        if known < position + HEADER_LEN as u64 {
            return Ok(Batch::More);
        }
        let mut bytes = [0; HEADER_LEN];
        let mut at = 0;
        for piece in self.pieces(position..position + HEADER_LEN as u64) {
            bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        let header = BatchHeader::peek(&bytes).map_err(|error| reader.damaged(position, &error))?;
        Ok(match position + header.size as u64 {
            batch_end if batch_end > end => Batch::Cut,
            batch_end if batch_end > known => Batch::More,
            _ => Batch::Whole(header),
        })
    }

    /// Which buffers have a range, and where in them.
    fn places(&self, range: Range<u64>) -> impl Iterator<Item = (&Bytes, Range<usize>)> {
        let (from, to) = ((range.start - self.begin) as usize, (range.end - self.begin) as usize);
        let mut begin = 0;
        self.buffers.iter().filter_map(move |buffer| {
            let (start, end) = (begin, begin + buffer.len());
            begin = end;
            let within = from.max(start)..to.min(end);
            (within.start < within.end).then(|| (buffer, within.start - start..within.end - start))
        })
    }

    fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = &[u8]> {
        self.places(range).map(|(buffer, within)| &buffer[within])
    }

    fn shared(&self, range: Range<u64>) -> Vec<Bytes> {
        self.places(range).map(|(buffer, within)| buffer.slice(within)).collect()
    }
}
