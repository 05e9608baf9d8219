//! Limits that nothing but a disaster breaks, and limits that chance does.

use haldane_core::{
    Weight,
    guard::{Guard, Limit, Metric},
    plan::Plan,
};

use super::{
    Remark,
    pace::stages,
    rules::{LOOSE_THRESHOLD, NARROW_THRESHOLD},
    traffic::Traffic,
};
use crate::text::show_limit;

/// The whole, in parts per million.
const WHOLE_PPM: u64 = 1_000_000;

/// A limit on failed requests that only an outage breaks.
const OUTAGE_PPM: u64 = 200_000;

/// How many standard deviations chance is given.
const SIGMAS: u128 = 3;

/// A limit so many times above what chance does to stable's rate sees only disasters.
const LOOSE_TIMES: u64 = 10;

/// Returns what is to be said of the limits on failed requests.
pub(super) fn lint_thresholds(
    path: &str,
    plan: &Plan,
    traffic: Option<&Traffic<'_>>,
) -> Vec<Remark> {
    let rules = plan.rules();
    let noise = traffic.and_then(|traffic| noise_ppm(plan, traffic));
    let of_guard = |guard: &Guard| {
        let limit = failed_ppm(guard)?;
        let path = format!("{path}.guards.{}", guard.metric);
        let share = |ppm| show_limit(Metric::ErrorRate, Limit::Absolute(ppm));
        if let (Some(noise), Some(traffic)) = (noise, traffic)
            && limit < noise
        {
            let reason = format!(
                "a canary as good as stable, which fails {}, is beyond it by chance: up to {} in one window",
                share(traffic.stable_ppm),
                share(noise)
            );
            return Some(Remark::plain(&NARROW_THRESHOLD, path, reason));
        }
        if limit >= OUTAGE_PPM {
            let reason = format!(
                "{} of the requests must fail before it is broken",
                share(limit)
            );
            return Some(Remark::plain(&LOOSE_THRESHOLD, path, reason));
        }
        let noise = noise.filter(|noise| limit > noise.saturating_mul(LOOSE_TIMES))?;
        rules.judge.is_none().then(|| {
            let reason = format!(
                "chance alone explains up to {}, and nothing is said between that and {}",
                share(noise),
                share(limit)
            );
            Remark::plain(&LOOSE_THRESHOLD, path, reason)
        })
    };
    rules.guards.iter().filter_map(of_guard).collect()
}

/// Returns the share of failed requests that a guard allows, where that is fixed.
fn failed_ppm(guard: &Guard) -> Option<u64> {
    let Limit::Absolute(ppm) = guard.fail else {
        return None;
    };
    match guard.metric {
        Metric::ErrorRate => Some(ppm),
        Metric::SuccessRate => Some(WHOLE_PPM.saturating_sub(ppm)),
        Metric::Mean
        | Metric::P50
        | Metric::P95
        | Metric::P99
        | Metric::Cpu
        | Metric::Memory
        | Metric::Restarts
        | Metric::Ready => None,
    }
}

/// Returns how many failures chance may show in one window of a version as good as stable, at the plan's first share.
fn noise_ppm(plan: &Plan, traffic: &Traffic<'_>) -> Option<u64> {
    let sampling = plan.rules().sampling;
    let first = stages(plan).into_iter().find(|stage| stage.is_partial());
    let weight = first.map_or(Weight::FULL, |stage| stage.weight);
    let requests = traffic.requests(weight, sampling.window);
    let requests = requests.max(u128::from(sampling.requests_min)).max(1);
    let base = u128::from(traffic.stable_ppm);
    let variance = base.saturating_mul(u128::from(WHOLE_PPM).saturating_sub(base)) / requests;
    let noise = base.saturating_add(SIGMAS.saturating_mul(variance.isqrt()));
    u64::try_from(noise).ok()
}
