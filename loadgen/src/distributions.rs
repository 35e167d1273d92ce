//! What records are like: sizes and keys, as they are written on the command line, and drawn.

use std::fmt;
use std::str::FromStr;

use crate::limits::{LOGNORMAL_BYTES_MAX, VALUE_BYTES_MAX};
use crate::random::{Random, Zipf};

/// How many bytes values have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sizes {
    Fixed(usize),
    /// Every size from the first to the last is as likely.
    Uniform(usize, usize),
    /// Many small ones and a long tail, as what people write: the logarithm is normal.
    Lognormal {
        median: f64,
        sigma: f64,
        max: usize,
    },
}

impl Sizes {
    /// The next size; not below `least`.
    pub(crate) fn draw(&self, random: &mut Random, least: usize) -> usize {
        let drawn = match *self {
            Self::Fixed(size) => size,
            Self::Uniform(first, last) => first + random.below((last - first) as u64 + 1) as usize,
            Self::Lognormal { median, sigma, max } => {
                ((median * (sigma * random.normal()).exp()) as usize).min(max)
            }
        };
        drawn.max(least)
    }

    /// Whether every value has room for `bytes`, or may be made larger: a tail has no size of its own to keep.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        match *self {
            Self::Fixed(size) => size >= bytes,
            Self::Uniform(first, _) => first >= bytes,
            Self::Lognormal { max, .. } => max >= bytes,
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = |text: &str| match text.parse() {
            Ok(size) if (1..=VALUE_BYTES_MAX).contains(&size) => Ok(size),
            _ => Err(format!("{text:?} is not a number of bytes from 1 to {VALUE_BYTES_MAX}")),
        };
        let is_plain = text.starts_with(|first: char| first.is_ascii_digit());
        let (kind, rest) = text.split_once(':').unwrap_or((if is_plain { "fixed" } else { "" }, text));
        match kind {
            "fixed" => size(rest).map(Self::Fixed),
            "uniform" => {
                let (first, last) = rest.split_once('-').ok_or("expected uniform:A-B")?;
                let (first, last) = (size(first)?, size(last)?);
                if first > last {
                    return Err(format!("{first} is above {last}"));
                }
                Ok(Self::Uniform(first, last))
            }
            "lognormal" => {
                let parts: Vec<&str> = rest.split(',').collect();
                let (median, sigma, max) = match parts[..] {
                    [median, sigma] => (size(median)?, sigma, LOGNORMAL_BYTES_MAX),
                    [median, sigma, max] => (size(median)?, sigma, size(max)?),
                    _ => return Err("expected lognormal:MEDIAN,SIGMA[,MAX]".to_owned()),
                };
                let sigma = number(sigma, 0.0, 10.0)?;
                Ok(Self::Lognormal { median: median as f64, sigma, max })
            }
            _ => Err("expected N, fixed:N, uniform:A-B or lognormal:MEDIAN,SIGMA[,MAX]".to_owned()),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "fixed:{size}"),
            Self::Uniform(first, last) => write!(f, "uniform:{first}-{last}"),
            Self::Lognormal { median, sigma, max } => write!(f, "lognormal:{median},{sigma},{max}"),
        }
    }
}

/// Which keys records have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Keys {
    None,
    /// So many keys, each as likely.
    Uniform(u64),
    /// So many keys, the n-th in proportion to `1 / n^skew`.
    Zipf(u64, f64),
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const COUNT_MAX: u64 = 1_000_000_000_000;
        let count = |text: &str| match text.parse() {
            Ok(count) if (1..=COUNT_MAX).contains(&count) => Ok(count),
            _ => Err(format!("{text:?} is not a number of keys from 1 to {COUNT_MAX}")),
        };
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            Some(("uniform", keys)) => count(keys).map(Self::Uniform),
            Some(("zipf", rest)) => {
                let (keys, skew) = rest.split_once(',').ok_or("expected zipf:N,S")?;
                Ok(Self::Zipf(count(keys)?, number(skew, 0.0, 10.0)?))
            }
            _ => Err("expected none, uniform:N or zipf:N,S".to_owned()),
        }
    }
}

/// Draws the keys of one thread. The threads of a part share the keys out among themselves, so that a key is always
/// drawn by the same thread and so always goes to the same partition.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyDraw {
    Uniform(u64),
    Zipf(Zipf),
}

impl KeyDraw {
    /// This thread's keys, one at least; `None` without keys.
    pub(crate) fn new(keys: Keys, threads: u64) -> Option<Self> {
        match keys {
            Keys::None => None,
            Keys::Uniform(count) => Some(Self::Uniform(count.div_ceil(threads))),
            Keys::Zipf(count, skew) => Some(Self::Zipf(Zipf::new(count.div_ceil(threads), skew))),
        }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        match self {
            Self::Uniform(count) => random.below(*count),
            Self::Zipf(zipf) => zipf.draw(random),
        }
    }
}

/// Headers of every record: how many, and the bytes of each one's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderShape {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl FromStr for HeaderShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use crate::limits::{HEADER_BYTES_MAX, HEADERS_MAX};
        let wrong = || format!("expected N:BYTES, to {HEADERS_MAX}:{HEADER_BYTES_MAX}");
        let (count, bytes) = text.split_once(':').ok_or_else(wrong)?;
        match (count.parse(), bytes.parse()) {
            (Ok(count), Ok(bytes)) if count <= HEADERS_MAX && bytes <= HEADER_BYTES_MAX => {
                Ok(Self { count, bytes })
            }
            _ => Err(wrong()),
        }
    }
}

/// A finite number from `least` to `most`.
pub(crate) fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is not a number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Vec<usize> {
        let (sizes, mut random) = (text.parse::<Sizes>().unwrap(), Random::stream(1, &[]));
        (0..20_000).map(|_| sizes.draw(&mut random, 1)).collect()
    }

    #[test]
    fn sizes_are_drawn_as_written() {
        assert!(sizes("100").iter().chain(&sizes("fixed:100")).all(|size| *size == 100));
        let uniform = sizes("uniform:10-20");
        for size in 10..=20 {
            let share = uniform.iter().filter(|drawn| **drawn == size).count();
            assert!((1_500..2_200).contains(&share), "{size}: {share}");
        }
        assert!(uniform.iter().all(|size| (10..=20).contains(size)));
    }

    #[test]
    fn a_lognormal_size_has_its_median_and_its_tail_and_its_end() {
        let mut drawn = sizes("lognormal:1000,1.0,20000");
        drawn.sort_unstable();
        let median = drawn[drawn.len() / 2];
        assert!((950..1050).contains(&median), "{median}");
        // e^1 above the median lies at a deviation of 1: 84.1 %.
        let above = drawn[drawn.len() * 841 / 1000];
        assert!((2500..2950).contains(&above), "{above}");
        assert_eq!(drawn.last(), Some(&20_000));
    }

    #[test]
    fn values_are_never_too_small_for_their_stamp() {
        let (sizes, mut random) = ("lognormal:20,2".parse::<Sizes>().unwrap(), Random::stream(1, &[]));
        assert!((0..1000).all(|_| sizes.draw(&mut random, 16) >= 16));
        assert!(sizes.has_room_for(16) && !Sizes::Fixed(15).has_room_for(16));
    }

    #[test]
    fn nonsense_is_refused_with_what_was_expected() {
        for bad in ["", "0", "uniform:5", "uniform:9-5", "lognormal:5", "lognormal:5,x", "triangle:4", "-3"] {
            assert!(bad.parse::<Sizes>().is_err(), "{bad}");
        }
        for bad in ["", "uniform", "uniform:0", "zipf:5", "zipf:5,-1", "both"] {
            assert!(bad.parse::<Keys>().is_err(), "{bad}");
        }
        for bad in ["", "3", "3:", "1000:1", "1:1000000"] {
            assert!(bad.parse::<HeaderShape>().is_err(), "{bad}");
        }
        assert_eq!("zipf:10,0.9".parse(), Ok(Keys::Zipf(10, 0.9)));
        assert_eq!("3:40".parse(), Ok(HeaderShape { count: 3, bytes: 40 }));
    }

    #[test]
    fn keys_are_spread_as_written() {
        let count = |keys: &str| {
            let draw = KeyDraw::new(keys.parse().unwrap(), 1).unwrap();
            let mut random = Random::stream(5, &[]);
            (0..10_000).filter(|_| draw.draw(&mut random) == 0).count()
        };
        assert!((70..130).contains(&count("uniform:100")), "{}", count("uniform:100"));
        assert!(count("zipf:100,1.0") > 1500, "{}", count("zipf:100,1.0"));
        assert!(KeyDraw::new(Keys::None, 1).is_none());
    }
}
