//! Commands: what they do, what they leave behind, and when they are refused.

use haldane_api::http::CommandName::{
    Abort, Pause, Promote, Restart, Resume, Retry, SetWeight, Undo,
};
use serde_json::json;

use super::bench::{Bench, shop, version, weight, why};
use crate::{handle::RequestError, port::Size};

/// Returns a bench whose rollout sends 10 % to v2.
fn at_ten() -> Bench {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench
}

#[test]
fn promote_ends_the_wait_and_goes_to_the_next_step() {
    let mut bench = at_ten();
    let before = bench.view().rollout.unwrap().step;
    bench.command(Promote).unwrap();
    assert!(bench.view().rollout.unwrap().step > before);
    assert_eq!(
        bench.trail(),
        [
            "deploy shop-1 by ann (ticket 7)",
            "promote shop-1 by bob (because)"
        ]
    );
}

#[test]
fn promote_is_refused_when_the_step_has_moved_on() {
    let mut bench = at_ten();
    let step = bench.view().rollout.unwrap().step.unwrap();
    bench
        .command_with(Promote, |request| request.step = Some(step))
        .unwrap();
    let again = bench.command_with(Promote, |request| request.step = Some(step));
    assert!(why(again).contains(&format!("not at step {step}")));
    let trail = bench.trail();
    assert_eq!(
        trail.last().unwrap(),
        "promote shop-1 by bob (because): refused"
    );
    assert_eq!(trail.len(), 3);
}

#[test]
fn promote_full_moves_all_traffic() {
    let mut bench = at_ten();
    bench
        .command_with(Promote, |request| request.full = true)
        .unwrap();
    bench.until("Completed");
    let story = bench.story("shop-1");
    let promoted = story
        .iter()
        .position(|told| told.starts_with("Promoting"))
        .unwrap();
    assert_eq!(
        story[promoted - 1..promoted + 2],
        ["Progressing 10", "Promoting 10", "Promoting 100"]
    );
    assert_eq!(
        bench.view().rollout.unwrap().message,
        "promoted by an operator"
    );
    assert!(
        bench
            .trail()
            .contains(&"promote --full shop-1 by bob (because)".to_owned())
    );
}

#[test]
fn a_pause_keeps_the_weight_until_it_is_resumed() {
    let mut bench = at_ten();
    bench.command(Pause).unwrap();
    let since = bench.view().at;
    bench.turns(60);
    assert_eq!((bench.phase().as_str(), bench.routed()), ("Paused", 10));
    assert_eq!(
        bench.view().rollout.unwrap().message,
        format!("paused by bob (because), since {since:.0}")
    );
    // Once more changes nothing, and is written down.
    bench.command(Pause).unwrap();
    bench.restart();
    bench.turns(5);
    assert_eq!((bench.phase().as_str(), bench.routed()), ("Paused", 10));
    bench.command(Resume).unwrap();
    bench.until("Completed");
    let trail = bench.trail();
    let by = "shop-1 by bob (because)";
    assert_eq!(
        trail[1..],
        [
            format!("pause {by}"),
            format!("pause {by}"),
            format!("resume {by}")
        ]
    );
}

#[test]
fn an_abort_takes_the_traffic_away_at_once() {
    let mut bench = at_ten();
    let answer = bench.command(Abort).unwrap();
    assert!(answer.is_durable);
    assert_eq!(bench.routed(), 0);
    bench.until("RolledBack");
    assert_eq!(
        bench.view().rollout.unwrap().message,
        "aborted by bob (because)"
    );
}

#[test]
fn a_weight_set_by_hand_holds_until_it_is_resumed() {
    let mut bench = at_ten();
    bench.set_weight(30).unwrap();
    bench.turns(30);
    assert_eq!((bench.phase().as_str(), bench.routed()), ("Paused", 30));
    bench.restart();
    assert_eq!(bench.routed(), 30);
    bench.set_weight(5).unwrap();
    assert_eq!(bench.routed(), 5);
    bench.command(Resume).unwrap();
    bench.until("Completed");
    let answer = bench.command(SetWeight);
    assert!(matches!(answer, Err(RequestError::Invalid { .. })));
}

#[test]
fn restart_replaces_the_canary_or_stable() {
    let mut bench = at_ten();
    let since = |bench: &Bench, name: &str| {
        let key = (shop(), version(name));
        bench.world.lock().replicas[&key].restart_since
    };
    bench.command(Restart).unwrap();
    bench.turns(1);
    assert!(since(&bench, "v2").is_some() && since(&bench, "v1").is_none());
    bench.until("Completed");
    bench.turn();
    assert!(since(&bench, "v2").is_none());
    bench.command(Restart).unwrap();
    bench.turn();
    assert!(since(&bench, "v2").is_some());
    bench.restart();
    bench.turn();
    assert!(since(&bench, "v2").is_some(), "it is kept");
    assert_eq!(bench.trail().last().unwrap(), "restart by bob (because)");
}

#[test]
fn a_retry_is_a_rollout_of_its_own() {
    let mut bench = at_ten();
    assert_eq!(
        why(bench.command(Retry)),
        "shop-1 is Progressing; `abort` it first"
    );
    bench.command(Abort).unwrap();
    bench.until("RolledBack");
    let before = bench.entries("shop-1");
    let answer = bench.command(Retry).unwrap();
    assert_eq!(answer.rollout.unwrap().as_str(), "shop-2");
    assert_eq!(bench.view().rollout.unwrap().kind, "retry");
    bench.until("Completed");
    assert_eq!(
        bench.entries("shop-1"),
        before,
        "what is over stays as it was"
    );
    assert_eq!(
        why(bench.command(Retry)),
        "shop-2 was promoted; there is nothing to retry"
    );
    let trail = bench.trail();
    assert_eq!(
        trail,
        [
            "deploy shop-1 by ann (ticket 7)",
            "retry shop-1 by bob (because): refused",
            "abort shop-1 by bob (because)",
            "retry shop-2 by bob (because)",
            "retry shop-2 by bob (because): refused",
        ]
    );
}

#[test]
fn a_retry_may_have_another_plan() {
    let mut bench = at_ten();
    bench.command(Abort).unwrap();
    bench.until("RolledBack");
    let plan = json!({ "steps": ["20%", "100%"], "hold": "2s", "guards": "none" });
    bench
        .command_with(Retry, |request| request.rollout = Some(plan))
        .unwrap();
    bench.until_weight(20);
    let bad = json!({ "steps": ["20"] });
    let answer = bench.command_with(Retry, |request| request.rollout = Some(bad));
    assert!(matches!(answer, Err(RequestError::Invalid { .. })));
}

#[test]
fn undo_goes_straight_to_the_version_before() {
    let mut bench = Bench::with_shop();
    assert_eq!(
        why(bench.command(Undo)),
        "shop has no earlier version; name one with --to"
    );
    bench.deploy("v2").unwrap();
    bench.until("Completed");
    bench.turns(2);
    // A person decided: even a version that fails its guards is gone back to, without steps.
    bench.world.lock().failing.insert(version("v1"), 500);
    let answer = bench.command(Undo).unwrap();
    assert_eq!(answer.rollout.unwrap().as_str(), "shop-2");
    assert_eq!(bench.view().rollout.unwrap().kind, "undo");
    bench.turns(3);
    assert_eq!(bench.phase(), "Completed");
    assert_eq!(bench.view().stable.version, version("v1"));
    // Undone once more, it is v2 again.
    bench.command(Undo).unwrap();
    bench.until("Completed");
    assert_eq!(bench.view().stable.version, version("v2"));
    assert_eq!(bench.rollout_id(), "shop-3");
}

#[test]
fn undo_waits_until_the_version_is_healthy() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until("Completed");
    bench.turns(2);
    bench.world.lock().start_turns = 5;
    bench.command(Undo).unwrap();
    bench.turns(3);
    assert_eq!((bench.phase().as_str(), bench.routed()), ("Preparing", 0));
    bench.until("Completed");
}

#[test]
fn undo_reaches_any_earlier_version_by_name() {
    let mut bench = Bench::with_shop();
    for name in ["v2", "v3"] {
        bench.deploy(name).unwrap();
        bench.until("Completed");
        bench.turns(2);
    }
    let to = |name: &str| {
        let name = version(name);
        move |request: &mut haldane_api::http::CommandRequest| request.to = Some(name)
    };
    let unknown = bench.command_with(Undo, to("v9"));
    let Err(RequestError::NotFound(text)) = unknown else {
        panic!("{unknown:?}");
    };
    assert_eq!(text, "shop has had no version v9; known: v3, v2, v1");
    assert!(why(bench.command_with(Undo, to("v3"))).starts_with("v3 serves already"));
    bench.command_with(Undo, to("v1")).unwrap();
    bench.until("Completed");
    assert_eq!(bench.view().stable.version, version("v1"));
    let sizes: Vec<Size> = bench.world.lock().wishes[&shop()]
        .iter()
        .map(|wish| wish.size)
        .collect();
    assert_eq!(sizes, [Size::Replicas(2)]);
}

#[test]
fn undo_to_what_was_rolled_back_says_so() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.command(Abort).unwrap();
    bench.until("RolledBack");
    let to = |request: &mut haldane_api::http::CommandRequest| request.to = Some(version("v2"));
    let answer = bench.command_with(Undo, to).unwrap();
    assert_eq!(
        answer.messages[1..],
        ["notice: v2 was rolled back before, in shop-1: aborted by bob (because)"]
    );
    bench.until("Completed");
    bench.turns(2);
    // What served before has no such story, and what was promoted in the end has a better one.
    let answer = bench.command(Undo).unwrap();
    assert_eq!(answer.messages.len(), 1, "{:?}", answer.messages);
    bench.until("Completed");
    bench.turns(2);
    let answer = bench.command_with(Undo, to).unwrap();
    assert_eq!(answer.messages.len(), 1, "{:?}", answer.messages);
}

#[test]
fn undo_during_a_rollout_needs_a_name() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until("Completed");
    bench.turns(2);
    bench.deploy("v3").unwrap();
    bench.until_weight(10);
    assert!(why(bench.command(Undo)).starts_with("shop-2 is Progressing: `abort` takes it back"));
    bench
        .command_with(Undo, |request| request.to = Some(version("v1")))
        .unwrap();
    assert_eq!(bench.routed(), 0);
    bench.until_view("v1", |view| {
        view.stable.version == version("v1") && view.canary.is_none()
    });
    assert_eq!(bench.story("shop-2").last().unwrap(), "RolledBack 0");
    assert_eq!(bench.rollout_id(), "shop-3");
}

#[test]
fn a_rollout_that_is_over_takes_no_commands() {
    let mut bench = at_ten();
    bench.command(Abort).unwrap();
    bench.until("RolledBack");
    let before = bench.entries("shop-1");
    for restarts in [false, true] {
        if restarts {
            bench.restart();
        }
        for command in [Promote, Pause, Resume, Abort] {
            let text = why(bench.command(command));
            assert!(
                text.starts_with("shop-1: the rollout is over (RolledBack"),
                "{text}"
            );
        }
    }
    assert_eq!(bench.entries("shop-1"), before);
    assert_eq!(
        bench
            .trail()
            .iter()
            .filter(|said| said.ends_with(": refused"))
            .count(),
        8
    );
}

#[test]
fn commands_without_a_rollout_or_a_service_say_so() {
    let mut bench = Bench::with_shop();
    assert_eq!(
        why(bench.command(Abort)),
        "shop has no rollout; `deploy` begins one"
    );
    assert_eq!(
        why(bench.command(Retry)),
        "shop has had no rollout; `deploy` begins one"
    );
    let mut bench = Bench::new();
    for command in [Promote, Pause, Resume, Abort, Retry, Undo, Restart] {
        let answer = bench.command(command);
        assert_eq!(
            answer,
            Err(RequestError::NotFound(
                "there is no service shop".to_owned()
            ))
        );
    }
    let answer = bench.set_weight(1);
    assert!(matches!(answer, Err(RequestError::NotFound(_))));
}

#[test]
fn a_command_that_makes_no_sense_now_says_why() {
    let mut bench = Bench::with_shop();
    bench.world.lock().start_turns = 5;
    bench.deploy("v2").unwrap();
    bench.turn();
    assert_eq!(bench.phase(), "Preparing");
    assert!(why(bench.command(Promote)).ends_with("the canary is not ready yet"));
    assert!(why(bench.set_weight(50)).ends_with("the canary is not ready yet"));
    assert!(why(bench.command(Resume)).ends_with("it is not paused"));
    bench.until("Completed");
}

#[test]
fn a_version_that_is_there_is_not_deployed_again() {
    let mut bench = at_ten();
    assert_eq!(why(bench.deploy("v2")), "v2 is on trial already");
    bench.until("Completed");
    assert_eq!(
        why(bench.deploy("v2")),
        "v2 serves already; `restart` replaces its replicas"
    );
    let other = bench.deploy_with("v2", |request| {
        request.run = Some(vec!["./other".to_owned()])
    });
    assert!(why(other).starts_with("v2 serves already, from another source"));
    let none = bench.deploy_with("v3", |request| request.run = None);
    assert!(matches!(none, Err(RequestError::Invalid { .. })));
    assert_eq!(
        bench.trail().last().unwrap(),
        "deploy shop-1 by ann (ticket 7): refused"
    );
}

#[test]
fn what_is_undone_by_the_guards_after_a_weight_was_set_is_rolled_back() {
    let mut bench = at_ten();
    bench
        .command_with(SetWeight, |request| request.weight_bps = Some(weight(80)))
        .unwrap();
    bench.world.lock().failing.insert(version("v2"), 500);
    bench.until("RolledBack");
}
