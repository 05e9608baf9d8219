//! Gauges: what pods use, as processor or memory.
//!
//! Measurements of one pod depend on each other, and pods differ. So nothing per request can be promised; the unit is the pod and the minute:
//!
//! ```text
//! x = clip((mean ln g_c − mean ln g_s − m)/0.1, −1, 1),   m = max(ln(1 + δ), 3·τ·√(1/#c + 1/#s))
//! ```
//!
//! with `τ = 1.4826·MAD` of the logarithms of stable's pods, and the wealth `∏(1 + λ·x)` averaged over `λ ∈ {0.2, 0.5, 0.95}`. It is weak by
//! design: an alarm holds the rollout unless the metric is declared critical, and nothing ever passes by it. What surely is harm (restarts, pods
//! killed for memory) is a counter.

use serde::{Deserialize, Serialize};

use super::real::{Reals, ln, real, sqrt};

/// The most pods of one version that are looked at.
pub(crate) const PODS_MAX: usize = 4_096;

/// The shares of the wealth that are bet.
const STAKES: [f64; 3] = [0.2, 0.5, 0.95];

/// How wide the range is in which a difference counts in proportion.
const RANGE: f64 = 0.1;

/// The length over which measurements are averaged.
const MINUTE_SECONDS: f64 = 60.0;

/// Wealth is held at this, so that an alarm ends when its cause does.
const WEALTH_MAX: f64 = 1e6;

/// Lost bets are made anew with this, so that a late change is found; a day of it adds less than a half to what is expected.
const WEALTH_MIN: f64 = 1e-4;

/// The evidence that the canary's pods use more.
///
/// The open reals: seconds, measurements, the sums of differences and of margins. The last ones: stable's and the canary's mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gauge {
    open: Reals<4>,
    bets: Reals<3>,
    last: Reals<2>,
}

impl Gauge {
    /// No evidence.
    pub(crate) const NONE: Self = Self {
        open: Reals([0.0; 4]),
        bets: Reals([1.0 / 3.0; 3]),
        last: Reals([0.0; 2]),
    };

    /// Adds a measurement of all pods, which stands for that many seconds; `false` if one version has none.
    pub(crate) fn add(&mut self, stable: &[u64], canary: &[u64], delta: f64, seconds: f64) -> bool {
        let (stable, canary) = (logs(stable), logs(canary));
        let (Some(stable_mean), Some(canary_mean)) = (mean(&stable), mean(&canary)) else {
            return false;
        };
        let pods = |logs: &[f64]| 1.0 / real(u64::try_from(logs.len()).unwrap_or(u64::MAX));
        let spread = 1.4826 * deviation(&stable) * sqrt(pods(&stable) + pods(&canary));
        let margin = ln(1.0 + delta).max(3.0 * spread);
        self.last = Reals([libm::exp(stable_mean), libm::exp(canary_mean)]);
        let Reals([length, count, differences, margins]) = self.open;
        let (length, count) = (length + seconds, count + 1.0);
        let (differences, margins) = (differences + canary_mean - stable_mean, margins + margin);
        if length < MINUTE_SECONDS {
            self.open = Reals([length, count, differences, margins]);
            return true;
        }
        let x = ((differences - margins) / count / RANGE).clamp(-1.0, 1.0);
        for (bet, stake) in self.bets.0.iter_mut().zip(STAKES) {
            *bet = (*bet * (1.0 + stake * x)).clamp(WEALTH_MIN, WEALTH_MAX);
        }
        self.open = Reals([0.0; 4]);
        true
    }

    /// Returns what the evidence is worth.
    pub(crate) fn worth(&self) -> f64 {
        self.bets.0.iter().sum()
    }

    /// Returns stable's and the canary's last mean, over pods and of the logarithms.
    pub(crate) const fn last(&self) -> (f64, f64) {
        let Reals([stable, canary]) = self.last;
        (stable, canary)
    }
}

fn logs(pods: &[u64]) -> Vec<f64> {
    pods.iter()
        .take(PODS_MAX)
        .filter(|value| **value > 0)
        .map(|value| ln(real(*value)))
        .collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    let count = u64::try_from(values.len())
        .ok()
        .filter(|count| *count > 0)?;
    Some(values.iter().sum::<f64>() / real(count))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or_default();
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = middle
        .checked_sub(1)
        .and_then(|index| values.get(index))
        .copied()
        .unwrap_or_default();
    (lower + upper) / 2.0
}

/// Returns the median absolute deviation.
fn deviation(values: &[f64]) -> f64 {
    let middle = median(values.to_vec());
    median(values.iter().map(|value| (value - middle).abs()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(stable: &[u64], canary: &[u64], minutes: u32) -> f64 {
        let mut gauge = Gauge::NONE;
        for _ in 0..minutes * 4 {
            assert!(gauge.add(stable, canary, 0.15, 15.0));
        }
        gauge.worth()
    }

    const STABLE: [u64; 5] = [100, 102, 98, 101, 99];

    #[test]
    fn twice_as_much_is_found_and_a_little_more_is_not() {
        assert!(minutes(&STABLE, &[200, 210], 12) > 100.0);
        assert!(minutes(&STABLE, &[110, 112], 60) < 1.0);
        assert!(minutes(&STABLE, &[90], 60) < 1.0);
    }

    #[test]
    fn pods_that_differ_much_widen_the_margin() {
        assert!(minutes(&[50, 100, 200, 80, 150], &[200, 210], 60) < 1.0);
    }

    #[test]
    fn pods_without_measurement_are_no_measurement() {
        let mut gauge = Gauge::NONE;
        for (stable, canary) in [(&[][..], &[1][..]), (&[1], &[]), (&[0, 0], &[5])] {
            assert!(!gauge.add(stable, canary, 0.15, 60.0));
        }
        assert_eq!(gauge, Gauge::NONE);
    }

    #[test]
    fn the_deviation_is_the_median_one() {
        assert_eq!(
            deviation(&[1.0, 2.0, 4.0, 9.0]).to_bits(),
            1.5_f64.to_bits()
        );
        assert_eq!(deviation(&[5.0]).to_bits(), 0_f64.to_bits());
    }
}
