//! A glance at a rollout as the record in a status has it, for those who only look.

use haldane_api::release::Status;
use haldane_core::{
    plan::Plan,
    rollout::{Actor, State, TrafficSeen, effect},
};
use jiff::Timestamp;

use super::{
    judge::measured,
    record::{Kind, Record},
    release::Home,
    routes::Routes,
    site::{Site, View},
};
use crate::{
    meter::Watch,
    release::Release,
    turn::{Key, Sight},
};

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

/// Returns how the versions of the rollout that goes on are measured, as the host has them measured; `None` where none goes on, and
/// where nobody is asked to count requests.
///
/// # Errors
/// Why that can't be told, in one sentence.
pub(crate) fn watch(
    release: &Release,
    sight: &dyn Sight,
    now: Timestamp,
) -> Result<Option<Watch>, String> {
    let Some(text) = &release.status.record else {
        return Ok(None);
    };
    let record = Record::read(text).map_err(|error| error.to_string())?;
    let Some(live) = record.live().filter(|_| release.spec.requests.is_some()) else {
        return Ok(None);
    };
    let judged = release.spec.to_judged_plan().map_err(|problems| {
        let first = problems.first();
        first.map_or_else(String::new, |one| {
            format!("spec.{}: {}", one.path, one.message)
        })
    })?;
    let key = Key {
        namespace: release.namespace.clone(),
        name: release.name.to_string(),
    };
    let site = Site::of(&release.spec).map_err(|blocked| blocked.message)?;
    let routes = Routes::of(&release.spec, &key, site.backends());
    let routes = routes.map_err(|blocked| blocked.message)?;
    let view = View {
        key: &key,
        uid: "",
        home: &Home::Own,
        is_routed: !release.spec.routers.is_empty(),
        is_ending: false,
        sight,
        now,
    };
    let sides = (&site, &routes);
    // Of several pairs the first is looked at.
    let watches = measured(sides, &view, &record, live, &judged);
    Ok(watches.into_iter().next())
}
