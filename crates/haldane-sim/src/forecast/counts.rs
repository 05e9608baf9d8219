//! The counts of one second: requests, failures and latencies, drawn from what a version is like.

use haldane_analysis::{Bucket, Gauges, Sample};
use haldane_core::guard::{Guard, Limit, Metric, Unit};

use super::{Quality, Scenario, own_guards};
use crate::chance::Chance;

/// Latency buckets per power of two, where a guard depends on stable's latency.
const BUCKETS_PER_DOUBLING: f64 = 8.0;

/// The most standard deviations from the median that have buckets of their own.
const SPREAD_MAX: f64 = 4.0;

/// Up to here counts are drawn exactly; above, the normal distribution is as good as the forecast.
const EXACT_MEAN_MAX: f64 = 30.0;

/// What one version's counts are drawn from.
pub(super) struct Arm {
    error_share: f64,
    cells: Vec<Cell>,
}

/// A bucket of latencies.
struct Cell {
    lower_us: u64,
    upper_us: u64,
    /// The latency that stands for all in it.
    typical_us: u64,
    /// How likely a latency is in it that is in none before.
    share_of_rest: f64,
}

/// Returns where latency buckets must end, so that every guard of the plan can tell what it must.
///
/// Fixed limits need a bound at the limit and nothing else; limits against stable and means need buckets all over.
pub(super) fn bounds(scenario: &Scenario) -> Vec<u64> {
    let plan = &scenario.plan;
    let own = plan.steps().iter().flat_map(own_guards);
    let guards = || plan.rules().guards.iter().chain(own.clone());
    let latency = || guards().filter(|guard| guard.metric.unit() == Unit::Micros);
    let limits = latency().flat_map(|guard| [guard.pass, guard.fail]);
    let fixed = limits.filter_map(|limit| match limit {
        Limit::Absolute(us) => Some(us),
        Limit::Times(_) | Limit::Points(_) => None,
    });
    let mut bounds: Vec<u64> = fixed.collect();
    let needs_all = |guard: &Guard| {
        guard.metric == Metric::Mean || guard.pass.is_relative() || guard.fail.is_relative()
    };
    if latency().any(needs_all) {
        bounds.extend(grid([&scenario.stable, &scenario.canary]));
    }
    if latency().next().is_some() {
        bounds.push(u64::MAX);
    }
    bounds.retain(|bound| *bound > 0);
    bounds.sort_unstable();
    bounds.dedup();
    bounds
}

/// Returns bounds as far apart as the proxy's, over all latencies that are likely.
fn grid(qualities: [&Quality; 2]) -> Vec<u64> {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for quality in qualities {
        let reach = libm::exp(SPREAD_MAX * quality.latency_sigma);
        low = low.min(quality.median_us() / reach);
        high = high.max(quality.median_us() * reach);
    }
    let factor = libm::exp2(1.0 / BUCKETS_PER_DOUBLING);
    // An hour: longer than any timeout, and an end to the loop whatever the medians are.
    let (low, high) = (low.max(1.0), high.min(3.6e9));
    std::iter::successors(Some(low), |bound| Some(bound * factor))
        .take_while(|bound| *bound <= high * factor)
        .map(to_count)
        .collect()
}

impl Quality {
    fn median_us(&self) -> f64 {
        (self.latency_median.as_secs_f64() * 1e6).max(1.0)
    }

    /// Returns the share of latencies up to a bound.
    fn share_up_to(&self, bound_us: u64) -> f64 {
        let spread = self.latency_sigma.max(1e-6);
        let deviations = libm::log(bound_us as f64 / self.median_us()) / spread;
        0.5 * libm::erfc(-deviations / std::f64::consts::SQRT_2)
    }
}

impl Arm {
    pub(super) fn new(quality: &Quality, bounds: &[u64]) -> Self {
        let (mut lower_us, mut below) = (0, 0.0);
        let cells = bounds.iter().map(|&upper_us| {
            let upto = if upper_us == u64::MAX {
                1.0
            } else {
                quality.share_up_to(upper_us)
            };
            let rest = 1.0 - below;
            let share_of_rest = if rest > 0.0 {
                ((upto - below) / rest).clamp(0.0, 1.0)
            } else {
                1.0
            };
            let cell = Cell {
                lower_us,
                upper_us,
                typical_us: typical(lower_us, upper_us),
                share_of_rest,
            };
            (lower_us, below) = (upper_us, upto);
            cell
        });
        Self {
            cells: cells.collect(),
            error_share: quality.error_ppm as f64 / 1e6,
        }
    }

    /// Draws what is counted where so many requests are expected.
    pub(super) fn draw(&self, expected: f64, chance: &mut Chance) -> Sample {
        let requests = poisson(expected, chance);
        let failures = binomial(requests, self.error_share, chance);
        let mut rest = requests;
        let (mut latency, mut latency_sum_us) = (Vec::new(), 0_u64);
        for cell in &self.cells {
            let count = binomial(rest, cell.share_of_rest, chance);
            rest = rest.saturating_sub(count);
            if count > 0 {
                latency.push(Bucket {
                    lower_us: cell.lower_us,
                    upper_us: cell.upper_us,
                    count,
                });
                latency_sum_us =
                    latency_sum_us.saturating_add(cell.typical_us.saturating_mul(count));
            }
        }
        let gauges = Gauges {
            cpu_ppm: Some(0),
            memory_bytes: Some(0),
            restarts: Some(0),
            ready_ppm: Some(1_000_000),
        };
        Sample {
            requests,
            failures,
            latency_sum_us,
            latency,
            gauges,
        }
    }
}

/// Returns the latency that stands for those between two bounds.
fn typical(lower_us: u64, upper_us: u64) -> u64 {
    match (lower_us, upper_us) {
        (lower, u64::MAX) => lower,
        (0, upper) => upper / 2,
        (lower, upper) => to_count(libm::sqrt(lower as f64 * upper as f64)),
    }
}

fn poisson(mean: f64, chance: &mut Chance) -> u64 {
    if mean > EXACT_MEAN_MAX {
        return to_count(mean + libm::sqrt(mean) * normal(chance));
    }
    // The number of independent gaps that fit.
    let (mut count, mut used) = (0_u64, exponential(chance));
    while used < mean {
        count = count.saturating_add(1);
        used += exponential(chance);
    }
    count
}

fn binomial(count: u64, share: f64, chance: &mut Chance) -> u64 {
    if share > 0.5 {
        return count.saturating_sub(binomial(count, 1.0 - share, chance));
    }
    if share <= 0.0 {
        return 0;
    }
    let mean = count as f64 * share;
    if mean > EXACT_MEAN_MAX {
        let deviation = libm::sqrt(mean * (1.0 - share));
        return to_count(mean + deviation * normal(chance)).min(count);
    }
    // From one hit to the next: gaps are geometric.
    let scale = -libm::log1p(-share);
    let (mut hits, mut at) = (0_u64, exponential(chance) / scale);
    while at < count as f64 {
        hits = hits.saturating_add(1);
        at = libm::floor(at) + 1.0 + exponential(chance) / scale;
    }
    hits
}

/// Draws from 0 (excluded) to 1 (included), of 2⁵³ equally likely numbers.
fn unit(chance: &mut Chance) -> f64 {
    (chance.next() >> 11).saturating_add(1) as f64 / (1_u64 << 53) as f64
}

fn exponential(chance: &mut Chance) -> f64 {
    -libm::log(unit(chance))
}

fn normal(chance: &mut Chance) -> f64 {
    let radius = libm::sqrt(2.0 * exponential(chance));
    radius * libm::cos(std::f64::consts::TAU * unit(chance))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded, at least zero, and far below 2⁵³"
)]
fn to_count(number: f64) -> u64 {
    libm::round(number).max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_mean_and_the_spread_of_their_distribution() {
        let mut chance = Chance::new(1, 1);
        let mut check =
            |name: &str, mean: f64, variance: f64, draw: &dyn Fn(&mut Chance) -> u64| {
                let draws: Vec<f64> = (0..20_000).map(|_| draw(&mut chance) as f64).collect();
                let found = draws.iter().sum::<f64>() / 20_000.0;
                let spread =
                    draws.iter().map(|draw| (draw - found).powi(2)).sum::<f64>() / 20_000.0;
                // More than four standard errors.
                assert!(
                    (found - mean).abs() < 0.03 * variance.sqrt() + 0.01,
                    "{name}: mean {found}"
                );
                assert!(
                    (spread / variance - 1.0).abs() < 0.1,
                    "{name}: variance {spread}"
                );
            };
        check("few requests", 3.0, 3.0, &|chance| poisson(3.0, chance));
        check("many requests", 90.0, 90.0, &|chance| poisson(90.0, chance));
        check("rare", 1.0, 0.99, &|chance| binomial(100, 0.01, chance));
        check("frequent", 8.0, 1.6, &|chance| binomial(10, 0.8, chance));
        check("many", 400.0, 240.0, &|chance| binomial(1_000, 0.4, chance));
        assert_eq!(
            (binomial(7, 0.0, &mut chance), binomial(7, 1.0, &mut chance)),
            (0, 7)
        );
    }
}
