//! The canary under load: its share, its end, and its sudden death.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use haldane_api::http::CommandName;
use haldane_core::Weight;
use rustix::process::Signal;

use crate::it::{
    load::{Load, Seen, check_share, tally},
    rig::{Rig, deploy_shop, free_addr, shop_file, signal, storm, until, within},
};

/// How many requests tell the share.
const REQUESTS_MIN: usize = 20_000;

/// How many clients ask at once, each as fast as it is answered.
const CLIENTS: usize = 32;

#[test]
fn the_share_is_exact_and_after_an_abort_it_is_nothing() {
    const WEIGHT_BPS: u16 = 500;
    let _storm = storm();
    let rig = Rig::new();
    let addr = free_addr();
    rig.write_file(&shop_file(
        addr,
        "{ steps: [5%, 100%], hold: untilResumed, guards: none }",
    ));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    daemon
        .api
        .deploy("shop", &deploy_shop("v2", "good"))
        .unwrap();
    daemon
        .api
        .wait_weight("shop", Weight::try_from_bps(WEIGHT_BPS).unwrap());
    let load = Load::start(addr, CLIENTS, Duration::ZERO);
    within(Duration::from_secs(90), "enough requests", || {
        (load.count() >= REQUESTS_MIN).then_some(())
    });
    let before = Instant::now();
    let aborted = daemon.api.command("shop", CommandName::Abort).unwrap();
    let answered = Instant::now();
    assert!(aborted.is_durable);
    sleep(Duration::from_secs(3));
    let seen = load.stop();
    assert!(seen.iter().all(Seen::is_good), "{:?}", tally(&seen));
    let is_canary = |one: &&Seen| one.version() == Some("v2");
    let split: Vec<&Seen> = seen.iter().filter(|one| one.sent_at < before).collect();
    let canary = split.iter().copied().filter(is_canary).count();
    check_share(canary, split.len(), WEIGHT_BPS);
    let late = seen
        .iter()
        .filter(|one| one.sent_at > answered + Duration::from_secs(1));
    assert!(late.clone().count() > 100);
    assert_eq!(late.filter(is_canary).count(), 0);
    assert_eq!(daemon.api.wait_over("shop-1").phase, "RolledBack");
    daemon.stop(&rig);
}

#[test]
fn when_all_canaries_die_at_peak_no_client_notices() {
    let _storm = storm();
    let rig = Rig::new();
    let addr = free_addr();
    let plan = "{ steps: [50%, 100%], hold: untilResumed, guards: none, deadlines: { lost: 10s } }";
    rig.write_file(&shop_file(addr, plan));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    daemon
        .api
        .deploy("shop", &deploy_shop("v2", "good"))
        .unwrap();
    let half = Weight::try_from_bps(5_000).unwrap();
    daemon.api.wait_weight("shop", half);
    let stable = rig.shops("v1");
    let load = Load::start(addr, CLIENTS, Duration::ZERO);
    sleep(Duration::from_secs(1));
    for _ in 0..3 {
        let canaries = rig.shops("v2");
        assert_eq!(canaries.len(), 2);
        for canary in &canaries {
            signal(canary.pid, Signal::KILL);
        }
        let killed_at = jiff::Timestamp::now();
        until("the canary is back", || {
            let shops = rig.shops("v2");
            let is_new = shops.len() == 2 && shops.iter().all(|shop| !canaries.contains(shop));
            let view = daemon.api.service("shop");
            let is_ready = view.canary.is_some_and(|canary| canary.replicas_ready == 2);
            (is_new && is_ready && view.at > killed_at).then_some(())
        });
    }
    daemon.api.wait_weight("shop", half);
    let seen = load.stop();
    assert!(seen.iter().all(Seen::is_good), "{:?}", tally(&seen));
    assert_eq!(rig.shops("v1"), stable);
    assert!(seen.iter().any(|one| one.version() == Some("v2")));
    daemon.stop(&rig);
}
