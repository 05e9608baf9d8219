//! A glance at a rollout as the record in a status has it, for those who only look.

use haldane_api::release::Status;
use haldane_core::{
    plan::Plan,
    rollout::{Actor, State, TrafficSeen, effect},
};
use jiff::Timestamp;

use super::record::{Kind, Record};

/// A rollout that goes on.
#[derive(Clone, Debug)]
pub(crate) struct Glance {
    /// Where it stands, with what the status tells of the world.
    pub state: State,
    /// Its plan.
    pub plan: Plan,
    /// How it began.
    pub kind: &'static str,
    /// Who began it.
    pub actor: Actor,
    /// When it began.
    pub started_at: Timestamp,
}

/// Returns the rollout that goes on, if one does and this release can read it.
pub(crate) fn glance(status: &Status, now: Timestamp) -> Option<Glance> {
    let live = Record::read(status.record.as_deref()?).ok()?.live?;
    let plan: Plan = serde_json::from_str(status.plan.as_deref()?).ok()?;
    let mut state = live.state;
    state.seen = now.max(state.seen);
    let mut conditions = status.conditions.iter();
    let applied = conditions.find(|one| one.r#type == "Applied");
    if applied.is_some_and(|one| one.status == "True") {
        state.facts.traffic = Some(TrafficSeen {
            applied: effect::traffic(&plan, &state),
            stable_in_flight: 0,
            canary_in_flight: 0,
        });
    }
    Some(Glance {
        state,
        plan,
        kind: match live.kind {
            Kind::Deploy => "apply",
            Kind::Retry => "retry",
            Kind::Undo | Kind::Recall => "undo",
        },
        actor: live.actor,
        started_at: live.started_at,
    })
}
