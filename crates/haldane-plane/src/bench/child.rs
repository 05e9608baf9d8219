//! The controller under test: the shipped program as a process of its own, looked at from outside.
//!
//! **Invariant:** it runs inside the plane, so that it ends with the plane at the latest.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{process::Child, time::Instant};

use super::wait::until;
use crate::plane::Plane;

/// How long it may take to start, and to end.
const START_MAX: Duration = Duration::from_secs(60);
const END_MAX: Duration = Duration::from_secs(30);

/// How much of its log is told when something is wrong with it.
const LOG_LINES_MAX: usize = 12;

/// A controller that runs.
#[derive(Debug)]
pub(super) struct Controller<'a> {
    plane: &'a Plane,
    /// What brings it into the plane, and ends when it ends.
    entry: Child,
    process: i32,
    address: SocketAddr,
    log: PathBuf,
    /// When it was started.
    pub started: Instant,
}

impl<'a> Controller<'a> {
    /// Starts the program and waits until it says where it answers.
    pub(super) async fn start(
        plane: &'a Plane,
        program: &Path,
        namespace: &str,
    ) -> anyhow::Result<Self> {
        let log = plane.directory().join("controller.log");
        let file = File::create(&log).context("creating the controller's log")?;
        let name = program
            .to_str()
            .context("the controller's path is not text")?;
        let started = Instant::now();
        let mut entry = plane
            .command(name)
            .await?
            .args([
                "controller",
                "--listen",
                "127.0.0.1:0",
                "--namespaces",
                namespace,
            ])
            .arg("--kubeconfig")
            .arg(plane.kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context("starting the controller")?;
        let address = until("the controller to start", START_MAX, async || {
            if let Some(status) = entry.try_wait()? {
                anyhow::bail!("the controller ended ({status}):\n{}", tail(&log));
            }
            Ok(address(&fs::read_to_string(&log)?))
        })
        .await?;
        let outer = entry.id().context("the controller has ended")?;
        let process = child_of(outer).context("finding the controller's process")?;
        Ok(Self {
            plane,
            entry,
            process,
            address,
            log,
            started,
        })
    }

    /// Waits until it leads and has seen everything.
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        until("the controller to be ready", START_MAX, async || {
            let reply = self.plane.get(self.address, "/readyz").await?;
            Ok((reply.status == StatusCode::OK).then_some(()))
        })
        .await
        .with_context(|| tail(&self.log))
    }

    /// Returns how many turns it has given so far.
    pub(super) async fn turns(&self) -> anyhow::Result<f64> {
        let reply = self.plane.get(self.address, "/metrics").await?;
        Ok(turns(&reply.body))
    }

    /// Returns its share of the machine's memory, in KiB.
    pub(super) fn memory_kib(&self) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process));
        let text = text.context("reading the controller's memory")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .context("reading the controller's memory")
    }

    /// Returns the processor time that it has taken, in seconds.
    pub(super) fn cpu_s(&self) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.process));
        let text = text.context("reading the controller's processor time")?;
        let ticks = ticks(&text).context("reading the controller's processor time")?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Ends it in good order.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let process = Pid::from_raw(self.process).context("the controller has no process")?;
        kill_process(process, Signal::TERM).context("ending the controller")?;
        until("the controller to end", END_MAX, async || {
            Ok(self.entry.try_wait()?)
        })
        .await?;
        Ok(())
    }
}

/// Returns the address that it tells at its start.
fn address(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("tells how it is at http://")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn turns(metrics: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("haldane_controller_turns_total{"));
    let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    numbers.sum()
}

/// Returns user and system time; the name before them may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let [user, system] = [11, 12].map(|place| fields.get(place)?.parse::<u64>().ok());
    user?.checked_add(system?)
}

fn child_of(process: u32) -> Option<i32> {
    let path = format!("/proc/{process}/task/{process}/children");
    fs::read_to_string(path)
        .ok()?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES_MAX);
    lines.into_iter().skip(first).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_of_itself_is_read() {
        let log = "warn\nthe controller is up; it tells how it is at http://127.0.0.1:8081\nmore";
        assert_eq!(address(log), "127.0.0.1:8081".parse().ok());
        assert_eq!(address("the controller is up"), None);
        let metrics = "# TYPE haldane_controller_turns_total counter\n\
                       haldane_controller_turns_total{result=\"rest\"} 4\n\
                       haldane_controller_turns_total{result=\"again\"} 3\n\
                       haldane_controller_writes_total{verb=\"patch\"} 9\n";
        assert!((turns(metrics) - 7.0).abs() < f64::EPSILON);
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 1 0 0 0 120 30 0 0 20 0";
        assert_eq!(ticks(stat), Some(150));
    }
}
