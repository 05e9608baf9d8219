//! What commands do to a rollout.

use jiff::Timestamp;

use crate::{
    plan::Plan,
    rollout::{
        advance::{after, enter_again, later, may_rise, pause, roll_back},
        input::{Action, Command, Refusal},
        promotion::{drain, promote},
        state::{
            Actor, Approval, Pause, Paused, Phase, Preparing, Progress, Promotion, Reason, Resume,
            Rollback, Stage, State,
        },
    },
    weight::Weight,
};

/// Carries out a command, or says why not.
pub(super) fn obey(
    plan: &Plan,
    state: &State,
    command: &Command,
    now: Timestamp,
) -> Result<State, Refusal> {
    if let Phase::Completed(ended) | Phase::RolledBack(ended) | Phase::Failed(ended) = &state.phase
    {
        return Err(Refusal::Over(format!(
            "{}: {}",
            state.phase.name(),
            ended.why
        )));
    }
    let actor = &command.actor;
    let phase = match &command.action {
        Action::Abort => end(plan, state, Reason::Aborted(actor.clone()), now),
        Action::Supersede(version) => {
            refuse_when_draining(state)?;
            end(plan, state, Reason::Superseded(version.clone()), now)
        }
        Action::BackToStable => end(plan, state, Reason::BackToStable, now),
        Action::Promote { step } => {
            check_step(state, *step)?;
            go_on(plan, state, now)?
        }
        Action::PromoteFull { step } => {
            check_step(state, *step)?;
            go_to_the_end(plan, state, now)?
        }
        Action::Pause => wait(plan, state, actor, now)?,
        Action::Resume => resume(plan, state, now)?,
        Action::SetWeight(weight) => set_weight(plan, state, *weight, actor, now)?,
        Action::Restart => return restart(state, now),
    };
    let lost = if matches!(phase, Phase::RollingBack(_)) {
        None
    } else {
        state.lost
    };
    Ok(State {
        phase,
        lost,
        ..state.clone()
    })
}

fn end(plan: &Plan, state: &State, why: Reason, now: Timestamp) -> Phase {
    match &state.phase {
        Phase::RollingBack(rollback) => Phase::RollingBack(Rollback {
            why: last_word(&rollback.why, why),
            ..rollback.clone()
        }),
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Progressing(_)
        | Phase::Paused(_)
        | Phase::Promoting(_)
        | Phase::Completed(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => roll_back(plan, why, now),
    }
}

/// Returns why a rollout ends that is ending already: as it was, but an abort also ends the wish for the version that was to take
/// its place ([`cancels_queued`](crate::request::cancels_queued)), and a version that never comes supersedes nothing.
fn last_word(was: &Reason, wanted: Reason) -> Reason {
    if matches!(was, Reason::Superseded(_)) && matches!(wanted, Reason::Aborted(_)) {
        wanted
    } else {
        was.clone()
    }
}

fn refuse_when_draining(state: &State) -> Result<(), Refusal> {
    match &state.phase {
        Phase::Promoting(Promotion {
            stage: Stage::Draining,
            ..
        }) => Err(not_now(
            state,
            "the promotion is nearly done; the next version can begin after it",
        )),
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Progressing(_)
        | Phase::Paused(_)
        | Phase::Promoting(_)
        | Phase::Completed(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => Ok(()),
    }
}

/// Refuses a command that was meant for another step: two people who press the button once each move one step.
fn check_step(state: &State, expected: Option<u32>) -> Result<(), Refusal> {
    match (expected, state.step()) {
        (None, _) => Ok(()),
        (Some(expected), Some(step)) if expected == step => Ok(()),
        (Some(expected), step) => {
            let now = step.map_or_else(
                || state.phase.name().to_owned(),
                |step| format!("step {}", step.saturating_add(1)),
            );
            Err(Refusal::StepMoved {
                expected: expected.saturating_add(1),
                now,
            })
        }
    }
}

fn go_on(plan: &Plan, state: &State, now: Timestamp) -> Result<Phase, Refusal> {
    match &state.phase {
        Phase::Progressing(progress) => Ok(after(plan, progress, Some(Approval::Operator), now)),
        Phase::Paused(paused) => {
            refuse_when_closed(state, paused)?;
            Ok(match paused.from {
                Resume::Step(progress) => {
                    let progress = Progress {
                        weight: paused.weight,
                        ..progress
                    };
                    after(plan, &progress, Some(Approval::Operator), now)
                }
                Resume::Promotion(_) => promote(plan, paused.weight, Approval::Operator, now),
            })
        }
        Phase::Promoting(promotion) => Ok(hurry(plan, promotion, now)),
        Phase::Pending(_) => Err(not_now(state, "it waits for its window")),
        Phase::Preparing(_) => Err(not_now(state, "the canary is not ready yet")),
        Phase::RollingBack(_) => Err(not_now(state, "traffic is leaving the canary")),
        Phase::Completed(_) | Phase::RolledBack(_) | Phase::Failed(_) => Ok(state.phase.clone()),
    }
}

fn go_to_the_end(plan: &Plan, state: &State, now: Timestamp) -> Result<Phase, Refusal> {
    match &state.phase {
        Phase::Progressing(progress) => Ok(promote(plan, progress.weight, Approval::Operator, now)),
        Phase::Paused(paused) => {
            refuse_when_closed(state, paused)?;
            Ok(promote(plan, paused.weight, Approval::Operator, now))
        }
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Promoting(_)
        | Phase::Completed(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => go_on(plan, state, now),
    }
}

/// Ends a bake early; the other stages are on their way already.
fn hurry(plan: &Plan, promotion: &Promotion, now: Timestamp) -> Phase {
    match promotion.stage {
        Stage::Baking => drain(
            plan,
            &Promotion {
                by: Approval::Operator,
                ..*promotion
            },
            now,
        ),
        Stage::Shifting | Stage::Draining => Phase::Promoting(*promotion),
    }
}

fn wait(plan: &Plan, state: &State, actor: &Actor, now: Timestamp) -> Result<Phase, Refusal> {
    let why = Pause::Operator(actor.clone());
    match &state.phase {
        Phase::Preparing(preparing) => Ok(Phase::Preparing(Preparing {
            pause_asked: Some(actor.clone()),
            wait: preparing.wait,
        })),
        Phase::Progressing(progress) => Ok(pause(
            plan,
            Resume::Step(*progress),
            why,
            progress.weight,
            now,
        )),
        Phase::Paused(paused) if matches!(paused.why, Pause::Closed(_) | Pause::Confirming(_)) => {
            Ok(pause(plan, paused.from, why, paused.weight, now))
        }
        Phase::Paused(_) => Ok(state.phase.clone()),
        Phase::Promoting(promotion) => match promotion.stage {
            Stage::Shifting | Stage::Baking => Ok(pause(
                plan,
                Resume::Promotion(*promotion),
                why,
                promotion.weight,
                now,
            )),
            Stage::Draining => Err(not_now(state, "the promotion is nearly done")),
        },
        Phase::Pending(_) => Err(not_now(state, "nothing has begun; abort ends it")),
        Phase::RollingBack(_) => Err(not_now(state, "traffic is leaving the canary")),
        Phase::Completed(_) | Phase::RolledBack(_) | Phase::Failed(_) => Ok(state.phase.clone()),
    }
}

fn resume(plan: &Plan, state: &State, now: Timestamp) -> Result<Phase, Refusal> {
    match &state.phase {
        Phase::Paused(paused) => {
            refuse_when_closed(state, paused)?;
            Ok(match (&paused.why, paused.from) {
                (Pause::Planned | Pause::Question(_), Resume::Step(progress)) => {
                    after(plan, &progress, Some(Approval::Operator), now)
                }
                (Pause::Operator(_), from) => carry_on(plan, paused, from, now),
                (
                    Pause::Planned
                    | Pause::Question(_)
                    | Pause::Override(_)
                    | Pause::Failure(_)
                    | Pause::Closed(_)
                    | Pause::Confirming(_),
                    _,
                ) => enter_again(plan, paused, now),
            })
        }
        Phase::Preparing(preparing) if preparing.pause_asked.is_some() => {
            Ok(Phase::Preparing(Preparing {
                pause_asked: None,
                wait: preparing.wait,
            }))
        }
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Progressing(_)
        | Phase::Promoting(_)
        | Phase::Completed(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => Err(not_now(state, "it is not paused")),
    }
}

/// Goes on after a plain pause: what was waited for counts, the time of the pause does not.
///
/// Such a pause kept the weight; a step or promotion that had not got its weight yet begins anew.
fn carry_on(plan: &Plan, paused: &Paused, from: Resume, now: Timestamp) -> Phase {
    let break_time = now.duration_since(paused.wait.since).unsigned_abs();
    match from {
        Resume::Step(progress) if progress.weight == plan.weight_at(progress.step) => {
            Phase::Progressing(Progress {
                due: later(progress.due, break_time),
                over: later(progress.over, break_time),
                deadline: later(progress.deadline, break_time),
                ..progress
            })
        }
        Resume::Promotion(promotion) if promotion.weight.is_full() => Phase::Promoting(Promotion {
            due: later(promotion.due, break_time),
            deadline: later(promotion.deadline, break_time),
            ..promotion
        }),
        Resume::Step(_) | Resume::Promotion(_) => enter_again(plan, paused, now),
    }
}

fn set_weight(
    plan: &Plan,
    state: &State,
    weight: Weight,
    actor: &Actor,
    now: Timestamp,
) -> Result<Phase, Refusal> {
    if weight > state.weight()
        && let Err(why) = may_rise(plan, state, weight)
    {
        return Err(Refusal::NotNow {
            phase: state.phase.name().to_owned(),
            why,
        });
    }
    let why = Pause::Override(actor.clone());
    match &state.phase {
        Phase::Progressing(progress) => Ok(pause(plan, Resume::Step(*progress), why, weight, now)),
        Phase::Paused(paused) => Ok(pause(plan, paused.from, why, weight, now)),
        Phase::Promoting(promotion) if promotion.stage != Stage::Draining => {
            Ok(pause(plan, Resume::Promotion(*promotion), why, weight, now))
        }
        Phase::Promoting(_) => Err(not_now(
            state,
            "the promotion is nearly done; abort takes the traffic back",
        )),
        Phase::Pending(_) | Phase::Preparing(_) => {
            Err(not_now(state, "the canary is not ready yet"))
        }
        Phase::RollingBack(_) => Err(not_now(state, "traffic is leaving the canary")),
        Phase::Completed(_) | Phase::RolledBack(_) | Phase::Failed(_) => Ok(state.phase.clone()),
    }
}

fn restart(state: &State, now: Timestamp) -> Result<State, Refusal> {
    match &state.phase {
        Phase::Preparing(_) | Phase::Progressing(_) | Phase::Paused(_) | Phase::Promoting(_) => {
            Ok(State {
                restart_since: Some(now),
                ..state.clone()
            })
        }
        Phase::Pending(_)
        | Phase::RollingBack(_)
        | Phase::Completed(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => Err(not_now(state, "the canary does not run")),
    }
}

fn refuse_when_closed(state: &State, paused: &Paused) -> Result<(), Refusal> {
    match &paused.why {
        Pause::Closed(why) => Err(not_now(state, why)),
        Pause::Operator(_)
        | Pause::Override(_)
        | Pause::Planned
        | Pause::Question(_)
        | Pause::Failure(_)
        | Pause::Confirming(_) => Ok(()),
    }
}

fn not_now(state: &State, why: &str) -> Refusal {
    Refusal::NotNow {
        phase: state.phase.name().to_owned(),
        why: why.to_owned(),
    }
}
