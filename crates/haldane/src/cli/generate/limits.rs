//! The options that say from where on a number is bad, by default as the plan of a file says.

use std::{path::PathBuf, time::Duration};

use haldane_api::text::{TextError, parse_duration, parse_limit};
use haldane_core::guard::{Guard, Limit, Metric};
use haldane_kit::alerts::Thresholds;

use crate::cli::{exit::UsageError, plan, source::Source};

/// Parts per million.
const WHOLE_PPM: u64 = 1_000_000;

/// From where on a number is bad.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LimitArgs {
    /// The release file or manifest whose plan has the thresholds; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The share of requests that may fail; a bare number is percent [default: the plan's, or 5%]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    error_threshold: Option<u64>,
    /// The share of requests that must succeed; a bare number is percent [default: the plan's, or 95%]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    success_rate: Option<u64>,
    /// The 95th percentile of latency; a bare number is milliseconds [default: the plan's, or 500ms]
    #[arg(long, value_name = "TIME", value_parser = latency)]
    latency_p95: Option<Duration>,
    /// The 99th percentile of latency; a bare number is milliseconds [default: the plan's, or 1s]
    #[arg(long, value_name = "TIME", value_parser = latency)]
    latency_p99: Option<Duration>,
    /// The mean latency; a bare number is milliseconds [default: the plan's, or 1s]
    #[arg(long, value_name = "TIME", value_parser = latency)]
    latency_mean: Option<Duration>,
    /// The share of its limit of processor time that a container may use; a bare number is percent
    #[arg(long, value_name = "SHARE", default_value = "80%", value_parser = share)]
    cpu_max: u64,
    /// The share of its limit of memory that a container may hold; a bare number is percent
    #[arg(long, value_name = "SHARE", default_value = "80%", value_parser = share)]
    memory_max: u64,
}

impl LimitArgs {
    /// Returns the thresholds: an option wins over the plan, and the plan over what is usual.
    pub(super) fn thresholds(&self, service: Option<&str>) -> anyhow::Result<Thresholds> {
        let usual = Thresholds::default();
        let guards = self.guards(service)?;
        let share = |given: Option<u64>, metric, usual| {
            given.or_else(|| absolute(&guards, metric)).unwrap_or(usual)
        };
        let time = |given: Option<Duration>, metric, usual| {
            let planned = || absolute(&guards, metric).map(Duration::from_micros);
            given.or_else(planned).unwrap_or(usual)
        };
        Ok(Thresholds {
            error_rate_ppm: share(
                self.error_threshold,
                Metric::ErrorRate,
                usual.error_rate_ppm,
            ),
            success_rate_ppm: share(
                self.success_rate,
                Metric::SuccessRate,
                usual.success_rate_ppm,
            ),
            latency_p95: time(self.latency_p95, Metric::P95, usual.latency_p95),
            latency_p99: time(self.latency_p99, Metric::P99, usual.latency_p99),
            latency_mean: time(self.latency_mean, Metric::Mean, usual.latency_mean),
            cpu_ppm: self.cpu_max,
            memory_ppm: self.memory_max,
            ..usual
        })
    }

    fn guards(&self, service: Option<&str>) -> anyhow::Result<Vec<Guard>> {
        let Some(path) = &self.file else {
            return Ok(Vec::new());
        };
        let service = service.ok_or_else(|| {
            UsageError("a plan is of one service: name it by --service".to_owned())
        })?;
        let plan = plan::of_file(service, &Source::read(path)?)?;
        Ok(plan.rules().guards.clone())
    }
}

/// Returns the fixed limit of a metric; one against stable is no threshold.
fn absolute(guards: &[Guard], metric: Metric) -> Option<u64> {
    let mut limits = guards.iter().filter(|guard| guard.metric == metric);
    limits.find_map(|guard| match guard.fail {
        Limit::Absolute(value) => Some(value),
        Limit::Times(_) | Limit::Points(_) => None,
    })
}

/// Reads a share in parts per million; a bare number is percent.
pub(super) fn share(text: &str) -> Result<u64, String> {
    match parse_limit(Metric::ErrorRate, &with_unit(text, "%")) {
        Ok(Limit::Absolute(ppm)) if ppm <= WHOLE_PPM => Ok(ppm),
        Ok(Limit::Absolute(_) | Limit::Times(_) | Limit::Points(_)) => {
            Err("expected 0% to 100%".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn latency(text: &str) -> Result<Duration, TextError> {
    parse_duration(&with_unit(text, "ms"))
}

fn with_unit(text: &str, unit: &str) -> String {
    let is_bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    format!("{text}{}", if is_bare { unit } else { "" })
}
