//! Findings on Rollouts and AnalysisTemplates of Argo.

use std::time::Duration;

use haldane_core::Weight;

use super::{Finding, Spot};
use crate::{
    lint::{
        Edit,
        pace::{Stage, lint_pace},
        rules::{
            ALL_AT_ONCE, BLIND_CANARY, METRIC_WITHOUT_CONDITION, SHARE_BY_REPLICAS,
            STEP_WITHOUT_HOLD,
        },
    },
    text::{Unit, parse_duration_or},
};

/// Providers whose measurement has a verdict of its own.
const JUDGING: [&str; 3] = ["job", "kayenta", "plugin"];

/// The pause that is put where none is.
const PAUSE: &str = "- pause: { duration: 5m }";

/// Returns what is to be said of a Rollout.
pub(super) fn check_rollout(root: &Spot<'_>) -> Vec<Finding> {
    if let Some(canary) = root.at(&["spec", "strategy", "canary"]) {
        return check_canary(&canary);
    }
    let Some(blue_green) = root.at(&["spec", "strategy", "blueGreen"]) else {
        return Vec::new();
    };
    let analyses = ["prePromotionAnalysis", "postPromotionAnalysis"];
    let is_blind = analyses.iter().all(|key| blue_green.lacks(&[key]))
        && blue_green.text_at(&["autoPromotionEnabled"]) != Some("false");
    let reason = "everybody is switched as soon as the pods are ready, and no analysis looks";
    let finding = is_blind.then(|| {
        let mut finding = blue_green.say(&BLIND_CANARY, reason);
        finding.fix = "give a prePromotionAnalysis, or autoPromotionEnabled: false".to_owned();
        finding
    });
    finding.into_iter().collect()
}

fn check_canary(canary: &Spot<'_>) -> Vec<Finding> {
    let steps = canary.items_at(&["steps"]);
    let mut findings = Vec::new();
    if canary.lacks(&["trafficRouting"]) {
        let reason = "nobody splits the traffic, so setWeight is rounded to whole pods";
        findings.push(canary.say_missing("trafficRouting", &SHARE_BY_REPLICAS, reason));
    }
    if steps.is_empty() {
        if canary.lacks(&["steps"]) {
            let mut finding = canary.say_missing(
                "steps",
                &ALL_AT_ONCE,
                "without steps a canary is a rolling update",
            );
            finding.fix = "give steps: a small share, a pause, an analysis, and so on".to_owned();
            findings.push(finding);
        }
        return findings;
    }
    let stages = stages(&steps);
    let is_judged = !canary.lacks(&["analysis"])
        || stages
            .iter()
            .any(|stage| stage.is_tested || stage.is_manual);
    if !is_judged {
        let reason = "no step judges the canary, no analysis runs beside them, and no pause waits for a person";
        let place = canary.at(&["steps"]).unwrap_or_else(|| canary.clone());
        let mut finding = place.say(&BLIND_CANARY, reason);
        finding.fix = "give an analysis beside the steps, or as one of them".to_owned();
        findings.push(finding);
    }
    let of_pace = lint_pace(&stages)
        .into_iter()
        .filter_map(|(index, rule, reason, fix)| {
            // What the last step leaves open has no step of its own.
            let step = steps.get(index).or_else(|| steps.last())?;
            let mut finding = step.say(rule, reason);
            finding.fix = fix;
            if *rule == STEP_WITHOUT_HOLD {
                finding.edit = pause_below(step);
            }
            Some(finding)
        });
    findings.extend(of_pace);
    findings
}

/// Returns the stages of the steps; after the last one all of the traffic follows.
fn stages(steps: &[Spot<'_>]) -> Vec<Stage> {
    let mut stages = vec![Stage::begin(Weight::ZERO, 0)];
    for (index, step) in steps.iter().enumerate() {
        if let Some(weight) = step.text_at(&["setWeight"]) {
            let percent = weight.parse::<u8>().unwrap_or_default();
            stages.push(Stage::begin(Weight::from_percent(percent), index));
            continue;
        }
        let Some(stage) = stages.last_mut() else {
            continue;
        };
        if let Some(pause) = step.at(&["pause"]) {
            match pause.text_at(&["duration"]) {
                None => stage.is_manual = true,
                // What can't be read is long enough.
                Some(text) => {
                    let time = parse_duration_or(text, Unit::Seconds).unwrap_or(Duration::MAX);
                    stage.wait = stage.wait.saturating_add(time);
                }
            }
        } else if step.lacks(&["setCanaryScale"]) {
            stage.test(Duration::ZERO);
        }
    }
    if stages.last().is_some_and(|stage| !stage.weight.is_full()) {
        stages.push(Stage::begin(Weight::FULL, steps.len()));
    }
    stages
}

/// Returns the edit that puts a pause below a step that stands on one line.
fn pause_below(step: &Spot<'_>) -> Option<Edit> {
    let weight = step.at(&["setWeight"])?;
    let value = weight.plain()?;
    let is_alone = step.entries().len() == 1 && weight.mark == step.mark;
    let indent = step.mark.column.checked_sub(3)?;
    (is_alone && weight.node.mark.line == step.mark.line).then(|| Edit {
        line: step.mark.line,
        column: weight
            .node
            .mark
            .column
            .saturating_add(value.chars().count()),
        remove: 0,
        insert: format!("\n{}{PAUSE}", " ".repeat(indent)),
    })
}

/// Returns what is to be said of an AnalysisTemplate.
pub(super) fn check_template(root: &Spot<'_>) -> Vec<Finding> {
    let metrics = root.items_at(&["spec", "metrics"]);
    let blind = metrics.iter().filter(|metric| {
        let provider = metric.at(&["provider"]);
        let judges = provider.is_none_or(|one| JUDGING.iter().any(|key| !one.lacks(&[key])));
        !judges && metric.lacks(&["successCondition"]) && metric.lacks(&["failureCondition"])
    });
    let say = |metric: &Spot<'_>| {
        let name = metric.text_at(&["name"]).unwrap_or("the metric");
        metric.say(
            &METRIC_WITHOUT_CONDITION,
            format!("{name} succeeds with every value"),
        )
    };
    blind.map(say).collect()
}
