//! Compression as a stream, so that much of it can be done in steps.

use std::io::Write as _;

use super::{Codec, broken, lz4, snappy};
use crate::kafka::record_batch::BatchError;

/// Kafka's `compression.zstd.level` when none is set.
const ZSTD_LEVEL_DEFAULT: i32 = 3;

/// Takes bytes and appends them, compressed, to a buffer.
pub struct Compressor {
    codec: Codec,
    stream: Stream,
}

enum Stream {
    None(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(::zstd::stream::write::Encoder<'static, Vec<u8>>),
    Blocks(Blocks),
}

/// Output of the codecs that compress block by block.
struct Blocks {
    out: Vec<u8>,
    /// Input that makes no whole block yet.
    pending: Vec<u8>,
    block_bytes: usize,
    compress: fn(&[u8], &mut Vec<u8>) -> Result<(), BatchError>,
}

impl Blocks {
    fn stream(
        out: Vec<u8>,
        block_bytes: usize,
        compress: fn(&[u8], &mut Vec<u8>) -> Result<(), BatchError>,
    ) -> Stream {
        Stream::Blocks(Blocks { out, pending: Vec::new(), block_bytes, compress })
    }

    fn write(&mut self, mut input: &[u8]) -> Result<(), BatchError> {
        while self.pending.len() + input.len() >= self.block_bytes {
            let (now, later) = input.split_at(self.block_bytes - self.pending.len());
            input = later;
            if self.pending.is_empty() {
                (self.compress)(now, &mut self.out)?;
            } else {
                self.pending.extend_from_slice(now);
                (self.compress)(&self.pending, &mut self.out)?;
                self.pending.clear();
            }
        }
        self.pending.extend_from_slice(input);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, BatchError> {
        if !self.pending.is_empty() {
            (self.compress)(&self.pending, &mut self.out)?;
        }
        Ok(self.out)
    }
}

impl Compressor {
    /// Appends to `out`. `level` as for [`compress`](super::compress).
    ///
    /// # Errors
    /// [`BatchError::Compressed`] when the codec refuses the level.
    pub fn new(codec: Codec, level: Option<i32>, mut out: Vec<u8>) -> Result<Self, BatchError> {
        let stream = match codec {
            Codec::None => Stream::None(out),
            Codec::Gzip => {
                let level = match level.and_then(|level| u32::try_from(level).ok()) {
                    Some(level) => flate2::Compression::new(level.min(9)),
                    None => flate2::Compression::default(),
                };
                Stream::Gzip(flate2::write::GzEncoder::new(out, level))
            }
            Codec::Snappy => {
                snappy::begin(&mut out);
                Blocks::stream(out, snappy::BLOCK_BYTES, snappy::compress_block)
            }
            Codec::Lz4 => {
                lz4::begin(&mut out);
                Blocks::stream(out, lz4::BLOCK_BYTES, lz4::compress_block)
            }
            Codec::Zstd => Stream::Zstd(
                ::zstd::stream::write::Encoder::new(out, level.unwrap_or(ZSTD_LEVEL_DEFAULT))
                    .map_err(|e| broken(codec, &e))?,
            ),
        };
        Ok(Self { codec, stream })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`BatchError::Compressed`]; no codec that is used here is known to fail.
    pub fn write(&mut self, input: &[u8]) -> Result<(), BatchError> {
        match &mut self.stream {
            Stream::None(out) => out.extend_from_slice(input),
            Stream::Gzip(encoder) => encoder.write_all(input).map_err(|e| broken(self.codec, &e))?,
            Stream::Zstd(encoder) => encoder.write_all(input).map_err(|e| broken(self.codec, &e))?,
            Stream::Blocks(blocks) => blocks.write(input)?,
        }
        Ok(())
    }

    /// The buffer, with all that was written.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(self) -> Result<Vec<u8>, BatchError> {
        match self.stream {
            Stream::None(out) => Ok(out),
            Stream::Gzip(encoder) => encoder.finish().map_err(|e| broken(self.codec, &e)),
            Stream::Zstd(encoder) => encoder.finish().map_err(|e| broken(self.codec, &e)),
            Stream::Blocks(blocks) => {
                let mut out = blocks.finish()?;
                if self.codec == Codec::Lz4 {
                    lz4::end(&mut out);
                }
                Ok(out)
            }
        }
    }
}
