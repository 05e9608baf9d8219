//! Evidence: what a judgement rests on, in fixed point, as it is stored and shown.

use haldane_core::{
    guard::{Metric, Severity},
    verdict::{Share, Verdict},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{band, sample::Bounds, sequential, share::Split};

/// What a judgement rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When the oldest batch used began.
    pub from: Timestamp,
    /// When the newest batch used ended; the same as `from` if none was used.
    pub to: Timestamp,
    /// One entry per guard, in the plan's order.
    pub guards: Vec<GuardEvidence>,
    /// How requests were split at the newest weight, over batches in which it did not change; `None` if no batch was used.
    pub split: Option<Split>,
    /// The canary's share of those requests in basis points.
    pub observed_bps: Option<u16>,
    /// Whether the split fits the weight.
    pub share: Share,
    /// What the sequential judge knows, where it was asked.
    #[serde(default)]
    pub sequential: Option<sequential::Evidence>,
    /// How each metric compares with what is usual at this hour.
    #[serde(default)]
    pub bands: Vec<band::Evidence>,
}

/// What the verdict on one guard rests on. Values are in the unit of the metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardEvidence {
    /// What was measured.
    pub metric: Metric,
    /// What a broken guard means.
    pub severity: Severity,
    /// The limits as written for people.
    pub limit: String,
    /// The limit that decided: the one for failing if it was broken, else the one for passing. `None` if stable gives none.
    pub limit_value: Option<u64>,
    /// Stable's value.
    pub stable: Option<u64>,
    /// The canary's value; of a quantile the upper bound of its bucket.
    pub canary: Option<u64>,
    /// Between which bounds the canary's value lies, where it is a quantile.
    pub canary_bounds: Option<Bounds>,
    /// How many requests stable's value is made of; those with a latency where it is made of latencies.
    pub stable_requests: u64,
    /// How many requests the canary's value is made of.
    pub canary_requests: u64,
    /// How many of the canary's requests were bad: failed, or surely slower than the limit.
    pub bad: Option<u64>,
    /// The conclusion on this guard alone; a broken but tolerated guard is inconclusive.
    pub verdict: Verdict,
    /// How many failed measurements were counted over the rollout.
    pub failed: u32,
    /// The reason in one sentence, for people.
    pub reason: String,
}
