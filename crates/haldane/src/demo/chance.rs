//! Seeded chance: the same seed and stream give the same draws on every machine.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): two lines, full period, good enough for jitter and arrivals.
//! **Invariant:** never used for anything that must be hard to guess.

/// Added to the state at each draw: 2⁶⁴ divided by the golden ratio, odd, as the algorithm asks.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// One sequence of draws.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    state: u64,
}

/// Returns the seed number `stream` that belongs to `seed`.
pub(super) fn stream(seed: u64, stream: u64) -> u64 {
    mix(seed.wrapping_add(mix(stream.wrapping_add(GAMMA))))
}

impl Chance {
    /// Returns the sequence number `stream` of `seed`; streams of one seed are independent of each other.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self {
            state: self::stream(seed, stream),
        }
    }

    /// Draws a number from 0 (included) to 1 (excluded), of 2³² equally likely ones.
    pub(super) fn unit(&mut self) -> f64 {
        let high = u32::try_from(self.draw() >> 32).unwrap_or(u32::MAX);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// Draws whether something that happens in `share` of all cases happens now.
    pub(super) fn is_hit(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// Draws an index below `count`, or 0 when `count` is 0.
    pub(super) fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let index = self.draw().checked_rem(count).unwrap_or(0);
        usize::try_from(index).unwrap_or(0)
    }

    /// Draws from the standard normal distribution (Box–Muller).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many draws the distribution tests make; the tolerances below are more than four standard errors of them.
    const DRAWS: u32 = 10_000;

    #[test]
    fn the_same_seed_and_stream_repeat_and_others_differ() {
        let draws = |seed, stream| {
            let mut chance = Chance::new(seed, stream);
            (0..4).map(|_| chance.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1, 2), draws(1, 2));
        assert_ne!(draws(1, 2), draws(2, 1));
        assert_ne!(draws(1, 2), draws(1, 3));
    }

    #[test]
    fn hits_come_in_their_share_over_one_stream_and_over_first_draws() {
        let mut chance = Chance::new(7, 0);
        let hits = (0..DRAWS).filter(|_| chance.is_hit(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        let hits = (0..DRAWS)
            .filter(|&n| Chance::new(7, n.into()).is_hit(0.25))
            .count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
    }

    #[test]
    fn normal_draws_have_mean_zero_and_deviation_one() {
        let mut chance = Chance::new(3, 0);
        let draws: Vec<f64> = (0..DRAWS).map(|_| chance.normal()).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(DRAWS);
        let variance =
            draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / f64::from(DRAWS);
        assert!(mean.abs() < 0.05, "{mean}");
        assert!((variance - 1.0).abs() < 0.08, "{variance}");
    }

    #[test]
    fn an_index_is_below_its_count() {
        let mut chance = Chance::new(9, 0);
        assert!((0..100).all(|_| chance.below(3) < 3));
        assert_eq!(chance.below(0), 0);
    }
}
