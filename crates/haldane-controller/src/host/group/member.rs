//! A member of a group as its Release's status tells it.

use haldane_api::release::{Past, Status};
use haldane_core::{
    Weight,
    plan::Plan,
    rollout::{Phase, State},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    host::record::{Live, Record},
    turn::Seen,
};

/// How long the round waits for the version that takes the place of another one.
const SUCCESSOR: SignedDuration = SignedDuration::from_secs(60);

/// A member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub release: String,
    /// Its Release, or why nothing is known of one.
    pub found: Result<Sighting, Absence>,
}

/// Why nothing is known of a member.
#[derive(Clone, Debug)]
pub(super) enum Absence {
    /// There is no Release that goes with the group, as this sentence tells.
    Gone(String),
    /// It can't be read, as this sentence tells.
    Hidden(String),
}

/// What is seen of a member's Release.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    /// The rollout that goes on.
    pub live: Option<Rollout>,
    pub phase: String,
    pub weight: Option<String>,
    /// Whether a rollout is asked for that did not begin yet.
    is_asked: bool,
    /// Why it does not get on by itself, as far as it says.
    pub trouble: Option<String>,
    history: Vec<Past>,
    commands: Vec<String>,
}

/// A rollout that goes on.
#[derive(Clone, Debug)]
pub(super) struct Rollout {
    pub id: String,
    /// Whether it goes back to the version before.
    pub is_back: bool,
    pub weight: Weight,
    /// Whether it did not begin yet.
    pub is_pending: bool,
    /// The weight that it wants to go on to, if only that it may is missing.
    pub wants: Option<Weight>,
    /// Whether it waits for a person.
    pub is_paused: bool,
}

/// How a member stands in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its rollout goes on, or the one that takes its place is to come until then.
    Under(Option<Timestamp>),
    /// It was promoted.
    Promoted,
    /// It was promoted, and goes back.
    GoingBack,
    /// It was promoted, and is back.
    Back,
    /// It was promoted, and could not be taken back, for this reason.
    Stuck(String),
    /// It was rolled back or failed, in one sentence.
    Failed(String),
    /// It does not take part any more.
    Left,
}

impl Member {
    /// Reads a member; nothing as long as it is not known whether there is one.
    pub(super) fn read(release: &str, group: &str, seen: Seen) -> Option<Self> {
        let found = match seen {
            Seen::Unknown => return None,
            Seen::NoKind(why) | Seen::Unavailable(why) => Err(Absence::Hidden(format!(
                "Release {release} can't be watched: {why}"
            ))),
            Seen::Missing => Err(Absence::Gone(format!("Release {release} does not exist"))),
            Seen::Found(object) => read(release, group, &object),
        };
        Some(Self {
            release: release.to_owned(),
            found,
        })
    }

    /// Returns the rollout that goes on and may belong to a round: none that goes back.
    pub(super) fn forward(&self) -> Option<&Rollout> {
        let live = self.found.as_ref().ok()?.live.as_ref();
        live.filter(|live| !live.is_back)
    }

    /// Returns how it stands in a round that this rollout of it belongs to, where `order` is the id of the round's order to go back.
    pub(super) fn standing(&self, rollout: &str, order: &str, now: Timestamp) -> Standing {
        let seen = match &self.found {
            Ok(seen) => seen,
            Err(Absence::Gone(_)) => return Standing::Left,
            Err(Absence::Hidden(_)) => return Standing::Under(None),
        };
        match &seen.live {
            Some(live) if live.id == rollout => return Standing::Under(None),
            Some(live) if live.is_back => return Standing::GoingBack,
            Some(_) | None => {}
        }
        let Some(past) = seen.history.iter().find(|past| past.rollout == rollout) else {
            return Standing::Left;
        };
        match past.phase.as_str() {
            // Its next version comes in the next round.
            "Completed" if seen.live.is_some() => Standing::Left,
            "Completed" => seen.promoted(rollout, order),
            _ if past.withdrawn => match past.ended_at.checked_add(SUCCESSOR) {
                Ok(until) if now < until => Standing::Under(Some(until)),
                Ok(_) | Err(_) => Standing::Left,
            },
            "Failed" => Standing::Failed(format!("{} failed: {}", self.release, past.message)),
            _ => Standing::Failed(format!(
                "{} was rolled back: {}",
                self.release, past.message
            )),
        }
    }
}

impl Sighting {
    /// Returns how a member stands whose rollout was promoted.
    fn promoted(&self, rollout: &str, order: &str) -> Standing {
        let last = self.history.first();
        let is_last = last.is_some_and(|past| past.rollout == rollout);
        let is_ordered = self.commands.iter().any(|id| id == order);
        match last {
            _ if self.is_asked && is_ordered => Standing::GoingBack,
            _ if is_last && !is_ordered => Standing::Promoted,
            Some(past) if !is_last && past.phase == "Completed" => Standing::Back,
            Some(past) if !is_last => Standing::Stuck(past.message.clone()),
            Some(_) | None => {
                let said = self.trouble.clone();
                Standing::Stuck(
                    said.unwrap_or_else(|| "it has no version to go back to".to_owned()),
                )
            }
        }
    }
}

impl Rollout {
    fn new(live: &Live, plan: &Plan) -> Self {
        let state = &live.state;
        Self {
            id: state.id.to_string(),
            is_back: live.kind.is_back(),
            weight: state.weight(),
            is_pending: matches!(state.phase, Phase::Pending(_)),
            wants: wants(state, plan),
            is_paused: state.paused().is_some() && !state.is_held_back(),
        }
    }
}

impl Standing {
    /// Whether nothing more comes of it in a round that goes forward, or back.
    pub(super) const fn is_over(&self, goes_back: bool) -> bool {
        match self {
            Self::Under(_) | Self::GoingBack => false,
            Self::Promoted => !goes_back,
            Self::Back | Self::Stuck(_) | Self::Failed(_) | Self::Left => true,
        }
    }
}

/// Returns the weight that a rollout wants to go on to, if only that it may is missing.
fn wants(state: &State, plan: &Plan) -> Option<Weight> {
    let held = state.paused().filter(|_| state.is_held_back())?;
    Some(held.wanted(plan))
}

impl Absence {
    /// Returns it in one sentence.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Gone(said) | Self::Hidden(said) => said,
        }
    }
}

fn read(release: &str, group: &str, object: &Value) -> Result<Sighting, Absence> {
    let gone = |what: String| Absence::Gone(format!("Release {release} {what}"));
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Err(gone("is being deleted".to_owned()));
    }
    if object.pointer("/spec/group").and_then(Value::as_str) != Some(group) {
        let expected = format!("does not go with the group; expected spec.group: {group} in it");
        return Err(gone(expected));
    }
    let unreadable =
        |what: &str| Absence::Hidden(format!("Release {release}: {what} can't be read"));
    let status: Option<Status> =
        serde_json::from_value(object.get("status").cloned().unwrap_or_default())
            .map_err(|_| unreadable("its status"))?;
    let status = status.unwrap_or_default();
    let record = match status.record.as_deref() {
        Some(text) => Record::read(text).map_err(|_| unreadable("status.record"))?,
        None => Record::new(),
    };
    let plan: Option<Plan> = status
        .plan
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok());
    let live = match (record.live(), plan) {
        (Some(live), Some(plan)) => Some(Rollout::new(live, &plan)),
        (Some(_), None) => return Err(unreadable("status.plan")),
        (None, _) => None,
    };
    let mut conditions = status.conditions.iter();
    let stalled = conditions.find(|one| one.r#type == "Stalled" && one.status == "True");
    Ok(Sighting {
        live,
        phase: status.phase,
        weight: status.weight,
        is_asked: record.asked.is_some(),
        trouble: stalled.map(|one| one.message.clone()),
        history: status.history,
        commands: record.commands,
    })
}
