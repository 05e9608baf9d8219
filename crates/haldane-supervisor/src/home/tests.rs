//! Tests of `home`.

use std::{fs, process::Command};

use super::*;
use crate::spec::tests::spec;

fn key() -> ReplicaKey {
    let version = VersionKey {
        service: "auth".parse().unwrap(),
        version: "v1.2".parse().unwrap(),
    };
    ReplicaKey { version, index: 3 }
}

fn intent(home: &Home) -> Record {
    let spec = spec(&["sleep", "1"]);
    let started_at = Timestamp::from_second(1_800_000_000).unwrap();
    let start = Start {
        key: &key(),
        run: 2,
        generation: 7,
        port: 4000,
        spec: &spec,
        started_at,
    };
    home.intend(&start).unwrap()
}

#[test]
fn a_record_is_read_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut record = {
        let home = Home::open(dir.path()).unwrap();
        let record = intent(&home);
        home.save(&record).unwrap();
        assert_eq!(home.load().unwrap(), std::slice::from_ref(&record));
        record
    };
    let home = Home::open(dir.path()).unwrap();
    record.process = Some(Mark {
        pid: 12,
        start_ticks: 34,
    });
    home.save(&record).unwrap();
    assert_eq!(home.load().unwrap(), [record]);
    home.remove(&key()).unwrap();
    home.remove(&key()).unwrap();
    assert_eq!(home.load().unwrap(), []);
}

#[test]
fn each_token_is_new_and_known_as_ours() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let (first, second) = (intent(&home).token, intent(&home).token);
    assert_ne!(first, second);
    assert!(home.is_ours(&first) && home.is_ours(&second));
    let other = tempfile::tempdir().unwrap();
    assert!(!Home::open(other.path()).unwrap().is_ours(&first));
}

#[test]
fn a_copied_directory_does_not_own_the_originals_children() {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    let copy = dir.path().join("copy");
    let home = Home::open(&original).unwrap();
    let record = intent(&home);
    home.save(&record).unwrap();
    assert!(
        Command::new("cp")
            .arg("-r")
            .args([&original, &copy])
            .status()
            .unwrap()
            .success()
    );
    let copied = Home::open(&copy).unwrap();
    assert!(!copied.is_ours(&record.token));
    assert_eq!(copied.load().unwrap(), []);
}

#[test]
fn what_is_not_a_record_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let file = dir.path().join("replicas/auth@v1@0.json");
    fs::write(&file, "").unwrap();
    assert_eq!(home.load().unwrap(), []);
    assert!(!file.exists() && file.with_extension("bad").exists());
}

#[test]
fn a_second_supervisor_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Home::open(dir.path()).unwrap();
    let error = Home::open(dir.path()).unwrap_err().to_string();
    let expected = format!(
        "is in use by the daemon with process id {}",
        std::process::id()
    );
    assert!(error.ends_with(&expected), "{error}");
}

#[test]
fn a_replica_is_shown_by_service_version_and_index() {
    assert_eq!(key().to_string(), "auth/v1.2/3");
}

#[test]
fn the_jobs_of_two_daemons_of_one_directory_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let first = Home::open(dir.path()).unwrap().jobs().to_owned();
    let home = Home::open(dir.path()).unwrap();
    let job = format!("{first}1");
    assert!(home.is_ours(&job) && !job.starts_with(home.jobs()));
    assert!(home.is_ours(home.jobs()));
    let replica = intent(&home).token;
    assert!(home.is_ours(&replica) && !replica.starts_with(home.jobs()));
}
