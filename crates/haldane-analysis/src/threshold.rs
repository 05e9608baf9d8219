//! The threshold judge: limits on minimum samples within a window.
//!
//! For each guard the batches of the window are summed and compared with the guard's limits. A limit is broken when the canary is
//! strictly beyond it; exactly at it is kept.
//!
//! - **Few requests**: where the window holds fewer than `requests_min` of them, it reaches back further until it does, at most to the
//!   beginning of what is judged. The newest sample must be fresh all the same. Gauges keep to the window.
//! - **Shares of requests** (`errorRate`, `successRate`, `p50`, `p95`, `p99`): bad requests are those that failed, or were surely slower
//!   than the limit ([`Sample::slower_than`](crate::Sample::slower_than)); they may be the limit's share, or what is left of all beyond
//!   the quantile. The guard is broken when they are more, on at least `requests_min` requests, **or earlier**, when they are already
//!   more than `requests_min` requests may have: then it would be broken even if all the rest up to the minimum were good.
//! - **`mean`**: sum by count, on at least `requests_min` latencies; nothing is told earlier.
//! - **Gauges**: `cpu` and `memory` by their mean over the batches that have them, `restarts` and `ready` by the last one. A value must
//!   be no older than `stale_after`.
//! - **Limits against stable** are taken from stable's value in the same window, which needs `requests_min` requests of stable, too;
//!   the early rule needs them as well.
//! - **Two limits**: kept up to `pass`, broken beyond `fail`, inconclusive between.
//! - **Tolerated failures**: each batch end at which a guard is found broken is one failed measurement, however often it is looked at.
//!   They are counted over the whole rollout, and not reset when `since` moves. Up to `failures` of them the guard is inconclusive.
//!
//! Then: a broken critical guard fails; else a critical guard that is inconclusive, or without data, makes the whole so; else it is a
//! pass. Warn guards never change that, but where there is nothing else, at least one of them must have data. Without guards there is
//! nothing to judge by, and no pass.
//!
//! A `requests_min` of 0 counts as 1: no verdict is made of nothing.
//!
//! **Invariant:** no pass without fresh samples and `requests_min` requests for each critical guard made of requests.

mod measure;
mod wording;

use std::time::Duration;

use haldane_core::{
    guard::{Guard, Metric, Severity},
    plan::Sampling,
    verdict::{Judgement, Share, Standing, Subject, Verdict},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::measure::{Arms, measure};
pub(crate) use self::wording::outlook;
use crate::{
    evidence::{Evidence, GuardEvidence},
    sample::Gauges,
    series::{Count, Held, Series, Totals},
    share::Split,
};

/// What to judge, and how.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What the judgement is about.
    pub subject: Subject,
    /// The limits to keep.
    pub guards: &'a [Guard],
    /// How samples are used.
    pub sampling: &'a Sampling,
    /// Batches that began earlier are not used.
    pub since: Timestamp,
    /// The time.
    pub now: Timestamp,
}

/// What the judge remembers between looks, for one list of guards; empty at the rollout's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// One entry per guard, in order; missing ones count as zero.
    pub guards: Vec<Failed>,
}

/// The failed measurements of one guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// How many there were.
    pub count: u32,
    /// The batch end at which the last one was counted.
    pub last: Option<Timestamp>,
}

/// The judge's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Answer {
    /// What the state machine is told.
    pub judgement: Judgement,
    /// What the judgement rests on.
    pub evidence: Evidence,
    /// What to give to the next look.
    pub memory: Memory,
}

/// Judges the canary by the batches of the window.
///
/// A `now` earlier than the newest batch's end is raised to it, as long as it is earlier by no more than `stale_after`.
pub fn judge(question: &Question<'_>, series: &Series, memory: &Memory) -> Answer {
    let Question {
        guards, sampling, ..
    } = *question;
    let now = series
        .newest()
        .map_or(question.now, |newest| question.now.max(newest.to));
    let mut totals = gather(question, series, now);
    let mut memory = memory.clone();
    memory.guards.resize(guards.len(), Failed::default());
    let pairs = guards.iter().zip(&mut memory.guards);
    if let Some(reason) = absence(question, series, &totals) {
        let evidence = pairs.map(|(guard, failed)| unmeasured(guard, failed.count, &reason));
        let evidence = Evidence {
            split: None,
            ..evidence_of(&totals, evidence.collect())
        };
        return answer(
            question.subject,
            (Verdict::NoData, reason),
            evidence,
            memory,
        );
    }
    drop_old_gauges(&mut totals, series, now, sampling.stale_after);
    let arms = Arms {
        stable: &totals.stable,
        canary: &totals.canary,
        requests_min: u64::from(sampling.requests_min.max(1)),
        covered: totals.covered,
        kept: series.kept_max(),
    };
    let evidence = pairs
        .map(|(guard, failed)| rule(guard, &arms, failed, totals.to))
        .collect();
    let evidence = evidence_of(&totals, evidence);
    let conclusion = conclude(&evidence.guards, &arms);
    answer(question.subject, conclusion, evidence, memory)
}

/// Sums what lies within the window, or as far back as it takes to have enough requests.
fn gather(question: &Question<'_>, series: &Series, now: Timestamp) -> Totals {
    let (since, window) = (question.since, question.sampling.window);
    let wanted = u64::from(question.sampling.requests_min.max(1));
    let is_enough = |held: Held| {
        question.guards.iter().all(|guard| {
            let is_relative = guard.pass.is_relative() || guard.fail.is_relative();
            is_of(guard.metric, held.canary, wanted)
                && (!is_relative || is_of(guard.metric, held.stable, wanted))
        })
    };
    let reach = series.reach((since, now), window, is_enough);
    let mut totals = series.totals(since, now, reach);
    if reach > window {
        let usual = series.totals(since, now, window);
        totals.stable.gauges = usual.stable.gauges;
        totals.canary.gauges = usual.canary.gauges;
    }
    totals
}

/// Whether a metric of requests has so many of what it is made of; others need none.
const fn is_of(metric: Metric, count: Count, wanted: u64) -> bool {
    match metric {
        Metric::ErrorRate | Metric::SuccessRate => count.requests >= wanted,
        Metric::Mean | Metric::P50 | Metric::P95 | Metric::P99 => count.latencies >= wanted,
        Metric::Cpu | Metric::Memory | Metric::Restarts | Metric::Ready => true,
    }
}

fn answer(
    subject: Subject,
    (verdict, mut reason): (Verdict, String),
    evidence: Evidence,
    memory: Memory,
) -> Answer {
    if let (Share::Mismatch, Some(split)) = (evidence.share, &evidence.split) {
        reason = format!("{reason}; {}", wording::mismatch(split));
    }
    let judgement = Judgement {
        subject,
        verdict,
        broken: worst_broken(&evidence.guards),
        share: evidence.share,
        standing: if verdict == Verdict::Pass {
            Standing::Shown
        } else {
            Standing::Open
        },
        unusual: None,
        since: evidence.from,
        at: evidence.to,
        reason,
    };
    Answer {
        judgement,
        evidence,
        memory,
    }
}

fn evidence_of(totals: &Totals, guards: Vec<GuardEvidence>) -> Evidence {
    Evidence {
        from: totals.from,
        to: totals.to,
        guards,
        split: totals.split,
        observed_bps: totals.split.as_ref().and_then(Split::observed_bps),
        share: totals.split.as_ref().map_or(Share::Fits, Split::check),
        sequential: None,
        bands: Vec::new(),
    }
}

/// Says why nothing can be judged at all.
fn absence(question: &Question<'_>, series: &Series, totals: &Totals) -> Option<String> {
    let stale_after = question.sampling.stale_after;
    if question.guards.is_empty() {
        return Some("nothing to judge by: there are no guards".to_owned());
    }
    let Some(newest) = series
        .newest()
        .filter(|newest| newest.from >= question.since)
    else {
        return Some("no samples yet".to_owned());
    };
    // A clock that went back far is as bad as old samples: how old they are is not known.
    let age = question.now.duration_since(newest.to);
    if age.unsigned_abs() > stale_after {
        return Some(wording::stale(age, stale_after));
    }
    (totals.batches == 0).then(|| "no samples within the window".to_owned())
}

/// Takes gauges away that no batch of the last `stale_after` has.
fn drop_old_gauges(totals: &mut Totals, series: &Series, now: Timestamp, stale_after: Duration) {
    let (mut stable, mut canary) = (Gauges::default(), Gauges::default());
    let is_fresh = |end: Timestamp| now.duration_since(end).unsigned_abs() <= stale_after;
    for batch in series
        .within(totals.from, now)
        .filter(|batch| is_fresh(batch.to))
    {
        stable = stable.updated(batch.stable.gauges);
        canary = canary.updated(batch.canary.gauges);
    }
    for (sample, fresh) in [(&mut totals.stable, stable), (&mut totals.canary, canary)] {
        let gauges = &mut sample.gauges;
        gauges.cpu_ppm = gauges.cpu_ppm.filter(|_| fresh.cpu_ppm.is_some());
        gauges.memory_bytes = gauges.memory_bytes.filter(|_| fresh.memory_bytes.is_some());
        gauges.restarts = fresh.restarts;
        gauges.ready_ppm = fresh.ready_ppm;
    }
}

/// Judges one guard, and counts a failed measurement unless this batch end was counted before.
fn rule(guard: &Guard, arms: &Arms<'_>, failed: &mut Failed, end: Timestamp) -> GuardEvidence {
    let mut evidence = measure(guard, arms);
    if evidence.verdict == Verdict::Fail && failed.last != Some(end) {
        *failed = Failed {
            count: failed.count.saturating_add(1),
            last: Some(end),
        };
    }
    if evidence.verdict == Verdict::Fail && failed.count <= guard.failures {
        evidence.verdict = Verdict::Inconclusive;
        evidence.reason = wording::tolerated(&evidence.reason, failed.count, guard.failures);
    }
    GuardEvidence {
        failed: failed.count,
        ..evidence
    }
}

fn unmeasured(guard: &Guard, failed: u32, reason: &str) -> GuardEvidence {
    GuardEvidence {
        metric: guard.metric,
        severity: guard.severity,
        limit: guard.limit_text(),
        limit_value: None,
        stable: None,
        canary: None,
        canary_bounds: None,
        stable_requests: 0,
        canary_requests: 0,
        bad: None,
        verdict: Verdict::NoData,
        failed,
        reason: reason.to_owned(),
    }
}

/// Brings the verdicts on all guards together, with the reason of the guard that decided.
fn conclude(guards: &[GuardEvidence], arms: &Arms<'_>) -> (Verdict, String) {
    let critical = |verdict: Verdict| {
        guards
            .iter()
            .find(|guard| guard.severity == Severity::Critical && guard.verdict == verdict)
    };
    for verdict in [Verdict::Fail, Verdict::Inconclusive, Verdict::NoData] {
        if let Some(guard) = critical(verdict) {
            return (verdict, guard.reason.clone());
        }
    }
    // A warn guard may be broken before the minimum, too: that is no data to pass on.
    let has_data = |guard: &GuardEvidence| {
        let is_enough =
            !guard.metric.is_of_requests() || guard.canary_requests >= arms.requests_min;
        is_enough && guard.verdict != Verdict::NoData
    };
    if guards.iter().any(has_data) {
        (Verdict::Pass, wording::pass(guards, arms.canary.requests))
    } else {
        (Verdict::NoData, wording::too_little(guards))
    }
}

/// Returns the worst severity among broken guards.
fn worst_broken(guards: &[GuardEvidence]) -> Option<Severity> {
    guards
        .iter()
        .filter(|guard| guard.verdict == Verdict::Fail)
        .map(|guard| guard.severity)
        .max()
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
