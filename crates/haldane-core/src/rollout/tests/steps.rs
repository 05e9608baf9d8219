//! What each step waits for, and what ends the wait.

use super::script::{Script, check, guarded, plan};
use crate::{
    plan::{Mode, OnDoubt, OnFailure, Rules, Scale, Window},
    rollout::next_deadline,
};

/// The way into the first step.
const BEGIN: &str = "tick ready applied";

fn windowed() -> Rules {
    Rules {
        windows: vec![Window {
            days: vec![1],
            from_minute: 0,
            to_minute: 1_440,
            time_zone: "UTC".to_owned(),
        }],
        ..Rules::default()
    }
}

#[test]
fn a_rollout_begins_when_its_window_opens() {
    let plan = plan("100%", windowed());
    for (script, expected) in [
        ("tick", "pending"),
        ("closed tick ready applied", "pending"),
        ("closed +1d open", "preparing"),
        ("closed +6d tick", "pending"),
        ("closed +7d tick", "rolling back: no window opened in time"),
        ("abort", "rolling back: aborted by ann"),
        ("abort applied", "rolled back: aborted by ann"),
    ] {
        check(&plan, script, expected);
    }
}

#[test]
fn the_first_step_begins_when_the_canary_is_ready_and_the_routing_is_known() {
    let plan = plan("10% 1m 100%", Rules::default());
    for (script, expected) in [
        ("tick", "preparing"),
        ("tick ready", "preparing"),
        ("tick applied", "preparing"),
        ("tick ready=3 applied", "preparing"),
        ("tick ready applied", "step 0 at 0%"),
        ("tick applied ready", "step 0 at 0%"),
        ("tick ready at=10%", "preparing"),
        ("tick fixed=1 applied", "step 0 at 0%"),
        ("tick fixed=0 applied", "preparing"),
        ("tick applied +599s tick", "preparing"),
        (
            "tick applied +10m tick",
            "rolling back: the canary did not become ready in time",
        ),
        (
            "tick ready +10m tick",
            "rolling back: traffic was not verified at 0% in time",
        ),
        ("tick applied +10m ready", "step 0 at 0%"),
    ] {
        check(&plan, script, expected);
    }
}

#[test]
fn a_weight_is_in_force_before_the_next_step_begins() {
    let plan = plan("10% 25% 1m 100%", Rules::default());
    for (script, expected) in [
        ("tick ready applied tick", "step 0 at 10%"),
        ("tick ready applied tick tick tick", "step 0 at 10%"),
        ("tick ready applied tick at=5%", "step 0 at 10%"),
        ("tick ready applied tick applied", "step 1 at 10%"),
        ("tick ready applied tick applied applied", "step 1 at 25%"),
        (
            "tick ready applied tick applied ready=2 applied",
            "step 1 at 10%",
        ),
        (
            "tick ready applied tick applied ready=2 +15m tick",
            "rolling back: the canary did not become ready in time",
        ),
        ("tick ready applied tick +14m tick", "step 0 at 10%"),
        (
            "tick ready applied tick +15m tick",
            "rolling back: traffic was not verified at 10% in time",
        ),
    ] {
        check(&plan, script, expected);
    }
}

#[test]
fn a_weight_that_it_may_not_pass_pauses_and_reopens() {
    let plan = plan("10% 1m 50% 1m", windowed());
    let reach = "upto=0% tick ready applied tick upto=10% tick applied +1m";
    let paused = "paused at 10%: the others are not there yet";
    let refused = "refused: not possible while Paused: the others are not there yet";
    for (script, expected) in [
        ("tick", "step 2 at 10%"),
        ("tick tick", paused),
        ("tick tick upto=49%", paused),
        ("tick tick upto=50%", "step 2 at 10%"),
        ("tick tick upto=50% tick", "step 2 at 50%"),
        ("tick tick promote", &format!("{paused}; {refused}")),
        ("tick tick abort", "rolling back: aborted by ann"),
        // Who skips the wait does not skip the limit.
        ("promote tick tick", paused),
        ("full tick", paused),
        ("full tick upto=99%", paused),
        ("full tick upto=100% tick", "Shifting at 100%"),
    ] {
        check(&plan, &format!("{reach} {script}"), expected);
    }
    check(
        &plan,
        "upto=0% tick ready applied tick",
        "paused at 0%: the others are not there yet",
    );
}

#[test]
fn a_closed_window_pauses_and_reopens() {
    let plan = plan("10% 1m 50% 1m 0% 1m", windowed());
    let reach = "open ready applied tick applied +1m";
    for (script, expected) in [
        ("tick", "step 2 at 10%"),
        ("closed", "step 2 at 10%"),
        ("closed tick", "paused at 10%: a freeze is on"),
        ("closed tick +1h open", "step 2 at 10%"),
        ("closed tick +1h open tick", "step 2 at 50%"),
        (
            "closed tick +7d tick",
            "rolling back: no window opened in time",
        ),
        (
            "closed tick promote",
            "paused at 10%: a freeze is on; refused: not possible while Paused: a freeze is on",
        ),
        (
            "closed tick full",
            "paused at 10%: a freeze is on; refused: not possible while Paused: a freeze is on",
        ),
        (
            "closed tick resume",
            "paused at 10%: a freeze is on; refused: not possible while Paused: a freeze is on",
        ),
        (
            "closed tick set=20%",
            "paused at 10%: a freeze is on; refused: not possible while Paused: a freeze is on",
        ),
        ("closed tick set=10%", "paused at 10%: weight set by ann"),
        ("closed tick set=5%", "paused at 5%: weight set by ann"),
        ("closed tick pause", "paused at 10%: paused by ann"),
        (
            "closed tick pause open tick",
            "paused at 10%: paused by ann",
        ),
        ("closed tick pause +8h open resume tick", "step 2 at 50%"),
        ("closed tick abort", "rolling back: aborted by ann"),
        // A window never keeps weight from falling.
        ("open tick applied +1m closed tick", "step 4 at 0%"),
    ] {
        check(&plan, &format!("{reach} {script}"), expected);
    }
    check(
        &plan,
        "open ready applied tick applied restarted applied ready +1m tick tick",
        "paused at 10%: waiting for the calendar",
    );
}

#[test]
fn without_windows_the_calendar_is_not_waited_for() {
    check(&plan("10%", Rules::default()), "tick", "preparing");
    check(&plan("10%", Rules::default()), "closed", "pending");
}

#[test]
fn a_hold_lasts_its_time_and_a_judged_one_ends_on_a_verdict() {
    let judged = plan("10% 1m 100%", guarded());
    let reach = "tick ready applied tick applied";
    for (script, expected) in [
        ("pass +59s pass", "step 1 at 10%"),
        ("+60s pass", "step 2 at 10%"),
        ("pass +14s tick", "step 1 at 10%"),
        ("+46s pass +14s tick", "step 2 at 10%"),
        ("+45s pass +15s tick", "step 2 at 10%"),
        // Older than 15 seconds.
        ("+44s pass +16s tick", "step 1 at 10%"),
        ("+60s stale-pass", "step 1 at 10%"),
        ("+60s old-pass", "step 1 at 10%"),
        ("+60s own:pass", "step 1 at 10%"),
        ("+60s other:pass", "step 1 at 10%"),
        ("+60s nodata", "step 1 at 10%"),
        ("+60s inconclusive", "step 1 at 10%"),
        ("+60s mismatch", "step 1 at 10%"),
        ("+60s warned", "step 2 at 10%"),
        ("+60s at=5% pass", "step 1 at 10%"),
        ("+60s nodata +3539s nodata", "step 1 at 10%"),
        (
            "+60s nodata +1h nodata",
            "rolling back: no evidence to go on: nodata was measured",
        ),
        (
            "+60s inconclusive +1h inconclusive",
            "rolling back: no evidence to go on: inconclusive was measured",
        ),
        (
            "+60s mismatch +1h mismatch",
            "rolling back: no evidence to go on: traffic did not go where the weight sent it",
        ),
        (
            "+61m tick",
            "rolling back: no evidence to go on: there is no judgement yet",
        ),
        (
            "pass +61m tick",
            "rolling back: no evidence to go on: the last judgement is too old",
        ),
        ("fail", "rolling back: fail was measured"),
        ("old-fail", "step 1 at 10%"),
        ("own:fail", "step 1 at 10%"),
    ] {
        check(&judged, &format!("{reach} {script}"), expected);
    }
    let unjudged = plan("10% 1m 100%", Rules::default());
    check(&unjudged, &format!("{reach} +59s tick"), "step 1 at 10%");
    check(&unjudged, &format!("{reach} fail"), "step 1 at 10%");
    check(&unjudged, &format!("{reach} +60s tick"), "step 2 at 10%");
}

#[test]
fn a_judgement_from_before_the_step_does_not_count() {
    let plan = plan("10% 1m 100% 1m", guarded());
    let reach = "tick ready applied tick applied +60s pass tick applied";
    check(&plan, reach, "step 3 at 100%");
    // The last judgement was on step 1, and step 3 began just now.
    check(&plan, &format!("{reach} +10s tick"), "step 3 at 100%");
    check(&plan, &format!("{reach} +60s old-pass"), "step 3 at 100%");
    check(&plan, &format!("{reach} +60s pass"), "Shifting at 100%");
}

#[test]
fn missing_data_never_promotes() {
    for on_no_data in [OnDoubt::Advance, OnDoubt::Hold, OnDoubt::Rollback] {
        for on_inconclusive in [OnDoubt::Advance, OnDoubt::Hold, OnDoubt::Rollback] {
            for promote in [Mode::Auto, Mode::Manual, Mode::Hybrid] {
                let rules = Rules {
                    on_no_data,
                    on_inconclusive,
                    promote,
                    ..guarded()
                };
                let plan = plan("50% 1m 100% 1m", rules);
                for said in [
                    "tick",
                    "nodata",
                    "old-pass",
                    "stale-pass",
                    "inconclusive",
                    "mismatch",
                ] {
                    // With doubt all the way, and with doubt at the last step alone.
                    let wait = format!("applied +60s {said} applied ").repeat(9);
                    let at_last = format!("{BEGIN} tick applied +60s pass tick applied");
                    for script in [format!("{BEGIN} tick {wait}"), format!("{at_last} {wait}")] {
                        let line = Script::play(&plan, &script).line();
                        assert!(
                            !line.starts_with("Sh") && !line.starts_with("completed"),
                            "{said} with {on_no_data:?} {on_inconclusive:?} {promote:?}: {line}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn doubt_is_met_as_the_plan_says() {
    let reach = "tick ready applied tick applied +60s";
    for (on_no_data, on_inconclusive, said, expected) in [
        (
            OnDoubt::Advance,
            OnDoubt::Rollback,
            "nodata",
            "step 2 at 10%",
        ),
        (
            OnDoubt::Rollback,
            OnDoubt::Advance,
            "nodata",
            "rolling back: no evidence to go on: nodata was measured",
        ),
        (
            OnDoubt::Rollback,
            OnDoubt::Advance,
            "inconclusive",
            "step 2 at 10%",
        ),
        (
            OnDoubt::Advance,
            OnDoubt::Rollback,
            "inconclusive",
            "rolling back: no evidence to go on: inconclusive was measured",
        ),
        (
            OnDoubt::Rollback,
            OnDoubt::Advance,
            "mismatch",
            "step 2 at 10%",
        ),
        (
            OnDoubt::Rollback,
            OnDoubt::Hold,
            "stale-pass",
            "rolling back: no evidence to go on: the last judgement is too old",
        ),
        // A judge that was just started gets a window to say something.
        (OnDoubt::Rollback, OnDoubt::Hold, "tick", "step 1 at 10%"),
        (
            OnDoubt::Rollback,
            OnDoubt::Hold,
            "+59s tick",
            "step 1 at 10%",
        ),
        (
            OnDoubt::Rollback,
            OnDoubt::Hold,
            "+60s tick",
            "rolling back: no evidence to go on: there is no judgement yet",
        ),
        (
            OnDoubt::Rollback,
            OnDoubt::Hold,
            "restarted ready applied",
            "step 1 at 10%",
        ),
        (
            OnDoubt::Advance,
            OnDoubt::Hold,
            "+60s tick",
            "step 2 at 10%",
        ),
    ] {
        let rules = Rules {
            on_no_data,
            on_inconclusive,
            ..guarded()
        };
        check(
            &plan("10% 1m 100%", rules),
            &format!("{reach} {said}"),
            expected,
        );
    }
}

#[test]
fn at_the_last_step_going_on_in_doubt_acts_as_hold() {
    let lenient = |rules| Rules {
        on_no_data: OnDoubt::Advance,
        on_inconclusive: OnDoubt::Advance,
        ..rules
    };
    let reach = "tick ready applied tick applied";
    for (words, rules, own) in [
        ("10% 1m", guarded(), ""),
        ("10% evidence=30..60", guarded(), ""),
        ("10% analysis=60", Rules::default(), "own:"),
    ] {
        let plan = plan(words, lenient(rules));
        for said in ["nodata", "inconclusive"] {
            check(&plan, &format!("{reach} +60s {own}{said}"), "step 1 at 10%");
            check(
                &plan,
                &format!("{reach} +60s {own}{said} +1h {own}{said}"),
                &format!("rolling back: no evidence to go on: {said} was measured"),
            );
        }
    }
}

#[test]
fn what_passed_before_a_doubt_does_not_promote() {
    let rules = Rules {
        on_no_data: OnDoubt::Advance,
        ..guarded()
    };
    let plan = plan("10% 1m 1m 100%", rules);
    let reach = "tick ready applied tick applied +60s pass";
    check(
        &plan,
        &format!("{reach} +60s nodata tick applied +59s nodata"),
        "step 3 at 100%",
    );
    check(
        &plan,
        &format!("{reach} +60s pass tick applied"),
        "Shifting at 100%",
    );
}

#[test]
fn a_hold_until_evidence_ends_early_or_at_its_end() {
    let judged = plan("10% evidence=30..90 100%", guarded());
    let reach = "tick ready applied tick applied";
    for (script, expected) in [
        ("+29s pass", "step 1 at 10%"),
        ("+30s pass", "step 2 at 10%"),
        ("+30s nodata", "step 1 at 10%"),
        ("+89s nodata", "step 1 at 10%"),
        ("+90s nodata", "step 1 at 10%"),
        (
            "+90s nodata +1h nodata",
            "rolling back: no evidence to go on: nodata was measured",
        ),
        ("pause +1h resume +29s pass", "step 1 at 10%"),
        ("pause +1h resume +30s pass", "step 2 at 10%"),
    ] {
        check(&judged, &format!("{reach} {script}"), expected);
    }
    let strict = plan(
        "10% evidence=30..90 100%",
        Rules {
            on_no_data: OnDoubt::Rollback,
            ..guarded()
        },
    );
    check(&strict, &format!("{reach} +89s nodata"), "step 1 at 10%");
    check(
        &strict,
        &format!("{reach} +90s nodata"),
        "rolling back: no evidence to go on: nodata was measured",
    );
    check(&strict, &format!("{reach} +149s tick"), "step 1 at 10%");
    check(
        &strict,
        &format!("{reach} +150s tick"),
        "rolling back: no evidence to go on: there is no judgement yet",
    );
    check(
        &strict,
        &format!("{reach} pause +1h resume +89s nodata"),
        "step 1 at 10%",
    );
    let unjudged = plan("10% evidence=30..90 100%", Rules::default());
    check(&unjudged, &format!("{reach} +30s tick"), "step 2 at 10%");
}

#[test]
fn each_time_to_wake_is_told() {
    let plan = plan("10% evidence=30..90 100%", guarded());
    let mut script = Script::play(&plan, "tick ready applied tick applied");
    let begun = script.now;
    let mut woken = Vec::new();
    for _ in 0..3 {
        script.now = next_deadline(&script.state).unwrap();
        woken.push((script.now.duration_since(begun)).as_secs());
        script.go_on("nodata");
    }
    assert_eq!(woken, [30, 90, 3_690]);
    assert_eq!(
        script.line(),
        "rolling back: no evidence to go on: nodata was measured"
    );
    for (script, expected) in [
        ("", 7 * 86_400),
        ("tick", 600),
        ("tick ready applied tick ready=0", 30),
        ("tick ready applied tick applied pause", 7 * 86_400),
        ("tick ready applied tick applied abort", 30),
        ("tick ready applied tick applied abort +30s at=10%", 300),
        ("tick ready applied tick applied full", 900),
    ] {
        let script = Script::play(&plan, script);
        let wait = next_deadline(&script.state)
            .unwrap()
            .duration_since(script.now);
        assert_eq!(wait.as_secs(), expected, "{}", script.line());
    }
    assert_eq!(
        next_deadline(&Script::play(&plan, "abort applied").state),
        None
    );
}

#[test]
fn an_analysis_has_a_verdict_of_its_own() {
    for kind in ["analysis", "experiment"] {
        let alone = plan(&format!("10% {kind}=30 100%"), Rules::default());
        let reach = "tick ready applied tick applied";
        for (script, expected) in [
            ("+29s own:pass", "step 1 at 10%"),
            ("+30s own:pass", "step 2 at 10%"),
            ("+30s pass", "step 1 at 10%"),
            ("+30s other:pass", "step 1 at 10%"),
            ("own:fail", "rolling back: fail was measured"),
            ("fail", "step 1 at 10%"),
            ("other:fail", "step 1 at 10%"),
        ] {
            check(&alone, &format!("{reach} {script}"), expected);
        }
        let judged = plan(&format!("10% {kind}=30 100%"), guarded());
        check(&judged, &format!("{reach} +30s own:pass"), "step 1 at 10%");
        check(&judged, &format!("{reach} +30s pass"), "step 1 at 10%");
        check(
            &judged,
            &format!("{reach} +30s pass own:pass"),
            "step 2 at 10%",
        );
        check(
            &judged,
            &format!("{reach} own:pass fail"),
            "rolling back: fail was measured",
        );
    }
}

#[test]
fn the_background_judge_rules_from_its_step_on() {
    let rules = Rules {
        judge_from_step: 2,
        ..guarded()
    };
    let plan = plan("10% 1m 25% 1m 100%", rules);
    let reach = "tick ready applied tick applied";
    check(&plan, &format!("{reach} fail"), "step 1 at 10%");
    check(&plan, &format!("{reach} +60s tick"), "step 2 at 10%");
    check(
        &plan,
        &format!("{reach} +60s tick fail"),
        "rolling back: fail was measured",
    );
    check(
        &plan,
        &format!("{reach} +60s tick tick applied +60s tick"),
        "step 3 at 25%",
    );
}

#[test]
fn failure_is_met_as_the_plan_says() {
    let reach = "tick ready applied tick applied fail";
    for (on_failure, advance, expected) in [
        (
            OnFailure::Rollback,
            Mode::Auto,
            "rolling back: fail was measured",
        ),
        (
            OnFailure::Hold,
            Mode::Auto,
            "paused at 10%: fail was measured",
        ),
        (
            OnFailure::PauseAtZero,
            Mode::Auto,
            "paused at 0%: fail was measured",
        ),
        (
            OnFailure::Rollback,
            Mode::Manual,
            "rolling back: fail was measured",
        ),
        (
            OnFailure::Rollback,
            Mode::Hybrid,
            "paused at 0%: fail was measured",
        ),
        (
            OnFailure::Hold,
            Mode::Hybrid,
            "paused at 0%: fail was measured",
        ),
    ] {
        let rules = Rules {
            on_failure,
            advance,
            ..guarded()
        };
        let plan = plan("10% 1m 100% 1m", rules);
        check(&plan, reach, expected);
        // The same judgement again is no news.
        if expected.starts_with("paused") {
            check(&plan, &format!("{reach} tick fail tick"), expected);
            check(
                &plan,
                &format!("{reach} +7d tick"),
                "rolling back: nobody decided in time",
            );
            check(
                &plan,
                &format!("{reach} +1s resume"),
                if expected.contains("at 0%") {
                    "step 1 at 0%"
                } else {
                    "step 1 at 10%"
                },
            );
            check(
                &plan,
                &format!("{reach} +1s resume tick applied"),
                "step 1 at 10%",
            );
        }
    }
}

#[test]
fn hybrid_drops_to_zero_on_a_critical_guard() {
    let rules = Rules {
        advance: Mode::Hybrid,
        ..guarded()
    };
    let plan = plan("test 10% header 1m 100%", rules);
    let mut script = Script::play(
        &plan,
        "tick ready applied tick applied tick applied tick applied",
    );
    assert_eq!(script.line(), "step 3 at 10%");
    script.go_on("fail");
    assert_eq!(script.line(), "paused at 0%: fail was measured");
    let traffic = crate::rollout::effect::traffic(&plan, &script.state);
    assert!(traffic.is_stable_only(), "{traffic:?}");
}

#[test]
fn hybrid_asks_a_person_on_doubt() {
    let rules = Rules {
        advance: Mode::Hybrid,
        ..guarded()
    };
    let plan = plan("10% 1m 100%", rules);
    let reach = "tick ready applied tick applied +60s";
    for (said, expected) in [
        ("pass", "step 2 at 10%"),
        ("warned", "paused at 10%: warned was measured"),
        ("suspicious", "paused at 10%: suspicious was measured"),
        ("surrounded", "paused at 10%: surrounded was measured"),
        ("suspicious promote", "step 2 at 10%"),
        ("nodata", "paused at 10%: nodata was measured"),
        ("inconclusive", "paused at 10%: inconclusive was measured"),
        (
            "mismatch",
            "paused at 10%: traffic did not go where the weight sent it",
        ),
        ("nodata promote", "step 2 at 10%"),
        ("nodata resume", "step 2 at 10%"),
        ("nodata fail", "paused at 0%: fail was measured"),
        ("nodata +7d tick", "rolling back: nobody decided in time"),
    ] {
        check(&plan, &format!("{reach} {said}"), expected);
    }
}

#[test]
fn what_is_unusual_decides_nothing_where_no_person_is_asked() {
    let plan = plan("10% 1m 100% 1m", guarded());
    let reach = "tick ready applied tick applied +30s";
    for said in ["pass", "suspicious", "surrounded"] {
        check(&plan, &format!("{reach} {said}"), "step 1 at 10%");
        let later = format!("{reach} {said} +30s {said}");
        check(&plan, &later, "step 2 at 10%");
    }
}

#[test]
fn manual_advance_asks_at_each_wait() {
    let rules = Rules {
        advance: Mode::Manual,
        ..guarded()
    };
    let manual = plan("10% 1m 100%", rules.clone());
    let reach = "tick ready applied tick applied +60s";
    for (said, expected) in [
        ("pass", "paused at 10%: going on is manual here"),
        ("pass promote", "step 2 at 10%"),
        ("nodata", "step 1 at 10%"),
        (
            "nodata +1h nodata",
            "rolling back: no evidence to go on: nodata was measured",
        ),
    ] {
        check(&manual, &format!("{reach} {said}"), expected);
    }
    let lenient = plan(
        "10% 1m 100%",
        Rules {
            on_no_data: OnDoubt::Advance,
            ..rules.clone()
        },
    );
    check(
        &lenient,
        &format!("{reach} nodata"),
        "paused at 10%: nodata was measured",
    );
    let unjudged = plan(
        "10% 1m 100%",
        Rules {
            guards: Vec::new(),
            ..rules
        },
    );
    check(
        &unjudged,
        &format!("{reach} tick"),
        "paused at 10%: going on is manual here",
    );
}

#[test]
fn a_hold_until_resumed_waits_for_a_person() {
    let plan = plan("10% wait 100%", guarded());
    let reach = "tick ready applied tick applied tick";
    for (script, expected) in [
        ("", "paused at 10%: the plan waits for a person here"),
        (
            "+6d pass",
            "paused at 10%: the plan waits for a person here",
        ),
        ("resume", "step 2 at 10%"),
        ("promote", "step 2 at 10%"),
        ("pause", "paused at 10%: the plan waits for a person here"),
        ("fail", "rolling back: fail was measured"),
        ("+7d tick", "rolling back: nobody decided in time"),
        // Who goes on promotes: the last step has no wait of its own.
        ("resume tick applied", "Shifting at 100%"),
    ] {
        check(&plan, &format!("{reach} {script}"), expected);
    }
}

#[test]
fn an_approval_gate_times_out() {
    let plan = plan("10% approval=60 100%", Rules::default());
    let reach = "tick ready applied tick applied tick";
    for (script, expected) in [
        ("", "paused at 10%: gate qa asks for approval"),
        ("yes", "paused at 10%: gate qa asks for approval"),
        ("resume", "step 2 at 10%"),
        ("promote", "step 2 at 10%"),
        ("+59s tick", "paused at 10%: gate qa asks for approval"),
        ("+60s tick", "rolling back: nobody decided in time"),
    ] {
        check(&plan, &format!("{reach} {script}"), expected);
    }
}

#[test]
fn a_gate_is_answered_once_and_in_time() {
    for kind in ["hook", "run"] {
        let lone = plan(&format!("10% {kind}=60 100%"), Rules::default());
        let reach = "tick ready applied tick applied";
        for (script, expected) in [
            ("tick", "step 1 at 10%"),
            ("yes", "step 2 at 10%"),
            ("at=5% yes", "step 1 at 10%"),
            ("no", "rolling back: gate shop-1/1: qa said so"),
            ("other-yes", "step 1 at 10%"),
            ("+59s tick", "step 1 at 10%"),
            (
                "+60s tick",
                "rolling back: gate shop-1/1: no answer in time",
            ),
            ("+60s yes", "step 2 at 10%"),
            (
                "+60s at=5%",
                "rolling back: traffic was not verified at 10% in time",
            ),
        ] {
            check(&lone, &format!("{reach} {script}"), expected);
        }
        let forgiving = plan(
            &format!("10% {kind}=60 100%"),
            Rules {
                on_failure: OnFailure::Hold,
                ..Rules::default()
            },
        );
        check(
            &forgiving,
            &format!("{reach} no"),
            "paused at 10%: gate shop-1/1: qa said so",
        );
        // As the last step it does not stand for the verdict.
        let last = plan(&format!("100% {kind}=60"), guarded());
        check(&last, &format!("{reach} yes"), "step 1 at 100%");
        check(&last, &format!("{reach} yes pass"), "Shifting at 100%");
        check(
            &last,
            &format!("{reach} yes nodata +59m nodata"),
            "step 1 at 100%",
        );
        check(
            &last,
            &format!("{reach} yes nodata +1h nodata"),
            "rolling back: no evidence to go on: nodata was measured",
        );
        let manual = plan(
            &format!("100% {kind}=60"),
            Rules {
                promote: Mode::Manual,
                ..Rules::default()
            },
        );
        check(
            &manual,
            &format!("{reach} yes"),
            "paused at 100%: promotion is manual",
        );
    }
}

#[test]
fn a_resized_canary_must_be_ready() {
    let rules = Rules {
        canary_scale: Scale::Replicas(1),
        ..Rules::default()
    };
    let alone = plan("scale=3 10% 1m 100%", rules.clone());
    // The first step's size is what the rollout prepares.
    check(&alone, "tick ready=2 applied", "preparing");
    let later = plan("10% scale=3 1m 100%", rules);
    let reach = "tick ready=1 applied tick applied";
    for (script, expected) in [
        ("", "step 1 at 10%"),
        ("ready=2", "step 1 at 10%"),
        ("ready=3", "step 2 at 10%"),
        ("ready=2 +14m tick", "step 1 at 10%"),
        (
            "ready=2 +15m tick",
            "rolling back: the canary did not become ready in time",
        ),
    ] {
        check(&later, &format!("{reach} {script}"), expected);
    }
    let last = plan("100% scale=full", guarded());
    check(
        &last,
        "tick ready applied tick applied tick pass",
        "Shifting at 100%",
    );
    check(
        &last,
        "tick ready applied tick applied nodata +76m nodata",
        "rolling back: no evidence to go on: nodata was measured",
    );
}

#[test]
fn a_lost_canary_gets_no_traffic_and_is_rolled_back() {
    let plan = plan("10% 1m 100%", Rules::default());
    let reach = "tick ready applied tick applied ready=0";
    for (script, expected) in [
        ("", "step 1 at 10% (lost)"),
        ("applied +29s tick", "step 1 at 10% (lost)"),
        (
            "applied +30s tick",
            "rolling back: the canary lost all its ready replicas",
        ),
        ("applied +30s ready=1", "step 1 at 10%"),
        ("+29s ready=1 ready=0 +29s tick", "step 1 at 10% (lost)"),
        ("+29s restarted tick", "step 1 at 10% (lost)"),
        (
            "+30s restarted tick",
            "rolling back: the canary lost all its ready replicas",
        ),
        ("pause", "paused at 10%: paused by ann (lost)"),
        (
            "pause +30s tick",
            "rolling back: the canary lost all its ready replicas",
        ),
        ("set=50%", "paused at 50%: weight set by ann (lost)"),
        ("abort", "rolling back: aborted by ann"),
        ("+2m ready=1 tick", "step 2 at 10%"),
    ] {
        check(&plan, &format!("{reach} {script}"), expected);
    }
    for script in ["", "pause", "set=50%", "full"] {
        let script = Script::play(&plan, &format!("{reach} {script}"));
        let traffic = crate::rollout::effect::traffic(&plan, &script.state);
        assert!(traffic.is_stable_only(), "{traffic:?}");
    }
    // Time that the canary was away counts for no hold.
    check(
        &plan,
        &format!("{reach} applied +20s tick +40s ready=0"),
        "rolling back: the canary lost all its ready replicas",
    );
}

#[test]
fn the_last_step_needs_what_a_promotion_needs() {
    let reach = "tick ready applied tick applied";
    let judged = plan("100%", guarded());
    for (script, expected) in [
        ("tick", "step 0 at 100%"),
        ("pass", "Shifting at 100%"),
        ("nodata", "step 0 at 100%"),
        ("fail", "rolling back: fail was measured"),
        ("nodata +74m nodata", "step 0 at 100%"),
        (
            "nodata +75m nodata",
            "rolling back: no evidence to go on: nodata was measured",
        ),
    ] {
        check(&judged, &format!("{reach} {script}"), expected);
    }
    check(&plan("100%", Rules::default()), reach, "Shifting at 100%");
    let hybrid = plan(
        "100%",
        Rules {
            promote: Mode::Hybrid,
            ..guarded()
        },
    );
    check(&hybrid, &format!("{reach} nodata"), "step 0 at 100%");
    check(&hybrid, &format!("{reach} +59s nodata"), "step 0 at 100%");
    check(
        &hybrid,
        &format!("{reach} +60s nodata"),
        "paused at 100%: nodata was measured",
    );
    check(
        &hybrid,
        &format!("{reach} warned"),
        "paused at 100%: warned was measured",
    );
    check(&hybrid, &format!("{reach} pass"), "Shifting at 100%");
}

#[test]
fn manual_promotion_asks() {
    let rules = Rules {
        promote: Mode::Manual,
        ..guarded()
    };
    let judged = plan("10% 1m 100%", rules.clone());
    let reach = "tick ready applied tick applied +60s pass tick applied";
    check(&judged, reach, "paused at 100%: promotion is manual");
    check(&judged, &format!("{reach} promote"), "Shifting at 100%");
    check(&judged, &format!("{reach} resume"), "Shifting at 100%");
    check(
        &judged,
        &format!("{reach} fail"),
        "rolling back: fail was measured",
    );
    let held = plan("100% 1m", rules);
    check(
        &held,
        "tick ready applied tick applied +60s pass",
        "paused at 100%: going on is manual here",
    );
}
