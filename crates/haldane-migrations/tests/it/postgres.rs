//! A PostgreSQL of the test's own: a directory that goes with it, a socket in there, no network.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// PostgreSQL refuses to run as root, so that root runs it as this user, which every system has.
const NOBODY: u32 = 65_534;

/// Nothing here takes longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    dir: TempDir,
    programs: PathBuf,
    child: Child,
}

/// A connection that stays open.
pub(crate) struct Session {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Server {
    /// Starts it and waits until it answers.
    pub(crate) fn start() -> Self {
        let programs = programs();
        let dir = tempfile::tempdir().unwrap();
        if is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = dir.path().join("data");
        let made = command(&programs.join("initdb"))
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=test",
                "--no-locale",
                "--encoding=UTF8",
                "--pgdata",
            ])
            .arg(&data)
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut start = command(&programs.join("postgres"));
        start
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir.path())
            .current_dir(dir.path());
        for setting in [
            "listen_addresses=",
            "fsync=off",
            "autovacuum=off",
            "max_connections=20",
            "shared_buffers=16MB",
        ] {
            start.args(["-c", setting]);
        }
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = start
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self {
            dir,
            programs,
            child,
        };
        let deadline = Instant::now() + DEADLINE;
        while !server
            .psql()
            .args(["-c", "SELECT 1"])
            .output()
            .unwrap()
            .status
            .success()
        {
            let log = fs::read_to_string(server.dir.path().join("log")).unwrap();
            assert!(
                Instant::now() < deadline,
                "PostgreSQL does not answer:\n{log}"
            );
        }
        server
    }

    /// Runs a script, and returns what it writes; errors don't end it.
    pub(crate) fn run(&self, script: &str) -> String {
        let mut child = self
            .psql()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let script = format!("SET statement_timeout = '30s';\n{script}\n");
        let writer = thread::spawn(move || input.write_all(script.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn psql(&self) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        command
            .args(["-X", "-q", "-t", "-A", "-U", "test", "-d", "postgres", "-h"])
            .arg(self.dir.path());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Immediate shutdown: what it wrote goes with the directory.
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-QUIT", &pid]).status().ok();
        self.child.wait().ok();
    }
}

impl Session {
    /// Connects.
    pub(crate) fn open(server: &Server) -> Self {
        let mut command = server.psql();
        // Not quiet: each statement tells its tag when it is done.
        command.args(["-v", "QUIET=off"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            input,
            lines,
        }
    }

    /// Sends statements.
    pub(crate) fn send(&mut self, text: &str) {
        writeln!(self.input, "{text}").unwrap();
        self.input.flush().unwrap();
    }

    /// Waits for a line that begins so.
    pub(crate) fn wait_for(&self, beginning: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no {beginning:?}"));
            if line.starts_with(beginning) {
                return;
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns where the newest PostgreSQL is.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let bins = versions
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists());
    let number = |bin: &PathBuf| -> u32 {
        bin.parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str()?.parse().ok())
            .unwrap_or(0)
    };
    bins.max_by_key(number)
        .expect("PostgreSQL is missing; `cargo xtask setup` installs it")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The server does not outlive its test, however that ends.
fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if is_root() {
        command.arg(format!("--reuid={NOBODY}"));
        command.arg(format!("--regid={NOBODY}"));
        command.arg("--clear-groups");
    }
    command.arg(program);
    command
}
