//! Bets on a canary that is cold: see [`warming`](crate::sequential::warming).
//!
//! A fifth of the cash bets that the canary is slow beyond all warming, at the bound that is shown. Bets on smaller harm wait meanwhile: what a
//! wide leeway hides would count as won by the canary. What is left of the fifth goes back to the cash when the canary is warm.

use serde::{Deserialize, Serialize};

use crate::sequential::{
    count::{self, Edge, Guess},
    tally::Pair,
    warming::Leeway,
    wealth::{Cash, Wealth},
};

/// The share of the cash that is bet.
const STAKE: f64 = 0.2;

/// How many times more latencies than stable's are guessed to be above the bound.
const GUESSES: [Guess; 2] = [
    Guess::new(3.0, 1.098_612_288_668_109_8),
    Guess::new(10.0, std::f64::consts::LN_10),
];

/// How latencies of the canary are held against a bound.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heat {
    /// With some leeway, as far as its buckets tell.
    Warm(Leeway),
    /// Surely above a wide leeway only.
    Cold(Leeway),
}

/// The evidence against a cold canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cold {
    bets: Wealth<2>,
    /// What was compared.
    pub(crate) total: Pair,
}

impl Default for Cold {
    fn default() -> Self {
        Self::NONE
    }
}

impl Cold {
    /// Nothing seen.
    pub(crate) const NONE: Self = Self {
        bets: Wealth::NONE,
        total: Pair::NONE,
    };

    /// Whether there is nothing.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Returns what the evidence is worth.
    pub(crate) fn worth(&self) -> f64 {
        self.bets.sum()
    }

    /// Bets on a batch, with a stake of the cash if this is the first.
    pub(crate) fn bet(&mut self, cash: &mut Cash, batch: Pair, edge: Edge, phi: f64) {
        let stake = if self.is_none() {
            cash.part(STAKE)
        } else {
            0.0
        };
        let logs = count::logs(&batch.arms(), edge, &GUESSES, phi);
        self.bets.grow(stake, [0.5; 2], &logs);
        self.total.add(batch);
    }

    /// Ends the bets, and puts what they are worth back to the cash.
    pub(crate) fn end(&mut self, cash: &mut Cash) {
        cash.put(self.worth());
        *self = Self::NONE;
    }
}
