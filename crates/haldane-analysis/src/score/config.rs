//! What the score judge is told: Kayenta's canary configuration.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::reader;

/// The name under which Kayenta knows this judge.
pub const JUDGE: &str = "NetflixACAJudge-v1.0";

/// The most metrics of a configuration or an arm: far more than anyone compares.
pub const METRICS_MAX: usize = 1_000;

/// How to judge: the part of Kayenta's canary configuration that a judge reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// What to compare, in the file's order.
    pub metrics: Vec<Metric>,
    /// How much a group counts, in percent; groups that are not named share what is left.
    pub group_weights: BTreeMap<String, f64>,
    /// Which scores pass, if the file says so.
    pub thresholds: Option<Thresholds>,
    /// What is accepted, as Kayenta accepts it, and probably not meant.
    pub warnings: Vec<Problem>,
}

/// How to compare one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name, by which the arms know it, too.
    pub name: String,
    /// The groups that it counts in; it never counts without one.
    pub groups: Vec<String>,
    /// Which change is bad.
    pub direction: Direction,
    /// What a missing point means.
    pub nan: NanStrategy,
    /// What becomes of outliers.
    pub outliers: OutlierStrategy,
    /// Whether its failure alone fails the whole.
    pub critical: bool,
    /// Whether missing data is a failure.
    pub must_have_data: bool,
    /// Whether it is only shown.
    pub muted: bool,
    /// How large a change must be to matter.
    pub effect: Effect,
}

/// Which change of a metric is bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// More is bad.
    Increase,
    /// Less is bad.
    Decrease,
    /// Any change is bad.
    #[default]
    Either,
}

/// What a missing point means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NanStrategy {
    /// It is unknown, and left out.
    #[default]
    Remove,
    /// It is zero.
    Replace,
}

/// What becomes of outliers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum OutlierStrategy {
    /// They are compared like all others.
    #[default]
    Keep,
    /// They are left out.
    Remove {
        /// How many interquartile ranges beyond the quartiles a point must be.
        factor: f64,
    },
}

/// How large a change is, and must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// In what it is measured.
    pub measure: Measure,
    /// From which effect on an increase counts.
    pub allowed_increase: f64,
    /// Down from which effect a decrease counts.
    pub allowed_decrease: f64,
    /// From which effect on an increase of a critical metric fails the whole.
    pub critical_increase: f64,
    /// Down from which effect a decrease of a critical metric fails the whole.
    pub critical_decrease: f64,
}

/// In what the size of a change is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// Experiment's mean by control's mean.
    #[default]
    MeanRatio,
    /// The probability that a point of the experiment is above one of control.
    Cles,
}

/// Which scores pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// From this score on the canary passes.
    pub pass: f64,
    /// From this score on it is undecided; below it fails.
    pub marginal: f64,
}

/// One mistake, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The field, as in `metrics[0].analysisConfigurations.canary.direction`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// Why a text is not a canary configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not JSON.
    #[error("canary configuration is not JSON (line {}, column {})", .0.line(), .0.column())]
    Syntax(#[source] serde_json::Error),
    /// It is JSON, with mistakes; all of them are told.
    #[error("canary configuration has mistakes: {}", joined(.0))]
    Invalid(Vec<Problem>),
}

impl Config {
    /// Reads Kayenta's canary configuration as it is: alone, or as `canaryConfig` beside its `executionRequest`.
    ///
    /// What Kayenta knows and a judge doesn't need is accepted and left out. Values that Kayenta takes for their default are taken so,
    /// with a warning.
    ///
    /// # Errors
    /// When the text is not JSON, has a field that Kayenta doesn't know, lacks a needed one, or has a value that makes no sense.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let value = serde_json::from_str(text).map_err(ConfigError::Syntax)?;
        reader::config(&value).map_err(ConfigError::Invalid)
    }
}

impl Metric {
    /// Returns a metric in one group that is judged by Kayenta's defaults.
    #[must_use]
    pub fn new(name: &str, group: &str) -> Self {
        Self {
            name: name.to_owned(),
            groups: vec![group.to_owned()],
            direction: Direction::default(),
            nan: NanStrategy::default(),
            outliers: OutlierStrategy::default(),
            critical: false,
            must_have_data: false,
            muted: false,
            effect: Effect::of(Measure::default()),
        }
    }
}

impl Effect {
    /// Returns the effect by `measure` for which any significant change is large enough.
    #[must_use]
    pub const fn of(measure: Measure) -> Self {
        let none = match measure {
            Measure::MeanRatio => 1.0,
            Measure::Cles => 0.5,
        };
        Self {
            measure,
            allowed_increase: none,
            allowed_decrease: none,
            critical_increase: none,
            critical_decrease: none,
        }
    }
}

impl Default for Thresholds {
    /// Returns 95 and 75, which Kayenta's documents use throughout: it has no default of its own.
    fn default() -> Self {
        Self {
            pass: 95.0,
            marginal: 75.0,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

fn joined(problems: &[Problem]) -> String {
    let problems: Vec<_> = problems.iter().map(Problem::to_string).collect();
    problems.join("; ")
}

#[cfg(test)]
mod tests;
