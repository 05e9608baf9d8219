//! Whether the traffic of a plan's steps is enough for anything to show.

use std::{fmt, time::Duration};

use haldane_core::{Weight, plan::Plan};

use super::{
    Remark,
    pace::{Stage, stages},
    rules::{FEW_REQUESTS, TOO_FAST_FOR_TRAFFIC},
};
use crate::text::{show_duration, show_limit, show_milli};
use haldane_core::guard::{Limit, Metric};

/// A share of traffic, and how long the canary has it.
pub type Held = (Weight, Duration);

/// What is known of a service's traffic.
#[derive(Clone, Copy)]
pub struct Traffic<'a> {
    /// Requests per second to both versions, in thousandths.
    pub request_rate_milli: u64,
    /// The share of requests that stable fails, parts per million.
    pub stable_ppm: u64,
    /// The share of requests that a canary fails which must not pass, parts per million.
    pub canary_ppm: u64,
    /// After which time such a canary could be told from stable; `None` if not before it has all of the traffic.
    pub find: &'a dyn Fn(&[Held]) -> Option<Duration>,
}

impl fmt::Debug for Traffic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic")
            .field("request_rate_milli", &self.request_rate_milli)
            .field("stable_ppm", &self.stable_ppm)
            .field("canary_ppm", &self.canary_ppm)
            .finish_non_exhaustive()
    }
}

impl Traffic<'_> {
    /// Returns how many requests the canary gets at a share in a time.
    pub(super) fn requests(&self, weight: Weight, time: Duration) -> u128 {
        // Thousandths of requests, milliseconds and basis points.
        let all = u128::from(self.request_rate_milli).saturating_mul(time.as_millis());
        all.saturating_mul(u128::from(weight.as_bps())) / 1_000 / 1_000 / 10_000
    }
}

/// Returns what is to be said of a plan at this traffic.
pub(super) fn lint_traffic(path: &str, plan: &Plan, traffic: &Traffic<'_>) -> Vec<Remark> {
    let stages = stages(plan);
    let trial: Vec<&Stage> = stages.iter().filter(|stage| stage.is_partial()).collect();
    let few = few_requests(path, plan, &trial, traffic);
    let fast = too_fast(path, plan, &trial, traffic);
    few.into_iter().chain(fast).collect()
}

/// Returns what is to be said of the first step in which too few requests come to be judged.
fn few_requests(
    path: &str,
    plan: &Plan,
    trial: &[&Stage],
    traffic: &Traffic<'_>,
) -> Option<Remark> {
    let rules = plan.rules();
    let mut guards = rules.guards.iter();
    if !guards.any(|guard| guard.metric.is_of_requests()) {
        return None;
    }
    let least = u128::from(rules.sampling.requests_min);
    let judged = |stage: &&&Stage| {
        u32::try_from(stage.at).is_ok_and(|at| plan.is_judged_at(at.saturating_add(1)))
    };
    let (stage, requests) = trial
        .iter()
        .filter(judged)
        .filter(|stage| !stage.is_manual)
        .map(|stage| (stage, traffic.requests(stage.weight, stage.wait)))
        .find(|(_, requests)| *requests < least)?;
    let reason = format!(
        "at {} requests per second the canary gets {requests} of them at {} in {}, and guards need {least}",
        show_milli(traffic.request_rate_milli),
        stage.weight,
        show_duration(stage.wait),
    );
    Some(Remark::plain(
        &FEW_REQUESTS,
        format!("{path}.steps[{}]", stage.at),
        reason,
    ))
}

/// Returns what is to be said of a trial that is over before the judge could know.
fn too_fast(path: &str, plan: &Plan, trial: &[&Stage], traffic: &Traffic<'_>) -> Option<Remark> {
    plan.rules().judge.as_ref()?;
    let first = trial.first()?;
    if trial.iter().any(|stage| stage.is_manual) {
        return None;
    }
    let held: Vec<Held> = trial
        .iter()
        .map(|stage| (stage.weight, stage.wait))
        .collect();
    if (traffic.find)(&held).is_some() {
        return None;
    }
    let time = held
        .iter()
        .fold(Duration::ZERO, |sum, (_, wait)| sum.saturating_add(*wait));
    let share = |ppm| show_limit(Metric::ErrorRate, Limit::Absolute(ppm));
    let reason = format!(
        "at {} requests per second a canary that fails {} of them, where stable fails {}, is not found out in the {} \
         before it has all of the traffic",
        show_milli(traffic.request_rate_milli),
        share(traffic.canary_ppm),
        share(traffic.stable_ppm),
        show_duration(time),
    );
    Some(Remark::plain(
        &TOO_FAST_FOR_TRAFFIC,
        format!("{path}.steps[{}]", first.at),
        reason,
    ))
}
