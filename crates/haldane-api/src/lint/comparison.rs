//! Guards against stable where stable has no traffic left to be compared with.
//!
//! At 100% stable serves nobody: a limit on its requests has no data there, and a rollout that has to pass it never does.

use std::fmt;

use haldane_core::{
    guard::{Guard, Metric, Severity},
    plan::{Ask, Gate, Hold, Mode, OnDoubt, Plan, Step},
    rollout::Approval,
};

use super::{Remark, rules::NO_COMPARISON};

/// Where the canary is judged while it has all traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    /// At the end of a hold.
    Hold,
    /// At the end of an analysis.
    Analysis,
    /// At the end of an experiment.
    Experiment,
    /// At the last step, because none before it allowed the promotion.
    Last,
    /// After the last step.
    Bake,
}

/// Returns a remark on every guard that cannot be kept where the canary has all traffic.
pub(super) fn lint_comparison(path: &str, plan: &Plan) -> Vec<Remark> {
    let rules = plan.rules();
    let of_plan = alone(plan).into_iter().flat_map(|place| {
        let guards = deciding(&rules.guards);
        guards.map(move |guard| (format!("guards.{}", guard.metric), guard, place))
    });
    let own = (0..plan.step_count()).flat_map(|index| {
        let guards = own_guards(plan, index);
        deciding(guards).map(move |guard| {
            let key = format!("steps[{index}].analysis.guards.{}", guard.metric);
            (key, guard, Alone::Analysis)
        })
    });
    of_plan
        .chain(own)
        .filter_map(|(key, guard, place)| {
            let (reason, fix) = words(guard, place)?;
            Some(Remark::new(
                &NO_COMPARISON,
                format!("{path}.{key}"),
                reason,
                fix,
            ))
        })
        .collect()
}

/// Says what becomes of a guard against stable there, and what to do; nothing where stable has figures without traffic.
fn words(guard: &Guard, place: Alone) -> Option<(String, String)> {
    let what = match guard.metric {
        Metric::ErrorRate
        | Metric::SuccessRate
        | Metric::Mean
        | Metric::P50
        | Metric::P95
        | Metric::P99 => "so the guard has no data there and never passes",
        Metric::Cpu => "so it idles there and a good canary breaks the guard",
        Metric::Memory | Metric::Restarts | Metric::Ready => return None,
    };
    let instead = match place {
        Alone::Hold | Alone::Analysis | Alone::Experiment => {
            "judge at a smaller share and end with { weight: 100% }, which does not hold"
        }
        Alone::Last => "hold at a smaller share before",
        Alone::Bake => "leave bake out",
    };
    Some((
        format!("compared with stable, which has no traffic {place}, {what}"),
        format!("give a fixed limit such as 5% or 500ms, or {instead}"),
    ))
}

/// Returns the guards against stable that a verdict depends on: warn guards don't matter, unless there is nothing else.
fn deciding(guards: &[Guard]) -> impl Iterator<Item = &Guard> {
    let is_against_stable = |guard: &Guard| guard.pass.is_relative() || guard.fail.is_relative();
    let has_else = guards
        .iter()
        .any(|guard| guard.severity == Severity::Critical || !is_against_stable(guard));
    guards.iter().filter(move |guard| {
        is_against_stable(guard) && (guard.severity == Severity::Critical || !has_else)
    })
}

/// Returns the guards of the analysis that is this step, where the canary has all traffic. An experiment brings its own baseline.
fn own_guards(plan: &Plan, index: u32) -> &[Guard] {
    match plan.step(index) {
        Some(Step::Analysis(analysis)) if plan.weight_at(index).is_full() => &analysis.guards,
        Some(
            Step::Analysis(_)
            | Step::SetWeight(_)
            | Step::TestTraffic
            | Step::Hold(_)
            | Step::ScaleCanary(_)
            | Step::Experiment(_)
            | Step::HeaderRoute(_)
            | Step::Mirror(_)
            | Step::Gate(_),
        )
        | None => &[],
    }
}

/// Returns the first place where the plan's own guards must pass while the canary has all traffic.
fn alone(plan: &Plan) -> Option<Alone> {
    let rules = plan.rules();
    let may_doubt = rules.on_no_data == OnDoubt::Advance;
    let mut allowed = None;
    for (index, step) in (0..).zip(plan.steps()) {
        let is_last = plan.is_last(index);
        let is_manual = plan.mode_at(index) == Mode::Manual;
        let is_alone = plan.weight_at(index).is_full() && plan.is_judged_at(index);
        match step {
            Step::Hold(Hold::For(_) | Hold::UntilEvidence { .. })
            | Step::Analysis(_)
            | Step::Experiment(_) => {
                if is_alone && (is_last || !may_doubt) {
                    return Some(kind(step));
                }
                if is_manual {
                    allowed = Some(Approval::Operator);
                } else if plan.is_judged_at(index) {
                    allowed = Some(Approval::Verdict);
                }
            }
            Step::Hold(Hold::UntilResumed)
            | Step::Gate(Gate {
                ask: Ask::Approval, ..
            }) => allowed = Some(Approval::Operator),
            Step::SetWeight(_)
            | Step::TestTraffic
            | Step::ScaleCanary(_)
            | Step::HeaderRoute(_)
            | Step::Mirror(_)
            | Step::Gate(_) => {
                if is_last && is_alone && allowed.is_none() {
                    return Some(Alone::Last);
                }
                if is_last && is_manual {
                    allowed = Some(Approval::Operator);
                }
            }
        }
    }
    // Who promotes by name does not need the judge's word while it bakes.
    let is_by_name = allowed == Some(Approval::Operator);
    (!rules.bake.is_zero() && !may_doubt && !is_by_name).then_some(Alone::Bake)
}

const fn kind(wait: &Step) -> Alone {
    match wait {
        Step::Analysis(_) => Alone::Analysis,
        Step::Experiment(_) => Alone::Experiment,
        Step::Hold(_)
        | Step::SetWeight(_)
        | Step::TestTraffic
        | Step::ScaleCanary(_)
        | Step::HeaderRoute(_)
        | Step::Mirror(_)
        | Step::Gate(_) => Alone::Hold,
    }
}

impl fmt::Display for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hold => "during the hold at 100%",
            Self::Analysis => "during the analysis at 100%",
            Self::Experiment => "during the experiment at 100%",
            Self::Last => "at 100%",
            Self::Bake => "during the bake",
        })
    }
}
