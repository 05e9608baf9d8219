//! What a rollout says comes next, in every place where it can stand.

use super::script::{Script, guarded, plan};
use crate::{
    plan::{Mode, Plan, Rules, Scale, Window},
    rollout::outlook,
};

/// The second step of a plan like `10% 1m …`, at work.
const HOLDING: &str = "tick ready applied tick applied";

/// What follows when nobody decides.
const UNDECIDED: &str = "rolls back without a decision";

/// Compares what comes next after a script, and in how many seconds.
#[track_caller]
fn check(plan: &Plan, script: &str, text: &str, seconds: impl Into<Option<i64>>) {
    let played = Script::play(plan, script);
    let next = outlook(plan, &played.state);
    let wait = next.at.map(|at| at.duration_since(played.now).as_secs());
    assert_eq!(
        (next.text.as_str(), wait),
        (text, seconds.into()),
        "{script}: {}",
        played.line()
    );
}

#[test]
fn each_phase_says_what_comes_next() {
    let plan = plan("10% 1m 100%", guarded());
    let lost = "goes on when a replica of the canary is ready again, or rolls back";
    for (script, text, seconds) in [
        (
            "",
            "begins when its window opens, or gives up",
            Some(7 * 86_400),
        ),
        (
            "tick +1m tick",
            "starts step 1 when v2 is ready, or rolls back",
            Some(540),
        ),
        (
            "tick ready applied",
            "sends 10% when enough replicas of the canary are ready, or rolls back",
            Some(900),
        ),
        (
            "tick ready applied tick",
            "goes on when the router shows 10%, or rolls back",
            Some(900),
        ),
        (
            "tick ready applied tick applied +20s tick",
            "goes on to step 3: send 100% to the canary",
            Some(40),
        ),
        (
            "tick ready applied tick applied ready=0 +10s tick",
            lost,
            Some(20),
        ),
        (
            "tick ready applied tick applied full",
            "waits for all traffic to be on the canary, or rolls back",
            Some(900),
        ),
        (
            "tick ready applied tick applied full ready=0",
            lost,
            Some(30),
        ),
        (
            "tick ready applied tick applied full tick applied",
            "ends when the old version has ended its requests, or by then",
            Some(30),
        ),
        (
            "tick ready applied tick applied full tick applied applied",
            "nothing more; v2 serves all traffic",
            None,
        ),
        (
            "tick ready applied tick applied abort +10s tick",
            "ends when the last request has left the canary, or by then",
            Some(20),
        ),
        (
            "abort applied",
            "nothing more; v1 serves all traffic; `retry` tries v2 again",
            None,
        ),
        (
            "tick ready applied abort at=5% +6m tick",
            "nothing more; a person must look at the routing and the canary",
            None,
        ),
    ] {
        check(&plan, script, text, seconds);
    }
}

#[test]
fn a_wait_that_is_over_says_what_it_still_waits_for() {
    let doubtful = plan("10% 1m 100%", guarded());
    check(
        &doubtful,
        &format!("{HOLDING} +1m tick"),
        "waits for evidence (there is no judgement yet), then goes on to step 3: send 100% to the canary; gives up without it",
        3_600,
    );
    check(
        &doubtful,
        &format!("{HOLDING} +1m nodata +10s tick"),
        "waits for evidence (nodata was measured), then goes on to step 3: send 100% to the canary; gives up without it",
        3_590,
    );
    // A gate may be open for long; the answer is what is waited for, whatever the guards say.
    for kind in ["hook", "run"] {
        let gated = plan(&format!("10% {kind}=60 100%"), guarded());
        for said in ["", "pass", "nodata"] {
            check(
                &gated,
                &format!("{HOLDING} {said}"),
                "waits for gate qa, then goes on to step 3: send 100% to the canary; ends without an answer",
                60,
            );
        }
    }
    // As the last step its yes is not enough.
    let last = plan("10% hook=60", guarded());
    for (said, text, seconds) in [
        (
            "nodata other-yes +9s tick",
            "waits for gate qa, then promotes if the judge agrees; ends without an answer",
            51,
        ),
        (
            "nodata yes +9s tick",
            "waits for evidence (nodata was measured), then promotes if the judge agrees; gives up without it",
            60 + 3_540 - 9,
        ),
    ] {
        check(&last, &format!("{HOLDING} {said}"), text, seconds);
    }
    let small = Rules {
        canary_scale: Scale::Replicas(1),
        ..Rules::default()
    };
    let resized = plan("10% scale=3 1m", small);
    check(
        &resized,
        "tick ready=1 applied tick applied",
        "waits for the canary's replicas, then goes on to step 3: hold for 1m, or rolls back",
        900,
    );
    // As the last step, resized is not enough either.
    check(
        &plan("100% scale=full", guarded()),
        "tick ready applied tick applied nodata +9s tick",
        "waits for evidence (nodata was measured), then promotes if the judge agrees; gives up without it",
        60 + 900 + 3_540 - 9,
    );
    // A step that is no wait is over as soon as it is applied.
    check(
        &plan("10% header 1m", guarded()),
        HOLDING,
        "goes on when the router shows 10%, or rolls back",
        900,
    );
}

#[test]
fn a_step_says_who_decides_at_its_end() {
    let next = "goes on to step 3: send 100% to the canary";
    for (advance, promote, words, script, text) in [
        (Mode::Auto, Mode::Auto, "10% 1m 100%", "", next),
        (Mode::Hybrid, Mode::Manual, "10% 1m 100%", "", next),
        (
            Mode::Manual,
            Mode::Auto,
            "10% 1m 100%",
            "",
            "asks a person to go on",
        ),
        (
            Mode::Manual,
            Mode::Auto,
            "10% analysis=60 100%",
            "",
            "asks a person to go on",
        ),
        (
            Mode::Manual,
            Mode::Auto,
            "10% experiment=60 100%",
            "",
            "asks a person to go on",
        ),
        (
            Mode::Auto,
            Mode::Auto,
            "10% 1m",
            "",
            "promotes if the judge agrees",
        ),
        (
            Mode::Manual,
            Mode::Hybrid,
            "10% 1m",
            "",
            "promotes if the judge agrees",
        ),
        (
            Mode::Auto,
            Mode::Manual,
            "10% 1m",
            "",
            "asks a person to promote",
        ),
    ] {
        let rules = Rules {
            advance,
            promote,
            ..Rules::default()
        };
        let plan = plan(words, rules);
        check(&plan, &format!("{HOLDING} {script}"), text, 60);
    }
    // A step that is no wait asks nobody, unless it is the last one.
    let manual = Rules {
        advance: Mode::Manual,
        promote: Mode::Manual,
        ..Rules::default()
    };
    check(
        &plan("10% hook=60 1m", manual.clone()),
        HOLDING,
        "waits for gate qa, then goes on to step 3: hold for 1m; ends without an answer",
        60,
    );
    check(
        &plan("10% hook=60", manual),
        HOLDING,
        "waits for gate qa, then asks a person to promote; ends without an answer",
        60,
    );
}

#[test]
fn nothing_in_doubt_at_the_end_of_a_wait_goes_on() {
    // The host looks before its next call: the judge passed, or none is asked, and the wait is over.
    for (rules, said) in [(guarded(), "pass"), (Rules::default(), "tick")] {
        let plan = plan("10% 1m 100%", rules);
        let mut played = Script::play(&plan, &format!("{HOLDING} +59s {said}"));
        let due = outlook(&plan, &played.state).at;
        played.state.seen = due.unwrap();
        let next = outlook(&plan, &played.state);
        assert_eq!(next.text, "goes on to step 3: send 100% to the canary");
        assert_eq!(next.at, due);
    }
}

#[test]
fn each_pause_says_what_ends_it() {
    let window = Window {
        days: vec![1],
        from_minute: 0,
        to_minute: 1_440,
        time_zone: "UTC".to_owned(),
    };
    let week = 7 * 86_400;
    let held = plan("10% wait 100%", guarded());
    let resumed = format!("goes on when a person resumes it; {UNDECIDED}");
    let decided = format!("waits for `promote` or `abort`; {UNDECIDED}");
    check(&held, &format!("{HOLDING} pause"), &resumed, week);
    check(&held, &format!("{HOLDING} set=5%"), &resumed, week);
    check(
        &held,
        &format!("{HOLDING} tick +1h tick"),
        &decided,
        week - 3_600,
    );
    let approved = plan("10% approval=60 100%", guarded());
    check(&approved, &format!("{HOLDING} tick"), &decided, 60);
    let hybrid = Rules {
        advance: Mode::Hybrid,
        ..guarded()
    };
    check(
        &plan("10% 1m 100%", hybrid),
        &format!("{HOLDING} fail"),
        &format!("waits for a person: `abort`, or `resume` to try the step again; {UNDECIDED}"),
        week,
    );
    let windowed = Rules {
        windows: vec![window],
        ..Rules::default()
    };
    check(
        &plan("10% 100%", windowed),
        "open ready applied tick applied closed tick",
        "goes on by itself when its window opens, or gives up",
        week,
    );
}

#[test]
fn a_bake_says_when_the_old_version_goes() {
    let bake = std::time::Duration::from_mins(1);
    let judged = plan("100%", Rules { bake, ..guarded() });
    let baking = "tick ready applied tick applied pass applied";
    check(
        &judged,
        &format!("{baking} +20s tick"),
        "bakes, then lets the old version go",
        40,
    );
    check(
        &judged,
        &format!("{baking} +60s nodata"),
        "waits for evidence (nodata was measured), then lets the old version go",
        3_600,
    );
    let mut played = Script::play(&judged, &format!("{baking} +59s pass"));
    let due = outlook(&judged, &played.state).at;
    played.state.seen = due.unwrap();
    let next = outlook(&judged, &played.state);
    assert_eq!(
        (next.text.as_str(), next.at),
        ("lets the old version go", due)
    );
    check(
        &judged,
        &format!("{baking} ready=0"),
        "goes on when a replica of the canary is ready again, or rolls back",
        30,
    );
}
