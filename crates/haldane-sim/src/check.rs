//! The checker: what must hold in the virtual world, whatever happens in it.
//!
//! It looks at the world and at the durable decision, never at how the host came to do what it did.

use haldane_core::{
    plan::Plan,
    rollout::{
        CanaryWish, Input, Phase, State, Traffic, Transition, Violation, WorkloadWish, effect,
        effects, is_lawful,
    },
};
use jiff::Timestamp;

use crate::world::World;

/// Checks one call of the machine.
pub(crate) fn call(
    plan: &Plan,
    before: &State,
    input: &Input,
    transition: &Transition,
) -> Result<(), Violation> {
    is_lawful(plan, before, input, &transition.state)?;
    ensure(
        transition.effects == effects(plan, &transition.state),
        "effects follow from the state",
        || format!("{:?}", transition.effects),
    )?;
    ensure(
        transition.refusal.is_none() || before.is_same_decision(&transition.state),
        "a refused command changes nothing",
        || format!("{:?}", transition.refusal),
    )
}

/// P1: no order sends more to the canary than the last durable decision, or than what flows already.
pub(crate) fn order(
    plan: &Plan,
    durable: &State,
    world: &World,
    traffic: &Traffic,
) -> Result<(), Violation> {
    let decided = effect::traffic(plan, durable).weight;
    let flowing = world.router.applied().weight;
    ensure(
        traffic.weight <= decided || traffic.weight <= flowing,
        "P1: traffic never exceeds the last durable decision",
        || format!("{} over {decided}", traffic.weight),
    )
}

/// P2: nothing is scaled down while traffic still goes there.
pub(crate) fn size(
    wish: WorkloadWish,
    world: &World,
    drained_by: Option<Timestamp>,
) -> Result<(), Violation> {
    let router = &world.router;
    let is_late = drained_by.is_some_and(|by| by <= world.clock());
    let existing = world.canary.existing();
    match wish.canary {
        CanaryWish::Stopped => {
            ensure(
                existing == 0 || router.applied().is_stable_only(),
                "P2: a canary with traffic is not stopped",
                || format!("{:?}", router.applied()),
            )?;
            ensure(
                existing == 0 || is_late || router.canary_in_flight(world.now) == 0,
                "P2: a canary with requests in flight is not stopped before its deadline",
                || format!("{} replicas", existing),
            )?;
        }
        CanaryWish::Kept => {}
        CanaryWish::Running(size) => {
            let is_less = size.replicas(world.stable()) < existing;
            ensure(
                !is_less || router.applied().weight <= size.weight,
                "P2: a canary is not made smaller than its traffic",
                || format!("{} at {}", size.weight, router.applied().weight),
            )?;
        }
    }
    let lets_go = !wish.has_stable && world.stable() > 0;
    ensure(
        !lets_go
            || (router.applied().weight.is_full()
                && (is_late || router.stable_in_flight(world.now) == 0)),
        "P2: stable is not let go while it has traffic",
        || format!("{:?}", router.applied()),
    )
}

/// What must hold after a whole turn of a host whose effects all arrived.
pub(crate) fn turn(plan: &Plan, state: &State, world: &World) -> Result<(), Violation> {
    let target = world.router.target();
    let is_leaving = matches!(
        state.phase,
        Phase::RollingBack(_) | Phase::RolledBack(_) | Phase::Failed(_)
    );
    ensure(
        !is_leaving || target.is_stable_only(),
        "P4: a rollout that ends badly takes all traffic away at once",
        || format!("{target:?}"),
    )?;
    let has_none_ready = state
        .facts
        .workloads
        .as_ref()
        .is_some_and(|seen| seen.canary.ready == 0);
    ensure(
        !has_none_ready || target.weight.is_zero() || matches!(state.phase, Phase::Completed(_)),
        "P2: no weight for a canary without ready replicas",
        || format!("{target:?}"),
    )?;
    ensure(
        target.weight <= effect::traffic(plan, state).weight,
        "P1: the router is told at most what was decided",
        || format!("{target:?}"),
    )
}

/// What must hold in the world some time after a rollout has ended.
pub(crate) fn end(plan: &Plan, state: &State, world: &World) -> Result<(), Violation> {
    let applied = world.router.applied();
    let is_right = match &state.phase {
        // A router that died after the end may have lost what it did; what it was told last counts.
        Phase::Completed(_) => world.router.target().weight.is_full() && world.stable() == 0,
        Phase::RolledBack(_) => applied.is_stable_only() && world.canary.existing() == 0,
        Phase::Failed(_) => true,
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Progressing(_)
        | Phase::Paused(_)
        | Phase::Promoting(_)
        | Phase::RollingBack(_) => false,
    };
    ensure(
        is_right,
        "every rollout ends, and the world is as it ended",
        || {
            format!(
                "{} with {applied:?}, {} canary replicas, {} stable, of {} steps",
                state.phase.name(),
                world.canary.existing(),
                world.stable(),
                plan.step_count()
            )
        },
    )
}

pub(crate) fn ensure(
    holds: bool,
    rule: &'static str,
    detail: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds {
        return Ok(());
    }
    Err(Violation {
        rule,
        detail: detail(),
    })
}
