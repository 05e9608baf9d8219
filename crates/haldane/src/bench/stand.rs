//! The test stand: a daemon as a process of its own, and the shop behind it.
//!
//! **Invariant:** a stand is stopped by [`Stand::stop`], which waits until the daemon and what it started are gone; the versions'
//! processes would outlive a daemon that is only killed.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use haldane_api::http::{Answer, CommandName, CommandRequest, DeployRequest, ServiceView};
use haldane_core::Weight;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    cli::{client::Client, exit::talk},
    demo::shop::Behavior,
};

/// The service's name.
const SERVICE: &str = "shop";

/// The actor of everything that a bench asks for.
const ACTOR: &str = "haldane bench";

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often to look whether it has come.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a stand is made of.
#[derive(Debug)]
pub(super) struct StandPlan {
    /// The program that the daemon is.
    pub program: PathBuf,
    /// The daemon's addresses on this machine; the port is the stand's to choose.
    pub addresses: Vec<Ipv4Addr>,
    /// Where the first version comes from: the `stable` part of a release file.
    pub stable: Value,
}

/// A daemon that runs.
#[derive(Debug)]
pub(super) struct Stand {
    dir: TempDir,
    daemon: Child,
    /// When the daemon's process was started.
    pub spawned: Instant,
    /// Speaks with it.
    pub client: Client,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
}

impl Stand {
    /// Starts the daemon; it may not serve yet.
    pub(super) fn spawn(plan: &StandPlan) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("haldane-bench-")
            .tempdir()
            .context("making a directory")?;
        let port = free_port()?;
        let listen: Vec<SocketAddr> = plan
            .addresses
            .iter()
            .map(|address| SocketAddr::from((*address, port)))
            .collect();
        let (file, socket) = (
            dir.path().join("haldane.yaml"),
            dir.path().join("haldane.sock"),
        );
        fs::write(&file, release_file(&listen, &plan.stable))
            .context("writing the release file")?;
        let log = File::create(dir.path().join("daemon.log")).context("making the daemon's log")?;
        let spawned = Instant::now();
        let daemon = Command::new(&plan.program)
            .arg("up")
            .arg("--file")
            .arg(&file)
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting the daemon")?;
        Ok(Self {
            client: Client::new(&socket),
            dir,
            daemon,
            spawned,
            listen,
        })
    }

    /// Starts the daemon, and waits until the first version serves.
    pub(super) async fn start(plan: &StandPlan) -> anyhow::Result<Self> {
        let stand = Self::spawn(plan)?;
        let is_ready = |view: &ServiceView| {
            view.stable.replicas_wanted > 0
                && view.stable.replicas_ready >= view.stable.replicas_wanted
        };
        match stand.until("the first version serves", is_ready).await {
            Ok(_) => Ok(stand),
            Err(error) => {
                let log =
                    fs::read_to_string(stand.dir.path().join("daemon.log")).unwrap_or_default();
                stand.stop().await.ok();
                Err(error.context(log))
            }
        }
    }

    /// Returns an address to send requests to.
    pub(super) fn target(&self) -> anyhow::Result<SocketAddr> {
        self.listen
            .first()
            .copied()
            .context("the stand has no address")
    }

    /// Returns the daemon's process id.
    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.daemon.id().context("the daemon is gone")
    }

    /// Begins the rollout of a version.
    pub(super) async fn deploy(
        &self,
        version: &str,
        behavior: Behavior,
        rollout: Value,
    ) -> anyhow::Result<()> {
        let request = DeployRequest {
            version: version.parse()?,
            run: Some(shop_command(version, behavior)?),
            env: BTreeMap::new(),
            dir: None,
            urls: None,
            replicas: None,
            rollout: Some(rollout),
            by: ACTOR.to_owned(),
            reason: None,
        };
        self.client
            .post::<Answer>(&path("/deploy"), &request)
            .await
            .with_context(|| format!("deploying {version}"))?;
        Ok(())
    }

    /// Gives a command on the rollout.
    pub(super) async fn command(
        &self,
        command: CommandName,
        weight: Option<Weight>,
        full: bool,
    ) -> anyhow::Result<()> {
        let request = CommandRequest {
            command,
            step: None,
            full,
            weight_bps: weight,
            to: None,
            rollout: None,
            by: ACTOR.to_owned(),
            reason: None,
        };
        self.client
            .post::<Answer>(&path("/commands"), &request)
            .await
            .with_context(|| format!("asking for {command:?}"))?;
        Ok(())
    }

    /// Waits until the service is as wished.
    pub(super) async fn until(
        &self,
        what: &str,
        is_so: impl Fn(&ServiceView) -> bool,
    ) -> anyhow::Result<ServiceView> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The daemon's socket may not be there yet, and then not its service.
            let seen = self.view().await;
            match seen {
                Ok(view) if is_so(&view) => return Ok(view),
                Ok(_) | Err(_) if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
                Ok(view) => {
                    let at = view
                        .rollout
                        .map(|rollout| format!("{}: {}", rollout.phase, rollout.message));
                    bail!(
                        "waited {} s until {what}; {}",
                        PATIENCE.as_secs(),
                        at.unwrap_or_default()
                    );
                }
                Err(error) => return Err(error.context(format!("waiting until {what}"))),
            }
        }
    }

    /// Waits until the rollout of a version is over and its old processes are gone, and says whether it was promoted.
    pub(super) async fn until_over(&self, version: &str) -> anyhow::Result<bool> {
        let is_so = |view: &ServiceView| {
            let rollout = view
                .rollout
                .as_ref()
                .filter(|rollout| rollout.canary.as_str() == version);
            let is_gone = view
                .canary
                .as_ref()
                .is_none_or(|canary| canary.replicas_existing == 0);
            is_gone && rollout.is_some_and(|rollout| rollout.is_over)
        };
        let view = self
            .until(&format!("the rollout of {version} is over"), is_so)
            .await?;
        Ok(view
            .rollout
            .is_some_and(|rollout| rollout.phase == "Completed"))
    }

    /// Waits until this weight is in force.
    pub(super) async fn until_applied(&self, weight: Weight) -> anyhow::Result<()> {
        let is_so = |view: &ServiceView| {
            view.rollout
                .as_ref()
                .is_some_and(|rollout| rollout.weight_bps == weight && rollout.is_applied)
        };
        self.until(&format!("the weight is {weight}"), is_so)
            .await?;
        Ok(())
    }

    /// Returns the service as it is.
    pub(super) async fn view(&self) -> anyhow::Result<ServiceView> {
        Ok(self.client.get(&path("")).await?)
    }

    /// Stops the daemon and everything that it started.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.client
            .post_within::<Answer>("/v1/down", &json!({}), PATIENCE)
            .await
            .context("stopping the daemon")?;
        let status = timeout(PATIENCE, self.daemon.wait())
            .await
            .context("waiting for the daemon's end")??;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }
}

/// Stops a stand whatever became of the measurement, and returns what became of it.
pub(super) async fn finish<T>(stand: Stand, measured: anyhow::Result<T>) -> anyhow::Result<T> {
    let log = fs::read_to_string(stand.dir.path().join("daemon.log")).unwrap_or_default();
    let stopped = stand.stop().await;
    if measured.is_err() || stopped.is_err() {
        talk(&log);
    }
    let measured = measured?;
    stopped?;
    Ok(measured)
}

/// Returns this program's own file.
pub(super) fn this_program() -> anyhow::Result<PathBuf> {
    env::current_exe().context("finding this program")
}

/// Returns the `stable` part of a release file: the shop as processes of the daemon.
pub(super) fn shop_processes(version: &str) -> anyhow::Result<Value> {
    Ok(json!({ "version": version, "run": shop_command(version, Behavior::Good)?, "replicas": 2 }))
}

fn path(rest: &str) -> String {
    format!("/v1/services/{SERVICE}{rest}")
}

fn release_file(listen: &[SocketAddr], stable: &Value) -> String {
    let service = json!({
        "listen": listen,
        "stable": stable,
        "health": { "path": "/health", "interval": "250ms", "timeout": "1s" },
    });
    // Every JSON text is YAML, too.
    json!({ "services": { SERVICE: service } }).to_string()
}

fn shop_command(version: &str, behavior: Behavior) -> anyhow::Result<Vec<String>> {
    let program = this_program()?;
    let program = Path::to_str(&program)
        .context("this program's path is not text")?
        .to_owned();
    let words = [
        "shop",
        "--port",
        "$PORT",
        "--version",
        version,
        "--behavior",
        &behavior.to_string(),
    ];
    Ok(std::iter::once(program)
        .chain(words.map(str::to_owned))
        .collect())
}

/// Returns a port that nobody uses now; another program may take it before the daemon does, and then the daemon says so.
fn free_port() -> anyhow::Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).context("looking for a free port")?;
    Ok(listener
        .local_addr()
        .context("looking for a free port")?
        .port())
}
