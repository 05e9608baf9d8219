//! How soon could anybody know? The time that the best test of all would need on average, had it known beforehand what is wrong.
//!
//! A test that errs in a share `α` of healthy rollouts must gather `ln(1/α)` of information (Wald 1945). A second with `n_c` and `n_s` requests,
//! of which the shares `p_c` and `p_s` fail, holds
//!
//! ```text
//! I = n_c·KL(p_c ‖ ρ0·q) + n_s·KL(p_s ‖ q)
//! ```
//!
//! with the `q` that makes it least: the nearest pair of versions that is still fine. At full weight there is nothing to compare, and no
//! information. What is judged at several metrics or bounds has the time of that which is found first.

use std::ops::Range;

use haldane_analysis::sequential::{Against, Direction, Kind, Metric};

use super::{
    Scenario, Schedule,
    sequential::{Manner, settings},
    traffic::share_of,
};

/// Which shares of stable's latencies may be above a bound that is looked at.
const ABOVE: Range<f64> = 2e-4..0.85;

/// A pair of shares to tell apart.
#[derive(Clone, Copy, Debug)]
struct Pair {
    stable: f64,
    canary: f64,
}

/// Returns the seconds after which the best test would have found the canary out, on average; `None` if not within the schedule.
#[must_use]
pub fn wald_seconds(scenario: &Scenario, schedule: &Schedule) -> Option<u32> {
    let settings = settings(scenario, schedule, Manner::USUAL);
    let critical = || settings.metrics.iter().filter(|metric| metric.critical);
    let all: f64 = critical().map(|metric| f64::from(metric.weight)).sum();
    let alpha = f64::from(settings.alpha_ppm) / 1e6;
    critical()
        .filter_map(|metric| {
            let needed = -libm::log(alpha * f64::from(metric.weight) / all);
            let seconds = pairs(metric, scenario)
                .into_iter()
                .filter_map(|pair| seconds(pair, metric, needed, scenario, schedule));
            seconds.min()
        })
        .min()
}

/// Returns what the metric compares, once the canary has turned bad.
fn pairs(metric: &Metric, scenario: &Scenario) -> Vec<Pair> {
    match metric.kind {
        Kind::Ratio => vec![Pair {
            stable: scenario.stable,
            canary: scenario.canary,
        }],
        Kind::Latency => {
            let above = scenario.latency.iter().flat_map(|latency| latency.above());
            above
                .filter(|(stable, _)| ABOVE.contains(stable))
                .map(|(stable, canary)| Pair { stable, canary })
                .collect()
        }
        Kind::Conversion => {
            let hits = scenario.conversion.iter();
            hits.map(|hits| Pair {
                stable: hits.stable,
                canary: hits.canary,
            })
            .collect()
        }
        Kind::Counter | Kind::Gauge => Vec::new(),
    }
}

fn seconds(
    pair: Pair,
    metric: &Metric,
    needed: f64,
    scenario: &Scenario,
    schedule: &Schedule,
) -> Option<u32> {
    let Against::Stable(margin) = metric.against else {
        return None;
    };
    let ratio = f64::from(margin.harm_ratio_ppm) / 1e6;
    let mut known = 0.0;
    for at in scenario.onset..schedule.length() {
        let share = share_of(schedule.weight(at)?);
        let canary = scenario.requests_per_second * share;
        let stable = scenario.requests_per_second * (1.0 - share);
        known += match metric.direction {
            Direction::HigherIsWorse => {
                information((canary, pair.canary), (stable, pair.stable), ratio)
            }
            // Stable then is the version with too many, beyond the inverse of the margin.
            Direction::LowerIsWorse => {
                information((stable, pair.stable), (canary, pair.canary), 1.0 / ratio)
            }
        };
        if known >= needed {
            return Some(at.saturating_add(1));
        }
    }
    None
}

/// Returns the information of so many trials with these shares, against "the first share is at most `ratio` times the second".
fn information((many, high): (f64, f64), (other, low): (f64, f64), ratio: f64) -> f64 {
    let trials = many + other;
    if high <= ratio * low || many <= 0.0 || other <= 0.0 {
        return 0.0;
    }
    let half = many * (high + ratio) + other * (1.0 + ratio * low);
    let square = half * half - 4.0 * ratio * trials * (many * high + other * low);
    let nearest = (half - libm::sqrt(square.max(0.0))) / (2.0 * ratio * trials);
    many * divergence(high, ratio * nearest) + other * divergence(low, nearest)
}

/// Returns the Kullback-Leibler divergence of two shares.
fn divergence(share: f64, from: f64) -> f64 {
    let part = |share: f64, from: f64| {
        if share > 0.0 {
            share * libm::log(share / from)
        } else {
            0.0
        }
    };
    part(share, from) + part(1.0 - share, 1.0 - from)
}

#[cfg(test)]
mod tests {
    use haldane_core::Weight;

    use super::*;
    use crate::judges::Latency;

    fn schedule() -> Schedule {
        Schedule {
            steps: [5, 25, 50, 100].map(Weight::from_percent).to_vec(),
            hold: 300,
        }
    }

    /// For rare events it is the divergence of the canary's share of all events: 0.0573 nats a second for 0.1 % to 1 % at 100 a second.
    #[test]
    fn information_on_rare_events_is_that_of_their_split() {
        let found = information((5.0, 0.01), (95.0, 0.001), 1.1);
        let (canary, stable) = (0.05, 0.095);
        let share = canary / (canary + stable);
        let expected = (canary + stable) * divergence(share, 5.5 / 100.5);
        assert!((found / expected - 1.0).abs() < 0.01, "{found}, {expected}");
        assert!((found - 0.0573).abs() < 0.001, "{found}");
    }

    #[test]
    fn the_time_is_that_of_the_information_needed() {
        let found = wald_seconds(&Scenario::errors(100.0, 0.001, 0.01), &schedule());
        // ln(7/4 / 0.01) = 5.165 nats.
        assert_eq!(found, Some(90));
        let late = Scenario {
            onset: 420,
            ..Scenario::errors(100.0, 0.001, 0.01)
        };
        let found = wald_seconds(&late, &schedule()).unwrap();
        assert!((440..470).contains(&found), "{found}");
    }

    #[test]
    fn of_several_bounds_the_best_one_counts() {
        let at = |bounds_us: Vec<u64>| {
            let latency = Latency {
                scale: 2.0,
                ..Latency::usual(bounds_us)
            };
            let scenario = Scenario {
                latency: Some(latency),
                ..Scenario::errors(100.0, 0.0, 0.0)
            };
            wald_seconds(&scenario, &schedule())
        };
        let (body, tail) = (at(vec![100_000]), at(vec![500_000]));
        assert!(
            body.is_some() && tail.is_some() && body != tail,
            "{body:?}, {tail:?}"
        );
        assert_eq!(at(vec![100_000, 500_000]), body.min(tail));
        // So far out that stable hardly ever gets there, nothing is looked at.
        assert_eq!(at(vec![16_000_000]), None);
    }

    #[test]
    fn what_is_no_harm_is_never_known() {
        for canary in [0.0005, 0.001, 0.0011] {
            let scenario = Scenario::errors(1_000.0, 0.001, canary);
            assert_eq!(wald_seconds(&scenario, &schedule()), None, "{canary}");
        }
        let alone = Schedule {
            steps: vec![Weight::FULL],
            hold: 300,
        };
        let scenario = Scenario::errors(1_000.0, 0.001, 0.1);
        assert_eq!(wald_seconds(&scenario, &alone), None);
    }
}
