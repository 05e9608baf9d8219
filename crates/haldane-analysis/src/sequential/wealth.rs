//! Wealth: what bets against "the canary is fine" have won, over many guesses of what is wrong and since when.
//!
//! Each guess (an effect size) has its own bet. In every batch a bet is multiplied by a factor with an expectation of at most 1 if
//! nothing is wrong, so that the sum of all bets and of the cash not yet bet is an e-process: the chance that it *ever* reaches `1/α` is
//! at most `α`, however often one looks (Ville). New bets are made in every batch, paid from the cash, so that a fault that begins
//! late is found by the bets made then, and not only after all that older bets have lost is won back (a mixture over the time of
//! onset, as in Shiryaev's procedure):
//!
//! ```text
//! W_g ← (W_g + s·prior_g)·exp(l_g)      E = Σ_g W_g + cash
//! s   = 0.9 in the first batch, later cash·dt/(H + t + dt), which leaves cash = 0.1·H/(H + t)
//! ```
//!
//! `H` is the planned length of the rollout. The tail is heavy, so that there is cash for a rollout ten times as long.
//!
//! **Invariant:** a stake depends on the length of past and present batches only, never on what was counted in the present one.

use serde::{Deserialize, Serialize};

use super::real::{Reals, WEALTH_MAX, exp};

/// The share of the wealth that is bet on "since the beginning".
const STAKE_FIRST: f64 = 0.9;

/// The share of the cash that is bet at once when something happened that makes a fault likely just now.
pub(crate) const STAKE_SUSPECT: f64 = 0.5;

/// Bets on `N` guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Wealth<const N: usize>(Reals<N>);

/// The cash not yet bet, and the seconds since the first bet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Cash(Reals<2>);

impl<const N: usize> Wealth<N> {
    /// No bets.
    pub(crate) const NONE: Self = Self(Reals([0.0; N]));

    /// Bets `stake`, spread as `prior`, and multiplies each bet by the exponential of its logarithm, held at `wealth_max`.
    pub(crate) fn bet(
        &mut self,
        stake: f64,
        prior: impl IntoIterator<Item = f64>,
        logs: &[f64; N],
        wealth_max: f64,
    ) {
        for ((wealth, prior), log) in self.0.0.iter_mut().zip(prior).zip(logs) {
            *wealth = ((*wealth + stake * prior) * exp(*log)).min(wealth_max);
        }
    }

    /// As [`bet`](Self::bet), at [`WEALTH_MAX`].
    pub(crate) fn grow(
        &mut self,
        stake: f64,
        prior: impl IntoIterator<Item = f64>,
        logs: &[f64; N],
    ) {
        self.bet(stake, prior, logs, WEALTH_MAX);
    }

    /// Returns the bets.
    pub(crate) const fn bets(&self) -> [f64; N] {
        self.0.0
    }

    /// Returns the sum of the bets.
    pub(crate) fn sum(&self) -> f64 {
        self.0.0.iter().sum()
    }
}

impl Cash {
    /// All of it, before the first bet.
    pub(crate) const ALL: Self = Self(Reals([1.0, 0.0]));

    /// Returns how much is left.
    pub(crate) const fn left(&self) -> f64 {
        let Reals([left, _]) = self.0;
        left
    }

    /// Returns what will be bet on a fault that begins now: nearly all before the first batch, later about a tenth of what is left.
    pub(crate) fn ready(&self) -> f64 {
        let Reals([left, elapsed]) = self.0;
        if elapsed > 0.0 {
            left / 10.0
        } else {
            left * STAKE_FIRST
        }
    }

    /// Takes the stake for a batch of that many seconds.
    pub(crate) fn stake(&mut self, seconds: f64, horizon_seconds: f64) -> f64 {
        let Reals([left, elapsed]) = self.0;
        let seconds = seconds.max(1e-3);
        let stake = if elapsed > 0.0 {
            left * seconds / (horizon_seconds + elapsed + seconds)
        } else {
            left * STAKE_FIRST
        };
        self.0 = Reals([left - stake, elapsed + seconds]);
        stake
    }

    /// Takes a part of what is left.
    pub(crate) fn part(&mut self, share: f64) -> f64 {
        let Reals([left, elapsed]) = self.0;
        let part = left * share;
        self.0 = Reals([left - part, elapsed]);
        part
    }

    /// Puts back what was won, or is left of it.
    pub(crate) fn put(&mut self, wealth: f64) {
        let Reals([left, elapsed]) = self.0;
        self.0 = Reals([(left + wealth).min(WEALTH_MAX), elapsed]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stakes_and_cash_are_one_for_ever() {
        let mut cash = Cash::ALL;
        let mut bets = Wealth::<2>::NONE;
        for second in 0..100_000 {
            let stake = cash.stake(1.0, 1_200.0);
            bets.grow(stake, [0.25, 0.75], &[0.0, 0.0]);
            assert!((bets.sum() + cash.left() - 1.0).abs() < 1e-9, "{second}");
        }
        assert!(
            cash.left() > 0.001,
            "a hundred thousand seconds leave some: {cash:?}"
        );
    }

    #[test]
    fn wealth_never_overflows_and_comes_back() {
        let mut bets = Wealth::<1>(Reals([1.0]));
        for _ in 0..10 {
            bets.grow(0.0, [1.0], &[f64::MAX]);
        }
        assert_eq!(bets.sum().to_bits(), WEALTH_MAX.to_bits());
        bets.grow(0.0, [1.0], &[-1e9]);
        assert!(bets.sum() < 1.0);
    }
}
