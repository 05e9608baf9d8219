//! Verdicts: what a judge says, as far as the rollout's decisions need it.
//!
//! The judges keep their evidence to themselves; it travels beside the judgement to the store and to people.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::guard::Severity;

/// What a judge concludes from the samples it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The canary keeps every limit, on enough data.
    Pass,
    /// The canary breaks a critical limit.
    Fail,
    /// There is data, and it does not decide.
    Inconclusive,
    /// There is not enough data, or it is missing, stale or not a number.
    NoData,
}

/// What a judgement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// The plan's own guards and judge, which rule in the background.
    Background,
    /// The analysis or experiment that is the step of this index.
    Step(u32),
}

/// Whether the observed share of traffic fits the verified weight (sample-ratio mismatch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    /// It fits, or there is too little traffic to tell.
    Fits,
    /// It does not: requests are counted where the weight did not send them.
    Mismatch,
}

/// How far a judge is from being sure, beside its conclusion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standing {
    /// Nothing more is known than the conclusion says: a pass means that no harm was found so far.
    #[default]
    Open,
    /// The canary is shown to keep what is asked of it; waiting longer gains nothing.
    Shown,
    /// The canary looks bad where it has all traffic, and only a comparison with stable at the same time can tell.
    Suspect,
}

/// What is not as usual at this hour, with the reason in one sentence; people are told, and it never decides by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unusual {
    /// Stable is not as usual either: what happens is not of the canary's making.
    Environment(String),
    /// The canary alone is not as usual.
    Suspect(String),
}

/// One answer of a judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What was judged.
    pub subject: Subject,
    /// The conclusion.
    pub verdict: Verdict,
    /// The worst severity among broken guards, `None` when none is broken.
    pub broken: Option<Severity>,
    /// Whether traffic went where it was sent.
    pub share: Share,
    /// How far the judge is from being sure.
    #[serde(default)]
    pub standing: Standing,
    /// What is not as usual at this hour.
    #[serde(default)]
    pub unusual: Option<Unusual>,
    /// When the oldest sample that was used began; a judgement older than the step it speaks for does not count.
    pub since: Timestamp,
    /// When the newest sample that was used ended.
    pub at: Timestamp,
    /// The reason in one sentence, for people.
    pub reason: String,
}

impl Unusual {
    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Environment(reason) | Self::Suspect(reason) => reason,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::NoData => "no data",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_written_for_people() {
        let all = [
            Verdict::Pass,
            Verdict::Fail,
            Verdict::Inconclusive,
            Verdict::NoData,
        ];
        let texts = all.map(|verdict| format!("{verdict:>12}"));
        assert_eq!(
            texts,
            [
                "        pass",
                "        fail",
                "inconclusive",
                "     no data"
            ]
        );
    }
}
