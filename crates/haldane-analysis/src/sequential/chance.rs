//! For tests: exact expectations over all outcomes of a small batch, and seeded random counts.

use super::{real::real, tally::Arms};

/// The binomial distribution of `n` exposures.
pub(crate) struct Binomial {
    n: u64,
    chances: Vec<f64>,
}

/// A seeded source of chance (SplitMix64).
#[derive(Clone)]
pub(crate) struct Chance(u64);

impl Binomial {
    pub(crate) fn new(n: u64, p: f64) -> Self {
        let mut chances = vec![1.0];
        for _ in 0..n {
            let mut next = vec![0.0; chances.len() + 1];
            for (k, chance) in chances.iter().enumerate() {
                next[k] += chance * (1.0 - p);
                next[k + 1] += chance * p;
            }
            chances = next;
        }
        Self { n, chances }
    }
}

/// Returns the expectation of the exponential of `log` over all outcomes.
pub(crate) fn expectation(stable: &Binomial, canary: &Binomial, log: impl Fn(&Arms) -> f64) -> f64 {
    let mut sum = 0.0;
    for (stable_k, q) in (0..).zip(&stable.chances) {
        for (canary_k, p) in (0..).zip(&canary.chances) {
            let arms = Arms {
                stable_n: real(stable.n),
                stable_k: real(stable_k),
                canary_n: real(canary.n),
                canary_k: real(canary_k),
            };
            if q * p > 0.0 {
                sum += q * p * log(&arms).exp();
            }
        }
    }
    sum
}

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in (0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (real(self.next() >> 12) + 0.5) / real(1 << 52)
    }

    /// How many of `n` happen, each with chance `p`: by the waiting times between them, which is quick where few do.
    pub(crate) fn of(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 {
            return 0;
        }
        if p > 0.5 {
            return n - self.of(n, 1.0 - p);
        }
        let (mut passed, mut k) = (0.0, 0);
        loop {
            passed += (self.unit().ln() / (-p).ln_1p()).floor() + 1.0;
            if passed > real(n) {
                return k;
            }
            k += 1;
        }
    }

    /// A Poisson count, by waiting times.
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        let (mut passed, mut k) = (0.0, 0);
        loop {
            passed -= self.unit().ln();
            if passed > mean {
                return k;
            }
            k += 1;
        }
    }
}
