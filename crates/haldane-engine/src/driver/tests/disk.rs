//! The disk fails: what is decided, routed and told meanwhile, and how it goes on.

use haldane_api::http::CommandName::{Abort, Pause, Retry};

use super::{
    bench::{Bench, SHOP, shop, version},
    failing::Moment,
};
use crate::handle::RequestError;

fn at(percent: u16) -> Bench {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(percent);
    bench
}

fn is_store<T>(result: &Result<T, RequestError>) -> bool {
    matches!(result, Err(RequestError::Store(_)))
}

#[test]
fn a_step_up_waits_for_the_disk_and_goes_on_by_itself() {
    let mut bench = at(10);
    bench.broken_disk(true);
    bench.turns(12);
    assert_eq!(
        (bench.phase().as_str(), bench.routed()),
        ("Progressing", 10)
    );
    let fault = bench.engine().daemon().store_fault.unwrap();
    assert_eq!(fault, "could not write the store: no space left on device");
    bench.broken_disk(false);
    bench.turns(1);
    assert_eq!(bench.engine().daemon().store_fault, None);
    bench.until("Completed");
}

#[test]
fn an_abort_acts_without_the_disk_and_is_completed_with_it() {
    let mut bench = at(50);
    bench.broken_disk(true);
    let answer = bench.command(Abort).unwrap();
    assert!(!answer.is_durable);
    assert!(answer.messages[1].starts_with("applied, not durable"));
    assert_eq!(bench.routed(), 0);
    bench.turns(10);
    assert_eq!(bench.phase(), "RollingBack");
    assert_eq!(
        bench.world.lock().runs(&shop(), "v2"),
        2,
        "nothing is stopped"
    );
    assert_eq!(bench.view().notices.len(), 1);
    // Once more is no error.
    assert!(!bench.command(Abort).unwrap().is_durable);
    bench.broken_disk(false);
    bench.until("RolledBack");
    bench.turn();
    assert_eq!(bench.world.lock().runs(&shop(), "v2"), 0);
    assert!(bench.view().notices.is_empty());
    assert_eq!(
        bench.trail(),
        [
            "deploy shop-1 by ann (ticket 7)",
            "abort shop-1 by bob (because)"
        ]
    );
}

#[test]
fn a_bad_verdict_acts_without_the_disk_and_is_completed_with_it() {
    let mut bench = at(50);
    bench.broken_disk(true);
    bench.world.lock().failing.insert(version("v2"), 500);
    bench.until("RollingBack");
    assert_eq!(bench.routed(), 0);
    bench.turns(10);
    assert_eq!(
        (
            bench.phase().as_str(),
            bench.world.lock().runs(&shop(), "v2")
        ),
        ("RollingBack", 2)
    );
    bench.broken_disk(false);
    bench.until("RolledBack");
}

#[test]
fn an_abort_reaches_every_phase_without_the_disk() {
    for phase in ["Pending", "Preparing", "Paused", "Promoting"] {
        let mut bench = Bench::with_shop();
        bench.world.lock().start_turns = 3;
        bench.world.lock().in_flight.insert(version("v1"), 1);
        match phase {
            "Pending" => {
                // A turn later it would be on its way.
                bench
                    .faults
                    .set(|script| script.crash = Some((script.commits + 2, Moment::Before)));
                assert!(bench.survive(|bench| drop(bench.deploy("v2"))));
                bench.broken_disk(true);
            }
            "Paused" => {
                bench.deploy("v2").unwrap();
                bench.until_weight(50);
                bench.command(Pause).unwrap();
            }
            _ => {
                bench.deploy("v2").unwrap();
                bench.until(phase);
            }
        }
        bench.broken_disk(true);
        assert!(!bench.command(Abort).unwrap().is_durable, "{phase}");
        assert_eq!(
            (bench.phase().as_str(), bench.routed()),
            ("RollingBack", 0),
            "{phase}"
        );
        bench.turns(3);
        bench.broken_disk(false);
        bench.until("RolledBack");
    }
}

#[test]
fn a_lowered_weight_does_not_keep_an_abort_from_acting() {
    let mut bench = at(50);
    bench.broken_disk(true);
    let answer = bench.set_weight(20).unwrap();
    assert!(!answer.is_durable);
    assert_eq!(bench.routed(), 20);
    // Neither up nor down by steps while that is pending: only to zero.
    assert!(is_store(&bench.set_weight(40)));
    assert!(is_store(&bench.set_weight(10)));
    assert_eq!(bench.routed(), 20);
    assert!(!bench.command(Abort).unwrap().is_durable);
    assert_eq!(bench.routed(), 0);
    bench.broken_disk(false);
    bench.until("RolledBack");
    assert_eq!(
        bench.story("shop-1")[7..],
        ["Paused 20", "RollingBack 0", "RolledBack 0"]
    );
}

#[test]
fn the_canary_keeps_its_size_until_a_lowered_weight_is_durable() {
    let mut bench = Bench::new();
    let text = SHOP.replace("replicas: 2", "replicas: 10");
    bench
        .apply(&format!("{text}      canaryScale: matchWeight\n"))
        .unwrap();
    bench.turns(2);
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.set_weight(80).unwrap();
    bench.turns(2);
    assert_eq!(bench.world.lock().runs(&shop(), "v2"), 8);
    bench.broken_disk(true);
    bench.set_weight(20).unwrap();
    bench.turns(3);
    assert_eq!(
        (bench.routed(), bench.world.lock().runs(&shop(), "v2")),
        (20, 8)
    );
    bench.broken_disk(false);
    bench.turns(2);
    assert_eq!(bench.world.lock().runs(&shop(), "v2"), 2);
}

#[test]
fn a_canary_that_dies_while_the_disk_fails_gets_no_traffic_and_comes_back_with_the_disk() {
    let mut bench = at(50);
    bench.broken_disk(true);
    bench.world.lock().deaf.insert(version("v2"));
    bench.turn();
    assert_eq!(bench.routed(), 0);
    bench.world.lock().deaf.clear();
    bench.turns(3);
    assert_eq!(bench.routed(), 0);
    bench.broken_disk(false);
    bench.turns(2);
    assert_eq!(bench.routed(), 50);
    bench.until("Completed");
}

#[test]
fn nothing_begins_without_the_disk() {
    let mut bench = Bench::with_shop();
    bench.broken_disk(true);
    assert!(is_store(&bench.deploy("v2")));
    bench.turns(3);
    assert!(bench.view().rollout.is_none());
    assert_eq!(bench.world.lock().runs(&shop(), "v2"), 0);
    bench.broken_disk(false);
    bench.turns(3);
    assert!(
        bench.view().rollout.is_none(),
        "a refused wish does not come back"
    );
    bench.deploy("v2").unwrap();
    assert_eq!(bench.rollout_id(), "shop-1");
    bench.command(Abort).unwrap();
    bench.until("RolledBack");
    bench.broken_disk(true);
    assert!(is_store(&bench.command(Retry)));
    assert_eq!(bench.rollout_id(), "shop-1");
}

#[test]
fn a_newer_version_without_the_disk_leaves_the_older_alone() {
    let mut bench = at(10);
    bench.broken_disk(true);
    assert!(is_store(&bench.deploy("v3")));
    assert_eq!(
        (bench.phase().as_str(), bench.routed()),
        ("Progressing", 10)
    );
    bench.broken_disk(false);
    bench.until("Completed");
    assert_eq!(bench.view().stable.version, version("v2"));
}

#[test]
fn a_pause_that_the_disk_did_not_take_is_no_pause() {
    let mut bench = at(10);
    // The very next commit fails, and the one after it would work.
    bench.faults.set(|script| script.breaks_once = true);
    assert!(is_store(&bench.command(Pause)));
    assert_eq!(bench.phase(), "Progressing");
    assert_eq!(bench.trail().len(), 1);
}

#[test]
fn a_command_that_changes_nothing_and_cannot_be_written_down_is_an_error() {
    let mut bench = at(10);
    bench.command(Pause).unwrap();
    bench.faults.set(|script| script.breaks_once = true);
    assert!(is_store(&bench.command(Pause)));
    assert_eq!(bench.phase(), "Paused");
    // A refusal stays a refusal.
    bench.command(Abort).unwrap();
    bench.until("RolledBack");
    bench.faults.set(|script| script.breaks_once = true);
    assert!(matches!(
        bench.command(Pause),
        Err(RequestError::Refused(_))
    ));
}

#[test]
fn a_crash_before_an_abort_is_durable_goes_on_at_the_last_durable_weight() {
    let mut bench = at(50);
    bench.broken_disk(true);
    assert!(!bench.command(Abort).unwrap().is_durable);
    bench.broken_disk(false);
    bench.restart();
    assert_eq!(
        (bench.phase().as_str(), bench.routed()),
        ("Progressing", 50)
    );
    bench.until("Completed");
}
