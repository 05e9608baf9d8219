//! One guard against one window: is a limit broken, and by how much?

use std::time::Duration;

use haldane_core::{
    guard::{Guard, Limit, Metric},
    verdict::Verdict,
};

use crate::{
    evidence::GuardEvidence,
    limit,
    reading::{Reading, WHOLE_PPM, failures, read, rest_ppm},
    sample::Sample,
    threshold::wording,
};

/// What guards are measured on.
pub(super) struct Arms<'a> {
    /// What was counted of stable in the window.
    pub(super) stable: &'a Sample,
    /// What was counted of the canary in the window.
    pub(super) canary: &'a Sample,
    /// How many requests a verdict needs; at least one.
    pub(super) requests_min: u64,
    /// The time that the counts cover.
    pub(super) covered: Duration,
    /// For how long samples are kept at most.
    pub(super) kept: Duration,
}

/// How the canary stands to one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Kept, on enough data.
    Kept,
    /// Broken.
    Broken,
    /// Not known, and why.
    Unknown(String),
}

/// Measures one guard; failed measurements are not counted here.
pub(super) fn measure(guard: &Guard, arms: &Arms<'_>) -> GuardEvidence {
    let metric = guard.metric;
    let (stable, canary) = (read(metric, arms.stable), read(metric, arms.canary));
    let value_of = |limit: Limit| limit_value(guard, limit, &stable, arms);
    let standing = |limit: &Result<u64, String>| match limit {
        Ok(value) => stand(metric, arms, &canary, *value),
        Err(why) => Standing::Unknown(why.clone()),
    };
    let (pass, fail) = (value_of(guard.pass), value_of(guard.fail));
    let (verdict, limit, unknown) = match standing(&fail) {
        Standing::Broken => (Verdict::Fail, fail.ok(), None),
        Standing::Unknown(why) => (Verdict::NoData, pass.ok(), Some(why)),
        Standing::Kept => match standing(&pass) {
            Standing::Kept => (Verdict::Pass, pass.ok(), None),
            Standing::Broken => (Verdict::Inconclusive, pass.ok(), None),
            Standing::Unknown(why) => (Verdict::NoData, None, Some(why)),
        },
    };
    let reason = unknown.unwrap_or_else(|| wording::measured(guard, &canary, verdict, limit));
    GuardEvidence {
        metric,
        severity: guard.severity,
        limit: guard.limit_text(),
        limit_value: limit,
        stable: stable.value,
        canary: canary.value,
        canary_bounds: canary.bounds,
        stable_requests: stable.requests,
        canary_requests: canary.requests,
        bad: limit
            .and_then(|limit| bad(metric, arms.canary, limit))
            .map(|bad| bad.count),
        verdict,
        failed: 0,
        reason,
    }
}

/// Returns the limit as a value, or why stable gives none.
fn limit_value(
    guard: &Guard,
    limit: Limit,
    stable: &Reading,
    arms: &Arms<'_>,
) -> Result<u64, String> {
    let metric = guard.metric;
    if limit.is_relative() && metric.is_of_requests() && stable.requests < arms.requests_min {
        return Err(wording::needs("stable", arms.stable, stable.requests, arms));
    }
    limit::resolve(metric, limit, stable).ok_or_else(|| wording::no_limit(metric, stable))
}

/// Compares the canary with one limit.
fn stand(metric: Metric, arms: &Arms<'_>, canary: &Reading, limit: u64) -> Standing {
    if !metric.is_of_requests() {
        return match canary.value {
            Some(value) if limit::is_beyond(metric, value, limit) => Standing::Broken,
            Some(_) => Standing::Kept,
            None => Standing::Unknown(format!(
                "no value of {} for the canary",
                wording::noun(metric)
            )),
        };
    }
    let is_broken = match bad(metric, arms.canary, limit) {
        // Requests that are still missing to the minimum count as good: so the guard may be broken before it is reached.
        Some(bad) => bad.exceeds(canary.requests.max(arms.requests_min)),
        None => canary.requests >= arms.requests_min && is_mean_beyond(arms.canary, limit),
    };
    if is_broken {
        Standing::Broken
    } else if canary.requests >= arms.requests_min {
        Standing::Kept
    } else {
        Standing::Unknown(wording::needs("canary", arms.canary, canary.requests, arms))
    }
}

/// Bad requests, and what share of all may be bad.
struct Bad {
    count: u64,
    allowed_ppm: u64,
}

impl Bad {
    /// Whether there are more than allowed among `requests`.
    fn exceeds(&self, requests: u64) -> bool {
        let bad = u128::from(self.count).saturating_mul(u128::from(WHOLE_PPM));
        bad > u128::from(requests).saturating_mul(u128::from(self.allowed_ppm))
    }
}

/// Counts bad requests, `None` if the metric is not a share of requests.
fn bad(metric: Metric, sample: &Sample, limit: u64) -> Option<Bad> {
    match metric {
        Metric::ErrorRate => Some(Bad {
            count: failures(sample),
            allowed_ppm: limit,
        }),
        Metric::SuccessRate => Some(Bad {
            count: failures(sample),
            allowed_ppm: WHOLE_PPM.saturating_sub(limit),
        }),
        Metric::P50 | Metric::P95 | Metric::P99 => rest_ppm(metric).map(|allowed_ppm| Bad {
            count: sample.slower_than(limit),
            allowed_ppm,
        }),
        Metric::Mean | Metric::Cpu | Metric::Memory | Metric::Restarts | Metric::Ready => None,
    }
}

/// Whether the mean latency is above `limit_us`, without dividing.
fn is_mean_beyond(sample: &Sample, limit_us: u64) -> bool {
    let allowed = u128::from(limit_us).saturating_mul(u128::from(sample.latency_count()));
    u128::from(sample.latency_sum_us) > allowed
}
