//! The step of all traffic: there is no stable to compare with.
//!
//! What is left is what stable's rate *was*: an upper bound `U` of it, from all that was counted beside the canary, which is too low
//! with a chance of at most a tenth of the level. Against it the [limit](super::absolute) `ρ0·U + ε` is tested. This assumes that the world
//! has not changed since, and an incident of a dependency breaks that at once. So an alarm here never rolls back: it asks for a *step back to
//! half of the traffic*, where both versions meet the same world again and the comparison decides in seconds.
//!
//! `U` is the rate at which so few events have a chance of at most `a`, by Chernoff's bound: the larger root of
//! `μ − k + k·ln(k/μ) = ln(1/a)`, divided by the exposure; a little above the exact one of Garwood, and made of logarithms alone.
//!
//! **Invariant:** nothing learned here reaches the evidence for a rollback.

use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};

use super::{
    absolute,
    count::{Edge, Guess},
    real::{Reals, ln, real},
    tally::{Arms, Counts},
    wealth::{Cash, Wealth},
};

/// The effects that are bet on.
const GUESSES: [Guess; 3] = [
    Guess::new(2.0, LN_2),
    Guess::new(6.0, 1.791_759_469_228_055),
    Guess::new(30.0, 3.401_197_381_662_155_5),
];

/// The part of the level that the bound of stable's rate may use.
const BOUND_SHARE: f64 = 0.1;

/// How many halvings find the bound: to one part in 2^50.
const HALVINGS: u32 = 50;

/// The evidence against the canary at full weight.
///
/// The reals are the bound of stable's rate while at full weight, else 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frozen {
    base: Counts,
    bound: Reals<1>,
    cash: Cash,
    bets: Wealth<3>,
}

impl Frozen {
    /// Nothing known.
    pub(crate) const NONE: Self = Self {
        base: Counts {
            exposure: 0,
            events: 0,
        },
        bound: Reals([0.0]),
        cash: Cash::ALL,
        bets: Wealth::NONE,
    };

    /// Adds what was counted of stable beside the canary, and ends a stay at full weight.
    pub(crate) fn beside(&mut self, stable: Counts) {
        let Reals([bound]) = self.bound;
        if bound > 0.0 {
            *self = Self {
                base: self.base,
                ..Self::NONE
            };
        }
        self.base.add(stable);
    }

    /// Takes a batch at full weight, and says what the evidence is worth; 1 if stable was never seen.
    pub(crate) fn alone(
        &mut self,
        arms: &Arms,
        edge: Edge,
        phi: f64,
        time: Time,
        level: f64,
    ) -> f64 {
        if self.base.exposure == 0 {
            return 1.0;
        }
        let Reals([bound]) = self.bound;
        let bound = if bound > 0.0 {
            bound
        } else {
            upper(self.base, phi, BOUND_SHARE * level)
        };
        self.bound = Reals([bound]);
        let limit = edge.ratio * bound + edge.slack;
        let logs = absolute::logs(arms, limit, &GUESSES, phi);
        let stake = self.cash.stake(time.seconds, time.horizon_seconds);
        self.bets.grow(stake, [1.0 / 3.0; 3], &logs);
        self.worth()
    }

    /// Returns what the evidence is worth.
    pub(crate) fn worth(&self) -> f64 {
        self.bets.sum() + self.cash.left()
    }
}

/// The length of a batch, and of the rollout as planned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) seconds: f64,
    pub(crate) horizon_seconds: f64,
}

/// Returns from what worth on there is an alarm, at a level of `level`.
pub(crate) fn bound(level: f64) -> f64 {
    1.0 / (level * (1.0 - BOUND_SHARE))
}

/// Returns the rate that is exceeded by the true one with a chance of at most `level`, where events come in clumps of `phi`.
fn upper(counts: Counts, phi: f64, level: f64) -> f64 {
    let k = real(counts.events) / phi;
    let need = ln(1.0 / level);
    let surplus = |mean: f64| {
        if k > 0.0 {
            mean - k + k * ln(k / mean)
        } else {
            mean
        }
    };
    // At k + need + √(2·k·need) + need the bound is surely passed.
    let (mut low, mut high) = (k, 2.0 * k + 4.0 * need);
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if surplus(middle) < need {
            low = middle;
        } else {
            high = middle;
        }
    }
    high * phi / real(counts.exposure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::chance::Chance;

    #[test]
    fn the_bound_is_a_little_above_the_exact_one() {
        // Garwood: gamma quantiles of 1 − a at k + 1, for a = 0.0005.
        for (events, exact) in [(0, 7.6009), (1, 9.9980), (10, 25.2556), (100, 137.3735)] {
            let counts = Counts {
                exposure: 1,
                events,
            };
            let bound = upper(counts, 1.0, 0.0005);
            assert!(
                bound >= exact - 1e-3 && bound < exact * 1.25,
                "{events}: {bound}"
            );
        }
    }

    fn arms(canary_k: u64) -> Arms {
        Arms {
            stable_n: 0.0,
            stable_k: 0.0,
            canary_n: 100.0,
            canary_k: real(canary_k),
        }
    }

    const EDGE: Edge = Edge {
        ratio: 1.1,
        slack: 0.0,
    };
    const TIME: Time = Time {
        seconds: 1.0,
        horizon_seconds: 1_200.0,
    };

    #[test]
    fn a_healthy_canary_rarely_alarms_and_a_sick_one_soon_does() {
        let mut chance = Chance::new(7);
        let mut alarms = 0;
        for _ in 0..500 {
            let mut frozen = Frozen::NONE;
            frozen.beside(Counts {
                exposure: 50_000,
                events: chance.of(50_000, 0.01),
            });
            let worth = (0..300).map(|_| {
                let arms = arms(chance.of(100, 0.01));
                frozen.alone(&arms, EDGE, 1.0, TIME, 0.01)
            });
            alarms += u32::from(worth.fold(0.0, f64::max) >= bound(0.01));
        }
        assert!(alarms <= 10, "{alarms} of 500");

        let mut frozen = Frozen::NONE;
        frozen.beside(Counts {
            exposure: 50_000,
            events: 500,
        });
        for _ in 0..300 {
            frozen.alone(&arms(1), EDGE, 1.0, TIME, 0.01);
        }
        let late = (1..30).find(|_| frozen.alone(&arms(10), EDGE, 1.0, TIME, 0.01) >= bound(0.01));
        assert!(late.is_some_and(|seconds| seconds <= 5), "{late:?}");
    }

    #[test]
    fn without_stable_there_is_no_alarm() {
        let mut frozen = Frozen::NONE;
        assert_eq!(
            frozen.alone(&arms(100), EDGE, 1.0, TIME, 0.01).to_bits(),
            1_f64.to_bits()
        );
    }

    #[test]
    fn a_stay_ends_when_stable_is_back() {
        let mut frozen = Frozen::NONE;
        let stable = Counts {
            exposure: 1_000,
            events: 0,
        };
        frozen.beside(stable);
        assert!(frozen.alone(&arms(50), EDGE, 1.0, TIME, 0.01) > bound(0.01));
        frozen.beside(stable);
        assert_eq!(frozen.worth().to_bits(), 1_f64.to_bits());
    }
}
