//! The programs of a plane as children: their logs, their deaths and their end.

use std::{
    fs::{self, File},
    path::Path,
    process::{ExitStatus, Stdio},
};

use anyhow::Context as _;
use futures_util::future::select_all;
use tokio::process::{Child, Command};

use crate::{components::Cache, site::Site};

/// How much of a log is told when its program died.
const LOG_LINES_MAX: usize = 8;

/// The programs that were started.
#[derive(Debug)]
pub(super) struct Programs {
    site: Site,
    children: Vec<(String, Child)>,
}

impl Programs {
    pub(super) fn new(site: Site) -> Self {
        Self {
            site,
            children: Vec::new(),
        }
    }

    /// Starts one program of the cache.
    pub(super) fn start(&mut self, name: &str, args: &[String]) -> anyhow::Result<()> {
        let program = Cache::of_user()?.file(name)?;
        self.run(name, &program, args)
    }

    /// Starts a program under this name.
    pub(super) fn run(
        &mut self,
        name: &str,
        program: &Path,
        args: &[String],
    ) -> anyhow::Result<()> {
        let child = self.spawn(name, program, args)?;
        self.children.push((name.to_owned(), child));
        Ok(())
    }

    /// Runs a program to its end.
    pub(super) async fn finish(
        &mut self,
        name: &str,
        program: &Path,
        args: &[String],
    ) -> anyhow::Result<()> {
        let mut child = self.spawn(name, program, args)?;
        let status = child.wait().await;
        let status = status.with_context(|| format!("waiting for {name}"))?;
        anyhow::ensure!(
            status.success(),
            "{name} failed ({status}):\n{}",
            tail(&self.site.log(name))
        );
        Ok(())
    }

    fn spawn(&self, name: &str, program: &Path, args: &[String]) -> anyhow::Result<Child> {
        let log = self.site.log(name);
        let log = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        Command::new(program)
            .args(args)
            .env("KUBECONFIG", self.site.kubeconfig())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("preparing a log")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))
    }

    /// Returns the outcome of `work`, unless one of them dies before.
    pub(super) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            outcome = work => Ok(outcome),
            died = self.watch() => Err(died),
        }
    }

    /// Waits until one of them dies, and says which and why.
    pub(super) async fn watch(&mut self) -> anyhow::Error {
        let waits = self.children.iter_mut().map(|(name, child)| {
            let wait = async move { (name.as_str(), child.wait().await) };
            Box::pin(wait)
        });
        let ((name, status), ..) = select_all(waits).await;
        let status = status.map_or_else(
            |error| error.to_string(),
            |status: ExitStatus| status.to_string(),
        );
        let log = tail(&self.site.log(name));
        anyhow::anyhow!("{name} ended ({status}):\n{log}")
    }

    /// Ends all of them.
    pub(super) async fn end(&mut self) {
        for (_, child) in &mut self.children {
            // One that is dead already needs nothing.
            child.kill().await.ok();
        }
    }
}

/// Returns an option as most programs take it.
pub(super) fn flag(name: &str, value: &str) -> String {
    format!("--{name}={value}")
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES_MAX);
    lines.into_iter().skip(first).collect::<Vec<_>>().join("\n")
}
