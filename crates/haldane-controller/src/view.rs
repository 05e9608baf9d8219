//! What people and programs see of a release: the same bodies that the standalone daemon answers with.
//!
//! Pure: made of the release's status and its plan; what the controller's record adds is left out where it can't be read. **Invariant:** what the status does not tell is left empty; nothing is
//! guessed that a person could act on.

use haldane_api::{
    http::{
        EntryView, FiguresView, JudgementView, ObjectView, RolloutHistory, RolloutView,
        ServiceView, StepState, StepView, VersionView,
    },
    release::{Condition, Decision, Past, Status},
    text::parse_weight,
};
use haldane_core::{
    RolloutId, VersionName, Weight,
    plan::Plan,
    rollout::{self, effect},
};
use jiff::Timestamp;

use crate::{host::glance::glance, release::Release};

/// The phases in which a rollout is over.
const OVER: [&str; 3] = ["Completed", "RolledBack", "Failed"];

/// What stands for how a rollout began: the objects said so.
const KIND: &str = "apply";

/// What stands for a version that is not known yet.
const UNKNOWN: &str = "unknown";

/// The whole, in parts per million.
const PPM: u64 = 1_000_000;

/// The longest version name.
const VERSION_CHARS_MAX: usize = 63;

/// Returns what is seen of a release.
#[must_use]
pub fn service(release: &Release, now: Timestamp) -> ServiceView {
    let status = &release.status;
    let rollout = rollout(release, now);
    let is_live = rollout.as_ref().is_some_and(|rollout| !rollout.is_over);
    let canary = is_live.then(|| version(status.canary.as_deref()));
    ServiceView {
        name: release.name.clone(),
        namespace: Some(release.namespace.clone()),
        listen: Vec::new(),
        stable: version(status.stable.as_deref()),
        canary,
        rollout,
        queued: None,
        differences: Vec::new(),
        notices: notices(release),
        objects: Vec::new(),
        at: now,
    }
}

/// Adds what the objects of a release tell: how many replicas its versions have, and where they come from.
pub fn add_objects(view: &mut ServiceView, objects: &[ObjectView]) {
    let canary = view.canary.iter_mut().map(|version| ("canary", version));
    for (role, version) in std::iter::once(("stable", &mut view.stable)).chain(canary) {
        let ours = carriers(objects)
            .into_iter()
            .filter(|one| one.role.as_deref().unwrap_or("stable") == role);
        for one in ours {
            let add = |sum: u32, more| sum.saturating_add(more);
            version.replicas_wanted = add(version.replicas_wanted, one.wanted);
            version.replicas_ready = add(version.replicas_ready, one.ready);
            version.replicas_existing = add(version.replicas_existing, one.wanted.max(one.ready));
            if version.source.is_empty() {
                version.source = image(one).unwrap_or_default();
            }
            let restarts = version.figures.restarts.into_iter().chain(restarts(one));
            version.figures.restarts = restarts.reduce(u64::saturating_add);
        }
        let ready = u64::from(version.replicas_ready).saturating_mul(PPM);
        version.figures.ready_ppm = ready.checked_div(u64::from(version.replicas_wanted));
    }
}

/// Returns the image that most pods of an object run: a Deployment that is held asks for another one.
fn image(one: &ObjectView) -> Option<String> {
    let sets = one.owned.iter().filter(|owned| owned.image.is_some());
    let largest = sets.max_by_key(|owned| owned.wanted);
    largest.unwrap_or(one).image.clone()
}

/// Returns the rollouts of a release, latest first: the one that goes on, and those that its status remembers.
#[must_use]
pub fn history(release: &Release, now: Timestamp) -> Vec<RolloutHistory> {
    let past = &release.status.history;
    let live = rollout(release, now)
        .filter(|rollout| !past.iter().any(|one| one.rollout == rollout.id.as_str()));
    let live = live.map(|rollout| RolloutHistory {
        id: rollout.id,
        kind: rollout.kind,
        by: rollout.by,
        reason: rollout.reason,
        stable: rollout.stable,
        canary: rollout.canary,
        phase: rollout.phase,
        message: rollout.message,
        started_at: rollout.started_at,
        ended_at: rollout.ended_at,
        entries: Vec::new(),
    });
    let mut all: Vec<RolloutHistory> = live
        .into_iter()
        .chain(past.iter().filter_map(of_past))
        .collect();
    for one in &mut all {
        let decisions = release.status.decisions.iter();
        let own = decisions.filter(|decision| decision.rollout == one.id.as_str());
        one.entries = own.cloned().map(entry).collect();
    }
    all
}

fn entry(decision: Decision) -> EntryView {
    EntryView {
        number: decision.number.into(),
        at: decision.at,
        phase: decision.phase,
        step: decision.step,
        weight_bps: parse_weight(&decision.weight).unwrap_or(Weight::ZERO),
        text: decision.text,
        cause: decision.cause,
        by: decision.by,
        judgement: decision.judged.map(JudgementView::from),
    }
}

/// Returns the objects that have a role: those with one of their own, else what they own.
fn carriers(objects: &[ObjectView]) -> Vec<&ObjectView> {
    let mut found = Vec::new();
    for one in objects {
        let has_roles = one.owned.iter().any(|inner| inner.role.is_some());
        if one.role.is_none() && has_roles {
            found.extend(&one.owned);
        } else {
            found.push(one);
        }
    }
    found
}

/// Returns how often the containers of an object's pods were started again, as far as its pods are told.
fn restarts(object: &ObjectView) -> Option<u64> {
    let own = object.restarts.map(u64::from);
    let inner = object.owned.iter().filter_map(restarts);
    own.into_iter().chain(inner).reduce(u64::saturating_add)
}

fn of_past(past: &Past) -> Option<RolloutHistory> {
    Some(RolloutHistory {
        id: past.rollout.parse().ok()?,
        kind: KIND.to_owned(),
        by: past.by.clone(),
        reason: None,
        stable: version_name(Some(&past.stable)),
        canary: version_name(Some(&past.canary)),
        phase: past.phase.clone(),
        message: past.message.clone(),
        started_at: past.started_at,
        ended_at: Some(past.ended_at),
        entries: Vec::new(),
    })
}

fn version(name: Option<&str>) -> VersionView {
    VersionView {
        version: version_name(name),
        source: String::new(),
        replicas_wanted: 0,
        replicas_ready: 0,
        replicas_existing: 0,
        figures: FiguresView::default(),
    }
}

/// Returns a version's name; what no name may have becomes a dash.
fn version_name(text: Option<&str>) -> VersionName {
    let text = text.unwrap_or(UNKNOWN);
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let safe: String = text
        .chars()
        .map(|c| if is_fine(c) { c } else { '-' })
        .take(VERSION_CHARS_MAX)
        .collect();
    let safe = safe.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    safe.parse().unwrap_or_else(|_| unknown())
}

#[expect(
    clippy::expect_used,
    reason = "the text is a constant, and a test reads it"
)]
fn unknown() -> VersionName {
    UNKNOWN.parse().expect("a name")
}

fn rollout(release: &Release, now: Timestamp) -> Option<RolloutView> {
    let told = told(release, now)?;
    let Some(live) = glance(&release.status, now) else {
        return Some(told);
    };
    let outlook = rollout::outlook(&live.plan, &live.state);
    Some(RolloutView {
        kind: live.kind.to_owned(),
        by: live.actor.name,
        reason: live.actor.reason,
        stable: live.state.stable.clone(),
        canary: live.state.canary.clone(),
        steps: steps(&live.plan, &release.status, told.step),
        weight_bps: live.state.weight(),
        waits_for_person: live.state.waits_for_person(),
        next: outlook.text,
        next_at: outlook.at,
        started_at: live.started_at,
        ..told
    })
}

/// Returns a rollout as the public fields of the status tell it.
fn told(release: &Release, now: Timestamp) -> Option<RolloutView> {
    let status = &release.status;
    let id: RolloutId = status.rollout.as_deref()?.parse().ok()?;
    let is_over = OVER.contains(&status.phase.as_str());
    let past = status
        .history
        .iter()
        .find(|past| past.rollout == id.as_str());
    let step = step(status).filter(|_| !is_over);
    let plan = release.spec.to_plan().ok();
    Some(RolloutView {
        kind: KIND.to_owned(),
        by: past.map_or_else(String::new, |past| past.by.clone()),
        reason: None,
        stable: version_name(
            past.map(|past| past.stable.as_str())
                .or(status.stable.as_deref()),
        ),
        canary: version_name(
            past.map(|past| past.canary.as_str())
                .or(status.canary.as_deref()),
        ),
        phase: status.phase.clone(),
        is_over,
        step,
        steps: plan.map_or_else(Vec::new, |plan| steps(&plan, status, step)),
        weight_bps: weight(status),
        observed_bps: None,
        is_applied: condition(status, "Applied").is_none_or(|one| one.status == "True"),
        waits_for_person: status.phase == "Paused",
        message: status.message.clone(),
        next: next(release, is_over),
        next_at: None,
        started_at: past.map_or_else(|| began(status, now), |past| past.started_at),
        ended_at: past.map(|past| past.ended_at),
        judgement: status.judged.clone().map(JudgementView::from),
        recommendation: recommendation(release),
        id,
    })
}

/// Returns the step at work, from 1, of `2/5`.
fn step(status: &Status) -> Option<u32> {
    let text = status.step.as_deref()?;
    let (at, _) = text.split_once('/').unwrap_or((text, ""));
    at.trim().parse().ok().filter(|step| *step > 0)
}

fn weight(status: &Status) -> Weight {
    let text = status.weight.as_deref().unwrap_or_default();
    parse_weight(text).unwrap_or(Weight::ZERO)
}

fn steps(plan: &Plan, status: &Status, step: Option<u32>) -> Vec<StepView> {
    let state = |index: u32| match (status.phase.as_str(), step) {
        ("Promoting" | "Completed", _) => StepState::Done,
        (_, Some(step)) if index.saturating_add(1) < step => StepState::Done,
        (_, Some(step)) if index.saturating_add(1) == step => StepState::Current,
        (_, Some(_) | None) => StepState::Next,
    };
    (0..plan.step_count())
        .map(|index| StepView {
            text: effect::describe(plan, index),
            weight_bps: plan.weight_at(index),
            state: state(index),
        })
        .collect()
}

fn condition<'a>(status: &'a Status, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|one| one.r#type == kind)
}

/// Returns when the work began that goes on, as far as the conditions tell.
fn began(status: &Status, now: Timestamp) -> Timestamp {
    let busy = condition(status, "Reconciling").filter(|one| one.status == "True");
    busy.map_or(now, |one| one.last_transition_time)
}

fn next(release: &Release, is_over: bool) -> String {
    match release.status.phase.as_str() {
        _ if is_over => "nothing; it is over".to_owned(),
        "Paused" => "it waits for a person: `promote` goes on, `abort` ends it".to_owned(),
        "RollingBack" => "all traffic goes back to stable".to_owned(),
        "Promoting" => "the canary becomes stable".to_owned(),
        _ => match step(&release.status) {
            Some(step) => format!("the end of step {step}, unless a guard breaks"),
            None => "the first step, when the canary is ready".to_owned(),
        },
    }
}

fn recommendation(release: &Release) -> String {
    let text = match release.status.phase.as_str() {
        "Paused" => "look at the evidence before you decide",
        "RolledBack" => {
            "fix the version, then change the workload again; `retry` tries the same once more"
        }
        "Failed" => "look at the routing and the canary: traffic could not be verified",
        _ => "nothing to do",
    };
    text.to_owned()
}

/// Returns what a person should know: what could not be read, and conditions that are not well.
fn notices(release: &Release) -> Vec<String> {
    let status = &release.status;
    let mut notices = release.problems.clone();
    let is_behind = release.generation.is_some_and(|generation| {
        status
            .observed_generation
            .is_none_or(|seen| seen < generation)
    });
    if release.spec.suspend {
        notices.push("suspended: Haldane leaves everything as it is".to_owned());
    } else if is_behind {
        notices.push("no controller has looked at its present spec yet".to_owned());
    }
    let bad = |one: &&Condition| match one.r#type.as_str() {
        "Stalled" => one.status == "True",
        "Applied" | "Valid" => one.status == "False",
        _ => false,
    };
    notices.extend(
        status
            .conditions
            .iter()
            .filter(bad)
            .map(|one| format!("{} ({}): {}", one.r#type, one.reason, one.message)),
    );
    let waiting = release.command.as_ref().filter(|note| {
        status
            .command
            .as_ref()
            .is_none_or(|answer| answer.id != note.id)
    });
    notices.extend(waiting.map(|note| format!("the command `{}` is not answered yet", note.name)));
    notices
}

#[cfg(test)]
mod tests;
