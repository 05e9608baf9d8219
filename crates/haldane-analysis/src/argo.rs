//! How Argo Rollouts assesses measurements, metrics and runs.
//!
//! A measurement's outcome follows from its conditions ([`Outcome::of`]). A metric counts its outcomes and ends when a limit is passed or
//! its count is reached ([`MetricRun`]). A run ends with the worst of its metrics, and one bad metric ends all ([`Run`]).
//!
//! Failures and inconclusive measurements are counted over the whole run, and a success forgives none of them; only errors count in a row.
//! Errors are no measurements: they don't use up the count. Where several limits are passed at once the last one named here counts:
//! failures, inconclusive measurements, errors.
//!
//! **Invariant:** a metric that ended never changes, and a run with a metric that failed never ends well.

use serde::{Deserialize, Serialize};

/// How many errors in a row are tolerated, if nothing is said.
pub const CONSECUTIVE_ERRORS: u32 = 4;

/// What one measurement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It keeps its conditions.
    Successful,
    /// It breaks them.
    Failed,
    /// Neither the one nor the other.
    Inconclusive,
    /// It could not be taken, or its conditions not be evaluated.
    Error,
}

/// Where a metric or a run is, from the best to the worst.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Phase {
    /// It ended well.
    Successful,
    /// It is being measured.
    Running,
    /// It waits for its first measurement.
    #[default]
    Pending,
    /// It ended, and a person must decide.
    Inconclusive,
    /// It could not be measured.
    Error,
    /// It ended badly.
    Failed,
}

/// What a metric tolerates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// How many failures are tolerated; `None` if any number is.
    pub failure_limit: Option<u32>,
    /// How many inconclusive measurements are tolerated.
    pub inconclusive_limit: u32,
    /// How many errors in a row are tolerated.
    pub consecutive_error_limit: u32,
    /// How many successes in a row end the metric well; 0 for none.
    pub consecutive_success_limit: u32,
    /// How many measurements are taken; `None` if they never end by themselves.
    pub count: Option<u32>,
}

/// What was measured of a metric so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricRun {
    /// Where it is.
    pub phase: Phase,
    /// Whether a measurement was begun and not finished.
    pub measuring: bool,
    /// Measurements, without errors.
    pub count: u32,
    /// Those that were successful.
    pub successful: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that were neither.
    pub inconclusive: u32,
    /// Measurements that could not be taken.
    pub error: u32,
    /// Errors in a row, up to now.
    pub consecutive_error: u32,
    /// Successes in a row, up to now.
    pub consecutive_success: u32,
}

/// A metric of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// What it tolerates.
    pub limits: Limits,
    /// Whether it is only shown.
    pub dry_run: bool,
}

/// A run: several metrics that are measured side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Where each metric is, in their order.
    pub metrics: Vec<MetricRun>,
    /// Whether someone ended it.
    pub terminated: bool,
}

impl Outcome {
    /// Returns what a measurement says whose conditions gave these results; `None` for a condition that isn't given.
    ///
    /// ```
    /// use haldane_analysis::argo::Outcome;
    /// assert_eq!(Outcome::of(Some(false), Some(false)), Outcome::Inconclusive);
    /// ```
    #[must_use]
    pub const fn of(success: Option<bool>, failure: Option<bool>) -> Self {
        match (success, failure) {
            (_, Some(true)) | (Some(false), None) => Self::Failed,
            (Some(true) | None, None) | (Some(true) | None, Some(false)) => Self::Successful,
            (Some(false), Some(false)) => Self::Inconclusive,
        }
    }
}

impl Phase {
    /// Whether nothing can change any more.
    #[must_use]
    pub const fn is_completed(self) -> bool {
        match self {
            Self::Successful | Self::Inconclusive | Self::Error | Self::Failed => true,
            Self::Running | Self::Pending => false,
        }
    }

    /// Whether this ends a run before its time.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        match self {
            Self::Inconclusive | Self::Error | Self::Failed => true,
            Self::Successful | Self::Running | Self::Pending => false,
        }
    }
}

impl Limits {
    /// Returns Argo's defaults for a metric with this `count`, if it gives one, and with an interval or without.
    ///
    /// Without an interval a metric is measured once; with one, and without a count, until the run ends.
    #[must_use]
    pub const fn new(count: Option<u32>, interval: Option<std::time::Duration>) -> Self {
        Self {
            failure_limit: Some(0),
            inconclusive_limit: 0,
            consecutive_error_limit: CONSECUTIVE_ERRORS,
            consecutive_success_limit: 0,
            count: match (count, interval) {
                (None | Some(0), Some(_)) => None,
                (None | Some(0), None) => Some(1),
                (Some(count), _) => Some(count),
            },
        }
    }
}

impl MetricRun {
    /// Notes that a measurement was begun.
    pub fn begin(&mut self) {
        if !self.phase.is_completed() {
            self.measuring = true;
            self.phase = Phase::Running;
        }
    }

    /// Counts a finished measurement and returns where the metric is then.
    pub fn measure(&mut self, limits: &Limits, outcome: Outcome) -> Phase {
        if self.phase.is_completed() {
            return self.phase;
        }
        self.measuring = false;
        self.consecutive_success = match outcome {
            Outcome::Successful => self.consecutive_success.saturating_add(1),
            Outcome::Failed | Outcome::Inconclusive | Outcome::Error => 0,
        };
        self.consecutive_error = match outcome {
            Outcome::Error => self.consecutive_error.saturating_add(1),
            Outcome::Successful | Outcome::Failed | Outcome::Inconclusive => 0,
        };
        let counter = match outcome {
            Outcome::Successful => &mut self.successful,
            Outcome::Failed => &mut self.failed,
            Outcome::Inconclusive => &mut self.inconclusive,
            Outcome::Error => &mut self.error,
        };
        *counter = counter.saturating_add(1);
        if outcome != Outcome::Error {
            self.count = self.count.saturating_add(1);
        }
        self.phase = self
            .broken(limits)
            .map_or_else(|| self.reached(limits), |(phase, _)| phase);
        self.phase
    }

    /// Ends the metric, unless it is being measured, and returns where it is then.
    ///
    /// What ended keeps its end; what was never measured, or broke no limit so far, ends well.
    pub fn terminate(&mut self) -> Phase {
        if !self.phase.is_completed() && !self.measuring {
            self.phase = Phase::Successful;
        }
        self.phase
    }

    /// Returns in words which limit was passed, `None` if none was.
    #[must_use]
    pub fn reason(&self, limits: &Limits) -> Option<String> {
        self.broken(limits).map(|(_, reason)| reason)
    }

    /// Returns the limit that was passed; the last one of several.
    fn broken(&self, limits: &Limits) -> Option<(Phase, String)> {
        let errors = (self.consecutive_error, limits.consecutive_error_limit);
        let inconclusive = (self.inconclusive, limits.inconclusive_limit);
        let failures = limits.failure_limit.map(|limit| (self.failed, limit));
        let broken = |phase, what: &str, (found, limit): (u32, u32), name: &str| {
            (found > limit).then(|| (phase, format!("{what} ({found}) > {name} ({limit})")))
        };
        broken(
            Phase::Error,
            "consecutiveErrors",
            errors,
            "consecutiveErrorLimit",
        )
        .or_else(|| {
            broken(
                Phase::Inconclusive,
                "inconclusive",
                inconclusive,
                "inconclusiveLimit",
            )
        })
        .or_else(|| broken(Phase::Failed, "failed", failures?, "failureLimit"))
    }

    /// Returns where a metric is that broke no limit.
    fn reached(&self, limits: &Limits) -> Phase {
        let wants_successes = limits.consecutive_success_limit > 0;
        if wants_successes && self.consecutive_success >= limits.consecutive_success_limit {
            return Phase::Successful;
        }
        if limits.count.is_none_or(|count| self.count < count) {
            return Phase::Running;
        }
        match (wants_successes, limits.failure_limit) {
            (true, Some(_)) => Phase::Inconclusive,
            (true, None) => Phase::Failed,
            (false, _) => Phase::Successful,
        }
    }
}

impl Run {
    /// Returns a run of so many metrics, none of which is measured yet.
    #[must_use]
    pub fn new(metrics: &[Metric]) -> Self {
        Self {
            metrics: vec![MetricRun::default(); metrics.len()],
            terminated: false,
        }
    }

    /// Notes that a measurement of a metric was begun.
    pub fn begin(&mut self, index: usize) {
        if let Some(run) = self.metrics.get_mut(index) {
            run.begin();
        }
    }

    /// Counts a finished measurement of the metric of this index, and returns where the run is then.
    pub fn measure(&mut self, metrics: &[Metric], index: usize, outcome: Outcome) -> Phase {
        if let (Some(metric), Some(run)) = (metrics.get(index), self.metrics.get_mut(index)) {
            run.measure(&metric.limits, outcome);
        }
        self.settle(metrics)
    }

    /// Ends the run: what is being measured is finished, nothing else is begun.
    pub fn terminate(&mut self, metrics: &[Metric]) -> Phase {
        self.terminated = true;
        self.settle(metrics)
    }

    /// Whether no measurement may be begun any more: someone ended the run, or a metric that counts did.
    #[must_use]
    pub fn is_terminating(&self, metrics: &[Metric]) -> bool {
        self.terminated || self.counting(metrics).any(|run| run.phase.is_bad())
    }

    /// Returns where the run is: the worst of its metrics once all have ended, else running.
    ///
    /// Metrics on a dry run are waited for, and don't count.
    #[must_use]
    pub fn phase(&self, metrics: &[Metric]) -> Phase {
        if !self.metrics.iter().all(|run| run.phase.is_completed()) {
            return Phase::Running;
        }
        let worst = self.counting(metrics).map(|run| run.phase).max();
        worst.unwrap_or(Phase::Successful)
    }

    fn settle(&mut self, metrics: &[Metric]) -> Phase {
        if self.is_terminating(metrics) {
            for run in &mut self.metrics {
                run.terminate();
            }
        }
        self.phase(metrics)
    }

    fn counting<'a>(&'a self, metrics: &'a [Metric]) -> impl Iterator<Item = &'a MetricRun> {
        metrics
            .iter()
            .zip(&self.metrics)
            .filter(|(metric, _)| !metric.dry_run)
            .map(|(_, run)| run)
    }
}

#[cfg(test)]
mod tests;
