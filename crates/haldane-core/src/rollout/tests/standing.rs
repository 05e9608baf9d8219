//! How far the judge is from being sure: holds that end on evidence, and the step back from all traffic.

use super::script::{Script, check, plan};
use crate::{
    plan::{Mode, OnFailure, Rules, Sequential},
    rollout::{next_deadline, outlook::outlook},
};

/// The way into the hold of the first step.
const BEGIN: &str = "tick ready applied tick applied";

fn sequential() -> Rules {
    Rules {
        judge: Some(Sequential::default()),
        ..Rules::default()
    }
}

#[test]
fn a_hold_for_evidence_ends_early_only_where_it_is_shown() {
    let plan = plan("10% evidence=10..60 100%", sequential());
    for (script, expected) in [
        ("pass +9s tick", "step 1 at 10%"),
        ("+10s pass", "step 2 at 10%"),
        ("+10s so-far", "step 1 at 10%"),
        ("+59s so-far", "step 1 at 10%"),
        ("+59s pass", "step 2 at 10%"),
        ("+60s so-far", "step 2 at 10%"),
        ("+60s inconclusive", "step 1 at 10%"),
        ("+60s nodata", "step 1 at 10%"),
        ("+10s fail", "rolling back: fail was measured"),
    ] {
        check(&plan, &format!("{BEGIN} {script}"), expected);
    }
}

#[test]
fn a_fixed_hold_ends_when_no_harm_was_found_so_far() {
    let plan = plan("10% 1m 100%", sequential());
    for (script, expected) in [
        ("pass +59s tick", "step 1 at 10%"),
        ("+1m so-far", "step 2 at 10%"),
        ("+1m inconclusive", "step 1 at 10%"),
        ("+1m tick", "step 1 at 10%"),
    ] {
        check(&plan, &format!("{BEGIN} {script}"), expected);
    }
}

#[test]
fn a_plan_without_guards_is_judged_by_the_sequential_judge_and_not_promoted_unjudged() {
    let plan = plan("100%", sequential());
    for (script, expected) in [
        ("tick ready applied tick applied tick", "step 0 at 100%"),
        ("tick ready applied tick applied so-far", "Shifting at 100%"),
    ] {
        check(&plan, script, expected);
    }
}

#[test]
fn a_suspect_canary_with_all_traffic_shares_it_for_a_while() {
    let plan = plan("100% 10m", sequential());
    let reach = "tick ready applied tick applied";
    let compared = "paused at 50%: compared with stable again: suspect was measured";
    for (script, expected) in [
        ("suspect", compared),
        ("suspect applied +4m tick", compared),
        ("suspect applied suspect", compared),
        ("suspect applied pass", compared),
        ("suspect applied fail", "rolling back: fail was measured"),
        ("suspect applied abort", "rolling back: aborted by ann"),
        ("suspect applied +5m tick", "step 1 at 50%"),
        ("suspect applied +5m tick tick", "step 1 at 100%"),
        ("suspect applied resume tick", "step 1 at 100%"),
        ("suspect applied pause", "paused at 50%: paused by ann"),
    ] {
        check(&plan, &format!("{reach} {script}"), expected);
    }
}

#[test]
fn suspicion_means_nothing_below_all_traffic() {
    let plan = plan("50% 10m 100%", sequential());
    check(&plan, &format!("{BEGIN} suspect"), "step 1 at 50%");
}

#[test]
fn a_suspect_canary_is_compared_again_while_the_old_version_is_still_warm() {
    let rules = Rules {
        bake: std::time::Duration::from_mins(10),
        ..sequential()
    };
    let plan = plan("100%", rules);
    let reach = "tick ready applied tick applied so-far applied";
    for (script, expected) in [
        ("tick", "Baking at 100%"),
        (
            "suspect",
            "paused at 50%: compared with stable again: suspect was measured",
        ),
        ("suspect applied fail", "rolling back: fail was measured"),
        ("suspect applied +5m tick", "Shifting at 50%"),
        ("suspect applied +5m tick tick applied", "Baking at 100%"),
    ] {
        check(&plan, &format!("{reach} {script}"), expected);
    }
}

#[test]
fn a_failure_while_comparing_does_what_the_plan_says() {
    let rules = Rules {
        on_failure: OnFailure::PauseAtZero,
        advance: Mode::Hybrid,
        ..sequential()
    };
    let plan = plan("100% 10m", rules);
    let reach = "tick ready applied tick applied suspect applied fail";
    check(&plan, reach, "paused at 0%: fail was measured");
}

#[test]
fn the_outlook_of_a_comparison_says_how_it_ends() {
    let plan = plan("100% 10m", sequential());
    let script = Script::play(&plan, "tick ready applied tick applied suspect");
    let found = outlook(&plan, &script.state);
    assert_eq!(
        found.text,
        "sends all traffic to the canary again unless the comparison shows harm"
    );
    assert_eq!(next_deadline(&script.state), found.at);
}
