//! The CRC-32C of a commit's body, made without going through batches a second time whose own CRC is known.
//!
//! A batch's CRC covers all of it but the first 21 bytes, and whoever stages a batch has checked or made that CRC. So of
//! a long whole batch only what lies before the covered part is read, and the rest is taken in by its CRC and length:
//! `crc(A ‖ B) = crc(A) · x^(8·|B|) mod P ⊕ crc(B)`, a few multiplications whatever the length. The value is the same as if
//! all bytes were read; the format knows nothing of it.
//!
//! **Contract.** What lies before a batch in the buffer, and its first 21 bytes, are final when it is taken in. What
//! was not taken in (short batches, pieces of a cut one, carried bytes, entries without a payload, padding) is read when
//! the next batch is, or at the end. Debug builds, and with them all tests and the simulator, compare with the CRC of
//! the whole body when a commit is sealed; release builds do so now and then, and stop rather than write a wrong one.
//!
//! **When memory rots** between the check of a long batch and its commit, the commit's CRC does not match what is
//! written. Recovery then takes the commit for damaged (for torn, if it is the newest and no header calls it durable)
//! instead of blessing it. The same goes for a batch that was never checked, and the damage is the whole commit's and
//! the chain's behind it: hence the contract of [`Append`](crate::Append).
//!
//! CRCs are polynomials over GF(2) with the coefficient of x^0 in the highest bit, as hardware has them. The product of
//! two is made of integer multiplications with holes for the carries, and reduced by the CRC instruction itself, for
//! this crate has no `unsafe` and so no PCLMULQDQ; the `combine` of the CRC's crate squares matrices, which takes longer
//! than to read a commit. `prints_what_known_crcs_save` has the figures.

use std::ops::Range;

use wire::kafka::record_batch::{BatchHeader, CRC_COVERS_FROM};

use super::format::HEADER_BYTES;
use crate::limits::{COMMIT_BYTES_MAX, KNOWN_CRC_FROM_BYTES};

/// The CRC of the entries of the commit being filled, as far as they were taken in.
#[derive(Debug)]
pub(super) struct BodyCrc {
    /// The CRC of the bytes of the buffer from the commit's header to here.
    to: usize,
    crc: u32,
}

impl BodyCrc {
    /// Of a commit without entries.
    pub(super) fn new() -> Self {
        Self { to: HEADER_BYTES, crc: 0 }
    }

    /// Takes in a whole batch at `range` of the commit's buffer by the CRC in `header`, if that is worth it, and what
    /// lies before it. Offset and epoch may differ from those in `header`, and are final.
    pub(super) fn take_batch(&mut self, buffer: &[u8], range: Range<usize>, header: &BatchHeader) {
        // A header of other bytes, which no caller should give, is not believed: a wrong CRC here loses a whole commit.
        let is_of_these = |batch| {
            BatchHeader::parse(batch).is_ok_and(|own| own.size == batch.len() && own.crc == header.crc)
        };
        if range.len() < KNOWN_CRC_FROM_BYTES || !is_of_these(&buffer[range.clone()]) {
            return;
        }
        let covered = range.start + CRC_COVERS_FROM;
        let before = crc32c::crc32c_append(self.crc, &buffer[self.to..covered]);
        self.crc = combined(before, header.crc, range.end - covered);
        self.to = range.end;
    }

    /// The CRC of all entries in the buffer, of which the last ends where it does.
    pub(super) fn finish(self, buffer: &[u8]) -> u32 {
        crc32c::crc32c_append(self.crc, &buffer[self.to..])
    }
}

/// P without its x^32.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// x^0.
const ONE: u32 = 1 << 31;
/// Lengths are taken apart into digits of this many bits,
const DIGIT_BITS: usize = 5;
/// and this many of them. The more bits, the fewer multiplications and the larger the table.
const DIGITS: usize = 4;
const RADIX: usize = 1 << DIGIT_BITS;

/// By digit and its place in a length: x^(8 · digit · RADIX^place) mod P. 512 bytes.
static POWERS: [[u32; RADIX]; DIGITS] = powers();

const _: () = assert!(COMMIT_BYTES_MAX <= 1 << (DIGIT_BITS * DIGITS));

const fn powers() -> [[u32; RADIX]; DIGITS] {
    let mut powers = [[ONE; RADIX]; DIGITS];
    let mut step = ONE >> 8;
    let mut place = 0;
    while place < DIGITS {
        let mut digit = 1;
        while digit < RADIX {
            powers[place][digit] = product_by_bits(powers[place][digit - 1], step);
            digit += 1;
        }
        step = product_by_bits(powers[place][RADIX - 1], step);
        place += 1;
    }
    powers
}

/// The product mod P, bit by bit, for the table.
const fn product_by_bits(a: u32, b: u32) -> u32 {
    let (mut product, mut shifted, mut power) = (0, b, 0);
    while power < 32 {
        if a & (ONE >> power) != 0 {
            product ^= shifted;
        }
        let carried = shifted & 1 != 0;
        shifted = (shifted >> 1) ^ if carried { POLYNOMIAL } else { 0 };
        power += 1;
    }
    product
}

/// The CRC of two byte strings, one behind the other, of their CRCs and the length of the second, which is below 2^20.
fn combined(first: u32, second: u32, length: usize) -> u32 {
    assert!(length < 1 << (DIGIT_BITS * DIGITS));
    let power = |place: usize| POWERS[place][length >> (place * DIGIT_BITS) & (RADIX - 1)];
    // All but one of these do not wait for `first`.
    let high = product(power(1), product(power(2), power(3)));
    product(product(first, power(0)), high) ^ second
}

/// The product mod P.
fn product(a: u32, b: u32) -> u32 {
    // One more place up, so that the higher half is that of the powers below x^32.
    let whole = product_in_full(a, b) << 1;
    let (low_powers, high_powers) = ((whole >> 32) as u32, whole as u32);
    // A CRC of four bytes multiplies them by x^32 mod P; ours has no inversion at either end.
    low_powers ^ !crc32c::crc32c_append(!0, &high_powers.to_le_bytes())
}

/// The product of 63 bits. In a factor every fourth bit is kept, so that a column adds up at most 8 ones and its carries
/// stay in the three bits above it, which are then dropped (as in `BearSSL`'s GHASH).
fn product_in_full(a: u32, b: u32) -> u64 {
    const EVERY_FOURTH: u64 = 0x1111_1111_1111_1111;
    let every_fourth = |factor: u32| [0, 1, 2, 3].map(|lane| u64::from(factor) & (EVERY_FOURTH << lane));
    let (a, b) = (every_fourth(a), every_fourth(b));
    let mut product = 0;
    for lane in 0..4 {
        let column = (0..4).fold(0, |sum, i| sum ^ (a[i] * b[(4 + lane - i) % 4]));
        product |= column & (EVERY_FOURTH << lane);
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::COMMIT_BYTES_MAX;
    use crate::seeded::{Random, SEEDS};
    use std::time::Instant;
    use wire::kafka::record_batch::{HEADER_LEN, MAGIC, set_base_offset, set_crc, set_leader_epoch};

    fn random_bytes(random: &mut Random, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }

    /// A batch as far as its length and CRC go, and its header.
    fn batch(random: &mut Random, length: usize) -> (Vec<u8>, BatchHeader) {
        let mut bytes = random_bytes(random, length);
        bytes[8..12].copy_from_slice(&(length as i32 - 12).to_be_bytes());
        bytes[16] = MAGIC as u8;
        set_crc(&mut bytes);
        let header = BatchHeader::parse(&bytes).unwrap();
        (bytes, header)
    }

    fn random_length(random: &mut Random) -> usize {
        let most = if random.one_in(20) { 300_000 } else { 4 * KNOWN_CRC_FROM_BYTES as u64 };
        HEADER_LEN + random.below(most) as usize
    }

    /// Appends a batch, sets its offset and epoch, takes it in.
    fn put(
        body: &mut BodyCrc,
        buffer: &mut Vec<u8>,
        batch: &[u8],
        header: &BatchHeader,
        random: &mut Random,
    ) {
        let start = buffer.len();
        buffer.extend_from_slice(batch);
        set_base_offset(&mut buffer[start..], random.next() as i64);
        set_leader_epoch(&mut buffer[start..], random.next() as i32);
        body.take_batch(buffer, start..buffer.len(), header);
    }

    #[test]
    fn the_crc_of_a_body_is_that_of_all_its_bytes() {
        let mut known = 0;
        for seed in SEEDS {
            let mut random = Random::new(seed);
            let mut buffer = vec![0xAA; HEADER_BYTES];
            let mut body = BodyCrc::new();
            for _ in 0..random.below(30) {
                let between = random.below(200) as usize;
                buffer.extend(random_bytes(&mut random, between));
                let length = random_length(&mut random);
                let (batch, header) = batch(&mut random, length);
                if random.one_in(4) {
                    buffer.extend(batch);
                } else {
                    put(&mut body, &mut buffer, &batch, &header, &mut random);
                    known += u64::from(body.to == buffer.len());
                }
            }
            assert_eq!(body.finish(&buffer), crc32c::crc32c(&buffer[HEADER_BYTES..]), "seed {seed}");
        }
        assert!(known > 500, "{known}");
    }

    #[test]
    fn a_batch_of_any_length_is_taken_in() {
        let mut random = Random::new(1);
        let longest = COMMIT_BYTES_MAX - HEADER_BYTES - super::super::format::ENTRY_BYTES;
        let around = |length: usize| length - 40..length + 40;
        let lengths = around(KNOWN_CRC_FROM_BYTES)
            .chain((13..20).flat_map(|power| around(1 << power)))
            .chain((KNOWN_CRC_FROM_BYTES..longest).step_by(10_007))
            .chain([longest]);
        for length in lengths {
            let (batch, header) = batch(&mut random, length);
            let (mut body, mut buffer) = (BodyCrc::new(), vec![0; HEADER_BYTES + 56]);
            put(&mut body, &mut buffer, &batch, &header, &mut random);
            assert_eq!(body.to == buffer.len(), length >= KNOWN_CRC_FROM_BYTES, "length {length}");
            assert_eq!(body.finish(&buffer), crc32c::crc32c(&buffer[HEADER_BYTES..]), "length {length}");
        }
    }

    #[test]
    fn crcs_combine_as_their_own_crate_combines_them() {
        let mut random = Random::new(2);
        let places = (0..DIGITS).flat_map(|place| (0..RADIX).map(move |digit| digit << (place * DIGIT_BITS)));
        let mut lengths: Vec<usize> = places.chain([COMMIT_BYTES_MAX - 1]).collect();
        lengths.extend((0..3_000).map(|_| random.below(COMMIT_BYTES_MAX as u64) as usize));
        for length in lengths {
            let (first, second) = (random.next() as u32, random.next() as u32);
            // The crate gives the first CRC back for a second string of no bytes, whatever its CRC.
            let second = if length == 0 { 0 } else { second };
            let expected = crc32c::crc32c_combine(first, second, length);
            assert_eq!(combined(first, second, length), expected, "{first:#x} {second:#x} {length}");
        }
    }

    #[test]
    fn products_are_those_made_bit_by_bit() {
        let single = (0..32).flat_map(|i| (0..32).map(move |j| (1 << i, 1 << j)));
        let mut random = Random::new(3);
        let any = (0..100_000).map(|_| (random.next() as u32, random.next() as u32));
        for (a, b) in single.chain(any).chain([(0, !0), (!0, !0), (!0, ONE)]) {
            assert_eq!(product(a, b), product_by_bits(a, b), "{a:#x} {b:#x}");
        }
    }

    #[test]
    fn a_header_of_other_bytes_is_not_believed() {
        let mut random = Random::new(4);
        let (batch, mut header) = batch(&mut random, 3 * KNOWN_CRC_FROM_BYTES);
        header.crc ^= 1;
        let (mut body, mut buffer) = (BodyCrc::new(), vec![0; HEADER_BYTES]);
        put(&mut body, &mut buffer, &batch, &header, &mut random);
        assert_eq!(body.finish(&buffer), crc32c::crc32c(&buffer[HEADER_BYTES..]));
    }

    #[test]
    fn a_bit_that_flips_after_a_batch_was_checked_is_not_blessed() {
        let mut random = Random::new(5);
        let (mut batch, header) = batch(&mut random, 3 * KNOWN_CRC_FROM_BYTES);
        header.verify_crc(&batch).unwrap();
        let at = CRC_COVERS_FROM + random.below((batch.len() - CRC_COVERS_FROM) as u64) as usize;
        batch[at] ^= 1 << random.below(8);
        let (mut body, mut buffer) = (BodyCrc::new(), vec![0; HEADER_BYTES]);
        put(&mut body, &mut buffer, &batch, &header, &mut random);
        assert_ne!(body.finish(&buffer), crc32c::crc32c(&buffer[HEADER_BYTES..]));
    }

    /// The least nanoseconds a call of 9 runs.
    fn nanoseconds(calls: u32, mut call: impl FnMut()) -> f64 {
        let run = |_| {
            let started = Instant::now();
            (0..calls).for_each(|_| call());
            started.elapsed().as_nanos() as f64 / f64::from(calls)
        };
        (0..9).map(run).fold(f64::MAX, f64::min)
    }

    /// `cargo test --release -p storage --lib known_crcs_save -- --ignored --nocapture`
    #[test]
    #[ignore = "prints figures, of release builds"]
    fn prints_what_known_crcs_save() {
        use std::hint::black_box;
        let mut random = Random::new(6);
        let lengths: Vec<usize> = (0..1024).map(|_| random.below(COMMIT_BYTES_MAX as u64) as usize).collect();
        let (mut crc, mut at) = (0, 0);
        let mut next = || {
            at = (at + 1) % lengths.len();
            lengths[at]
        };
        let ours = nanoseconds(200_000, || crc = combined(crc, 1, next()));
        let theirs = nanoseconds(1_000, || crc = crc32c::crc32c_combine(crc, 1, next()));
        println!("one combine: {ours:.0} ns, the crate's {theirs:.0} ns ({:#x})", black_box(crc));
        for length in [512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 64 << 10, 128 << 10] {
            // Whole commits of such batches, of at most the bytes given: the CPU's nearest cache has the small ones.
            for commit_bytes in [16 << 10, COMMIT_BYTES_MAX] {
                let (batch, header) = batch(&mut random, length);
                let (mut buffer, mut ranges) = (vec![0; HEADER_BYTES], Vec::new());
                while ranges.is_empty() || buffer.len() + 56 + length <= commit_bytes {
                    buffer.extend_from_slice(&[1; 56]);
                    ranges.push(buffer.len()..buffer.len() + length);
                    buffer.extend_from_slice(&batch);
                }
                let calls = (32 << 20) / buffer.len() as u32;
                let each = ranges.len() as f64;
                let read = nanoseconds(calls, || {
                    black_box(BodyCrc::new().finish(black_box(&buffer)));
                });
                let known = nanoseconds(calls, || {
                    let mut body = BodyCrc::new();
                    for range in &ranges {
                        body.take_batch(black_box(&buffer), range.clone(), &header);
                    }
                    black_box(body.finish(&buffer));
                });
                let (read, known) = (read / each, known / each);
                println!(
                    "{length:>6} B, {each:>4} a commit: read {read:>5.0} ns each, known {known:>5.0} ns"
                );
            }
        }
    }
}
