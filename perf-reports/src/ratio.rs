//! Ratios of pairs, and what they allow to say.
//!
//! Two runs of a pair follow each other, so what the machine does over minutes is in both and leaves their ratio. Of the
//! ratios of all pairs the median is shown with the least and the most. A verdict looks at an interval for the true
//! median that assumes nothing of how the ratios are spread (order statistics of the sign test): the ratios between the
//! k-th from below and the k-th from above, with the greatest k that still holds it with 95 %; with fewer than six pairs
//! that is all of them, which holds it with 75 % (three pairs) to 94 % (five).

use crate::figures::Better;
use crate::number::median;

/// Pairs that a verdict needs at least.
pub(crate) const PAIRS_MIN: usize = 3;

/// How sure the interval is to hold the true median where there are pairs enough.
const CONFIDENCE: f64 = 0.95;

/// The ratios of the pairs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) pairs: usize,
    /// The interval for the true median.
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// The chance that the interval holds it.
    pub(crate) confidence: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Better,
    Worse,
    /// The spread, or what is called noise, is wider than the difference.
    NoDifference,
    TooFewPairs,
    /// Neither way is better.
    NotJudged,
}

impl Verdict {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifference => "no difference that the spread allows",
            Self::TooFewPairs => "too few pairs to say",
            Self::NotJudged => "not judged",
        }
    }
}

/// `second / first`; two zeros are equal, and what came from nothing is infinitely more.
pub(crate) fn of(first: f64, second: f64) -> f64 {
    if first == 0.0 && second == 0.0 { 1.0 } else { second / first }
}

impl Spread {
    /// The spread of these ratios; nothing of none.
    pub(crate) fn of(ratios: &[f64]) -> Option<Self> {
        let mut sorted = ratios.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let (rank, confidence) = rank(sorted.len());
        Some(Self {
            median: median(&sorted)?,
            least,
            most,
            pairs: sorted.len(),
            low: sorted[rank - 1],
            high: sorted[sorted.len() - rank],
            confidence,
        })
    }

    /// What the pairs allow to say of a figure. `noise`: medians within this factor of 1 are no difference.
    pub(crate) fn verdict(&self, better: Better, noise: f64) -> Verdict {
        let more = match better {
            Better::Higher => Verdict::Better,
            Better::Lower => Verdict::Worse,
            Better::Neither => return Verdict::NotJudged,
        };
        let less = if more == Verdict::Better { Verdict::Worse } else { Verdict::Better };
        if self.pairs < PAIRS_MIN {
            Verdict::TooFewPairs
        } else if self.low > 1.0 && self.median > noise {
            more
        } else if self.high < 1.0 && self.median < 1.0 / noise {
            less
        } else {
            Verdict::NoDifference
        }
    }
}

/// The greatest rank from either end between which the true median lies with the confidence, and how sure that is.
fn rank(count: usize) -> (usize, f64) {
    let mut chosen = (1, outside(count, 1));
    for rank in 2..=count / 2 {
        let out = outside(count, rank);
        if out > 1.0 - CONFIDENCE {
            break;
        }
        chosen = (rank, out);
    }
    (chosen.0, 1.0 - chosen.1)
}

/// The chance that fewer than `rank` of `count` fair coins fall on one side.
fn outside(count: usize, rank: usize) -> f64 {
    let mut ways = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut sum = 0.0;
    for heads in 0..rank {
        sum += ways;
        ways *= (count - heads) as f64 / (heads + 1) as f64;
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(ratios: &[f64], better: Better) -> Verdict {
        Spread::of(ratios).unwrap().verdict(better, 1.02)
    }

    #[test]
    fn all_pairs_on_one_side_are_a_difference_and_its_side_depends_on_the_figure() {
        assert_eq!(verdict(&[1.2, 1.3, 1.1], Better::Higher), Verdict::Better);
        assert_eq!(verdict(&[1.2, 1.3, 1.1], Better::Lower), Verdict::Worse);
        assert_eq!(verdict(&[0.7, 0.8, 0.9], Better::Lower), Verdict::Better);
        assert_eq!(verdict(&[0.7, 0.8, 0.9], Better::Higher), Verdict::Worse);
    }

    #[test]
    fn pairs_on_both_sides_are_no_difference_however_far_their_mean_is() {
        assert_eq!(verdict(&[0.95, 1.1, 100.0], Better::Higher), Verdict::NoDifference);
    }

    #[test]
    fn two_pairs_say_nothing_and_a_percent_is_noise() {
        assert_eq!(verdict(&[3.0, 3.1], Better::Higher), Verdict::TooFewPairs);
        assert_eq!(verdict(&[1.01, 1.012, 1.014], Better::Higher), Verdict::NoDifference);
        assert_eq!(verdict(&[2.0, 2.0, 2.0], Better::Neither), Verdict::NotJudged);
    }

    #[test]
    fn one_stray_pair_among_many_does_not_hide_a_difference() {
        let mut ratios = vec![1.3; 11];
        ratios.push(0.5);
        assert_eq!(verdict(&ratios, Better::Higher), Verdict::Better);
        let spread = Spread::of(&ratios).unwrap();
        assert!(spread.least < 0.51 && spread.confidence >= 0.95, "{spread:?}");
    }

    #[test]
    fn ranks_are_those_of_the_sign_test() {
        // Of 12: P(fewer than 3 of 12) × 2 = 0.0386; with 4 it is 0.146.
        let (rank_12, sure) = rank(12);
        assert_eq!(rank_12, 3);
        assert!((sure - 0.9614).abs() < 1e-3, "{sure}");
        for (count, sure) in [(3, 0.75), (5, 0.9375), (6, 0.96875)] {
            let found = rank(count);
            assert_eq!(found.0, 1);
            assert!((found.1 - sure).abs() < 1e-9, "{count}: {found:?}");
        }
    }

    #[test]
    fn zeros_are_equal_and_something_from_nothing_is_more() {
        assert!((of(0.0, 0.0) - 1.0).abs() < f64::EPSILON);
        assert!(of(0.0, 2.0).is_infinite());
        assert_eq!(verdict(&[f64::INFINITY, f64::INFINITY, f64::INFINITY], Better::Lower), Verdict::Worse);
    }
}
