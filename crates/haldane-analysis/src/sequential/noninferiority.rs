//! Evidence for the canary: its rate is surely less than `ρ1` times stable's plus `ε1`.
//!
//! The [bets on counts](super::count) turned round: with `r < 1` the logarithm of the factor is
//!
//! ```text
//! l(r) = k_c·ln r − K·ln((ρ1·r·n_c + n_s)/(ρ1·n_c + n_s)) + ε1·n_c·(1 − A),   A = r·(ρ1·n_c + n_s)/(ρ1·r·n_c + n_s)
//! ```
//!
//! and `E[exp l] ≤ 1` for every canary that is at or beyond the margin. All bets are made at the start. If their sum ever reaches `1/β`,
//! the canary is shown to be fine; a canary beyond the margin is passed with a chance of at most `β`. Several metrics need no split of `β`:
//! each must be shown alone. Without any error anywhere it takes about `ln(1/β)/ε1` canary requests (the rule of three).
//!
//! A margin is a decision: harm within it is accepted.

use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};

use super::{
    count::Guess,
    real::{Reals, WEALTH_MAX, exp},
};

/// The ratios that are bet on, as multiples of the margin.
pub(crate) const GUESSES: [Guess; 6] = [
    Guess::new(0.9, -0.105_360_515_657_826_28),
    Guess::new(0.7, -0.356_674_943_938_732_45),
    Guess::new(0.5, -LN_2),
    Guess::new(0.3, -1.203_972_804_325_936_1),
    Guess::new(0.1, -2.302_585_092_994_045_5),
    Guess::new(0.02, -3.912_023_005_428_146),
];

/// The evidence for the canary on one metric, or at one latency bound: the bets, and the most that they were ever worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Accept(Reals<7>);

impl Accept {
    /// No evidence.
    ///
    /// Most is bet on three to seven tenths of the margin, where a canary like stable lies.
    pub(crate) const NONE: Self = Self(Reals([0.1, 0.2, 0.25, 0.25, 0.15, 0.05, 1.0]));

    /// Multiplies the bets by the exponentials of their logarithms.
    pub(crate) fn grow(&mut self, logs: &[f64; 6]) {
        let Reals([bets @ .., best]) = &mut self.0;
        for (bet, log) in bets.iter_mut().zip(logs) {
            *bet = (*bet * exp(*log)).min(WEALTH_MAX);
        }
        *best = best.max(bets.iter().sum());
    }

    /// Returns the most that the bets were ever worth.
    pub(crate) const fn best(&self) -> f64 {
        let Reals([.., best]) = self.0;
        best
    }

    /// Returns the bets.
    pub(crate) const fn bets(&self) -> [f64; 6] {
        let Reals([a, b, c, d, e, f, _]) = self.0;
        [a, b, c, d, e, f]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequential::{
        chance::{Binomial, expectation},
        count::{self, Edge},
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn no_bet_is_expected_to_win_at_the_margin(
            stable_n in 1_u64..9, canary_n in 1_u64..9, q in 0.0..0.9_f64, ratio in 1.0..2.0_f64,
            slack in 0.0..0.1_f64, phi in 1.0..4.0_f64,
        ) {
            let p = ratio * q + slack;
            prop_assume!(p <= 1.0);
            let (stable, canary) = (Binomial::new(stable_n, q), Binomial::new(canary_n, p));
            let edge = Edge { ratio, slack };
            for place in 0..GUESSES.len() {
                let mean = expectation(&stable, &canary, |arms| count::logs(arms, edge, &GUESSES, phi)[place]);
                prop_assert!(mean <= 1.0 + 1e-9, "{mean} at guess {place}");
            }
        }
    }

    #[test]
    fn without_errors_it_is_the_rule_of_three() {
        let edge = Edge {
            ratio: 1.5,
            slack: 0.002,
        };
        let mut accept = Accept::NONE;
        let mut requests = 0;
        while accept.best() < 20.0 {
            let arms = crate::sequential::tally::Arms {
                stable_n: 95.0,
                stable_k: 0.0,
                canary_n: 5.0,
                canary_k: 0.0,
            };
            accept.grow(&count::logs(&arms, edge, &GUESSES, 1.0));
            requests += 5;
        }
        assert!((1_500..3_000).contains(&requests), "{requests}");
    }

    #[test]
    fn evidence_once_reached_stays() {
        let mut accept = Accept::NONE;
        accept.grow(&[5.0; 6]);
        let best = accept.best();
        accept.grow(&[-9.0; 6]);
        assert!(accept.bets().iter().sum::<f64>() < 1.0);
        assert_eq!(accept.best().to_bits(), best.to_bits());
    }
}
