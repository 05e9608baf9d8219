//! Judges on past data: what each would have decided, and when.
//!
//! The data are moments of a recording, however they came about: recorded by a daemon, read from a file, or asked of a metric system.
//! Haldane's judges look at each of them, with the plan's own rules; the others see the same counts by the second, from the first one in
//! which the canary was to have traffic, and look when their own rules say so.
//!
//! Others' judges decide on what their own rollout would have sent to the canary; here they see what really was sent. Where their
//! rollout would have stood still or gone on earlier, that makes a difference which data of the past can't show.
//!
//! **Invariant:** the same data and plan give the same findings.

mod others;
mod own;

use haldane_analysis::{Batch, recording::Moment};
use haldane_core::{plan::Plan, verdict::Verdict};
use jiff::Timestamp;

use self::{others::Others, own::Own};

/// What is asked of Haldane's judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// What they were asked when it was recorded: the plan is the same.
    AsRecorded,
    /// In each second in which the canary has traffic; samples speak from when the weight changed last, or from what is recorded.
    Always,
}

/// What a judge would have decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Who.
    pub judge: &'static str,
    /// The verdict: `Fail` when it would have taken the canary back, else what it said last.
    pub verdict: Verdict,
    /// When it would have taken the canary back, or looked last; `None` if it never looked.
    pub at: Option<Timestamp>,
    /// How long the canary had had traffic by then, in seconds.
    pub seconds: u64,
    /// How many requests the canary had had by then.
    pub canary_requests: u64,
    /// How many of them had failed.
    pub canary_failures: u64,
    /// When it was first sure that the canary is no worse than accepted; only Haldane's sequential judge says so.
    pub shown_at: Option<Timestamp>,
    /// Why, in words.
    pub why: String,
}

/// What the data are, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// When the first batch began.
    pub from: Option<Timestamp>,
    /// When the last one ended.
    pub to: Option<Timestamp>,
    /// When the canary was first to have traffic.
    pub canary_from: Option<Timestamp>,
    /// How many batches there are.
    pub batches: u64,
    /// How many requests stable had.
    pub stable_requests: u64,
    /// How many of them failed.
    pub stable_failures: u64,
    /// How many requests the canary had.
    pub canary_requests: u64,
    /// How many of them failed.
    pub canary_failures: u64,
}

/// How much the canary has had so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    at: Option<Timestamp>,
    seconds: u64,
    requests: u64,
    failures: u64,
}

/// Lets every judge see the data, in their order.
#[must_use]
pub fn replay(plan: &Plan, moments: &[Moment], asking: Asking) -> Vec<Finding> {
    let extent = extent(moments);
    let mut findings = Own::new(plan, asking).play(moments, &extent);
    findings.extend(Others::new(moments).play(moments, &extent));
    findings
}

/// Returns what the data are, all together.
#[must_use]
pub fn extent(moments: &[Moment]) -> Extent {
    let mut extent = Extent::default();
    for batch in moments.iter().filter_map(batch) {
        extent.from = extent.from.or(Some(batch.from));
        extent.to = Some(batch.to);
        extent.batches = extent.batches.saturating_add(1);
        let is_in_use = !batch.weight.is_zero() || batch.canary.requests > 0;
        // What was counted before a recording began is told of stable alone.
        if is_in_use {
            extent.canary_from = extent.canary_from.or(Some(batch.from));
        }
        for (sum, count) in [
            (&mut extent.stable_requests, batch.stable.requests),
            (&mut extent.stable_failures, batch.stable.failures),
            (&mut extent.canary_requests, batch.canary.requests),
            (&mut extent.canary_failures, batch.canary.failures),
        ] {
            *sum = sum.saturating_add(count);
        }
    }
    extent
}

impl Progress {
    fn add(&mut self, batch: &Batch, extent: &Extent) {
        self.at = Some(batch.to);
        let since = extent.canary_from.unwrap_or(batch.to);
        let seconds = batch.to.duration_since(since).as_secs();
        self.seconds = u64::try_from(seconds).unwrap_or(0);
        self.requests = self.requests.saturating_add(batch.canary.requests);
        self.failures = self.failures.saturating_add(batch.canary.failures);
    }

    const fn finding(self, judge: &'static str, verdict: Verdict, why: String) -> Finding {
        Finding {
            judge,
            verdict,
            at: self.at,
            seconds: self.seconds,
            canary_requests: self.requests,
            canary_failures: self.failures,
            shown_at: None,
            why,
        }
    }
}

const fn batch(moment: &Moment) -> Option<&Batch> {
    match moment {
        Moment::Past(batch) => Some(batch),
        Moment::Second(second) => Some(&second.batch),
        Moment::Segment(_) | Moment::Full(_) => None,
    }
}

#[cfg(test)]
mod tests;
