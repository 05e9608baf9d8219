//! Reasons in one sentence, for people.

use std::time::Duration;

use haldane_core::{
    guard::{Guard, Metric, Severity, Worse},
    verdict::Verdict,
};
use jiff::SignedDuration;

use crate::{
    evidence::GuardEvidence,
    reading::Reading,
    sample::{Bounds, Sample},
    share::Split,
    threshold::measure::Arms,
};

/// Says what was measured against which limit: `error rate 48.21% over 112 requests, at most 5%`.
pub(super) fn measured(
    guard: &Guard,
    canary: &Reading,
    verdict: Verdict,
    limit: Option<u64>,
) -> String {
    let metric = guard.metric;
    let value = value(metric, canary, verdict, limit);
    let over = match metric {
        Metric::ErrorRate | Metric::SuccessRate => format!(" over {} requests", canary.requests),
        Metric::Mean
        | Metric::P50
        | Metric::P95
        | Metric::P99
        | Metric::Cpu
        | Metric::Memory
        | Metric::Restarts
        | Metric::Ready => String::new(),
    };
    let is_relative = guard.pass.is_relative() || guard.fail.is_relative();
    let that_is = limit
        .filter(|_| is_relative)
        .map_or_else(String::new, |limit| {
            format!(", that is {}", metric.unit().show(limit))
        });
    format!(
        "{} {value}{over}, {}{that_is}",
        noun(metric),
        guard.limit_text()
    )
}

/// Says how many requests are missing: `needs 100 requests, has 37 (about 7 s at 9.2 rps)`.
pub(super) fn needs(version: &str, sample: &Sample, has: u64, arms: &Arms<'_>) -> String {
    let min = arms.requests_min;
    let what = if has == sample.requests {
        "requests"
    } else {
        "latencies"
    };
    let whose = if version == "canary" {
        String::new()
    } else {
        format!(" of {version}")
    };
    let told = outlook(has, min, arms.covered, arms.kept);
    let told = told.map_or_else(String::new, |told| format!(" ({told})"));
    format!("needs {min} {what}{whose}, has {has}{told}")
}

/// Says why stable's value gives no limit.
pub(super) fn no_limit(metric: Metric, stable: &Reading) -> String {
    let noun = noun(metric);
    match (stable.value, stable.bounds) {
        (None, _) => format!("no value of {noun} for stable"),
        (Some(0), _) => format!("the {noun} of stable is zero: no multiple of it is a limit"),
        (Some(_), _) => format!("the {noun} of stable is beyond what its buckets can tell"),
    }
}

/// Says that samples are too old, or that the clock went back behind them.
pub(super) fn stale(age: SignedDuration, stale_after: Duration) -> String {
    let (time, most) = (time(age.unsigned_abs()), time(stale_after));
    if age.is_negative() {
        format!("the clock went back {time} behind the newest sample")
    } else {
        format!("the newest sample is {time} old, at most {most} is allowed")
    }
}

/// Adds how many failed measurements there were, and how many may be.
pub(super) fn tolerated(reason: &str, count: u32, failures: u32) -> String {
    format!("{reason} (failed measurement {count}, {failures} tolerated)")
}

/// Says that traffic went elsewhere: `the canary got 12.3% of 1000 requests at weight 5%`.
pub(super) fn mismatch(split: &Split) -> String {
    let requests = split.stable.saturating_add(split.canary);
    let share = u64::from(split.observed_bps().unwrap_or_default()).saturating_mul(100);
    let share = Metric::ErrorRate.unit().show(share);
    format!(
        "the canary got {share} of {requests} requests at weight {}",
        split.weight
    )
}

/// Says what was kept, and what was not and only warns.
pub(super) fn pass(guards: &[GuardEvidence], requests: u64) -> String {
    let kept = guards
        .iter()
        .filter(|guard| guard.verdict == Verdict::Pass)
        .count();
    let summary = match guards {
        [only] if kept == 1 => only.reason.clone(),
        _ if kept == guards.len() => format!("all {kept} guards kept over {requests} requests"),
        _ => format!(
            "{kept} of {} guards kept over {requests} requests",
            guards.len()
        ),
    };
    let is_warning =
        |guard: &&GuardEvidence| guard.severity == Severity::Warn && guard.verdict == Verdict::Fail;
    match guards.iter().find(is_warning) {
        Some(warning) => format!("{summary}; warning: {}", warning.reason),
        None => summary,
    }
}

/// Says what no guard has enough of: what the first one without data says, or that there are too few requests for the first.
pub(super) fn too_little(guards: &[GuardEvidence]) -> String {
    let without_data = guards.iter().find(|guard| guard.verdict == Verdict::NoData);
    without_data
        .or_else(|| guards.first())
        .map_or_else(String::new, |guard| match guard.verdict {
            Verdict::NoData => guard.reason.clone(),
            Verdict::Fail | Verdict::Inconclusive | Verdict::Pass => {
                format!("too few requests to pass; {}", guard.reason)
            }
        })
}

/// Returns the metric's name in a sentence.
pub(super) const fn noun(metric: Metric) -> &'static str {
    match metric {
        Metric::ErrorRate => "error rate",
        Metric::SuccessRate => "success rate",
        Metric::Mean => "mean latency",
        Metric::P50
        | Metric::P95
        | Metric::P99
        | Metric::Cpu
        | Metric::Memory
        | Metric::Restarts
        | Metric::Ready => metric.name(),
    }
}

/// Writes the canary's value so that it doesn't seem to contradict the verdict.
fn value(metric: Metric, canary: &Reading, verdict: Verdict, limit: Option<u64>) -> String {
    let show = |value| metric.unit().show(value);
    let Some(value) = canary.value else {
        return "unknown".to_owned();
    };
    if let Some(Bounds {
        lower_us,
        upper_us: u64::MAX,
    }) = canary.bounds
    {
        return format!("over {}", show(lower_us));
    }
    let Some(limit) = limit else {
        return show(value);
    };
    match canary.bounds {
        Some(bounds) if bounds.lower_us < limit && limit < bounds.upper_us => {
            format!(
                "between {} and {}",
                show(bounds.lower_us),
                show(bounds.upper_us)
            )
        }
        _ if verdict != Verdict::Pass && show(value) == show(limit) => match metric.worse() {
            Worse::Higher => format!("just over {}", show(value)),
            Worse::Lower => format!("just under {}", show(value)),
        },
        _ => show(value),
    }
}

/// Says when the minimum will be reached at the rate so far, or that samples are not kept for so long; `None` without requests.
pub(crate) fn outlook(has: u64, min: u64, covered: Duration, kept: Duration) -> Option<String> {
    const NANOS: u128 = 1_000_000_000;
    let (has, length) = (u128::from(has), covered.as_nanos());
    let per_hour = has
        .saturating_mul(3_600)
        .saturating_mul(NANOS)
        .checked_div(length)?;
    if has == 0 {
        return None;
    }
    let missing = u128::from(min).saturating_sub(has);
    let seconds = missing
        .saturating_mul(length)
        .div_ceil(has.saturating_mul(NANOS));
    let needed = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
    let outlook = format!("about {} at {}", time(needed), rate(per_hour));
    // The first window and the time that is missing must be kept together.
    if needed.saturating_add(covered) <= kept {
        return Some(outlook);
    }
    Some(format!(
        "{outlook}, and samples are kept for {}: give it more weight or a lower requestsMin",
        time(kept)
    ))
}

/// Writes a rate as people say it: `99 rps`, `9.2 rps`, `7 a minute`, `1 an hour`.
fn rate(per_hour: u128) -> String {
    match per_hour {
        0..120 => format!("{per_hour} an hour"),
        120..1_800 => format!("{} a minute", per_hour / 60),
        1_800..36_000 if per_hour % 3_600 >= 360 || per_hour < 3_600 => {
            format!("{}.{} rps", per_hour / 3_600, per_hour % 3_600 / 360)
        }
        1_800.. => format!("{} rps", per_hour / 3_600),
    }
}

/// Writes a time as people say it: `15 s`, `12 min`, `3 h`.
fn time(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}
