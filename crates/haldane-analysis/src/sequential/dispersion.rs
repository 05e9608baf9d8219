//! Dispersion: do events come alone, or in clumps?
//!
//! Retries, one bad user or a pause of the collector make many events of one cause. A test that takes them for independent then rolls back
//! nearly every healthy canary. With clumps of at most `φ`, a bet tempered to `exp(l/φ)` keeps its promise (`x^s ≤ 1 + s·(x − 1)` for `s ≤ 1`).
//!
//! `φ` is learned from stable alone, in slots of five seconds, over about ten minutes: the squared difference of the rates of neighboring
//! slots against what independent events would give,
//!
//! ```text
//! d = Σ (r_i − r_(i−1))²/(1/n_i + 1/n_(i−1)) / (pairs·p·(1 − p))
//! ```
//!
//! Neighbors, rather than the mean of all, so that a rate that changes with the hour is not taken for clumps. Where `d` is above what chance
//! gives (`1 + 2·√(3/pairs)`), `φ = 1.3·d`; else it is the least that the metric declares. What stable has not shown yet can't be learned: with
//! few events the declared least is all there is.
//!
//! **Invariant:** the `φ` of a batch is made of earlier slots only.

use serde::{Deserialize, Serialize};

use super::real::{Reals, real, sqrt};

/// The length of a slot: short enough for some fifty of them in five minutes, of which twelve would miss clumps in one of ten rollouts; and
/// longer than what one cause takes.
const SLOT_SECONDS: f64 = 5.0;

/// How many pairs of slots are remembered in full; older ones fade.
const PAIRS: f64 = 120.0;

/// With fewer pairs chance is too wide to tell anything.
const PAIRS_MIN: f64 = 4.0;

/// What stands for the error of the estimate.
const SAFETY: f64 = 1.3;

/// The slots: seconds and exposure of the open one, exposure of the one before, pairs, and exposure of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Slots(Reals<5>);

/// The events in the slots: of the open one, of the one before, the sum of the squared differences, and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Clumps(Reals<4>);

/// What happened to the slots, for the events in them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    /// The open slot goes on.
    Open,
    /// It ended without exposure: that tells nothing, and parts its neighbors.
    Empty,
    /// It ended.
    Ended {
        /// Its exposure.
        exposure: f64,
        /// The exposure of the one before; 0 if there is none.
        before: f64,
        /// What older slots still count.
        keep: f64,
    },
}

impl Slots {
    /// No slots.
    pub(crate) const NONE: Self = Self(Reals([0.0; 5]));

    /// Adds stable's exposure of that many seconds.
    pub(crate) fn add(&mut self, exposure: u64, seconds: f64) -> Turn {
        let Reals([open_seconds, open, before, pairs, all]) = self.0;
        let (length, exposure) = (open_seconds + seconds, open + real(exposure));
        if length < SLOT_SECONDS {
            self.0 = Reals([length, exposure, before, pairs, all]);
            return Turn::Open;
        }
        if exposure <= 0.0 {
            self.0 = Reals([0.0, 0.0, 0.0, pairs, all]);
            return Turn::Empty;
        }
        let keep = if pairs >= PAIRS {
            1.0 - 1.0 / PAIRS
        } else {
            1.0
        };
        let pairs = if before > 0.0 {
            keep * pairs + 1.0
        } else {
            pairs
        };
        self.0 = Reals([0.0, 0.0, exposure, pairs, keep * all + exposure]);
        Turn::Ended {
            exposure,
            before,
            keep,
        }
    }
}

impl Clumps {
    /// No events.
    pub(crate) const NONE: Self = Self(Reals([0.0; 4]));

    /// Adds stable's events of the same seconds.
    pub(crate) fn add(&mut self, events: u64, turn: Turn) {
        let Reals([open, before, squares, all]) = self.0;
        let events = open + real(events);
        self.0 = match turn {
            Turn::Open => Reals([events, before, squares, all]),
            Turn::Empty => Reals([0.0, 0.0, squares, all]),
            Turn::Ended {
                exposure,
                before: exposure_before,
                keep,
            } => {
                let squares = if exposure_before > 0.0 {
                    let difference = events / exposure - before / exposure_before;
                    let chance = 1.0 / exposure + 1.0 / exposure_before;
                    keep * squares + difference * difference / chance
                } else {
                    squares
                };
                Reals([0.0, events, squares, keep * all + events])
            }
        };
    }

    /// Returns the index of dispersion: about 1 if events are independent, and where nothing can be told.
    pub(crate) fn index(&self, slots: &Slots) -> f64 {
        let Reals([_, _, squares, events]) = self.0;
        let Reals([_, _, _, pairs, exposure]) = slots.0;
        let rate = events / exposure.max(1.0);
        let variance = rate * (1.0 - rate);
        if pairs < PAIRS_MIN || variance <= 0.0 {
            1.0
        } else {
            squares / (pairs * variance)
        }
    }
}

/// Returns the dispersion to temper bets by: at least `least`, and more if an index is above what chance gives.
pub(crate) fn phi(index: f64, slots: &Slots, least: f64) -> f64 {
    let Reals([_, _, _, pairs, _]) = slots.0;
    if index > 1.0 + 2.0 * sqrt(3.0 / pairs.max(1.0)) {
        (SAFETY * index).max(least)
    } else {
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::{chance::Chance, tally::Counts};

    /// The dispersion of ten minutes of 100 requests a second, each second drawn by `draw`.
    fn after(seconds: u64, mut draw: impl FnMut(u64) -> Counts) -> f64 {
        let (mut slots, mut clumps) = (Slots::NONE, Clumps::NONE);
        for second in 0..seconds {
            let counts = draw(second);
            clumps.add(counts.events, slots.add(counts.exposure, 1.0));
        }
        phi(clumps.index(&slots), &slots, 1.0)
    }

    #[test]
    fn independent_events_are_rarely_taken_for_clumps() {
        let mut chance = Chance::new(1);
        let wrong = (0..500)
            .filter(|_| {
                let phi = after(600, |_| Counts {
                    exposure: 100,
                    events: chance.of(100, 0.01),
                });
                phi > 1.0
            })
            .count();
        assert!(wrong < 40, "{wrong} of 500");
    }

    #[test]
    fn clumps_are_found_with_their_size() {
        let mut chance = Chance::new(2);
        for clump in [5, 10, 30] {
            let phi = after(600, |_| Counts {
                exposure: 100,
                events: (clump * chance.poisson(1.0 / real(clump))).min(100),
            });
            let size = real(clump);
            assert!(
                phi > 0.7 * size && phi < 2.5 * size,
                "{phi} for clumps of {clump}"
            );
        }
    }

    #[test]
    fn a_drift_is_not_a_clump() {
        let phi = after(600, |second| Counts {
            exposure: 1_000,
            events: 10 + second / 30,
        });
        assert_eq!(phi.to_bits(), 1_f64.to_bits());
    }

    #[test]
    fn nothing_seen_is_the_declared_least() {
        assert_eq!(
            after(600, |_| Counts {
                exposure: 0,
                events: 0
            })
            .to_bits(),
            1_f64.to_bits()
        );
        assert_eq!(
            phi(Clumps::NONE.index(&Slots::NONE), &Slots::NONE, 1.5).to_bits(),
            1.5_f64.to_bits()
        );
    }
}
