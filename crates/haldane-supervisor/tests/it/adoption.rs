//! What the next daemon finds of the one before.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use haldane_supervisor::{Exit, ReplicaSeen, ReplicaState};
use rustix::process::Signal;
use serde_json::Value;

use super::rig::{Rig, is_alive, kill, until};

const SLEEP: &str = "exec sleep 1000";

/// How many times the daemon is killed while it starts and stops replicas.
const CRASHES: u64 = 30;

#[test]
fn replicas_outlive_their_supervisor_and_are_adopted() {
    let mut rig = Rig::new();
    let spec = rig.script(SLEEP);
    let before = rig.run_all(&spec, 2);
    rig.abandon();
    rig.open();
    assert!(same(&rig.replicas(), &before));
    rig.run(&spec, 2, 0);
    assert!(same(&rig.all_healthy(), &before));
    // An adopted one is watched and restarted like any other.
    kill(before[0].pid.unwrap(), Signal::KILL);
    let again = rig.until_first("restarted", |seen| seen.restarts == 1 && seen.pid.is_some());
    assert_eq!(again.last_exit.unwrap().exit, Exit::Unknown);
    assert_eq!(again.port, before[0].port);
    rig.stop();
    assert!(rig.processes().is_empty());
}

#[test]
fn without_a_wish_nothing_is_started_or_stopped() {
    let mut rig = Rig::new();
    let before = rig.run_all(&rig.script(SLEEP), 2);
    rig.abandon();
    kill(before[1].pid.unwrap(), Signal::KILL);
    until("killed", || {
        if is_alive(before[1].pid.unwrap()) {
            Err(())
        } else {
            Ok(())
        }
    });
    rig.open();
    rig.supervisor().report_health(&before[0].id, true);
    let seen = rig.until_first("reported", |seen| seen.is_healthy);
    assert_eq!(seen.pid, before[0].pid);
    assert!(matches!(
        rig.replicas()[1].state,
        ReplicaState::BackingOff { .. }
    ));
    assert_eq!(rig.processes(), [before[0].pid.unwrap()]);
}

#[test]
fn a_generation_that_rose_meanwhile_waits_for_health() {
    let mut rig = Rig::new();
    let spec = rig.script(SLEEP);
    let before = rig.run_all(&spec, 2);
    rig.abandon();
    rig.open();
    rig.run(&spec, 2, 1);
    rig.supervisor().report_health(&before[1].id, true);
    let seen = rig.until("reported", |seen| seen[1].is_healthy);
    assert!(same(&seen, &before));
    rig.supervisor().report_health(&before[0].id, true);
    rig.until("rolls", |seen| {
        seen[0].restarts == 1 && seen[0].pid.is_some()
    });
    assert_eq!(rig.replicas()[1].pid, before[1].pid);
}

#[test]
fn a_killed_daemon_leaves_its_replicas_to_the_next() {
    let mut rig = Rig::new();
    rig.abandon();
    let mut daemon = Daemon::start(&rig, 3, "steady");
    let pids = daemon.wait_for_records(&rig, 3);
    daemon.kill();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    rig.open();
    let adopted: Vec<i32> = rig
        .replicas()
        .iter()
        .map(|seen| seen.pid.unwrap())
        .collect();
    assert_eq!(adopted, pids);
    // They aren't children of this process, so their end must be seen without being told.
    rig.run(&daemon.spec(&rig), 3, 0);
    kill(pids[1], Signal::KILL);
    rig.until("restarted", |seen| {
        seen[1].restarts == 1 && seen[1].pid.is_some()
    });
    rig.stop();
    assert!(rig.processes().is_empty());
}

#[test]
fn a_daemon_killed_at_any_point_leaks_no_child() {
    let mut rig = Rig::new();
    rig.abandon();
    for crash in 0..CRASHES {
        let mut daemon = Daemon::start(&rig, 3, "rolling");
        daemon.wait_for_restart(&rig);
        // Spread over one round of stop, intent, fork and record.
        std::thread::sleep(Duration::from_micros(crash * 700));
        daemon.kill();
        rig.open();
        rig.run(&daemon.spec(&rig), 3, 0);
        until("exactly the replicas run", || {
            let mut known: Vec<i32> = rig.replicas().iter().filter_map(|seen| seen.pid).collect();
            let mut found = rig.processes();
            known.sort_unstable();
            found.sort_unstable();
            if known.len() == 3 && known == found {
                Ok(())
            } else {
                Err((known, found))
            }
        });
        rig.abandon();
    }
}

#[test]
fn a_child_whose_record_is_an_intent_is_adopted_by_its_token() {
    let mut rig = Rig::new();
    let before = rig.run_all(&rig.script(SLEEP), 1);
    rig.abandon();
    edit(&rig, |record| record["process"] = Value::Null);
    rig.open();
    assert!(same(&rig.replicas(), &before));
    // And now it's recorded.
    let record: Value = serde_json::from_slice(&fs::read(rig.record(0)).unwrap()).unwrap();
    assert_eq!(record["process"]["pid"], before[0].pid.unwrap());
}

#[test]
fn an_intent_without_a_child_is_started_again() {
    let mut rig = Rig::new();
    let spec = rig.script(SLEEP);
    let before = rig.run_all(&spec, 1);
    rig.abandon();
    edit(&rig, |record| record["process"] = Value::Null);
    kill(before[0].pid.unwrap(), Signal::KILL);
    until("killed", || {
        if is_alive(before[0].pid.unwrap()) {
            Err(())
        } else {
            Ok(())
        }
    });
    rig.open();
    rig.run(&spec, 1, 0);
    let seen = rig.until_first("started", |seen| seen.pid.is_some());
    assert_eq!((seen.restarts, seen.port), (1, before[0].port));
}

#[test]
fn a_child_without_a_record_is_killed() {
    let mut rig = Rig::new();
    rig.run_all(&rig.script("sleep 1000 & exec sleep 1000"), 1);
    let found = until("forked", || {
        let found = rig.processes();
        if found.len() == 2 {
            Ok(found)
        } else {
            Err(found)
        }
    });
    rig.abandon();
    fs::remove_file(rig.record(0)).unwrap();
    rig.open();
    assert!(rig.replicas().is_empty());
    until("killed", || {
        if found.iter().any(|pid| is_alive(*pid)) {
            Err(())
        } else {
            Ok(())
        }
    });
}

#[test]
fn what_a_dead_leader_left_is_killed() {
    let mut rig = Rig::new();
    let spec = rig.script("sleep 1000 & setsid sleep 1000 & sleep 1000");
    let before = rig.run_all(&spec, 1).remove(0);
    let found = until("forked", || {
        let found = rig.processes();
        if found.len() == 4 {
            Ok(found)
        } else {
            Err(found)
        }
    });
    rig.abandon();
    kill(before.pid.unwrap(), Signal::KILL);
    until("killed", || {
        if is_alive(before.pid.unwrap()) {
            Err(())
        } else {
            Ok(())
        }
    });
    rig.open();
    until("swept", || {
        if found.iter().any(|pid| is_alive(*pid)) {
            Err(())
        } else {
            Ok(())
        }
    });
    rig.run(&spec, 1, 0);
    rig.until_first("restarted", |seen| seen.restarts == 1 && seen.pid.is_some());
}

#[test]
fn a_process_that_got_the_id_later_is_left_alone() {
    // Another start time; another boot. Both lead to a process that isn't ours.
    for is_other_boot in [false, true] {
        let mut rig = Rig::new();
        let spec = rig.script(SLEEP);
        let before = rig.run_all(&spec, 1).remove(0);
        rig.abandon();
        let bystander = Bystander::start();
        edit(&rig, |record| {
            record["process"]["pid"] = bystander.pid().into();
            if is_other_boot {
                record["process"]["start_ticks"] = bystander.start_ticks().into();
                record["boot"] = "another".into();
            } else {
                record["process"]["start_ticks"] = (bystander.start_ticks() - 1).into();
            }
        });
        kill(before.pid.unwrap(), Signal::KILL);
        rig.open();
        rig.run(&spec, 1, 0);
        let seen = rig.until_first("restarted", |seen| seen.pid.is_some());
        assert_ne!(seen.pid, Some(bystander.pid()));
        rig.stop();
        assert!(is_alive(bystander.pid()));
    }
}

/// Whether both are the same runs of the same replicas in the same processes.
fn same(seen: &[ReplicaSeen], before: &[ReplicaSeen]) -> bool {
    let identity = |seen: &ReplicaSeen| (seen.id.clone(), seen.pid, seen.port);
    seen.iter().map(identity).eq(before.iter().map(identity))
}

fn edit(rig: &Rig, change: impl FnOnce(&mut Value)) {
    let path = rig.record(0);
    let mut record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    fs::write(path, record.to_string()).unwrap();
}

/// A process group that has nothing to do with the supervisor.
struct Bystander(Child);

impl Bystander {
    fn start() -> Self {
        Self(
            Command::new("sleep")
                .arg("1000")
                .process_group(0)
                .spawn()
                .unwrap(),
        )
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    fn start_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        stat.rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .nth(19)
            .unwrap()
            .parse()
            .unwrap()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A daemon in a process of its own.
struct Daemon(Child);

impl Daemon {
    fn start(rig: &Rig, replicas: u32, mode: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haldane-supervisor-testbed"));
        command
            .arg(rig.home())
            .args([&replicas.to_string(), mode, "sleep", "1000"]);
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    /// Returns the spec that it runs.
    fn spec(&self, rig: &Rig) -> haldane_supervisor::VersionSpec {
        let record: Value = serde_json::from_slice(&fs::read(rig.record(0)).unwrap()).unwrap();
        serde_json::from_value(record["spec"].clone()).unwrap()
    }

    fn wait_for_records(&self, rig: &Rig, replicas: u32) -> Vec<i32> {
        let pid = |index| {
            let record: Value = serde_json::from_slice(&fs::read(rig.record(index)).ok()?).ok()?;
            i32::try_from(record["process"]["pid"].as_i64()?).ok()
        };
        let pids = || (0..replicas).map(pid).collect::<Option<Vec<i32>>>();
        until("recorded", || pids().ok_or("not all recorded"))
    }

    /// Waits until it has restarted a replica at least once.
    fn wait_for_restart(&self, rig: &Rig) {
        let runs = || -> Option<u64> {
            let record = |index| serde_json::from_slice(&fs::read(rig.record(index)).ok()?).ok();
            (0..3)
                .map(|index| record(index).and_then(|record: Value| record["run"].as_u64()))
                .sum()
        };
        self.wait_for_records(rig, 3);
        let first = until("recorded", || runs().ok_or("not all recorded"));
        until("restarted", || match runs() {
            Some(now) if now > first => Ok(()),
            other => Err(other),
        });
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Killed twice is killed.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
