//! The driver ends at any point and is opened again on the same store.

use haldane_api::http::CommandName::{Abort, Retry};
use haldane_core::rollout::{Phase, Progress};

use super::{
    bench::{Bench, SHOP, shop, version, why},
    failing::Moment,
};
use crate::{
    record::RolloutRecord,
    store::{RolloutRow, ServiceRow, Store, Write},
};

/// Returns how a rollout went. A step more or less at the same weight is the same to users: what was counted is lost with the process,
/// so a verdict may come a second later, in the hold instead of the step before it.
fn told(bench: &mut Bench) -> Vec<String> {
    let mut story = bench.story("shop-1");
    story.dedup();
    story
}

/// Restarts before and after each commit of a rollout, and compares with what comes without.
fn check_every_commit(is_bad: bool, end: &str) {
    let prepared = || {
        let bench = Bench::with_shop();
        if is_bad {
            bench.world.lock().failing.insert(version("v2"), 500);
        }
        bench
    };
    let mut bench = prepared();
    let before = bench.faults.commits();
    bench.deploy("v2").unwrap();
    bench.until(end);
    let commits = bench.faults.commits() - before;
    let decisions = bench.story("shop-1").len() as u64;
    // What the judges remember is stored every few seconds between.
    let is_sparing = (decisions..=decisions.saturating_mul(2)).contains(&commits);
    assert!(is_sparing, "{commits} commits for {decisions} decisions");
    let story = told(&mut bench);
    for moment in [Moment::Before, Moment::After] {
        for commit in 1..=commits {
            let mut bench = prepared();
            bench
                .faults
                .set(|script| script.crash = Some((script.commits + commit, moment)));
            let ended = bench.survive(|bench| {
                bench.deploy("v2").unwrap();
                bench.until(end);
            });
            assert!(ended, "{commit} {moment:?}");
            if (commit, moment) == (1, Moment::Before) {
                assert!(bench.view().rollout.is_none());
                bench.deploy("v2").unwrap();
            }
            bench.until(end);
            assert_eq!(told(&mut bench), story, "{commit} {moment:?}");
        }
    }
}

#[test]
fn a_promotion_is_the_same_with_a_restart_at_every_decision() {
    check_every_commit(false, "Completed");
}

#[test]
fn a_rollback_is_the_same_with_a_restart_at_every_decision() {
    check_every_commit(true, "RolledBack");
}

#[test]
fn after_a_restart_the_last_durable_weight_is_routed_before_anything_is_read_back() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    // A router that begins anew, and does not answer yet.
    bench.world.lock().routes.clear();
    bench.world.lock().router_turns = None;
    bench.restart();
    assert_eq!(bench.routed(), 50);
    assert_eq!(bench.view().rollout.unwrap().weight_bps.as_bps(), 5_000);
}

#[test]
fn after_a_restart_sizes_are_known_before_readiness_is_told_by_them() {
    let mut bench = Bench::with_shop();
    bench.world.lock().start_turns = 9;
    bench.deploy("v2").unwrap();
    bench.turn();
    {
        let mut world = bench.world.lock();
        let canary = world.replicas.get_mut(&(shop(), version("v2"))).unwrap();
        // One of two is ready, the other is gone.
        (canary.count, canary.turns) = (1, 0);
    }
    bench.restart();
    assert_eq!(bench.phase(), "Preparing");
    bench.until("Completed");
}

#[test]
fn a_canary_whose_health_is_not_known_yet_after_a_restart_is_not_lost() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    bench.world.lock().deaf.insert(version("v2"));
    bench.restart();
    bench.turns(2);
    assert_eq!(bench.routed(), 50);
    bench.world.lock().deaf.clear();
    bench.until("Completed");
    let without = {
        let mut bench = Bench::with_shop();
        bench.deploy("v2").unwrap();
        bench.until("Completed");
        bench.story("shop-1")
    };
    assert_eq!(bench.story("shop-1"), without);
}

#[test]
fn a_canary_that_stays_silent_after_a_restart_is_lost() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    bench.world.lock().deaf.insert(version("v2"));
    bench.restart();
    bench.turns(6);
    assert_eq!(bench.routed(), 0);
    bench.until("RolledBack");
    // One whose replicas are gone is lost at once.
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    bench.world.lock().replicas.remove(&(shop(), version("v2")));
    bench.restart();
    assert_eq!(bench.routed(), 0);
    bench.until("Completed");
}

#[test]
fn what_is_over_is_still_shown_after_a_restart() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until("Completed");
    let before = bench.view().rollout.unwrap();
    bench.restart();
    let after = bench.view().rollout.unwrap();
    assert_eq!(
        (after.id, after.phase, after.message),
        (before.id, before.phase, before.message)
    );
    bench.command(haldane_api::http::CommandName::Undo).unwrap();
    assert_eq!(bench.rollout_id(), "shop-2");
}

fn live_row(store: &mut dyn Store) -> RolloutRow {
    store.live_rollouts().unwrap().pop().unwrap()
}

/// Returns a bench with a rollout at 50 % whose stored body was changed before a restart.
fn damaged(change: impl FnOnce(&RolloutRow) -> String) -> Bench {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    bench.restart_with(|store| {
        let row = live_row(store);
        let body = change(&row);
        store
            .commit(&[Write::PutRollout(RolloutRow { body, ..row })])
            .unwrap();
    });
    bench
}

fn check_set_aside(mut bench: Bench, notice: &str) {
    bench.turns(3);
    assert_eq!(bench.routed(), 0);
    let view = bench.view();
    assert!(view.rollout.is_none());
    assert!(view.notices[0].contains(notice), "{:?}", view.notices);
    assert_eq!(view.stable.version, version("v1"));
    assert_eq!(bench.world.lock().violations, [""; 0]);
    // A person sets it aside; then it is gone for good, and the others go on.
    let answer = bench.command(Abort).unwrap();
    assert_eq!(answer.messages, ["it is set aside; stable goes on serving"]);
    bench.turn();
    assert!(bench.view().notices.is_empty());
    bench.restart();
    assert!(bench.view().notices.is_empty());
    bench.deploy("v2").unwrap();
    bench.until("Completed");
    assert_eq!(bench.rollout_id(), "shop-2");
}

#[test]
fn a_rollout_that_cannot_be_read_leaves_stable_alone() {
    check_set_aside(
        damaged(|_| "{\"form\":1,\"body\":17}".to_owned()),
        "could not read the store",
    );
    check_set_aside(damaged(|row| row.body.replacen("1", "99", 1)), "form");
}

/// Returns a body whose state is at a step that the plan does not have.
fn beyond(row: &RolloutRow) -> String {
    let mut record = RolloutRecord::read(row).unwrap();
    let Phase::Progressing(progress) = record.state.phase else {
        panic!("not at a step");
    };
    record.state.phase = Phase::Progressing(Progress {
        step: 99,
        ..progress
    });
    let Write::PutRollout(row) = record.write().unwrap() else {
        panic!("no rollout");
    };
    row.body
}

#[test]
fn a_rollout_that_makes_no_sense_leaves_stable_alone() {
    check_set_aside(damaged(beyond), "makes no sense (the step exists");
}

#[test]
fn a_rollout_set_aside_can_be_followed_by_another_at_once() {
    let mut bench = damaged(beyond);
    bench.turn();
    bench.deploy("v3").unwrap();
    bench.until("Completed");
    assert!(bench.view().notices.is_empty());
    bench.restart();
    assert!(bench.view().notices.is_empty());
    assert_eq!(
        (bench.rollout_id().as_str(), bench.view().stable.version),
        ("shop-2", version("v3"))
    );
}

#[test]
fn a_rollout_that_cannot_be_read_is_not_retried_and_hides_no_history() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until("Completed");
    bench.turn();
    bench.deploy("v3").unwrap();
    bench.until_weight(10);
    bench.restart_with(|store| {
        let row = live_row(store);
        store
            .commit(&[Write::PutRollout(RolloutRow {
                body: String::new(),
                ..row
            })])
            .unwrap();
    });
    assert!(why(bench.command(Retry)).starts_with("shop-2 cannot be read"));
    let history = bench.ask(|reply| crate::handle::Event::History {
        service: shop(),
        limit: 10,
        has_entries: true,
        reply,
    });
    let ids: Vec<String> = history
        .unwrap()
        .iter()
        .map(|told| told.id.to_string())
        .collect();
    assert_eq!(ids, ["shop-1"]);
    bench.command(haldane_api::http::CommandName::Undo).unwrap();
    bench.until("Completed");
    assert_eq!(bench.view().stable.version, version("v1"));
}

#[test]
fn the_canary_of_a_rollout_set_aside_runs_until_no_traffic_goes_there() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    bench.world.lock().router_turns = Some(4);
    bench.restart_with(|store| {
        let row = live_row(store);
        let body = beyond(&row);
        store
            .commit(&[Write::PutRollout(RolloutRow { body, ..row })])
            .unwrap();
    });
    bench.turns(1);
    assert_eq!(
        (bench.routed(), bench.world.lock().runs(&shop(), "v2")),
        (0, 2)
    );
    bench.turns(5);
    assert_eq!(bench.world.lock().runs(&shop(), "v2"), 0);
    assert_eq!(bench.world.lock().violations, [""; 0]);
}

fn spoil_service(store: &mut dyn Store) {
    let body = "{}".to_owned();
    store
        .commit(&[Write::PutService(ServiceRow { name: shop(), body })])
        .unwrap();
}

#[test]
fn a_service_that_cannot_be_read_goes_on_when_its_file_is_applied_again() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until("Completed");
    bench.turn();
    bench.restart_with(spoil_service);
    assert!(bench.engine().views().is_empty());
    let fault = bench.engine().daemon().store_fault.unwrap();
    assert!(fault.starts_with("service shop cannot be read"), "{fault}");
    // The file says v1; the store knows that v2 was promoted.
    let answer = bench.apply(SHOP).unwrap();
    assert_eq!(answer.messages[1], "shop: the store knows of it: v2 serves");
    assert_eq!(bench.engine().daemon().store_fault, None);
    bench.turns(2);
    assert_eq!(bench.view().stable.version, version("v2"));
    bench.deploy("v3").unwrap();
    assert_eq!(bench.rollout_id(), "shop-2");
    bench.until("Completed");
}

#[test]
fn a_rollout_of_a_service_that_could_not_be_read_goes_on_with_it() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    bench.restart_with(spoil_service);
    bench.apply(SHOP).unwrap();
    // Its processes were stopped, for nobody could say that they are wanted; traffic comes back with them.
    assert_eq!((bench.rollout_id().as_str(), bench.routed()), ("shop-1", 0));
    bench.turns(2);
    assert_eq!(bench.routed(), 50);
    bench.until("Completed");
    assert_eq!(bench.view().stable.version, version("v2"));
}
