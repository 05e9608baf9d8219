//! What a verdict rests on, in the words that people see.

mod comparison;

use haldane_analysis::{Evidence, GuardEvidence};
use haldane_api::http::{GuardView, JudgementView, RequestsView};
use haldane_core::{
    plan::metric::Kind,
    verdict::{Judgement, Verdict},
};

/// Returns what the judge says, with its evidence.
#[must_use]
pub fn view(judgement: Option<&Judgement>, evidence: &Evidence) -> JudgementView {
    JudgementView {
        verdict: judgement.map_or(Verdict::NoData, |judgement| judgement.verdict),
        reason: judgement.map_or_else(String::new, |judgement| judgement.reason.clone()),
        from: Some(evidence.from),
        to: Some(evidence.to),
        requests: requests(evidence),
        guards: evidence.guards.iter().map(guard).collect(),
        comparison: evidence.sequential.as_ref().map(comparison::view),
        bands: evidence.bands.iter().map(comparison::band).collect(),
    }
}

/// Returns how many requests of both versions were judged by, as far as requests were: the most that a guard or a comparison used.
fn requests(evidence: &Evidence) -> Option<RequestsView> {
    let guards = evidence.guards.iter();
    let guards = guards.map(|one| (one.stable_requests, one.canary_requests));
    let compared = evidence.sequential.iter().flat_map(|known| &known.metrics);
    let compared = compared
        .filter(|one| matches!(one.kind, Kind::Ratio | Kind::Latency))
        .map(|one| (one.stable.exposure, one.canary.exposure));
    let most = guards.chain(compared).max_by_key(|(_, canary)| *canary);
    most.filter(|counts| *counts != (0, 0))
        .map(|(stable, canary)| RequestsView { stable, canary })
}

fn guard(guard: &GuardEvidence) -> GuardView {
    let show = |value: Option<u64>| value.map(|value| guard.metric.unit().show(value));
    GuardView {
        metric: guard.metric.name().to_owned(),
        limit: guard.limit.clone(),
        stable: show(guard.stable),
        canary: show(guard.canary),
        verdict: guard.verdict,
        severity: guard.severity,
        reason: guard.reason.clone(),
    }
}
