//! From the last step to the end: shifting, baking, draining, and the presets as a whole.

use std::time::Duration;

use super::{
    any::entered,
    script::{Script, check, guarded, plan},
};
use crate::{
    plan::{Mode, OnDoubt, OnFailure, Plan, Rules, Scale, Window, preset},
    rollout::effect,
};

/// All of the way to the promotion of `100%`, with a verdict.
const PASSED: &str = "tick ready applied tick applied pass";

fn baking() -> Rules {
    Rules {
        bake: Duration::from_mins(1),
        ..guarded()
    }
}

#[test]
fn all_traffic_moves_when_the_canary_can_carry_it() {
    let rules = Rules {
        canary_scale: Scale::Replicas(1),
        ..Rules::default()
    };
    let plan = plan("10%", rules);
    let reach = "tick ready=1 applied tick applied";
    for (script, expected) in [
        ("", "Shifting at 10%"),
        ("tick", "Shifting at 10%"),
        ("ready=3", "Shifting at 10%"),
        ("ready=4", "Shifting at 100%"),
        ("+899s tick", "Shifting at 10%"),
        (
            "+15m tick",
            "rolling back: the canary did not become ready in time",
        ),
        ("ready=4 tick", "Shifting at 100%"),
        ("ready=4 at=50%", "Shifting at 100%"),
        ("ready=4 applied", "Draining at 100%"),
        ("ready=4 +899s tick", "Shifting at 100%"),
        (
            "ready=4 +15m tick",
            "rolling back: traffic was not verified at 100% in time",
        ),
        ("ready=4 ready=0 applied", "Shifting at 100% (lost)"),
        (
            "ready=4 ready=0 +30s tick",
            "rolling back: the canary lost all its ready replicas",
        ),
    ] {
        check(&plan, &format!("{reach} {script}"), expected);
    }
}

#[test]
fn a_window_holds_the_last_rise_too() {
    let window = Window {
        days: vec![1],
        from_minute: 0,
        to_minute: 1_440,
        time_zone: "UTC".to_owned(),
    };
    let plan = plan(
        "10%",
        Rules {
            windows: vec![window],
            ..Rules::default()
        },
    );
    let reach = "open ready applied tick applied closed";
    check(&plan, reach, "paused at 10%: a freeze is on");
    check(&plan, &format!("{reach} +1h open"), "Shifting at 10%");
    check(&plan, &format!("{reach} +1h open tick"), "Shifting at 100%");
    check(
        &plan,
        &format!("{reach} +7d tick"),
        "rolling back: no window opened in time",
    );
    check(
        &plan,
        &format!("{reach} +1h open +14m ready=2"),
        "Shifting at 10%",
    );
}

#[test]
fn a_bake_ends_on_a_verdict() {
    let judged = plan("100%", baking());
    for (script, expected) in [
        ("", "Shifting at 100%"),
        ("applied", "Baking at 100%"),
        ("applied +59s pass", "Baking at 100%"),
        ("applied +60s pass", "Draining at 100%"),
        ("applied +60s tick", "Baking at 100%"),
        ("applied +60s old-pass", "Baking at 100%"),
        ("applied +60s nodata", "Baking at 100%"),
        ("applied nodata +3659s tick", "Baking at 100%"),
        (
            "applied nodata +3660s nodata",
            "rolling back: no evidence to go on: nodata was measured",
        ),
        ("applied fail", "rolling back: fail was measured"),
        ("applied +1s promote", "Draining at 100%"),
        (
            "applied +1s promote applied",
            "completed: promoted by an operator",
        ),
        ("applied pause", "paused at 100%: paused by ann"),
        ("applied pause +1h resume +59s pass", "Baking at 100%"),
        ("applied pause +1h resume +60s pass", "Draining at 100%"),
        // The time that may be waited for evidence is as long as without the pause.
        (
            "applied pause +2h resume +60s nodata +59m nodata",
            "Baking at 100%",
        ),
        (
            "applied pause +2h resume +60s nodata +60m nodata",
            "rolling back: no evidence to go on: nodata was measured",
        ),
        ("applied pause fail", "rolling back: fail was measured"),
        ("applied set=50%", "paused at 50%: weight set by ann"),
        ("applied set=50% resume", "Shifting at 50%"),
        ("applied set=50% resume tick applied", "Baking at 100%"),
        ("applied set=50% promote", "Shifting at 50%"),
        ("applied +60s at=50% pass", "Baking at 100%"),
        ("applied ready=0", "Baking at 100% (lost)"),
    ] {
        check(&judged, &format!("{PASSED} {script}"), expected);
    }
    let unjudged = plan(
        "100%",
        Rules {
            bake: Duration::from_mins(1),
            ..Rules::default()
        },
    );
    check(
        &unjudged,
        "tick ready applied tick applied applied +60s tick",
        "Draining at 100%",
    );
}

#[test]
fn each_stage_begins_when_it_begins() {
    // Evidence from before does not speak for it.
    let judged = plan("100%", baking());
    for (script, expected) in [
        ("+5s at=50%", "Shifting at 100%"),
        ("+5s applied", "Baking at 100%"),
        ("+5s applied +60s pass", "Draining at 100%"),
    ] {
        let script = Script::play(&judged, &format!("{PASSED} {script}"));
        assert_eq!(script.line(), expected);
        let age = script.now.duration_since(entered(&script.state)).as_secs();
        let begun_before = if expected.starts_with("Shifting") {
            5
        } else {
            0
        };
        assert_eq!(age, begun_before, "{expected}");
    }
}

#[test]
fn a_bake_in_doubt_ends_as_the_plan_says() {
    for (on_no_data, script, expected) in [
        (OnDoubt::Advance, "+60s nodata", "Draining at 100%"),
        (
            OnDoubt::Rollback,
            "+60s nodata",
            "rolling back: no evidence to go on: nodata was measured",
        ),
        (OnDoubt::Rollback, "+119s tick", "Baking at 100%"),
        (
            OnDoubt::Rollback,
            "+120s tick",
            "rolling back: no evidence to go on: there is no judgement yet",
        ),
        (OnDoubt::Advance, "+119s tick", "Baking at 100%"),
        (OnDoubt::Advance, "+120s tick", "Draining at 100%"),
    ] {
        let plan = plan(
            "100%",
            Rules {
                on_no_data,
                ..baking()
            },
        );
        check(&plan, &format!("{PASSED} +1s applied {script}"), expected);
    }
    // Who promoted by name does not need the judge's doubt.
    let plan = plan(
        "100%",
        Rules {
            on_no_data: OnDoubt::Rollback,
            ..baking()
        },
    );
    let by_name = "tick ready applied tick applied full applied +60s";
    check(&plan, &format!("{by_name} nodata"), "Draining at 100%");
    check(
        &plan,
        &format!("{by_name} fail"),
        "rolling back: fail was measured",
    );
}

#[test]
fn a_bad_bake_is_one_weight_change() {
    for (on_failure, promote, expected) in [
        (
            OnFailure::Rollback,
            Mode::Auto,
            "rolling back: fail was measured",
        ),
        (
            OnFailure::Hold,
            Mode::Auto,
            "paused at 100%: fail was measured",
        ),
        (
            OnFailure::PauseAtZero,
            Mode::Auto,
            "paused at 0%: fail was measured",
        ),
        (
            OnFailure::Rollback,
            Mode::Hybrid,
            "paused at 0%: fail was measured",
        ),
    ] {
        let plan = plan(
            "100%",
            Rules {
                on_failure,
                promote,
                ..baking()
            },
        );
        let script = Script::play(&plan, &format!("{PASSED} applied fail"));
        assert_eq!(script.line(), expected);
        // The old version was never let go, so that it can take the traffic at once.
        assert!(effect::workloads(&plan, &script.state).has_stable);
        check(&plan, &format!("{PASSED} applied fail tick fail"), expected);
    }
    let zero = plan(
        "100%",
        Rules {
            on_failure: OnFailure::PauseAtZero,
            ..baking()
        },
    );
    check(
        &zero,
        &format!("{PASSED} applied fail +1s resume"),
        "Shifting at 0%",
    );
    check(
        &zero,
        &format!("{PASSED} applied fail +1s promote"),
        "Shifting at 0%",
    );
}

#[test]
fn the_old_version_ends_its_requests_before_it_is_let_go() {
    let judged = plan("100%", guarded());
    let reach = format!("{PASSED} applied+5");
    for (script, expected) in [
        ("", "Draining at 100%"),
        ("tick", "Draining at 100%"),
        ("applied", "completed: every step passed"),
        ("+29s tick", "Draining at 100%"),
        ("+30s tick", "completed: every step passed"),
        ("at=50%", "Draining at 100%"),
        (
            "at=50% +30s tick",
            "rolling back: traffic was not verified at 100% in time",
        ),
        ("restarted +29s tick", "Draining at 100%"),
        ("promote", "Draining at 100%"),
        ("full", "Draining at 100%"),
        ("fail", "rolling back: fail was measured"),
        ("abort", "rolling back: aborted by ann"),
        (
            "pause",
            "Draining at 100%; refused: not possible while Promoting: the promotion is nearly done",
        ),
        (
            "set=50%",
            "Draining at 100%; refused: not possible while Promoting: the promotion is nearly done; abort takes the traffic back",
        ),
    ] {
        check(&judged, &format!("{reach} {script}"), expected);
    }
    check(
        &plan("100%", Rules::default()),
        "tick ready applied tick applied applied applied",
        "completed: every step ended; the plan asks for no verdict",
    );
}

#[test]
fn blue_green_previews_switches_and_keeps_blue_for_a_while() {
    let plan = preset::find("blue-green", guarded()).unwrap();
    for (script, expected) in [
        ("tick ready=3 applied", "preparing"),
        ("tick ready applied tick", "step 0 at 0%"),
        ("tick ready applied applied", "step 1 at 0%"),
        (
            "tick ready applied applied tick",
            "paused at 0%: the plan waits for a person here",
        ),
        (
            "tick ready applied applied tick promote tick",
            "step 2 at 100%",
        ),
        (
            "tick ready applied applied tick promote tick applied applied",
            "Baking at 100%",
        ),
        (
            "tick ready applied applied tick promote tick applied applied +30s pass applied",
            "completed: promoted by an operator",
        ),
        (
            "tick ready applied applied tick promote tick applied applied +29s fail",
            "rolling back: fail was measured",
        ),
    ] {
        check(&plan, script, expected);
    }
}

/// Plays a plan in a world that does at once what is asked, and returns what was in force at each minute.
fn minutes(plan: &Plan) -> Vec<String> {
    let mut script = Script::play(plan, "tick ready applied");
    let mut lines = Vec::new();
    while !script.state.phase.is_terminal() && lines.len() < 200 {
        for _ in 0..6 {
            script.go_on("applied tick");
        }
        lines.push(script.line());
        script.go_on("+1m");
    }
    lines
}

#[test]
fn code_deploys_linear_timing_holds_both_readings() {
    let plan = preset::find(
        "CodeDeployDefault.LambdaLinear10PercentEvery10Minutes",
        Rules::default(),
    )
    .unwrap();
    let lines = minutes(&plan);
    for (minute, expected) in [
        (0, "step 1 at 10%"),
        (9, "step 1 at 10%"),
        (10, "step 3 at 20%"),
        (89, "step 17 at 90%"),
        (90, "Baking at 100%"),
        (99, "Baking at 100%"),
        (
            100,
            "completed: every step ended; the plan asks for no verdict",
        ),
    ] {
        assert_eq!(lines[minute], expected, "minute {minute}");
    }
    let canary = preset::find(
        "CodeDeployDefault.LambdaCanary10Percent5Minutes",
        Rules::default(),
    )
    .unwrap();
    let lines = minutes(&canary);
    assert_eq!(lines[4], "step 1 at 10%");
    assert_eq!(
        lines[5],
        "completed: every step ended; the plan asks for no verdict"
    );
    let all = preset::find("AllAtOnce", Rules::default()).unwrap();
    assert_eq!(minutes(&all).len(), 1);
}
