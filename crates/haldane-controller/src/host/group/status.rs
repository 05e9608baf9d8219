//! The status of a group: what people, tools and its members read.

use haldane_api::release::{
    CommandAnswer, Condition,
    group::{MemberStatus, Status},
};
use jiff::Timestamp;

use super::{
    Blocked, Group,
    member::Member,
    round::{FAILED, Next, ROLLED_BACK},
};

/// How many past rounds are kept.
const HISTORY_MAX: usize = 10;

/// Longest message in a status.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// What a group stands at, for its conditions.
struct Standing {
    phase: String,
    message: String,
    is_moving: bool,
    /// Why it does not get on by itself any more.
    stalled: Option<String>,
    /// Why the spec can't be carried out as it is written, in one word and in one sentence.
    invalid: Option<(&'static str, String)>,
}

/// Returns the status of a group that decides nothing now; its round stays as it is.
pub(super) fn held(group: &Group, blocked: &Blocked, now: Timestamp) -> Status {
    let is_invalid = blocked.reason == "Invalid";
    let standing = Standing {
        phase: known(&group.status.phase),
        message: blocked.message.clone(),
        is_moving: group.status.round.is_some(),
        stalled: is_invalid.then(|| blocked.reason.to_owned()),
        invalid: is_invalid.then(|| (blocked.reason, blocked.message.clone())),
    };
    told(group, &standing, group.status.clone(), now)
}

/// Returns the status of a group that has decided this.
pub(super) fn moved(
    group: &Group,
    members: &[Member],
    next: &Next,
    answer: Option<CommandAnswer>,
    now: Timestamp,
) -> Status {
    let mut history = group.status.history.clone();
    history.splice(0..0, next.past.clone());
    history.truncate(HISTORY_MAX);
    let status = Status {
        round: next.round.clone(),
        members: next.members.clone(),
        command: answer.or_else(|| group.status.command.clone()),
        history,
        ..group.status.clone()
    };
    let absent: Vec<&str> = members
        .iter()
        .filter_map(|member| Some(member.found.as_ref().err()?.as_str()))
        .collect();
    let mut standing = standing(next, &status);
    if !absent.is_empty() {
        let said = absent.join("; ");
        standing.message = format!("{}; {said}", standing.message);
        standing.invalid = Some(("Missing", said));
    }
    told(group, &standing, status, now)
}

fn standing(next: &Next, status: &Status) -> Standing {
    let Some(round) = &next.round else {
        return at_rest(status);
    };
    let (phase, why) = match (&round.failure, &next.stopped) {
        (Some(why), _) => ("RollingBack", Some(why)),
        (None, Some(why)) => ("Stopped", Some(why)),
        (None, None) if next.is_paused => ("Paused", None),
        (None, None) => ("Progressing", None),
    };
    let members = next.members.iter().filter(|one| one.rollout.is_some());
    let members: Vec<String> = members.map(describe).collect();
    let why = why.map(|why| format!("{why}; ")).unwrap_or_default();
    Standing {
        phase: phase.to_owned(),
        message: format!("round {}: {why}{}", round.number, members.join("; ")),
        is_moving: next.stopped.is_none(),
        stalled: next.stopped.as_ref().map(|_| phase.to_owned()),
        invalid: None,
    }
}

fn at_rest(status: &Status) -> Standing {
    let Some(past) = status.history.first() else {
        return Standing {
            phase: known(""),
            message: "no round yet".to_owned(),
            is_moving: false,
            stalled: None,
            invalid: None,
        };
    };
    let is_bad = [ROLLED_BACK, FAILED].contains(&past.phase.as_str());
    Standing {
        phase: past.phase.clone(),
        message: format!("round {}: {}", past.number, past.message),
        is_moving: false,
        stalled: is_bad.then(|| past.phase.clone()),
        invalid: None,
    }
}

fn known(phase: &str) -> String {
    if phase.is_empty() { "Idle" } else { phase }.to_owned()
}

/// Returns where a member stands, in a few words.
fn describe(member: &MemberStatus) -> String {
    let weight = member.weight.as_ref();
    let weight = weight
        .map(|weight| format!(" {weight}"))
        .unwrap_or_default();
    let is_held = ["Pending", "Paused"].contains(&member.phase.as_str());
    let waits = member.waits_for.as_ref().filter(|_| is_held);
    let waits = waits
        .map(|what| format!(", waits for {what}"))
        .unwrap_or_default();
    format!("{} {}{weight}{waits}", member.release, member.phase)
}

fn told(group: &Group, standing: &Standing, status: Status, now: Timestamp) -> Status {
    let message: String = standing.message.chars().take(MESSAGE_CHARS_MAX).collect();
    let reason = standing.stalled.as_ref().unwrap_or(&standing.phase);
    let is_stalled = standing.stalled.is_some();
    let (valid_reason, valid_message) = match &standing.invalid {
        Some((reason, message)) => (*reason, message.as_str()),
        None => ("Valid", ""),
    };
    let all = [
        (
            "Ready",
            !is_stalled && !standing.is_moving,
            reason.as_str(),
            message.as_str(),
        ),
        (
            "Reconciling",
            standing.is_moving && !is_stalled,
            standing.phase.as_str(),
            message.as_str(),
        ),
        ("Stalled", is_stalled, reason.as_str(), message.as_str()),
        (
            "Valid",
            standing.invalid.is_none(),
            valid_reason,
            valid_message,
        ),
    ];
    let old = &group.status.conditions;
    let conditions = all.into_iter().map(|(name, is_true, reason, message)| {
        let status = if is_true { "True" } else { "False" };
        let mut old = old.iter();
        let since = old.find(|one| one.r#type == name && one.status == status);
        Condition {
            r#type: name.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
            last_transition_time: since.map_or(now, |one| one.last_transition_time),
            observed_generation: group.generation,
        }
    });
    Status {
        observed_generation: group.generation,
        phase: standing.phase.clone(),
        conditions: conditions.collect(),
        message,
        ..status
    }
}
