//! The interval of the ratio of the canary's rate to stable's, for people.
//!
//! On a grid of ratios the logarithm of the likelihood of all batches is kept:
//!
//! ```text
//! L(ρ) = Σ_b k_c·ln ρ − K·ln(ρ·n_c + n_s)
//! ```
//!
//! For each `ρ0` of the grid the mean of `exp(L(ρ) − L(ρ0))` over the grid is an e-process of "the ratio is `ρ0`". The interval holds those
//! that are not refused, so that it covers the true ratio at *all* times at once with a chance of at least `1 − β`: it may be read while it
//! narrows. Batches are merged to [`MERGED`] before they are added, which costs next to nothing. It assumes one ratio for the whole time, and events that are rare; no decision rests on it.

use std::f64::consts::{LN_2, LN_10};

use serde::{Deserialize, Serialize};

use super::{
    real::{Reals, exp, ln},
    tally::Pair,
};

/// The ratios, with their logarithms.
const GRID: [(f64, f64); 22] = [
    (0.02, -3.912_023_005_428_146),
    (0.1, -2.302_585_092_994_045_5),
    (0.25, -1.386_294_361_119_890_6),
    (0.5, -LN_2),
    (0.7, -0.356_674_943_938_732_45),
    (0.8, -0.223_143_551_314_209_7),
    (0.9, -0.105_360_515_657_826_28),
    (1.0, 0.0),
    (1.1, 0.095_310_179_804_324_93),
    (1.25, 0.223_143_551_314_209_76),
    (1.5, 0.405_465_108_108_164_4),
    (1.75, 0.559_615_787_935_422_7),
    (2.0, LN_2),
    (2.5, 0.916_290_731_874_155_1),
    (3.0, 1.098_612_288_668_109_8),
    (4.0, 1.386_294_361_119_890_6),
    (6.0, 1.791_759_469_228_055),
    (10.0, LN_10),
    (20.0, 2.995_732_273_553_991),
    (50.0, 3.912_023_005_428_146),
    (150.0, 5.010_635_294_096_256),
    (600.0, 6.396_929_655_216_146),
];

/// How many batches are added at once.
const MERGED: u8 = 15;

/// The likelihoods of the ratios, and the batches that are not added yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Likelihood {
    sums: Reals<22>,
    open: Pair,
    batches: u8,
}

/// Between which ratios the true one lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    /// The lowest that is not refused; `None` if none of the grid is.
    pub(crate) low: Option<f64>,
    /// The highest that is not refused; `None` if none of the grid is.
    pub(crate) high: Option<f64>,
}

impl Likelihood {
    /// Nothing seen.
    pub(crate) const NONE: Self = Self {
        sums: Reals([0.0; 22]),
        open: Pair::NONE,
        batches: 0,
    };

    /// Adds a batch with both versions.
    pub(crate) fn add(&mut self, pair: Pair, phi: f64) {
        self.open.add(pair);
        self.batches = self.batches.saturating_add(1);
        if self.batches >= MERGED {
            self.sums = self.with_open(phi);
            (self.open, self.batches) = (Pair::NONE, 0);
        }
    }

    /// Returns the sums with the open batches added.
    fn with_open(&self, phi: f64) -> Reals<22> {
        let mut sums = self.sums;
        let arms = self.open.arms();
        let events = arms.events();
        if events > 0.0 {
            let ln_exposure = ln(arms.canary_n + arms.stable_n);
            for (sum, (ratio, ln_ratio)) in sums.0.iter_mut().zip(GRID) {
                let share = ln(ratio * arms.canary_n + arms.stable_n) - ln_exposure;
                *sum += (arms.canary_k * ln_ratio - events * share) / phi;
            }
        }
        sums
    }

    /// Returns the interval that misses the true ratio, ever, with a chance of at most `level`.
    pub(crate) fn interval(&self, phi: f64, level: f64) -> Interval {
        let Reals(sums) = &self.with_open(phi);
        let best = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mean = sums.iter().map(|sum| exp(sum - best)).sum::<f64>() / 22.0;
        let is_kept = |sum: &f64| mean / exp(sum - best) < 1.0 / level;
        // The ends are the next points that are refused, so that nothing between the points is lost.
        let (mut low, mut high, mut is_inside) = (None, None, false);
        for (sum, (ratio, _)) in sums.iter().zip(GRID) {
            match (is_kept(sum), is_inside) {
                (true, _) => (is_inside, high) = (true, None),
                (false, false) => low = Some(ratio),
                (false, true) => high = high.or(Some(ratio)),
            }
        }
        Interval { low, high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::chance::Chance;

    fn watched(seed: u64, seconds: u64, ratio: f64) -> (Interval, bool) {
        let mut chance = Chance::new(seed);
        let mut likelihood = Likelihood::NONE;
        let mut is_missed = false;
        for _ in 0..seconds {
            let pair = [90, chance.of(90, 0.01), 10, chance.of(10, 0.01 * ratio)];
            likelihood.add(pair.into(), 1.0);
            let Interval { low, high } = likelihood.interval(1.0, 0.05);
            is_missed |=
                low.is_some_and(|low| low > ratio) || high.is_some_and(|high| high < ratio);
        }
        (likelihood.interval(1.0, 0.05), is_missed)
    }

    #[test]
    fn the_grid_is_sorted_and_its_logarithms_are_exact() {
        assert!(GRID.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (ratio, ln_ratio) in GRID {
            assert!((ln(ratio) - ln_ratio).abs() < 1e-14, "{ratio}");
        }
    }

    #[test]
    fn the_interval_narrows_around_the_truth() {
        let (early, _) = watched(1, 20, 3.0);
        let (late, _) = watched(1, 3_000, 3.0);
        assert_eq!(
            late,
            Interval {
                low: Some(2.5),
                high: Some(4.0)
            }
        );
        let width = |interval: Interval| {
            interval.high.unwrap_or(f64::INFINITY) - interval.low.unwrap_or(0.0)
        };
        assert!(width(early) > width(late), "{early:?}");
        assert_eq!(
            Likelihood::NONE.interval(1.0, 0.05),
            Interval {
                low: None,
                high: None
            }
        );
    }

    #[test]
    fn it_misses_the_truth_at_any_time_in_few_runs() {
        for ratio in [1.0, 3.3] {
            let missed = (0..300)
                .filter(|seed| watched(100 + seed, 600, ratio).1)
                .count();
            assert!(missed <= 20, "{missed} of 300 at {ratio}");
        }
    }
}
