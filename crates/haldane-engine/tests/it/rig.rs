//! Another process with a store, and the state that it leaves.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use haldane_core::{RolloutId, ServiceName};
use haldane_engine::store::{Store as _, StoreError, lock::DirectoryLock, sqlite::SqliteStore};

/// The program that holds a store in another process.
pub(crate) const TESTBED: &str = env!("CARGO_BIN_EXE_haldane-engine-testbed");

/// A process that runs [`TESTBED`]; it ends with this value.
pub(crate) struct Testbed {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Testbed {
    /// Starts the process and returns what it says first.
    pub(crate) fn start(mut command: Command, dir: &Path) -> (Self, String) {
        let mut child = command
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut testbed = Self { child, output };
        let first = testbed.line().unwrap();
        (testbed, first)
    }

    /// Starts the process, which must open its store.
    pub(crate) fn open(command: Command, dir: &Path) -> Self {
        let (testbed, first) = Self::start(command, dir);
        assert_eq!(first, "opened");
        testbed
    }

    /// Tells the process what to do.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Tells the process what to do and returns its answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.line().unwrap()
    }

    /// Returns the next line that the process printed whole, none when it has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Opens a directory's store in this process.
pub(crate) fn open(dir: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(dir, &DirectoryLock::take(dir)?)
}

/// Returns how many commits of a [`Testbed`] the store holds, after checking that they are the first so many, each of them whole.
pub(crate) fn whole_commits(dir: &Path) -> u64 {
    let mut store = open(dir).unwrap();
    let service: ServiceName = "auth".parse().unwrap();
    let entries = store
        .entries(&RolloutId::new(&service, 1), u32::MAX)
        .unwrap();
    for (number, entry) in (0..).zip(&entries) {
        assert_eq!(entry.number, number);
        assert_eq!(entry.body, number.to_string().repeat(200));
    }
    let rollouts = store.live_rollouts().unwrap();
    let last = entries.last().map(|entry| entry.number.to_string());
    assert_eq!(rollouts.first().map(|rollout| rollout.body.clone()), last);
    assert_eq!(store.integrity().unwrap().problems, Vec::<String>::new());
    entries.len().try_into().unwrap()
}

/// Returns the store's files, by name, with what is in them; the lock and what any opening makes (SQLite's index of the log, and a
/// log without content) aside.
pub(crate) fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("haldane.lock") && !path.ends_with("haldane.db-shm"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .filter(|(path, content)| !path.ends_with("haldane.db-wal") || !content.is_empty())
        .collect();
    files.sort();
    files
}

/// Copies the store's files as they are, which is what a crash at this moment would leave.
pub(crate) fn crash_image(dir: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    for (path, bytes) in contents(dir) {
        fs::write(image.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    image
}
