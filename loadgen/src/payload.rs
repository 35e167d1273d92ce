//! The bytes of record values.
//!
//! Values are slices of a pool that is larger than a batch, one after the other, so that a codec finds in a batch only
//! the likeness that was asked for, and not that of a value repeated. Without a wish the pool has capital letters, as
//! Kafka's own performance tool sends: random, yet compressible to somewhat over half. With `--compressibility` a part
//! of each block of the pool is random bytes and the rest zeros.

use std::ops::Range;

use reactor::Instant;

use crate::limits::PAYLOAD_POOL_BYTES;
use crate::random::Random;

/// Bytes that a latency stamp takes at the start of a value.
pub(crate) const STAMP_BYTES: usize = 16;

/// Bytes of the pool after which random bytes and zeros come anew: small beside any batch, large beside what a codec
/// spends on a run.
const BLOCK_BYTES: usize = 512;

/// Bytes to make values of.
#[derive(Debug)]
pub(crate) struct Pool {
    bytes: Vec<u8>,
    position: usize,
}

impl Pool {
    /// Letters, or bytes of which about the part `compressibility` (from 0 to 1) can be compressed away.
    pub(crate) fn new(compressibility: Option<f64>, random: &mut Random) -> Self {
        let mut bytes = Vec::with_capacity(PAYLOAD_POOL_BYTES + 8);
        while bytes.len() < PAYLOAD_POOL_BYTES {
            let word = random.next_u64().to_le_bytes();
            match compressibility {
                None => bytes.extend(word.map(|byte| b'A' + byte % 26)),
                Some(_) => bytes.extend(word),
            }
        }
        bytes.truncate(PAYLOAD_POOL_BYTES);
        let zeros = (compressibility.unwrap_or(0.0) * BLOCK_BYTES as f64) as usize;
        for block in bytes.chunks_mut(BLOCK_BYTES) {
            let random = block.len().saturating_sub(zeros);
            block[random..].fill(0);
        }
        Self { bytes, position: 0 }
    }

    /// The place of the next `len` bytes, if they lie in one piece and so need no copy.
    pub(crate) fn piece(&mut self, len: usize) -> Option<Range<usize>> {
        let piece = self.position..self.position + len;
        (piece.end <= self.bytes.len()).then(|| {
            self.position = piece.end % self.bytes.len();
            piece
        })
    }

    /// The bytes of a [`Pool::piece`].
    pub(crate) fn get(&self, piece: Range<usize>) -> &[u8] {
        &self.bytes[piece]
    }

    /// Makes `value` the next `len` bytes of the pool.
    pub(crate) fn fill(&mut self, value: &mut Vec<u8>, len: usize) {
        value.clear();
        while value.len() < len {
            let here = (len - value.len()).min(self.bytes.len() - self.position);
            value.extend_from_slice(&self.bytes[self.position..self.position + here]);
            self.position = (self.position + here) % self.bytes.len();
        }
    }
}

/// Writes the run and the intended time of a record into its value, which has room for it.
pub(crate) fn stamp(value: &mut [u8], run: u64, intended: Instant) {
    value[..8].copy_from_slice(&run.to_be_bytes());
    value[8..STAMP_BYTES].copy_from_slice(&intended.as_ns().to_be_bytes());
}

/// The intended time that [`stamp`] wrote; `None` for a value of another run.
pub(crate) fn read_stamp(value: &[u8], run: u64) -> Option<Instant> {
    let (written, rest) = value.split_first_chunk::<8>()?;
    let intended = rest.first_chunk::<8>()?;
    (u64::from_be_bytes(*written) == run).then(|| Instant::from_ns(u64::from_be_bytes(*intended)))
}

#[cfg(test)]
mod tests {
    use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
    use wire::kafka::compression::Codec;

    use super::*;

    fn pool(compressibility: Option<f64>) -> Pool {
        Pool::new(compressibility, &mut Random::stream(7, &[]))
    }

    #[test]
    fn values_are_letters_of_the_asked_length_and_differ() {
        let (mut pool, mut value, mut before) = (pool(None), Vec::new(), Vec::new());
        for len in [1, 8, 100, 1023, PAYLOAD_POOL_BYTES + 5] {
            pool.fill(&mut value, len);
            assert_eq!(value.len(), len);
            assert!(value.iter().all(u8::is_ascii_uppercase));
            assert_ne!(value, before);
            before.clone_from(&value);
        }
    }

    /// The part of a batch of 1,000-byte values that a codec takes away.
    fn compressed_away(codec: Codec, compressibility: Option<f64>) -> f64 {
        let (mut pool, mut value) = (pool(compressibility), Vec::new());
        let mut batch = BatchBuilder::new(codec);
        for _ in 0..100 {
            pool.fill(&mut value, 1000);
            batch.push(&NewRecord { value: Some(&value), ..NewRecord::default() });
        }
        let size = batch.size();
        1.0 - batch.build().unwrap().len() as f64 / size as f64
    }

    #[test]
    fn codecs_take_away_the_part_that_was_asked_for() {
        for codec in [Codec::Lz4, Codec::Zstd, Codec::Snappy, Codec::Gzip] {
            for asked in [0.0, 0.3, 0.5, 0.8] {
                let found = compressed_away(codec, Some(asked));
                assert!((found - asked).abs() < 0.07, "{codec:?} {asked}: {found}");
            }
            assert!(compressed_away(codec, Some(1.0)) > 0.9, "{codec:?}");
        }
        let letters = compressed_away(Codec::Zstd, None);
        assert!((0.35..0.45).contains(&letters), "{letters}");
    }

    #[test]
    fn a_stamp_is_read_back() {
        let mut value = vec![0; 20];
        stamp(&mut value, 9, Instant::from_ns(123_456));
        assert_eq!(read_stamp(&value, 9), Some(Instant::from_ns(123_456)));
        assert_eq!(read_stamp(&value, 8), None, "of another run");
        assert_eq!(read_stamp(b"short", 9), None);
    }
}
