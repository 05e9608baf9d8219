//! Disks that fill up, break, forbid, or lose a file, under a running process; and that come back.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};

use crate::it::rig::{TESTBED, Testbed, open, whole_commits};

/// Calls of the C library that fail, while a file says so: the disk seen from a process.
const FAULTS: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int is_on(const char *fault) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("FAULTS"), fault);
    return access(path, F_OK) == 0;
}

static int synced(int fd, const char *call) {
    char path[4096];
    FILE *counter;
    if (is_on("eio")) { errno = EIO; return -1; }
    snprintf(path, sizeof path, "%s/syncs", getenv("FAULTS"));
    if ((counter = fopen(path, "a"))) { fputc('.', counter); fclose(counter); }
    return ((int (*)(int))dlsym(RTLD_NEXT, call))(fd);
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

ssize_t write(int fd, const void *bytes, size_t count) {
    if (fd > 2 && is_on("enospc")) { errno = ENOSPC; return -1; }
    return ((ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write"))(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    if (is_on("enospc")) { errno = ENOSPC; return -1; }
    return ((ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite"))(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    if (is_on("enospc")) { errno = ENOSPC; return -1; }
    return ((ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64"))(fd, bytes, count, at);
}
"#;

/// A disk that fails on demand.
struct Faults {
    dir: tempfile::TempDir,
    library: PathBuf,
}

impl Faults {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("faults.so");
        let mut compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-x", "c", "-o"])
            .arg(&library)
            .args(["-", "-ldl"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("`cc`, which building this crate takes too");
        let mut source = compiler.stdin.take().unwrap();
        source.write_all(FAULTS.as_bytes()).unwrap();
        drop(source);
        assert!(compiler.wait().unwrap().success());
        Self { dir, library }
    }

    fn testbed(&self) -> Command {
        let mut command = Command::new(TESTBED);
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAULTS", self.dir.path());
        command
    }

    fn set(&self, fault: &str) {
        fs::write(self.dir.path().join(fault), "").unwrap();
    }

    fn clear(&self, fault: &str) {
        fs::remove_file(self.dir.path().join(fault)).unwrap();
    }

    fn syncs(&self) -> usize {
        fs::read(self.dir.path().join("syncs")).map_or(0, |dots| dots.len())
    }
}

/// Checks that a commit fails while the disk does, again and again, that reading goes on, and that the commit is done afterwards.
fn check_failure_passes(testbed: &mut Testbed, next: u64, end_failure: impl FnOnce(&Testbed)) {
    let commit = format!("commit {next}");
    for _ in 0..3 {
        let answer = testbed.ask(&commit);
        assert!(answer.contains("Io { doing: \"write\""), "{answer}");
        assert_eq!(testbed.ask("entries"), next.to_string());
    }
    end_failure(testbed);
    assert_eq!(testbed.ask(&commit), "done");
    assert_eq!(testbed.ask("entries"), (next + 1).to_string());
}

fn check_start_refused(testbed: Command, dir: &Path) -> String {
    let (_testbed, answer) = Testbed::start(testbed, dir);
    assert!(answer.starts_with("refused Io"), "{answer}");
    answer
}

fn commit_ten(testbed: &mut Testbed) {
    for number in 0..10 {
        assert_eq!(testbed.ask(&format!("commit {number}")), "done");
    }
}

#[test]
fn a_commit_is_one_sync() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::new());
    let mut testbed = Testbed::open(faults.testbed(), dir.path());
    commit_ten(&mut testbed);
    for number in 10..30 {
        let before = faults.syncs();
        assert_eq!(testbed.ask(&format!("commit {number}")), "done");
        assert_eq!(faults.syncs(), before + 1);
    }
}

#[test]
fn a_failing_sync_fails_the_commit_and_passes() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::new());
    let mut testbed = Testbed::open(faults.testbed(), dir.path());
    commit_ten(&mut testbed);
    faults.set("eio");
    check_failure_passes(&mut testbed, 10, |_| faults.clear("eio"));
    testbed.kill();
    assert_eq!(whole_commits(dir.path()), 11);
}

#[test]
fn a_full_disk_fails_the_commit_and_passes() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::new());
    let mut testbed = Testbed::open(faults.testbed(), dir.path());
    commit_ten(&mut testbed);
    faults.set("enospc");
    check_failure_passes(&mut testbed, 10, |_| faults.clear("enospc"));
    testbed.kill();
    assert_eq!(whole_commits(dir.path()), 11);
}

#[test]
fn a_commit_whose_sync_failed_is_there_or_not_after_a_crash_but_never_half() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::new());
    let mut testbed = Testbed::open(faults.testbed(), dir.path());
    commit_ten(&mut testbed);
    faults.set("eio");
    assert!(testbed.ask("commit 10").contains("failed"));
    testbed.kill();
    assert!((10..=11).contains(&whole_commits(dir.path())));
}

#[test]
fn a_full_disk_before_the_start_refuses_the_start_and_harms_nothing() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::new());
    faults.set("enospc");
    check_start_refused(faults.testbed(), dir.path());
    faults.clear("enospc");
    commit_ten(&mut Testbed::open(faults.testbed(), dir.path()));
    faults.set("enospc");
    check_start_refused(faults.testbed(), dir.path());
    assert_eq!(whole_commits(dir.path()), 10);
}

/// The kernel's own limit: writes fail at any byte, in the midst of a page.
#[test]
fn a_file_that_may_not_grow_fails_the_commit_wherever_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    // Past the limit a process gets SIGXFSZ, and ends unless it was told to ignore it.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap '' XFSZ; exec "$@""#, "sh", TESTBED]);
    let mut testbed = Testbed::open(shell, dir.path());
    commit_ten(&mut testbed);
    let limit = |testbed: &Testbed, bytes| {
        let pid = Pid::from_raw(testbed.id().try_into().unwrap());
        let maximum = None;
        let current = bytes;
        prlimit(pid, Resource::Fsize, Rlimit { current, maximum }).unwrap();
    };
    for (next, room) in (10..).zip([0, 1, 23, 24, 25, 4_000, 4_121, 5_000, 9_000]) {
        let log_bytes = fs::metadata(dir.path().join("haldane.db-wal"))
            .unwrap()
            .len();
        limit(&testbed, Some(log_bytes + room));
        check_failure_passes(&mut testbed, next, |testbed| limit(testbed, None));
    }
    testbed.kill();
    assert_eq!(whole_commits(dir.path()), 19);
}

#[test]
fn a_file_that_is_deleted_or_replaced_is_noticed_and_may_come_back() {
    for name in ["haldane.db", "haldane.db-wal"] {
        let dir = tempfile::tempdir().unwrap();
        let mut testbed = Testbed::open(Command::new(TESTBED), dir.path());
        commit_ten(&mut testbed);
        let (path, aside) = (dir.path().join(name), dir.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        assert!(testbed.ask("commit 10").contains("Damaged"));
        assert_eq!(testbed.ask("entries"), "10");
        fs::copy(&aside, &path).unwrap();
        assert!(testbed.ask("commit 10").contains("Damaged"));
        fs::rename(&aside, &path).unwrap();
        assert_eq!(testbed.ask("commit 10"), "done");
        testbed.kill();
        assert_eq!(whole_commits(dir.path()), 11);
    }
}

#[test]
fn a_file_or_directory_that_may_not_be_written_refuses_the_start_until_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let path = home.join("haldane.db");
    let lock = home.join("haldane.lock");
    drop(open(&home).unwrap());
    set_mode(dir.path(), 0o755);
    let testbed = dir.path().join("testbed");
    fs::copy(TESTBED, &testbed).unwrap();
    set_mode(&testbed, 0o755);
    for (home_mode, file_mode, lock_mode, reason) in [
        (0o777, 0o444, 0o666, "haldane.db: permission denied"),
        (0o555, 0o666, 0o666, "readonly database"),
        (0o555, 0o444, 0o666, "haldane.db: permission denied"),
        (0o555, 0o666, 0o444, "haldane.lock: Permission denied"),
    ] {
        set_mode(&path, file_mode);
        set_mode(&lock, lock_mode);
        set_mode(&home, home_mode);
        let answer = check_start_refused(without_privileges(&testbed), &home);
        assert!(answer.contains(reason), "{answer}");
    }
    set_mode(&home, 0o777);
    set_mode(&path, 0o666);
    set_mode(&lock, 0o666);
    commit_ten(&mut Testbed::open(without_privileges(&testbed), &home));
    assert_eq!(whole_commits(&home), 10);
}

/// Returns a command that runs as nobody where it would run as root, to whom all is allowed.
fn without_privileges(program: &Path) -> Command {
    let mut command = Command::new(program);
    if geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
