//! The host of groups of releases: what is seen of the members goes in, the group's status comes out.
//!
//! A turn reads the members' statuses and decides how far each may go, and whether the round failed. That is all that a group writes:
//! its members read it in their own turns, and do what it says. So nothing is remembered between two turns, and a crash between any two
//! writes leaves a status from which the same follows again.
//!
//! **Invariant:** a group never raises a weight, and never keeps one from falling: it only holds back, and asks to go back.

mod member;
mod round;
mod status;

use haldane_api::release::{
    COMMAND_ANNOTATION, CommandAnswer, CommandNote,
    group::{Spec, Status},
};
use haldane_router::Kind;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::{
    member::Member,
    round::{Next, Rules},
};
use super::{
    json::{annotation, difference, resource_version},
    site::Blocked,
};
use crate::{
    kinds::{RELEASE, RELEASE_GROUP},
    turn::{Event, Host, Key, Seen, Sight, Then, Turn, Urgency, What, Write},
};

/// The host of groups.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupHost;

/// A group as it is read from its object.
struct Group {
    name: String,
    generation: Option<i64>,
    /// What a person wants, or why that can't be read.
    spec: Result<Spec, String>,
    status: Status,
    command: Option<CommandNote>,
}

impl Host for GroupHost {
    fn kind(&self) -> &'static Kind {
        &RELEASE_GROUP
    }

    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&RELEASE]
    }

    fn turn(&self, key: &Key, sight: &dyn Sight, now: Timestamp) -> Turn {
        let target = RELEASE_GROUP.named(&key.namespace, &key.name);
        let Seen::Found(object) = sight.get(&target) else {
            return Turn::default();
        };
        if object.pointer("/metadata/deletionTimestamp").is_some() {
            return Turn::default();
        }
        let group = Group::read(key, &object);
        let mut turn = Turn::default();
        let Some((status, at)) = decide(&group, key, sight, now, &mut turn) else {
            return turn;
        };
        let after = serde_json::to_value(&status).unwrap_or_default();
        let before = object.get("status").cloned().unwrap_or_else(|| json!({}));
        if let Some(patch) = difference(&before, &after) {
            turn.events = events(&group.status, &status);
            turn.writes.push(Write {
                target,
                what: What::MergeStatus {
                    patch: json!({"status": patch}),
                    resource_version: resource_version(&object),
                },
                urgency: urgency(&group.status, &status),
            });
        }
        turn.then = at.map_or(Then::OnChange, Then::At);
        turn
    }

    fn forget(&self, _key: &Key) {}
}

impl Group {
    fn read(key: &Key, object: &Value) -> Self {
        let part = |name: &str| object.get(name).cloned().unwrap_or_default();
        let note = annotation(object, COMMAND_ANNOTATION);
        Self {
            name: key.name.clone(),
            generation: object
                .pointer("/metadata/generation")
                .and_then(Value::as_i64),
            spec: serde_json::from_value(part("spec")).map_err(|error| format!("spec: {error}")),
            status: serde_json::from_value(part("status")).unwrap_or_default(),
            command: note.and_then(|text| CommandNote::parse(text).ok()),
        }
    }

    /// Returns the command that was not answered yet.
    fn new_command(&self) -> Option<&CommandNote> {
        let answered = self.status.command.as_ref().map(|answer| &answer.id);
        self.command
            .as_ref()
            .filter(|note| answered != Some(&note.id))
    }
}

/// Returns what the status is to be, and when to look again; nothing as long as a member is not seen yet.
fn decide(
    group: &Group,
    key: &Key,
    sight: &dyn Sight,
    now: Timestamp,
    turn: &mut Turn,
) -> Option<(Status, Option<Timestamp>)> {
    let rules = group.spec.clone().and_then(Rules::new);
    let rules = match rules {
        Ok(rules) => rules,
        Err(message) => {
            let blocked = Blocked {
                reason: "Invalid",
                message,
            };
            return Some((status::held(group, &blocked, now), None));
        }
    };
    let mut members = Vec::new();
    for release in rules.members() {
        let target = RELEASE.named(&key.namespace, release);
        let seen = sight.get(&target);
        turn.reads.insert(target);
        members.push(Member::read(release, &group.name, seen)?);
    }
    if rules.is_suspended() {
        let blocked = Blocked {
            reason: "Suspended",
            message: "spec.suspend is set; members that wait go on waiting".to_owned(),
        };
        return Some((status::held(group, &blocked, now), None));
    }
    let mut next = rules.next(&group.name, &group.status, &members, now);
    let answer = group.new_command().map(|note| obey(note, &mut next, now));
    let status = status::moved(group, &members, &next, answer, now);
    Some((status, next.at))
}

/// Carries out the one command that a group knows.
fn obey(note: &CommandNote, next: &mut Next, now: Timestamp) -> CommandAnswer {
    let (result, message) = match next.round.as_mut().filter(|_| note.name == "abort") {
        Some(round) => {
            let reason = note.reason.as_ref().map(|why| format!(" ({why})"));
            let said = format!("aborted by {}{}", note.by, reason.unwrap_or_default());
            let failure = round.failure.get_or_insert_with(|| round::shortened(&said));
            ("Done", format!("round {}: {failure}", round.number))
        }
        None if note.name == "abort" => ("Refused", "no round goes on".to_owned()),
        None => (
            "Refused",
            "a group takes `abort` alone; give other commands to its members".to_owned(),
        ),
    };
    CommandAnswer {
        id: note.id.clone(),
        name: note.name.clone(),
        by: note.by.clone(),
        result: result.to_owned(),
        message,
        at: now,
    }
}

/// Returns how urgent the write of a status is: traffic is taken away where a round fails.
fn urgency(before: &Status, after: &Status) -> Urgency {
    let has_failed = |status: &Status| {
        let round = status.round.as_ref();
        round.is_some_and(|round| round.failure.is_some())
    };
    if has_failed(after) && !has_failed(before) {
        Urgency::Traffic
    } else {
        Urgency::Status
    }
}

/// Returns what people are told of what changed.
fn events(before: &Status, after: &Status) -> Vec<Event> {
    let mut events = Vec::new();
    let mut tell = |is_warning: bool, reason: &'static str, message: String| {
        events.push(Event {
            is_warning,
            reason,
            message,
        });
    };
    let (was, is) = (before.round.as_ref(), after.round.as_ref());
    if let Some(round) = is.filter(|round| was.map(|old| old.number) != Some(round.number)) {
        tell(false, "RoundBegins", format!("round {}", round.number));
    }
    let failure = is.and_then(|round| round.failure.as_ref());
    if let Some(failure) = failure.filter(|_| was.is_some_and(|old| old.failure.is_none())) {
        tell(true, "RoundFailed", failure.clone());
    }
    let ended = after
        .history
        .first()
        .filter(|past| before.history.first() != Some(past));
    if let Some(past) = ended {
        let is_good = past.phase == round::COMPLETED;
        let reason = if is_good { "Promoted" } else { "RolledBack" };
        tell(!is_good, reason, past.message.clone());
    }
    events
}
