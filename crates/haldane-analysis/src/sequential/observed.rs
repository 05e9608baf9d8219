//! What is observed of a metric that is not made of the proxy's own requests.

use std::time::Duration;

use haldane_core::Weight;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::tally::Counts;
use crate::sample::Bucket;

/// How far the versions' windows may lie apart, in percent of the window.
pub(crate) const SKEW_PERCENT_MAX: u128 = 20;

/// What was observed of one metric, of both versions, from one time to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The metric's name.
    pub metric: String,
    /// When counting began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// How far the two versions' windows lie apart.
    pub skew: Duration,
    /// The weight that was verified to be in force at the end.
    pub weight: Weight,
    /// Stable's, `None` if missing.
    pub stable: Option<Reading>,
    /// The canary's, `None` if missing.
    pub canary: Option<Reading>,
}

/// What was observed of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reading {
    /// Events among exposures, for ratios, counters and conversions.
    Counts(Counts),
    /// Latencies in buckets.
    Latency(Vec<Bucket>),
    /// What each pod uses, in thousandths of any unit that both versions share; compared with stable, 0 is taken for not measured.
    Pods(Vec<u64>),
}

impl Observed {
    /// Returns this without the canary.
    pub(crate) fn history(&self) -> Self {
        let canary = self.stable.as_ref().map(|stable| match stable {
            Reading::Counts(_) => Reading::Counts(Counts::NONE),
            Reading::Latency(_) => Reading::Latency(Vec::new()),
            Reading::Pods(_) => Reading::Pods(Vec::new()),
        });
        Self {
            canary,
            weight: Weight::ZERO,
            ..self.clone()
        }
    }

    /// Whether the versions' windows lie too far apart to be compared.
    pub(crate) fn is_skewed(&self) -> bool {
        let length = self.to.duration_since(self.from).unsigned_abs().as_nanos();
        self.skew.as_nanos().saturating_mul(100) > length.saturating_mul(SKEW_PERCENT_MAX)
    }
}
