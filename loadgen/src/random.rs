//! Chance that can be repeated: a run has one seed, and every thread of every part its own stream made from it.

/// A generator: splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// The stream with this name under `seed`.
    pub(crate) fn stream(seed: u64, name: &[u64]) -> Self {
        Self { state: name.iter().fold(mix(seed), |state, word| mix(state ^ mix(*word))) }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state)
    }

    /// A number below 1, not below 0.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number below `limit`, which is above 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// A gap between events that come once per unit of time on average.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// From the normal distribution with mean 0 and deviation 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// The finalizer of splitmix64: every bit of the result depends on every bit of `word`.
pub(crate) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Ranks from 0, the n-th drawn in proportion to `1 / (n + 1)^skew`.
///
/// By rejection from a curve that is 1 up to rank 1 and `x^-skew` beyond, so that drawing takes the same time for any
/// number of ranks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
    skew: f64,
    /// Area under the curve.
    area: f64,
}

impl Zipf {
    /// `count` ranks; `skew` not below 0.
    pub(crate) fn new(count: u64, skew: f64) -> Self {
        assert!(count > 0 && skew >= 0.0);
        let count = count as f64;
        let area =
            if is_one(skew) { 1.0 + count.ln() } else { (count.powf(1.0 - skew) - skew) / (1.0 - skew) };
        Self { skew, area }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let place = self.inverse(random.unit());
            let rank = (place + 1.0).floor();
            let mut ratio = rank.powf(-self.skew);
            if rank > 1.0 {
                ratio *= place.powf(self.skew);
            }
            if random.unit() < ratio {
                return rank as u64 - 1;
            }
        }
    }

    /// Where the part `share` of the area under the curve ends.
    fn inverse(&self, share: f64) -> f64 {
        let area = share * self.area;
        if area <= 1.0 {
            area
        } else if is_one(self.skew) {
            (area - 1.0).exp()
        } else {
            (area * (1.0 - self.skew) + self.skew).powf(1.0 / (1.0 - self.skew))
        }
    }
}

fn is_one(skew: f64) -> bool {
    (skew - 1.0).abs() < 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_repeated_by_its_seed_and_name_and_by_nothing_else() {
        let draw = |seed, name: &[u64]| Random::stream(seed, name).next_u64();
        assert_eq!(draw(1, &[2, 3]), draw(1, &[2, 3]));
        let others = [draw(2, &[2, 3]), draw(1, &[3, 2]), draw(1, &[2]), draw(1, &[2, 3, 0])];
        assert!(others.iter().all(|other| *other != draw(1, &[2, 3])));
    }

    #[test]
    fn the_distributions_have_their_means_and_deviations() {
        const DRAWS: usize = 100_000;
        let mut random = Random::stream(7, &[]);
        let mut mean_and_square = |mut draw: Box<dyn FnMut(&mut Random) -> f64>| {
            let drawn: Vec<f64> = (0..DRAWS).map(|_| draw(&mut random)).collect();
            let mean = |values: Vec<f64>| values.iter().sum::<f64>() / DRAWS as f64;
            (mean(drawn.clone()), mean(drawn.iter().map(|value| value * value).collect()))
        };
        let near = |found: (f64, f64), expected: (f64, f64)| {
            (found.0 - expected.0).abs() < 0.02 && (found.1 - expected.1).abs() < 0.06
        };
        assert!(near(mean_and_square(Box::new(Random::unit)), (0.5, 1.0 / 3.0)));
        assert!(near(mean_and_square(Box::new(Random::exponential)), (1.0, 2.0)));
        assert!(near(mean_and_square(Box::new(Random::normal)), (0.0, 1.0)));
    }

    #[test]
    fn ranks_come_as_often_as_zipf_says() {
        for skew in [0.0, 0.5, 1.0, 1.3] {
            const COUNT: u64 = 50;
            const DRAWS: u32 = 200_000;
            let (zipf, mut random) = (Zipf::new(COUNT, skew), Random::stream(3, &[]));
            let mut found = [0_u32; COUNT as usize];
            for _ in 0..DRAWS {
                found[zipf.draw(&mut random) as usize] += 1;
            }
            let whole: f64 = (1..=COUNT).map(|rank| (rank as f64).powf(-skew)).sum();
            for rank in [1_u64, 2, 10, 50] {
                let expected = (rank as f64).powf(-skew) / whole;
                let share = f64::from(found[rank as usize - 1]) / f64::from(DRAWS);
                assert!(
                    (share - expected).abs() < 0.1 * expected + 0.001,
                    "{skew} {rank}: {share} {expected}"
                );
            }
        }
    }
}
