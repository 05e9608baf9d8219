//! Findings on a plan, wherever it stands.

use std::time::Duration;

use haldane_core::{
    guard::{Guard, Limit, Metric, Severity},
    plan::{Hold, OnDoubt, OnFailure, Plan, Rules, Step, metric::Kind},
};

use super::{
    Remark, comparison, metric,
    pace::{lint_pace, stages},
    rules::{
        BLIND_CANARY, ERRORS_UNWATCHED, LATE_JUDGE, LATENCY_UNWATCHED, MULTIPLE_OF_NOTHING,
        NO_BASELINE, NO_ROLLBACK, PASSES_WITHOUT_DATA, SHORT_HOLD,
    },
    threshold,
    traffic::{self, Traffic},
};
use crate::text::show_duration;

/// Returns what is to be said of a plan with what it is judged by, whose keys stand below a path.
pub(super) fn lint_judged_plan(
    path: &str,
    plan: &Plan,
    traffic: Option<&Traffic<'_>>,
) -> Vec<Remark> {
    let rollout = format!("{path}.rollout");
    let mut remarks = lint_plan(&rollout, plan);
    remarks.extend(threshold::lint_thresholds(&rollout, plan, traffic));
    if let Some(traffic) = traffic {
        remarks.extend(traffic::lint_traffic(&rollout, plan, traffic));
    }
    remarks.extend(metric::lint_metrics(path, plan));
    remarks
}

fn lint_plan(path: &str, plan: &Plan) -> Vec<Remark> {
    let of_pace = lint_pace(&stages(plan)).into_iter();
    let of_pace = of_pace.map(|(index, rule, reason, fix)| {
        Remark::new(rule, format!("{path}.steps[{index}]"), reason, fix)
    });
    let mut remarks: Vec<Remark> = of_pace.collect();
    remarks.extend(lint_judgement(path, plan));
    remarks.extend(lint_rollback(path, plan.rules()));
    if let Some((index, hold)) = short_hold(plan) {
        let (hold, window) = (
            show_duration(hold),
            show_duration(plan.rules().sampling.window),
        );
        let reason =
            format!("the hold of {hold} ends before one sampling window of {window} has passed");
        remarks.push(Remark::plain(
            &SHORT_HOLD,
            format!("{path}.steps[{index}]"),
            reason,
        ));
    }
    let of_nothing = plan.rules().guards.iter();
    let of_nothing = of_nothing.filter(|guard| is_multiple_of_nothing(guard));
    remarks.extend(of_nothing.map(|guard| {
        let path = format!("{path}.guards.{}", guard.metric);
        let reason =
            "a multiple of stable's errors: when stable has none, one failed request breaks the guard";
        Remark::plain(&MULTIPLE_OF_NOTHING, path, reason)
    }));
    remarks.extend(comparison::lint_comparison(path, plan));
    remarks
}

/// Returns what is to be said of what a plan is judged by.
fn lint_judgement(path: &str, plan: &Plan) -> Vec<Remark> {
    let rules = plan.rules();
    let guards = || format!("{path}.guards");
    if !is_judged(rules) {
        let decides = plan.steps().iter().any(is_decision);
        let reason = "nothing is judged, so a bad version is promoted like a good one";
        return Vec::from_iter((!decides).then(|| Remark::plain(&BLIND_CANARY, guards(), reason)));
    }
    let mut remarks = Vec::new();
    if rules.judge.is_none() {
        let has = |metrics: &[Metric], kind: Kind| {
            let of_guards = rules.guards.iter().any(|one| metrics.contains(&one.metric));
            of_guards || rules.metrics.iter().any(|one| one.kind == kind)
        };
        if !has(&[Metric::ErrorRate, Metric::SuccessRate], Kind::Ratio) {
            let reason = "no guard is on the share of failed requests";
            remarks.push(Remark::plain(&ERRORS_UNWATCHED, guards(), reason));
        }
        let of_latency = [Metric::Mean, Metric::P50, Metric::P95, Metric::P99];
        if !has(&of_latency, Kind::Latency) {
            let reason = "no guard is on latency";
            remarks.push(Remark::plain(&LATENCY_UNWATCHED, guards(), reason));
        }
        if rules.metrics.is_empty() && !rules.guards.iter().any(is_against_stable) {
            let reason = "every limit is fixed, so what hits both versions rolls a good canary back, and what is \
                          worse than stable but within the limits passes";
            remarks.push(Remark::plain(&NO_BASELINE, guards(), reason));
        }
    }
    remarks.extend(late_judge(path, plan));
    remarks
}

/// Returns what is to be said of users whom the canary serves before anybody judges it.
fn late_judge(path: &str, plan: &Plan) -> Option<Remark> {
    let from = plan.rules().judge_from_step;
    let first = (0..plan.step_count()).find(|index| !plan.weight_at(*index).is_zero())?;
    // A weight lasts while its hold does, and that is the next step.
    (from > first.saturating_add(1)).then(|| {
        let weight = plan.weight_at(first);
        let reason =
            format!("the first {weight} of the users are on the canary before it is judged");
        Remark::plain(&LATE_JUDGE, format!("{path}.judgeFromStep"), reason)
    })
}

/// Returns what is to be said of what follows from a verdict.
fn lint_rollback(path: &str, rules: &Rules) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut add = |rule, key: &str, reason: &str| {
        remarks.push(Remark::plain(rule, format!("{path}.{key}"), reason));
    };
    match rules.on_failure {
        OnFailure::Hold => add(
            &NO_ROLLBACK,
            "onFailure",
            "a canary that is judged bad keeps its users until a person comes",
        ),
        OnFailure::Rollback | OnFailure::PauseAtZero => {}
    }
    let is_critical = |guard: &Guard| guard.severity == Severity::Critical;
    let has_trigger = rules.judge.is_some()
        || rules.guards.iter().any(is_critical)
        || rules.metrics.iter().any(|metric| metric.critical);
    if is_judged(rules) && !has_trigger {
        add(
            &NO_ROLLBACK,
            "guards",
            "every guard only warns, so nothing that is measured rolls a bad canary back",
        );
    }
    if rules.on_no_data == OnDoubt::Advance {
        add(
            &PASSES_WITHOUT_DATA,
            "onNoData",
            "a canary of which nothing is known gets more traffic",
        );
    }
    if rules.on_inconclusive == OnDoubt::Advance {
        add(
            &PASSES_WITHOUT_DATA,
            "onInconclusive",
            "a canary of which too little is known gets more traffic",
        );
    }
    remarks
}

fn is_judged(rules: &Rules) -> bool {
    rules.is_judged() || !rules.metrics.is_empty()
}

/// Whether a step ends with a yes or no of its own.
fn is_decision(step: &Step) -> bool {
    match step {
        Step::Analysis(_) | Step::Experiment(_) | Step::Gate(_) => true,
        Step::Hold(hold) => matches!(hold, Hold::UntilResumed),
        Step::SetWeight(_)
        | Step::TestTraffic
        | Step::ScaleCanary(_)
        | Step::HeaderRoute(_)
        | Step::Mirror(_) => false,
    }
}

/// Returns the first judged hold that is over before one sampling window has passed.
fn short_hold(plan: &Plan) -> Option<(usize, Duration)> {
    let rules = plan.rules();
    let from = usize::try_from(rules.judge_from_step).unwrap_or(usize::MAX);
    let holds = plan
        .steps()
        .iter()
        .enumerate()
        .skip(from)
        .filter_map(|(index, step)| Some((index, hold_time(step)?)));
    let is_judged = rules
        .guards
        .iter()
        .any(|guard| guard.metric.is_of_requests());
    holds
        .into_iter()
        .find(|(_, time)| is_judged && *time < rules.sampling.window)
}

/// Returns how long a step holds at most, if it does.
pub(super) const fn hold_time(step: &Step) -> Option<Duration> {
    match step {
        Step::Hold(Hold::For(time) | Hold::UntilEvidence { max: time, .. }) => Some(*time),
        Step::Hold(Hold::UntilResumed)
        | Step::SetWeight(_)
        | Step::TestTraffic
        | Step::ScaleCanary(_)
        | Step::Analysis(_)
        | Step::Experiment(_)
        | Step::HeaderRoute(_)
        | Step::Mirror(_)
        | Step::Gate(_) => None,
    }
}

fn is_multiple_of_nothing(guard: &Guard) -> bool {
    guard.metric == Metric::ErrorRate && matches!(guard.fail, Limit::Times(_))
}

fn is_against_stable(guard: &Guard) -> bool {
    guard.pass.is_relative() || guard.fail.is_relative()
}
