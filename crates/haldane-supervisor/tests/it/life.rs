//! One replica: start, end, restart, stop.

use std::{
    fs,
    time::{Duration, Instant},
};

use haldane_supervisor::{Config, Exit, Failure, ReplicaSeen, ReplicaState};
use rustix::process::Signal;

use super::rig::{AGES, Rig, is_alive, kill, lines, until};

const SLEEP: &str = "exec sleep 1000";

#[test]
fn a_replica_knows_its_port_and_place_and_leaves_nothing() {
    let rig = Rig::new();
    let mut spec = rig.script("echo $PORT $HALDANE_SERVICE $HALDANE_VERSION $HALDANE_REPLICA $URL $0 > out; pwd >> out; exec sleep 1000");
    spec.argv.push("at-$PORT".into());
    spec.env
        .insert("URL".into(), "http://127.0.0.1:${PORT}/$HOME".into());
    let seen = rig.run_all(&spec, 1).remove(0);
    assert_eq!(
        (seen.state, seen.is_healthy, seen.restarts),
        (ReplicaState::Starting, false, 0)
    );
    assert!(seen.port > 0 && seen.started_at.is_some() && seen.last_exit.is_none());
    let port = seen.port;
    let dir = fs::canonicalize(rig.dir.path()).unwrap();
    let expected = [
        format!("{port} auth v1 0 http://127.0.0.1:{port}/$HOME at-{port}"),
        dir.display().to_string(),
    ];
    assert_eq!(lines(&rig.file("out"), 2), expected);
    assert_eq!(rig.processes(), [seen.pid.unwrap()]);
    rig.stop();
    assert!(!is_alive(seen.pid.unwrap()));
    assert!(rig.processes().is_empty());
    assert!(!rig.record(0).exists());
}

#[test]
fn a_replica_that_ends_is_restarted_with_growing_waits() {
    let rig = Rig::new();
    rig.run(&rig.script("date +%s%N >> starts; exit 3"), 1, 0);
    let starts = lines(&rig.file("starts"), 5);
    let starts: Vec<u64> = starts.iter().map(|line| line.parse().unwrap()).collect();
    let waits: Vec<u64> = starts
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) / 1_000_000)
        .collect();
    // Milliseconds; the first restart is immediate, and each start of a shell takes some, too.
    assert!(
        waits[1] >= 100 && waits[2] >= 200 && waits[3] >= 400,
        "{waits:?}"
    );
    let seen = rig.until_first("backing off", |seen| {
        seen.pid.is_none() && seen.restarts >= 4
    });
    assert!(matches!(seen.state, ReplicaState::BackingOff { .. }));
    assert_eq!(seen.last_exit.unwrap().exit, Exit::Code(3));
}

#[test]
fn an_end_is_noticed_at_once() {
    let rig = Rig::with(Config {
        check_interval: AGES,
        ..Config::default()
    });
    let seen = rig.run_all(&rig.script(SLEEP), 1).remove(0);
    let killed = Instant::now();
    kill(seen.pid.unwrap(), Signal::KILL);
    let again = rig.until_first("restarted", |seen| seen.restarts == 1 && seen.pid.is_some());
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(again.last_exit.unwrap().exit, Exit::Signal(9));
    assert_eq!(again.port, seen.port);
}

#[test]
fn a_good_while_ends_the_backoff() {
    let config = Config {
        backoff_first: AGES,
        backoff_max: AGES,
        healthy_reset: Duration::from_millis(1),
        ..Config::default()
    };
    let rig = Rig::with(config);
    rig.run_all(&rig.script(SLEEP), 1);
    for restarts in 1..4 {
        let seen = rig.all_healthy().remove(0);
        std::thread::sleep(config.healthy_reset);
        kill(seen.pid.unwrap(), Signal::KILL);
        rig.until_first("restarted", |seen| {
            seen.restarts == restarts && seen.pid.is_some()
        });
    }
    // The third failure was followed by no good while.
    kill(rig.replicas()[0].pid.unwrap(), Signal::KILL);
    let backs_off = |seen: &_| matches!(seen, ReplicaState::BackingOff { .. });
    rig.until_first("backing off", |seen| backs_off(&seen.state));
}

#[test]
fn who_ignores_sigterm_is_killed_after_its_grace() {
    let rig = Rig::new();
    let mut spec = rig.script("trap '' TERM; echo > ready; while :; do sleep 0.01; done");
    spec.stop_grace = Duration::from_millis(300);
    rig.run_all(&spec, 1);
    lines(&rig.file("ready"), 1);
    let asked = Instant::now();
    // A restart instead of a stop shows how it ended.
    rig.run(&spec, 1, 1);
    let seen = rig.until_first("restarted", |seen| seen.restarts == 1);
    assert!(asked.elapsed() >= spec.stop_grace);
    assert_eq!(seen.last_exit.unwrap().exit, Exit::Signal(9));
}

#[test]
fn who_obeys_sigterm_is_not_killed() {
    let rig = Rig::new();
    let spec = rig.script("trap 'exit 7' TERM; echo > ready; while :; do sleep 0.01; done");
    rig.run_all(&spec, 1);
    lines(&rig.file("ready"), 1);
    rig.run(&spec, 1, 1);
    let seen = rig.until_first("restarted", |seen| seen.restarts == 1);
    assert_eq!(seen.last_exit.unwrap().exit, Exit::Code(7));
}

#[test]
fn what_a_replica_forked_goes_with_it() {
    let rig = Rig::new();
    let script = "sleep 1000 & (sleep 1000 & sleep 1000; :) & setsid sleep 1000 & echo $$ >> starts; read x < fifo";
    assert!(
        std::process::Command::new("mkfifo")
            .arg(rig.file("fifo"))
            .status()
            .unwrap()
            .success()
    );
    let seen = rig.run_all(&rig.script(script), 1).remove(0);
    let forked = |count| {
        until("forked", || {
            let found = rig.processes();
            if found.len() == count {
                Ok(found)
            } else {
                Err(found)
            }
        })
    };
    let before = forked(6);
    // The leader ends by itself.
    fs::write(rig.file("fifo"), "x\n").unwrap();
    rig.until_first("restarted", |now| now.restarts == 1 && now.pid.is_some());
    assert!(!before.into_iter().any(is_alive));
    assert!(!is_alive(seen.pid.unwrap()));
    forked(6);
    rig.stop();
    assert!(rig.processes().is_empty());
}

#[test]
fn a_follower_may_clean_up_after_its_leader() {
    let rig = Rig::new();
    let follower = "(trap 'sleep 0.3; echo > cleaned; exit' TERM; echo > ready; while :; do sleep 0.01; done) &";
    rig.run_all(&rig.script(&format!("{follower} exec sleep 1000")), 1);
    lines(&rig.file("ready"), 1);
    rig.stop();
    assert!(rig.file("cleaned").exists());
    assert!(rig.processes().is_empty());
}

#[test]
fn who_never_gets_healthy_is_restarted() {
    let rig = Rig::new();
    let mut spec = rig.script(SLEEP);
    spec.start_grace = Duration::from_millis(200);
    rig.run(&spec, 2, 0);
    rig.until("started", |seen| seen.len() == 2 && seen[1].pid.is_some());
    rig.supervisor().report_health(&rig.replicas()[1].id, true);
    rig.supervisor().report_health(&rig.replicas()[0].id, false);
    let seen = rig.until_first("restarted twice", |seen| seen.restarts >= 2);
    assert_eq!(seen.last_exit.unwrap().exit, Exit::Signal(15));
    let healthy = &rig.replicas()[1];
    assert_eq!(
        (healthy.restarts, healthy.state),
        (0, ReplicaState::Running)
    );
}

#[test]
fn a_report_about_an_earlier_run_is_ignored() {
    let rig = Rig::new();
    let first = rig.run_all(&rig.script(SLEEP), 2).remove(0);
    kill(first.pid.unwrap(), Signal::KILL);
    rig.until_first("restarted", |seen| seen.restarts == 1 && seen.pid.is_some());
    rig.supervisor().report_health(&first.id, true);
    // The second report proves that the first was read.
    rig.supervisor().report_health(&rig.replicas()[1].id, true);
    rig.until("reported", |seen| seen[1].is_healthy);
    assert_eq!(rig.replicas()[0].state, ReplicaState::Starting);
}

/// Returns why there is no process, and whether another try can't help.
fn not_started(seen: &ReplicaSeen) -> Option<(String, bool)> {
    match &seen.last_failure {
        Some(Failure::NotStarted { why, is_lasting }) => Some((why.clone(), *is_lasting)),
        Some(Failure::Ended(_) | Failure::NeverHealthy(_)) | None => None,
    }
}

#[test]
fn a_replica_that_cannot_start_says_why_and_starts_once_it_can() {
    let rig = Rig::new();
    let mut spec = rig.script("");
    spec.argv = vec!["./server".into()];
    rig.run(&spec, 1, 0);
    let seen = rig.until_first("failed", |seen| seen.last_failure.is_some());
    let missing = format!("the program {} is missing", rig.file("server").display());
    let missing = Some((missing, true));
    assert_eq!(not_started(&seen), missing);
    assert!(matches!(seen.state, ReplicaState::BackingOff { .. }) && seen.failures > 0);
    fs::write(rig.file("server"), "#!/nowhere/sh\n").unwrap();
    let seen = rig.until_first("refused", |seen| not_started(seen) != missing);
    let refused = format!("{} is not an executable file", rig.file("server").display());
    let refused = Some((refused, true));
    assert_eq!(not_started(&seen), refused);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(rig.file("server"), mode).unwrap();
    let seen = rig.until_first("not executed", |seen| not_started(seen) != refused);
    let (text, is_lasting) = not_started(&seen).unwrap();
    assert!(
        is_lasting && text.starts_with("cannot execute") && text.contains("No such file"),
        "{text}"
    );
    fs::write(rig.file("server"), "#!/bin/sh\nexec sleep 1000\n").unwrap();
    let seen = rig.until_first("started", |seen| seen.pid.is_some());
    rig.supervisor().report_health(&seen.id, true);
    let seen = rig.until_first("healthy", |seen| seen.is_healthy);
    assert_eq!(seen.last_failure, None);
}

#[test]
fn each_way_to_fail_is_told_until_the_replica_is_healthy() {
    let rig = Rig::with(Config {
        backoff_first: Duration::from_millis(1),
        ..Config::default()
    });
    rig.run(&rig.script("exit 3"), 1, 0);
    let seen = rig.until_first("failed three times", |seen| seen.failures >= 3);
    assert_eq!(seen.last_failure, Some(Failure::Ended(Exit::Code(3))));

    let mut deaf = rig.script(SLEEP);
    deaf.start_grace = Duration::from_millis(50);
    rig.run(&deaf, 1, 1);
    let never = Some(Failure::NeverHealthy(deaf.start_grace));
    // While it starts once more, what happened before is still known.
    let seen = rig.until_first("started again", |seen| {
        seen.state == ReplicaState::Starting && seen.last_failure == never
    });
    assert!(seen.failures >= 1, "{seen:?}");

    rig.run(&rig.script(SLEEP), 1, 2);
    let seen = rig.until_first("another start", |seen| {
        seen.pid.is_some() && seen.last_failure.is_none()
    });
    assert_eq!(seen.failures, 0, "what failed before was another start");
}

#[test]
fn a_failing_start_is_no_busy_loop() {
    let rig = Rig::with(Config {
        backoff_first: AGES,
        backoff_max: AGES,
        ..Config::default()
    });
    let mut spec = rig.script("");
    spec.user = Some("no-such-user".into());
    rig.run(&spec, 1, 0);
    let seen = rig.until_first("failed twice", |seen| {
        seen.id.run == 2 && seen.failures == 2
    });
    let unknown = "there is no user \"no-such-user\" in /etc/passwd";
    assert_eq!(not_started(&seen), Some((unknown.to_owned(), true)));
    // Ten more looks, and no further start.
    std::thread::sleep(Config::default().check_interval * 10);
    assert_eq!(rig.replicas()[0].id.run, 2);
}

#[test]
fn a_replica_runs_as_its_user_or_not_at_all() {
    let rig = Rig::new();
    let mut spec = rig.script("echo $(id -u) $(id -G) $USER; exec sleep 1000");
    spec.dir = Some("/".into());
    spec.user = Some("nobody".into());
    rig.run(&spec, 1, 0);
    if rustix::process::geteuid().is_root() {
        rig.until_first("started", |seen| seen.pid.is_some());
        let line = &lines(&rig.home().join("logs/auth/v1/0.log"), 1)[0];
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let nobody = passwd
            .lines()
            .find_map(|line| line.strip_prefix("nobody:"))
            .unwrap();
        let fields: Vec<&str> = nobody.split(':').collect();
        assert_eq!(*line, format!("{} {} nobody", fields[1], fields[2]));
    } else {
        let seen = rig.until_first("refused", |seen| seen.last_failure.is_some());
        let (why, _) = not_started(&seen).unwrap();
        assert!(why.contains("needs a daemon that runs as root"), "{why}");
    }
}

#[test]
fn usage_counts_the_whole_group() {
    let rig = Rig::new();
    let seen = rig
        .run_all(&rig.script("sleep 1000 & while :; do :; done"), 1)
        .remove(0);
    let usage = until("used", || {
        let usage = rig.supervisor().usage();
        match usage.get(&seen.id) {
            Some(used) if used.cpu >= Duration::from_millis(50) && used.processes == 2 => Ok(*used),
            _ => Err(usage),
        }
    });
    assert!(usage.rss_bytes > 0);
    assert!(
        usage
            .pss_bytes
            .is_some_and(|pss| pss > 0 && pss <= usage.rss_bytes * 2)
    );
}
