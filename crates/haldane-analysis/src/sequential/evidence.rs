//! Evidence: what a judgement of the sequential judge rests on, in fixed point, as it is stored and shown.

use haldane_core::verdict::{Share, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::Kind;
use crate::share::Split;

/// What a judgement rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// When the first batch began; `None` without batches.
    pub from: Option<Timestamp>,
    /// When the newest batch ended.
    pub to: Option<Timestamp>,
    /// The evidence of harm of all critical metrics together; at its bound the rollout is rolled back.
    pub harm: Worth,
    /// When harm was shown; what the evidence is worth may fall again, and the verdict stays.
    pub harmed_at: Option<Timestamp>,
    /// One entry per metric, in the order of the settings.
    pub metrics: Vec<MetricEvidence>,
    /// How requests were split at the newest weight.
    pub split: Split,
    /// The canary's share of those requests in basis points.
    pub observed_bps: Option<u16>,
    /// The evidence that requests go elsewhere; at its bound the rollout holds.
    pub mismatch: Worth,
    /// Whether the split fits the weight.
    pub share: Share,
}

/// What is known of one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricEvidence {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it says alone.
    pub verdict: Verdict,
    /// The latency bound that stable's and the canary's values are of.
    pub bound_us: Option<u64>,
    /// Stable's value.
    pub stable: Value,
    /// The canary's value.
    pub canary: Value,
    /// The canary's rate by stable's, where both are known.
    pub ratio: Option<Estimate>,
    /// The evidence of harm, and from what worth on this metric alone would roll back, or hold.
    pub harm: Worth,
    /// The evidence that the canary is fine; `None` where the metric can't give any.
    pub fine: Option<Worth>,
    /// The dispersion that bets are tempered by, in thousandths: 1000 if events come alone.
    pub dispersion_milli: u64,
    /// Exposures of both versions in a second, in thousandths.
    pub traffic_milli: u64,
    /// How long harm of each size would take to be shown, at this traffic.
    pub detects: Vec<Detection>,
    /// In how many seconds a canary like stable would be shown to be fine, at this traffic.
    pub fine_in_seconds: Option<u64>,
    /// What it means, in one sentence for people.
    pub reason: String,
}

/// One version's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Value {
    /// Events in parts per million of the exposure; of a gauge the mean of the pods in thousandths of its unit.
    pub value: Option<u64>,
    /// The exposure.
    pub exposure: u64,
    /// The events; of a latency those slower than the bound.
    pub events: u64,
}

/// A ratio with its interval, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// The ratio that was observed.
    pub ratio_ppm: u64,
    /// The lowest that is possible; `None` if any low one is.
    pub low_ppm: Option<u64>,
    /// The highest that is possible; `None` if any high one is.
    pub high_ppm: Option<u64>,
}

/// The worth of evidence, as thousandths of its logarithm to base ten: 2000 for a hundredfold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worth {
    /// What it is worth.
    pub log10_milli: i64,
    /// From what on it decides.
    pub bound_log10_milli: i64,
}

/// How long it takes to see harm of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detection {
    /// The canary's rate in percent of stable's, or of the limit.
    pub rate_percent: u32,
    /// In how many seconds; `None` if not within a day.
    pub seconds: Option<u64>,
}

impl Worth {
    /// Whether the evidence decides.
    #[must_use]
    pub const fn is_reached(&self) -> bool {
        self.log10_milli >= self.bound_log10_milli
    }
}
