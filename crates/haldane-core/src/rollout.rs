//! The state machine of one rollout.
//!
//! A host gathers inputs, calls [`step`], makes the new state durable, brings the effects about, and calls again at
//! [`next_deadline`] or when something changes. Each call moves the rollout by at most one phase or step, so a host that was told
//! something calls again with [`Input::Tick`] until the decision stays the same. A host that was away and has several things to
//! tell puts all of them into the facts first ([`Facts::with`]), so that none is judged beside something older than itself.
//!
//! **Invariants:** the machine is total (it never fails, panics or loops without bound); a terminal phase never changes; an abort
//! leads away from traffic out of every live phase; weight rises only by the plan, by a resumed plan or by a recorded override;
//! nothing is promoted without a positive verdict where the plan has guards, unless a person does so by name.

mod advance;
mod command;
pub mod effect;
mod evidence;
pub mod input;
pub mod invariant;
pub mod outlook;
mod promotion;
pub mod state;
mod world;

#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use self::{
    effect::{CanarySize, CanaryWish, Effect, Traffic, WorkloadWish, decided, describe, effects},
    input::{
        Action, Calendar, Command, Facts, GateAnswer, GateKey, Input, Refusal, Replicas,
        TrafficSeen, Trouble, TroubleKind, Workloads,
    },
    invariant::{Violation, invariants, is_lawful},
    outlook::{Outlook, message, outlook},
    state::{
        Actor, Approval, Ended, Pause, Paused, Phase, Preparing, Progress, Promotion, Reason,
        Resume, Rollback, Stage, State, Wait,
    },
    world::trouble,
};
use crate::{
    name::{RolloutId, VersionName},
    plan::Plan,
};

/// What one call of [`step`] gives.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The next state; to be made durable before the effects are begun.
    pub state: State,
    /// What the host must bring about: a function of the next state alone.
    pub effects: Vec<Effect>,
    /// Why the command that was the input was not carried out, if it was not.
    pub refusal: Option<Refusal>,
}

/// Returns the state of a rollout that begins.
#[must_use]
pub fn begin(
    id: RolloutId,
    stable: VersionName,
    canary: VersionName,
    plan: &Plan,
    now: Timestamp,
) -> State {
    State {
        id,
        stable,
        canary,
        phase: Phase::Pending(Wait::of(plan.rules().deadlines.window, now)),
        lost: None,
        restart_since: None,
        seen: now,
        facts: Facts::default(),
    }
}

/// Advances one rollout by one input.
///
/// A `now` before the last one counts as the last one: wall clocks go backwards, rollouts do not.
pub fn step(plan: &Plan, state: &State, input: &Input, now: Timestamp) -> Transition {
    let now = now.max(state.seen);
    let heard = State {
        seen: now,
        facts: state.facts.with(input),
        ..state.clone()
    };
    let (state, refusal) = match input {
        Input::Command(command) => match command::obey(plan, &heard, command, now) {
            Ok(next) => (next, None),
            Err(refusal) => (heard, Some(refusal)),
        },
        Input::Tick
        | Input::Workloads(_)
        | Input::Traffic(_)
        | Input::Judged(_)
        | Input::Gate(_)
        | Input::Calendar(_) => (advance::advance(plan, &heard, now), None),
    };
    Transition {
        effects: effects(plan, &state),
        state,
        refusal,
    }
}

/// Returns when the host must call [`step`] again even if nothing happens.
#[must_use]
pub fn next_deadline(state: &State) -> Option<Timestamp> {
    let after = |due: Timestamp, deadline: Timestamp| {
        if due > state.seen {
            due.min(deadline)
        } else {
            deadline
        }
    };
    let own = match &state.phase {
        Phase::Pending(wait) => wait.deadline,
        Phase::Preparing(preparing) => preparing.wait.deadline,
        Phase::Progressing(progress) => {
            after(progress.due, after(progress.over, progress.deadline))
        }
        Phase::Paused(paused) => paused.wait.deadline,
        Phase::Promoting(promotion) => after(promotion.due, promotion.deadline),
        Phase::RollingBack(rollback) => after(rollback.drained_by, rollback.wait.deadline),
        Phase::Completed(_) | Phase::RolledBack(_) | Phase::Failed(_) => return None,
    };
    Some(state.lost.map_or(own, |lost| lost.deadline.min(own)))
}
