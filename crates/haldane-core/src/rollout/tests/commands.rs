//! What people can do, when, and what becomes of it.

use super::script::{Script, check, guarded, plan};
use crate::{
    plan::{Mode, OnFailure, Rules},
    rollout::{Action, Phase, effect},
    weight::Weight,
};

/// The second step of a plan like `10% 1m …`, at work.
const HOLDING: &str = "tick ready applied tick applied";

#[test]
fn promote_ends_the_wait_and_goes_one_step() {
    let plan = plan("10% 1m 50% 1m 100%", guarded());
    for (script, expected) in [
        ("promote", "step 2 at 10%"),
        ("promote promote", "step 3 at 10%"),
        ("promote tick applied", "step 3 at 50%"),
        ("promote promote promote", "step 4 at 10%"),
        ("promote promote promote promote", "Shifting at 10%"),
        ("promote promote promote promote promote", "Shifting at 10%"),
    ] {
        check(&plan, &format!("{HOLDING} {script}"), expected);
    }
    for (script, expected) in [("promote", "step 1 at 0%"), ("promote@0", "step 1 at 0%")] {
        check(&plan, &format!("tick ready applied {script}"), expected);
    }
}

#[test]
fn promote_with_an_old_step_is_refused() {
    let plan = plan("10% 1m 50% 1m 100%", guarded());
    for (script, expected) in [
        ("promote@1", "step 2 at 10%"),
        (
            "promote@1 promote@1",
            "step 2 at 10%; refused: the rollout is at step 3, not at step 2",
        ),
        (
            "promote@2",
            "step 1 at 10%; refused: the rollout is at step 2, not at step 3",
        ),
        (
            "full@0",
            "step 1 at 10%; refused: the rollout is at step 2, not at step 1",
        ),
        ("full@1", "Shifting at 10%"),
        (
            "full promote@1",
            "Shifting at 10%; refused: the rollout is at Promoting, not at step 2",
        ),
        ("pause promote@1", "step 2 at 10%"),
        (
            "pause promote@0",
            "paused at 10%: paused by ann; refused: the rollout is at step 2, not at step 1",
        ),
        // Approve and abort at once: abort wins, in either order.
        ("promote@1 abort", "rolling back: aborted by ann"),
        (
            "abort promote@1",
            "rolling back: aborted by ann; refused: the rollout is at RollingBack, not at step 2",
        ),
    ] {
        check(&plan, &format!("{HOLDING} {script}"), expected);
    }
}

#[test]
fn full_promotion_leaves_out_the_rest() {
    let plan = plan("10% 1m 50% 1m 100% 1m", guarded());
    check(&plan, &format!("{HOLDING} full"), "Shifting at 10%");
    check(&plan, &format!("{HOLDING} pause full"), "Shifting at 10%");
    check(&plan, &format!("{HOLDING} full tick"), "Shifting at 100%");
    check(
        &plan,
        &format!("{HOLDING} full tick applied applied"),
        "completed: promoted by an operator",
    );
    check(
        &plan,
        "tick full",
        "preparing; refused: not possible while Preparing: the canary is not ready yet",
    );
}

#[test]
fn commands_that_make_no_sense_say_why() {
    let plan = plan("10% 1m 100%", Rules::default());
    let not_now = |phase: &str, why: &str| format!("; refused: not possible while {phase}: {why}");
    for (script, at, why) in [
        (
            "promote",
            "pending",
            not_now("Pending", "it waits for its window"),
        ),
        (
            "full",
            "pending",
            not_now("Pending", "it waits for its window"),
        ),
        (
            "pause",
            "pending",
            not_now("Pending", "nothing has begun; abort ends it"),
        ),
        ("resume", "pending", not_now("Pending", "it is not paused")),
        (
            "restart",
            "pending",
            not_now("Pending", "the canary does not run"),
        ),
        (
            "set=5%",
            "pending",
            not_now("Pending", "the canary is not ready yet"),
        ),
        (
            "tick promote",
            "preparing",
            not_now("Preparing", "the canary is not ready yet"),
        ),
        (
            "tick resume",
            "preparing",
            not_now("Preparing", "it is not paused"),
        ),
        (
            "tick set=5%",
            "preparing",
            not_now("Preparing", "the canary is not ready yet"),
        ),
        (
            "tick ready applied resume",
            "step 0 at 0%",
            not_now("Progressing", "it is not paused"),
        ),
        (
            "abort promote",
            "rolling back: aborted by ann",
            not_now("RollingBack", "traffic is leaving the canary"),
        ),
        (
            "abort pause",
            "rolling back: aborted by ann",
            not_now("RollingBack", "traffic is leaving the canary"),
        ),
        (
            "abort set=5%",
            "rolling back: aborted by ann",
            not_now("RollingBack", "traffic is leaving the canary"),
        ),
        (
            "abort resume",
            "rolling back: aborted by ann",
            not_now("RollingBack", "it is not paused"),
        ),
        (
            "abort restart",
            "rolling back: aborted by ann",
            not_now("RollingBack", "the canary does not run"),
        ),
        (
            "tick ready applied full resume",
            "Shifting at 0%",
            not_now("Promoting", "it is not paused"),
        ),
    ] {
        check(&plan, script, &format!("{at}{why}"));
    }
}

#[test]
fn commands_have_the_names_that_people_type() {
    let step = None;
    let weight = Weight::ZERO;
    let version = "v3".parse().unwrap();
    let names = [
        Action::Promote { step },
        Action::PromoteFull { step },
        Action::Pause,
        Action::Resume,
        Action::Abort,
        Action::Restart,
        Action::SetWeight(weight),
        Action::Supersede(version),
        Action::BackToStable,
    ]
    .map(|action| action.name());
    assert_eq!(
        names,
        [
            "promote",
            "promote --full",
            "pause",
            "resume",
            "abort",
            "restart",
            "set-weight",
            "supersede",
            "back-to-stable",
        ]
    );
}

#[test]
fn retry_is_not_a_command() {
    let plan = plan("10% 1m 100%", Rules::default());
    let over = "rolled back: aborted by ann";
    let refused = "; refused: the rollout is over (RolledBack: aborted by ann); `retry` or `deploy` begins a new one";
    for command in [
        "promote",
        "full",
        "pause",
        "resume",
        "abort",
        "restart",
        "supersede",
        "back",
        "set=5%",
    ] {
        check(
            &plan,
            &format!("{HOLDING} abort applied {command}"),
            &format!("{over}{refused}"),
        );
    }
    for input in [
        "tick",
        "ready=0",
        "applied",
        "at=10%",
        "fail",
        "yes",
        "closed",
        "+30d tick",
    ] {
        check(&plan, &format!("{HOLDING} abort applied {input}"), over);
    }
    let failed = "tick ready applied abort at=10% +6m tick";
    check(
        &plan,
        failed,
        "failed: traffic was not verified at 0% in time",
    );
    check(
        &plan,
        &format!("{failed} applied tick abort"),
        "failed: traffic was not verified at 0% in time; refused: the rollout is over (Failed: traffic was not verified at 0% in time); `retry` or `deploy` begins a new one",
    );
}

#[test]
fn a_pause_keeps_the_weight_and_its_time_does_not_count() {
    let judged = plan("10% 1m 100% 1m", guarded());
    for (script, expected) in [
        ("pause", "paused at 10%: paused by ann"),
        ("pause pause", "paused at 10%: paused by ann"),
        ("pause +1d pass", "paused at 10%: paused by ann"),
        ("+30s pause +1h resume +29s pass", "step 1 at 10%"),
        ("+30s pause +1h resume +30s pass", "step 2 at 10%"),
        ("pause +1h resume nodata +60m nodata", "step 1 at 10%"),
        (
            "pause +1h resume nodata +61m nodata",
            "rolling back: no evidence to go on: nodata was measured",
        ),
        ("pause fail", "rolling back: fail was measured"),
        ("pause +7d tick", "rolling back: nobody decided in time"),
        ("pause promote", "step 2 at 10%"),
    ] {
        check(&judged, &format!("{HOLDING} {script}"), expected);
    }
    // A step whose weight is not in force yet begins anew, with all of its time; so does a promotion.
    let late = "tick ready applied ready=2 +10m tick pause +8h resume";
    check(&judged, &format!("{late} +14m tick"), "step 0 at 0%");
    check(
        &judged,
        &format!("{HOLDING} full ready=2 +10m tick pause +8h resume +14m tick"),
        "Shifting at 10%",
    );
    let reach = "tick ready applied pause +8h resume";
    check(&judged, &format!("{reach} ready=0"), "step 0 at 0% (lost)");
    check(
        &judged,
        &format!("{reach} ready=2 +14m tick"),
        "step 0 at 0%",
    );
    check(
        &judged,
        &format!("{reach} ready=2 +15m tick"),
        "rolling back: the canary did not become ready in time",
    );
    check(&judged, &format!("{reach} ready tick"), "step 0 at 10%");
}

#[test]
fn a_pause_before_the_first_step_is_remembered() {
    let plan = plan("10% 1m 100%", Rules::default());
    check(&plan, "tick pause", "preparing");
    check(
        &plan,
        "tick pause ready applied",
        "paused at 0%: paused by ann",
    );
    check(&plan, "tick pause resume ready applied", "step 0 at 0%");
    check(
        &plan,
        "tick pause ready applied resume tick",
        "step 0 at 10%",
    );
    check(
        &plan,
        "tick pause applied +10m tick",
        "rolling back: the canary did not become ready in time",
    );
}

#[test]
fn abort_is_possible_in_every_live_phase() {
    let plan = plan(
        "10% 1m 100%",
        Rules {
            bake: std::time::Duration::from_mins(1),
            ..Rules::default()
        },
    );
    for reach in [
        "",
        "tick",
        "tick ready applied",
        HOLDING,
        "tick ready applied tick applied pause",
        "tick ready applied tick applied full",
        "tick ready applied tick applied full tick applied",
        "tick ready applied tick applied full tick applied +1m tick applied+5",
    ] {
        for (command, why) in [
            ("abort", "aborted by ann"),
            ("back", "the stable version was asked for again"),
        ] {
            let script = Script::play(&plan, &format!("{reach} {command}"));
            assert_eq!(script.line(), format!("rolling back: {why}"), "{reach}");
            assert!(effect::traffic(&plan, &script.state).is_stable_only());
            check(
                &plan,
                &format!("{reach} {command} abort back supersede"),
                &format!("rolling back: {why}"),
            );
            check(
                &plan,
                &format!("{reach} {command} applied"),
                &format!("rolled back: {why}"),
            );
        }
    }
}

#[test]
fn a_rollback_ends_when_traffic_and_requests_are_gone() {
    let plan = plan("10% 1m 100%", Rules::default());
    let reach = "tick ready applied tick applied abort";
    let ending = "rolling back: aborted by ann";
    let ended = "rolled back: aborted by ann";
    for (script, expected) in [
        ("tick", ending),
        ("at=10%", ending),
        ("applied+3", ending),
        ("applied+3 applied", ended),
        ("applied+3 +29s tick", ending),
        ("applied+3 +30s tick", ended),
        ("at=10% +30s tick", ending),
        ("at=10% +329s tick", ending),
        ("at=10% +329s applied", ended),
        (
            "at=10% +330s tick",
            "failed: traffic was not verified at 0% in time",
        ),
        (
            "restarted +330s tick",
            "failed: traffic was not verified at 0% in time",
        ),
        ("applied+3 ready=0", ending),
        ("pass fail yes closed open", ending),
    ] {
        check(&plan, &format!("{reach} {script}"), expected);
    }
}

#[test]
fn a_newer_version_or_stable_ends_the_rollout() {
    let judged = plan("10% 1m 100%", guarded());
    let plan = plan("10% 1m 100%", Rules::default());
    check(
        &plan,
        &format!("{HOLDING} supersede"),
        "rolling back: superseded by v3",
    );
    check(
        &plan,
        &format!("{HOLDING} supersede applied"),
        "rolled back: superseded by v3",
    );
    // Who aborts meanwhile wants no newer version either, and that is what is recorded; the clock goes on as it was.
    for (script, expected) in [
        ("supersede abort", "rolling back: aborted by ann"),
        ("supersede abort abort", "rolling back: aborted by ann"),
        ("supersede abort supersede", "rolling back: aborted by ann"),
        ("supersede back", "rolling back: superseded by v3"),
        ("supersede supersede", "rolling back: superseded by v3"),
        (
            "supersede applied+1 +20s abort +9s tick",
            "rolling back: aborted by ann",
        ),
        (
            "supersede applied+1 +20s abort +10s tick",
            "rolled back: aborted by ann",
        ),
        ("fail abort", "rolling back: fail was measured"),
        ("fail supersede", "rolling back: fail was measured"),
    ] {
        check(&judged, &format!("{HOLDING} {script}"), expected);
    }
    check(
        &plan,
        &format!("{HOLDING} back"),
        "rolling back: the stable version was asked for again",
    );
    check(
        &plan,
        &format!("{HOLDING} full tick supersede"),
        "rolling back: superseded by v3",
    );
    check(
        &plan,
        &format!("{HOLDING} full tick applied supersede"),
        "Draining at 100%; refused: not possible while Promoting: the promotion is nearly done; the next version can begin after it",
    );
}

#[test]
fn set_weight_is_an_override_until_resumed() {
    let judged = plan("10% 1m 25% 1m 100%", guarded());
    for (script, expected) in [
        ("set=80%", "paused at 80%: weight set by ann"),
        ("set=80% set=5%", "paused at 5%: weight set by ann"),
        ("set=80% pause", "paused at 80%: weight set by ann"),
        ("set=80% +1d pass", "paused at 80%: weight set by ann"),
        ("set=80% resume", "step 1 at 10%"),
        ("set=5% resume", "step 1 at 5%"),
        ("set=5% resume tick", "step 1 at 10%"),
        ("set=5% +1h resume tick applied +59s pass", "step 1 at 10%"),
        ("set=5% +1h resume tick applied +60s pass", "step 2 at 10%"),
        ("set=80% promote", "step 2 at 25%"),
        ("set=5% promote", "step 2 at 5%"),
        ("set=80% full", "Shifting at 80%"),
        ("set=80% fail", "rolling back: fail was measured"),
        ("set=80% abort", "rolling back: aborted by ann"),
        ("set=80% +7d tick", "rolling back: nobody decided in time"),
    ] {
        check(&judged, &format!("{HOLDING} {script}"), expected);
    }
    let holding = Rules {
        on_failure: OnFailure::Hold,
        ..guarded()
    };
    check(
        &plan("10% 1m 100%", holding),
        &format!("{HOLDING} set=80% fail"),
        "paused at 80%: fail was measured",
    );
}

#[test]
fn set_weight_on_a_question_asks_again_when_resumed() {
    let rules = Rules {
        promote: Mode::Manual,
        ..Rules::default()
    };
    let plan = plan("10% 100%", rules);
    let asked = "tick ready applied tick applied tick applied";
    check(&plan, asked, "paused at 100%: promotion is manual");
    check(
        &plan,
        &format!("{asked} set=50%"),
        "paused at 50%: weight set by ann",
    );
    check(
        &plan,
        &format!("{asked} set=50% resume tick applied"),
        "paused at 100%: promotion is manual",
    );
    check(
        &plan,
        &format!("{asked} set=50% promote"),
        "Shifting at 50%",
    );
}

#[test]
fn restart_replaces_what_is_older_than_now() {
    let plan = plan("10% 1m 100%", Rules::default());
    for reach in [
        "tick",
        HOLDING,
        "tick ready applied tick applied pause",
        "tick ready applied tick applied full",
    ] {
        let mut script = Script::play(&plan, reach);
        let phase = script.state.phase.clone();
        script.go_on("+5s restart");
        assert_eq!(script.state.restart_since, Some(script.now), "{reach}");
        assert_eq!(script.state.phase, phase);
        script.go_on("+5s restart");
        assert_eq!(script.state.restart_since, Some(script.now), "{reach}");
    }
}

#[test]
fn a_clock_that_goes_back_stops_time() {
    let plan = plan("10% 1m 100%", Rules::default());
    let mut script = Script::play(&plan, HOLDING);
    let seen = script.state.seen;
    script.now -= jiff::SignedDuration::from_hours(1);
    script.go_on("tick pause abort");
    assert_eq!(script.state.seen, seen);
    let Phase::RollingBack(rollback) = &script.state.phase else {
        panic!("{}", script.line());
    };
    assert_eq!(rollback.wait.since, seen);
}
