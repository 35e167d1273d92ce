//! Random messages that are valid in a version, from a seed. For tests and fuzzers only (feature `sample`).

use bytes::Bytes;

use super::message::{Form, Nullable};
use super::types::{Float64, Str, Uuid};
use super::writer::Records;

/// A random number generator (splitmix64) with what the samples need to remember.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
    /// Whether the field being sampled may be null.
    pub nulls: bool,
}

impl Dice {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, nulls: false }
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }

    /// Mostly short, now and then long enough for a varint of two bytes.
    fn len(&mut self) -> usize {
        let limit = if self.below(8) == 0 { 300 } else { 12 };
        self.below(limit)
    }
}

/// A type of which random values can be made.
pub trait Sample: Sized {
    /// A value that is valid in `form`.
    fn sample(dice: &mut Dice, form: Form) -> Self;
}

macro_rules! integer_samples {
    ($($ty:ty)*) => { $(
        impl Sample for $ty {
            fn sample(dice: &mut Dice, _: Form) -> Self {
                match dice.below(6) {
                    0 => 0,
                    1 => -1,
                    2 => <$ty>::MAX,
                    3 => <$ty>::MIN,
                    _ => dice.roll() as $ty,
                }
            }
        }
    )* };
}

integer_samples! { i8 i16 i32 i64 }

impl Sample for Float64 {
    fn sample(dice: &mut Dice, form: Form) -> Self {
        // Never a NaN, which another codec could not compare.
        Self(i32::sample(dice, form).into())
    }
}

impl Sample for bool {
    fn sample(dice: &mut Dice, _: Form) -> Self {
        dice.below(2) == 1
    }
}

impl Sample for Uuid {
    fn sample(dice: &mut Dice, _: Form) -> Self {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&dice.roll().to_be_bytes());
        id[8..].copy_from_slice(&dice.roll().to_be_bytes());
        Self(id)
    }
}

impl Sample for Str {
    fn sample(dice: &mut Dice, _: Form) -> Self {
        const LETTERS: [char; 6] = ['a', 'Z', '0', '-', 'é', '語'];
        (0..dice.len()).map(|_| LETTERS[dice.below(LETTERS.len())]).collect::<String>().into()
    }
}

impl Sample for Bytes {
    fn sample(dice: &mut Dice, _: Form) -> Self {
        (0..dice.len()).map(|_| dice.roll() as u8).collect()
    }
}

impl Sample for Records {
    fn sample(dice: &mut Dice, form: Form) -> Self {
        if dice.below(4) == 0 {
            return Self::Null;
        }
        let bytes = Bytes::sample(dice, form);
        // One slice or none, as a reader would give it back.
        Self::Bytes(if bytes.is_empty() { Vec::new() } else { vec![bytes] })
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(dice: &mut Dice, form: Form) -> Self {
        (0..dice.below(4)).map(|_| T::sample(dice, form)).collect()
    }
}

impl<T: Sample + Nullable> Sample for Option<T> {
    fn sample(dice: &mut Dice, form: Form) -> Self {
        if dice.nulls && dice.below(3) == 0 { None } else { Some(T::sample(dice, form)) }
    }
}
