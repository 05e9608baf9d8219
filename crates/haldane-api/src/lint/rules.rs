//! The rules: each with its id, why it is there, what to do, and an example that breaks it beside one that does not.

mod objects;
mod plans;

use serde::Serialize;

pub(super) use self::{
    objects::{
        EMPTY_CANARY, GROUP_WITHOUT_ORDER, LATEST_TAG, METRIC_WITHOUT_CONDITION, NO_LIVENESS_PROBE,
        NO_READINESS_PROBE, NO_RESOURCES, PROMOTION_BESIDE_GIT, SHARE_BY_REPLICAS, SHARED_STATE,
        STICKY_SESSIONS, STRAY_MEMBER, UNJUDGED_SPLIT, UNQUOTED_ANNOTATION,
    },
    plans::{
        ALL_AT_ONCE, BIG_FIRST_STEP, BLIND_CANARY, ERRORS_UNWATCHED, FAST_ROLLOUT, FEW_REQUESTS,
        INVALID, JUMP_TO_FULL, LATE_JUDGE, LATENCY_UNWATCHED, LOOSE_THRESHOLD, MULTIPLE_OF_NOTHING,
        NARROW_THRESHOLD, NO_BASELINE, NO_COMPARISON, NO_HEALTH_CHECK, NO_METRICS, NO_ROLLBACK,
        NOBODY_TOLD, PASSES_WITHOUT_DATA, PLAIN_CREDENTIALS, SHORT_HOLD, SINGLE_REPLICA,
        STALE_TOO_SOON, STEP_WITHOUT_HOLD, STEPS_DO_NOT_RISE, TOO_FAST_FOR_TRAFFIC,
        UNMEASURED_GUARD, UNSEEN_CONVERSION, UNUSED_SOURCE,
    },
};

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its name, which never changes.
    pub id: &'static str,
    /// How grave it is to break it.
    pub severity: Severity,
    /// What it finds, in a few words.
    pub title: &'static str,
    /// Why that is worth a word.
    pub why: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    /// A text that breaks it.
    pub bad: &'static str,
    /// The same text, mended.
    pub good: &'static str,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is refused or does not work.
    Error,
    /// It works, and is likely to hurt.
    Warning,
    /// It may be as it should be.
    Note,
}

impl Severity {
    /// Returns its name: `error`, `warning` or `note`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// All rules: those of mistakes, of plans, of services and of objects.
pub static RULES: [&Rule; 44] = [
    &INVALID,
    &BLIND_CANARY,
    &NO_ROLLBACK,
    &NO_METRICS,
    &NO_BASELINE,
    &ERRORS_UNWATCHED,
    &LATENCY_UNWATCHED,
    &ALL_AT_ONCE,
    &BIG_FIRST_STEP,
    &JUMP_TO_FULL,
    &STEPS_DO_NOT_RISE,
    &STEP_WITHOUT_HOLD,
    &SHORT_HOLD,
    &FAST_ROLLOUT,
    &FEW_REQUESTS,
    &TOO_FAST_FOR_TRAFFIC,
    &LATE_JUDGE,
    &PASSES_WITHOUT_DATA,
    &LOOSE_THRESHOLD,
    &NARROW_THRESHOLD,
    &MULTIPLE_OF_NOTHING,
    &NO_COMPARISON,
    &UNMEASURED_GUARD,
    &UNSEEN_CONVERSION,
    &STALE_TOO_SOON,
    &UNUSED_SOURCE,
    &PLAIN_CREDENTIALS,
    &NOBODY_TOLD,
    &NO_HEALTH_CHECK,
    &SINGLE_REPLICA,
    &PROMOTION_BESIDE_GIT,
    &SHARE_BY_REPLICAS,
    &STRAY_MEMBER,
    &GROUP_WITHOUT_ORDER,
    &UNJUDGED_SPLIT,
    &EMPTY_CANARY,
    &STICKY_SESSIONS,
    &SHARED_STATE,
    &NO_READINESS_PROBE,
    &NO_LIVENESS_PROBE,
    &NO_RESOURCES,
    &LATEST_TAG,
    &METRIC_WITHOUT_CONDITION,
    &UNQUOTED_ANNOTATION,
];
