//! Tests of `logs`.

use std::{fs, io::Write};

use super::{rotate::rotated, *};
use crate::spec::LogLimits;

const LIMITS: LogLimits = LogLimits {
    file_bytes_max: 88,
    files_kept: 2,
};

struct Log {
    dir: tempfile::TempDir,
    key: ReplicaKey,
}

impl Log {
    fn new() -> Self {
        let version = VersionKey {
            service: "auth".parse().unwrap(),
            version: "v1".parse().unwrap(),
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            key: ReplicaKey { version, index: 0 },
        }
    }

    fn path(&self) -> PathBuf {
        path(self.dir.path(), &self.key)
    }

    fn print(&self, lines: std::ops::Range<u32>) {
        let mut file = open(&self.path()).unwrap();
        for line in lines {
            writeln!(file, "line {line}").unwrap();
        }
    }

    fn follow(&self, lines: usize) -> (Vec<LogLine>, Follower) {
        let VersionKey { service, version } = &self.key.version;
        follow(self.dir.path(), service, version, lines).unwrap()
    }

    fn rotate(&self) -> bool {
        rotate(&self.path(), LIMITS).unwrap()
    }
}

fn lines(range: std::ops::Range<u32>) -> Vec<LogLine> {
    range
        .map(|line| LogLine {
            replica: 0,
            text: format!("line {line}"),
        })
        .collect()
}

#[test]
fn rotation_keeps_order_and_count() {
    let log = Log::new();
    for start in [10, 20, 30, 40] {
        assert!(!log.rotate());
        log.print(start..start + 12);
        assert!(log.rotate());
    }
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    assert!(read(rotated(&log.path(), 2)).starts_with("line 30\n"));
    assert!(read(rotated(&log.path(), 1)).starts_with("line 40\n"));
    assert_eq!(read(log.path()), "");
    assert!(!rotated(&log.path(), 3).exists());
}

#[test]
fn of_a_log_far_over_its_limit_the_newest_part_is_kept() {
    let log = Log::new();
    log.print(10..1000);
    assert!(log.rotate());
    let kept = fs::read_to_string(rotated(&log.path(), 1)).unwrap();
    assert!(kept.starts_with("[haldane: left out bytes: "), "{kept}");
    assert!(kept.ends_with("line 998\nline 999\n"), "{kept}");
    assert!(kept.len() < 140, "{kept}");
}

#[test]
fn the_last_lines_come_from_as_many_files_as_needed() {
    let log = Log::new();
    log.print(10..22);
    assert!(log.rotate());
    log.print(22..25);
    let (last, mut follower) = log.follow(5);
    assert_eq!(last, lines(20..25));
    assert_eq!(follower.poll().unwrap(), []);
    assert_eq!(log.follow(100).0, lines(10..25));
}

#[test]
fn a_follower_reads_over_rotations_and_finds_new_replicas() {
    let mut log = Log::new();
    let (last, mut follower) = log.follow(5);
    assert_eq!(last, []);
    log.print(10..15);
    assert_eq!(follower.poll().unwrap(), lines(10..15));
    log.print(15..22);
    assert!(log.rotate());
    log.print(22..24);
    assert_eq!(follower.poll().unwrap(), lines(15..24));
    // The next rotation leaves out what was read already.
    log.print(24..60);
    assert_eq!(follower.poll().unwrap(), lines(24..60));
    log.print(60..62);
    assert!(log.rotate());
    assert_eq!(follower.poll().unwrap(), lines(60..62));
    log.key.index = 1;
    log.print(0..1);
    assert_eq!(
        follower.poll().unwrap(),
        [LogLine {
            replica: 1,
            text: "line 0".into()
        }]
    );
}

#[test]
fn a_line_is_told_once_it_is_complete() {
    let log = Log::new();
    let (_, mut follower) = log.follow(0);
    let mut file = open(&log.path()).unwrap();
    write!(file, "half").unwrap();
    assert_eq!(follower.poll().unwrap(), []);
    let (_, mut second) = log.follow(5);
    writeln!(file, " and half").unwrap();
    let expected = [LogLine {
        replica: 0,
        text: "half and half".into(),
    }];
    assert_eq!(follower.poll().unwrap(), expected);
    assert_eq!(second.poll().unwrap(), expected);
}

#[test]
fn a_version_without_logs_has_no_lines() {
    let dir = tempfile::tempdir().unwrap();
    let last = tail(dir.path(), &"a".parse().unwrap(), &"b".parse().unwrap(), 9).unwrap();
    assert_eq!(last, []);
}

#[test]
fn logs_of_the_oldest_versions_are_removed() {
    let mut log = Log::new();
    for version in ["v1", "v2", "v3", "v4"] {
        log.key.version.version = version.parse().unwrap();
        log.print(0..1);
        // Files of one clock tick have the same time.
        let number: u64 = version[1..].parse().unwrap();
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number);
        fs::File::options()
            .append(true)
            .open(log.path())
            .unwrap()
            .set_modified(at)
            .unwrap();
    }
    let service = log.key.version.service.clone();
    prune(log.dir.path(), &service, 1, |key| {
        key.version.as_str() == "v2"
    })
    .unwrap();
    let mut left: Vec<_> = fs::read_dir(root(log.dir.path()).join("auth"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["v2", "v4"]);
}
