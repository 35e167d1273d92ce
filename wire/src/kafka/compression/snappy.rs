//! Snappy, as Kafka's clients frame it (snappy-java's `SnappyOutputStream`) or do not (one raw block).

use super::block::Block;
use super::{Codec, Piece};
use crate::kafka::record_batch::BatchError;
use crate::limits::BLOCK_AT_ONCE_BYTES;

/// `\x82SNAPPY\0`, version 1, compatible with version 1.
const HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// The part of it that says which format this is.
const MAGIC_LEN: usize = 8;
/// Bytes of input in one block on output, as in snappy-java.
pub(super) const BLOCK_BYTES: usize = 32 * 1024;

fn broken(reason: &'static str) -> BatchError {
    BatchError::Compressed { codec: Codec::Snappy, reason }
}

/// What a stream begins with.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(HEADER);
}

/// Appends up to [`BLOCK_BYTES`] as a block.
pub(super) fn compress_block(block: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let at = out.len();
    out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
    let mut encoder = snap::raw::Encoder::new();
    let len = encoder.compress(block, &mut out[at + 4..]).map_err(|_| broken("cannot compress"))?;
    out[at..at + 4].copy_from_slice(&(len as u32).to_be_bytes());
    out.truncate(at + 4 + len);
    Ok(())
}

/// The blocks of a stream.
pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    framed: bool,
    decoder: snap::raw::Decoder,
    /// A large block that has begun.
    large: Option<Box<Block<'a>>>,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        let framed = input.len() >= HEADER.len() && input[..MAGIC_LEN] == HEADER[..MAGIC_LEN];
        let rest = if framed { &input[HEADER.len()..] } else { input };
        Self { rest, framed, decoder: snap::raw::Decoder::new(), large: None }
    }

    fn next_block(&mut self) -> Result<&'a [u8], BatchError> {
        if !self.framed {
            return Ok(std::mem::take(&mut self.rest));
        }
        let (len, rest) = self.rest.split_first_chunk::<4>().ok_or(broken("a block's length is cut"))?;
        let len = u32::from_be_bytes(*len) as usize;
        let block = rest.get(..len).ok_or(broken("a block is cut"))?;
        self.rest = &rest[len..];
        Ok(block)
    }

    pub(super) fn next(&mut self, piece: &mut Piece, left: usize) -> Result<usize, BatchError> {
        loop {
            if let Some(block) = &mut self.large {
                let count = piece.set(block.next()?);
                if count > 0 {
                    return Ok(count);
                }
                self.large = None;
            }
            if self.rest.is_empty() {
                return Ok(0);
            }
            let block = self.next_block()?;
            let claim = snap::raw::decompress_len(block).map_err(|_| broken("a block has no length"))?;
            // The densest element is a copy of 64 bytes in 3: no honest block claims more.
            if claim / 64 > block.len() / 3 {
                return Err(broken("a block claims more than it can hold"));
            }
            if claim > left {
                return Ok(claim);
            }
            if claim > BLOCK_AT_ONCE_BYTES {
                self.large = Some(Box::new(Block::snappy(block, claim)));
                continue;
            }
            let room = piece.room(claim);
            self.decoder.decompress(block, room).map_err(|_| broken("a block is corrupt"))?;
            if claim > 0 {
                return Ok(claim);
            }
        }
    }
}
