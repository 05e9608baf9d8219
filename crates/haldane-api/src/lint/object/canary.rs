//! Findings on Canaries of Flagger.

use std::time::Duration;

use haldane_core::Weight;

use super::{Finding, Spot};
use crate::{
    lint::{
        pace::{Stage, lint_pace},
        rules::{BLIND_CANARY, ERRORS_UNWATCHED, LATENCY_UNWATCHED, LOOSE_THRESHOLD, NOBODY_TOLD},
    },
    text::parse_duration,
};

/// How often Flagger looks, where nothing is said.
const INTERVAL: Duration = Duration::from_mins(1);

/// A success rate below which nobody needs a guard to see what is wrong, percent.
const SUCCESS_MIN: f64 = 80.0;

/// Webhooks by which something besides metrics decides.
const DECIDING: [&str; 4] = [
    "rollout",
    "confirm-rollout",
    "confirm-promotion",
    "confirm-traffic-increase",
];

/// Returns what is to be said of a Canary.
pub(super) fn check_canary(root: &Spot<'_>) -> Vec<Finding> {
    let Some(spec) = root.at(&["spec"]) else {
        return Vec::new();
    };
    let skip = spec.at(&["skipAnalysis"]);
    if let Some(skip) = skip.filter(|skip| skip.text() == Some("true")) {
        let mut finding = skip.say(&BLIND_CANARY, "every new version is promoted unseen");
        finding.fix = "leave skipAnalysis out".to_owned();
        return vec![finding];
    }
    let Some(analysis) = spec.at(&["analysis"]) else {
        return Vec::new();
    };
    let mut findings = judged(&analysis);
    if analysis.lacks(&["alerts"]) {
        let reason = "nobody is told when a rollout begins or fails";
        findings.push(analysis.say_missing("alerts", &NOBODY_TOLD, reason));
    }
    findings.extend(pace(&analysis));
    findings
}

/// Returns what is to be said of what the canary is judged by.
fn judged(analysis: &Spot<'_>) -> Vec<Finding> {
    let metrics = analysis.items_at(&["metrics"]);
    let webhooks = analysis.items_at(&["webhooks"]);
    if metrics.is_empty() {
        let decides = |hook: &Spot<'_>| {
            let kind = hook.text_at(&["type"]).unwrap_or("rollout");
            DECIDING.contains(&kind)
        };
        let is_blind = analysis.lacks(&["metrics"]) && !webhooks.iter().any(decides);
        let reason = "no metric is looked at, and no webhook decides";
        let finding = is_blind.then(|| {
            let mut finding = analysis.say_missing("metrics", &BLIND_CANARY, reason);
            finding.fix =
                "give metrics such as request-success-rate and request-duration".to_owned();
            finding
        });
        return finding.into_iter().collect();
    }
    let mut findings = Vec::new();
    // What a template asks is not known from here.
    let is_known = metrics
        .iter()
        .all(|metric| metric.lacks(&["templateRef"]) && metric.lacks(&["query"]));
    let has = |name: &str| {
        metrics
            .iter()
            .any(|metric| metric.text_at(&["name"]) == Some(name))
    };
    let place = analysis
        .at(&["metrics"])
        .unwrap_or_else(|| analysis.clone());
    for (name, rule) in [
        ("request-success-rate", &ERRORS_UNWATCHED),
        ("request-duration", &LATENCY_UNWATCHED),
    ] {
        if is_known && !has(name) {
            let mut finding = place.say(rule, format!("{name} is not among the metrics"));
            finding.fix = format!("add {name}");
            findings.push(finding);
        }
    }
    findings.extend(metrics.iter().filter_map(loose));
    findings
}

fn loose(metric: &Spot<'_>) -> Option<Finding> {
    if metric.text_at(&["name"]) != Some("request-success-rate") {
        return None;
    }
    let limit = metric.at(&["thresholdRange", "min"]);
    let limit = limit.or_else(|| metric.at(&["threshold"]))?;
    let percent = limit.text()?.parse::<f64>().ok()?;
    (percent <= SUCCESS_MIN).then(|| {
        let reason = format!("{percent} % of the requests may succeed, and nothing is said");
        let mut finding = limit.say(&LOOSE_THRESHOLD, reason);
        finding.fix = "set it near to what the service has, such as 99".to_owned();
        finding
    })
}

/// Returns what is to be said of the steps.
fn pace(analysis: &Spot<'_>) -> Vec<Finding> {
    let interval = match analysis.text_at(&["interval"]) {
        None => INTERVAL,
        Some(text) => match parse_duration(text) {
            Ok(time) => time,
            // What can't be read is not judged.
            Err(_) => return Vec::new(),
        },
    };
    let hooks = analysis.items_at(&["webhooks"]);
    let waits = |hook: &Spot<'_>| {
        hook.text_at(&["type"])
            .is_some_and(|kind| kind.starts_with("confirm"))
    };
    let is_manual = hooks.iter().any(waits);
    let Some((place, weights)) = weights(analysis) else {
        return Vec::new();
    };
    let mut stages = vec![Stage::begin(Weight::ZERO, 0)];
    stages.extend(weights.into_iter().map(|weight| Stage {
        wait: interval,
        is_manual,
        ..Stage::begin(weight, 0)
    }));
    if stages.last().is_some_and(|stage| !stage.weight.is_full()) {
        stages.push(Stage::begin(Weight::FULL, 0));
    }
    let say = |(_, rule, reason, fix): (usize, _, String, String)| {
        let mut finding = place.say(rule, reason);
        finding.fix = fix;
        finding
    };
    lint_pace(&stages).into_iter().map(say).collect()
}

/// Returns the shares of the steps, and where they are said; `None` for blue-green and tests by header.
fn weights<'a>(analysis: &Spot<'a>) -> Option<(Spot<'a>, Vec<Weight>)> {
    let percent = |spot: &Spot<'_>| spot.text()?.parse::<u8>().ok();
    if let Some(list) = analysis.at(&["stepWeights"]) {
        let weights: Option<Vec<u8>> = list.items().iter().map(percent).collect();
        let weights = weights?.into_iter().map(Weight::from_percent).collect();
        return Some((list, weights));
    }
    let step = analysis.at(&["stepWeight"])?;
    let by = percent(&step).filter(|by| *by > 0)?;
    let most = analysis.at(&["maxWeight"]);
    let most = most.as_ref().and_then(percent).unwrap_or(100);
    // The last step may go past maxWeight, as in 20, 40, 60 of 50.
    let last = most.div_ceil(by);
    let weights = (1..=last).map(|times| Weight::from_percent(by.saturating_mul(times)));
    Some((step, weights.collect()))
}
