//! The counts of one second: requests, failures and latencies, drawn from what a version is like.

use haldane_analysis::{Bucket, Gauges, Sample, panel::own_guards};
use haldane_core::guard::{Guard, Limit, Metric, Unit};

use super::{Quality, Scenario};
use crate::{
    chance::Chance,
    variate::{binomial, poisson, to_count},
};

/// Latency buckets per power of two, where a guard depends on stable's latency.
const BUCKETS_PER_DOUBLING: f64 = 8.0;

/// The most standard deviations from the median that have buckets of their own.
const SPREAD_MAX: f64 = 4.0;

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
    // The sequential judge compares latencies all over.
    let is_compared = plan.rules().judge.is_some();
    if is_compared || latency().any(needs_all) {
        bounds.extend(grid([&scenario.stable, &scenario.canary]));
    }
    if is_compared || latency().next().is_some() {
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
            replicas: None,
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
