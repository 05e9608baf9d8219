//! Divides requests among the arms of a service, exactly.
//!
//! A block has as many requests as the shares need to come out even (20 for 5 %, 10,000 for 0.01 %). Within a block the order is a
//! fresh random permutation, drawn one request at a time without replacement. So the share is exact over each block, and traffic with
//! a period of its own (every twentieth request a heavy one) can't line up with it, as it does with a counter.
//!
//! **Invariant:** an arm with share zero is never drawn; an arm with the whole share always is.

/// A small seeded generator of random numbers (splitmix64): fast, and good enough for fairness. Never use it for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

/// The draws of one service on one thread.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    random: Random,
    /// How many requests of a block go to each arm.
    block: Vec<u32>,
    /// How many of them are left in the current block.
    left: Vec<u32>,
    left_total: u32,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, each equally likely to within 2^-32; zero for zero.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let scaled = (self.next_u64() >> 32).wrapping_mul(u64::from(bound)) >> 32;
        u32::try_from(scaled).unwrap_or(0)
    }
}

impl Split {
    /// Returns a split by `shares` in basis points.
    pub(crate) fn new(seed: u64, shares: &[u16]) -> Self {
        let block = block_of(shares);
        Self {
            random: Random::new(seed),
            left: vec![0; block.len()],
            block,
            left_total: 0,
        }
    }

    /// Sets the shares; if they differ from the present ones, a new block begins with the next draw.
    ///
    /// The generator goes on, so that many changes in a row don't repeat the same first draws.
    pub(crate) fn set_shares(&mut self, shares: &[u16]) {
        let block = block_of(shares);
        if block != self.block {
            self.left = vec![0; block.len()];
            self.left_total = 0;
            self.block = block;
        }
    }

    /// Returns the arm of the next request; the first one if there are no shares.
    pub(crate) fn draw(&mut self) -> usize {
        if self.left_total == 0 {
            self.left.clone_from(&self.block);
            self.left_total = self.block.iter().sum();
        }
        let mut at = self.random.below(self.left_total);
        for (arm, left) in self.left.iter_mut().enumerate() {
            if at < *left {
                *left -= 1;
                self.left_total -= 1;
                return arm;
            }
            at -= *left;
        }
        0
    }
}

/// Returns the smallest block in which each share is a whole number of requests.
fn block_of(shares: &[u16]) -> Vec<u32> {
    let divisor = shares
        .iter()
        .fold(0, |divisor, share| gcd(divisor, *share))
        .max(1);
    shares
        .iter()
        .map(|share| u32::from(share / divisor))
        .collect()
}

const fn gcd(mut a: u16, mut b: u16) -> u16 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(split: &mut Split, draws: usize) -> Vec<u32> {
        let mut counts = vec![0; split.block.len()];
        (0..draws).for_each(|_| counts[split.draw()] += 1);
        counts
    }

    #[test]
    fn each_block_is_exact() {
        for shares in [
            &[9_500, 500][..],
            &[7_500, 2_500],
            &[5_000, 5_000],
            &[6_000, 3_000, 1_000],
            &[9_999, 1],
        ] {
            let mut split = Split::new(7, shares);
            let expected = split.block.clone();
            let size = expected.iter().sum::<u32>() as usize;
            for block in 0..20 {
                assert_eq!(
                    count(&mut split, size),
                    expected,
                    "{shares:?}, block {block}"
                );
            }
        }
    }

    #[test]
    fn the_smallest_share_is_one_in_ten_thousand() {
        assert_eq!(
            count(&mut Split::new(1, &[9_999, 1]), 1_000_000),
            [999_900, 100]
        );
    }

    #[test]
    fn zero_means_none_and_full_means_all() {
        assert_eq!(
            count(&mut Split::new(1, &[10_000, 0]), 100_000),
            [100_000, 0]
        );
        assert_eq!(
            count(&mut Split::new(1, &[0, 10_000]), 100_000),
            [0, 100_000]
        );
        assert_eq!(
            count(&mut Split::new(1, &[0, 0, 10_000]), 1_000),
            [0, 0, 1_000]
        );
    }

    #[test]
    fn three_arms_are_exact_over_a_million() {
        let counts = count(&mut Split::new(3, &[8_000, 1_500, 500]), 1_000_000);
        assert_eq!(counts, [800_000, 150_000, 50_000]);
    }

    /// Requests of a period of their own get their share of the canary, to within 5 standard deviations of independent draws.
    #[test]
    fn periodic_traffic_does_not_alias() {
        const REQUESTS: usize = 200_000;
        for share in [500_u16, 2_500, 5_000] {
            for period in 2..=20_usize {
                let mut split = Split::new(11, &[10_000 - share, share]);
                let mut canary = vec![0_u32; period];
                for request in 0..REQUESTS {
                    canary[request % period] += u32::from(split.draw() == 1);
                }
                let (n, p) = (REQUESTS as f64 / period as f64, f64::from(share) / 10_000.0);
                let sigma = (n * p * (1.0 - p)).sqrt();
                for (phase, count) in canary.iter().enumerate() {
                    let off = (f64::from(*count) - n * p).abs() / sigma;
                    assert!(
                        off < 5.0,
                        "share {share}, period {period}, phase {phase}: {off} sigma"
                    );
                }
            }
        }
    }

    /// Every place in a block is equally likely to be the canary's: chi-square over 10^6 draws.
    #[test]
    fn places_within_a_block_are_equally_likely() {
        let mut split = Split::new(5, &[9_500, 500]);
        let mut canary = [0_u32; 20];
        (0..1_000_000).for_each(|request| canary[request % 20] += u32::from(split.draw() == 1));
        let expected = 50_000.0 / 20.0;
        let chi: f64 = canary
            .iter()
            .map(|c| (f64::from(*c) - expected).powi(2) / expected)
            .sum();
        // 19 degrees of freedom: 43.8 is exceeded once in a thousand, 1.0 undercut as rarely as that again.
        assert!((1.0..43.8).contains(&chi), "chi-square {chi}");
    }

    #[test]
    fn many_changes_in_a_row_do_not_repeat_the_same_draws() {
        let mut split = Split::new(9, &[9_000, 1_000]);
        let mut canary = 0_u32;
        for change in 0..20_000_u16 {
            let share = if change % 2 == 0 { 1_000 } else { 2_000 };
            split.set_shares(&[10_000 - share, share]);
            canary += u32::from(split.draw() == 1);
        }
        assert!(
            (2_700..3_300).contains(&canary),
            "{canary} of 20,000, not 15 %"
        );
    }

    #[test]
    fn the_same_shares_again_keep_the_block() {
        let mut split = Split::new(2, &[9_500, 500]);
        let mut canary = 0;
        for _ in 0..2_000 {
            split.set_shares(&[9_500, 500]);
            canary += u32::from(split.draw() == 1);
        }
        assert_eq!(canary, 100);
    }

    #[test]
    fn the_same_seed_gives_the_same_draws() {
        let draws = |seed| {
            let mut split = Split::new(seed, &[5_000, 5_000]);
            (0..64).map(|_| split.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(4), draws(4));
        assert_ne!(draws(4), draws(5));
    }
}
