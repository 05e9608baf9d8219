//! Advice on what a file may say but rarely means.
//!
//! Only what is likely to hurt in production and can be told from the file alone; a linter that cries often is turned off.

mod comparison;
mod metric;

use std::time::Duration;

use haldane_core::{
    Weight,
    guard::{Guard, Limit, Metric},
    plan::{Hold, Plan, Step},
};

use crate::{
    file::{File, Service, Source},
    text::show_duration,
};

/// A share above which the first step is no trial any more.
const FIRST_WEIGHT_MAX: Weight = Weight::from_percent(50);

/// One piece of advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The path of the key, as in `services.auth.rollout.guards`.
    pub path: String,
    /// What may go wrong, and what would be better.
    pub message: String,
}

/// Returns advice on a file.
#[must_use]
pub fn lint(file: &File) -> Vec<Advice> {
    let of_service = |(name, service)| lint_service(&format!("services.{name}"), service);
    let of_services = file.services.iter().flat_map(of_service);
    metric::lint_sources(file)
        .into_iter()
        .chain(of_services)
        .collect()
}

fn lint_service(path: &str, service: &Service) -> Vec<Advice> {
    let mut advice = lint_judged_plan(path, &service.plan);
    let mut add = |key: &str, message: String| {
        advice.push(Advice {
            path: format!("{path}.{key}"),
            message,
        })
    };
    if service.health.path.is_none() {
        let message = "a replica counts as healthy as soon as it accepts connections; give a path that answers 2xx when it works";
        add("health", message.to_owned());
    }
    if let Source::Urls(_) = service.stable.source {
        let unseen = service
            .plan
            .rules()
            .guards
            .iter()
            .filter(|guard| is_of_process(guard.metric));
        for guard in unseen {
            let message = "not measured for a version that is not started here, so the guard never has data; start it with run, or leave the guard out";
            add(
                &format!("rollout.guards.{}", guard.metric),
                message.to_owned(),
            );
        }
    }
    advice
}

/// Returns advice on a plan with what it is judged by, whose keys stand below a path.
#[must_use]
pub fn lint_judged_plan(path: &str, plan: &Plan) -> Vec<Advice> {
    let mut advice = lint_plan(&format!("{path}.rollout"), plan);
    advice.extend(metric::lint_metrics(path, plan));
    advice
}

/// Returns advice on a plan, whose own path is given.
#[must_use]
pub fn lint_plan(path: &str, plan: &Plan) -> Vec<Advice> {
    let mut advice = Vec::new();
    let mut add = |key: &str, message: String| {
        advice.push(Advice {
            path: format!("{path}.{key}"),
            message,
        })
    };
    let rules = plan.rules();
    if !rules.is_judged() && !plan.steps().iter().any(is_decision) {
        add("guards", "nothing is judged, so a bad version is promoted like a good one; give guards such as { errorRate: 5% }".to_owned());
    }
    if let Some((index, weight)) = first_trial(plan) {
        let key = format!("steps[{index}]");
        if weight.is_full() {
            add(&key, "all traffic moves at once, before the canary served a single user; begin with a small share such as 5%".to_owned());
        } else if weight > FIRST_WEIGHT_MAX {
            add(
                &key,
                format!(
                    "the first step sends {weight} of all users to the canary; begin with a small share such as 5%"
                ),
            );
        }
    }
    if let Some((index, hold)) = short_hold(plan) {
        let (hold, window) = (show_duration(hold), show_duration(rules.sampling.window));
        add(
            &format!("steps[{index}]"),
            format!(
                "the hold of {hold} ends before one sampling window of {window} has passed; hold longer, or sample for less"
            ),
        );
    }
    for guard in rules
        .guards
        .iter()
        .filter(|guard| is_multiple_of_nothing(guard))
    {
        let message = "a multiple of stable's errors: when stable has none, one failed request breaks the guard; use points such as +1pp, or a fixed share";
        add(&format!("guards.{}", guard.metric), message.to_owned());
    }
    advice.extend(comparison::lint_comparison(path, plan));
    advice
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

/// Returns the first weight above zero, unless something tried the canary before it.
fn first_trial(plan: &Plan) -> Option<(usize, Weight)> {
    for (index, step) in plan.steps().iter().enumerate() {
        match step {
            Step::SetWeight(weight) if weight.is_zero() => {}
            Step::SetWeight(weight) => return Some((index, *weight)),
            Step::TestTraffic
            | Step::Analysis(_)
            | Step::Experiment(_)
            | Step::HeaderRoute(_)
            | Step::Mirror(_)
            | Step::Gate(_) => {
                return None;
            }
            Step::Hold(_) | Step::ScaleCanary(_) => {}
        }
    }
    None
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
        .filter_map(|(index, step)| match step {
            Step::Hold(Hold::For(time)) => Some((index, *time)),
            Step::Hold(Hold::UntilEvidence { max, .. }) => Some((index, *max)),
            Step::Hold(Hold::UntilResumed)
            | Step::SetWeight(_)
            | Step::TestTraffic
            | Step::ScaleCanary(_)
            | Step::Analysis(_)
            | Step::Experiment(_)
            | Step::HeaderRoute(_)
            | Step::Mirror(_)
            | Step::Gate(_) => None,
        });
    let is_judged = rules
        .guards
        .iter()
        .any(|guard| guard.metric.is_of_requests());
    holds
        .into_iter()
        .find(|(_, time)| is_judged && *time < rules.sampling.window)
}

fn is_multiple_of_nothing(guard: &Guard) -> bool {
    guard.metric == Metric::ErrorRate && matches!(guard.fail, Limit::Times(_))
}

fn is_of_process(metric: Metric) -> bool {
    match metric {
        Metric::Cpu | Metric::Memory | Metric::Restarts => true,
        Metric::ErrorRate
        | Metric::SuccessRate
        | Metric::Mean
        | Metric::P50
        | Metric::P95
        | Metric::P99
        | Metric::Ready => false,
    }
}

#[cfg(test)]
mod tests;
