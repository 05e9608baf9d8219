//! A new version, or the stable one again, while a rollout goes on.

use haldane_api::http::CommandName::Abort;

use super::{
    bench::{Bench, version},
    failing::Moment,
};

#[test]
fn a_newer_version_waits_until_the_older_is_verified_to_be_back() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    {
        let mut world = bench.world.lock();
        world.router_turns = Some(3);
        world.in_flight.insert(version("v2"), 2);
    }
    let answer = bench.deploy("v3").unwrap();
    assert_eq!(
        answer.messages,
        ["the rollout that goes on ends first, then v3 begins"]
    );
    assert_eq!(
        answer.rollout, None,
        "who waits must not wait for the old one"
    );
    assert_eq!((bench.phase().as_str(), bench.routed()), ("RollingBack", 0));
    assert_eq!(bench.view().queued, Some(version("v3")));
    bench.turns(2);
    assert_eq!(bench.rollout_id(), "shop-1");
    bench.world.lock().in_flight.clear();
    bench.until("Completed");
    assert_eq!(bench.rollout_id(), "shop-2");
    assert_eq!(bench.view().queued, None);
    assert_eq!(bench.view().stable.version, version("v3"));
    assert_eq!(bench.story("shop-1").last().unwrap(), "RolledBack 0");
    assert!(
        bench
            .trail()
            .contains(&"supersede shop-1 by ann (ticket 7)".to_owned())
    );
}

#[test]
fn the_queue_survives_restarts_at_every_commit() {
    for moment in [Moment::Before, Moment::After] {
        for commit in 1.. {
            let mut bench = Bench::with_shop();
            bench.deploy("v2").unwrap();
            bench.until_weight(10);
            bench.world.lock().router_turns = Some(2);
            bench
                .faults
                .set(|script| script.crash = Some((script.commits + commit, moment)));
            let ended = bench.survive(|bench| {
                bench.deploy("v3").unwrap();
                bench.until_view("v3", |view| {
                    view.rollout
                        .as_ref()
                        .is_some_and(|it| it.canary == version("v3"))
                });
            });
            if !ended {
                assert!(commit > 3, "{commit}");
                break;
            }
            if (commit, moment) == (1, Moment::Before) {
                // Nothing was durable, so nobody was promised anything.
                bench.deploy("v3").unwrap();
            }
            bench.until_view("v3", |view| view.stable.version == version("v3"));
            assert_eq!(bench.rollout_id(), "shop-2", "{commit} {moment:?}");
            assert_eq!(bench.story("shop-1").last().unwrap(), "RolledBack 0");
        }
    }
}

#[test]
fn the_last_wish_in_the_queue_counts() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.world.lock().router_turns = Some(3);
    bench.deploy("v3").unwrap();
    let answer = bench.deploy("v4").unwrap();
    assert_eq!(
        answer.messages,
        ["v4 begins when the rollout that is ending has ended"]
    );
    bench.until("Completed");
    assert_eq!(bench.rollout_id(), "shop-2");
    assert_eq!(bench.view().stable.version, version("v4"));
}

#[test]
fn stable_wanted_again_ends_the_rollout_and_clears_the_queue() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.world.lock().router_turns = Some(3);
    let answer = bench.deploy("v1").unwrap();
    assert!(answer.messages[0].starts_with("v1 is stable"));
    assert_eq!(bench.routed(), 0);
    bench.deploy("v3").unwrap();
    let answer = bench.deploy("v1").unwrap();
    assert_eq!(
        answer.messages,
        ["v1 serves when the rollout that is ending has ended"]
    );
    bench.until("RolledBack");
    bench.turns(5);
    assert_eq!(bench.rollout_id(), "shop-1");
    assert_eq!(
        (bench.view().queued, bench.view().stable.version),
        (None, version("v1"))
    );
}

#[test]
fn an_abort_takes_the_queued_version_back_too() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.world.lock().router_turns = Some(3);
    bench.deploy("v3").unwrap();
    let answer = bench.command(Abort).unwrap();
    assert_eq!(
        answer.messages,
        [
            "shop-1: abort: RollingBack",
            "v3, which was to follow, does not begin"
        ]
    );
    assert_eq!(bench.view().queued, None);
    bench.until("RolledBack");
    bench.turns(5);
    assert_eq!(bench.rollout_id(), "shop-1");
    assert_eq!(bench.view().stable.version, version("v1"));
    // It is told as what it was, not as a version that never came.
    assert_eq!(
        bench.view().rollout.unwrap().message,
        "aborted by bob (because)"
    );
    let trail = bench.trail();
    assert_eq!(
        trail[1..],
        [
            "supersede shop-1 by ann (ticket 7)",
            "abort shop-1 by bob (because)"
        ]
    );
    // What is deployed after the abort begins as ever.
    bench.deploy("v3").unwrap();
    assert_eq!(bench.rollout_id(), "shop-2");
}

#[test]
fn every_abort_takes_back_what_was_queued_before_it() {
    // Aborted already, or ended by the judge: the phase has nothing to change, the queue has.
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.world.lock().router_turns = Some(3);
    bench.command(Abort).unwrap();
    bench.deploy("v3").unwrap();
    assert_eq!(bench.view().queued, Some(version("v3")));
    bench.command(Abort).unwrap();
    assert_eq!(bench.view().queued, None);
    // Who wants it after all says so once more.
    bench.deploy("v3").unwrap();
    assert_eq!(bench.view().queued, Some(version("v3")));
    bench.until_view("v3", |view| view.stable.version == version("v3"));
}

#[test]
fn what_an_abort_takes_back_stays_so_after_every_crash() {
    for moment in [Moment::Before, Moment::After] {
        for commit in 1.. {
            let mut bench = Bench::with_shop();
            bench.deploy("v2").unwrap();
            bench.until_weight(10);
            bench.world.lock().router_turns = Some(2);
            bench.deploy("v3").unwrap();
            bench
                .faults
                .set(|script| script.crash = Some((script.commits + commit, moment)));
            let ended = bench.survive(|bench| {
                bench.command(Abort).unwrap();
                bench.until("RolledBack");
                bench.turns(3);
            });
            if !ended {
                assert!(commit > 1, "{commit}");
                break;
            }
            if (commit, moment) == (1, Moment::Before) {
                // Nothing was durable, so nobody was promised anything.
                bench.command(Abort).unwrap();
            }
            bench.until("RolledBack");
            bench.turns(5);
            assert_eq!(bench.rollout_id(), "shop-1", "{commit} {moment:?}");
            assert_eq!(bench.view().queued, None, "{commit} {moment:?}");
        }
    }
}

#[test]
fn an_abort_takes_the_queued_version_back_without_a_disk() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.world.lock().router_turns = Some(3);
    bench.deploy("v3").unwrap();
    bench.broken_disk(true);
    let answer = bench.command(Abort).unwrap();
    assert!(!answer.is_durable);
    bench.turns(10);
    bench.broken_disk(false);
    bench.until("RolledBack");
    bench.turns(5);
    assert_eq!(bench.rollout_id(), "shop-1");
    bench.restart();
    bench.turns(3);
    assert_eq!(bench.view().queued, None);
    assert_eq!(bench.rollout_id(), "shop-1");
}

#[test]
fn a_version_deployed_while_the_old_one_drains_begins_after_it() {
    let mut bench = Bench::with_shop();
    bench.world.lock().in_flight.insert(version("v1"), 1);
    bench.deploy("v2").unwrap();
    bench.until("Promoting");
    bench.turns(2);
    // The one that is nearly there is no rollout of its own.
    let answer = bench.deploy("v2").unwrap();
    assert_eq!(
        answer.messages,
        ["v2 serves when the rollout that is ending has ended"]
    );
    let answer = bench.deploy("v3").unwrap();
    assert_eq!(
        answer.messages,
        ["v3 begins when the rollout that is ending has ended"]
    );
    assert_eq!(bench.phase(), "Promoting");
    bench.world.lock().in_flight.clear();
    bench.until_view("v3", |view| view.stable.version == version("v3"));
    assert_eq!(bench.story("shop-1").last().unwrap(), "Completed 100");
    assert_eq!(bench.rollout_id(), "shop-2");
}

#[test]
fn what_is_queued_and_serves_in_the_end_begins_no_rollout() {
    let mut bench = Bench::with_shop();
    bench.world.lock().in_flight.insert(version("v1"), 1);
    bench.deploy("v2").unwrap();
    bench.until("Promoting");
    bench.turns(2);
    // Back to v1 after the promotion; but then the promotion is aborted, and v1 serves anyhow.
    bench.deploy("v1").unwrap();
    bench.command(Abort).unwrap();
    bench.until("RolledBack");
    bench.turns(3);
    assert_eq!(bench.rollout_id(), "shop-1");
    assert_eq!(
        (bench.view().queued, bench.view().stable.version),
        (None, version("v1"))
    );
}
