//! What pods use: each has its own level, and wanders about it from minute to minute.

use crate::{
    chance::{Chance, mix},
    variate::{normal, to_count},
};

/// How much of a minute's deviation is left a minute later.
const MEMORY: f64 = 0.8;

/// The standard deviation of a pod about its level, of the logarithm.
const WANDER: f64 = 0.1;

/// What a usual pod uses, in the unit that is drawn in.
const USUAL: f64 = 1e6;

/// The pods of both versions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pods {
    /// How many stable has.
    pub stable: u32,
    /// How many the canary has.
    pub canary: u32,
    /// The canary's use is this multiple of stable's.
    pub ratio: f64,
    /// How much the pods' levels differ: the standard deviation of the logarithm.
    pub spread: f64,
}

/// What each pod used in a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) stable: Vec<u64>,
    pub(super) canary: Vec<u64>,
}

impl Pods {
    /// Draws the minute of this number.
    pub(super) fn usage(&self, minute: u32, seed: u64) -> Usage {
        let arm = |arm: u64, pods: u32, level: f64| {
            let pods = 0..pods;
            pods.map(|pod| {
                let chance = &mut Chance::new(mix(seed ^ mix(arm)), u64::from(pod));
                let own = self.spread * normal(chance);
                let mut away = WANDER * normal(chance);
                for _ in 0..minute {
                    let pushed = libm::sqrt(1.0 - MEMORY * MEMORY) * WANDER * normal(chance);
                    away = MEMORY * away + pushed;
                }
                to_count(USUAL * level * libm::exp(own + away))
            })
            .collect()
        };
        Usage {
            stable: arm(11, self.stable, 1.0),
            canary: arm(12, self.canary, self.ratio),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_have_their_spread_and_their_memory() {
        let pods = Pods {
            stable: 4_000,
            canary: 4_000,
            ratio: 2.0,
            spread: 0.05,
        };
        let of = |values: &[u64]| {
            values
                .iter()
                .map(|&value| (value as f64 / USUAL).ln())
                .collect::<Vec<_>>()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (first, second) = (pods.usage(3, 1), pods.usage(4, 1));
        let (stable, canary) = (of(&first.stable), of(&first.canary));
        // Four standard errors are 0.007.
        assert!(mean(&stable).abs() < 0.008, "{}", mean(&stable));
        assert!(
            (mean(&canary) - 2_f64.ln()).abs() < 0.008,
            "{}",
            mean(&canary)
        );
        let both: Vec<f64> = stable
            .iter()
            .zip(of(&second.stable))
            .map(|(a, b)| a * b)
            .collect();
        let squares: Vec<f64> = stable.iter().map(|value| value * value).collect();
        // Levels stay, and of the rest eight tenths do.
        assert!(
            (mean(&squares) / (0.0025 + 0.01) - 1.0).abs() < 0.1,
            "{}",
            mean(&squares)
        );
        assert!(
            (mean(&both) / (0.0025 + 0.008) - 1.0).abs() < 0.1,
            "{}",
            mean(&both)
        );
    }
}
