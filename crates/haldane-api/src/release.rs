//! `Release`: a service on Kubernetes and how its versions are rolled out.
//!
//! The keys `rollout`, `metrics` and `sources` are those of a service in the release file, with the same short forms; they and
//! `requests` are data here and are read by [`Spec::to_judged_plan`], which tells every mistake with its path.

pub mod argocd;
mod command;
mod decision;
pub mod group;
mod plan;
mod requests;
pub mod schema;
mod terminal;

use haldane_router::Route;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{
    command::{COMMAND_ANNOTATION, CommandError, CommandNote, typed},
    decision::{Decision, Judged, JudgedGuard, JudgedMetric},
    requests::{CountedBy, JudgedPlan, Requests, SECRETS_DIR},
    terminal::{
        Image, Stage, TERMINAL_ANNOTATION, TERMINAL_STATUS_ANNOTATION, Terminal, TerminalError,
    },
};

/// The API group.
pub const GROUP: &str = "haldane.dev";

/// The version of the API.
pub const VERSION: &str = "v1alpha1";

/// What the name of a header consists of.
const HEADER_NAME: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";

/// What a person wants of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// What runs the versions.
    pub workload: Workload,
    /// Who splits the traffic, all of them together; none means by the share of replicas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub routers: Vec<Route>,
    /// How a request asks for the canary itself, while the plan lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_by: Option<AskBy>,
    /// The plan, as under `rollout:` in the release file; none means the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Value>,
    /// What is measured, as under `metrics:` in the release file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Value>,
    /// Where the requests of both versions are counted; none means that nothing is known of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Value>,
    /// Metric systems by name, as under `sources:` in the release file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Value>,
    /// The ReleaseGroup of this namespace that the release goes together with; none means that it goes alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    pub group: Option<String>,
    /// Whether Haldane leaves everything as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

impl Spec {
    /// Returns the spec of one Deployment, by the default plan and without routers.
    #[must_use]
    pub fn of_deployment(name: &str) -> Self {
        let deployment = DeploymentWorkload {
            name: name.to_owned(),
            service: None,
            canary_service: None,
        };
        Self {
            workload: Workload {
                deployment: Some(deployment),
                ..Workload::default()
            },
            ..Self::default()
        }
    }
}

/// What runs the versions; exactly one member is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// One Deployment whose new template is tried beside the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentWorkload>,
    /// Pairs of a stable and a canary Deployment that are there already and go together; the worst one decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["stable"]))]
    pub pairs: Vec<Pair>,
    /// A StatefulSet, by its partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stateful_set: Option<SetWorkload>,
    /// A DaemonSet: refused, as none of its pods could be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon_set: Option<SetWorkload>,
}

impl Workload {
    /// Returns the workload that carries a release which has no object of its own: kind and name.
    #[must_use]
    pub fn carrier(&self) -> Option<(&'static str, &str)> {
        let deployment = self.deployment.as_ref().map(|one| one.name.as_str());
        let stable = self.pairs.first().map(|pair| pair.stable.as_str());
        let set = self.stateful_set.as_ref().map(|one| one.name.as_str());
        deployment
            .or(stable)
            .map(|name| ("Deployment", name))
            .or_else(|| set.map(|name| ("StatefulSet", name)))
    }
}

/// One Deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeploymentWorkload {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The Service that selects its pods; none means the one with the Deployment's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub service: Option<String>,
    /// The Service that is made for the canary; none means the Service's name with `-canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub canary_service: Option<String>,
}

/// A stable and a canary Deployment with their Services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pair {
    /// The Deployment that serves users.
    #[schemars(length(min = 1, max = 253))]
    pub stable: String,
    /// The Deployment on trial.
    #[schemars(length(min = 1, max = 253))]
    pub canary: String,
    /// The Service of stable's pods; none means the one with stable's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub stable_service: Option<String>,
    /// The Service of the canary's pods; none means the one with the canary's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub canary_service: Option<String>,
    /// How many replicas the canary has at its full size; none means as many as stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
}

/// A StatefulSet or DaemonSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetWorkload {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A header by which a request asks for the canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AskBy {
    /// The header's name.
    #[schemars(length(min = 1, max = 256), regex(pattern = HEADER_NAME))]
    pub header: String,
    /// Its value.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// What is true of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The phase of the rollout that goes on or of the last one; `Idle` before the first.
    #[serde(default)]
    pub phase: String,
    /// Why it stands where it stands, in one sentence.
    #[serde(default)]
    pub message: String,
    /// The id of the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// The step at work of all: `2/5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The canary's share that is decided: `25%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// The version that serves users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// The version on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// `Ready`, `Reconciling`, `Stalled`, `Applied` and `Valid`, as kstatus and Flux read them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The last command and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandAnswer>,
    /// What the judges of the rollout that goes on said last, or those of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judged>,
    /// Decisions of the last rollouts, oldest first: at most twenty, and of a rollout always the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// Past rollouts, latest first, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
    /// What the controller remembers, in its own form: where the rollout stands and what its judges know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The plan of the rollout that goes on, in the controller's own form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// A condition as Kubernetes writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its type.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in one sentence.
    pub message: String,
    /// When `status` changed last.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
    /// The generation of the spec that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandAnswer {
    /// The command's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who gave it.
    pub by: String,
    /// `Done` or `Refused`.
    pub result: String,
    /// What was done, or why not, in one sentence.
    pub message: String,
    /// When it was answered.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

/// A rollout that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// Its id.
    pub rollout: String,
    /// The version that served when it began.
    pub stable: String,
    /// The version on trial.
    pub canary: String,
    /// How it ended: `Completed`, `RolledBack` or `Failed`.
    pub phase: String,
    /// Why, in one sentence.
    pub message: String,
    /// Whether the objects asked for another version before this one was judged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
    /// Who began it.
    pub by: String,
    /// When it began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// When it ended.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub ended_at: Timestamp,
}

/// Labels and annotations that stand on objects of a release.
pub mod mark {
    /// The label of what belongs to a release: its name.
    pub const RELEASE: &str = "haldane.dev/release";
    /// The label of pods and Deployments that are on trial: `canary`.
    pub const ROLE: &str = "haldane.dev/role";
    /// The annotation of objects that a release uses: its name; so that two releases do not claim one.
    pub const CLAIM: &str = "haldane.dev/claimed-by";
    /// The annotation of a Job that is asked: the name of its gate.
    pub const GATE: &str = "haldane.dev/gate";
    /// The annotation of a StatefulSet that a release uses: the partition that it had before.
    pub const BEFORE: &str = "haldane.dev/before";
}
