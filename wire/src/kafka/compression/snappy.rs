//! Snappy, as Kafka's clients frame it (snappy-java's `SnappyOutputStream`) or do not (one raw block).

use super::{Codec, Piece};
use crate::kafka::record_batch::BatchError;

/// `\x82SNAPPY\0`, version 1, compatible with version 1.
const HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// The part of it that says which format this is.
const MAGIC_LEN: usize = 8;
/// Bytes of input in one block on output, as in snappy-java.
const BLOCK_BYTES: usize = 32 * 1024;

fn broken(reason: &'static str) -> BatchError {
    BatchError::Compressed { codec: Codec::Snappy, reason }
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let mut encoder = snap::raw::Encoder::new();
    out.extend_from_slice(HEADER);
    for block in input.chunks(BLOCK_BYTES) {
        let at = out.len();
        out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
        let len = encoder.compress(block, &mut out[at + 4..]).map_err(|_| broken("cannot compress"))?;
        out[at..at + 4].copy_from_slice(&(len as u32).to_be_bytes());
        out.truncate(at + 4 + len);
    }
    Ok(())
}

/// The blocks of a stream.
pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    framed: bool,
    decoder: snap::raw::Decoder,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        let framed = input.len() >= HEADER.len() && input[..MAGIC_LEN] == HEADER[..MAGIC_LEN];
        let rest = if framed { &input[HEADER.len()..] } else { input };
        Self { rest, framed, decoder: snap::raw::Decoder::new() }
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
        while !self.rest.is_empty() {
            let block = self.next_block()?;
            let claim = snap::raw::decompress_len(block).map_err(|_| broken("a block has no length"))?;
            // The densest element is a copy of 64 bytes in 3: no honest block claims more.
            if claim / 64 > block.len() / 3 {
                return Err(broken("a block claims more than it can hold"));
            }
            if claim > left {
                return Ok(claim);
            }
            let room = piece.room(claim);
            self.decoder.decompress(block, room).map_err(|_| broken("a block is corrupt"))?;
            if claim > 0 {
                return Ok(claim);
            }
        }
        Ok(0)
    }
}
