//! The way from the last step to the end: all traffic moves, the old version stays warm for a while and is let go.

use jiff::Timestamp;

use crate::{
    plan::{OnDoubt, Plan},
    rollout::{
        advance::{fail, later, may_rise, on_failure, pause, roll_back, step_back},
        evidence::{Evidence, evidence, is_heard, judged_bad, suspected},
        state::{Approval, Ended, Pause, Phase, Promotion, Reason, Resume, Stage, State},
        world::{is_applied, is_canary_ready, keeps_failing, not_ready},
    },
    weight::Weight,
};

/// Returns the phase that begins moving all traffic to the canary.
pub(super) fn promote(plan: &Plan, weight: Weight, by: Approval, now: Timestamp) -> Phase {
    let waits = &plan.rules().deadlines;
    Phase::Promoting(Promotion {
        stage: Stage::Shifting,
        weight,
        by,
        entered: now,
        due: now,
        deadline: later(later(now, waits.ready), waits.traffic),
    })
}

/// Returns the phase that lets the old version end its requests.
pub(super) fn drain(plan: &Plan, promotion: &Promotion, now: Timestamp) -> Phase {
    Phase::Promoting(Promotion {
        stage: Stage::Draining,
        entered: now,
        due: now,
        deadline: later(now, plan.rules().deadlines.drain),
        ..*promotion
    })
}

/// Moves the promotion on by at most one stage.
pub(super) fn promoting(
    plan: &Plan,
    state: &State,
    promotion: &Promotion,
    now: Timestamp,
) -> Phase {
    if let Some(bad) = judged_bad(plan, state) {
        let from = Resume::Promotion(*promotion);
        return on_failure(
            plan,
            plan.rules().promote,
            from,
            promotion.weight,
            &bad.reason,
            now,
        );
    }
    if let Some(why) = keeps_failing(state).filter(|_| promotion.stage != Stage::Draining) {
        let from = Resume::Promotion(*promotion);
        return fail(plan, from, promotion.weight, why, now);
    }
    if let Some(judgement) = suspected(plan, state).filter(|_| promotion.stage != Stage::Draining) {
        return step_back(plan, Resume::Promotion(*promotion), &judgement.reason, now);
    }
    let is_late = promotion.deadline <= now;
    if !promotion.weight.is_full() {
        return if let Err(why) = may_rise(plan, state, Weight::FULL) {
            pause(
                plan,
                Resume::Promotion(*promotion),
                Pause::Closed(why),
                promotion.weight,
                now,
            )
        } else if is_canary_ready(plan, state) {
            Phase::Promoting(Promotion {
                weight: Weight::FULL,
                ..*promotion
            })
        } else if is_late {
            roll_back(plan, not_ready(state), now)
        } else {
            state.phase.clone()
        };
    }
    if state.lost.is_some() || !is_applied(plan, state) {
        let why = Reason::TrafficNotApplied(Weight::FULL);
        return if is_late {
            roll_back(plan, why, now)
        } else {
            state.phase.clone()
        };
    }
    match promotion.stage {
        Stage::Shifting if plan.rules().bake.is_zero() => drain(plan, promotion, now),
        Stage::Shifting => bake(plan, promotion, now),
        Stage::Baking => baked(plan, state, promotion, now),
        Stage::Draining => {
            let in_flight = state
                .facts
                .traffic
                .as_ref()
                .map_or(u64::MAX, |seen| seen.stable_in_flight);
            if in_flight == 0 || is_late {
                Phase::Completed(Ended {
                    at: now,
                    why: Reason::Promoted(promotion.by),
                })
            } else {
                state.phase.clone()
            }
        }
    }
}

fn bake(plan: &Plan, promotion: &Promotion, now: Timestamp) -> Phase {
    let due = later(now, plan.rules().bake);
    let deadline = later(due, plan.rules().deadlines.evidence);
    Phase::Promoting(Promotion {
        stage: Stage::Baking,
        entered: now,
        due,
        deadline,
        ..*promotion
    })
}

fn baked(plan: &Plan, state: &State, promotion: &Promotion, now: Timestamp) -> Phase {
    let patience = later(promotion.due, plan.rules().sampling.window);
    if promotion.due > now || (patience > now && !is_heard(plan, state)) {
        return state.phase.clone();
    }
    match evidence(plan, state) {
        None | Some(Evidence::Positive { .. }) => drain(plan, promotion, now),
        Some(Evidence::Doubt { .. }) if promotion.by == Approval::Operator => {
            drain(plan, promotion, now)
        }
        Some(Evidence::Doubt {
            policy: OnDoubt::Advance,
            ..
        }) => drain(plan, promotion, now),
        Some(Evidence::Doubt {
            policy: OnDoubt::Rollback,
            why,
        }) => roll_back(plan, Reason::NoEvidence(why.to_owned()), now),
        Some(Evidence::Doubt {
            policy: OnDoubt::Hold,
            why,
        }) if promotion.deadline <= now => {
            let from = Resume::Promotion(*promotion);
            fail(
                plan,
                from,
                promotion.weight,
                Reason::NoEvidence(why.to_owned()),
                now,
            )
        }
        Some(Evidence::Doubt {
            policy: OnDoubt::Hold,
            ..
        }) => state.phase.clone(),
    }
}
