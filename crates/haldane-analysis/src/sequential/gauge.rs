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

/// From how many answers in a row on a limit counts as broken: one may be a spike.
const ANSWERS_MIN: u32 = 2;

/// What a broken limit is worth: it is no bet, and decides alone.
const WORTH_BROKEN: f64 = 1e12;

/// The evidence that the canary's pods use more.
///
/// The open reals: seconds, measurements, the sums of differences and of margins. The last ones: stable's and the canary's mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gauge {
    open: Reals<4>,
    bets: Reals<3>,
    last: Reals<2>,
    #[serde(default, skip_serializing_if = "Over::is_none")]
    over: Over,
}

/// What is known of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Over {
    /// For how many answers in a row the canary has been over it.
    canary: u32,
    /// Whether stable is, too.
    stable: bool,
}

impl Gauge {
    /// No evidence.
    pub(crate) const NONE: Self = Self {
        open: Reals([0.0; 4]),
        bets: Reals([1.0 / 3.0; 3]),
        last: Reals([0.0; 2]),
        over: Over {
            canary: 0,
            stable: false,
        },
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

    /// Holds the mean of the canary's pods to a limit; `false` if it has none.
    pub(crate) fn hold_to(&mut self, stable: &[u64], canary: &[u64], limit: u64) -> bool {
        let average = |pods: &[u64]| {
            let pods: Vec<f64> = pods
                .iter()
                .take(PODS_MAX)
                .map(|value| real(*value))
                .collect();
            mean(&pods)
        };
        let Some(canary) = average(canary) else {
            return false;
        };
        let stable = average(stable);
        let is_over = |value: f64| value > real(limit);
        self.over = Over {
            canary: if is_over(canary) {
                self.over.canary.saturating_add(1)
            } else {
                0
            },
            stable: stable.is_some_and(is_over),
        };
        self.last = Reals([stable.unwrap_or_default(), canary]);
        true
    }

    /// Returns stable's and the canary's value where both break the limit.
    pub(crate) fn shared(&self) -> Option<(f64, f64)> {
        (self.over.is_broken() && self.over.stable).then(|| self.last())
    }

    /// Returns what the evidence is worth.
    pub(crate) fn worth(&self) -> f64 {
        if self.over.is_broken() && !self.over.stable {
            return WORTH_BROKEN;
        }
        self.bets.0.iter().sum()
    }

    /// Returns stable's and the canary's last mean over pods, of the logarithms where they are compared.
    pub(crate) const fn last(&self) -> (f64, f64) {
        let Reals([stable, canary]) = self.last;
        (stable, canary)
    }
}

impl Over {
    /// Nothing.
    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    const fn is_broken(self) -> bool {
        self.canary >= ANSWERS_MIN
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
    fn a_limit_is_broken_by_the_second_answer_in_a_row_and_only_by_the_canary() {
        let broken = |answers: &[(&[u64], &[u64])]| {
            let mut gauge = Gauge::NONE;
            for (stable, canary) in answers {
                assert!(gauge.hold_to(stable, canary, 250));
            }
            (gauge.worth() >= 1e9, gauge.shared().is_some())
        };
        let (low, high) = (&[200, 260][..], &[240, 300][..]);
        assert_eq!(broken(&[(low, high)]), (false, false), "a spike");
        assert_eq!(broken(&[(low, high), (low, high)]), (true, false));
        assert_eq!(
            broken(&[(low, high), (low, low), (low, high)]),
            (false, false)
        );
        assert_eq!(broken(&[(low, high), (high, high)]), (false, true));
        assert_eq!(
            broken(&[(low, high), (high, high), (low, high)]),
            (true, false)
        );
        assert_eq!(broken(&[(high, low), (high, low)]), (false, false));
        assert_eq!(broken(&[(&[], high), (&[], high)]), (true, false));
        let mut without = Gauge::NONE;
        assert!(!without.hold_to(low, &[], 250));
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
