//! What a release's group lets it do, and has it do.
//!
//! All that a release knows of its group is the group's status. It says which rollout of the release belongs to the round that goes
//! on, how far that may go, and whether the round failed. To the core the group is a calendar, and what it asks for a command.
//!
//! **Invariant:** a rollout that the group has not taken into a round yet does not begin; an abort never waits for a group.

use haldane_api::{
    release::{
        CommandNote, Spec,
        group::{MemberStatus, Round, Status},
    },
    text::parse_weight,
};
use haldane_core::{plan::Plan, rollout::Calendar};
use haldane_engine::calendar;

use super::{
    act::{Act, Setting},
    record::{Kind, Live},
    site::{Blocked, Scene, View},
};
use crate::{kinds::RELEASE_GROUP, turn::Seen};

/// The group of a release, as far as it is known.
enum Group {
    /// There is none.
    None,
    /// It can't be seen, for this reason.
    Hidden(String),
    /// It says this.
    Says(Box<Status>),
}

/// Returns whether weight may rise now, by the plan's windows and by the release's group.
pub(super) fn calendar(
    view: &View<'_>,
    spec: &Spec,
    live: &Live,
    plan: &Plan,
) -> Result<Calendar, Blocked> {
    let own = calendar::look(plan.rules(), view.now);
    let Some(name) = spec.group.as_deref().filter(|_| !live.kind.is_back()) else {
        return Ok(own);
    };
    if matches!(own, Calendar::Closed { .. }) {
        return Ok(own);
    }
    let closed = |what: &str| Calendar::Closed {
        why: format!("ReleaseGroup {name}: {what}"),
    };
    Ok(match look(view, name)? {
        Group::None => own,
        Group::Hidden(why) => closed(&why),
        Group::Says(status) => match member(&status, view, live.state.id.as_str()) {
            None => closed("waits to be taken into a round"),
            Some(member) => limited(member, name).unwrap_or(own),
        },
    })
}

/// Returns the order by which a release does what its group asks for, if it has to and has not done it yet.
///
/// Whoever is under way is aborted, and who was promoted in the same round is taken back.
fn order(act: &Act<'_>, name: &str, status: &Status) -> Option<CommandNote> {
    let round = status.round.as_ref()?;
    let failure = round.failure.clone()?;
    let command = match (act.record.live(), act.memory.history.first()) {
        (Some(live), _) => member(status, &act.view, live.state.id.as_str()).map(|_| "abort"),
        (None, Some(past)) if past.phase == "Completed" => {
            member(status, &act.view, &past.rollout).map(|_| "undo")
        }
        (None, Some(_) | None) => None,
    }?;
    let id = order_id(name, round, command);
    (!act.record.commands.contains(&id)).then(|| CommandNote {
        id,
        name: command.to_owned(),
        by: format!("ReleaseGroup {name}"),
        at: None,
        reason: Some(failure),
        step: None,
        full: false,
        weight_bps: None,
        to: None,
        rollout: None,
    })
}

/// Returns the id of what a group asks for in a round; one that is made anew counts its rounds from 1 again.
pub(super) fn order_id(group: &str, round: &Round, command: &str) -> String {
    format!("ReleaseGroup/{group}/{}/{command}", round.started_at)
}

impl Act<'_> {
    /// Does what the group asks for, once.
    pub(super) fn heed_group(&mut self, setting: &Setting<'_>, scene: &Scene) {
        let Some(name) = setting.spec.group.as_deref() else {
            return;
        };
        let Ok(Group::Says(status)) = look(&self.view, name) else {
            return;
        };
        let Some(note) = order(self, name, &status) else {
            return;
        };
        let result = self.carry_out(&note, scene);
        // The version that was taken back is not tried again alone.
        if let Some(asked) = self.record.asked.as_mut().filter(|_| note.name == "undo") {
            asked.kind = Kind::Recall;
        }
        self.answer((note.id, note.name, note.by), result);
    }
}

fn look(view: &View<'_>, name: &str) -> Result<Group, Blocked> {
    let object = match view.sight.get(&view.name(&RELEASE_GROUP, name)) {
        Seen::Found(object) => object,
        Seen::Missing => return Ok(Group::None),
        Seen::NoKind(why) | Seen::Unavailable(why) => {
            return Ok(Group::Hidden(format!("can't be watched: {why}")));
        }
        Seen::Unknown => {
            return Err(Blocked {
                reason: "Watching",
                message: format!("{} are not watched yet", RELEASE_GROUP.plural),
            });
        }
    };
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Ok(Group::None);
    }
    let status = object.get("status").cloned().unwrap_or_default();
    Ok(match serde_json::from_value::<Option<Status>>(status) {
        Ok(status) => Group::Says(Box::new(status.unwrap_or_default())),
        Err(error) => Group::Hidden(format!("its status can't be read: {error}")),
    })
}

/// Returns what the round that goes on says of the release, if this rollout belongs to it.
fn member<'a>(status: &'a Status, view: &View<'_>, rollout: &str) -> Option<&'a MemberStatus> {
    status.round.as_ref()?;
    let mut members = status.members.iter();
    members.find(|one| one.release == view.key.name && one.rollout.as_deref() == Some(rollout))
}

/// Returns how far a member may go, if not as far as it wants.
fn limited(member: &MemberStatus, group: &str) -> Option<Calendar> {
    let waits_for = member.waits_for.as_ref()?;
    let why = format!("ReleaseGroup {group}: waits for {waits_for}");
    let up_to = member.up_to.as_deref().map(parse_weight);
    Some(match up_to {
        Some(Ok(weight)) => Calendar::UpTo { weight, why },
        Some(Err(_)) | None => Calendar::Closed { why },
    })
}
