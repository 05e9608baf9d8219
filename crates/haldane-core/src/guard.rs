//! Guards: limits that a canary must keep, absolute or against stable.
//!
//! A guard is a declaration; measuring and comparing is the judges' work. Values are fixed-point integers in the unit of their
//! metric ([`Metric::unit`]), so that a plan is compared and stored without rounding.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is measured on each version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Metric {
    /// Share of requests that failed: 5xx of the version, or no complete answer from it.
    ErrorRate,
    /// Share of requests that did not fail.
    SuccessRate,
    /// Mean latency.
    Mean,
    /// Median latency.
    P50,
    /// 95th percentile of latency.
    P95,
    /// 99th percentile of latency.
    P99,
    /// Processor use per replica.
    Cpu,
    /// Resident memory per replica.
    Memory,
    /// Restarts of replicas since the rollout began.
    Restarts,
    /// Share of wanted replicas that are ready.
    Ready,
}

/// The unit of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Parts per million of a whole.
    Share,
    /// Microseconds.
    Micros,
    /// Parts per million of one processor.
    Processor,
    /// Bytes.
    Bytes,
    /// A plain number.
    Count,
}

/// Which way a metric gets worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worse {
    /// More is worse, as with errors.
    Higher,
    /// Less is worse, as with successes.
    Lower,
}

/// A limit for the canary's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// A fixed value, in the metric's unit: `5%`, `500ms`.
    Absolute(u64),
    /// A multiple of stable's value, in thousandths: `2x` is 2,000.
    Times(u32),
    /// Stable's share plus a number of parts per million: `+5pp` is 50,000.
    Points(u32),
}

/// What a broken guard means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Told to people, and a reason to ask one where the plan is hybrid.
    Warn,
    /// A failure of the canary.
    Critical,
}

/// A limit that the canary must keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// What is measured.
    pub metric: Metric,
    /// Up to here (as seen from the good side) the canary passes.
    pub pass: Limit,
    /// Beyond here it fails; between the two the guard is inconclusive. Equal to `pass` where one limit was given.
    pub fail: Limit,
    /// How many failed measurements are tolerated before the guard counts as broken.
    pub failures: u32,
    /// What a broken guard means.
    pub severity: Severity,
}

impl Metric {
    /// Every metric, in the order in which people read them.
    pub const ALL: [Self; 10] = [
        Self::ErrorRate,
        Self::SuccessRate,
        Self::Mean,
        Self::P50,
        Self::P95,
        Self::P99,
        Self::Cpu,
        Self::Memory,
        Self::Restarts,
        Self::Ready,
    ];

    /// Returns the name as written in plans: `errorRate`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ErrorRate => "errorRate",
            Self::SuccessRate => "successRate",
            Self::Mean => "mean",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Restarts => "restarts",
            Self::Ready => "ready",
        }
    }

    /// Returns the unit of the metric's values.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::ErrorRate | Self::SuccessRate | Self::Ready => Unit::Share,
            Self::Mean | Self::P50 | Self::P95 | Self::P99 => Unit::Micros,
            Self::Cpu => Unit::Processor,
            Self::Memory => Unit::Bytes,
            Self::Restarts => Unit::Count,
        }
    }

    /// Returns which way the metric gets worse.
    #[must_use]
    pub const fn worse(self) -> Worse {
        match self {
            Self::SuccessRate | Self::Ready => Worse::Lower,
            Self::ErrorRate
            | Self::Mean
            | Self::P50
            | Self::P95
            | Self::P99
            | Self::Cpu
            | Self::Memory
            | Self::Restarts => Worse::Higher,
        }
    }

    /// Whether the metric is made of requests, so that it needs a minimum of them.
    #[must_use]
    pub const fn is_of_requests(self) -> bool {
        match self {
            Self::ErrorRate
            | Self::SuccessRate
            | Self::Mean
            | Self::P50
            | Self::P95
            | Self::P99 => true,
            Self::Cpu | Self::Memory | Self::Restarts | Self::Ready => false,
        }
    }
}

impl Limit {
    /// Whether the limit needs stable's value.
    #[must_use]
    pub const fn is_relative(self) -> bool {
        match self {
            Self::Absolute(_) => false,
            Self::Times(_) | Self::Points(_) => true,
        }
    }

    /// Returns the limit as a value in the metric's unit, given stable's value.
    #[must_use]
    pub fn value(self, stable: u64) -> u64 {
        match self {
            Self::Absolute(value) => value,
            Self::Times(thousandths) => {
                let value = u128::from(stable).saturating_mul(u128::from(thousandths)) / 1_000;
                u64::try_from(value).unwrap_or(u64::MAX)
            }
            Self::Points(ppm) => stable.saturating_add(u64::from(ppm)),
        }
    }
}

impl Unit {
    /// Writes a value of this unit for people: `5%`, `120ms`, `64MiB`.
    #[must_use]
    pub fn show(self, value: u64) -> String {
        match self {
            Self::Share | Self::Processor => format!("{}%", decimal(value, 10_000, 2)),
            Self::Micros if value >= 1_000_000 => format!("{}s", decimal(value, 1_000_000, 2)),
            Self::Micros => format!("{}ms", decimal(value, 1_000, 1)),
            Self::Bytes => format!("{}MiB", decimal(value, 1 << 20, 1)),
            Self::Count => value.to_string(),
        }
    }
}

/// Writes `value / unit` with at most `digits` digits behind the point, without trailing zeros, cut and not rounded.
fn decimal(value: u64, unit: u64, digits: u32) -> String {
    let scale = 10_u64.pow(digits);
    let whole = value / unit;
    let rest = u128::from(value % unit).saturating_mul(u128::from(scale)) / u128::from(unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = digits as usize;
    format!("{whole}.{rest:0width$}")
        .trim_end_matches('0')
        .to_owned()
}

impl Guard {
    /// Writes the limits for people: `at most 5%`, `at most 2x stable`, `at least 95%`.
    #[must_use]
    pub fn limit_text(&self) -> String {
        let side = match self.metric.worse() {
            Worse::Higher => "at most",
            Worse::Lower => "at least",
        };
        let unit = self.metric.unit();
        let show = |limit: Limit| match limit {
            Limit::Absolute(value) => unit.show(value),
            Limit::Times(thousandths) => {
                format!("{}x stable", decimal(u64::from(thousandths), 1_000, 3))
            }
            Limit::Points(ppm) => format!("stable +{}pp", decimal(u64::from(ppm), 10_000, 2)),
        };
        if self.pass == self.fail {
            format!("{side} {}", show(self.pass))
        } else {
            format!(
                "{side} {} (fails beyond {})",
                show(self.pass),
                show(self.fail)
            )
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warn => "warn",
            Self::Critical => "critical",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_for_people() {
        for (unit, value, text) in [
            (Unit::Share, 50_000, "5%"),
            (Unit::Share, 1_500, "0.15%"),
            (Unit::Micros, 500_000, "500ms"),
            (Unit::Micros, 1_250_000, "1.25s"),
            (Unit::Micros, 70, "0"),
            (Unit::Bytes, 64 << 20, "64MiB"),
            (Unit::Count, 3, "3"),
        ] {
            let text = if text == "0" { "0ms" } else { text };
            assert_eq!(unit.show(value), text);
        }
    }

    #[test]
    fn relative_limits_follow_stable() {
        assert_eq!(Limit::Absolute(7).value(100), 7);
        assert_eq!(Limit::Times(1_500).value(100), 150);
        assert_eq!(Limit::Points(50_000).value(10_000), 60_000);
        assert_eq!(Limit::Times(u32::MAX).value(u64::MAX), u64::MAX);
    }

    #[test]
    fn each_metric_is_of_requests_or_of_replicas() {
        let of_requests = Metric::ALL.map(|metric| (metric.name(), metric.is_of_requests()));
        assert_eq!(
            of_requests,
            [
                ("errorRate", true),
                ("successRate", true),
                ("mean", true),
                ("p50", true),
                ("p95", true),
                ("p99", true),
                ("cpu", false),
                ("memory", false),
                ("restarts", false),
                ("ready", false),
            ]
        );
    }

    #[test]
    fn limits_are_written_for_people() {
        let five = Limit::Absolute(50_000);
        let ten = Limit::Absolute(100_000);
        for (metric, pass, fail, is_relative, text) in [
            (Metric::ErrorRate, five, five, false, "at most 5%"),
            (Metric::SuccessRate, five, five, false, "at least 5%"),
            (
                Metric::P95,
                Limit::Times(2_000),
                Limit::Times(2_000),
                true,
                "at most 2x stable",
            ),
            (
                Metric::Ready,
                Limit::Times(1_500),
                Limit::Times(1_500),
                true,
                "at least 1.5x stable",
            ),
            (
                Metric::ErrorRate,
                Limit::Points(5_000),
                ten,
                true,
                "at most stable +0.5pp (fails beyond 10%)",
            ),
            (
                Metric::P99,
                five,
                ten,
                false,
                "at most 50ms (fails beyond 100ms)",
            ),
        ] {
            let guard = Guard {
                metric,
                pass,
                fail,
                failures: 0,
                severity: Severity::Critical,
            };
            assert_eq!(guard.limit_text(), text);
            assert_eq!(pass.is_relative(), is_relative, "{text}");
        }
    }

    #[test]
    fn names_are_padded_where_a_table_asks_for_it() {
        assert_eq!(format!("{:>10}", Metric::P95), "       p95");
        assert_eq!(format!("{:<9}|", Severity::Critical), "critical |");
        assert_eq!(Severity::Warn.to_string(), "warn");
    }
}
