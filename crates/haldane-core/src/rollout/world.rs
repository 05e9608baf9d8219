//! What is known of the world: whether the canary is there, can carry its weight, and gets it.

use jiff::Timestamp;

use crate::{
    plan::Plan,
    rollout::{
        effect,
        input::{Replicas, Trouble, TroubleKind},
        state::{Phase, Reason, State, Wait},
    },
};

/// How many failures of one replica in a row end a rollout that prepares. A home waits longer before each start, so that what
/// passes by itself, such as a port or a lock of the process before, has had seconds to do so.
const FAILED_STARTS_MAX: u32 = 5;

/// Returns the wait for the canary to come back, if it has no ready replica.
pub(super) fn lost(plan: &Plan, state: &State, now: Timestamp) -> Option<Wait> {
    if !has_canary(&state.phase) {
        return None;
    }
    match &state.facts.workloads {
        Some(seen) if seen.canary.ready == 0 => Some(
            state
                .lost
                .unwrap_or_else(|| Wait::of(plan.rules().deadlines.lost, now)),
        ),
        Some(_) => None,
        None => state.lost,
    }
}

/// Whether the canary is to be ready in this phase.
pub(super) const fn has_canary(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Progressing(_) | Phase::Paused(_) | Phase::Promoting(_)
    )
}

pub(super) fn is_canary_ready(plan: &Plan, state: &State) -> bool {
    let Some(seen) = &state.facts.workloads else {
        return false;
    };
    let needed = match effect::workloads(plan, state).canary {
        effect::CanaryWish::Running(size) => size.replicas(seen.canary_full),
        effect::CanaryWish::Stopped | effect::CanaryWish::Kept => return false,
    };
    seen.canary.ready >= seen.canary.at_most_existing(needed)
}

/// Returns why a canary that was never ready will not become so, if that is certain enough to end its rollout.
pub(super) fn cannot_start(state: &State) -> Option<Reason> {
    let trouble = trouble(state)?;
    match trouble.kind {
        TroubleKind::CannotStart => Some(Reason::CannotStart(trouble.said.clone())),
        TroubleKind::StartsFail(times) if times >= FAILED_STARTS_MAX => {
            Some(Reason::CannotStart(trouble.said.clone()))
        }
        TroubleKind::StartsFail(_) | TroubleKind::NotReady => None,
    }
}

/// Returns why a canary that had been ready is given up: it fails again and again, so that more traffic would only hide it longer.
pub(super) fn keeps_failing(state: &State) -> Option<Reason> {
    let kind = trouble(state)?.kind;
    cannot_start(state).filter(|_| matches!(kind, TroubleKind::StartsFail(_)))
}

/// Returns the reason of a rollout whose canary was not ready by the deadline.
pub(super) fn not_ready(state: &State) -> Reason {
    trouble(state).map_or(Reason::NotReady, |trouble| {
        Reason::Unready(trouble.said.clone())
    })
}

/// Returns why the canary is not ready, as far as is known.
pub fn trouble(state: &State) -> Option<&Trouble> {
    state.facts.workloads.as_ref()?.canary_trouble.as_ref()
}

impl Replicas {
    /// Returns how many of `needed` replicas this version can have: all, unless its number is fixed by someone else.
    fn at_most_existing(self, needed: u32) -> u32 {
        if self.is_fixed {
            needed.min(self.wanted).max(1)
        } else {
            needed.max(1)
        }
    }
}

pub(super) fn is_applied(plan: &Plan, state: &State) -> bool {
    state
        .facts
        .traffic
        .as_ref()
        .is_some_and(|seen| seen.applied == effect::traffic(plan, state))
}
