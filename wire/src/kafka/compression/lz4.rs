//! The LZ4 frame format with independent blocks, as Kafka's clients write it.
//!
//! ```text
//! magic 04 22 4d 18 | FLG BD [content size 8] [dictionary id 4] HC | blocks: length 4 (top bit: stored), bytes, [xxh32]
//! | 00 00 00 00 | [xxh32 of the content]
//! ```
//! The frame is read here rather than by a library because the library allocates the 4 MiB that a 15-byte header may claim.
//!
//! Source: LZ4 frame format description 1.6; KIP-57 (the header checksum, which is only right since message format v1).

use std::hash::Hasher as _;

use lz4_flex::block::{DecompressError, compress_into, decompress_into, get_maximum_output_size};
use twox_hash::xxhash32::Hasher as Xxh32;

use super::block::Block;
use super::{Codec, Piece};
use crate::kafka::record_batch::BatchError;
use crate::limits::BLOCK_AT_ONCE_BYTES;

const MAGIC: u32 = 0x184d_2204;
const VERSION_MASK: u8 = 0xc0;
const VERSION: u8 = 0x40;
const INDEPENDENT: u8 = 0x20;
const BLOCK_CHECKSUM: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const DICTIONARY: u8 = 0x01;
const STORED: u32 = 0x8000_0000;
/// Bytes of output that one byte of an LZ4 block can stand for.
const RATIO_MAX: usize = 255;
/// Bytes of input in one block on output, and the BD byte that says so, as in Kafka's Java client.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;
const BLOCK_BYTES_ID: u8 = 0x40;

fn broken(reason: &'static str) -> BatchError {
    BatchError::Compressed { codec: Codec::Lz4, reason }
}

fn header_checksum(descriptor: &[u8]) -> u8 {
    (Xxh32::oneshot(0, descriptor) >> 8) as u8
}

/// What a frame begins with.
pub(super) fn begin(out: &mut Vec<u8>) {
    let descriptor = [VERSION | INDEPENDENT, BLOCK_BYTES_ID];
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&descriptor);
    out.push(header_checksum(&descriptor));
}

/// Appends up to [`BLOCK_BYTES`] as a block.
pub(super) fn compress_block(block: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let at = out.len();
    out.resize(at + 4 + get_maximum_output_size(block.len()), 0);
    let len = compress_into(block, &mut out[at + 4..]).map_err(|_| broken("cannot compress"))?;
    let (len, word) = if len < block.len() {
        (len, len as u32)
    } else {
        out[at + 4..at + 4 + block.len()].copy_from_slice(block);
        (block.len(), block.len() as u32 | STORED)
    };
    out[at..at + 4].copy_from_slice(&word.to_le_bytes());
    out.truncate(at + 4 + len);
    Ok(())
}

/// What a frame ends with.
pub(super) fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
}

/// A frame that is read block by block.
pub(super) struct Frame<'a> {
    rest: &'a [u8],
    block_bytes_max: usize,
    block_checksum: bool,
    content_left: Option<u64>,
    content_checksum: Option<Xxh32>,
    ended: bool,
    /// A large block that has begun.
    large: Option<Box<Block<'a>>>,
}

impl<'a> Frame<'a> {
    pub(super) fn new(input: &'a [u8]) -> Result<Self, BatchError> {
        let mut rest = input;
        if u32::from_le_bytes(take(&mut rest)?) != MAGIC {
            return Err(broken("no LZ4 frame"));
        }
        let descriptor = rest;
        let [flags, sizes] = take(&mut rest)?;
        if flags & VERSION_MASK != VERSION {
            return Err(broken("unknown version"));
        }
        if flags & INDEPENDENT == 0 {
            return Err(broken("linked blocks are not accepted"));
        }
        if flags & DICTIONARY != 0 {
            return Err(broken("dictionaries are not accepted"));
        }
        let block_bytes_max = match sizes >> 4 & 0x07 {
            id @ 4..=7 => 1 << (8 + 2 * id),
            _ => return Err(broken("unknown block size")),
        };
        let content_left =
            if flags & CONTENT_SIZE == 0 { None } else { Some(u64::from_le_bytes(take(&mut rest)?)) };
        let descriptor = &descriptor[..descriptor.len() - rest.len()];
        let [checksum] = take(&mut rest)?;
        if checksum != header_checksum(descriptor) {
            return Err(broken("wrong header checksum"));
        }
        Ok(Self {
            rest,
            block_bytes_max,
            block_checksum: flags & BLOCK_CHECKSUM != 0,
            content_left,
            content_checksum: (flags & CONTENT_CHECKSUM != 0).then(|| Xxh32::with_seed(0)),
            ended: false,
            large: None,
        })
    }

    pub(super) fn next(&mut self, piece: &mut Piece, left: usize) -> Result<usize, BatchError> {
        while !self.ended {
            let count = if let Some(block) = &mut self.large {
                piece.set(block.next()?)
            } else if let Some((block, stored)) = self.next_block()? {
                self.begin(block, stored, piece, left)?
            } else {
                break;
            };
            if count > left {
                return Ok(count);
            }
            if let Some(content_left) = &mut self.content_left {
                *content_left = content_left.checked_sub(count as u64).ok_or(broken("wrong content size"))?;
            }
            if let Some(hash) = &mut self.content_checksum {
                hash.write(&piece.buffer[..count]);
            }
            if count > 0 {
                return Ok(count);
            }
            self.large = self.large.take().filter(|block| !block.is_done());
        }
        Ok(0)
    }

    /// The bytes of the next block, and whether they are stored as they are; none at the end of the frame.
    fn next_block(&mut self) -> Result<Option<(&'a [u8], bool)>, BatchError> {
        let word = u32::from_le_bytes(take(&mut self.rest)?);
        if word == 0 {
            self.end()?;
            return Ok(None);
        }
        let len = (word & !STORED) as usize;
        let block = self.rest.get(..len).ok_or(broken("a block is cut"))?;
        self.rest = &self.rest[len..];
        if self.block_checksum && u32::from_le_bytes(take(&mut self.rest)?) != Xxh32::oneshot(0, block) {
            return Err(broken("wrong block checksum"));
        }
        Ok(Some((block, word & STORED != 0)))
    }

    /// One block into the buffer, or nothing yet of a large one; a count above `left` when it is larger than that.
    fn begin(
        &mut self,
        block: &'a [u8],
        stored: bool,
        piece: &mut Piece,
        left: usize,
    ) -> Result<usize, BatchError> {
        if stored {
            if block.len() > self.block_bytes_max {
                return Err(broken("a block is too large"));
            }
            if block.len() <= left {
                piece.room(block.len()).copy_from_slice(block);
            }
            return Ok(block.len());
        }
        let most = self.block_bytes_max.min(block.len().saturating_mul(RATIO_MAX));
        if most > BLOCK_AT_ONCE_BYTES {
            self.large = Some(Box::new(Block::lz4(block, most)));
            return Ok(0);
        }
        let room = piece.room(most.min(left));
        match decompress_into(block, room) {
            Ok(count) => Ok(count),
            Err(DecompressError::OutputTooSmall { .. }) if most > left => Ok(left + 1),
            Err(_) => Err(broken("a block is corrupt")),
        }
    }

    fn end(&mut self) -> Result<(), BatchError> {
        self.ended = true;
        if let Some(hash) = self.content_checksum.take()
            && u32::from_le_bytes(take(&mut self.rest)?) != hash.finish_32()
        {
            return Err(broken("wrong content checksum"));
        }
        if self.content_left.is_some_and(|left| left != 0) {
            return Err(broken("wrong content size"));
        }
        if !self.rest.is_empty() {
            return Err(broken("bytes follow the frame"));
        }
        Ok(())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BatchError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(broken("it ends early"))?;
    *rest = tail;
    Ok(*head)
}
