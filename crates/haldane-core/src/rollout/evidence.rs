//! What is known at the end of a wait: which judgements speak for it, and what they say together.
//!
//! **Invariant:** a judgement from before the step, or one that is too old, is no evidence.

use crate::{
    plan::{OnDoubt, Plan, Step},
    rollout::{
        advance::later,
        state::{Paused, Phase, Resume, State},
    },
    verdict::{Judgement, Share, Standing, Subject, Unusual, Verdict},
};

/// What the judges say at the end of a wait.
#[derive(Clone, Copy)]
pub(super) enum Evidence<'a> {
    /// Going on is right; a warning asks for a person where the plan is hybrid.
    Positive {
        warning: Option<&'a str>,
        /// Whether waiting longer gains nothing.
        is_shown: bool,
    },
    /// It can't be told.
    Doubt { policy: OnDoubt, why: &'a str },
}

pub(super) const fn is_positive(evidence: Option<Evidence<'_>>) -> bool {
    matches!(evidence, None | Some(Evidence::Positive { .. }))
}

/// Returns what is known at the end of a wait; `None` where the plan asks for no verdict.
pub(super) fn evidence<'a>(plan: &Plan, state: &'a State) -> Option<Evidence<'a>> {
    let (own, background) = subjects(plan, state);
    let mut found = None;
    for subject in own.into_iter().chain(background) {
        match weigh(plan, state, subject) {
            Evidence::Positive { warning, is_shown } => {
                let (known, is_other_shown) = match found {
                    Some(Evidence::Positive { warning, is_shown }) => (warning, is_shown),
                    Some(Evidence::Doubt { .. }) | None => (None, true),
                };
                found = Some(Evidence::Positive {
                    warning: known.or(warning),
                    is_shown: is_shown && is_other_shown,
                });
            }
            doubt @ Evidence::Doubt { .. } => return Some(doubt),
        }
    }
    found
}

fn weigh<'a>(plan: &Plan, state: &'a State, subject: Subject) -> Evidence<'a> {
    let rules = plan.rules();
    let no_data = |why| Evidence::Doubt {
        policy: rules.on_no_data,
        why,
    };
    let Some(judgement) = judgement(state, subject) else {
        return no_data("there is no judgement yet");
    };
    if later(judgement.at, rules.sampling.stale_after) < state.seen {
        return no_data("the last judgement is too old");
    }
    let why = judgement.reason.as_str();
    match (judgement.verdict, judgement.share) {
        (Verdict::Pass, Share::Fits) => Evidence::Positive {
            warning: judgement
                .broken
                .map(|_| why)
                .or_else(|| judgement.unusual.as_ref().map(Unusual::reason)),
            is_shown: judgement.standing == Standing::Shown,
        },
        (Verdict::Pass, Share::Mismatch) => Evidence::Doubt {
            policy: rules.on_inconclusive,
            why: "traffic did not go where the weight sent it",
        },
        (Verdict::Fail | Verdict::Inconclusive, _) => Evidence::Doubt {
            policy: rules.on_inconclusive,
            why,
        },
        (Verdict::NoData, _) => no_data(why),
    }
}

/// Whether what is known is so good that waiting longer gains nothing.
pub(super) const fn is_shown(evidence: Option<Evidence<'_>>) -> bool {
    matches!(
        evidence,
        None | Some(Evidence::Positive { is_shown: true, .. })
    )
}

/// Returns a judgement by which the canary, with all traffic, is to be compared with stable again.
pub(super) fn suspected<'a>(plan: &Plan, state: &'a State) -> Option<&'a Judgement> {
    let (_, background) = subjects(plan, state);
    background
        .and_then(|subject| judgement(state, subject))
        .filter(|judgement| judgement.standing == Standing::Suspect)
        .filter(|_| state.weight().is_full())
}

/// Returns a judgement by which the canary is bad now.
pub(super) fn judged_bad<'a>(plan: &Plan, state: &'a State) -> Option<&'a Judgement> {
    let (own, background) = subjects(plan, state);
    own.into_iter()
        .chain(background)
        .filter_map(|subject| judgement(state, subject))
        .find(|judgement| judgement.verdict == Verdict::Fail)
}

/// Whether every judge has said something about what is going on now; one that was just started has not.
pub(super) fn is_heard(plan: &Plan, state: &State) -> bool {
    let (own, background) = subjects(plan, state);
    own.into_iter()
        .chain(background)
        .all(|subject| judgement(state, subject).is_some())
}

/// Returns the last judgement on a subject that speaks for what is going on now.
fn judgement(state: &State, subject: Subject) -> Option<&Judgement> {
    let entered = match &state.phase {
        Phase::Progressing(progress)
        | Phase::Paused(Paused {
            from: Resume::Step(progress),
            ..
        }) => progress.entered,
        Phase::Promoting(promotion)
        | Phase::Paused(Paused {
            from: Resume::Promotion(promotion),
            ..
        }) => promotion.entered,
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Completed(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => return None,
    };
    let known = match subject {
        Subject::Background => &state.facts.background,
        Subject::Step(_) => &state.facts.step,
    };
    known
        .as_ref()
        .filter(|judgement| judgement.subject == subject && judgement.since >= entered)
}

/// Returns what is being judged now: the step itself, and the plan's guards.
fn subjects(plan: &Plan, state: &State) -> (Option<Subject>, Option<Subject>) {
    match state.step() {
        Some(step) => (
            matches!(
                plan.step(step),
                Some(Step::Analysis(_) | Step::Experiment(_))
            )
            .then_some(Subject::Step(step)),
            plan.is_judged_at(step).then_some(Subject::Background),
        ),
        None => (
            None,
            plan.rules().is_judged().then_some(Subject::Background),
        ),
    }
}
