//! The options that say how a version is rolled out, under the deploy script's names.
//!
//! A bare number keeps the unit that it had there: minutes, percent, milliseconds.

use std::time::Duration;

use haldane_api::text::{
    TextError, Unit, parse_duration_or, parse_limit, parse_share_list, show_duration,
};
use haldane_core::guard::{Metric, Unit as MetricUnit};
use serde_json::{Map, Value, json};

/// How a version is rolled out; with none of these, the service's own plan is used.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Plan (instead of the service's own)")]
pub(crate) struct PlanFlags {
    /// The canary's shares of traffic in percent, one after the other [default with any of these options: 5,25,50,100]
    #[arg(
        long,
        visible_alias = "steps",
        value_name = "SHARES",
        value_parser = shares,
    )]
    traffic_steps: Option<Shares>,
    /// How long each share holds, such as 90s; a bare number is minutes [default with any of these options: 5m]
    #[arg(long, visible_alias = "hold", value_name = "TIME", value_parser = minutes)]
    step_duration: Option<Duration>,
    /// Promote without asking when all steps went well; without it a person promotes
    #[arg(long)]
    auto_promote: bool,
    /// Roll back above this share of failed requests; a bare number is percent [default: 5%]
    #[arg(long, value_name = "LIMIT", value_parser = error_rate)]
    error_threshold: Option<String>,
    /// Roll back above this 95th percentile of latency, such as 300ms, or 1.5x for a multiple of stable's; a bare number is milliseconds [default: only warn above 500ms]
    #[arg(long, value_name = "LIMIT", value_parser = p95)]
    latency_p95: Option<String>,
    /// Roll back above this 99th percentile of latency; a bare number is milliseconds [default: 1s]
    #[arg(long, value_name = "LIMIT", value_parser = p99)]
    latency_p99: Option<String>,
    /// Roll back below this share of good requests; a bare number is percent. By default there is no such limit
    #[arg(long, value_name = "LIMIT", value_parser = success_rate)]
    success_rate: Option<String>,
    /// Judge nothing: go through the steps by time alone; needs --reason
    #[arg(
        long,
        requires = "reason",
        conflicts_with_all = ["error_threshold", "latency_p95", "latency_p99", "success_rate"],
    )]
    skip_analysis: bool,
}

/// Shares of traffic, as the release file writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shares(Vec<String>);

impl PlanFlags {
    /// Returns the `rollout` part of a release file that the options mean; `None` when none is given.
    pub(crate) fn rollout(&self) -> Option<Value> {
        let mut rollout = Map::new();
        let mut set = |key: &str, value: Value| rollout.insert(key.to_owned(), value);
        if let Some(Shares(shares)) = &self.traffic_steps {
            set("steps", json!(shares));
        }
        if let Some(hold) = self.step_duration {
            set("hold", json!(show_duration(hold)));
        }
        if let Some(guards) = self.guards() {
            set("guards", guards);
        }
        if self.skip_analysis {
            set("judge", json!("threshold"));
        }
        if rollout.is_empty() && !self.auto_promote {
            return None;
        }
        let promote = if self.auto_promote { "auto" } else { "manual" };
        rollout.insert("promote".to_owned(), json!(promote));
        Some(Value::Object(rollout))
    }

    /// Returns the limits, where one is given or all are refused; the others keep the defaults that a file without guards has.
    fn guards(&self) -> Option<Value> {
        if self.skip_analysis {
            return Some(json!("none"));
        }
        let given = [
            &self.error_threshold,
            &self.latency_p95,
            &self.latency_p99,
            &self.success_rate,
        ];
        if given.iter().all(|limit| limit.is_none()) {
            return None;
        }
        let or = |limit: &Option<String>, default: Value| {
            limit.as_ref().map_or(default, |limit| json!(limit))
        };
        let mut guards = json!({
            "errorRate": or(&self.error_threshold, json!("5%")),
            "p99": or(&self.latency_p99, json!("1s")),
            "p95": or(&self.latency_p95, json!({ "rollback": "500ms", "severity": "warn" })),
        });
        if let (Some(guards), Some(limit)) = (guards.as_object_mut(), &self.success_rate) {
            guards.insert("successRate".to_owned(), json!(limit));
        }
        Some(guards)
    }
}

fn shares(text: &str) -> Result<Shares, TextError> {
    let shares = parse_share_list(text)?;
    Ok(Shares(shares.iter().map(ToString::to_string).collect()))
}

fn minutes(text: &str) -> Result<Duration, TextError> {
    parse_duration_or(text, Unit::Minutes)
}

fn error_rate(text: &str) -> Result<String, TextError> {
    limit(Metric::ErrorRate, text)
}

fn p95(text: &str) -> Result<String, TextError> {
    limit(Metric::P95, text)
}

fn p99(text: &str) -> Result<String, TextError> {
    limit(Metric::P99, text)
}

fn success_rate(text: &str) -> Result<String, TextError> {
    limit(Metric::SuccessRate, text)
}

/// Reads a limit; a bare number has the unit that the deploy script gave it.
fn limit(metric: Metric, text: &str) -> Result<String, TextError> {
    let is_bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let unit = match metric.unit() {
        _ if !is_bare => "",
        MetricUnit::Share | MetricUnit::Processor => "%",
        MetricUnit::Micros => "ms",
        MetricUnit::Bytes => "B",
        MetricUnit::Count => "",
    };
    let text = format!("{text}{unit}");
    parse_limit(metric, &text).map(|_| text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        plan: PlanFlags,
        #[arg(long)]
        reason: Option<String>,
    }

    fn rollout(line: &str) -> Option<Value> {
        let line = Line::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).unwrap();
        line.plan.rollout()
    }

    #[test]
    fn bare_numbers_have_the_scripts_units_and_promotion_is_manual() {
        let warn = json!({ "rollback": "500ms", "severity": "warn" });
        for (line, expected) in [
            ("", Value::Null),
            ("--auto-promote", json!({ "promote": "auto" })),
            (
                "--traffic-steps 5,12.5,100 --step-duration 10",
                json!({ "steps": ["5%", "12.5%", "100%"], "hold": "10m", "promote": "manual" }),
            ),
            (
                "--steps 5%,100% --hold 90s --auto-promote",
                json!({ "steps": ["5%", "100%"], "hold": "90s", "promote": "auto" }),
            ),
            (
                "--error-threshold 3 --latency-p95 300 --auto-promote",
                json!({ "guards": { "errorRate": "3%", "p99": "1s", "p95": "300ms" }, "promote": "auto" }),
            ),
            (
                "--success-rate 99.5 --latency-p99 2x",
                json!({
                    "guards": { "errorRate": "5%", "p99": "2x", "p95": warn, "successRate": "99.5%" },
                    "promote": "manual",
                }),
            ),
            (
                "--skip-analysis --reason hotfix",
                json!({ "guards": "none", "judge": "threshold", "promote": "manual" }),
            ),
        ] {
            assert_eq!(rollout(line).unwrap_or(Value::Null), expected, "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused_at_once() {
        for line in [
            "--steps 5,200",
            "--steps 5,,10",
            "--hold soon",
            "--error-threshold 101",
            "--latency-p95 5%",
            "--skip-analysis",
            "--skip-analysis --reason x --error-threshold 3",
        ] {
            assert!(
                Line::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).is_err(),
                "{line}"
            );
        }
    }
}
