//! A disk that takes nothing more while a rollout goes on: traffic stays, an abort acts, and what was decided is made good later.

use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use haldane_api::http::CommandName;
use haldane_core::Weight;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::it::{
    api::Trouble,
    load::{Load, Seen, check_share, tally},
    rig::{Daemon, HALDANE, Rig, deploy_shop, free_addr, shop_file, until},
};

/// The weight at which the disk fails.
const WEIGHT_BPS: u16 = 2_000;

/// How long each step holds.
const HOLD: Duration = Duration::from_secs(2);

/// Returns a command of the daemon that can be kept from writing files: a process that doesn't ignore the signal would end by it.
fn up(rig: &Rig) -> Command {
    let mut command = rig.command("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", HALDANE, "--data-dir"])
        .arg(rig.data_dir())
        .args(["up", "-f"])
        .arg(rig.path("haldane.yaml"));
    command
}

/// Lets no file of the daemon grow beyond this size; `None` frees it.
fn limit_files(daemon: &Daemon, bytes: Option<u64>) {
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Pid::from_raw(daemon.pid()), Resource::Fsize, limit).unwrap();
}

#[test]
fn a_full_disk_freezes_the_weight_and_an_abort_still_acts() {
    let rig = Rig::new();
    let addr = free_addr();
    rig.write_file(&shop_file(addr, "{ steps: [20%, 50%, 100%], hold: 2s, guards: none }"));
    let daemon = rig.start(up(&rig));
    daemon.api.wait_ready("shop");
    let load = Load::start(addr, 4, Duration::from_millis(2));
    daemon.api.deploy("shop", &deploy_shop("v2", "good")).unwrap();
    let weight = Weight::try_from_bps(WEIGHT_BPS).unwrap();
    daemon.api.wait_weight("shop", weight);
    let applied = Instant::now();
    limit_files(&daemon, Some(0));

    let fault = until("the store's fault is told", || daemon.api.daemon().store_fault);
    assert!(!fault.is_empty());
    // The step's hold is over now and then some, and nothing may move.
    sleep(HOLD);
    let history = daemon.api.rollout("shop-1").unwrap();
    assert_eq!(history.entries.last().unwrap().weight_bps, weight);
    assert_eq!(daemon.api.published("shop", "v2"), Some(WEIGHT_BPS));
    let refused = daemon.api.deploy("shop", &deploy_shop("v3", "good"));
    assert!(matches!(refused, Err(Trouble::Refused(503, _))), "{refused:?}");
    assert_eq!(daemon.api.published("shop", "v2"), Some(WEIGHT_BPS));

    let frozen = Instant::now();
    let aborted = daemon.api.command("shop", CommandName::Abort).unwrap();
    let answered = Instant::now();
    assert!(!aborted.is_durable, "{aborted:?}");
    assert_eq!(daemon.api.published("shop", "v2"), Some(0));
    let view = daemon.api.service("shop");
    assert!(view.notices.iter().any(|notice| notice.contains("not durable")), "{view:?}");
    sleep(Duration::from_secs(2));
    let seen = load.stop();
    assert!(seen.iter().all(Seen::is_good), "{:?}", tally(&seen));
    let at = |from, to| seen.iter().filter(move |one| (from..to).contains(&one.sent_at));
    let canary = |from, to| at(from, to).filter(|one| one.version() == Some("v2")).count();
    check_share(canary(applied, frozen), at(applied, frozen).count(), WEIGHT_BPS);
    assert_eq!(canary(answered + Duration::from_secs(1), Instant::now()), 0);

    limit_files(&daemon, None);
    let history = daemon.api.wait_over("shop-1");
    assert_eq!(history.phase, "RolledBack");
    until("the store is well", || daemon.api.daemon().store_fault.is_none().then_some(()));
    let causes: Vec<&str> = history.entries.iter().map(|entry| entry.cause.as_str()).collect();
    assert!(causes.contains(&"abort"), "{causes:?}");
    assert!((0..).zip(&history.entries).all(|(number, entry)| entry.number == number), "{history:?}");
    daemon.kill();
    let daemon = rig.up();
    assert_eq!(daemon.api.rollout("shop-1").unwrap(), history);
    daemon.stop(&rig);
}
