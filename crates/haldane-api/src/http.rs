//! Bodies of the HTTP API: what the daemon answers and what it is asked, as data.
//!
//! Everything that the CLI, the full-screen views and other programs see of a daemon is one of these. Shares are basis points or
//! parts per million, times are RFC 3339 or whole units named in the field, so that no reader has to round.

use std::collections::BTreeMap;

use haldane_core::{
    RolloutId, ServiceName, VersionName, Weight, guard::Severity, verdict::Verdict,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::{Object, ObjectBuilder, Type},
};

/// The daemon itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaemonView {
    /// The daemon's release.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// Its data directory.
    pub data_dir: String,
    /// What is wrong with the store, `None` while decisions are durable.
    pub store_fault: Option<String>,
}

/// A service, with its rollout if it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ServiceName,
    /// On Kubernetes: the namespace of its release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Where it listens: the addresses that are really bound, so with the port that was chosen for port 0.
    pub listen: Vec<String>,
    /// The version serving users.
    pub stable: VersionView,
    /// The version on trial.
    pub canary: Option<VersionView>,
    /// The rollout that goes on, or the last one.
    pub rollout: Option<RolloutView>,
    /// The version that begins when the rollout that goes on has ended.
    #[schema(value_type = Option<String>)]
    pub queued: Option<VersionName>,
    /// Where what runs differs from the file that was last applied, a sentence each.
    pub differences: Vec<String>,
    /// What a person should know, a sentence each.
    pub notices: Vec<String>,
    /// On Kubernetes, where one service was asked for: the objects that run it, the owners first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectView>,
    /// When this was true.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// An object of Kubernetes that runs a service, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectView {
    /// Its kind: `Deployment`, `ReplicaSet`, `StatefulSet`, `DaemonSet` or `Pod`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `stable` or `canary`, where that can be told.
    pub role: Option<String>,
    /// Its revision, as Kubernetes counts them.
    pub revision: Option<String>,
    /// How many of its pods are ready.
    pub ready: u32,
    /// How many pods are wanted.
    pub wanted: u32,
    /// How often its containers were started again; of pods only.
    pub restarts: Option<u32>,
    /// The image of its first container.
    pub image: Option<String>,
    /// What it does or what is wrong with it, in a few words; of pods only.
    pub state: Option<String>,
    /// What belongs to it.
    #[schema(no_recursion)]
    pub owned: Vec<Self>,
    /// How many more belong to it that are not told: those without pods, and those beyond what is readable.
    pub left_out: u32,
}

/// One version of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// Its name.
    #[schema(value_type = String)]
    pub version: VersionName,
    /// Where it comes from: the command line or the addresses.
    pub source: String,
    /// How many replicas are wanted.
    pub replicas_wanted: u32,
    /// How many answer their health check.
    pub replicas_ready: u32,
    /// How many exist.
    pub replicas_existing: u32,
    /// The figures of the last minute.
    pub figures: FiguresView,
}

/// The figures of a version over a window; `None` where there is nothing to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FiguresView {
    /// Requests in the window.
    pub requests: u64,
    /// Share of requests that failed, parts per million.
    pub error_rate_ppm: Option<u64>,
    /// Requests per second, in thousandths.
    pub request_rate_milli: Option<u64>,
    /// Median latency, microseconds.
    pub p50_us: Option<u64>,
    /// 95th percentile of latency, microseconds.
    pub p95_us: Option<u64>,
    /// 99th percentile of latency, microseconds.
    pub p99_us: Option<u64>,
    /// Share of requests that did not fail, parts per million.
    pub success_rate_ppm: Option<u64>,
    /// Processor use per replica, parts per million of one processor.
    pub cpu_ppm: Option<u64>,
    /// Resident memory per replica, bytes.
    pub memory_bytes: Option<u64>,
    /// Restarts of replicas since the rollout began.
    pub restarts: Option<u64>,
    /// Share of wanted replicas that are ready, parts per million.
    pub ready_ppm: Option<u64>,
    /// Share of the service's traffic, basis points.
    pub traffic_share_bps: Option<u64>,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: RolloutId,
    /// How it began: `deploy`, `retry`, `undo` or `apply`.
    pub kind: String,
    /// Who began it.
    pub by: String,
    /// The reason given, if any.
    pub reason: Option<String>,
    /// The version that served when it began.
    #[schema(value_type = String)]
    pub stable: VersionName,
    /// The version on trial.
    #[schema(value_type = String)]
    pub canary: VersionName,
    /// The phase: `Pending`, `Preparing`, `Progressing`, `Paused`, `Promoting`, `Completed`, `RollingBack`, `RolledBack`, `Failed`.
    pub phase: String,
    /// Whether it is over.
    pub is_over: bool,
    /// The step at work, from 1; `None` before the first and after the last.
    pub step: Option<u32>,
    /// The steps, in order.
    pub steps: Vec<StepView>,
    /// The weight that is decided.
    #[schema(value_type = u16, maximum = 10_000)]
    pub weight_bps: Weight,
    /// The canary's share as counted in the last window, basis points.
    pub observed_bps: Option<u64>,
    /// Whether the router was seen to do what was decided.
    pub is_applied: bool,
    /// Whether it goes on only when a person says so.
    pub waits_for_person: bool,
    /// Why it stands where it stands, in one sentence.
    pub message: String,
    /// The next event and what it waits for, in one sentence.
    pub next: String,
    /// When that is due, if a time is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// What the judge says.
    pub judgement: Option<JudgementView>,
    /// What a person could do, in one sentence.
    pub recommendation: String,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// What it does.
    pub text: String,
    /// The weight during it.
    #[schema(value_type = u16, maximum = 10_000)]
    pub weight_bps: Weight,
    /// Where the rollout stands with it.
    pub state: StepState,
}

/// Where a rollout stands with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum StepState {
    /// It is over.
    Done,
    /// It is at work.
    Current,
    /// It is to come.
    Next,
}

/// What the judge says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JudgementView {
    /// The conclusion.
    #[schema(schema_with = verdict)]
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// The samples' time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// The samples' time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub to: Option<Timestamp>,
    /// How many requests it is made of, where requests are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsView>,
    /// Each guard.
    pub guards: Vec<GuardView>,
    /// How the canary compares with stable, where the plan has the sequential judge.
    pub comparison: Option<ComparisonView>,
    /// How each metric compares with what is usual at this hour; nothing is decided by it but whether a person is asked.
    #[serde(default)]
    pub bands: Vec<BandView>,
}

/// How many requests of both versions a verdict is made of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct RequestsView {
    /// Stable's.
    pub stable: u64,
    /// The canary's.
    pub canary: u64,
}

/// How the canary compares with stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComparisonView {
    /// How far the evidence of harm, all metrics together, is on its way to a rollback, 0 to 100.
    pub harm_percent: u8,
    /// Each metric.
    pub metrics: Vec<MetricView>,
}

/// How the canary compares with stable in one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricView {
    /// The metric's name.
    pub name: String,
    /// What it says alone.
    #[schema(schema_with = verdict)]
    pub verdict: Verdict,
    /// Stable's value, written for people; of latencies the share that is slower than a bound.
    pub stable: Option<String>,
    /// The canary's value.
    pub canary: Option<String>,
    /// The canary's rate by stable's with its interval, written for people: `2.1× (1.3× to 4.0×)`.
    pub ratio: Option<String>,
    /// How far the evidence of harm is on its way to a rollback by this metric alone, 0 to 100.
    pub harm_percent: u8,
    /// How far the evidence that the canary is fine is on its way, 0 to 100; absent where the metric can't give any.
    pub fine_percent: Option<u8>,
    /// In how many seconds a canary like stable would be shown to be fine, at this traffic.
    pub fine_in_seconds: Option<u64>,
    /// What it means, in one sentence.
    pub reason: String,
}

/// How a metric compares with what is usual at this hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BandView {
    /// The metric's name.
    pub metric: String,
    /// What was found.
    pub finding: BandFinding,
    /// What is usual, and since when, written for people: `80ms to 120ms (5 weeks)`; absent until there is enough history.
    pub usual: Option<String>,
    /// Stable's value over the last minutes, written for people; of `request rate` the whole service's.
    pub stable: Option<String>,
    /// The canary's value.
    pub canary: Option<String>,
    /// What it means, in one sentence.
    pub reason: String,
}

/// What was found by comparing a metric with what is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum BandFinding {
    /// Both versions are as usual.
    Usual,
    /// Stable is not: something around the canary is unusual.
    Environment,
    /// The canary alone is not.
    Suspect,
    /// Nothing can be said: too little was measured, or not long enough.
    Unknown,
}

/// What became of one guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardView {
    /// The metric's name.
    pub metric: String,
    /// The limit, in words.
    pub limit: String,
    /// Stable's value, in the metric's unit, written for people.
    pub stable: Option<String>,
    /// The canary's value, written for people.
    pub canary: Option<String>,
    /// What follows.
    #[schema(schema_with = verdict)]
    pub verdict: Verdict,
    /// How grave a broken guard is.
    #[schema(schema_with = severity)]
    pub severity: Severity,
    /// Why, in one sentence.
    pub reason: String,
}

/// A rollout with its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutHistory {
    /// The rollout.
    #[schema(value_type = String)]
    pub id: RolloutId,
    /// How it began.
    pub kind: String,
    /// Who began it.
    pub by: String,
    /// The reason given, if any.
    pub reason: Option<String>,
    /// The version that served when it began.
    #[schema(value_type = String)]
    pub stable: VersionName,
    /// The version on trial.
    #[schema(value_type = String)]
    pub canary: VersionName,
    /// The phase it is in or ended in.
    pub phase: String,
    /// Why.
    pub message: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// The decisions, oldest first.
    pub entries: Vec<EntryView>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryView {
    /// Its number within the rollout, from 0.
    pub number: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The phase after it.
    pub phase: String,
    /// The step after it, from 1.
    pub step: Option<u32>,
    /// The weight after it.
    #[schema(value_type = u16, maximum = 10_000)]
    pub weight_bps: Weight,
    /// What was decided, in one sentence.
    pub text: String,
    /// What it followed from: `time`, `workloads`, `traffic`, `judge`, `gate`, `calendar` or the command's name.
    pub cause: String,
    /// Who gave the command, if it followed from one.
    pub by: Option<String>,
    /// The evidence at that moment.
    pub judgement: Option<JudgementView>,
}

/// A rollout's decisions, made again from what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecomputationView {
    /// The rollout.
    #[schema(value_type = String)]
    pub rollout: RolloutId,
    /// Whether everything that could be made again was the same to the last bit.
    pub is_same: bool,
    /// What was found, in one sentence.
    pub text: String,
    /// How often the judges looked, as far as is recorded.
    pub looks: u64,
    /// What is missing or was found beside the decisions, a sentence each.
    pub notes: Vec<String>,
    /// The decisions, oldest first.
    pub decisions: Vec<RecomputedView>,
}

/// A decision that was made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecomputedView {
    /// Its number within the rollout, from 0.
    pub number: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Whether it is the same.
    pub result: Recomputed,
    /// From how many looks of the judges.
    pub looks: u64,
    /// What differs, or why it could not be made again; else what was compared.
    pub text: String,
}

/// What became of a decision that was made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Recomputed {
    /// It is the same to the last bit.
    Same,
    /// It is another.
    Different,
    /// What it rests on is not recorded.
    NotRecorded,
}

/// Begins a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeployRequest {
    /// The version's name.
    #[schema(value_type = String)]
    pub version: VersionName,
    /// Program and arguments; exactly one of this and `urls`.
    pub run: Option<Vec<String>>,
    /// What is added to the environment that stable's program has; a name that is there already gets this value.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its working directory; the service's by default.
    pub dir: Option<String>,
    /// Addresses of a version that runs already.
    pub urls: Option<Vec<String>>,
    /// How many replicas at full size; stable's number by default.
    pub replicas: Option<u32>,
    /// The `rollout` part of a release file, as JSON, instead of the service's own.
    pub rollout: Option<serde_json::Value>,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// A command on a service's rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandRequest {
    /// What to do.
    pub command: CommandName,
    /// Only if this step, counted from 1, is still the current one (promote).
    pub step: Option<u32>,
    /// Leave out all further steps (promote).
    #[serde(default)]
    pub full: bool,
    /// The weight (set-weight).
    #[schema(value_type = Option<u16>, maximum = 10_000)]
    pub weight_bps: Option<Weight>,
    /// The version to go back to (undo); the one before by default.
    #[schema(value_type = Option<String>)]
    pub to: Option<VersionName>,
    /// The `rollout` part of a release file, as JSON (undo, retry).
    pub rollout: Option<serde_json::Value>,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// The commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum CommandName {
    /// End the current wait.
    Promote,
    /// Wait for a person.
    Pause,
    /// End a pause.
    Resume,
    /// Take the canary's traffic away and end the rollout.
    Abort,
    /// Try the last version again.
    Retry,
    /// Go back to an earlier version.
    Undo,
    /// Replace replicas by new ones of the same version.
    Restart,
    /// Set the weight by hand.
    SetWeight,
}

/// Applies a release file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// The file's text.
    pub text: String,
    /// The directory that relative paths in it start from.
    pub base_dir: String,
    /// Whether services that are no longer in the file are stopped and removed.
    #[serde(default)]
    pub prune: bool,
    /// Only tell what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Who asks.
    pub by: String,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// What was done, a sentence each.
    pub messages: Vec<String>,
    /// The rollout that it concerns.
    #[schema(value_type = Option<String>)]
    pub rollout: Option<RolloutId>,
    /// Whether what was done is durable; `false` only for an abort while the disk fails.
    pub is_durable: bool,
}

/// Why a request was not carried out (status 400, 404, 409 or 503).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// What is wrong, in one sentence.
    pub error: String,
    /// Mistakes in a file, each with line and column.
    #[serde(default)]
    pub problems: Vec<String>,
}

// The core knows nothing of OpenAPI, so the words of its enums stand here; a test compares them.
const VERDICTS: [&str; 4] = ["Pass", "Fail", "Inconclusive", "NoData"];
const SEVERITIES: [&str; 2] = ["Warn", "Critical"];

fn verdict() -> Object {
    words(VERDICTS)
}

fn severity() -> Object {
    words(SEVERITIES)
}

fn words<const N: usize>(words: [&'static str; N]) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_described_words_are_those_of_the_core() {
        let verdicts = [
            Verdict::Pass,
            Verdict::Fail,
            Verdict::Inconclusive,
            Verdict::NoData,
        ];
        assert_eq!(
            serde_json::to_value(verdicts).unwrap(),
            serde_json::json!(VERDICTS)
        );
        let severities = [Severity::Warn, Severity::Critical];
        assert_eq!(
            serde_json::to_value(severities).unwrap(),
            serde_json::json!(SEVERITIES)
        );
    }
}
