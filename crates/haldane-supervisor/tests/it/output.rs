//! What replicas print.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use haldane_supervisor::{Config, LogLimits, logs};
use rustix::process::Signal;

use super::rig::{Rig, auth, kill, lines, until};

#[test]
fn both_streams_go_to_one_log_over_restarts() {
    let rig = Rig::new();
    let script = "echo out $HALDANE_REPLICA; echo err >&2; exec sleep 1000";
    let seen = rig.run_all(&rig.script(script), 2);
    let log = rig.home().join("logs/auth/v1/0.log");
    assert_eq!(lines(&log, 2), ["out 0", "err"]);
    kill(seen[0].pid.unwrap(), Signal::KILL);
    assert_eq!(lines(&log, 4), ["out 0", "err", "out 0", "err"]);
    lines(&rig.home().join("logs/auth/v1/1.log"), 2);
    let key = auth("v1");
    let last = logs::tail(&rig.home(), &key.service, &key.version, 1).unwrap();
    let last: Vec<_> = last
        .iter()
        .map(|line| (line.replica, line.text.as_str()))
        .collect();
    assert_eq!(last, [(0, "err"), (1, "err")]);
}

#[test]
fn an_adopted_replica_goes_on_printing() {
    let mut rig = Rig::new();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(rig.file("fifo"))
            .status()
            .unwrap()
            .success()
    );
    rig.run_all(
        &rig.script("echo before; read x < fifo; echo $x; exec sleep 1000"),
        1,
    );
    let log = rig.home().join("logs/auth/v1/0.log");
    lines(&log, 1);
    rig.abandon();
    fs::write(rig.file("fifo"), "after\n").unwrap();
    assert_eq!(lines(&log, 2), ["before", "after"]);
    rig.open();
    assert_eq!(rig.replicas().len(), 1);
}

#[test]
fn rotation_keeps_the_order_of_what_a_child_prints() {
    const COUNT: u32 = 40_000;
    let rig = Rig::with(Config {
        check_interval: Duration::from_millis(2),
        ..Config::default()
    });
    // Ten blocks of a little more than one file, each long enough ago to be rotated.
    let print = "while [ $i -lt $end ]; do echo $i; i=$((i+1)); done; sleep 0.1";
    let script = format!(
        "i=0; while [ $i -lt {COUNT} ]; do end=$((i+4000)); {print}; done; exec sleep 1000"
    );
    let mut spec = rig.script(&script);
    spec.log = LogLimits {
        file_bytes_max: 20_000,
        files_kept: 3,
    };
    let key = auth("v1");
    let (mut followed, mut follower) =
        logs::follow(&rig.home(), &key.service, &key.version, 0).unwrap();
    rig.run_all(&spec, 1);
    let last = (COUNT - 1).to_string();
    until("printed", || {
        followed.extend(follower.poll().unwrap());
        match followed.last() {
            Some(line) if line.text == last => Ok(()),
            other => Err(other.cloned()),
        }
    });
    let log = rig.home().join("logs/auth/v1/0.log");
    // The cut is the last step of a rotation.
    until("rotated", || {
        let length = fs::metadata(&log).unwrap().len();
        if length <= spec.log.file_bytes_max {
            Ok(())
        } else {
            Err(length)
        }
    });
    let files = ["0.log.3", "0.log.2", "0.log.1", "0.log"].map(|name| log.with_file_name(name));
    let text: String = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    check_order(text.lines(), 8_000);
    check_order(followed.iter().map(|line| line.text.as_str()), 30_000);
    assert!(!log.with_file_name("0.log.4").exists());
}

#[test]
fn a_flood_of_output_stays_bounded_and_slows_nobody() {
    let rig = Rig::new();
    let script = "if [ $HALDANE_REPLICA = 0 ]; then yes flood | head -c 1G; echo > done; fi; exec sleep 1000";
    let mut spec = rig.script(script);
    spec.log = LogLimits {
        file_bytes_max: 1_000_000,
        files_kept: 2,
    };
    let other = rig.run_all(&spec, 2).remove(1);
    let logs = rig.home().join("logs/auth/v1");
    until("flooding", || {
        if logs.join("0.log.1").exists() {
            Ok(())
        } else {
            Err(())
        }
    });
    // Meanwhile another replica's end is noticed.
    let killed = Instant::now();
    kill(other.pid.unwrap(), Signal::KILL);
    rig.until("restarted", |seen| {
        seen[1].restarts == 1 && seen[1].pid.is_some()
    });
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed.elapsed()
    );
    let mut most = 0;
    until("flooded", || {
        most = most.max(bytes(&logs));
        if rig.file("done").exists() {
            Ok(())
        } else {
            Err(most)
        }
    });
    // How much comes between two looks depends on the machine; that it was rotated meanwhile doesn't.
    assert!(most < 1_000_000_000, "{most}");
    // 1 MB × (1 + 1.25 × 2), and the notes of what was left out.
    let bound = 3_510_000;
    until("bounded", || {
        if bytes(&logs) < bound {
            Ok(())
        } else {
            Err(bytes(&logs))
        }
    });
}

fn bytes(dir: &Path) -> u64 {
    let sizes = fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    sizes.sum()
}

/// Checks that the numbers rise, and that there are at least so many.
///
/// Some may be missing, and beside each note of what is missing there may be a part of a number.
#[track_caller]
fn check_order<'a>(lines: impl Iterator<Item = &'a str>, count_min: usize) {
    let lines: Vec<&str> = lines.collect();
    let is_note = |line: &str| line.starts_with("[haldane: ");
    let whole = lines
        .windows(3)
        .filter(|three| !is_note(three[0]) && !is_note(three[2]));
    let numbers: Vec<u32> = whole.filter_map(|three| three[1].parse().ok()).collect();
    assert!(numbers.len() >= count_min, "{}", numbers.len());
    let fall = numbers.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(fall, None);
}
