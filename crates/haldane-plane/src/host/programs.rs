//! The programs of the control plane as children: their logs, their deaths and their end.

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
    children: Vec<(&'static str, Child)>,
}

impl Programs {
    pub(super) fn new(site: Site) -> Self {
        Self {
            site,
            children: Vec::new(),
        }
    }

    /// Starts one program of the cache.
    pub(super) fn start(&mut self, name: &'static str, args: &[String]) -> anyhow::Result<()> {
        let program = Cache::of_user()?.program(name)?;
        let log = self.site.log(name);
        let log = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("preparing a log")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        self.children.push((name, child));
        Ok(())
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
            let wait = async move { (*name, child.wait().await) };
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

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES_MAX);
    lines.into_iter().skip(first).collect::<Vec<_>>().join("\n")
}
