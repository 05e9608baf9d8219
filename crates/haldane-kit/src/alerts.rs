//! Prometheus rules about the canary of one service: 10 recorded figures, 19 alerts in 8 groups, and what else is asked for.
//!
//! Names and thresholds are those of the deploy scripts that teams write by hand. Shares are 0 to 1 and times are seconds, as usual in
//! Prometheus; only `canary:traffic_percentage:5m` is in percent, as its name says. Figures of requests say nothing over fewer than
//! [`Thresholds::requests_min`] of them, so that one failed request of ten wakes nobody.
//!
//! **Invariant:** no data is no alarm of these rules, but for traffic that is missing where it should be; a figure without requests
//! has no sample.

mod groups;
mod recording;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

use crate::watched::Watched;

/// Where the pages are that alerts lead to, unless others are named.
pub const RUNBOOKS: &str = "https://github.com/haldane-dev/haldane/blob/main/docs/runbooks";

/// What the deploy script rolls back for.
pub(crate) const ROLLBACK_TRIGGERS: [&str; 5] = [
    "CanaryHighErrorRate",
    "CanaryHighLatencyP99",
    "CanaryLowSuccessRate",
    "CanaryPodCrashLooping",
    "CanaryLivenessProbesFailing",
];

/// Limits, beyond which an alert fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// The share of requests that may fail, in parts per million.
    pub error_rate_ppm: u64,
    /// The share of requests that must be good, in parts per million.
    pub success_rate_ppm: u64,
    /// The 95th percentile of latency.
    pub latency_p95: Duration,
    /// The 99th percentile of latency.
    pub latency_p99: Duration,
    /// The mean latency.
    pub latency_mean: Duration,
    /// The share of its limit that a container may use of processor time, in parts per million.
    pub cpu_ppm: u64,
    /// The same of memory.
    pub memory_ppm: u64,
    /// The canary's share of traffic, in parts per million.
    pub traffic_ppm: u64,
    /// How long a canary may run, in minutes.
    pub running_minutes: u64,
    /// How long a share of traffic may stay the same, in minutes.
    pub stalled_minutes: u64,
    /// The requests in five minutes, below which shares and latencies say nothing.
    pub requests_min: u64,
    /// The share of visitors who must convert, in parts per million.
    pub conversion_ppm: u64,
}

/// What the rules are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The service.
    pub watched: Watched,
    /// Limits.
    pub thresholds: Thresholds,
    /// Where the pages are that alerts lead to.
    pub runbooks: String,
    /// Further labels of the object, by which a Prometheus chooses its rules.
    pub labels: BTreeMap<String, String>,
    /// Counters of the canary's conversions and visitors, as selectors.
    pub conversion: Option<Conversion>,
    /// Whether Flagger rolls the service out, too.
    pub has_flagger: bool,
}

/// Counters of the canary's conversions and visitors, as PromQL selectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// Who converted: `orders_total{version="canary"}`.
    pub conversions: String,
    /// Of whom: `visitors_total{version="canary"}`.
    pub visitors: String,
}

/// A file of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The groups, the recorded figures first.
    pub groups: Vec<Group>,
}

/// A group of rules, which are evaluated one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Keeps a figure.
    Record {
        /// The figure's name.
        name: &'static str,
        /// What it is.
        expr: String,
    },
    /// Fires.
    Alert(Alert),
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its name, and that of its page.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// For how many minutes it must be true.
    pub minutes: u64,
    /// When it is true.
    pub expr: String,
    /// One line for a pager.
    pub summary: String,
    /// What to know, with the value.
    pub description: String,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Users are hurt: somebody must act now.
    Critical,
    /// Somebody should look.
    Warning,
    /// Good to know.
    Info,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            error_rate_ppm: 50_000,
            success_rate_ppm: 950_000,
            latency_p95: Duration::from_millis(500),
            latency_p99: Duration::from_secs(1),
            latency_mean: Duration::from_secs(1),
            cpu_ppm: 800_000,
            memory_ppm: 800_000,
            traffic_ppm: 500_000,
            running_minutes: 24 * 60,
            stalled_minutes: 60,
            requests_min: 20,
            conversion_ppm: 100_000,
        }
    }
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Returns the rules of a service.
#[must_use]
pub fn rules(request: &Request) -> Rules {
    let mut groups = vec![recording::group(&request.watched)];
    groups.extend(groups::list(request));
    Rules { groups }
}

impl Rules {
    /// Returns the alerts, in their order.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        let rules = self.groups.iter().flat_map(|group| &group.rules);
        rules.filter_map(|rule| match rule {
            Rule::Alert(alert) => Some(alert),
            Rule::Record { .. } => None,
        })
    }

    /// Returns a file of rules, as Prometheus reads it.
    #[must_use]
    pub fn plain(&self, request: &Request) -> Value {
        let groups: Vec<Value> = self
            .groups
            .iter()
            .map(|group| {
                let rules = group.rules.iter().map(|rule| rule.to_value(request));
                json!({ "name": group.name, "rules": rules.collect::<Vec<Value>>() })
            })
            .collect();
        json!({ "groups": groups })
    }

    /// Returns the same as an object for the Prometheus operator.
    #[must_use]
    pub fn prometheus_rule(&self, request: &Request) -> Value {
        let names = request.watched.names();
        let mut labels = request.labels.clone();
        labels.insert("app.kubernetes.io/name".to_owned(), names.service.clone());
        labels.insert(
            "app.kubernetes.io/managed-by".to_owned(),
            "haldane".to_owned(),
        );
        json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {
                "name": format!("{}-canary", names.service),
                "namespace": names.namespace,
                "labels": labels,
            },
            "spec": self.plain(request),
        })
    }
}

impl Rule {
    fn to_value(&self, request: &Request) -> Value {
        let names = request.watched.names();
        let mut labels = Map::new();
        labels.insert("namespace".to_owned(), json!(names.namespace));
        labels.insert("service".to_owned(), json!(names.service));
        match self {
            Self::Record { name, expr } => {
                json!({ "record": name, "expr": block(expr), "labels": labels })
            }
            Self::Alert(alert) => {
                labels.insert("severity".to_owned(), json!(alert.severity.as_str()));
                let runbooks = request.runbooks.trim_end_matches('/');
                let mut value = json!({
                    "alert": alert.name,
                    "expr": block(&alert.expr),
                    "labels": labels,
                    "annotations": {
                        "summary": alert.summary,
                        "description": alert.description,
                        "runbook_url": format!("{runbooks}/{}.md", alert.name),
                    },
                });
                if let (Some(value), 1..) = (value.as_object_mut(), alert.minutes) {
                    value.insert("for".to_owned(), json!(format!("{}m", alert.minutes)));
                }
                value
            }
        }
    }
}

/// A query ends with a line break, so that YAML shows it as a block, without escapes.
fn block(expr: &str) -> String {
    format!("{}\n", expr.trim_end())
}
