//! What the judges of a rollout saw, second by second: enough to judge again, to the same bits.
//!
//! A recording is a list of moments. It begins with what the judges knew ([`Segment`]) and the batches that were there before, and goes on
//! with each second. Wherever the judges began anew with what was stored (a host that was started again) or seconds are missing, there
//! is another segment, so that what follows can be judged again exactly, whatever was lost.
//!
//! Stored as JSON, one moment a line, with latencies packed as distances: measured 0.64 kB a second at 80 requests a second of the
//! demo's shop (some 25 buckets), and at most 1.2 kB where both versions fill 40 buckets.
//!
//! **Invariant:** what was written is read back to the last bit.

mod packed;
mod playback;

use haldane_core::verdict::Subject;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::playback::{Judged, Playback};
use crate::{
    band,
    looks::{Asked, Knowledge},
    sequential::Observed,
    series::Batch,
};

/// One moment of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Moment {
    /// The judges begin, with what they know.
    Segment(Box<Segment>),
    /// A batch that was counted before the segment, and that the judges still see.
    Past(#[serde(with = "packed")] Batch),
    /// A second, and what was asked at its end.
    Second(Second),
    /// Nothing more is recorded, because there is too much.
    Full(Timestamp),
}

/// A beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// When it begins.
    pub at: Timestamp,
    /// What the judges know.
    pub known: Knowledge,
}

/// One second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// What was counted.
    #[serde(with = "packed")]
    pub batch: Batch,
    /// What metric systems told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Observed>,
    /// How the metrics compare with what is usual, where that is not as in the second before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<Vec<band::Evidence>>,
    /// What was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Asked>,
    /// Whether requests were split by the weight alone.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub is_split: bool,
}

impl Second {
    /// Returns what was asked about the whole rollout.
    #[must_use]
    pub fn background(&self) -> Option<Asked> {
        let mut asked = self.asked.iter();
        asked
            .find(|asked| asked.subject == Subject::Background)
            .copied()
    }
}

impl From<(Subject, Timestamp)> for Asked {
    fn from((subject, since): (Subject, Timestamp)) -> Self {
        Self { subject, since }
    }
}

impl From<Asked> for (Subject, Timestamp) {
    fn from(asked: Asked) -> Self {
        (asked.subject, asked.since)
    }
}

const fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_yes(is_it: &bool) -> bool {
    *is_it
}

#[cfg(test)]
mod tests;
