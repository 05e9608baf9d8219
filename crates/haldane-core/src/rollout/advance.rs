//! How a rollout moves by itself: by time, by what is seen, and by verdicts.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    plan::{Ask, Gate, Hold, Mode, OnDoubt, OnFailure, Plan, Step},
    rollout::{
        evidence::{Evidence, evidence, is_heard, is_positive, is_shown, judged_bad, suspected},
        input::Calendar,
        promotion::{promote, promoting},
        state::{
            Approval, Ended, Pause, Paused, Phase, Progress, Promotion, Reason, Resume, Rollback,
            Stage, State, Wait,
        },
        world::{
            cannot_start, has_canary, is_applied, is_canary_ready, keeps_failing, lost, not_ready,
        },
    },
    weight::Weight,
};

/// Moves the rollout by at most one phase or step.
pub(super) fn advance(plan: &Plan, state: &State, now: Timestamp) -> State {
    if state.phase.is_terminal() {
        return state.clone();
    }
    let state = State {
        lost: lost(plan, state, now),
        ..state.clone()
    };
    let phase = if state.lost.is_some_and(|lost| lost.deadline <= now) {
        roll_back(plan, Reason::Lost, now)
    } else {
        next_phase(plan, &state, now)
    };
    let lost = state.lost.filter(|_| has_canary(&phase));
    State {
        phase,
        lost,
        ..state
    }
}

/// Returns the phase of a rollout that takes the canary's traffic away and ends.
pub(super) fn roll_back(plan: &Plan, why: Reason, now: Timestamp) -> Phase {
    let waits = &plan.rules().deadlines;
    let drained_by = later(now, waits.drain);
    Phase::RollingBack(Rollback {
        why,
        drained_by,
        wait: Wait {
            since: now,
            deadline: later(drained_by, waits.traffic),
        },
    })
}

/// Returns the phase after the step of this index is over.
pub(super) fn after(
    plan: &Plan,
    progress: &Progress,
    approval: Option<Approval>,
    now: Timestamp,
) -> Phase {
    let progress = Progress {
        approval,
        ..*progress
    };
    if plan.is_last(progress.step) {
        promote(
            plan,
            progress.weight,
            approval.unwrap_or(Approval::Unjudged),
            now,
        )
    } else {
        enter(plan, progress.step.saturating_add(1), &progress, now)
    }
}

/// Returns the phase that begins the step of this index, at the weight that is in force.
///
/// A lower weight applies at once; a higher one only when the canary can carry it.
pub(super) fn enter(plan: &Plan, step: u32, before: &Progress, now: Timestamp) -> Phase {
    let waits = &plan.rules().deadlines;
    let shift = waits.ready.saturating_add(waits.traffic);
    let none = Duration::ZERO;
    let window = plan.rules().sampling.window;
    // Where evidence decides, the judge gets one window to say something before there is doubt.
    let evidence = (window, waits.evidence.saturating_sub(window));
    // Any step may be the last one, and so have to wait for evidence.
    let at_end = if plan.is_last(step) {
        evidence
    } else {
        (none, none)
    };
    let (wait, (patience, extra)) = match plan.step(step) {
        Some(Step::Hold(Hold::For(time))) => (*time, evidence),
        Some(Step::Hold(Hold::UntilEvidence { min, max })) => {
            (*min, (max.saturating_sub(*min), waits.evidence))
        }
        Some(Step::Analysis(analysis)) => (analysis.duration, evidence),
        Some(Step::Experiment(experiment)) => (experiment.analysis.duration, evidence),
        Some(Step::Gate(gate)) => (none, (gate.timeout, at_end.1)),
        Some(
            Step::SetWeight(_)
            | Step::TestTraffic
            | Step::ScaleCanary(_)
            | Step::HeaderRoute(_)
            | Step::Mirror(_)
            | Step::Hold(Hold::UntilResumed),
        )
        | None => (none, (at_end.0, shift.saturating_add(at_end.1))),
    };
    let due = later(now, wait);
    let over = later(due, patience);
    Phase::Progressing(Progress {
        step,
        weight: before.weight.min(plan.weight_at(step)),
        approval: before.approval,
        entered: now,
        due,
        over,
        deadline: later(over, extra),
    })
}

/// Returns the phase that a pause leads back to, with a fresh look at the evidence.
pub(super) fn enter_again(plan: &Plan, paused: &Paused, now: Timestamp) -> Phase {
    match paused.from {
        Resume::Step(progress) => enter(
            plan,
            progress.step,
            &Progress {
                weight: paused.weight,
                ..progress
            },
            now,
        ),
        Resume::Promotion(promotion) => promote(plan, paused.weight, promotion.by, now),
    }
}

/// Whether weight may rise to this one now, or the rollout begin where that is zero; otherwise why not.
pub(super) fn may_rise(plan: &Plan, state: &State, to: Weight) -> Result<(), String> {
    let rules = plan.rules();
    match &state.facts.calendar {
        Some(Calendar::Open) => Ok(()),
        Some(Calendar::UpTo { weight, .. }) if to <= *weight => Ok(()),
        Some(Calendar::UpTo { why, .. } | Calendar::Closed { why }) => Err(why.clone()),
        None if rules.windows.is_empty() && rules.freezes.is_empty() => Ok(()),
        None => Err("waiting for the calendar".to_owned()),
    }
}

/// Returns `now` plus a time, at most the end of time.
pub(super) fn later(now: Timestamp, time: Duration) -> Timestamp {
    now.checked_add(time).unwrap_or(Timestamp::MAX)
}

impl Paused {
    /// Returns the weight that it goes on to.
    #[must_use]
    pub fn wanted(&self, plan: &Plan) -> Weight {
        match self.from {
            Resume::Step(progress) => plan.weight_at(progress.step),
            Resume::Promotion(_) => Weight::FULL,
        }
    }
}

impl Wait {
    /// Returns a wait of this length that begins now.
    #[must_use]
    pub fn of(time: Duration, now: Timestamp) -> Self {
        Self {
            since: now,
            deadline: later(now, time),
        }
    }
}

fn next_phase(plan: &Plan, state: &State, now: Timestamp) -> Phase {
    match &state.phase {
        Phase::Pending(wait) => match may_rise(plan, state, Weight::ZERO) {
            Ok(()) => Phase::Preparing(super::Preparing {
                wait: Wait::of(plan.rules().deadlines.ready, now),
                pause_asked: None,
            }),
            Err(_) if wait.deadline <= now => roll_back(plan, Reason::NoWindow, now),
            Err(_) => state.phase.clone(),
        },
        Phase::Preparing(preparing) => prepare(plan, state, preparing, now),
        Phase::Progressing(progress) => progressing(plan, state, progress, now),
        Phase::Paused(paused) => wait_paused(plan, state, paused, now),
        Phase::Promoting(promotion) => promoting(plan, state, promotion, now),
        Phase::RollingBack(rollback) => rolling_back(plan, state, rollback, now),
        Phase::Completed(_) | Phase::RolledBack(_) | Phase::Failed(_) => state.phase.clone(),
    }
}

fn prepare(plan: &Plan, state: &State, preparing: &super::Preparing, now: Timestamp) -> Phase {
    if is_canary_ready(plan, state) && is_applied(plan, state) {
        let before = Progress {
            step: 0,
            weight: Weight::ZERO,
            approval: None,
            entered: now,
            due: now,
            over: now,
            deadline: now,
        };
        let first = enter(plan, 0, &before, now);
        return match (&preparing.pause_asked, &first) {
            (Some(actor), Phase::Progressing(progress)) => pause(
                plan,
                Resume::Step(*progress),
                Pause::Operator(actor.clone()),
                Weight::ZERO,
                now,
            ),
            _ => first,
        };
    }
    let is_ready = is_canary_ready(plan, state);
    if let Some(why) = cannot_start(state).filter(|_| !is_ready) {
        return roll_back(plan, why, now);
    }
    if preparing.wait.deadline > now {
        return state.phase.clone();
    }
    let why = if is_ready {
        Reason::TrafficNotApplied(Weight::ZERO)
    } else {
        not_ready(state)
    };
    roll_back(plan, why, now)
}

fn progressing(plan: &Plan, state: &State, progress: &Progress, now: Timestamp) -> Phase {
    if let Some(bad) = judged_bad(plan, state) {
        return on_failure(
            plan,
            plan.mode_at(progress.step),
            Resume::Step(*progress),
            state.weight(),
            &bad.reason,
            now,
        );
    }
    if let Some(why) = keeps_failing(state) {
        return fail(plan, Resume::Step(*progress), state.weight(), why, now);
    }
    if let Some(judgement) = suspected(plan, state) {
        return step_back(plan, Resume::Step(*progress), &judgement.reason, now);
    }
    if progress.weight < plan.weight_at(progress.step) {
        return rise(plan, state, progress, now);
    }
    let moved = match plan.step(progress.step) {
        _ if state.lost.is_some() || !is_applied(plan, state) => None,
        Some(Step::SetWeight(_) | Step::TestTraffic | Step::HeaderRoute(_) | Step::Mirror(_)) => {
            pass_through(plan, state, progress, now)
        }
        Some(Step::ScaleCanary(_)) if is_canary_ready(plan, state) => {
            pass_through(plan, state, progress, now)
        }
        Some(Step::ScaleCanary(_)) => None,
        Some(Step::Hold(Hold::UntilResumed)) => Some(pause(
            plan,
            Resume::Step(*progress),
            Pause::Planned,
            progress.weight,
            now,
        )),
        Some(Step::Hold(Hold::For(_)) | Step::Analysis(_) | Step::Experiment(_)) => {
            (progress.due <= now && (progress.over <= now || is_heard(plan, state)))
                .then(|| decide(plan, state, progress, now))
                .flatten()
        }
        Some(Step::Hold(Hold::UntilEvidence { .. })) => {
            let patience = later(progress.over, plan.rules().sampling.window);
            let is_over = progress.over <= now && (patience <= now || is_heard(plan, state));
            let has_evidence = is_shown(evidence(plan, state));
            (progress.due <= now && (is_over || has_evidence))
                .then(|| decide(plan, state, progress, now))
                .flatten()
        }
        Some(Step::Gate(gate)) => at_gate(plan, state, progress, gate, now),
        None => Some(roll_back(
            plan,
            Reason::Broken(format!("there is no step {}", progress.step)),
            now,
        )),
    };
    moved.unwrap_or_else(|| {
        if progress.deadline <= now {
            expired(plan, state, progress, now)
        } else {
            state.phase.clone()
        }
    })
}

/// Raises the weight to the step's, when the canary can carry it and the calendar lets it.
fn rise(plan: &Plan, state: &State, progress: &Progress, now: Timestamp) -> Phase {
    let wanted = plan.weight_at(progress.step);
    if let Err(why) = may_rise(plan, state, wanted) {
        return pause(
            plan,
            Resume::Step(*progress),
            Pause::Closed(why),
            progress.weight,
            now,
        );
    }
    if is_canary_ready(plan, state) {
        // The step begins when its weight does: evidence and waits count from here.
        let raised = Progress {
            weight: wanted,
            ..*progress
        };
        return enter(plan, progress.step, &raised, now);
    }
    if progress.deadline <= now {
        roll_back(plan, not_ready(state), now)
    } else {
        state.phase.clone()
    }
}

/// Goes on from a step that is no wait; the last one still needs what a promotion needs.
fn pass_through(plan: &Plan, state: &State, progress: &Progress, now: Timestamp) -> Option<Phase> {
    if !plan.is_last(progress.step) {
        return Some(after(plan, progress, progress.approval, now));
    }
    let is_judged = plan.is_judged_at(progress.step);
    if is_judged && progress.approval.is_none() {
        let is_time = progress.over <= now || is_positive(evidence(plan, state));
        return is_time
            .then(|| decide(plan, state, progress, now))
            .flatten();
    }
    Some(match plan.rules().promote {
        Mode::Auto | Mode::Hybrid => after(plan, progress, progress.approval, now),
        Mode::Manual => ask(plan, progress, "promotion is manual", now),
    })
}

/// Decides at the end of a wait, by the verdict and by who is to decide.
fn decide(plan: &Plan, state: &State, progress: &Progress, now: Timestamp) -> Option<Phase> {
    let mode = plan.mode_at(progress.step);
    let Some(verdict) = evidence(plan, state) else {
        return Some(match mode {
            Mode::Auto | Mode::Hybrid => after(plan, progress, progress.approval, now),
            Mode::Manual => ask(plan, progress, "going on is manual here", now),
        });
    };
    match (mode, verdict) {
        (Mode::Manual, Evidence::Positive { .. }) => {
            Some(ask(plan, progress, "going on is manual here", now))
        }
        (Mode::Auto, Evidence::Positive { .. })
        | (Mode::Hybrid, Evidence::Positive { warning: None, .. }) => {
            Some(after(plan, progress, Some(Approval::Verdict), now))
        }
        (
            Mode::Hybrid,
            Evidence::Positive {
                warning: Some(why), ..
            },
        ) => Some(ask(plan, progress, why, now)),
        (Mode::Hybrid, Evidence::Doubt { why, .. })
        | (
            Mode::Manual,
            Evidence::Doubt {
                policy: OnDoubt::Advance,
                why,
            },
        ) => Some(ask(plan, progress, why, now)),
        (Mode::Auto | Mode::Manual, Evidence::Doubt { policy, why }) => match policy {
            // What was known before does not speak for what is in doubt now.
            OnDoubt::Advance if !plan.is_last(progress.step) => {
                Some(after(plan, progress, None, now))
            }
            OnDoubt::Advance | OnDoubt::Hold => None,
            OnDoubt::Rollback => Some(roll_back(plan, Reason::NoEvidence(why.to_owned()), now)),
        },
    }
}

fn at_gate(
    plan: &Plan,
    state: &State,
    progress: &Progress,
    gate: &Gate,
    now: Timestamp,
) -> Option<Phase> {
    if gate.ask == Ask::Approval {
        let question = Pause::Question(format!("gate {} asks for approval", gate.name));
        return Some(Phase::Paused(Paused {
            from: Resume::Step(*progress),
            why: question,
            weight: progress.weight,
            wait: Wait::of(gate.timeout, now),
        }));
    }
    let key = state.gate_key(progress);
    let answer = state.facts.gate.as_ref().filter(|answer| answer.key == key);
    let said = match answer {
        Some(answer) if answer.is_open => return pass_through(plan, state, progress, now),
        Some(answer) => answer.said.clone(),
        None if progress.over <= now => "no answer in time".to_owned(),
        None => return None,
    };
    let why = Reason::Gate { key, said };
    Some(fail(
        plan,
        Resume::Step(*progress),
        progress.weight,
        why,
        now,
    ))
}

/// What to do when a step's deadline has passed.
fn expired(plan: &Plan, state: &State, progress: &Progress, now: Timestamp) -> Phase {
    let weight = progress.weight;
    if state.lost.is_some() {
        return roll_back(plan, Reason::Lost, now);
    }
    if !is_applied(plan, state) {
        return roll_back(plan, Reason::TrafficNotApplied(weight), now);
    }
    match evidence(plan, state) {
        Some(Evidence::Doubt { why, .. }) => {
            let why = Reason::NoEvidence(why.to_owned());
            fail(plan, Resume::Step(*progress), weight, why, now)
        }
        // Only a step that resizes the canary waits with nothing in doubt.
        Some(Evidence::Positive { .. }) | None => roll_back(plan, not_ready(state), now),
    }
}

fn wait_paused(plan: &Plan, state: &State, paused: &Paused, now: Timestamp) -> Phase {
    let mode = match paused.from {
        Resume::Step(progress) => plan.mode_at(progress.step),
        Resume::Promotion(_) => plan.rules().promote,
    };
    let is_answered = matches!(paused.why, Pause::Failure(_));
    if let Some(bad) = judged_bad(plan, state).filter(|_| !is_answered) {
        return on_failure(plan, mode, paused.from, paused.weight, &bad.reason, now);
    }
    if matches!(paused.why, Pause::Closed(_)) && may_rise(plan, state, paused.wanted(plan)).is_ok()
    {
        return enter_again(plan, paused, now);
    }
    if paused.wait.deadline > now {
        return state.phase.clone();
    }
    match paused.why {
        // Nothing bad was found where it would have shown.
        Pause::Confirming(_) => enter_again(plan, paused, now),
        Pause::Closed(_) => roll_back(plan, Reason::NoWindow, now),
        Pause::Operator(_)
        | Pause::Override(_)
        | Pause::Planned
        | Pause::Question(_)
        | Pause::Failure(_) => roll_back(plan, Reason::NoDecision, now),
    }
}

fn rolling_back(plan: &Plan, state: &State, rollback: &Rollback, now: Timestamp) -> Phase {
    let in_flight = state
        .facts
        .traffic
        .as_ref()
        .map_or(u64::MAX, |seen| seen.canary_in_flight);
    if is_applied(plan, state) && (in_flight == 0 || rollback.drained_by <= now) {
        Phase::RolledBack(Ended {
            at: now,
            why: rollback.why.clone(),
        })
    } else if rollback.wait.deadline <= now {
        Phase::Failed(Ended {
            at: now,
            why: Reason::TrafficNotApplied(Weight::ZERO),
        })
    } else {
        state.phase.clone()
    }
}

pub(super) fn on_failure(
    plan: &Plan,
    mode: Mode,
    from: Resume,
    weight: Weight,
    why: &str,
    now: Timestamp,
) -> Phase {
    match mode {
        Mode::Hybrid => pause(
            plan,
            from,
            Pause::Failure(why.to_owned()),
            Weight::ZERO,
            now,
        ),
        Mode::Auto | Mode::Manual => fail(plan, from, weight, Reason::Judged(why.to_owned()), now),
    }
}

/// Does what the plan says to do when the canary is found bad.
pub(super) fn fail(
    plan: &Plan,
    from: Resume,
    weight: Weight,
    why: Reason,
    now: Timestamp,
) -> Phase {
    match plan.rules().on_failure {
        OnFailure::Rollback => roll_back(plan, why, now),
        OnFailure::Hold => pause(plan, from, Pause::Failure(why.to_string()), weight, now),
        OnFailure::PauseAtZero => pause(
            plan,
            from,
            Pause::Failure(why.to_string()),
            Weight::ZERO,
            now,
        ),
    }
}

fn ask(plan: &Plan, progress: &Progress, why: &str, now: Timestamp) -> Phase {
    pause(
        plan,
        Resume::Step(*progress),
        Pause::Question(why.to_owned()),
        progress.weight,
        now,
    )
}

/// Gives stable half of the traffic again, so that the two can be compared at the same time.
pub(super) fn step_back(plan: &Plan, from: Resume, why: &str, now: Timestamp) -> Phase {
    let weight = Weight::from_percent(50);
    let from = match from {
        Resume::Step(progress) => Resume::Step(Progress { weight, ..progress }),
        Resume::Promotion(promotion) => Resume::Promotion(Promotion {
            stage: Stage::Shifting,
            weight,
            ..promotion
        }),
    };
    pause(plan, from, Pause::Confirming(why.to_owned()), weight, now)
}

/// Returns the phase of a pause at this weight.
pub(super) fn pause(
    plan: &Plan,
    from: Resume,
    why: Pause,
    weight: Weight,
    now: Timestamp,
) -> Phase {
    let waits = &plan.rules().deadlines;
    let time = match why {
        Pause::Closed(_) => waits.window,
        Pause::Confirming(_) => waits.confirm,
        Pause::Operator(_)
        | Pause::Override(_)
        | Pause::Planned
        | Pause::Question(_)
        | Pause::Failure(_) => waits.person,
    };
    Phase::Paused(Paused {
        from,
        why,
        weight,
        wait: Wait::of(time, now),
    })
}
