//! What must hold of every state, and of every transition.
//!
//! [`invariants`] is checked after each step in tests, in simulation and in debug builds, and on every load in production.
//! [`is_lawful`] compares two states; it is the oracle of the property tests and of the simulator, written apart from the machine.

use crate::{
    plan::{Mode, Plan, Step},
    rollout::{
        effect::{self, CanaryWish},
        input::{Action, Input},
        state::{Approval, Pause, Paused, Phase, Progress, Promotion, Resume, Stage, State, Wait},
    },
    verdict::{Judgement, Share, Subject, Verdict},
};

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What was found.
    pub detail: String,
}

/// Checks one state.
///
/// # Errors
/// The first rule that is broken.
pub fn invariants(plan: &Plan, state: &State) -> Result<(), Violation> {
    match &state.phase {
        Phase::Pending(wait) => check_wait(state, *wait)?,
        Phase::Preparing(preparing) => check_wait(state, preparing.wait)?,
        Phase::Progressing(progress) => check_progress(plan, state, progress)?,
        Phase::Paused(paused) => check_paused(plan, state, paused)?,
        Phase::Promoting(promotion) => check_promotion(plan, state, promotion)?,
        Phase::RollingBack(rollback) => check_wait(state, rollback.wait)?,
        Phase::Completed(ended) | Phase::RolledBack(ended) | Phase::Failed(ended) => {
            ensure(ended.at <= state.seen, "an end lies in the past", || {
                ended.at.to_string()
            })?;
        }
    }
    let is_on_trial = matches!(
        state.phase,
        Phase::Progressing(_) | Phase::Paused(_) | Phase::Promoting(_)
    );
    ensure(
        state.lost.is_none() || is_on_trial,
        "only a canary on trial can be lost",
        || state.phase.name().to_owned(),
    )?;
    let traffic = effect::traffic(plan, state);
    let wish = effect::workloads(plan, state);
    ensure(
        traffic.is_stable_only() || wish.canary != CanaryWish::Stopped,
        "traffic goes only to a canary that is to run",
        || format!("{traffic:?}"),
    )?;
    ensure(
        wish.has_stable || traffic.weight.is_full(),
        "stable is let go only when all traffic is elsewhere",
        || format!("{traffic:?}"),
    )
}

/// Checks that a transition broke no rule; `before` and `after` are the states around `input`.
///
/// # Errors
/// The first rule that is broken.
pub fn is_lawful(
    plan: &Plan,
    before: &State,
    input: &Input,
    after: &State,
) -> Result<(), Violation> {
    invariants(plan, after)?;
    ensure(after.seen >= before.seen, "time never goes back", || {
        format!("{} to {}", before.seen, after.seen)
    })?;
    let names = |state: &State| format!("{} {} {}", state.id, state.stable, state.canary);
    ensure(
        names(before) == names(after),
        "a rollout keeps its name and versions",
        || names(after),
    )?;
    if before.phase.is_terminal() {
        return ensure(
            before.is_same_decision(after),
            "a terminal phase never changes",
            || after.phase.name().to_owned(),
        );
    }
    check_ending(input, before, after)?;
    check_rise(plan, before, input, after)?;
    check_approval(plan, before, input, after)?;
    check_advance(plan, before, input, after)?;
    check_order(before, after)
}

fn check_ending(input: &Input, before: &State, after: &State) -> Result<(), Violation> {
    if let Input::Command(command) = input
        && matches!(command.action, Action::Abort | Action::BackToStable)
    {
        return ensure(
            matches!(after.phase, Phase::RollingBack(_)),
            "an abort leads away from traffic out of every live phase",
            || format!("{} to {}", before.phase.name(), after.phase.name()),
        );
    }
    Ok(())
}

/// P1 and P3: weight rises by the plan, by a promotion or by a recorded override, and only to a canary that is there.
fn check_rise(plan: &Plan, before: &State, input: &Input, after: &State) -> Result<(), Violation> {
    let (was, is) = (
        effect::traffic(plan, before).weight,
        effect::traffic(plan, after).weight,
    );
    if is <= was {
        return Ok(());
    }
    let is_override = matches!(input, Input::Command(command) if matches!(command.action, Action::SetWeight(weight) if weight == is));
    let by_plan = match &after.phase {
        Phase::Progressing(progress) => is == plan.weight_at(progress.step),
        Phase::Promoting(_) => is.is_full(),
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Paused(_)
        | Phase::Completed(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => false,
    };
    // Back from a loss, a step goes on at the weight that was decided before, or at less.
    let came_back = before.lost.is_some() && is <= before.weight();
    ensure(
        by_plan || is_override || came_back,
        "weight rises only by the plan or by an override",
        || format!("{was} to {is}"),
    )?;
    let ready = after.facts.workloads.as_ref().map(|seen| seen.canary.ready);
    ensure(
        is_override || ready != Some(0),
        "no weight for a canary without ready replicas",
        || format!("{was} to {is}"),
    )
}

/// P6: what allows a rollout to go on is a verdict that was positive, a person's command, or a plan that asks for neither.
fn check_approval(
    plan: &Plan,
    before: &State,
    input: &Input,
    after: &State,
) -> Result<(), Violation> {
    let (was, is) = (approval(before), approval(after));
    let is_command = matches!(input, Input::Command(_));
    let is_right = match is {
        _ if was == is => true,
        None => true,
        Some(Approval::Operator) => is_command,
        Some(Approval::Unjudged) => !plan.rules().is_judged(),
        Some(Approval::Verdict) => is_passed(plan, before, after) == Some(true),
    };
    ensure(
        is_right,
        "only a verdict or a person allows what was not allowed",
        || format!("{was:?} to {is:?}"),
    )
}

/// P6: a wait that is judged ends by itself only on a positive verdict, or on doubt where the plan says so; never where a person
/// is to decide, and never on a bad verdict.
fn check_advance(
    plan: &Plan,
    before: &State,
    input: &Input,
    after: &State,
) -> Result<(), Violation> {
    let Phase::Progressing(progress) = &before.phase else {
        return Ok(());
    };
    let has_moved = match &after.phase {
        Phase::Promoting(_) => true,
        Phase::Progressing(next) => next.step != progress.step,
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Paused(_)
        | Phase::Completed(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => false,
    };
    if matches!(input, Input::Command(_)) || !has_moved {
        return Ok(());
    }
    let is_wait = match plan.step(progress.step) {
        Some(Step::Hold(_) | Step::Analysis(_) | Step::Experiment(_)) => true,
        Some(
            Step::SetWeight(_)
            | Step::TestTraffic
            | Step::ScaleCanary(_)
            | Step::HeaderRoute(_)
            | Step::Mirror(_)
            | Step::Gate(_),
        )
        | None => false,
    };
    let is_last = plan.is_last(progress.step);
    let passed = is_passed(plan, before, after);
    let may_doubt = !is_last && plan.rules().advance == Mode::Auto;
    ensure(
        !is_wait || passed != Some(false) || may_doubt,
        "a judged wait ends by itself only on a positive verdict",
        || format!("{progress:?}"),
    )?;
    ensure(
        !(is_wait || is_last) || plan.mode_at(progress.step) != Mode::Manual,
        "a manual wait is ended by a person",
        || format!("{progress:?}"),
    )?;
    let is_bad = judged(plan, progress, after)
        .any(|known| known.is_some_and(|judgement| judgement.verdict == Verdict::Fail));
    ensure(
        !is_bad,
        "a canary that was judged bad does not go on",
        || format!("{progress:?}"),
    )
}

/// Whether everything that is judged at the step of `before` passed by what `after` has heard; `None` where nothing is judged.
fn is_passed(plan: &Plan, before: &State, after: &State) -> Option<bool> {
    let Phase::Progressing(progress) = &before.phase else {
        return None;
    };
    let stale_after = plan.rules().sampling.stale_after;
    judged(plan, progress, after)
        .map(|known| {
            known.is_some_and(|judgement| {
                let age = after.seen.duration_since(judgement.at);
                judgement.verdict == Verdict::Pass
                    && judgement.share == Share::Fits
                    && (age.is_negative() || age.unsigned_abs() <= stale_after)
            })
        })
        .reduce(|one, other| one && other)
}

/// Returns for each subject that is judged at a step what was last heard of it, if that speaks for the step.
fn judged<'a>(
    plan: &Plan,
    progress: &Progress,
    heard: &'a State,
) -> impl Iterator<Item = Option<&'a Judgement>> {
    let is_own = matches!(
        plan.step(progress.step),
        Some(Step::Analysis(_) | Step::Experiment(_))
    );
    let own = is_own.then_some((&heard.facts.step, Subject::Step(progress.step)));
    let background = plan
        .is_judged_at(progress.step)
        .then_some((&heard.facts.background, Subject::Background));
    let entered = progress.entered;
    own.into_iter()
        .chain(background)
        .map(move |(known, subject)| {
            known
                .as_ref()
                .filter(|judgement| judgement.subject == subject && judgement.since >= entered)
        })
}

const fn approval(state: &State) -> Option<Approval> {
    match &state.phase {
        Phase::Progressing(progress)
        | Phase::Paused(Paused {
            from: Resume::Step(progress),
            ..
        }) => progress.approval,
        Phase::Promoting(promotion)
        | Phase::Paused(Paused {
            from: Resume::Promotion(promotion),
            ..
        }) => Some(promotion.by),
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Completed(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => None,
    }
}

/// The phases follow each other as designed.
fn check_order(before: &State, after: &State) -> Result<(), Violation> {
    let is_allowed = match &before.phase {
        Phase::Pending(_) => matches!(
            after.phase,
            Phase::Pending(_) | Phase::Preparing(_) | Phase::RollingBack(_)
        ),
        Phase::Preparing(_) => matches!(
            after.phase,
            Phase::Preparing(_) | Phase::Progressing(_) | Phase::Paused(_) | Phase::RollingBack(_)
        ),
        Phase::Progressing(_) | Phase::Paused(_) => matches!(
            after.phase,
            Phase::Progressing(_) | Phase::Paused(_) | Phase::Promoting(_) | Phase::RollingBack(_)
        ),
        Phase::Promoting(_) => matches!(
            after.phase,
            Phase::Promoting(_) | Phase::Paused(_) | Phase::RollingBack(_) | Phase::Completed(_)
        ),
        Phase::RollingBack(_) => matches!(
            after.phase,
            Phase::RollingBack(_) | Phase::RolledBack(_) | Phase::Failed(_)
        ),
        Phase::Completed(_) | Phase::RolledBack(_) | Phase::Failed(_) => false,
    };
    ensure(is_allowed, "phases follow each other as designed", || {
        format!("{} to {}", before.phase.name(), after.phase.name())
    })?;
    match (before.step(), after.step()) {
        (Some(was), Some(is)) => ensure(
            is == was || is == was.saturating_add(1),
            "steps follow each other",
            || format!("{was} to {is}"),
        ),
        (None | Some(_), None) | (None, Some(_)) => Ok(()),
    }
}

fn check_progress(plan: &Plan, state: &State, progress: &Progress) -> Result<(), Violation> {
    ensure(
        plan.step(progress.step).is_some(),
        "the step exists",
        || progress.step.to_string(),
    )?;
    let wanted = plan.weight_at(progress.step);
    ensure(
        progress.weight <= wanted,
        "a step's weight is at most the plan's",
        || format!("{} over {wanted}", progress.weight),
    )?;
    ensure(
        progress.entered <= state.seen,
        "a step began in the past",
        || progress.entered.to_string(),
    )?;
    ensure(
        progress.entered <= progress.due
            && progress.due <= progress.over
            && progress.over <= progress.deadline,
        "a step's times are in order",
        || format!("{progress:?}"),
    )
}

fn check_paused(plan: &Plan, state: &State, paused: &Paused) -> Result<(), Violation> {
    check_wait(state, paused.wait)?;
    let weight = match &paused.from {
        Resume::Step(progress) => {
            check_progress(plan, state, progress)?;
            progress.weight
        }
        Resume::Promotion(promotion) => {
            check_promotion(plan, state, promotion)?;
            promotion.weight
        }
    };
    let may_differ = match &paused.why {
        // A failure may end an override, and leave its weight or take it away.
        Pause::Override(_) | Pause::Failure(_) => true,
        Pause::Operator(_)
        | Pause::Planned
        | Pause::Question(_)
        | Pause::Closed(_)
        | Pause::Confirming(_) => false,
    };
    ensure(
        may_differ || paused.weight == weight,
        "a pause keeps the weight unless a person set it or the canary failed",
        || format!("{} instead of {weight}", paused.weight),
    )
}

fn check_promotion(plan: &Plan, state: &State, promotion: &Promotion) -> Result<(), Violation> {
    ensure(
        promotion.stage == Stage::Shifting || promotion.weight.is_full(),
        "a promotion goes on only with all traffic",
        || format!("{:?} at {}", promotion.stage, promotion.weight),
    )?;
    ensure(
        !plan.rules().is_judged() || promotion.by != Approval::Unjudged,
        "nothing is promoted unjudged where the plan has a judge",
        || format!("{promotion:?}"),
    )?;
    ensure(
        promotion.entered <= state.seen
            && promotion.entered <= promotion.due
            && promotion.due <= promotion.deadline,
        "a promotion's times are in order",
        || format!("{promotion:?}"),
    )
}

fn check_wait(state: &State, wait: Wait) -> Result<(), Violation> {
    ensure(
        wait.since <= state.seen && wait.since <= wait.deadline,
        "a wait's times are in order",
        || format!("{wait:?}"),
    )
}

fn ensure(
    holds: bool,
    rule: &'static str,
    detail: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation {
            rule,
            detail: detail(),
        })
    }
}
