//! How Flagger checks a canary, tick by tick.
//!
//! In each tick the checks run in order, and the first one that fails ends them: at most one failed check is counted per tick. A failed
//! check halts the advance of the weight. Failed checks are counted over the whole rollout, and a good tick forgives none of them. When
//! there are as many as the threshold, the canary is rolled back **on the next tick**, before anything is checked again.
//!
//! A metric is one number of the canary; there is no comparison with stable. A value exactly at its limit is kept. No value, a value that
//! is not a number and a query that failed are failed checks like any other: nothing is ever inconclusive here.
//!
//! **Invariant:** missing data never lets a canary advance, and what was rolled back stays so.

use serde::{Deserialize, Serialize};

/// Which kind of value a metric has, for its unit and for its limit by the old `threshold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `request-success-rate`, in percent.
    SuccessRate,
    /// `request-duration`, in milliseconds; value and limits are cut to whole ones.
    Duration,
    /// Any other.
    Custom,
}

/// Which values a metric may have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Limit {
    /// By `thresholdRange`: from `min` to `max`, both of them included.
    Range {
        /// The smallest, if there is one.
        min: Option<f64>,
        /// The largest, if there is one.
        max: Option<f64>,
    },
    /// By the old `threshold`: the smallest success rate, and the largest of any other value.
    Threshold(f64),
}

/// A metric of the analysis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Which kind of value it has.
    pub kind: Kind,
    /// Which values it may have.
    pub limit: Limit,
}

/// What asking for a metric gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reading {
    /// A value.
    Value(f64),
    /// An answer without a value.
    NoData,
    /// No answer: why.
    Error(String),
}

/// What a tick's checks gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    /// All were kept.
    Kept,
    /// One failed: why.
    Failed(String),
}

/// What is found in a tick, in the order in which it is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tick {
    /// The canary is not ready yet; nothing is checked or counted.
    NotReady,
    /// The canary won't get ready any more.
    NeverReady,
    /// A rollback hook asks for a rollback.
    RollbackAsked,
    /// The hooks and metrics were checked.
    Checked(Check),
}

/// What a tick leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// The weight may advance by one step.
    Advance,
    /// The weight stays.
    Halt,
    /// All traffic goes back to stable.
    RollBack,
}

/// The failed checks of one rollout; a new revision begins with none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checks {
    /// How many checks have failed.
    pub failed: u32,
    /// Whether the canary was rolled back.
    pub rolled_back: bool,
}

impl Metric {
    /// Checks what asking for this metric gave.
    #[must_use]
    pub fn check(&self, reading: &Reading) -> Check {
        let value = match reading {
            Reading::Value(value) if !value.is_nan() => self.whole(*value),
            Reading::Value(_) | Reading::NoData => {
                return Check::Failed(format!("no values found for metric {}", self.name));
            }
            Reading::Error(error) => {
                return Check::Failed(format!("query failed for {}: {error}", self.name));
            }
        };
        let (min, max) = match (self.limit, self.kind) {
            (Limit::Range { min, max }, _) => (min, max),
            (Limit::Threshold(limit), Kind::SuccessRate) => (Some(limit), None),
            (Limit::Threshold(limit), Kind::Duration | Kind::Custom) => (None, Some(limit)),
        };
        let is_below = |limit: &f64| value < self.whole(*limit);
        let is_above = |limit: &f64| value > self.whole(*limit);
        if let Some(min) = min.filter(is_below) {
            Check::Failed(self.words(value, '<', min))
        } else if let Some(max) = max.filter(is_above) {
            Check::Failed(self.words(value, '>', max))
        } else {
            Check::Kept
        }
    }

    fn whole(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Duration => value.trunc(),
            Kind::SuccessRate | Kind::Custom => value,
        }
    }

    fn words(&self, value: f64, sign: char, limit: f64) -> String {
        match self.kind {
            Kind::SuccessRate => format!("success rate {value:.2}% {sign} {limit}%"),
            Kind::Duration => format!("request duration {value}ms {sign} {}ms", limit.trunc()),
            Kind::Custom => format!("{} {value:.2} {sign} {limit}", self.name),
        }
    }
}

impl Check {
    /// Checks metrics in order, up to the first one that fails.
    #[must_use]
    pub fn all<'a>(readings: impl IntoIterator<Item = (&'a Metric, &'a Reading)>) -> Self {
        readings
            .into_iter()
            .map(|(metric, reading)| metric.check(reading))
            .find(|check| *check != Self::Kept)
            .unwrap_or(Self::Kept)
    }
}

impl Checks {
    /// Whether the next tick of a ready canary rolls back, so that nothing needs to be checked.
    ///
    /// A threshold of 0 counts as 1.
    #[must_use]
    pub fn is_exhausted(&self, threshold: u32) -> bool {
        self.failed >= threshold.max(1)
    }

    /// Takes in one tick and returns what it leads to.
    pub fn tick(&mut self, threshold: u32, tick: &Tick) -> Decision {
        if self.rolled_back {
            return Decision::RollBack;
        }
        let decision = match tick {
            Tick::NotReady => Decision::Halt,
            Tick::NeverReady | Tick::RollbackAsked => Decision::RollBack,
            Tick::Checked(_) if self.is_exhausted(threshold) => Decision::RollBack,
            Tick::Checked(Check::Failed(_)) => {
                self.failed = self.failed.saturating_add(1);
                Decision::Halt
            }
            Tick::Checked(Check::Kept) => Decision::Advance,
        };
        self.rolled_back = decision == Decision::RollBack;
        decision
    }
}

#[cfg(test)]
mod tests;
