//! A place for one test: a directory, addresses, a daemon and its children; all of it is gone afterwards, whatever happened.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU16, Ordering},
    },
    thread::{panicking, sleep},
    time::{Duration, Instant, SystemTime},
};

use haldane_api::http::DeployRequest;
use rustix::process::{Pid, Signal, getpgid, kill_process};
use tempfile::TempDir;

use crate::it::api::Api;

/// The program under test.
pub(crate) const HALDANE: &str = env!("CARGO_BIN_EXE_haldane");

/// How long anything that should happen at once may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The variable by which everything that a test started is found again: children get it from the daemon.
const MARK: &str = "RIG_MARK";

/// Where the search for free ports begins: below those that the kernel gives to whoever asks for any.
const FIRST_PORT: u16 = 10_000;

/// A place for one test.
#[derive(Debug)]
pub(crate) struct Rig {
    dir: TempDir,
    mark: String,
}

/// A process that a test started, or that a daemon of the test started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) argv: Vec<String>,
}

/// A daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    pub(crate) api: Api,
}

impl Rig {
    pub(crate) fn new() -> Self {
        // Not below a longer path: a unix socket's has at most 107 bytes.
        let dir = tempfile::Builder::new()
            .prefix("hx-")
            .tempdir_in("/tmp")
            .unwrap();
        let mark = dir.path().display().to_string();
        Self { dir, mark }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes the release file of this test.
    pub(crate) fn write_file(&self, text: &str) {
        fs::write(self.path("haldane.yaml"), text).unwrap();
    }

    /// Returns a command of the program that finds this test's daemon.
    pub(crate) fn haldane(&self, args: &[&str]) -> Command {
        let mut command = self.command(HALDANE);
        command
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Returns a command whose processes are found again.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env(MARK, &self.mark)
            .env("TMPDIR", self.dir.path())
            .env_remove("HALDANE_LOG");
        command
    }

    /// Starts the daemon with this test's release file, and waits until it answers.
    #[track_caller]
    pub(crate) fn up(&self) -> Daemon {
        let file = self.path("haldane.yaml");
        self.start(self.haldane(&["up", "-f", file.to_str().unwrap()]))
    }

    /// Starts a daemon by this command, and waits until it answers.
    #[track_caller]
    pub(crate) fn start(&self, command: Command) -> Daemon {
        let mut daemon = self.spawn(command);
        until("the daemon answers", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}: {}", self.log());
            }
            daemon
                .api
                .get::<Vec<haldane_api::http::ServiceView>>("/v1/services")
                .ok()
                .filter(|services| !services.is_empty())
        });
        daemon
    }

    /// Starts a daemon by this command, and waits for nothing.
    pub(crate) fn spawn(&self, mut command: Command) -> Daemon {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"));
        let is_told = command
            .get_envs()
            .any(|(name, value)| name == "HALDANE_LOG" && value.is_some());
        if !is_told {
            command.env("HALDANE_LOG", "info");
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let api = Api::new(self.data_dir().join("haldane.sock"));
        Daemon { child, api }
    }

    /// Returns what the daemons of this test wrote.
    pub(crate) fn log(&self) -> String {
        fs::read(self.path("log")).map_or_else(
            |error| error.to_string(),
            |text| String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// Adds a line to the log, so that a failed test's story is in one place.
    pub(crate) fn note(&self, text: &str) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"));
        writeln!(log.unwrap(), "---- {text}").unwrap();
    }

    /// Returns what still runs of this test.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let entries = fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut found: Vec<Process> = pids.filter_map(|pid| self.process(pid)).collect();
        found.sort_by_key(|process| process.pid);
        found
    }

    /// Returns the shops that run as replicas: each leads a group of its own, and what it starts itself doesn't.
    pub(crate) fn replicas(&self) -> Vec<Process> {
        let mut replicas = self.processes();
        replicas.retain(|process| {
            let pid = Pid::from_raw(process.pid).unwrap();
            process.option("--version").is_some() && getpgid(Some(pid)) == Ok(pid)
        });
        replicas
    }

    /// Returns the replicas of a version.
    pub(crate) fn shops(&self, version: &str) -> Vec<Process> {
        let mut shops = self.replicas();
        shops.retain(|process| process.option("--version") == Some(version));
        shops
    }

    fn process(&self, pid: i32) -> Option<Process> {
        // Zombies and strangers have nothing to read.
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let wanted = format!("{MARK}={}", self.mark);
        environment
            .split(|byte| *byte == 0)
            .find(|entry| *entry == wanted.as_bytes())?;
        let argv = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words = argv.split(|byte| *byte == 0);
        let argv = words
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        Some(Process { pid, argv })
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let left = self.processes();
        for process in &left {
            signal(process.pid, Signal::KILL);
        }
        if panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.len().saturating_sub(80);
            eprintln!("the daemon's last words:\n{}", lines[tail..].join("\n"));
        } else {
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}

impl Process {
    /// Returns the word after this one.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let at = self.argv.iter().position(|word| word == name)?;
        self.argv.get(at + 1).map(String::as_str)
    }
}

impl Daemon {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn signal(&self, sent: Signal) {
        signal(self.pid(), sent);
    }

    /// Kills the daemon at once; returns when.
    pub(crate) fn kill(mut self) -> SystemTime {
        let at = SystemTime::now();
        self.signal(Signal::KILL);
        let status = self.child.wait().unwrap();
        assert_eq!(
            status.signal(),
            Some(9),
            "the daemon ended by itself: {status}"
        );
        at
    }

    /// Ends the daemon as an operator does; it must have drained and left nothing.
    #[track_caller]
    pub(crate) fn stop(self, rig: &Rig) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}");
        assert_eq!(rig.processes(), Vec::new());
    }

    /// Waits until the daemon has ended.
    #[track_caller]
    pub(crate) fn wait(mut self) -> ExitStatus {
        until("the daemon ends", || self.child.try_wait().unwrap())
    }
}

/// Keeps tests that need a quick machine and tests that need all of it apart.
static MACHINE: RwLock<()> = RwLock::new(());

/// Waits until no test of this program takes the whole machine, and keeps it so.
pub(crate) fn calm() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the whole machine, as soon as no test needs it calm.
pub(crate) fn storm() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a daemon with this test's release file, and waits until it has ended.
pub(crate) fn up_to_end(rig: &Rig) -> Output {
    let file = rig.path("haldane.yaml");
    let mut command = rig.haldane(&["up", "-f", file.to_str().unwrap()]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    until("the daemon ends", || child.try_wait().unwrap());
    child.wait_with_output().unwrap()
}

/// Checks that a daemon did not start, and said why in these words.
#[track_caller]
pub(crate) fn check_refused(output: &Output, words: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?} in {told}");
    }
}

/// Returns an address of its own on this machine.
pub(crate) fn free_addr() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of the tests at the same time begins elsewhere.
    let pid = u16::try_from(std::process::id() % 200).unwrap();
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < 1_000, "no free port");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + pid * 100 + number));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
}

/// Returns the command line of a sample shop, as a release file has it.
pub(crate) fn shop(version: &str, behavior: &str) -> Vec<String> {
    let words = [
        HALDANE,
        "shop",
        "--port",
        "$PORT",
        "--version",
        version,
        "--behavior",
        behavior,
    ];
    words.map(str::to_owned).to_vec()
}

/// Returns a release file with one service, `shop`, whose version `v1` is good; `rollout` is the YAML of its plan.
pub(crate) fn shop_file(listen: SocketAddr, rollout: &str) -> String {
    let run = serde_json::to_string(&shop("v1", "good")).unwrap();
    format!(
        "services:
  shop:
    listen: {listen}
    stable: {{ version: v1, run: {run}, replicas: 2 }}
    health: {{ path: /health, interval: 100ms, timeout: 1s }}
    rollout: {rollout}
"
    )
}

/// Returns what asks for a version of the shop.
pub(crate) fn deploy_shop(version: &str, behavior: &str) -> DeployRequest {
    DeployRequest {
        version: version.parse().unwrap(),
        run: Some(shop(version, behavior)),
        env: std::collections::BTreeMap::new(),
        dir: None,
        urls: None,
        replicas: None,
        rollout: None,
        by: "the tests".to_owned(),
        reason: None,
    }
}

/// Returns what asks for a version that runs already at this address.
pub(crate) fn deploy_url(version: &str, addr: SocketAddr) -> DeployRequest {
    DeployRequest {
        run: None,
        urls: Some(vec![format!("http://{addr}")]),
        ..deploy_shop(version, "good")
    }
}

/// Waits until there is something, at most for [`PATIENCE`].
#[track_caller]
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// Waits until there is something.
#[track_caller]
pub(crate) fn within<T>(time: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {time:?}: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a process that may be gone.
pub(crate) fn signal(pid: i32, signal: Signal) {
    match kill_process(Pid::from_raw(pid).unwrap(), signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("signalling {pid}: {error}"),
    }
}

/// Returns the size and time of a file that may not be there yet.
pub(crate) fn stamp(path: &Path) -> io::Result<(u64, SystemTime)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.len(), metadata.modified()?))
}
