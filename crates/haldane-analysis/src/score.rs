//! The score judge: Kayenta's `NetflixACAJudge-v1.0`, to the letter.
//!
//! For each metric the points of the experiment (the canary) and of the control (the baseline, or stable) are compared:
//!
//! 1. Missing points are removed, or count as zero; outliers are kept, or removed.
//! 2. Without points a metric has no data. Arms that are the same pass.
//! 3. Else the shift between the arms is estimated with an interval of 98 % by inverting the Mann-Whitney test. The metric is high when
//!    the whole interval lies above a quarter of the estimate, in a direction that is bad, with an effect that is large enough; low is
//!    the mirror image; anything else passes.
//! 4. A group's score is the share of its metrics that pass, and the whole score is the weighted sum of these. A failed critical metric,
//!    or no data for half of the metrics, makes it 0.
//!
//! What this judge promises is little, and worth knowing: points count as independent, so that a slow wave in both arms is mistaken for a
//! difference; with fewer than five points the interval is all there is, from the least to the largest difference, so that two points
//! on each side can already fail; nothing corrects for many metrics or for looking often; and shifts are estimated to 1e-4 of whatever
//! the unit is, so that rates belong in percent and latencies in milliseconds.
//!
//! Kayenta lets a canary pass of which nothing could be compared. The score stays Kayenta's then, but the [`Verdict`] doesn't:
//!
//! **Invariant:** no pass, unless at least one metric was compared on measured points.
#![expect(
    clippy::float_arithmetic,
    reason = "ranks, means and shares of measured points; only basic operations and libm, so that every machine gives the same bits"
)]

mod arm;
mod classify;
mod config;
mod points;
mod reader;
mod root;
mod shift;

use std::collections::BTreeMap;

use haldane_core::verdict::Verdict;
use serde::{Deserialize, Serialize};

pub use self::{
    arm::{Arm, ArmError, POINTS_MAX},
    classify::Classification,
    config::{
        Config, ConfigError, Direction, Effect, JUDGE, METRICS_MAX, Measure, Metric, NanStrategy,
        OutlierStrategy, Problem, Thresholds,
    },
    points::Summary,
    shift::Shift,
};
use self::{classify::Comparison, shift::count};

/// From which share of metrics without data on the score is 0, in percent.
const NODATA_PERCENT_MAX: f64 = 50.0;

/// The judge's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// From 0 to 100, with two digits.
    pub score: f64,
    /// The conclusion.
    pub verdict: Verdict,
    /// Kayenta's word for the score alone.
    pub classification: Outcome,
    /// Why, in one sentence.
    pub reason: String,
    /// The scores of the groups, by name.
    pub groups: Vec<GroupAnswer>,
    /// The metrics, in the configuration's order.
    pub metrics: Vec<MetricAnswer>,
}

/// Kayenta's word for a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It reaches the score that passes.
    Pass,
    /// It doesn't, but it reaches the marginal one.
    Marginal,
    /// It reaches neither.
    Fail,
}

/// The score of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupAnswer {
    /// The group.
    pub name: String,
    /// From 0 to 100; 100 for a group without a metric that counts.
    pub score: f64,
    /// Its share of the whole score, in percent.
    pub weight: f64,
    /// How many of its metrics count.
    pub counted: u32,
    /// How many of these pass.
    pub passed: u32,
}

/// The comparison of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricAnswer {
    /// The metric.
    pub name: String,
    /// What was found.
    pub classification: Classification,
    /// Why, in one sentence.
    pub reason: String,
    /// Whether this alone fails the whole: the metric is critical, and it failed by enough.
    pub critical: bool,
    /// Whether it is only shown.
    pub muted: bool,
    /// The groups that it counts in.
    pub groups: Vec<String>,
    /// In what the effect is measured.
    pub measure: Measure,
    /// How large the effect is; none if it can't be told.
    pub effect: Option<f64>,
    /// By how much the experiment is above the control; none if it wasn't estimated.
    pub shift: Option<Shift>,
    /// The points of the experiment.
    pub experiment: Summary,
    /// The points of the control.
    pub control: Summary,
}

/// The results that count: those of metrics that are not muted.
type Counted<'a> = Vec<(&'a Metric, &'a Comparison)>;

/// Compares the experiment with the control.
///
/// A metric that an arm doesn't have is a metric of missing points; what only an arm has, and the configuration not, is left out.
/// Points that are not finite count as missing. The order of points doesn't matter.
#[must_use]
pub fn judge(config: &Config, thresholds: Thresholds, experiment: &Arm, control: &Arm) -> Answer {
    let compared: Vec<_> = config
        .metrics
        .iter()
        .map(|metric| {
            let points = |arm: &Arm| arm.points.get(&metric.name).cloned();
            let (experiment, control) = (points(experiment), points(control));
            let comparison = classify::compare(metric, experiment.as_deref(), control.as_deref());
            (metric, comparison)
        })
        .collect();
    let counted: Counted<'_> = compared
        .iter()
        .filter(|(metric, _)| !metric.muted)
        .map(|(metric, comparison)| (*metric, comparison))
        .collect();
    let groups = groups(&config.group_weights, &counted);
    let zero = zero(&counted);
    let score = if zero.is_some() { 0.0 } else { sum(&groups) };
    let classification = thresholds.classify(score);
    let (verdict, reason) = zero
        .or_else(|| nothing(&counted))
        .unwrap_or_else(|| conclude(score, classification, thresholds));
    Answer {
        score,
        verdict,
        classification,
        reason,
        groups,
        metrics: compared.into_iter().map(MetricAnswer::from).collect(),
    }
}

impl Thresholds {
    /// Returns Kayenta's word for a score.
    #[must_use]
    pub fn classify(self, score: f64) -> Outcome {
        if score >= self.pass {
            Outcome::Pass
        } else if score >= self.marginal {
            Outcome::Marginal
        } else {
            Outcome::Fail
        }
    }
}

impl From<(&Metric, Comparison)> for MetricAnswer {
    fn from((metric, comparison): (&Metric, Comparison)) -> Self {
        Self {
            name: metric.name.clone(),
            classification: comparison.classification,
            reason: comparison.reason,
            critical: comparison.critical,
            muted: metric.muted,
            groups: metric.groups.clone(),
            measure: metric.effect.measure,
            effect: comparison.effect,
            shift: comparison.shift,
            experiment: comparison.experiment.summary(),
            control: comparison.control.summary(),
        }
    }
}

/// Returns the score of each group with its weight.
fn groups(weights: &BTreeMap<String, f64>, counted: &Counted<'_>) -> Vec<GroupAnswer> {
    let mut groups: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for (metric, comparison) in counted {
        for group in &metric.groups {
            let (passed, all) = groups.entry(group).or_default();
            let is_pass = comparison.classification == Classification::Pass;
            *passed = passed.saturating_add(u32::from(is_pass));
            *all = all.saturating_add(u32::from(comparison.classification.is_counted()));
        }
    }
    let given: f64 = weights.values().sum();
    let others = groups
        .keys()
        .filter(|name| !weights.contains_key(**name))
        .count();
    let rest = (100.0 - given) / count(others.max(1));
    groups
        .into_iter()
        .map(|(name, (passed, counted))| GroupAnswer {
            name: name.to_owned(),
            score: if counted == 0 {
                100.0
            } else {
                f64::from(passed) / f64::from(counted) * 100.0
            },
            weight: weights.get(name).copied().unwrap_or(rest),
            counted,
            passed,
        })
        .collect()
}

/// Returns the weighted sum of the groups' scores, with two digits.
fn sum(groups: &[GroupAnswer]) -> f64 {
    let sum = groups
        .iter()
        .fold(0.0, |sum, group| sum + group.score * (group.weight / 100.0));
    libm::round(sum * 100.0) / 100.0
}

/// Returns the conclusion where the score is 0 whatever the groups have.
fn zero(counted: &Counted<'_>) -> Option<(Verdict, String)> {
    let is_failure = |comparison: &Comparison| {
        comparison.critical && comparison.classification != Classification::Pass
    };
    if let Some((metric, comparison)) = counted.iter().find(|(_, result)| is_failure(result)) {
        let reason = format!("critical metric {:?}: {}", metric.name, comparison.reason);
        return Some((Verdict::Fail, reason));
    }
    let without = counted
        .iter()
        .filter(|(_, comparison)| comparison.classification == Classification::Nodata)
        .count();
    let percent = count(without) / count(counted.len()) * 100.0;
    (percent >= NODATA_PERCENT_MAX).then(|| {
        let reason = format!("{without} of {} metrics have no data", counted.len());
        (Verdict::NoData, reason)
    })
}

/// Returns the conclusion where nothing was compared, which no score may turn into a pass.
fn nothing(counted: &Counted<'_>) -> Option<(Verdict, String)> {
    let is_compared = |comparison: &Comparison| match comparison.classification {
        Classification::Pass | Classification::High | Classification::Low => comparison.is_measured,
        Classification::NodataFailMetric => true,
        Classification::Nodata | Classification::Error => false,
    };
    let compared = counted
        .iter()
        .any(|(metric, comparison)| !metric.groups.is_empty() && is_compared(comparison));
    (!compared).then(|| {
        let reason = "no metric that counts could be compared on measured points";
        (Verdict::NoData, reason.to_owned())
    })
}

fn conclude(score: f64, outcome: Outcome, thresholds: Thresholds) -> (Verdict, String) {
    let Thresholds { pass, marginal } = thresholds;
    match outcome {
        Outcome::Pass => (Verdict::Pass, format!("score {score} of at least {pass}")),
        Outcome::Marginal => (
            Verdict::Inconclusive,
            format!("score {score} is below {pass}, and at least {marginal}"),
        ),
        Outcome::Fail => (Verdict::Fail, format!("score {score} is below {marginal}")),
    }
}

#[cfg(test)]
mod tests;
