//! Shares that are not rare: conversion rates, and latencies in the middle of their distribution.
//!
//! With `θ_s` the stable share known from *earlier* data, and a guess that the canary's odds are `ψ` times those of `ρ0·θ_s`, the factor is
//! the likelihood ratio of the guess against the nearest pair of shares that is still fine (its projection on the margin `φ_c = ρ0·φ_s`):
//!
//! ```text
//! θ_c = ψ·o/(1 + ψ·o),  o = odds(ρ0·θ_s)
//! φ_s = smaller root of  ρ0·n·q² − [n_c·(θ_c + ρ0) + n_s·(1 + ρ0·θ_s)]·q + n_c·θ_c + n_s·θ_s = 0,   φ_c = ρ0·φ_s
//! l   = k_c·ln(θ_c/φ_c) + (n_c − k_c)·ln((1 − θ_c)/(1 − φ_c)) + k_s·ln(θ_s/φ_s) + (n_s − k_s)·ln((1 − θ_s)/(1 − φ_s))
//! ```
//!
//! `E[exp l] ≤ 1` for every canary with a mean share of at most `ρ0` times stable's in that batch; for `ρ0 = 1` it is the test of Turner, Ly
//! and Grünwald. A wrong `θ_s` costs power, never validity. At a share of 30 % it decides 1.2 to 1.4 times sooner than the
//! [form for rare events](super::count), which is conservative there.
//!
//! Where *lower* is harm, as for conversions, the versions change places: "stable's share is at most `1/(1 − δ)` times the canary's".

use std::f64::consts::{LN_2, LN_10};

use super::{
    count::Guess,
    real::{ln, sqrt},
    tally::Arms,
};

/// The odds ratios that are bet on where lower is harm.
pub(crate) const DROPS: [f64; 8] = [1.03, 1.06, 1.12, 1.25, 1.5, 2.5, 8.0, 50.0];

/// The odds ratios that are bet on where higher is harm.
pub(crate) const RISES: [Guess; 8] = [
    Guess::new(1.1, 0.095_310_179_804_324_93),
    Guess::new(1.25, 0.223_143_551_314_209_76),
    Guess::new(1.5, 0.405_465_108_108_164_4),
    Guess::new(2.0, LN_2),
    Guess::new(3.0, 1.098_612_288_668_109_8),
    Guess::new(5.0, 1.609_437_912_434_100_3),
    Guess::new(10.0, LN_10),
    Guess::new(30.0, 3.401_197_381_662_155_5),
];

/// How the stake is spread over [`RISES`]: most on what takes long to be seen and still hurts.
pub(crate) const RISES_PRIOR: [f64; 8] = [0.08, 0.14, 0.22, 0.22, 0.14, 0.1, 0.06, 0.04];

/// The odds ratios that are bet on to show that the canary is not worse, where lower is harm.
pub(crate) const KEEPS: [f64; 6] = [1.02, 1.04, 1.08, 1.16, 1.4, 2.0];

/// Shares are held away from 0 and 1 by this.
const SHARE_MIN: f64 = 1e-9;

/// From which share of the canary's at the margin on nothing is harm: there is no share beyond it to bet on.
const MARGIN_MAX: f64 = 0.999;

/// Returns the estimate of a share of `events` of `exposure`.
pub(crate) fn estimate(events: f64, exposure: f64) -> f64 {
    (events + 0.5) / (exposure + 1.0)
}

/// Returns the logarithm of the factor of the guess that the canary's odds are `odds_ratio` times those at the margin, against "the canary's share
/// is at most `ratio` times stable's".
pub(crate) fn rise(arms: &Arms, stable_share: f64, odds_ratio: f64, ratio: f64) -> f64 {
    let stable = within(stable_share);
    let at_margin = ratio * stable;
    if at_margin >= MARGIN_MAX {
        return 0.0;
    }
    let odds = odds_ratio * at_margin / (1.0 - at_margin);
    let canary = within(odds / (1.0 + odds));
    let linear = arms.canary_n * (canary + ratio) + arms.stable_n * (1.0 + ratio * stable);
    let exposures = arms.canary_n + arms.stable_n;
    let constant = arms.canary_n * canary + arms.stable_n * stable;
    let root = sqrt((linear * linear - 4.0 * ratio * exposures * constant).max(0.0));
    // The smaller root, in the form that does not cancel.
    let near_stable =
        (2.0 * constant / (linear + root)).clamp(1e-12, (1.0 - SHARE_MIN) / ratio.max(1.0));
    let near_canary = ratio * near_stable;
    arms.canary_k * ln(canary / near_canary)
        + (arms.canary_n - arms.canary_k) * ln((1.0 - canary) / (1.0 - near_canary))
        + arms.stable_k * ln(stable / near_stable)
        + (arms.stable_n - arms.stable_k) * ln((1.0 - stable) / (1.0 - near_stable))
}

/// Returns the logarithm of the factor of the guess that the canary's odds are lower than stable's by `odds_ratio`, against "the canary's
/// share is at least `ratio` times stable's".
pub(crate) fn drop(arms: &Arms, stable_share: f64, odds_ratio: f64, ratio: f64) -> f64 {
    // In exchanged places: "stable" is the canary, whose guessed share is such that the other's is what stable's is known to be.
    let (inverse, stable) = (1.0 / ratio, within(stable_share));
    let odds = stable / (1.0 - stable) / odds_ratio;
    let low = odds / (1.0 + odds) / inverse;
    rise(&arms.swapped(), low, odds_ratio, inverse)
}

const fn within(share: f64) -> f64 {
    share.clamp(SHARE_MIN, 1.0 - SHARE_MIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequential::chance::{Binomial, expectation};

    #[test]
    fn where_the_margin_allows_everything_nothing_is_harm() {
        let check = |canary_k, stable_k, share, ratio| {
            let arms = Arms {
                stable_n: 70.0,
                stable_k,
                canary_n: 70.0,
                canary_k,
            };
            for guess in RISES {
                let log = rise(&arms, share, guess.ratio, ratio);
                assert!(log <= 0.0, "{arms:?} {guess:?}: {log}");
            }
        };
        check(8.0, 38.0, 0.55, 50.0);
        check(38.0, 38.0, 0.55, 2.0);
        check(60.0, 60.0, 0.85, 1.2);
        check(70.0, 38.0, 0.55, 1.9);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn no_bet_on_a_rise_is_expected_to_win_at_the_margin(
            stable_n in 1_u64..9, canary_n in 1_u64..9, q in 0.001..0.999_f64, ratio in 0.8..3.0_f64,
            guessed in 0.001..0.999_f64, odds_ratio in 1.02..30.0_f64,
        ) {
            // Also beyond what the canary could reach: there it is no worse, whatever it does.
            let (stable, canary) = (Binomial::new(stable_n, q), Binomial::new(canary_n, (ratio * q).min(1.0)));
            let mean = expectation(&stable, &canary, |arms| rise(arms, guessed, odds_ratio, ratio));
            prop_assert!(mean <= 1.0 + 1e-6, "{mean}");
        }

        #[test]
        fn no_bet_on_a_drop_is_expected_to_win_at_the_margin(
            stable_n in 1_u64..9, canary_n in 1_u64..9, q in 0.001..0.999_f64, ratio in 0.5..1.0_f64,
            guessed in 0.001..0.999_f64, odds_ratio in 1.02..50.0_f64,
        ) {
            let (stable, canary) = (Binomial::new(stable_n, q), Binomial::new(canary_n, ratio * q));
            let mean = expectation(&stable, &canary, |arms| drop(arms, guessed, odds_ratio, ratio));
            prop_assert!(mean <= 1.0 + 1e-6, "{mean}");
        }
    }

    #[test]
    fn without_margin_it_is_the_test_of_turner() {
        // θ_s = .3, odds doubled: θ_c = .4615…; the point between is the mean weighted by exposures.
        let arms = Arms {
            stable_n: 10.0,
            stable_k: 3.0,
            canary_n: 10.0,
            canary_k: 6.0,
        };
        let canary = 6.0_f64 / 13.0;
        let between = (0.3 + canary) / 2.0;
        let expected = 6.0 * (canary / between).ln()
            + 4.0 * ((1.0 - canary) / (1.0 - between)).ln()
            + 3.0 * (0.3_f64 / between).ln()
            + 7.0 * (0.7 / (1.0 - between)).ln();
        assert!((rise(&arms, 0.3, 2.0, 1.0) - expected).abs() < 1e-12);
    }

    #[test]
    fn a_drop_is_seen_and_a_rise_is_not_one() {
        let arms = |canary_k| Arms {
            stable_n: 1_000.0,
            stable_k: 300.0,
            canary_n: 1_000.0,
            canary_k,
        };
        assert!(drop(&arms(200.0), 0.3, 1.5, 0.98) > 5.0);
        assert!(drop(&arms(400.0), 0.3, 1.5, 0.98) < -5.0);
    }
}
