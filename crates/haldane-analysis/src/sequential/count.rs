//! Counts of rare events: is the canary's rate more than `ρ0` times stable's, plus `ε`?
//!
//! Of the `K = k_c + k_s` events of one batch, how many fall to the canary? With `n_c` and `n_s` exposures and a rate `ρ0·g` times
//! stable's it is a share of `ρ0·g·n_c / (ρ0·g·n_c + n_s)`. The factor of the bet on `g > 1` is the likelihood ratio of that share:
//!
//! ```text
//! l(g) = k_c·ln g − K·ln((ρ0·g·n_c + n_s)/(ρ0·n_c + n_s)) − ε·n_c·(A − 1),   A = g·(ρ0·n_c + n_s)/(ρ0·g·n_c + n_s)
//! ```
//!
//! `E[exp l] ≤ 1` whenever the canary's mean chance of an event is at most `ρ0` times stable's plus `ε` *in that batch*, whatever the
//! chances are and however they vary within it: with `B = A/g` the expectation is at most
//! `exp(n_c·p·(A − 1) + n_s·q·(B − 1))`, and `p ≤ ρ0·q + ε` leaves `exp(ε·n_c·(A − 1))`, which the last term takes away. So no base rate is
//! needed, an incident of both versions is no evidence, and weights may change at will. It is exact for Poisson counts, and
//! conservative by `1 − p` for shares.
//!
//! The same with `g < 1`, and the sign of `ε` turned, tells that the canary is *not worse*: see [`noninferiority`](super::noninferiority).

use std::f64::consts::LN_10;

use super::{real::ln, tally::Arms};

/// A guess at the effect, with its logarithm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess {
    /// The ratio.
    pub(crate) ratio: f64,
    /// Its natural logarithm.
    pub(crate) ln: f64,
}

/// The effects that are bet on, as multiples of the margin.
pub(crate) const GUESSES: [Guess; 8] = [
    Guess::new(1.3, 0.262_364_264_467_491_06),
    Guess::new(1.9, 0.641_853_886_172_394_7),
    Guess::new(3.0, 1.098_612_288_668_109_8),
    Guess::new(5.5, 1.704_748_092_238_425_3),
    Guess::new(10.0, LN_10),
    Guess::new(22.0, 3.091_042_453_358_316),
    Guess::new(70.0, 4.248_495_242_049_359),
    Guess::new(400.0, 5.991_464_547_107_982),
];

/// How the stake is spread over [`GUESSES`].
///
/// Three to ten times worse is where seconds count most: less is found by much traffic, more is found at once whatever is bet on it.
pub(crate) const PRIOR: [f64; 8] = [0.075, 0.075, 0.1, 0.26, 0.29, 0.1, 0.07, 0.03];

/// What is compared with what: at most `ratio` times stable's rate, plus `slack`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) ratio: f64,
    pub(crate) slack: f64,
}

impl Guess {
    pub(crate) const fn new(ratio: f64, ln: f64) -> Self {
        Self { ratio, ln }
    }
}

/// Returns the logarithms of the factors of the bets, each divided by the dispersion `phi`.
pub(crate) fn logs<const N: usize>(
    arms: &Arms,
    edge: Edge,
    guesses: &[Guess; N],
    phi: f64,
) -> [f64; N] {
    let events = arms.events();
    let null = edge.ratio * arms.canary_n + arms.stable_n;
    guesses.map(|guess| {
        let other = guess.ratio * edge.ratio * arms.canary_n + arms.stable_n;
        // Most batches of a healthy service are without events, and need no logarithm.
        let fit = if events > 0.0 {
            arms.canary_k * guess.ln - events * ln(other / null)
        } else {
            0.0
        };
        let allowed = edge.slack * arms.canary_n * (guess.ratio * null / other - 1.0);
        (fit - allowed) / phi
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequential::{
        chance::{Binomial, expectation},
        noninferiority,
    };

    #[test]
    fn logarithms_of_the_guesses_are_exact() {
        for guess in GUESSES.iter().chain(&noninferiority::GUESSES) {
            assert!((ln(guess.ratio) - guess.ln).abs() < 1e-15, "{guess:?}");
        }
        assert!((PRIOR.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Every outcome of small batches, with the canary exactly at the margin: the bet must not be expected to win.
        #[test]
        fn no_bet_is_expected_to_win_at_the_margin(
            stable_n in 1_u64..9, canary_n in 1_u64..9,
            q in 0.0..0.9_f64, ratio in 1.0..3.0_f64, slack in 0.0..0.05_f64, phi in 1.0..5.0_f64,
        ) {
            let edge = Edge { ratio, slack };
            let p = (ratio * q + slack).min(1.0);
            let stable = Binomial::new(stable_n, q);
            let canary = Binomial::new(canary_n, p);
            for place in 0..GUESSES.len() {
                let mean = expectation(&stable, &canary, |arms| logs(arms, edge, &GUESSES, phi)[place]);
                prop_assert!(mean <= 1.0 + 1e-9, "{mean} at guess {place}");
            }
        }

        #[test]
        fn more_canary_events_never_speak_for_the_canary(
            stable_n in 1_u64..1000, canary_n in 1_u64..1000, k in 0_u64..50, ratio in 1.0..3.0_f64,
        ) {
            let edge = Edge { ratio, slack: 0.0 };
            let arms = |canary, stable| {
                let [n_s, n_c, k_s, k_c] = [stable_n, canary_n, stable, canary].map(crate::sequential::real::real);
                Arms { stable_n: n_s, stable_k: k_s, canary_n: n_c, canary_k: k_c }
            };
            let at = |canary, stable| logs(&arms(canary, stable), edge, &GUESSES, 1.0);
            for ((less, more), other) in at(k, k).into_iter().zip(at(k + 1, k)).zip(at(k, k + 1)) {
                prop_assert!(less < more && other < less);
            }
        }
    }

    #[test]
    fn the_factor_is_that_of_the_formula() {
        // 3 of 10 against 1 of 90 at g = 10, ρ0 = 1: 3·ln 10 − 4·ln(190/100).
        let arms = Arms {
            stable_n: 90.0,
            stable_k: 1.0,
            canary_n: 10.0,
            canary_k: 3.0,
        };
        let edge = Edge {
            ratio: 1.0,
            slack: 0.0,
        };
        let [_, _, _, _, ten, ..] = logs(&arms, edge, &GUESSES, 1.0);
        assert!((ten - (3.0 * 10_f64.ln() - 4.0 * 1.9_f64.ln())).abs() < 1e-12);
        let [_, _, _, _, tempered, ..] = logs(&arms, edge, &GUESSES, 4.0);
        assert!((tempered * 4.0 - ten).abs() < 1e-12);
    }
}
