//! A daemon whose store is damaged or not its own: nothing of it is changed or lost, and stable is served where that is safe.

use std::{collections::BTreeMap, fs, time::Duration};

use haldane_api::http::CommandName;
use haldane_core::Weight;

use crate::it::{
    api::Trouble,
    http::get,
    load::{Load, Seen, tally},
    rig::{Rig, check_refused, deploy_shop, free_addr, shop_file, until, up_to_end},
};

/// Where SQLite keeps the number by which a release knows its schema, in its file's first page.
const SCHEMA_AT: usize = 60;

const PLAN: &str = "{ steps: [50%, 100%], hold: untilResumed, guards: none }";

/// What the store's files hold, by name.
type Files = BTreeMap<&'static str, Vec<u8>>;

/// Returns what the store's files hold now; a log that holds nothing is as good as none.
fn read(rig: &Rig) -> Files {
    let names = ["haldane.db", "haldane.db-wal"];
    let files = names.into_iter().filter_map(|name| {
        let bytes = fs::read(rig.data_dir().join(name)).ok()?;
        (!bytes.is_empty()).then_some((name, bytes))
    });
    files.collect()
}

fn write(rig: &Rig, files: &Files) {
    for (name, bytes) in files {
        fs::write(rig.data_dir().join(name), bytes).unwrap();
    }
}

/// Puts bytes into each of the store's files, and returns what they were and what they are.
fn damage(rig: &Rig, at: usize, bytes: &[u8]) -> (Files, Files) {
    let good = read(rig);
    let mut bad = good.clone();
    for file in bad.values_mut() {
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }
    write(rig, &bad);
    (good, bad)
}

#[test]
fn a_daemon_with_a_damaged_store_serves_stable_alone_until_it_is_mended() {
    let rig = Rig::new();
    let addr = free_addr();
    rig.write_file(&shop_file(addr, PLAN));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    let request = deploy_shop("v2", "good");
    daemon.api.deploy("shop", &request).unwrap();
    let half = Weight::try_from_bps(5_000).unwrap();
    daemon.api.wait_weight("shop", half);
    let stable = rig.shops("v1");
    daemon.kill();
    let (good, bad) = damage(&rig, 0, &[0xAA; 32]);

    let before = rig.log().len();
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    let log = rig.log().split_off(before);
    assert!(log.contains("the store cannot be opened"), "{log}");
    until("the proxy serves", || {
        let answer = get(addr, "shop", "/products").ok()?;
        (answer.status == 200).then_some(())
    });
    let load = Load::start(addr, 2, Duration::ZERO);
    load.gather(200);
    let seen = load.stop();
    let is_stable = |one: &Seen| one.is_good() && one.version() == Some("v1");
    assert!(seen.iter().all(is_stable), "{:?}", tally(&seen));
    let refused = [
        daemon.api.deploy("shop", &deploy_shop("v3", "good")),
        daemon.api.command("shop", CommandName::Abort),
    ];
    for answer in refused {
        assert!(matches!(answer, Err(Trouble::Refused(..))), "{answer:?}");
    }
    assert_eq!(rig.shops("v1"), stable);
    daemon.kill();
    assert!(read(&rig) == bad, "it was touched");

    write(&rig, &good);
    let daemon = rig.up();
    daemon.api.wait_weight("shop", half);
    assert_eq!(rig.shops("v1"), stable);
    let history = daemon.api.rollout("shop-1").unwrap();
    assert_eq!((history.phase.as_str(), history.ended_at), ("Paused", None));
    daemon.stop(&rig);
}

#[test]
fn a_store_of_a_newer_release_is_refused_and_left_as_it_is() {
    let rig = Rig::new();
    let addr = free_addr();
    rig.write_file(&shop_file(addr, PLAN));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    daemon.stop(&rig);
    let (good, bad) = damage(&rig, SCHEMA_AT, &1_000_u32.to_be_bytes());
    check_refused(&up_to_end(&rig), &["haldane.db", "1000", "newer"]);
    assert!(read(&rig) == bad, "it was touched");
    assert_eq!(rig.processes(), Vec::new());
    write(&rig, &good);
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    daemon.stop(&rig);
}
