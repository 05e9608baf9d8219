//! Files that are not what they should be: refused, and left as they are.

use std::{fs, path::Path, process::Command};

use haldane_engine::store::{StoreError, lock::DirectoryLock, sqlite::SqliteStore};

use crate::it::rig::{TESTBED, Testbed, contents, open, whole_commits};

const PAGE_BYTES: usize = 4096;

/// The kinds of b-tree pages, as their first byte tells.
const TREE_PAGES: [u8; 4] = [2, 5, 10, 13];

/// Returns a directory with a store of a hundred commits, closed in order.
fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut testbed = Testbed::open(Command::new(TESTBED), dir.path());
    for number in 0..100 {
        assert_eq!(testbed.ask(&format!("commit {number}")), "done");
    }
    testbed.kill();
    assert_eq!(whole_commits(dir.path()), 100);
    assert!(!dir.path().join("haldane.db-wal").exists());
    dir
}

/// Checks that a store with this content is refused as damaged, and left as it is.
fn check_damaged(dir: &Path, content: &[u8]) {
    fs::write(dir.join("haldane.db"), content).unwrap();
    let before = contents(dir);
    let refusal = open(dir).unwrap_err();
    assert!(matches!(refusal, StoreError::Damaged { .. }), "{refusal:?}");
    assert_eq!(contents(dir), before);
}

#[test]
fn a_truncated_file_is_damaged() {
    let dir = filled();
    let whole = fs::read(dir.path().join("haldane.db")).unwrap();
    for length in [0, 1, 100, PAGE_BYTES, whole.len() / 2, whole.len() - 1] {
        check_damaged(dir.path(), &whole[..length]);
    }
    fs::write(dir.path().join("haldane.db"), &whole).unwrap();
    assert_eq!(whole_commits(dir.path()), 100);
}

#[test]
fn a_corrupt_page_is_damaged_whichever_it_is() {
    let dir = filled();
    let whole = fs::read(dir.path().join("haldane.db")).unwrap();
    let mut tree_pages = 0;
    for start in (PAGE_BYTES..whole.len()).step_by(PAGE_BYTES) {
        if !TREE_PAGES.contains(&whole[start]) {
            continue;
        }
        tree_pages += 1;
        let mut corrupt = whole.clone();
        for byte in &mut corrupt[start..start + 8] {
            *byte ^= 0x5a;
        }
        check_damaged(dir.path(), &corrupt);
    }
    assert!(tree_pages > 10);
}

#[test]
fn another_file_in_its_place_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    check_damaged(dir.path(), "services:\n  auth:\n".repeat(100).as_bytes());
    let foreign = tempfile::tempdir().unwrap();
    let path = foreign.path().join("foreign");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch("CREATE TABLE service (name TEXT); PRAGMA user_version = 1")
        .unwrap();
    check_damaged(dir.path(), &fs::read(path).unwrap());
}

#[test]
fn a_log_without_its_file_is_damaged_not_a_new_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut testbed = Testbed::open(Command::new(TESTBED), dir.path());
    assert_eq!(testbed.ask("commit 0"), "done");
    testbed.kill();
    let path = dir.path().join("haldane.db");
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    let before = contents(dir.path());
    let refusal = open(dir.path()).unwrap_err();
    assert!(matches!(refusal, StoreError::Damaged { .. }), "{refusal:?}");
    assert_eq!(contents(dir.path()), before);
    fs::rename(&aside, &path).unwrap();
    assert_eq!(whole_commits(dir.path()), 1);
}

#[test]
fn a_newer_store_is_refused_and_left_as_it_is_with_its_log() {
    let dir = filled();
    let path = dir.path().join("haldane.db");
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer
        .set_db_config(
            rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
            true,
        )
        .unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let before = contents(dir.path());
    assert_eq!(before.len(), 2, "the file and its log");
    let refusal = open(dir.path()).unwrap_err();
    assert!(
        matches!(refusal, StoreError::TooNew { found: 99, .. }),
        "{refusal:?}"
    );
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn the_lock_of_another_directory_opens_nothing() {
    let (mine, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let lock = DirectoryLock::take(other.path()).unwrap();
    let _held_by_other_means = DirectoryLock::take(mine.path()).unwrap();
    let refusal = SqliteStore::open(mine.path(), &lock).unwrap_err();
    assert!(
        matches!(refusal, StoreError::Io { doing: "lock", .. }),
        "{refusal:?}"
    );
    assert!(!mine.path().join("haldane.db").exists());
}
