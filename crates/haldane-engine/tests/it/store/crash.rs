//! Processes that die, and processes that meet.

use std::{fs, process::Command, thread, time::Duration};

use haldane_engine::store::{StoreError, lock::DirectoryLock};

use crate::it::rig::{TESTBED, Testbed, contents, crash_image, open, whole_commits};

const KILLS: u64 = 24;

#[test]
fn what_was_committed_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut commits = 0;
    for round in 0..KILLS {
        let mut testbed = Testbed::open(Command::new(TESTBED), dir.path());
        testbed.tell(&format!("run {commits}"));
        let mut confirmed = None;
        for _ in 0..round % 7 * 5 {
            confirmed = testbed.line();
        }
        // Anywhere within the next few commits.
        thread::sleep(Duration::from_micros(round * 7_919 % 6_000));
        testbed.kill();
        while let Some(line) = testbed.line() {
            confirmed = Some(line);
        }
        let confirmed = confirmed.map_or(commits, |last| last.parse::<u64>().unwrap() + 1);
        commits = whole_commits(dir.path());
        let allowed = confirmed..=confirmed + 1;
        assert!(
            allowed.contains(&commits),
            "{commits} not in {allowed:?}, round {round}"
        );
    }
    assert!(commits >= KILLS);
}

#[test]
fn a_log_left_by_a_crash_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut testbed = Testbed::open(Command::new(TESTBED), dir.path());
    for number in 0..5 {
        assert_eq!(testbed.ask(&format!("commit {number}")), "done");
    }
    let image = crash_image(dir.path());
    assert!(
        fs::metadata(image.path().join("haldane.db-wal"))
            .unwrap()
            .len()
            > 0
    );
    assert_eq!(whole_commits(image.path()), 5);
    // Without its log the file is not what it was: the commits were there.
    let image = crash_image(dir.path());
    fs::remove_file(image.path().join("haldane.db-wal")).unwrap();
    assert_eq!(whole_commits(image.path()), 0);
}

/// A power cut leaves a log of which the last writes are missing, or torn.
#[test]
fn a_torn_log_gives_a_prefix_of_the_commits_each_of_them_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut testbed = Testbed::open(Command::new(TESTBED), dir.path());
    for number in 0..5 {
        assert_eq!(testbed.ask(&format!("commit {number}")), "done");
    }
    let log = fs::read(dir.path().join("haldane.db-wal")).unwrap();
    let mut seen = 0;
    for length in (0..=log.len()).step_by(1_999) {
        let image = crash_image(dir.path());
        let mut torn = log[..length].to_vec();
        if length % 2 == 1 {
            // The room was made, its content was not written.
            torn.resize(log.len(), 0);
        }
        fs::write(image.path().join("haldane.db-wal"), torn).unwrap();
        let commits = whole_commits(image.path());
        assert!(commits >= seen);
        seen = commits;
    }
    assert!((4..=5).contains(&seen));
}

#[test]
fn a_second_process_is_refused_and_told_of_the_first_until_that_one_dies() {
    let dir = tempfile::tempdir().unwrap();
    let mut testbed = Testbed::open(Command::new(TESTBED), dir.path());
    let refusal = DirectoryLock::take(dir.path()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        format!(
            "the data directory {} is in use by process {}",
            dir.path().display(),
            testbed.id()
        )
    );
    let (_second, first_line) = Testbed::start(Command::new(TESTBED), dir.path());
    assert!(
        first_line.starts_with("refused InUse") && first_line.contains(&testbed.id().to_string()),
        "{first_line}"
    );
    testbed.kill();
    open(dir.path()).unwrap();
}

#[test]
fn a_program_that_has_the_file_open_is_told_of_and_cannot_get_in_later() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let path = dir.path().join("haldane.db");
    let reader = rusqlite::Connection::open(&path).unwrap();
    let count = "SELECT count(*) FROM service";
    let read =
        |reader: &rusqlite::Connection| reader.query_row(count, [], |row| row.get::<_, i64>(0));
    assert_eq!(read(&reader), Ok(0));
    let before = contents(dir.path());
    let refusal = open(dir.path()).unwrap_err();
    assert!(matches!(refusal, StoreError::InUse { .. }), "{refusal:?}");
    assert_eq!(contents(dir.path()), before);
    drop(reader);
    let _store = open(dir.path()).unwrap();
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.busy_timeout(Duration::ZERO).unwrap();
    let refusal = read(&reader).unwrap_err();
    assert_eq!(
        refusal.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy)
    );
}
