//! A supervisor in a temporary directory, and what it takes to watch it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use haldane_supervisor::{
    Config, LogLimits, ReplicaSeen, Supervisor, VersionKey, VersionSpec, Wish, WishedVersion,
};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than any test.
pub(crate) const AGES: Duration = Duration::from_secs(600);

pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    config: Config,
    supervisor: Option<Supervisor>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Config {
            backoff_first: Duration::from_millis(100),
            ..Config::default()
        })
    }

    pub(crate) fn with(config: Config) -> Self {
        let mut rig = Self {
            dir: tempfile::tempdir().unwrap(),
            config,
            supervisor: None,
        };
        rig.open();
        rig
    }

    pub(crate) fn open(&mut self) {
        self.supervisor = Some(Supervisor::open(&self.home(), self.config).unwrap());
    }

    /// Ends the care as a dead daemon does: the replicas run on.
    pub(crate) fn abandon(&mut self) {
        self.supervisor = None;
    }

    pub(crate) fn supervisor(&self) -> &Supervisor {
        self.supervisor.as_ref().unwrap()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn record(&self, index: u32) -> PathBuf {
        self.home().join(format!("replicas/auth@v1@{index}.json"))
    }

    /// Returns a spec that runs a script in the test's directory.
    pub(crate) fn script(&self, script: &str) -> VersionSpec {
        VersionSpec {
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            env: BTreeMap::new(),
            dir: Some(self.dir.path().into()),
            user: None,
            drain_grace: Duration::ZERO,
            stop_grace: PATIENCE,
            start_grace: AGES,
            log: LogLimits::default(),
        }
    }

    pub(crate) fn run(&self, spec: &VersionSpec, replicas: u32, generation: u64) {
        let wished = WishedVersion {
            spec: spec.clone(),
            replicas,
            generation,
        };
        self.supervisor().ensure(Wish {
            versions: BTreeMap::from([(auth("v1"), wished)]),
        });
    }

    /// Runs the version and waits until all its replicas have a process.
    pub(crate) fn run_all(&self, spec: &VersionSpec, replicas: u32) -> Vec<ReplicaSeen> {
        self.run(spec, replicas, 0);
        let is_up = |seen: &[ReplicaSeen]| {
            seen.len() == usize::try_from(replicas).unwrap() && seen.iter().all(|r| r.pid.is_some())
        };
        self.until("all run", is_up)
    }

    pub(crate) fn replicas(&self) -> Vec<ReplicaSeen> {
        self.supervisor().snapshot().replicas.clone()
    }

    /// Waits until the replicas are as they should be, and returns them.
    pub(crate) fn until(
        &self,
        what: &str,
        is_so: impl Fn(&[ReplicaSeen]) -> bool,
    ) -> Vec<ReplicaSeen> {
        until(what, || {
            let replicas = self.replicas();
            if is_so(&replicas) {
                Ok(replicas)
            } else {
                Err(replicas)
            }
        })
    }

    /// Waits until the first replica is as it should be, and returns it.
    pub(crate) fn until_first(
        &self,
        what: &str,
        is_so: impl Fn(&ReplicaSeen) -> bool,
    ) -> ReplicaSeen {
        self.until(what, |seen| seen.first().is_some_and(&is_so))
            .remove(0)
    }

    /// Reports every replica healthy and waits until that has arrived.
    pub(crate) fn all_healthy(&self) -> Vec<ReplicaSeen> {
        for replica in self.replicas() {
            self.supervisor().report_health(&replica.id, true);
        }
        self.until("all healthy", |seen| {
            seen.iter().all(|replica| replica.is_healthy)
        })
    }

    pub(crate) fn stop(&self) {
        self.supervisor().stop_all();
        until("all stopped", || {
            if self.supervisor().is_idle() {
                Ok(())
            } else {
                Err(self.replicas())
            }
        });
    }

    /// Returns the live processes that were ever started in this directory, and whatever those started.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let Ok(id) = fs::read_to_string(self.home().join("id")) else {
            return Vec::new();
        };
        let needle = format!("HALDANE_TOKEN={id}.");
        let bears = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            String::from_utf8_lossy(&environment).contains(&needle)
        };
        pids().filter(bears).filter(|pid| is_alive(*pid)).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Whatever the test came to, no process outlives it.
        self.supervisor = None;
        // A shell may fork while it is looked for, so once isn't enough.
        let mut quiet_looks = 0;
        while quiet_looks < 3 {
            let found = self.processes();
            quiet_looks = if found.is_empty() { quiet_looks + 1 } else { 0 };
            found.into_iter().for_each(|pid| kill(pid, Signal::KILL));
        }
    }
}

pub(crate) fn auth(version: &str) -> VersionKey {
    VersionKey {
        service: "auth".parse().unwrap(),
        version: version.parse().unwrap(),
    }
}

/// Polls until there is an answer; fails with the last hindrance.
#[track_caller]
pub(crate) fn until<T, E: std::fmt::Debug>(
    what: &str,
    mut answer: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match answer() {
            Ok(value) => return value,
            Err(hindrance) if Instant::now() > deadline => panic!("never {what}: {hindrance:#?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Waits for a file's complete lines.
#[track_caller]
pub(crate) fn lines(path: &Path, count: usize) -> Vec<String> {
    until("written", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count && text.ends_with('\n') {
            Ok(lines)
        } else {
            Err(text)
        }
    })
}

pub(crate) fn kill(pid: i32, signal: Signal) {
    // It may be gone already, and that's what callers want.
    kill_process(Pid::from_raw(pid).unwrap(), signal).ok();
}

pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}
