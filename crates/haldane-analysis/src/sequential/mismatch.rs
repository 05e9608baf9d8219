//! Sample-ratio mismatch: do requests go where the verified weight sends them?
//!
//! A router may accept a weight and not apply it; then both versions' counts are of the wrong requests. Bets are made that the canary's
//! share `p` of the requests is above the weight and a slack, or below it:
//!
//! ```text
//! l = n_c·ln(p1/p0) + n_s·ln((1 − p1)/(1 − p0)),   odds(p1) = x·odds(p0),  x ∈ {1.5, 3, 20} upward, their inverses downward
//! ```
//!
//! with `p0` the weight plus 1 % of all requests (retries, requests placed by header), or less a fifth of the weight, at most 1 %. Each weight
//! begins anew, and only batches whose neighbors on both sides have the same weight count: in those beside a change, part of the requests may have
//! been sent by the other weight. So the check lags by one batch. An alarm holds the rollout; it ends when the share is right again.

use std::time::Duration;

use haldane_core::Weight;
use serde::{Deserialize, Serialize};

use super::{
    real::{ln, real},
    wealth::{Cash, Wealth},
};
use crate::share::Split;

/// The worth at which the share is taken for wrong: by chance once in a thousand weights.
pub(crate) const WORTH_ALARM: f64 = 1_000.0;

/// Bets are held at this, so that an alarm ends soon after its cause.
const WEALTH_MAX: f64 = 1e5;

/// The time over which late mistakes are expected.
const HORIZON_SECONDS: f64 = 600.0;

/// How many milliseconds are merged to one bet: a wrong share is wrong by much, and soon told.
const MERGED_MS: u64 = 5_000;

/// The odds ratios that are bet on.
const ODDS: [f64; 3] = [1.5, 3.0, 20.0];

/// What retries and overrides may move, of all requests.
const SLACK: f64 = 0.01;

/// The evidence that the share is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mismatch {
    weight: Weight,
    /// How many batches in a row had this weight.
    batches: u32,
    /// The newest batch's requests, whose neighbor is not known yet.
    held: (u64, u64),
    /// The requests that count, stable's and the canary's.
    counted: (u64, u64),
    /// Those of them that are not bet on yet, and their milliseconds.
    open: (u64, u64, u64),
    cash: Cash,
    bets: Wealth<6>,
}

impl Mismatch {
    /// Nothing seen.
    pub(crate) const NONE: Self = Self::of(Weight::ZERO);

    const fn of(weight: Weight) -> Self {
        Self {
            weight,
            batches: 0,
            held: (0, 0),
            counted: (0, 0),
            open: (0, 0, 0),
            cash: Cash::ALL,
            bets: Wealth::NONE,
        }
    }

    /// Adds the requests of one batch to stable and to the canary.
    pub(crate) fn add(&mut self, weight: Weight, stable: u64, canary: u64, length: Duration) {
        if weight != self.weight {
            *self = Self::of(weight);
        }
        if self.batches >= 2 && self.held != (0, 0) {
            let (stable, canary) = self.held;
            self.counted.0 = self.counted.0.saturating_add(stable);
            self.counted.1 = self.counted.1.saturating_add(canary);
            let (open_stable, open_canary, length_ms) = self.open;
            self.open = (
                open_stable.saturating_add(stable),
                open_canary.saturating_add(canary),
                length_ms.saturating_add(length.as_millis().try_into().unwrap_or(u64::MAX)),
            );
            self.bet();
        }
        self.batches = self.batches.saturating_add(1);
        self.held = (stable, canary);
    }

    /// Bets on what is open, once it is enough.
    fn bet(&mut self) {
        let (stable, canary, length_ms) = self.open;
        if length_ms < MERGED_MS {
            return;
        }
        let stake = self.cash.stake(real(length_ms) / 1e3, HORIZON_SECONDS);
        let logs = logs(self.weight, real(stable), real(canary));
        self.bets.bet(stake, [1.0 / 6.0; 6], &logs, WEALTH_MAX);
        self.open = (0, 0, 0);
    }

    /// Returns what the evidence is worth.
    pub(crate) fn worth(&self) -> f64 {
        self.bets.sum() + self.cash.left()
    }

    /// Whether requests are taken to go elsewhere.
    pub(crate) fn is_alarm(&self) -> bool {
        self.worth() >= WORTH_ALARM
    }

    /// Returns the requests that were counted at this weight.
    pub(crate) const fn split(&self) -> Split {
        Split {
            weight: self.weight,
            stable: self.counted.0,
            canary: self.counted.1,
        }
    }
}

/// Returns the logarithms of the factors: three upward, three downward. A bet that can't be made stays as it is.
fn logs(weight: Weight, stable: f64, canary: f64) -> [f64; 6] {
    let share = f64::from(weight.as_bps()) / 10_000.0;
    let up = share + SLACK;
    let down = share - (share / 5.0).min(SLACK);
    let bet = |from: f64, odds_ratio: f64| {
        if from <= 0.0 || from >= 1.0 {
            return 0.0;
        }
        let odds = odds_ratio * from / (1.0 - from);
        let to = odds / (1.0 + odds);
        canary * ln(to / from) + stable * ln((1.0 - to) / (1.0 - from))
    };
    let [small, middle, large] = ODDS;
    [
        bet(up, small),
        bet(up, middle),
        bet(up, large),
        bet(down, 1.0 / small),
        bet(down, 1.0 / middle),
        bet(down, 1.0 / large),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::chance::Chance;

    const SECOND: Duration = Duration::from_secs(1);

    fn percent(percent: u8) -> Weight {
        Weight::from_percent(percent)
    }

    /// After how many seconds of 100 requests the share is taken for wrong, if the canary's share really is `share`.
    fn alarm(weight: Weight, share: f64, seed: u64) -> Option<u64> {
        let mut chance = Chance::new(seed);
        let mut mismatch = Mismatch::NONE;
        (0..600).find(|_| {
            let canary = chance.of(100, share);
            mismatch.add(weight, 100 - canary, canary, SECOND);
            mismatch.is_alarm()
        })
    }

    #[test]
    fn a_right_share_hardly_ever_alarms() {
        for weight in [0, 1, 5, 25, 50, 95, 99, 100] {
            for seed in 0..40 {
                let share = f64::from(weight) / 100.0;
                assert_eq!(
                    alarm(percent(weight), share, seed),
                    None,
                    "{weight} % with seed {seed}"
                );
            }
        }
    }

    #[test]
    fn a_wrong_share_is_found_within_seconds() {
        for (weight, share, seconds_max) in [
            (5, 0.0, 250),
            (5, 0.2, 20),
            (25, 0.5, 20),
            (50, 0.0, 10),
            (0, 0.1, 30),
            (100, 0.9, 30),
        ] {
            let found = alarm(percent(weight), share, 3);
            assert!(
                found.is_some_and(|seconds| seconds <= seconds_max),
                "{weight} % got {share}: {found:?}"
            );
        }
    }

    #[test]
    fn a_change_of_weight_is_no_mismatch_and_an_alarm_ends() {
        let mut mismatch = Mismatch::NONE;
        for second in 0..20 {
            // The first batch at a new weight was still split by the old one.
            let canary = if second == 0 { 0 } else { 25 };
            mismatch.add(percent(25), 100 - canary, canary, SECOND);
            assert!(!mismatch.is_alarm());
        }
        for _ in 0..20 {
            mismatch.add(percent(25), 100, 0, SECOND);
        }
        assert!(mismatch.is_alarm());
        for _ in 0..30 {
            mismatch.add(percent(25), 75, 25, SECOND);
        }
        assert!(!mismatch.is_alarm());
    }
}
