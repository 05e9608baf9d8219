//! A limit of its own: is the canary's rate more than a given one, whatever stable does?
//!
//! ```text
//! l(g) = k_c·ln g − n_c·p·(g − 1)
//! ```
//!
//! with the limit `p`, or for a share that is not small the likelihood ratio of a guess `q` beyond the limit,
//!
//! ```text
//! l(q) = k_c·ln(q/p) + (n_c − k_c)·ln((1 − q)/(1 − p))
//! ```
//!
//! for which `E[exp l] ≤ 1` for every canary with a mean share of at most `p`. So "success of at least 99 %" is told with a bounded
//! error, and not by the first bad minute. It also finds what no comparison can: a canary that breaks what both versions share.
//! An incident of both versions breaks it, too. So a batch in which stable is beyond the limit, or of a minute in which it was, is not bet
//! on: whether it is depends on stable alone, and takes nothing from the bound. While both are beyond it, the rollout holds.

use serde::{Deserialize, Serialize};

use super::{
    count::Guess,
    real::{Reals, exp, ln, ppm},
    tally::Arms,
};

/// Over how many seconds it is remembered what both versions did.
const RECENT_SECONDS: f64 = 60.0;

/// A limit, and which side of it is harm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    /// Of events that are rare: more is harm.
    Rare(f64),
    /// Of a share that may rise.
    Rises(f64),
    /// Of a share that may fall.
    Falls(f64),
}

/// What both versions did in the last minute; what is older counts less and less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recent(Reals<4>);

impl Limit {
    /// Returns the limit itself.
    pub(crate) const fn share(self) -> f64 {
        match self {
            Self::Rare(share) | Self::Rises(share) | Self::Falls(share) => share,
        }
    }

    /// Whether `events` of `exposure` are beyond it, by how much ever.
    fn is_beyond(self, exposure: f64, events: f64) -> bool {
        let expected = exposure * self.share();
        match self {
            Self::Rare(_) | Self::Rises(_) => events > expected,
            Self::Falls(_) => events < expected,
        }
    }

    /// Whether so few of them are beyond it by more than chance does every other time.
    fn is_clearly_beyond(self, exposure: f64, events: f64) -> bool {
        let expected = exposure * self.share();
        let apart = events - expected;
        self.is_beyond(exposure, events) && apart * apart > expected
    }
}

impl Recent {
    /// Nothing.
    pub(crate) const NONE: Self = Self(Reals([0.0; 4]));

    /// Adds a batch of that many seconds.
    pub(crate) fn add(&mut self, arms: &Arms, seconds: f64) {
        let kept = exp(-seconds / RECENT_SECONDS);
        let batch = [arms.stable_n, arms.stable_k, arms.canary_n, arms.canary_k];
        for (sum, new) in self.0.0.iter_mut().zip(batch) {
            *sum = *sum * kept + new;
        }
    }

    /// Whether stable breaks the limit, in this batch or lately.
    pub(crate) fn excuses(&self, limit: Limit, batch: &Arms) -> bool {
        let Reals([stable_n, stable_k, _, _]) = self.0;
        limit.is_clearly_beyond(batch.stable_n, batch.stable_k)
            || is_known(limit, stable_n) && limit.is_beyond(stable_n, stable_k)
    }

    /// Whether both versions break the limit.
    pub(crate) fn is_shared(&self, limit: Limit) -> bool {
        let Reals([stable_n, stable_k, canary_n, canary_k]) = self.0;
        [(stable_n, stable_k), (canary_n, canary_k)]
            .into_iter()
            .all(|(n, k)| is_known(limit, n) && limit.is_beyond(n, k))
    }

    /// Returns stable's and the canary's share in parts per million.
    pub(crate) fn shares(&self) -> [Option<u64>; 2] {
        let Reals([stable_n, stable_k, canary_n, canary_k]) = self.0;
        [(stable_n, stable_k), (canary_n, canary_k)].map(|(n, k)| ppm(k / n))
    }
}

/// Whether of so many some would be expected at the limit.
fn is_known(limit: Limit, exposure: f64) -> bool {
    exposure * limit.share() >= 1.0
}

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

/// Returns the logarithm of the factor of the guess that the canary's odds are those at the limit times `odds_ratio`, divided by the
/// dispersion `phi`.
pub(crate) fn share_log(arms: &Arms, limit: f64, odds_ratio: f64, phi: f64) -> f64 {
    let odds = odds_ratio * limit / (1.0 - limit);
    let guess = odds / (1.0 + odds);
    let events = arms.canary_k * ln(guess / limit);
    let others = (arms.canary_n - arms.canary_k) * ln((1.0 - guess) / (1.0 - limit));
    (events + others) / phi
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequential::{
        bernoulli::{DROPS, RISES},
        chance::{Binomial, expectation},
        count::GUESSES,
    };

    fn arms(stable_n: f64, stable_k: f64, canary_n: f64, canary_k: f64) -> Arms {
        Arms {
            stable_n,
            stable_k,
            canary_n,
            canary_k,
        }
    }

    #[test]
    fn stable_excuses_the_canary_while_it_breaks_the_limit() {
        let check = |limit, batch: Arms, expected: (bool, bool)| {
            let mut recent = Recent::NONE;
            recent.add(&batch, 5.0);
            let found = (recent.excuses(limit, &batch), recent.is_shared(limit));
            assert_eq!(found, expected, "{limit:?} {batch:?}");
            // An hour later it is forgotten.
            recent.add(&arms(0.0, 0.0, 0.0, 0.0), 3_600.0);
            assert!(!recent.is_shared(limit));
        };
        let limit = Limit::Rare(0.01);
        check(limit, arms(1_000.0, 5.0, 1_000.0, 50.0), (false, false));
        check(limit, arms(1_000.0, 50.0, 1_000.0, 50.0), (true, true));
        check(limit, arms(1_000.0, 50.0, 1_000.0, 5.0), (true, false));
        check(limit, arms(10.0, 2.0, 1_000.0, 200.0), (true, false));
        check(limit, arms(0.0, 0.0, 1_000.0, 200.0), (false, false));
        let limit = Limit::Falls(0.1);
        check(limit, arms(100.0, 15.0, 100.0, 5.0), (false, false));
        check(limit, arms(100.0, 5.0, 100.0, 5.0), (true, true));
        check(limit, arms(5.0, 0.0, 100.0, 5.0), (false, false));
    }

    proptest! {
        #[test]
        fn no_bet_on_a_share_is_expected_to_win_within_the_limit(
            canary_n in 1_u64..12, limit in 0.01..0.99_f64, part in 0.0..1.0_f64, phi in 1.0..4.0_f64,
        ) {
            let stable = Binomial::new(0, 0.0);
            let rises = RISES.map(|guess| (guess.ratio, limit * part));
            let falls = DROPS.map(|ratio| (1.0 / ratio, 1.0 - (1.0 - limit) * part));
            for (odds_ratio, share) in rises.into_iter().chain(falls) {
                let canary = Binomial::new(canary_n, share);
                let mean = expectation(&stable, &canary, |arms| share_log(arms, limit, odds_ratio, phi));
                prop_assert!(mean <= 1.0 + 1e-9, "{mean} at {odds_ratio}");
            }
        }

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
