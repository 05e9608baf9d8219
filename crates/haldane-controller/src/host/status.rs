//! The status of a release: what people and tools read, and the record that the next turn goes on from.
//!
//! Conditions are those that `kubectl wait`, Flux and Argo CD understand (kstatus): `Ready`, `Reconciling`, `Stalled`; and of our own
//! `Valid` (the spec can be carried out) and `Applied` (the routers do what is decided).

use haldane_api::release::{Condition, Status};
use haldane_core::rollout::{self, Phase};
use serde_json::json;
use tracing::info;

use super::{act::Act, json::difference, record::Live, site::Blocked};
use crate::{
    kinds::RELEASE,
    turn::{Urgency, What, Write},
};

/// Longest message in a status.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// The condition that the routers do what is decided.
const APPLIED: &str = "Applied";

/// What a release stands at, for its conditions.
struct Standing {
    phase: &'static str,
    message: String,
    /// Whether something goes on by itself or waits for a person.
    is_moving: bool,
    /// Why it does not get on by itself any more.
    stalled: Option<&'static str>,
}

/// Returns the write of the status, if it must be written now.
pub(super) fn write(act: &Act<'_>, blocked: Option<&Blocked>, is_due: bool) -> Option<Write> {
    let old = &act.release.status;
    let new = status(act, blocked);
    let is_news = is_worth_telling(act) && old.message != new.message;
    if !is_due && !is_news && is_alike(old, &new) {
        return None;
    }
    changed(act, &new)
}

/// Returns the write that tells why nothing can be done, and leaves all else in the status as it is.
pub(super) fn write_blocked(act: &Act<'_>, blocked: &Blocked) -> Option<Write> {
    let standing = standing(act, Some(blocked));
    let new = Status {
        observed_generation: act.release.generation(),
        message: standing.message.chars().take(MESSAGE_CHARS_MAX).collect(),
        conditions: conditions(act, &standing, Some(blocked)),
        ..act.release.status.clone()
    };
    changed(act, &new)
}

/// Returns the write that makes a status of the one that is there.
fn changed(act: &Act<'_>, new: &Status) -> Option<Write> {
    let before = act.release.object.get("status").cloned();
    let after = serde_json::to_value(new).ok()?;
    let patch = difference(&before.unwrap_or_else(|| json!({})), &after)?;
    Some(Write {
        target: act.view.name(&RELEASE, &act.view.key.name),
        what: What::MergeStatus {
            patch: json!({"status": patch}),
            resource_version: super::json::resource_version(&act.release.object),
        },
        urgency: Urgency::Status,
    })
}

/// Whether the message alone is worth a write: where it says why a canary does not start or a gate is not asked. Else it changes with
/// every count.
fn is_worth_telling(act: &Act<'_>) -> bool {
    if act.waits.is_some() {
        return true;
    }
    let live = act.record.live();
    live.is_some_and(|live| {
        live.state.lost.is_some()
            || matches!(live.state.phase, Phase::Pending(_) | Phase::Preparing(_))
    })
}

impl Act<'_> {
    /// Writes down what is decided, as it is about to be made durable.
    pub(super) fn log_decision(&self) {
        let (live, last) = (self.record.live.as_ref(), self.memory.history.first());
        let rollout = live.map(|live| live.state.id.as_str());
        let phase = live.map(|live| live.state.phase.name());
        let weight = live.map(|live| live.state.weight());
        info!(
            release = %self.view.key,
            rollout = rollout.or_else(|| last.map(|past| past.rollout.as_str())),
            phase = phase.or_else(|| last.map(|past| past.phase.as_str())),
            step = live.and_then(|live| live.state.step()),
            weight = weight.map(tracing::field::display),
            "Status to be written"
        );
    }
}

/// Whether a status says that what is decided is in force; a new one says nothing of it.
pub(super) fn is_applied(status: &Status) -> bool {
    let mut conditions = status.conditions.iter();
    let said = conditions.find(|one| one.r#type == APPLIED);
    said.is_none_or(|one| one.status == "True")
}

/// Whether two statuses tell people the same; what is remembered and counted may differ.
fn is_alike(old: &Status, new: &Status) -> bool {
    let told = |status: &Status| {
        let conditions: Vec<_> = status
            .conditions
            .iter()
            // That something is in force by now can wait for the next decision.
            .filter(|one| one.r#type != APPLIED || is_applied(new) <= is_applied(old))
            .map(|one| (one.r#type.clone(), one.status.clone(), one.reason.clone()))
            .collect();
        (
            status.phase.clone(),
            status.observed_generation,
            status.rollout.clone(),
            status.weight.clone(),
            status.stable.clone(),
            status.command.clone(),
            conditions,
        )
    };
    told(old) == told(new)
}

fn status(act: &Act<'_>, blocked: Option<&Blocked>) -> Status {
    let record = &act.record;
    let live = record.live.as_ref();
    let last = act.memory.history.first();
    let standing = standing(act, blocked);
    let plan = act.memory.plan.as_deref();
    let step = live.and_then(|live| live.state.step());
    let stable = record.stable.as_ref();
    let canary = live.map(|live| live.canary.name.to_string());
    let is_known = *record != super::record::Record::new();
    Status {
        observed_generation: act.release.generation(),
        phase: standing.phase.to_owned(),
        message: standing.message.chars().take(MESSAGE_CHARS_MAX).collect(),
        rollout: live
            .map(|live| live.state.id.to_string())
            .or_else(|| last.map(|past| past.rollout.clone())),
        step: step
            .zip(plan)
            .map(|(step, plan)| format!("{}/{}", step.saturating_add(1), plan.step_count())),
        weight: live
            .map(|live| live.state.weight())
            .or_else(|| act.left.as_ref().map(|(weight, _)| *weight))
            .map(|weight| weight.to_string()),
        stable: stable.map(|stable| stable.version.name.to_string()),
        canary: canary.or_else(|| last.map(|past| past.canary.clone())),
        conditions: conditions(act, &standing, blocked),
        command: act.memory.answer.clone(),
        judged: act.memory.judged(),
        decisions: act.memory.journal.decisions().to_vec(),
        history: act.memory.history.clone(),
        record: is_known.then(|| record.to_text()),
        plan: plan.and_then(|plan| serde_json::to_string(plan).ok()),
    }
}

fn standing(act: &Act<'_>, blocked: Option<&Blocked>) -> Standing {
    let mut standing = match &act.record.live {
        Some(live) => of_live(live),
        None => at_rest(act),
    };
    if let Some(blocked) = blocked {
        standing.message.clone_from(&blocked.message);
        let waits = ["Waiting", "Watching", "Suspended"];
        if waits.contains(&blocked.reason) {
            standing.is_moving |= blocked.reason != "Suspended";
        } else {
            standing.stalled = Some(blocked.reason);
        }
    } else if let Some(waits) = &act.waits {
        standing.message = format!("{}; {waits}", standing.message);
    } else if let Some(judged) = judged(act) {
        standing.message = format!("{}; {judged}", standing.message);
    } else if let Some(share) = act.share.filter(|_| act.record.live().is_some()) {
        standing.message = format!("{}; {share} of the pods are the canary's", standing.message);
    } else if let Some(why) = act.not_applied.as_ref().filter(|_| act.is_late) {
        standing.message = format!("{}; not in force yet: {why}", standing.message);
    } else if let Some((weight, by)) = &act.left {
        let said = format!("the canary has {weight}, set by {by}");
        standing.message = format!("{}; {said}", standing.message);
    }
    standing
}

/// Returns what the judges say of the rollout that goes on.
fn judged(act: &Act<'_>) -> Option<String> {
    let live = act.record.live()?;
    if matches!(live.state.phase, Phase::RollingBack(_)) {
        return None;
    }
    let bench = act.memory.bench.as_ref()?;
    let (judgement, _) = bench.judged.as_ref()?;
    let fault = bench.faults.first().map(|fault| format!(" ({fault})"));
    Some(format!("{}{}", judgement.reason, fault.unwrap_or_default()))
}

fn of_live(live: &Live) -> Standing {
    let state = &live.state;
    Standing {
        phase: state.phase.name(),
        message: rollout::message(state),
        is_moving: !state.phase.is_terminal(),
        stalled: matches!(state.phase, Phase::Failed(_)).then_some("Failed"),
    }
}

fn at_rest(act: &Act<'_>) -> Standing {
    let last = act.memory.history.first();
    let phase = match last.map(|past| past.phase.as_str()) {
        Some("Completed") => "Completed",
        Some("Failed") => "Failed",
        Some(_) => "RolledBack",
        None => "Idle",
    };
    let message = last.map_or_else(
        || "no rollout yet".to_owned(),
        |past| format!("{}: {}", past.canary, past.message),
    );
    let follow = act.git_must_follow().filter(|_| phase == "Completed");
    let message = match (act.goes_on(), follow) {
        (Some(more), _) => format!("{message}; {more}"),
        (None, Some(follow)) => format!("{message}; in Git: {follow}"),
        (None, None) => message,
    };
    Standing {
        phase,
        message,
        is_moving: act.goes_on().is_some(),
        stalled: match phase {
            "RolledBack" => Some("RolledBack"),
            "Failed" => Some("Failed"),
            _ => None,
        },
    }
}

fn conditions(act: &Act<'_>, standing: &Standing, blocked: Option<&Blocked>) -> Vec<Condition> {
    let live = act.record.live.as_ref();
    let waits_for_person = live.is_some_and(|live| live.state.waits_for_person());
    let reason = standing.stalled.unwrap_or(standing.phase);
    let is_ready = standing.stalled.is_none() && !standing.is_moving;
    let faults = ["Invalid", "Claimed"];
    let invalid = blocked.filter(|blocked| faults.contains(&blocked.reason));
    let moving = match (standing.is_moving, waits_for_person) {
        (true, true) => (true, "Paused"),
        (is_moving, _) => (is_moving, standing.phase),
    };
    let not_applied = act.not_applied.as_deref();
    let all = [
        ("Ready", is_ready, reason, standing.message.as_str()),
        (
            "Reconciling",
            moving.0 && standing.stalled.is_none(),
            moving.1,
            standing.message.as_str(),
        ),
        (
            "Stalled",
            standing.stalled.is_some(),
            reason,
            standing.message.as_str(),
        ),
        (
            "Valid",
            invalid.is_none(),
            invalid.map_or("Valid", |blocked| blocked.reason),
            invalid.map_or("", |blocked| blocked.message.as_str()),
        ),
        (
            APPLIED,
            not_applied.is_none(),
            match (not_applied, act.is_late) {
                (None, _) => "Applied",
                (Some(_), false) => "NotYet",
                (Some(_), true) => "Late",
            },
            not_applied.unwrap_or_default(),
        ),
    ];
    let dated = |(name, is_true, reason, message)| dated(act, name, is_true, reason, message);
    all.into_iter().map(dated).collect()
}

/// Returns a condition with the time since when it is so.
fn dated(act: &Act<'_>, name: &str, is_true: bool, reason: &str, message: &str) -> Condition {
    let status = if is_true { "True" } else { "False" };
    let mut old = act.release.status.conditions.iter();
    let since = old.find(|one| one.r#type == name && one.status == status);
    Condition {
        r#type: name.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
        last_transition_time: since.map_or(act.view.now, |one| one.last_transition_time),
        observed_generation: act.release.generation(),
    }
}
