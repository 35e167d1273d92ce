//! The four codecs of record batches, decompressed as a stream with bounded output.
//!
//! A compressed batch is a claim: a few hundred bytes may say that they are gigabytes. [`Decompressor`] therefore produces one
//! piece at a time, into one buffer, and stops with [`BatchError::TooLarge`] at the limit that its caller sets. What it holds at
//! once is bounded by the bytes that arrived: one block of LZ4 (at most 255 times its input, and 4 MiB) or snappy (at most 22
//! times its input), of which a large one is done in pieces too, one window of gzip (32 KiB), and of zstd what the frame header asks for (memory of the zstd library, touched
//! only as output fills it, at most 128 MiB of address space).
//!
//! Formats, as Kafka's clients write them:
//! * gzip: one or more members (RFC 1952).
//! * snappy: the framing of xerial's snappy-java (16 bytes of header, then blocks with a 4-byte length), as Java, kafka-python and
//!   most others write it; or one raw block, as librdkafka writes it.
//! * LZ4: one LZ4 frame with independent blocks, with or without content size and checksums. Linked blocks are refused, since
//!   Java consumers could not read them.
//! * zstd: frames of RFC 8878, without a dictionary.
//!
//! On output, [`compress`] writes what the Java client writes, which every client reads.

mod block;
mod compressor;
mod lz4;
mod snappy;
mod zstd;

use std::fmt;
use std::io::{self, Read};

use super::record_batch::BatchError;
use crate::limits::DECOMPRESSED_PIECE_BYTES;
pub use compressor::Compressor;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, framed as snappy-java does.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878 (KIP-110).
    Zstd,
}

impl Codec {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this id in the attributes.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The id in the attributes: 0 to 4.
    #[must_use]
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The codec of this name, as in `compression.type`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The name in `compression.type`; [`Codec::None`] is `none` for producers (a topic says `uncompressed`).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Appends `input`, compressed, to `out`. `level` is Kafka's `compression.<codec>.level`, `None` its default; LZ4 and snappy have
/// one speed and ignore it.
///
/// # Errors
/// [`BatchError::Compressed`] when the codec refuses the level.
pub fn compress(codec: Codec, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let mut compressor = Compressor::new(codec, level, std::mem::take(out))?;
    compressor.write(input)?;
    *out = compressor.finish()?;
    Ok(())
}

/// Decompresses all of `input`, at most `limit` bytes.
pub fn decompress(codec: Codec, input: &[u8], limit: usize) -> Result<Vec<u8>, BatchError> {
    let mut stream = Decompressor::new(codec, input, limit)?;
    let mut out = Vec::new();
    loop {
        let piece = stream.fill()?;
        if piece.is_empty() {
            return Ok(out);
        }
        out.extend_from_slice(piece);
        let count = piece.len();
        stream.consume(count);
    }
}

fn broken(codec: Codec, error: &io::Error) -> BatchError {
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends early",
        io::ErrorKind::InvalidInput => "bad header or level",
        _ => "its bytes are corrupt",
    };
    BatchError::Compressed { codec, reason }
}

/// Output of a codec, piece by piece. The buffer is kept from piece to piece and only grows to what a piece needs.
pub struct Decompressor<'a> {
    stream: Stream<'a>,
    limit: usize,
    produced: usize,
    piece: Piece,
}

/// The bytes of the current piece: `buffer[start..end]`.
#[derive(Default)]
struct Piece {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Piece {
    /// Puts these bytes at the start of the buffer; how many they are.
    fn set(&mut self, bytes: &[u8]) -> usize {
        self.room(bytes.len()).copy_from_slice(bytes);
        bytes.len()
    }

    /// Room for `len` bytes at the start of the buffer. Old contents are not cleared.
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        &mut self.buffer[..len]
    }
}

enum Stream<'a> {
    None(&'a [u8]),
    Gzip(Box<flate2::bufread::MultiGzDecoder<&'a [u8]>>),
    Snappy(snappy::Blocks<'a>),
    Lz4(lz4::Frame<'a>),
    Zstd(zstd::Frames<'a>),
}

impl<'a> Decompressor<'a> {
    /// A stream over `input` that gives at most `limit` bytes.
    pub fn new(codec: Codec, input: &'a [u8], limit: usize) -> Result<Self, BatchError> {
        let stream = match codec {
            Codec::None => Stream::None(input),
            Codec::Gzip => Stream::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input))),
            Codec::Snappy => Stream::Snappy(snappy::Blocks::new(input)),
            Codec::Lz4 => Stream::Lz4(lz4::Frame::new(input)?),
            Codec::Zstd => Stream::Zstd(zstd::Frames::new(input)?),
        };
        Ok(Self { stream, limit, produced: 0, piece: Piece::default() })
    }

    /// Output not yet consumed; produces the next piece when there is none. Empty at the end of the stream, which is then
    /// known to be whole (checksums included).
    pub fn fill(&mut self) -> Result<&[u8], BatchError> {
        if self.piece.start == self.piece.end {
            let left = self.limit - self.produced;
            let count = self.stream.next(&mut self.piece, left)?;
            if count > left {
                return Err(BatchError::TooLarge { limit: self.limit });
            }
            self.produced += count;
            (self.piece.start, self.piece.end) = (0, count);
        }
        Ok(&self.piece.buffer[self.piece.start..self.piece.end])
    }

    /// Passes over `count` bytes of what [`fill`](Self::fill) gave.
    pub fn consume(&mut self, count: usize) {
        self.piece.start = self.piece.end.min(self.piece.start + count);
    }

    /// The bytes that may still be consumed without producing more.
    pub(crate) fn ready(&self) -> &[u8] {
        &self.piece.buffer[self.piece.start..self.piece.end]
    }
}

impl Stream<'_> {
    /// Puts the next piece at the start of the buffer and returns its size; 0 at the end. May give more than `left`, which its
    /// caller refuses, but never allocates more than about that.
    fn next(&mut self, piece: &mut Piece, left: usize) -> Result<usize, BatchError> {
        let chunk = DECOMPRESSED_PIECE_BYTES.min(left.saturating_add(1));
        match self {
            Self::None(input) => {
                let count = chunk.min(input.len());
                let (now, later) = input.split_at(count);
                piece.room(count).copy_from_slice(now);
                *input = later;
                Ok(count)
            }
            Self::Gzip(decoder) => decoder.read(piece.room(chunk)).map_err(|e| broken(Codec::Gzip, &e)),
            Self::Zstd(frames) => frames.next(piece, chunk),
            Self::Snappy(blocks) => blocks.next(piece, left),
            Self::Lz4(frame) => frame.next(piece, left),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 7 % 251) as u8 ^ (i % 3) as u8).collect()
    }

    #[test]
    fn every_codec_gives_back_what_it_was_given() {
        for codec in Codec::ALL {
            for len in [0, 1, 100, 70_000, 300_000] {
                let input = sample(len);
                let mut compressed = Vec::new();
                compress(codec, None, &input, &mut compressed).unwrap();
                assert_eq!(decompress(codec, &compressed, len).unwrap(), input, "{codec} {len}");
            }
        }
    }

    #[test]
    fn what_is_compressed_in_pieces_is_what_is_compressed_at_once() {
        let input = sample(300_000);
        for codec in Codec::ALL {
            let mut at_once = vec![1, 2, 3];
            compress(codec, None, &input, &mut at_once).unwrap();
            for piece in [1, 1000, 65_537] {
                let mut compressor = Compressor::new(codec, None, vec![1, 2, 3]).unwrap();
                input.chunks(piece).for_each(|piece| compressor.write(piece).unwrap());
                let stream = compressor.finish().unwrap();
                assert!(stream.starts_with(&[1, 2, 3]), "behind what is there");
                assert_eq!(decompress(codec, &stream[3..], input.len()).unwrap(), input, "{codec} {piece}");
                // Where deflate ends its blocks depends on how its input comes.
                assert!(codec == Codec::Gzip || stream == at_once, "{codec} {piece}");
            }
        }
    }

    #[test]
    fn output_stops_at_the_limit() {
        let input = vec![0; 200_000];
        for codec in Codec::ALL {
            let mut compressed = Vec::new();
            compress(codec, None, &input, &mut compressed).unwrap();
            for limit in [0, 1, 65_535, 65_536, 199_999] {
                assert_eq!(
                    decompress(codec, &compressed, limit),
                    Err(BatchError::TooLarge { limit }),
                    "{codec} {limit}"
                );
            }
        }
    }

    #[test]
    fn raw_snappy_is_read_as_librdkafka_writes_it() {
        let input = sample(300_000);
        let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
        assert_eq!(decompress(Codec::Snappy, &raw, input.len()).unwrap(), input);
        assert_eq!(decompress(Codec::Snappy, &raw, 299_999), Err(BatchError::TooLarge { limit: 299_999 }));
    }

    #[test]
    fn lz4_frames_of_every_kind_are_read_except_linked_ones() {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
        let input = sample(200_000);
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for flags in 0..8_u8 {
                let info = FrameInfo::new()
                    .block_mode(BlockMode::Independent)
                    .block_size(size)
                    .content_size((flags & 1 != 0).then_some(input.len() as u64))
                    .content_checksum(flags & 2 != 0)
                    .block_checksums(flags & 4 != 0);
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&input).unwrap();
                let frame = encoder.finish().unwrap();
                assert_eq!(decompress(Codec::Lz4, &frame, input.len()).unwrap(), input, "{flags}");
                let mut damaged = frame.clone();
                let middle = frame.len() / 2;
                damaged[middle] ^= 1;
                if flags & 6 != 0 {
                    assert!(decompress(Codec::Lz4, &damaged, input.len()).is_err(), "{flags}");
                }
            }
        }
        let mut encoder =
            FrameEncoder::with_frame_info(FrameInfo::new().block_mode(BlockMode::Linked), Vec::new());
        encoder.write_all(&input).unwrap();
        let reason = "linked blocks are not accepted";
        let refused = BatchError::Compressed { codec: Codec::Lz4, reason };
        assert_eq!(decompress(Codec::Lz4, &encoder.finish().unwrap(), input.len()), Err(refused));
    }

    #[test]
    fn frames_and_members_one_after_another_are_read() {
        let (one, two) = (sample(1000), sample(50_000));
        for codec in [Codec::Gzip, Codec::Zstd] {
            let mut compressed = Vec::new();
            compress(codec, None, &one, &mut compressed).unwrap();
            compress(codec, Some(1), &two, &mut compressed).unwrap();
            assert_eq!(decompress(codec, &compressed, 51_000).unwrap(), [&one[..], &two].concat(), "{codec}");
        }
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let input = sample(100_000);
        for codec in Codec::ALL.into_iter().skip(1) {
            let mut compressed = Vec::new();
            compress(codec, None, &input, &mut compressed).unwrap();
            for cut in [1, 5, 17, compressed.len() / 2, compressed.len() - 1] {
                assert!(decompress(codec, &compressed[..cut], 1 << 20).is_err(), "{codec} {cut}");
            }
        }
    }
}
