//! What a status keeps of a rollout's decisions: what was decided, when and why, and what the judges saw.
//!
//! A status has room for little: what is left out here is what a person can do without.

use haldane_core::{guard::Severity, verdict::Verdict};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::{ComparisonView, GuardView, JudgementView, MetricView, RequestsView};

/// A decision of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The rollout.
    pub rollout: String,
    /// Its number within the rollout, from 0; where numbers are missing, there was no room for what was decided between.
    pub number: u32,
    /// When it was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The phase after it.
    pub phase: String,
    /// The step after it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// The canary's share after it: `25%`.
    pub weight: String,
    /// What was decided, in one sentence.
    pub text: String,
    /// What it followed from: `begin`, `time`, `workloads`, `traffic`, `judge`, `gate`, `calendar` or the command's name.
    pub cause: String,
    /// Who gave the command, if it followed from one, or who began the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What the judges said and saw then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judged>,
}

/// What the judges said, and what they saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// The conclusion: `Pass`, `Fail`, `Inconclusive` or `NoData`.
    #[schemars(with = "String")]
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// When the first sample began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub from: Option<Timestamp>,
    /// When the last sample ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub to: Option<Timestamp>,
    /// How many requests of both versions it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsView>,
    /// How far the evidence of harm, all metrics together, is on its way to a rollback, 0 to 100; only where the versions are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harm_percent: Option<u8>,
    /// Each guard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<JudgedGuard>,
    /// Each metric in which the versions are compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<JudgedMetric>,
}

/// What became of one guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JudgedGuard {
    /// The metric's name.
    pub metric: String,
    /// The limit, in words.
    pub limit: String,
    /// Stable's value, with its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// The canary's value, with its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// What follows.
    #[schemars(with = "String")]
    pub verdict: Verdict,
    /// How grave a broken guard is: `Warn` or `Critical`.
    #[schemars(with = "String")]
    pub severity: Severity,
    /// Why, in one sentence.
    pub reason: String,
}

/// How the versions compare in one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JudgedMetric {
    /// Its name.
    pub name: String,
    /// What it says alone.
    #[schemars(with = "String")]
    pub verdict: Verdict,
    /// Stable's value, with its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// The canary's value, with its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// The canary's rate by stable's, with its interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<String>,
    /// How far its evidence of harm is on its way to a rollback, 0 to 100.
    pub harm_percent: u8,
    /// How far its evidence that the canary is fine is on its way, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_percent: Option<u8>,
    /// What it means, in one sentence.
    pub reason: String,
}

impl From<JudgementView> for Judged {
    fn from(view: JudgementView) -> Self {
        let harm_percent = view.comparison.as_ref().map(|known| known.harm_percent);
        let metrics = view.comparison.map_or_else(Vec::new, |known| known.metrics);
        Self {
            verdict: view.verdict,
            reason: view.reason,
            from: view.from,
            to: view.to,
            requests: view.requests,
            harm_percent,
            guards: view.guards.into_iter().map(JudgedGuard::from).collect(),
            metrics: metrics.into_iter().map(JudgedMetric::from).collect(),
        }
    }
}

impl From<Judged> for JudgementView {
    fn from(judged: Judged) -> Self {
        let metrics = judged.metrics.into_iter();
        let comparison = judged.harm_percent.map(|harm_percent| ComparisonView {
            harm_percent,
            metrics: metrics.map(MetricView::from).collect(),
        });
        Self {
            verdict: judged.verdict,
            reason: judged.reason,
            from: judged.from,
            to: judged.to,
            requests: judged.requests,
            guards: judged.guards.into_iter().map(GuardView::from).collect(),
            comparison,
            bands: Vec::new(),
        }
    }
}

impl From<GuardView> for JudgedGuard {
    fn from(view: GuardView) -> Self {
        let GuardView {
            metric,
            limit,
            stable,
            canary,
            verdict,
            severity,
            reason,
        } = view;
        Self {
            metric,
            limit,
            stable,
            canary,
            verdict,
            severity,
            reason,
        }
    }
}

impl From<JudgedGuard> for GuardView {
    fn from(judged: JudgedGuard) -> Self {
        let JudgedGuard {
            metric,
            limit,
            stable,
            canary,
            verdict,
            severity,
            reason,
        } = judged;
        Self {
            metric,
            limit,
            stable,
            canary,
            verdict,
            severity,
            reason,
        }
    }
}

impl From<MetricView> for JudgedMetric {
    fn from(view: MetricView) -> Self {
        Self {
            name: view.name,
            verdict: view.verdict,
            stable: view.stable,
            canary: view.canary,
            ratio: view.ratio,
            harm_percent: view.harm_percent,
            fine_percent: view.fine_percent,
            reason: view.reason,
        }
    }
}

impl From<JudgedMetric> for MetricView {
    fn from(judged: JudgedMetric) -> Self {
        Self {
            name: judged.name,
            verdict: judged.verdict,
            stable: judged.stable,
            canary: judged.canary,
            ratio: judged.ratio,
            harm_percent: judged.harm_percent,
            fine_percent: judged.fine_percent,
            fine_in_seconds: None,
            reason: judged.reason,
        }
    }
}
