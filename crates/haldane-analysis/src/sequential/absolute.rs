//! A limit of its own: is the canary's rate more than a given one, whatever stable does?
//!
//! ```text
//! l(g) = k_c·ln g − n_c·p·(g − 1)
//! ```
//!
//! with the limit `p`; `E[exp l] ≤ 1` for every canary with a mean share of at most `p`. So "success of at least 99 %" is told with a bounded
//! error, and not by the first bad minute. It also finds what no comparison can: a canary that breaks what both versions share.
//! An incident of both versions breaks it, too. So the usual answer is to hold, not to roll back.

use super::{count::Guess, tally::Arms};

/// Returns the logarithms of the factors of the bets, each divided by the dispersion `phi`.
pub(crate) fn logs<const N: usize>(
    arms: &Arms,
    limit: f64,
    guesses: &[Guess; N],
    phi: f64,
) -> [f64; N] {
    guesses
        .map(|guess| (arms.canary_k * guess.ln - arms.canary_n * limit * (guess.ratio - 1.0)) / phi)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequential::{
        chance::{Binomial, expectation},
        count::GUESSES,
    };

    proptest! {
        #[test]
        fn no_bet_is_expected_to_win_at_the_limit(canary_n in 1_u64..12, limit in 0.0..1.0_f64, phi in 1.0..4.0_f64) {
            let (stable, canary) = (Binomial::new(0, 0.0), Binomial::new(canary_n, limit));
            for place in 0..GUESSES.len() {
                let mean = expectation(&stable, &canary, |arms| logs(arms, limit, &GUESSES, phi)[place]);
                prop_assert!(mean <= 1.0 + 1e-9, "{mean} at guess {place}");
            }
        }
    }
}
