//! Several replicas: ports, scaling, rolling restarts, draining.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    time::Duration,
};

use haldane_supervisor::{ReplicaSeen, ReplicaState, Wish, WishedVersion};
use rustix::process::Signal;

use super::rig::{AGES, Rig, auth, is_alive, kill, until};

const SLEEP: &str = "exec sleep 1000";

#[test]
fn every_replica_has_a_port_of_its_own_and_keeps_it() {
    let rig = Rig::new();
    let ports = |seen: &[ReplicaSeen]| seen.iter().map(|replica| replica.port).collect::<Vec<_>>();
    let before = rig.run_all(&rig.script(SLEEP), 12);
    let unique: BTreeSet<u16> = ports(&before).into_iter().collect();
    assert_eq!(unique.len(), 12);
    for replica in &before {
        kill(replica.pid.unwrap(), Signal::KILL);
    }
    let is_again = |seen: &ReplicaSeen| seen.restarts == 1 && seen.pid.is_some();
    let after = rig.until("restarted", |seen| seen.iter().all(is_again));
    assert_eq!(ports(&after), ports(&before));
}

#[test]
fn a_port_that_someone_else_took_is_replaced() {
    let rig = Rig::new();
    let before = rig.run_all(&rig.script(SLEEP), 1).remove(0);
    let _taken = TcpListener::bind(("127.0.0.1", before.port)).unwrap();
    kill(before.pid.unwrap(), Signal::KILL);
    let after = rig.until_first("restarted", |seen| seen.restarts == 1 && seen.pid.is_some());
    assert_ne!(after.port, before.port);
}

#[test]
fn a_new_generation_restarts_one_healthy_replica_at_a_time() {
    let rig = Rig::new();
    let spec = rig.script(SLEEP);
    rig.run_all(&spec, 3);
    rig.all_healthy();
    rig.run(&spec, 3, 1);
    for turn in 0..3_u32 {
        let is_new = |seen: &ReplicaSeen| seen.restarts == 1;
        let at = usize::try_from(turn).unwrap();
        let seen = rig.until("next restarted", |seen| {
            is_new(&seen[at]) && seen[at].pid.is_some()
        });
        assert_eq!(seen[at].state, ReplicaState::Starting);
        for other in seen.iter().filter(|other| other.id.index != turn) {
            assert!(other.is_healthy, "{other:?}");
            assert_eq!(is_new(other), other.id.index < turn, "{other:?}");
        }
        rig.supervisor().report_health(&seen[at].id, true);
    }
    rig.until("all healthy", |seen| {
        seen.iter().all(|replica| replica.is_healthy)
    });
    // The same wish again changes nothing.
    let before = rig.replicas();
    let number = rig.supervisor().ensure(one("v1", &spec, 3, 1));
    until("read", || {
        if rig.supervisor().snapshot().wish == number {
            Ok(())
        } else {
            Err(())
        }
    });
    assert_eq!(rig.replicas(), before);
}

#[test]
fn another_spec_of_the_same_version_restarts_it() {
    let rig = Rig::new();
    let mut spec = rig.script(SLEEP);
    rig.run_all(&spec, 1);
    rig.all_healthy();
    spec.argv = vec!["sleep".into(), "2000".into()];
    rig.run(&spec, 1, 0);
    let seen = rig.until_first("restarted", |seen| seen.restarts == 1 && seen.pid.is_some());
    let command = std::fs::read(format!("/proc/{}/cmdline", seen.pid.unwrap())).unwrap();
    assert_eq!(command, b"sleep\x002000\x00");
}

#[test]
fn other_graces_restart_nothing_and_count_at_once() {
    let rig = Rig::new();
    let mut spec = rig.script("trap '' TERM; echo > ready; while :; do sleep 0.01; done");
    spec.stop_grace = AGES;
    let before = rig.run_all(&spec, 1);
    super::rig::lines(&rig.file("ready"), 1);
    spec.stop_grace = Duration::from_millis(50);
    let number = rig.supervisor().ensure(one("v1", &spec, 1, 0));
    until("read", || {
        if rig.supervisor().snapshot().wish == number {
            Ok(())
        } else {
            Err(())
        }
    });
    assert_eq!(rig.replicas(), before);
    rig.stop();
    assert!(rig.processes().is_empty());
}

#[test]
fn fewer_replicas_keep_the_lowest() {
    let rig = Rig::new();
    let spec = rig.script(SLEEP);
    let before = rig.run_all(&spec, 4);
    rig.run(&spec, 2, 0);
    let after = rig.until("two left", |seen| seen.len() == 2);
    assert_eq!(after, before[..2]);
    assert_eq!(rig.processes().len(), 2);
    assert!(rig.record(1).exists() && !rig.record(2).exists());
}

#[test]
fn one_version_replaces_another() {
    let rig = Rig::new();
    let spec = rig.script(SLEEP);
    let old = rig.run_all(&spec, 1).remove(0);
    let mut both = one("v1", &spec, 1, 0);
    both.versions.extend(one("v2", &spec, 1, 0).versions);
    rig.supervisor().ensure(both);
    let seen = rig.until("both run", |seen| seen.len() == 2 && seen[1].pid.is_some());
    assert_eq!(seen[0], old);
    rig.supervisor().ensure(one("v2", &spec, 1, 0));
    let left = rig.until("one left", |seen| seen.len() == 1);
    assert_eq!(left[0], seen[1]);
}

#[test]
fn a_draining_replica_runs_until_it_is_drained() {
    let rig = Rig::new();
    let mut spec = rig.script(SLEEP);
    spec.drain_grace = AGES;
    rig.run_all(&spec, 1);
    let seen = rig.all_healthy().remove(0);
    rig.supervisor().stop_all();
    let draining = rig.until_first("draining", |seen| seen.state == ReplicaState::Draining);
    assert!(is_alive(seen.pid.unwrap()) && !draining.is_healthy);
    assert!(!rig.supervisor().is_idle());
    rig.supervisor().report_drained(&seen.id);
    until("idle", || {
        if rig.supervisor().is_idle() {
            Ok(())
        } else {
            Err(rig.replicas())
        }
    });
    assert!(!is_alive(seen.pid.unwrap()));
}

#[test]
fn draining_ends_after_its_grace() {
    let rig = Rig::new();
    let mut spec = rig.script(SLEEP);
    spec.drain_grace = Duration::from_millis(50);
    rig.run_all(&spec, 1);
    rig.all_healthy();
    rig.stop();
    assert!(rig.processes().is_empty());
}

#[test]
fn changes_and_idleness_can_be_awaited() {
    let rig = Rig::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let wait = Duration::from_secs(20);
        let mut snapshots = rig.supervisor().subscribe();
        rig.run(&rig.script(SLEEP), 1, 0);
        let runs = snapshots.wait_for(|s| s.replicas.iter().any(|seen| seen.pid.is_some()));
        tokio::time::timeout(wait, runs).await.unwrap().unwrap();
        rig.supervisor().stop_all();
        tokio::time::timeout(wait, rig.supervisor().idle())
            .await
            .unwrap();
    });
    assert!(rig.processes().is_empty());
}

fn one(
    version: &str,
    spec: &haldane_supervisor::VersionSpec,
    replicas: u32,
    generation: u64,
) -> Wish {
    let wished = WishedVersion {
        spec: spec.clone(),
        replicas,
        generation,
    };
    Wish {
        versions: BTreeMap::from([(auth(version), wished)]),
    }
}
