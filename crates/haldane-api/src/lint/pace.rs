//! How fast a rollout goes, whatever tool it is written for.

use std::time::Duration;

use haldane_core::{
    Weight,
    plan::{Hold, Plan, Step},
};

use super::rules::{
    ALL_AT_ONCE, BIG_FIRST_STEP, FAST_ROLLOUT, JUMP_TO_FULL, Rule, STEP_WITHOUT_HOLD,
    STEPS_DO_NOT_RISE,
};
use crate::text::show_duration;

/// A share above which the first step is no trial any more.
const FIRST_WEIGHT_MAX: Weight = Weight::from_percent(50);

/// A share from which the rest may follow at once.
const LAST_WEIGHT_MIN: Weight = Weight::from_percent(25);

/// How long a smaller share must have been tried, if the rest follows at once.
const LAST_WAIT_MIN: Duration = Duration::from_mins(10);

/// How long a whole trial takes at least.
const TRIAL_MIN: Duration = Duration::from_mins(5);

/// A share of traffic and what happens while the canary has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    /// The share.
    pub weight: Weight,
    /// How long it lasts, at most.
    pub wait: Duration,
    /// Whether a person ends it.
    pub is_manual: bool,
    /// Whether something besides users tries or judges the canary.
    pub is_tested: bool,
    /// The index of the step that begins it.
    pub at: usize,
}

/// What is to be said of a step: its index, the rule, the reason and the fix.
pub(super) type OfStep = (usize, &'static Rule, String, String);

/// Returns the stages of a plan; the first is that before any traffic.
pub(super) fn stages(plan: &Plan) -> Vec<Stage> {
    let mut stages = vec![Stage::begin(Weight::ZERO, 0)];
    for (index, step) in plan.steps().iter().enumerate() {
        if let Step::SetWeight(weight) = step {
            stages.push(Stage::begin(*weight, index));
            continue;
        }
        let Some(stage) = stages.last_mut() else {
            continue;
        };
        match step {
            Step::Hold(Hold::For(time) | Hold::UntilEvidence { max: time, .. }) => {
                stage.wait = stage.wait.saturating_add(*time);
            }
            Step::Hold(Hold::UntilResumed) => stage.is_manual = true,
            Step::Analysis(analysis) => stage.test(analysis.duration),
            Step::Experiment(experiment) => stage.test(experiment.analysis.duration),
            Step::TestTraffic | Step::HeaderRoute(_) | Step::Mirror(_) | Step::Gate(_) => {
                stage.test(Duration::ZERO);
            }
            Step::SetWeight(_) | Step::ScaleCanary(_) => {}
        }
    }
    stages
}

/// Returns what is to be said of the stages.
pub(super) fn lint_pace(stages: &[Stage]) -> Vec<OfStep> {
    let first = first(stages);
    let mut found: Vec<OfStep> = first.into_iter().collect();
    let is_at_once = found.iter().any(|(_, rule, ..)| **rule == ALL_AT_ONCE);
    let pairs = stages.iter().zip(stages.iter().skip(1));
    for (one, next) in pairs {
        if one.is_partial() && !next.weight.is_zero() && next.weight <= one.weight {
            let reason = format!("{} after {}", next.weight, one.weight);
            found.push((
                next.at,
                &STEPS_DO_NOT_RISE,
                reason,
                STEPS_DO_NOT_RISE.fix.to_owned(),
            ));
        }
        if one.is_partial() && next.weight.is_full() && !is_at_once && one.is_jumped_from() {
            let reason = format!(
                "from {} to all of the traffic at once, after {}",
                one.weight,
                show_duration(one.wait)
            );
            found.push((next.at, &JUMP_TO_FULL, reason, JUMP_TO_FULL.fix.to_owned()));
        }
    }
    let idle = stages.iter().filter(|stage| stage.is_idle());
    found.extend(idle.map(|stage| {
        let reason = format!("{} lasts no time, so nothing is seen of it", stage.weight);
        let fix = STEP_WITHOUT_HOLD.fix.to_owned();
        (stage.at, &STEP_WITHOUT_HOLD, reason, fix)
    }));
    found.extend(fast(stages));
    found
}

/// Returns what is to be said of the first share, unless something tried the canary before it.
fn first(stages: &[Stage]) -> Option<OfStep> {
    let index = stages.iter().position(|stage| !stage.weight.is_zero())?;
    if stages.iter().take(index).any(|stage| stage.is_tested) {
        return None;
    }
    let stage = stages.get(index)?;
    if stage.weight.is_full() {
        let reason = "all traffic moves at once, before the canary served a single user";
        let fix = ALL_AT_ONCE.fix.to_owned();
        return Some((stage.at, &ALL_AT_ONCE, reason.to_owned(), fix));
    }
    (stage.weight > FIRST_WEIGHT_MAX).then(|| {
        let reason = format!(
            "the first step sends {} of all users to the canary",
            stage.weight
        );
        let fix = BIG_FIRST_STEP.fix.to_owned();
        (stage.at, &BIG_FIRST_STEP, reason, fix)
    })
}

/// Returns what is to be said of a trial that is over before a person could look.
fn fast(stages: &[Stage]) -> Option<OfStep> {
    let trial = || stages.iter().filter(|stage| stage.is_partial());
    let begin = trial().next()?;
    let time = trial().fold(Duration::ZERO, |sum, stage| sum.saturating_add(stage.wait));
    let is_looked_at = trial().any(|stage| stage.is_manual || stage.is_idle());
    (time < TRIAL_MIN && !is_looked_at).then(|| {
        let reason = format!(
            "the canary has all of the traffic after {}",
            show_duration(time)
        );
        (begin.at, &FAST_ROLLOUT, reason, FAST_ROLLOUT.fix.to_owned())
    })
}

impl Stage {
    /// Returns a stage in which nothing has happened yet.
    pub(super) const fn begin(weight: Weight, at: usize) -> Self {
        Self {
            weight,
            wait: Duration::ZERO,
            is_manual: false,
            is_tested: false,
            at,
        }
    }

    /// Notes that something besides users tries the canary for so long.
    pub(super) fn test(&mut self, time: Duration) {
        self.is_tested = true;
        self.wait = self.wait.saturating_add(time);
    }

    /// Whether both versions serve users.
    pub(super) const fn is_partial(&self) -> bool {
        !self.weight.is_zero() && !self.weight.is_full()
    }

    fn is_idle(&self) -> bool {
        self.is_partial() && self.wait.is_zero() && !self.is_manual && !self.is_tested
    }

    fn is_jumped_from(&self) -> bool {
        self.weight < LAST_WEIGHT_MIN && self.wait < LAST_WAIT_MIN && !self.is_manual
    }
}
