//! The bytes of record values.
//!
//! Values are drawn from capital letters, as Kafka's own performance tool does: random, yet compressible to about two
//! thirds, so that a codec has something to do and something to lose.

use reactor::Instant;

/// Bytes that a latency stamp takes at the start of a value.
pub(crate) const STAMP_BYTES: usize = 16;

/// A value of `len` letters, the same for the same seed.
pub(crate) fn letters(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
    let mut value = Vec::with_capacity(len);
    while value.len() < len {
        // xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let number = state.wrapping_mul(0x2545_F491_4F6C_DD1D);
        value.extend(number.to_le_bytes().iter().take(len - value.len()).map(|byte| b'A' + byte % 26));
    }
    value
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
    use super::*;

    #[test]
    fn values_are_letters_of_the_asked_length() {
        for len in [0, 1, 8, 100, 1023] {
            let value = letters(len, 7);
            assert_eq!(value.len(), len);
            assert!(value.iter().all(u8::is_ascii_uppercase));
        }
        assert_eq!(letters(50, 1), letters(50, 1));
        assert_ne!(letters(50, 1), letters(50, 2));
    }

    #[test]
    fn a_stamp_is_read_back() {
        let mut value = letters(20, 0);
        stamp(&mut value, 9, Instant::from_ns(123_456));
        assert_eq!(read_stamp(&value, 9), Some(Instant::from_ns(123_456)));
        assert_eq!(read_stamp(&value, 8), None, "of another run");
        assert_eq!(read_stamp(b"short", 9), None);
    }
}
