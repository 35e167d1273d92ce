//! One large block of snappy or LZ4, decompressed a piece at a time: the libraries do a block in one go, and one batch may be one
//! block of many megabytes, which would hold a core for milliseconds. Small blocks go to the libraries, which are faster.
//!
//! Sources: snappy's `format_description.txt`; LZ4 block format description.

use super::Codec;
use crate::kafka::record_batch::BatchError;
use crate::limits::BLOCK_PIECE_BYTES;

/// The shortest match of LZ4.
const LZ4_MATCH_MIN: usize = 4;
/// A length in a token of LZ4 that goes on in the bytes behind.
const LZ4_LENGTH_GOES_ON: usize = 15;

/// A block that is being decompressed.
pub(super) struct Block<'a> {
    codec: Codec,
    /// What is left of the compressed bytes.
    input: &'a [u8],
    /// All output so far: a copy may reach back to any of it.
    output: Vec<u8>,
    /// The size that a block of snappy says it has, or the largest that one of LZ4 may have.
    size: usize,
    /// The element that is being worked on.
    element: Element,
}

#[derive(Clone, Copy)]
enum Element {
    /// So many bytes of the input. In LZ4 a match follows, if there is more; its token says this of the length.
    Literal { left: usize, match_length: usize },
    /// So many bytes of the output, from so far back.
    Copy { offset: usize, left: usize },
    /// The next element begins here.
    None,
    /// No element follows.
    End,
}

impl<'a> Block<'a> {
    /// A raw block of snappy whose length is `size`.
    pub(super) fn snappy(block: &'a [u8], size: usize) -> Self {
        let length_bytes = block.iter().position(|byte| byte & 0x80 == 0).map_or(block.len(), |at| at + 1);
        Self::new(Codec::Snappy, &block[length_bytes..], size)
    }

    /// A block of LZ4 that may become as long as `most`.
    pub(super) fn lz4(block: &'a [u8], most: usize) -> Self {
        Self::new(Codec::Lz4, block, most)
    }

    fn new(codec: Codec, input: &'a [u8], size: usize) -> Self {
        Self { codec, input, output: Vec::new(), size, element: Element::None }
    }

    fn broken(&self) -> BatchError {
        BatchError::Compressed { codec: self.codec, reason: "a block is corrupt" }
    }

    /// The next piece of output; none at the end of the block.
    pub(super) fn next(&mut self) -> Result<&[u8], BatchError> {
        let from = self.output.len();
        while self.output.len() - from < BLOCK_PIECE_BYTES {
            let room = BLOCK_PIECE_BYTES - (self.output.len() - from);
            match self.element {
                Element::None => self.element = self.next_element()?,
                Element::End => break,
                Element::Literal { left, match_length } => {
                    let count = left.min(room);
                    let (now, later) = self.input.split_at(count);
                    self.output.extend_from_slice(now);
                    self.input = later;
                    self.element = match (left - count, self.codec) {
                        (0, Codec::Lz4) => self.lz4_match(match_length)?,
                        (0, _) => Element::None,
                        (left, _) => Element::Literal { left, match_length },
                    };
                }
                Element::Copy { offset, left } => {
                    let count = left.min(room);
                    self.copy(offset, count);
                    let left = left - count;
                    self.element = if left == 0 { Element::None } else { Element::Copy { offset, left } };
                }
            }
        }
        Ok(&self.output[from..])
    }

    /// Whether nothing more comes.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.element, Element::End)
    }

    /// Repeats bytes of the output. What is copied may reach into what the copy itself makes: a short pattern, many times.
    fn copy(&mut self, offset: usize, mut count: usize) {
        let from = self.output.len() - offset;
        while count > 0 {
            let some = count.min(self.output.len() - from);
            self.output.extend_from_within(from..from + some);
            count -= some;
        }
    }

    fn next_element(&mut self) -> Result<Element, BatchError> {
        if self.codec == Codec::Lz4 { self.lz4_literal() } else { self.snappy_element() }
    }

    fn snappy_element(&mut self) -> Result<Element, BatchError> {
        if self.input.is_empty() {
            return if self.output.len() == self.size { Ok(Element::End) } else { Err(self.broken()) };
        }
        let tag = self.little_endian(1)?;
        match tag & 3 {
            0 => {
                let length = tag >> 2;
                let left = 1 + if length < 60 { length } else { self.little_endian(length - 59)? };
                self.literal(left, 0)
            }
            1 => {
                let offset = (tag >> 5) << 8 | self.little_endian(1)?;
                self.copied(offset, 4 + (tag >> 2 & 7))
            }
            kind => {
                let offset = self.little_endian(if kind == 2 { 2 } else { 4 })?;
                self.copied(offset, 1 + (tag >> 2))
            }
        }
    }

    /// The literal that a sequence of LZ4 begins with.
    fn lz4_literal(&mut self) -> Result<Element, BatchError> {
        let token = self.little_endian(1)?;
        let left = self.lz4_length(token >> 4)?;
        self.literal(left, token & 0x0f)
    }

    /// What follows a literal of LZ4: the match of its sequence, or the end.
    fn lz4_match(&mut self, length: usize) -> Result<Element, BatchError> {
        if self.input.is_empty() {
            return Ok(Element::End);
        }
        let offset = self.little_endian(2)?;
        let length = self.lz4_length(length)?;
        self.copied(offset, length + LZ4_MATCH_MIN)
    }

    /// A length of which the token holds the beginning.
    fn lz4_length(&mut self, token: usize) -> Result<usize, BatchError> {
        let mut length = token;
        let mut goes_on = token == LZ4_LENGTH_GOES_ON;
        while goes_on {
            let byte = self.little_endian(1)?;
            length += byte;
            // What is too long is refused before its length has been read to the end.
            goes_on = byte == 255 && length <= self.size;
        }
        Ok(length)
    }

    fn literal(&self, left: usize, match_length: usize) -> Result<Element, BatchError> {
        let fits = left <= self.input.len() && left <= self.size - self.output.len();
        if fits { Ok(Element::Literal { left, match_length }) } else { Err(self.broken()) }
    }

    fn copied(&self, offset: usize, left: usize) -> Result<Element, BatchError> {
        let fits = (1..=self.output.len()).contains(&offset) && left <= self.size - self.output.len();
        if fits { Ok(Element::Copy { offset, left }) } else { Err(self.broken()) }
    }

    /// A number of one to four bytes.
    fn little_endian(&mut self, bytes: usize) -> Result<usize, BatchError> {
        let (number, rest) = self.input.split_at_checked(bytes).ok_or_else(|| self.broken())?;
        self.input = rest;
        Ok(number.iter().rev().fold(0, |high, byte| high << 8 | usize::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::sample::Dice;

    /// Bytes that compress well here and badly there, with long and short repetitions.
    fn sample(dice: &mut Dice, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let bits = dice.below(14);
            let count = 1 + dice.below(1 << bits);
            match dice.below(3) {
                0 => bytes.extend((0..count).map(|_| dice.roll() as u8)),
                1 => bytes.extend(std::iter::repeat_n(dice.roll() as u8, count)),
                _ if bytes.is_empty() => {}
                _ => {
                    let from = dice.below(bytes.len());
                    let to = (from + count).min(bytes.len());
                    bytes.extend_from_within(from..to);
                }
            }
        }
        bytes.truncate(len);
        bytes
    }

    fn all(mut block: Block<'_>) -> Result<Vec<u8>, BatchError> {
        let mut all = Vec::new();
        loop {
            let piece = block.next()?;
            if piece.is_empty() {
                return Ok(all);
            }
            assert!(piece.len() <= BLOCK_PIECE_BYTES);
            all.extend_from_slice(piece);
        }
    }

    fn snappy(block: &[u8]) -> Result<Vec<u8>, BatchError> {
        let size = snap::raw::decompress_len(block).unwrap_or_default();
        all(Block::snappy(block, size))
    }

    const MOST: usize = 4 << 20;

    #[test]
    fn pieces_of_a_block_are_what_the_libraries_make_of_it() {
        let mut dice = Dice::new(7);
        for len in [0, 1, 12, 64, 1000, 65_536, 70_000, 300_000, 1 << 20] {
            for _ in 0..4 {
                let input = sample(&mut dice, len);
                let block = snap::raw::Encoder::new().compress_vec(&input).unwrap();
                assert_eq!(snappy(&block).as_ref(), Ok(&input), "snappy {len}");
                let block = lz4_flex::block::compress(&input);
                assert_eq!(all(Block::lz4(&block, MOST)).as_ref(), Ok(&input), "lz4 {len}");
                assert!(len == 0 || all(Block::lz4(&block, len - 1)).is_err(), "longer than it may be");
            }
        }
    }

    #[test]
    fn copies_from_further_back_than_an_encoder_looks_are_followed() {
        // Snappy: a literal of 70,000 bytes, then four of them from 70,000 back, with an offset of four bytes.
        let literal: Vec<u8> = (0..70_000_u32).map(|at| (at % 251) as u8).collect();
        let mut block = vec![0xf4, 0xa2, 0x04, 62 << 2, 0x6f, 0x11, 0x01];
        block.extend_from_slice(&literal);
        block.extend_from_slice(&[3 << 2 | 3, 0x70, 0x11, 0x01, 0x00]);
        let expected = [&literal[..], &literal[..4]].concat();
        assert_eq!(snap::raw::Decoder::new().decompress_vec(&block).unwrap(), expected);
        assert_eq!(snappy(&block), Ok(expected));
    }

    #[test]
    fn damaged_blocks_are_refused_when_the_libraries_refuse_them() {
        let mut dice = Dice::new(11);
        for round in 0..4000 {
            let len = 1 + dice.below(3000);
            let input = sample(&mut dice, len);
            let mut block = if round % 2 == 0 {
                snap::raw::Encoder::new().compress_vec(&input).unwrap()
            } else {
                lz4_flex::block::compress(&input)
            };
            let at = dice.below(block.len());
            if dice.below(3) == 0 {
                block.truncate(at);
            } else {
                block[at] = dice.roll() as u8;
            }
            if round % 2 == 0 {
                let claim = snap::raw::decompress_len(&block).unwrap_or_default();
                // Of one that says it is empty, or says nothing, no piece is ever asked for.
                if (1..=MOST).contains(&claim) {
                    assert_eq!(snappy(&block).ok(), snap::raw::Decoder::new().decompress_vec(&block).ok());
                }
            } else {
                let library = lz4_flex::block::decompress(&block, MOST).ok();
                assert_eq!(all(Block::lz4(&block, MOST)).ok(), library, "{round}");
            }
        }
    }
}
