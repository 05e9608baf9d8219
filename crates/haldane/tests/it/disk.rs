//! A disk that takes nothing more while a rollout goes on: traffic stays, an abort acts, and what was decided is made good later.

use std::{
    ops::Range,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use haldane_api::http::{CommandName, RolloutHistory};
use haldane_core::Weight;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::it::{
    api::Trouble,
    load::{Load, Seen, check_share, tally},
    rig::{Daemon, HALDANE, Rig, deploy_shop, free_addr, shop_file, until},
};

/// The weight at which the disk fails.
const WEIGHT_BPS: u16 = 2_000;

/// How many requests after an abort show that none goes to the canary any more: at the weight before there would be dozens.
const REQUESTS_AFTER: usize = 300;

/// How long each step holds.
const HOLD: Duration = Duration::from_secs(2);

/// Returns a command of the daemon that can be kept from writing files: a process that doesn't ignore the signal would end by it.
fn up(rig: &Rig) -> Command {
    let mut command = rig.command("sh");
    command
        .args([
            "-c",
            "trap '' XFSZ; exec \"$@\"",
            "sh",
            HALDANE,
            "--data-dir",
        ])
        .arg(rig.data_dir())
        .args(["up", "-f"])
        .arg(rig.path("haldane.yaml"));
    command
}

/// Lets no file of the daemon grow beyond this size; `None` frees it.
fn limit_files(daemon: &Daemon, bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Pid::from_raw(daemon.pid()), Resource::Fsize, limit).unwrap();
}

#[test]
fn a_full_disk_freezes_the_weight_and_an_abort_still_acts() {
    let rig = Rig::new();
    let addr = free_addr();
    let plan = "{ steps: [20%, 50%, 100%], hold: 2s, guards: none }";
    rig.write_file(&shop_file(addr, plan));
    let daemon = rig.start(up(&rig));
    daemon.api.wait_ready("shop");
    let load = Load::start(addr, 4, Duration::from_millis(2));
    daemon
        .api
        .deploy("shop", &deploy_shop("v2", "good"))
        .unwrap();
    let weight = Weight::try_from_bps(WEIGHT_BPS).unwrap();
    daemon.api.wait_weight("shop", weight);

    let applied = Instant::now();
    limit_files(&daemon, Some(0));
    check_frozen(&daemon);
    let aborted = Instant::now();
    check_abort_acts(&daemon);
    let answered = Instant::now();
    load.gather(REQUESTS_AFTER);
    check_traffic(&load.stop(), applied..aborted, answered);

    limit_files(&daemon, None);
    let history = daemon.api.wait_over("shop-1");
    check_made_good(&history);
    until("the store is well", || {
        daemon.api.daemon().store_fault.is_none().then_some(())
    });
    daemon.kill();
    let daemon = rig.up();
    assert_eq!(daemon.api.rollout("shop-1").unwrap(), history);
    daemon.stop(&rig);
}

/// Checks that a daemon whose disk is full says so, and neither moves nor takes anything new.
fn check_frozen(daemon: &Daemon) {
    let fault = until("the store's fault is told", || {
        daemon.api.daemon().store_fault
    });
    assert!(!fault.is_empty());
    // The step's hold is over now and then some, and nothing may move.
    sleep(HOLD);
    let history = daemon.api.rollout("shop-1").unwrap();
    assert_eq!(
        history.entries.last().unwrap().weight_bps.as_bps(),
        WEIGHT_BPS
    );
    assert_eq!(daemon.api.published("shop", "v2"), Some(WEIGHT_BPS));
    let refused = daemon.api.deploy("shop", &deploy_shop("v3", "good"));
    assert!(
        matches!(refused, Err(Trouble::Refused(503, _))),
        "{refused:?}"
    );
    assert_eq!(daemon.api.published("shop", "v2"), Some(WEIGHT_BPS));
}

/// Checks that an abort takes effect at once, and that its answer tells what it is worth.
fn check_abort_acts(daemon: &Daemon) {
    let answer = daemon.api.command("shop", CommandName::Abort).unwrap();
    assert!(!answer.is_durable, "{answer:?}");
    assert_eq!(daemon.api.published("shop", "v2"), Some(0));
    let view = daemon.api.service("shop");
    let is_told = view
        .notices
        .iter()
        .any(|notice| notice.contains("not durable"));
    assert!(is_told, "{view:?}");
}

/// Checks that every client was served, at the frozen weight first, and never by the canary in the end.
fn check_traffic(seen: &[Seen], frozen: Range<Instant>, from: Instant) {
    assert!(seen.iter().all(Seen::is_good), "{:?}", tally(seen));
    let is_canary = |one: &&Seen| one.version() == Some("v2");
    let during = || seen.iter().filter(|one| frozen.contains(&one.sent_at));
    check_share(
        during().filter(is_canary).count(),
        during().count(),
        WEIGHT_BPS,
    );
    let after = || seen.iter().filter(|one| one.sent_at > from);
    assert!(after().count() > REQUESTS_AFTER / 2);
    assert_eq!(after().filter(is_canary).count(), 0);
}

/// Checks that the abort that was not durable is in the history now, without a gap.
fn check_made_good(history: &RolloutHistory) {
    assert_eq!(history.phase, "RolledBack");
    let causes = history.entries.iter().map(|entry| entry.cause.as_str());
    assert!(
        causes.clone().any(|cause| cause == "abort"),
        "{:?}",
        causes.collect::<Vec<_>>()
    );
    let numbers = history.entries.iter().map(|entry| entry.number);
    assert!(
        numbers
            .zip(0..)
            .all(|(number, expected)| number == expected),
        "{history:?}"
    );
}
