//! A canary that does not become ready, and what its home says of it.

use super::{
    any::workloads,
    script::{STABLE, Script, guarded, plan},
};
use crate::{
    plan::{Plan, Scale},
    rollout::{
        CanarySize, CanaryWish, Input, Phase, Trouble, TroubleKind, Workloads, effect, effects,
        is_lawful, step,
    },
    weight::Weight,
};

/// A rollout whose canary is asked for.
const PREPARING: &str = "tick applied";

fn a_plan() -> Plan {
    plan("scale=full 25% 1m", guarded())
}

fn seen(ready: u32, kind: TroubleKind) -> Input {
    Input::Workloads(Workloads {
        canary_trouble: Some(Trouble {
            kind,
            said: "the program ./x is missing".to_owned(),
        }),
        ..workloads(STABLE, ready, false)
    })
}

fn tell(script: &mut Script, input: &Input) {
    let before = script.state.clone();
    let after = step(&script.plan, &before, input, script.now).state;
    is_lawful(&script.plan, &before, input, &after).unwrap();
    script.state = after;
}

/// Tells a rollout that stands so what is seen, and compares where that leads.
#[track_caller]
fn check(script: &str, input: &Input, expected: &str) {
    let mut script = Script::play(&a_plan(), script);
    tell(&mut script, input);
    assert_eq!(script.line(), expected);
}

#[test]
fn a_canary_that_cannot_be_started_ends_its_rollout_at_once() {
    check(
        PREPARING,
        &seen(0, TroubleKind::CannotStart),
        "rolling back: the canary cannot start: the program ./x is missing",
    );
    // One of four is enough: the others would never be all.
    check(
        PREPARING,
        &seen(STABLE - 1, TroubleKind::CannotStart),
        "rolling back: the canary cannot start: the program ./x is missing",
    );
}

#[test]
fn a_canary_that_fails_again_and_again_ends_its_rollout_early() {
    check(PREPARING, &seen(0, TroubleKind::StartsFail(4)), "preparing");
    check(
        PREPARING,
        &seen(0, TroubleKind::StartsFail(5)),
        "rolling back: the canary cannot start: the program ./x is missing",
    );
    check(
        PREPARING,
        &seen(0, TroubleKind::StartsFail(u32::MAX)),
        "rolling back: the canary cannot start: the program ./x is missing",
    );
    check(PREPARING, &seen(0, TroubleKind::NotReady), "preparing");
}

#[test]
fn a_canary_that_is_ready_is_in_no_trouble() {
    check(
        PREPARING,
        &seen(STABLE, TroubleKind::CannotStart),
        "step 0 at 0%",
    );
}

#[test]
fn once_a_canary_was_ready_its_failures_are_a_loss_and_have_time() {
    let mut script = Script::play(&a_plan(), &format!("{PREPARING} ready tick applied"));
    tell(&mut script, &seen(0, TroubleKind::StartsFail(4)));
    assert!(script.line().ends_with("(lost)"), "{}", script.line());
    tell(&mut script, &seen(0, TroubleKind::CannotStart));
    assert!(script.line().ends_with("(lost)"), "{}", script.line());
}

#[test]
fn a_canary_that_fails_again_and_again_is_given_up_wherever_it_is() {
    let given_up = "rolling back: the canary cannot start: the program ./x is missing";
    let reach = format!("{PREPARING} ready tick applied");
    for script in [
        reach.clone(),
        format!("{reach} ready tick applied applied"),
        format!("{reach} ready tick applied applied full tick"),
    ] {
        check(
            &script,
            &seen(STABLE - 1, TroubleKind::StartsFail(5)),
            given_up,
        );
    }
}

#[test]
fn the_reason_at_the_deadline_tells_what_is_known() {
    for (kind, expected) in [
        (
            Some(TroubleKind::StartsFail(2)),
            "rolling back: the canary did not become ready in time: the program ./x is missing",
        ),
        (
            None,
            "rolling back: the canary did not become ready in time",
        ),
    ] {
        let mut script = Script::play(&a_plan(), PREPARING);
        if let Some(kind) = kind {
            tell(&mut script, &seen(0, kind));
        }
        script.go_on("+10m tick");
        assert_eq!(script.line(), expected);
    }
}

#[test]
fn a_trouble_that_has_passed_is_forgotten() {
    let mut script = Script::play(&a_plan(), PREPARING);
    tell(&mut script, &seen(0, TroubleKind::StartsFail(4)));
    script.go_on("ready=0 +10m tick");
    assert_eq!(
        script.line(),
        "rolling back: the canary did not become ready in time"
    );
}

#[test]
fn the_full_size_of_a_canary_is_its_own() {
    let script = Script::play(&a_plan(), PREPARING);
    let of = |full| {
        Input::Workloads(Workloads {
            canary_full: full,
            ..workloads(STABLE, 2, false)
        })
    };
    // Stable has four; a canary of two is complete with two, and one of eight is not with two.
    for (full, name) in [(2, "Progressing"), (8, "Preparing")] {
        let after = step(&script.plan, &script.state, &of(full), script.now).state;
        assert_eq!(after.phase.name(), name, "{full}");
    }
    let CanaryWish::Running(size) = effect::workloads(&script.plan, &script.state).canary else {
        panic!("{:?}", effects(&script.plan, &script.state));
    };
    assert_eq!((size.replicas(2), size.replicas(8)), (2, 8));
    let half = CanarySize {
        scale: Scale::ShareOfFull(Weight::from_percent(50)),
        ..size
    };
    assert_eq!((half.replicas(2), half.replicas(8)), (1, 4));
    assert!(matches!(script.state.phase, Phase::Preparing(_)));
}

#[test]
fn what_was_written_before_troubles_were_known_is_read() {
    let old = r#"{
        "stable": {"wanted": 2, "ready": 2, "existing": 2, "is_fixed": false},
        "canary": {"wanted": 2, "ready": 1, "existing": 2, "is_fixed": false}
    }"#;
    let seen: Workloads = serde_json::from_str(old).unwrap();
    assert_eq!((seen.canary_full, seen.canary_trouble), (0, None));
}
