//! Jobs that are asked whether a rollout may go on: made of a CronJob of the release's namespace that is suspended.
//!
//! So a release runs nothing but what somebody who may make CronJobs there has made to be run on request, with its account, its
//! limits and its image. The Job has a name that follows from the question: asked again after a crash it is the same one.
//!
//! **Invariant:** no Job outlives the time that its gate has.

use std::{collections::BTreeSet, time::Duration};

use haldane_api::release::mark;
use haldane_core::rollout::{GateAnswer, GateKey};
use haldane_router::ObjectRef;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    ask::Question,
    json::{self as read, set},
    site::View,
};
use crate::{
    asker::Subject,
    kinds::{CRON_JOB, JOB},
    turn::{Urgency, What, Write},
};

/// How many Jobs of a release are looked after: one or two are asked, the others are about to end.
pub(super) const JOBS_MAX: usize = 8;

/// How much of a rollout's id goes into the name of a Job, whose pods have 63 characters for it and more.
const ID_CHARS_MAX: usize = 40;

/// How long a Job stays that has ended, unless its CronJob says otherwise: for a look at what its pods said.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// How long it stays at least, so that a controller which was away sees how it ended.
const KEPT_MIN: SignedDuration = SignedDuration::from_hours(1);

/// How long before the rollout's own deadline the waiting ends: then history tells what was waited for rather than that time ran out.
const MARGIN_MAX: Duration = Duration::from_secs(1);

/// What is seen of a Job that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It ended: whether it completed, and its last words.
    Ended(bool, String),
    /// It goes on.
    Runs,
    /// It is not there, and is to be made of this CronJob.
    Make(Value),
    /// What is watched is not known yet.
    Unknown,
    /// It can't be made, for this reason.
    Waits(String),
}

impl Look {
    /// Returns what the gate says; `None` while it is undecided.
    pub(super) fn answer(self, question: &Question, now: Timestamp) -> Option<GateAnswer> {
        let is_late = until(question) <= now;
        let late = |said: String| is_late.then(|| question.answer(false, said));
        match self {
            Self::Ended(is_open, said) => Some(question.answer(is_open, said)),
            Self::Runs => late(format!("Job {} did not end in time", name(&question.key))),
            Self::Waits(why) => late(format!("no answer in time: {why}")),
            Self::Make(_) | Self::Unknown => late("no Job could be made in time".to_owned()),
        }
    }
}

/// Returns the name of the Job that is asked.
pub(super) fn name(key: &GateKey) -> String {
    let id: String = key.rollout.as_str().chars().take(ID_CHARS_MAX).collect();
    let id = id.trim_end_matches(['-', '.']);
    let digest = Sha256::digest(format!("{key}/{}", key.entered).as_bytes());
    let begin = digest.iter().take(4);
    let hash: String = begin.map(|byte| format!("{byte:02x}")).collect();
    format!("{id}-{hash}")
}

/// Returns the objects that matter for a Job.
pub(super) fn reads(view: &View<'_>, name: &str, cron_job: &str) -> BTreeSet<ObjectRef> {
    BTreeSet::from([view.name(&JOB, name), view.name(&CRON_JOB, cron_job)])
}

/// Returns until when a Job is waited for.
pub(super) fn until(question: &Question) -> Timestamp {
    let margin = (question.gate.timeout / 10).min(MARGIN_MAX);
    let until = question.until();
    until.checked_sub(margin).unwrap_or(until)
}

/// Looks at the Job that is asked.
pub(super) fn look(view: &View<'_>, question: &Question, cron_job: &str) -> Look {
    let name = name(&question.key);
    let job = match view.find(&JOB, &name) {
        Ok(job) => job,
        Err(blocked) if blocked.is_passing() => return Look::Unknown,
        Err(blocked) => return Look::Waits(blocked.message),
    };
    if let Some(job) = job {
        if !is_ours(view, &job) {
            return Look::Waits(format!("there is a Job {name} that is not of this Release"));
        }
        return match ended(&job) {
            Some((true, _)) => Look::Ended(true, format!("Job {name} completed")),
            Some((false, why)) => Look::Ended(false, format!("Job {name} failed: {why}")),
            None => Look::Runs,
        };
    }
    match view.find(&CRON_JOB, cron_job) {
        Ok(Some(found)) if found.pointer("/spec/suspend") == Some(&Value::Bool(true)) => {
            Look::Make(found)
        }
        Ok(Some(_)) => Look::Waits(format!(
            "CronJob {cron_job} is not suspended; only one with `suspend: true` is run on request"
        )),
        Ok(None) => Look::Waits(format!("CronJob {cron_job} does not exist")),
        Err(blocked) if blocked.is_passing() => Look::Unknown,
        Err(blocked) => Look::Waits(blocked.message),
    }
}

/// Whether a Job of the release with this name goes on, or nobody knows yet.
pub(super) fn may_run(view: &View<'_>, name: &str) -> bool {
    match view.find(&JOB, name) {
        Err(blocked) => blocked.is_passing(),
        Ok(job) => job.is_some_and(|job| is_running(view, &job)),
    }
}

/// Returns the write that makes the Job of a question as its CronJob says.
pub(super) fn make(
    view: &View<'_>,
    question: &Question,
    cron_job: &Value,
    subject: &Subject,
) -> Write {
    let name = name(&question.key);
    let target = view.name(&JOB, &name);
    let mut spec = Value::Object(read::map(cron_job, "/spec/jobTemplate/spec"));
    let left = question.until().duration_since(view.now).as_secs().max(1);
    let own = spec.get("activeDeadlineSeconds").and_then(Value::as_i64);
    let deadline = own.map_or(left, |own| own.min(left));
    set(&mut spec, &["activeDeadlineSeconds"], json!(deadline));
    let own = spec.get("ttlSecondsAfterFinished").and_then(Value::as_i64);
    let kept = own.map_or(KEPT.as_secs(), |own| own.max(KEPT_MIN.as_secs()));
    set(&mut spec, &["ttlSecondsAfterFinished"], json!(kept));
    tell(&mut spec, &variables(question, subject));
    let mut labels = read::map(cron_job, "/spec/jobTemplate/metadata/labels");
    labels.insert(mark::RELEASE.to_owned(), json!(view.key.name));
    let mut annotations = read::map(cron_job, "/spec/jobTemplate/metadata/annotations");
    annotations.insert(mark::GATE.to_owned(), json!(question.gate.name));
    let job = json!({
        "apiVersion": JOB.api_version(),
        "kind": JOB.kind,
        "metadata": {
            "name": name,
            "namespace": view.key.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [view.owner()],
        },
        "spec": spec,
    });
    Write {
        target,
        what: What::Create(job),
        urgency: Urgency::Rest,
    }
}

/// Returns the write that ends a Job which nobody asks any more; `None` where it has ended.
pub(super) fn end(view: &View<'_>, name: &str) -> Option<Write> {
    let job = view.find(&JOB, name).ok().flatten();
    let job = job.filter(|job| is_running(view, job))?;
    Some(Write {
        target: view.name(&JOB, name),
        what: What::Delete {
            uid: read::uid(&job).to_owned(),
        },
        urgency: Urgency::Rest,
    })
}

fn is_running(view: &View<'_>, job: &Value) -> bool {
    let is_leaving = job.pointer("/metadata/deletionTimestamp").is_some();
    is_ours(view, job) && !is_leaving && ended(job).is_none()
}

fn is_ours(view: &View<'_>, job: &Value) -> bool {
    let owners = job.pointer("/metadata/ownerReferences");
    let mut owners = owners.and_then(Value::as_array).into_iter().flatten();
    owners.any(|owner| read::text(owner, "/uid") == Some(view.uid))
}

/// Returns whether a Job completed, and what it says, once it has ended.
fn ended(job: &Value) -> Option<(bool, String)> {
    let conditions = job.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find_map(|one| {
        if read::text(one, "/status") != Some("True") {
            return None;
        }
        let is_complete = match read::text(one, "/type")? {
            "Complete" => true,
            "Failed" => false,
            _ => return None,
        };
        let words = ["/message", "/reason"];
        let said = words.iter().find_map(|path| read::text(one, path));
        Some((is_complete, said.unwrap_or("without a reason").to_owned()))
    })
}

/// Returns what the containers are told.
fn variables(question: &Question, subject: &Subject) -> Vec<(&'static str, String)> {
    let known = [
        ("HALDANE_ROLLOUT", Some(question.key.rollout.to_string())),
        ("HALDANE_STABLE", Some(subject.stable.to_string())),
        ("HALDANE_CANARY", Some(subject.canary.to_string())),
        ("HALDANE_STABLE_URL", subject.stable_url.clone()),
        ("HALDANE_CANARY_URL", subject.canary_url.clone()),
        ("HALDANE_WHY", subject.why.clone()),
    ];
    let known = known.into_iter();
    known
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// Tells all containers of a Job something: before their own variables, so that those can name it as `$(NAME)`.
fn tell(spec: &mut Value, variables: &[(&'static str, String)]) {
    for list in ["containers", "initContainers"] {
        let path = format!("/template/spec/{list}");
        let containers = spec.pointer_mut(&path).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let own = container.get("env").and_then(Value::as_array);
            let is_theirs = |one: &&Value| {
                let name = read::text(one, "/name");
                variables.iter().all(|(known, _)| name != Some(known))
            };
            let theirs = own.into_iter().flatten().filter(is_theirs).cloned();
            let ours = variables
                .iter()
                .map(|(name, value)| json!({"name": name, "value": literal(value)}));
            let all: Vec<Value> = ours.chain(theirs).collect();
            set(container, &["env"], Value::Array(all));
        }
    }
}

/// Returns a value of which Kubernetes expands nothing.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests;
