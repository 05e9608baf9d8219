//! What happened in a demo: one object for programs, five lines for people.

use std::time::{Duration, SystemTime};

use haldane_api::http::{RolloutHistory, ServiceView};
use serde::Serialize;

use super::{
    load::report::LoadReport,
    run::{NEW, OLD},
};
use crate::cli::words::count;

/// What happened.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Told {
    /// `promoted` or `rolled_back`; `failed` where the safe side was not reached.
    pub(crate) outcome: &'static str,
    /// Why, in one sentence.
    pub(crate) reason: String,
    /// From the command to the end, with set-up.
    pub(crate) seconds_total: f64,
    /// From the first answer of the new version to the decision.
    pub(crate) seconds_to_decision: f64,
    /// Requests that the client sent.
    pub(crate) requests: u64,
    /// Requests that the new version answered.
    pub(crate) canary_requests: u64,
    /// Requests without a complete answer, or with a 5xx that the proxy made, as the client counts.
    pub(crate) dropped: u64,
    /// The same under the name that scripts read.
    pub(crate) client_errors_dropped: u64,
    /// The time within which the new version answered 95 of 100 requests, in milliseconds, as the client saw it.
    pub(crate) canary_p95_ms: Option<u128>,
    /// Requests that got a 5xx from the new version.
    pub(crate) canary_bad: u64,
    /// The seed of users and failures.
    pub(crate) seed: u64,
    /// Each weight that was decided.
    pub(crate) weights: Vec<WeightTold>,
}

/// A weight that was decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct WeightTold {
    /// When, in seconds from the first request.
    pub(crate) at: f64,
    /// The weight.
    pub(crate) bps: u16,
    /// The share that the client saw while it held; `None` when it was over at once.
    pub(crate) observed_bps: Option<u16>,
}

/// What was seen while it ran.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    /// Each weight with the time since the load began.
    weights: Vec<(Duration, u16)>,
}

impl Watched {
    /// Notes where the rollout stands.
    pub(crate) fn note(&mut self, view: &ServiceView, elapsed: Duration) {
        let Some(rollout) = &view.rollout else { return };
        let bps = rollout.weight_bps.as_bps();
        if self.weights.last().is_none_or(|(_, last)| *last != bps) {
            self.weights.push((elapsed, bps));
        }
    }
}

impl Told {
    pub(crate) fn new(
        seed: u64,
        report: &LoadReport,
        history: &RolloutHistory,
        watched: &Watched,
        total: Duration,
    ) -> Self {
        let canary = report.versions.get(NEW);
        let decided = history
            .entries
            .iter()
            .find(|entry| matches!(entry.phase.as_str(), "Promoting" | "RollingBack"));
        let decided = decided.and_then(|entry| since(report.started_at, entry.at));
        let first = canary.and_then(|version| version.first_answer);
        let to_decision = decided
            .zip(first)
            .map(|(decided, first)| decided.saturating_sub(first))
            .unwrap_or_default();
        Self {
            outcome: match history.phase.as_str() {
                "Completed" => "promoted",
                "RolledBack" => "rolled_back",
                _ => "failed",
            },
            reason: history.message.clone(),
            seconds_total: tenths(total),
            seconds_to_decision: tenths(to_decision),
            requests: report.sent,
            canary_requests: canary.map_or(0, |version| version.requests),
            dropped: report.dropped,
            client_errors_dropped: report.dropped,
            canary_p95_ms: canary
                .and_then(|version| version.latency.p95())
                .map(|p95| p95.as_millis()),
            canary_bad: canary.map_or(0, |version| version.upstream_errors),
            seed,
            weights: weights(report, watched),
        }
    }

    /// Whether it ended as it should for a new version that is good, or for one that is not.
    pub(crate) fn is_expected(&self, is_good: bool) -> bool {
        self.outcome == if is_good { "promoted" } else { "rolled_back" }
    }

    /// Returns the story in five lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let what = match self.outcome {
            "promoted" => {
                format!("{NEW} was promoted: it serves all traffic now, and {OLD} is gone.")
            }
            "rolled_back" => format!("{NEW} was rolled back: {OLD} serves all traffic, as before."),
            _ => format!("{NEW} was neither promoted nor rolled back."),
        };
        vec![
            what,
            format!("Why: {}.", self.reason),
            format!(
                "When: {:.1} s after its first request; {:.1} s for everything.",
                self.seconds_to_decision, self.seconds_total
            ),
            format!(
                "Who met it: {} of {} went to {NEW}, and {} of them got an error from it.",
                self.canary_requests,
                count(self.requests, "request", "requests"),
                self.canary_bad
            ),
            format!(
                "Dropped: {} left without an answer, as the client counts (seed {}).",
                count(self.dropped, "request was", "requests were"),
                self.seed
            ),
        ]
    }
}

fn weights(report: &LoadReport, watched: &Watched) -> Vec<WeightTold> {
    let ends = watched
        .weights
        .iter()
        .skip(1)
        .map(|(at, _)| *at)
        .chain([report.elapsed]);
    let spans = watched.weights.iter().zip(ends);
    spans
        .map(|((at, bps), end)| {
            // Whole seconds inside the span: the first and the last hold requests of two weights.
            let range = Duration::from_secs(at.as_secs().saturating_add(1))
                ..Duration::from_secs(end.as_secs());
            let share = (range.start < range.end)
                .then(|| report.observed(NEW, range))
                .and_then(|seen| seen.share());
            WeightTold {
                at: tenths(*at),
                bps: *bps,
                observed_bps: share.map(to_bps),
            }
        })
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share between 0 and 1"
)]
fn to_bps(share: f64) -> u16 {
    (share.clamp(0.0, 1.0) * 10_000.0).round() as u16
}

fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

fn since(start: SystemTime, at: jiff::Timestamp) -> Option<Duration> {
    SystemTime::from(at).duration_since(start).ok()
}
