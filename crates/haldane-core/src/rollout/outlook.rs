//! Where a rollout stands, and what happens next: the answer to "why does it not go on?", always in one sentence.

use jiff::Timestamp;

use crate::{
    plan::{Mode, Plan, Step},
    rollout::{
        effect::describe,
        evidence::{Evidence, evidence},
        input::Calendar,
        state::{Pause, Paused, Phase, Progress, Promotion, Stage, State},
        world::{is_applied, is_canary_ready, trouble},
    },
};

/// The next event of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// What it waits for and what follows, in one sentence without a time.
    pub text: String,
    /// When something follows even if nothing else happens.
    pub at: Option<Timestamp>,
}

/// Returns what happens next.
#[must_use]
pub fn outlook(plan: &Plan, state: &State) -> Outlook {
    match &state.phase {
        Phase::Pending(wait) => {
            Outlook::new("begins when its window opens, or gives up", wait.deadline)
        }
        Phase::Preparing(preparing) => Outlook::new(
            format!(
                "starts step 1 when {} is ready, or rolls back",
                state.canary
            ),
            preparing.wait.deadline,
        ),
        Phase::Progressing(progress) => at_step(plan, state, progress),
        Phase::Paused(paused) => in_pause(paused),
        Phase::Promoting(promotion) => promoting(plan, state, promotion),
        Phase::RollingBack(rollback) => Outlook::new(
            "ends when the last request has left the canary, or by then",
            rollback.drained_by,
        ),
        Phase::Completed(_) => {
            Outlook::never(format!("nothing more; {} serves all traffic", state.canary))
        }
        Phase::RolledBack(_) => Outlook::never(format!(
            "nothing more; {} serves all traffic; `retry` tries {} again",
            state.stable, state.canary
        )),
        Phase::Failed(_) => {
            Outlook::never("nothing more; a person must look at the routing and the canary")
        }
    }
}

/// Returns why a rollout stands where it stands, in one sentence.
#[must_use]
pub fn message(state: &State) -> String {
    if state.lost.is_some() {
        return with_trouble(
            "no replica of the canary is ready; stable serves alone",
            state,
        );
    }
    match &state.phase {
        Phase::Pending(_) => match &state.facts.calendar {
            Some(Calendar::Closed { why }) => format!("waits: {why}"),
            Some(Calendar::Open | Calendar::UpTo { .. }) | None => {
                "waits for its window".to_owned()
            }
        },
        Phase::Preparing(_) => {
            with_trouble(&format!("{} starts, without traffic", state.canary), state)
        }
        Phase::Progressing(progress) => format!("sends {} to {}", progress.weight, state.canary),
        Phase::Paused(paused) => paused.to_string(),
        Phase::Promoting(promotion) => promotion.stage.text().to_owned(),
        Phase::RollingBack(rollback) => rollback.why.to_string(),
        Phase::Completed(ended) | Phase::RolledBack(ended) | Phase::Failed(ended) => {
            ended.why.to_string()
        }
    }
}

/// Adds why the canary is not ready, as far as is known.
fn with_trouble(text: &str, state: &State) -> String {
    match trouble(state) {
        Some(trouble) => format!("{text}: {}", trouble.said),
        None => text.to_owned(),
    }
}

fn at_step(plan: &Plan, state: &State, progress: &Progress) -> Outlook {
    if let Some(lost) = state.lost {
        return Outlook::new(
            "goes on when a replica of the canary is ready again, or rolls back",
            lost.deadline,
        );
    }
    let wanted = plan.weight_at(progress.step);
    if progress.weight < wanted {
        return Outlook::new(
            format!("sends {wanted} when enough replicas of the canary are ready, or rolls back"),
            progress.deadline,
        );
    }
    if !is_applied(plan, state) {
        return Outlook::new(
            format!("goes on when the router shows {wanted}, or rolls back"),
            progress.deadline,
        );
    }
    let then = next_move(plan, progress);
    if progress.due > state.seen {
        return Outlook::new(then, progress.due);
    }
    match (plan.step(progress.step), evidence(plan, state)) {
        (Some(Step::Gate(gate)), _) if !has_opened(state, progress) => Outlook::new(
            format!(
                "waits for gate {}, then {then}; ends without an answer",
                gate.name
            ),
            progress.over,
        ),
        (Some(Step::ScaleCanary(_)), _) if !is_canary_ready(plan, state) => Outlook::new(
            format!("waits for the canary's replicas, then {then}, or rolls back"),
            progress.deadline,
        ),
        (_, Some(Evidence::Doubt { why, .. })) => Outlook::new(
            format!("waits for evidence ({why}), then {then}; gives up without it"),
            progress.deadline,
        ),
        (_, Some(Evidence::Positive { .. }) | None) => Outlook::new(then, progress.due),
    }
}

/// Whether the gate at this step said yes; as the last step it does not stand for the verdict.
fn has_opened(state: &State, progress: &Progress) -> bool {
    let key = state.gate_key(progress);
    let answer = state.facts.gate.as_ref();
    answer.is_some_and(|answer| answer.key == key && answer.is_open)
}

/// Returns what follows the end of this step.
fn next_move(plan: &Plan, progress: &Progress) -> String {
    let is_asked = matches!(plan.mode_at(progress.step), Mode::Manual)
        && (plan.is_last(progress.step) || is_wait(plan.step(progress.step)));
    match (is_asked, plan.is_last(progress.step)) {
        (true, true) => "asks a person to promote".to_owned(),
        (true, false) => "asks a person to go on".to_owned(),
        (false, true) => "promotes if the judge agrees".to_owned(),
        (false, false) => {
            let next = progress.step.saturating_add(1);
            format!(
                "goes on to step {}: {}",
                next.saturating_add(1),
                describe(plan, next)
            )
        }
    }
}

const fn is_wait(step: Option<&Step>) -> bool {
    matches!(
        step,
        Some(Step::Hold(_) | Step::Analysis(_) | Step::Experiment(_))
    )
}

fn in_pause(paused: &Paused) -> Outlook {
    let text = match &paused.why {
        Pause::Operator(_) | Pause::Override(_) => {
            "goes on when a person resumes it; rolls back without a decision"
        }
        Pause::Planned | Pause::Question(_) => {
            "waits for `promote` or `abort`; rolls back without a decision"
        }
        Pause::Failure(_) => {
            "waits for a person: `abort`, or `resume` to try the step again; rolls back without a decision"
        }
        Pause::Confirming(_) => {
            "sends all traffic to the canary again unless the comparison shows harm"
        }
        Pause::Closed(_) => "goes on by itself when its window opens, or gives up",
    };
    Outlook::new(text, paused.wait.deadline)
}

fn promoting(plan: &Plan, state: &State, promotion: &Promotion) -> Outlook {
    if let Some(lost) = state.lost {
        return Outlook::new(
            "goes on when a replica of the canary is ready again, or rolls back",
            lost.deadline,
        );
    }
    match promotion.stage {
        Stage::Shifting => Outlook::new(
            "waits for all traffic to be on the canary, or rolls back",
            promotion.deadline,
        ),
        Stage::Draining => Outlook::new(
            "ends when the old version has ended its requests, or by then",
            promotion.deadline,
        ),
        Stage::Baking if promotion.due > state.seen => {
            Outlook::new("bakes, then lets the old version go", promotion.due)
        }
        Stage::Baking => match evidence(plan, state) {
            Some(Evidence::Doubt { why, .. }) => Outlook::new(
                format!("waits for evidence ({why}), then lets the old version go"),
                promotion.deadline,
            ),
            Some(Evidence::Positive { .. }) | None => {
                Outlook::new("lets the old version go", promotion.due)
            }
        },
    }
}

impl Outlook {
    fn new(text: impl Into<String>, at: Timestamp) -> Self {
        Self {
            text: text.into(),
            at: Some(at),
        }
    }

    fn never(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            at: None,
        }
    }
}
