//! The figures that people watch while a rollout is judged, and how bad each one is.
//!
//! They show the same numbers as the judge sees, but they decide nothing: there is no minimum of requests, and where no guard of the
//! plan covers a figure, a default limit colors it.

use std::fmt;

use haldane_core::guard::{Guard, Metric, Severity};
use serde::{Deserialize, Serialize};

use crate::{
    limit,
    reading::{Reading, read},
    sample::{Bounds, Sample},
    series::Totals,
    share,
};

/// The figures of both versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Stable's.
    pub stable: Arm,
    /// The canary's.
    pub canary: Arm,
}

/// The figures of one version; `None` where nothing was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// How many requests they are made of.
    pub requests: u64,
    /// Share of requests that failed.
    pub error_rate_ppm: Option<u64>,
    /// Requests per second, in thousandths.
    pub request_rate_milli: Option<u64>,
    /// Median latency.
    pub p50_us: Option<u64>,
    /// 95th percentile of latency.
    pub p95_us: Option<u64>,
    /// 99th percentile of latency.
    pub p99_us: Option<u64>,
    /// Between which bounds the quantiles lie. The values above are the upper ones, or the lower where there is no upper; limits are
    /// compared with the lower ones, as the judge does.
    pub latency: Quantiles,
    /// Share of requests that did not fail.
    pub success_rate_ppm: Option<u64>,
    /// Processor use per replica, in parts per million of one processor.
    pub cpu_ppm: Option<u64>,
    /// Resident memory per replica.
    pub memory_bytes: Option<u64>,
    /// Share of wanted replicas that are ready.
    pub ready_ppm: Option<u64>,
    /// Share of all requests in basis points.
    pub traffic_share_bps: Option<u16>,
}

/// Between which bounds the quantiles of latency lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<Bounds>,
    /// The 95th percentile.
    pub p95: Option<Bounds>,
    /// The 99th percentile.
    pub p99: Option<Bounds>,
}

/// How bad a figure is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Nothing was measured.
    Unknown,
    /// Within its limits.
    Ok,
    /// Beyond a limit that warns, or between the two limits of a guard.
    Warning,
    /// Beyond a critical limit.
    Critical,
}

/// How bad the figures of both versions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// Stable's, by absolute limits only.
    pub stable: Levels,
    /// The canary's.
    pub canary: Levels,
}

/// How bad each figure of one version is. Request rate and traffic share are neither good nor bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Of the share of requests that failed.
    pub error_rate: Level,
    /// Of the median latency.
    pub p50: Level,
    /// Of the 95th percentile of latency.
    pub p95: Level,
    /// Of the 99th percentile of latency.
    pub p99: Level,
    /// Of the share of requests that did not fail.
    pub success_rate: Level,
    /// Of processor use.
    pub cpu: Level,
    /// Of memory.
    pub memory: Level,
    /// Of readiness.
    pub ready: Level,
}

/// Returns the figures of a window.
#[must_use]
pub fn figures(totals: &Totals) -> Figures {
    let (stable, canary) = (totals.stable.requests, totals.canary.requests);
    Figures {
        stable: arm(&totals.stable, totals, share::observed_bps(canary, stable)),
        canary: arm(&totals.canary, totals, share::observed_bps(stable, canary)),
    }
}

/// Says how bad each figure is by `guards`, or by a default limit where no guard covers it.
///
/// Defaults: more than 5 % errors, less than 95 % successes and a p99 over 1 s are critical; a p95 over 500 ms, more than 80 % of a
/// processor and replicas that are not ready are warnings. Memory and the median have none. Stable is not compared with itself: guards
/// against stable don't cover its figures.
#[must_use]
pub fn assess(figures: &Figures, guards: &[Guard]) -> Assessment {
    let Figures { stable, canary } = figures;
    let is_absolute = |guard: &&Guard| !guard.pass.is_relative() && !guard.fail.is_relative();
    let absolute: Vec<&Guard> = guards.iter().filter(is_absolute).collect();
    let all: Vec<&Guard> = guards.iter().collect();
    Assessment {
        stable: levels(|metric| level(metric, stable, stable, &absolute)),
        canary: levels(|metric| level(metric, canary, stable, &all)),
    }
}

fn arm(sample: &Sample, totals: &Totals, traffic_share_bps: Option<u16>) -> Arm {
    let value = |metric| read(metric, sample).value;
    let bounds = |metric| read(metric, sample).bounds;
    let scaled = u128::from(sample.requests).saturating_mul(1_000_000_000_000);
    let rate = scaled.checked_div(totals.covered.as_nanos());
    Arm {
        requests: sample.requests,
        error_rate_ppm: value(Metric::ErrorRate),
        request_rate_milli: rate.and_then(|rate| u64::try_from(rate).ok()),
        p50_us: value(Metric::P50),
        p95_us: value(Metric::P95),
        p99_us: value(Metric::P99),
        latency: Quantiles {
            p50: bounds(Metric::P50),
            p95: bounds(Metric::P95),
            p99: bounds(Metric::P99),
        },
        success_rate_ppm: value(Metric::SuccessRate),
        cpu_ppm: value(Metric::Cpu),
        memory_bytes: value(Metric::Memory),
        ready_ppm: value(Metric::Ready),
        traffic_share_bps,
    }
}

fn levels(level: impl Fn(Metric) -> Level) -> Levels {
    Levels {
        error_rate: level(Metric::ErrorRate),
        p50: level(Metric::P50),
        p95: level(Metric::P95),
        p99: level(Metric::P99),
        success_rate: level(Metric::SuccessRate),
        cpu: level(Metric::Cpu),
        memory: level(Metric::Memory),
        ready: level(Metric::Ready),
    }
}

/// Says how bad one figure is: the worst that any guard says of it.
fn level(metric: Metric, arm: &Arm, stable: &Arm, guards: &[&Guard]) -> Level {
    let Some(value) = least(&reading(metric, arm)) else {
        return Level::Unknown;
    };
    let stable = reading(metric, stable);
    let guards = guards.iter().filter(|guard| guard.metric == metric);
    let worst = guards.map(|guard| guard_level(guard, value, &stable)).max();
    worst.unwrap_or_else(|| match default_limit(metric) {
        Some((limit, severity)) if limit::is_beyond(metric, value, limit) => of(severity),
        _ => Level::Ok,
    })
}

fn guard_level(guard: &Guard, value: u64, stable: &Reading) -> Level {
    let is_beyond = |limit| {
        let limit = limit::resolve(guard.metric, limit, stable)?;
        Some(limit::is_beyond(guard.metric, value, limit))
    };
    match (is_beyond(guard.fail), is_beyond(guard.pass)) {
        (Some(true), _) => of(guard.severity),
        (Some(false), Some(true)) => Level::Warning,
        (Some(false), Some(false)) => Level::Ok,
        (None, _) | (_, None) => Level::Unknown,
    }
}

/// Returns the limit of a figure that no guard covers.
const fn default_limit(metric: Metric) -> Option<(u64, Severity)> {
    match metric {
        Metric::ErrorRate => Some((50_000, Severity::Critical)),
        Metric::SuccessRate => Some((950_000, Severity::Critical)),
        Metric::P95 => Some((500_000, Severity::Warn)),
        Metric::P99 => Some((1_000_000, Severity::Critical)),
        Metric::Cpu => Some((800_000, Severity::Warn)),
        Metric::Ready => Some((1_000_000, Severity::Warn)),
        Metric::Mean | Metric::P50 | Metric::Memory | Metric::Restarts => None,
    }
}

const fn of(severity: Severity) -> Level {
    match severity {
        Severity::Warn => Level::Warning,
        Severity::Critical => Level::Critical,
    }
}

fn reading(metric: Metric, arm: &Arm) -> Reading {
    let (value, bounds) = match metric {
        Metric::ErrorRate => (arm.error_rate_ppm, None),
        Metric::SuccessRate => (arm.success_rate_ppm, None),
        Metric::P50 => (arm.p50_us, arm.latency.p50),
        Metric::P95 => (arm.p95_us, arm.latency.p95),
        Metric::P99 => (arm.p99_us, arm.latency.p99),
        Metric::Cpu => (arm.cpu_ppm, None),
        Metric::Memory => (arm.memory_bytes, None),
        Metric::Ready => (arm.ready_ppm, None),
        Metric::Mean | Metric::Restarts => (None, None),
    };
    Reading {
        value,
        bounds,
        requests: arm.requests,
    }
}

/// Returns the least value that the figure may have: just above the lower bound, where it is a quantile.
fn least(reading: &Reading) -> Option<u64> {
    reading.bounds.map_or(reading.value, |bounds| {
        Some(bounds.lower_us.saturating_add(1))
    })
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "-",
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use haldane_core::guard::Limit;

    use super::*;
    use crate::{
        sample::{Bucket, Gauges},
        series::Series,
        testing::{at, batch, guard},
    };

    fn totals(stable: Sample, canary: Sample) -> Totals {
        let mut series = Series::new();
        series.push(batch(0, stable, canary)).unwrap();
        series
            .push(batch(1, Sample::default(), Sample::default()))
            .unwrap();
        series.totals(at(0), at(2), Duration::from_secs(60))
    }

    fn sample(requests: u64, failures: u64, slow_us: u64) -> Sample {
        Sample {
            requests,
            failures,
            latency: Bucket::list([
                (100_000, requests - requests / 10),
                (slow_us, 0),
                (2 * slow_us, requests / 10),
            ]),
            gauges: Gauges {
                cpu_ppm: Some(810_000),
                ready_ppm: Some(1_000_000),
                ..Gauges::default()
            },
            ..Sample::default()
        }
    }

    #[test]
    fn figures_are_those_of_the_window() {
        let figures = figures(&totals(sample(90, 0, 400_000), sample(10, 1, 600_000)));
        assert_eq!(
            figures.canary,
            Arm {
                requests: 10,
                error_rate_ppm: Some(100_000),
                request_rate_milli: Some(5_000),
                p50_us: Some(100_000),
                p95_us: Some(1_200_000),
                p99_us: Some(1_200_000),
                latency: Quantiles {
                    p50: Some(Bounds {
                        lower_us: 0,
                        upper_us: 100_000
                    }),
                    p95: Some(Bounds {
                        lower_us: 600_000,
                        upper_us: 1_200_000
                    }),
                    p99: Some(Bounds {
                        lower_us: 600_000,
                        upper_us: 1_200_000
                    }),
                },
                success_rate_ppm: Some(900_000),
                cpu_ppm: Some(810_000),
                memory_bytes: None,
                ready_ppm: Some(1_000_000),
                traffic_share_bps: Some(1_000),
            }
        );
        assert_eq!(figures.stable.traffic_share_bps, Some(9_000));
    }

    #[test]
    fn figures_of_nothing_are_unknown() {
        let nothing = Series::new().totals(at(0), at(2), Duration::from_secs(60));
        let figures = figures(&nothing);
        assert_eq!(figures.canary.error_rate_ppm, None);
        assert_eq!(figures.canary.request_rate_milli, None);
        assert_eq!(figures.canary.traffic_share_bps, None);
        assert_eq!(assess(&figures, &[]).canary, levels(|_| Level::Unknown));
    }

    #[test]
    fn figures_without_a_guard_have_default_limits() {
        let found = assess(
            &figures(&totals(sample(100, 5, 400_000), sample(100, 6, 600_000))),
            &[],
        );
        let expected = Levels {
            error_rate: Level::Critical,
            p50: Level::Ok,
            p95: Level::Warning,
            p99: Level::Ok,
            success_rate: Level::Critical,
            cpu: Level::Warning,
            memory: Level::Unknown,
            ready: Level::Ok,
        };
        assert_eq!(found.canary, expected);
        let expected = Levels {
            error_rate: Level::Ok,
            p95: Level::Ok,
            success_rate: Level::Ok,
            ..expected
        };
        assert_eq!(found.stable, expected);
    }

    #[test]
    fn guards_replace_the_defaults() {
        let figures = figures(&totals(
            sample(1_000, 100, 400_000),
            sample(1_000, 150, 600_000),
        ));
        let absolute = |value| Limit::Absolute(value);
        for (pass, fail, severity, stable, canary) in [
            (
                absolute(200_000),
                absolute(200_000),
                Severity::Critical,
                Level::Ok,
                Level::Ok,
            ),
            (
                absolute(120_000),
                absolute(120_000),
                Severity::Warn,
                Level::Ok,
                Level::Warning,
            ),
            (
                absolute(90_000),
                absolute(120_000),
                Severity::Critical,
                Level::Warning,
                Level::Critical,
            ),
            (
                Limit::Times(1_400),
                Limit::Times(1_400),
                Severity::Critical,
                Level::Critical,
                Level::Critical,
            ),
            (
                Limit::Times(1_500),
                Limit::Times(1_500),
                Severity::Critical,
                Level::Critical,
                Level::Ok,
            ),
        ] {
            let guards = [Guard {
                pass,
                fail,
                severity,
                ..guard(Metric::ErrorRate)
            }];
            let found = assess(&figures, &guards);
            assert_eq!(
                (found.stable.error_rate, found.canary.error_rate),
                (stable, canary),
                "{guards:?}"
            );
        }
    }

    #[test]
    fn a_limit_inside_the_bucket_is_not_broken() {
        let figures = figures(&totals(sample(100, 0, 400_000), sample(100, 0, 400_000)));
        for (limit, expected) in [(400_000, Level::Critical), (400_001, Level::Ok)] {
            let limit = Limit::Absolute(limit);
            let guards = [Guard {
                pass: limit,
                fail: limit,
                ..guard(Metric::P95)
            }];
            assert_eq!(assess(&figures, &guards).canary.p95, expected);
        }
    }

    #[test]
    fn levels_are_words() {
        let words: Vec<String> = [Level::Unknown, Level::Ok, Level::Warning, Level::Critical]
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(words, ["-", "OK", "WARNING", "CRITICAL"]);
    }
}
