//! `ReleaseGroup`: Releases of one namespace whose new versions go together.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CommandAnswer, Condition};

/// The barrier before all of the traffic.
pub const PROMOTION: &str = "promotion";

/// A share or `promotion`.
const BARRIER: &str = r"^([0-9]{1,3}(\.[0-9]{1,2})?%|promotion)$";

/// What a person wants of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The Releases that go together; each of them names the group in its `spec.group`.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["release"]))]
    pub members: Vec<Member>,
    /// Weights at which the members wait for each other; none means that only their order is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["at"]))]
    pub barriers: Vec<Barrier>,
    /// What becomes of the others when one member is rolled back. Default: rollBack.
    #[serde(default, skip_serializing_if = "OnFailure::is_default")]
    pub on_failure: OnFailure,
    /// Whether the group decides nothing: a member that waits for it goes on waiting.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// One Release of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// Its name.
    #[schemars(length(min = 1, max = 50))]
    pub release: String,
    /// The members that must be promoted before it begins, as far as they have new versions, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 31), inner(length(min = 1, max = 50)), extend("x-kubernetes-list-type" = "set"))]
    pub after: Vec<String>,
}

/// A weight at which the members wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Barrier {
    /// The weight that no member goes past before all have reached it, such as `25%`; or `promotion`, before all of the traffic.
    #[schemars(length(max = 9), regex(pattern = BARRIER))]
    pub at: String,
}

/// What becomes of the others when one member is rolled back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Those under way are aborted, and those that were promoted in this round are taken back.
    #[default]
    RollBack,
    /// They stay where they are until a person decides.
    Stop,
}

/// What is true of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The phase of the round that goes on or of the last one: `Progressing`, `Paused`, `Stopped`, `RollingBack`; `Completed`,
    /// `RolledBack` or `Failed`; `Idle` before the first.
    #[serde(default)]
    pub phase: String,
    /// Why it stands where it stands, in one sentence.
    #[serde(default)]
    pub message: String,
    /// The round that goes on: from the first member's beginning until all are at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<Round>,
    /// The members, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["release"]))]
    pub members: Vec<MemberStatus>,
    /// `Ready`, `Reconciling`, `Stalled` and `Valid`, as kstatus and Flux read them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The last command and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandAnswer>,
    /// Past rounds, latest first, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<PastRound>,
}

/// A round that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Round {
    /// Its number, from 1.
    pub number: u64,
    /// When it began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// Why all of its members go back, in one sentence; none while they go forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What is true of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Its Release.
    pub release: String,
    /// The Release's phase; `Missing` where there is none that names this group.
    #[serde(default)]
    pub phase: String,
    /// The canary's share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Its rollout that belongs to the round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// What it waits for, or has to wait for at `upTo`; without `upTo` it neither begins nor goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// The weight that it does not go past meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<String>,
}

/// A round that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastRound {
    /// Its number.
    pub number: u64,
    /// How it ended: `Completed`, `RolledBack` or `Failed`.
    pub phase: String,
    /// Why, in one sentence.
    pub message: String,
    /// When it began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// When it ended.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub ended_at: Timestamp,
}

impl OnFailure {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
