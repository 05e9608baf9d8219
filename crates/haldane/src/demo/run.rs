//! Running the demo: set-up, load, rollout, and the way back to nothing.

use std::{
    env,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use haldane_api::http::{ApplyRequest, DeployRequest, RolloutHistory, ServiceView};
use haldane_core::ServiceName;
use haldane_engine::handle::Engine;
use tempfile::TempDir;
use tokio::time::{interval, sleep};

use super::{
    DemoArgs, chance,
    load::{Arrivals, LoadPlan, LoadRun, TIMEOUT_DEFAULT, report::LoadReport},
    shop::{Behavior, Share},
    story::{Told, Watched},
};
use crate::daemon::{Daemon, DaemonConfig};

/// The version that serves at first.
pub(super) const OLD: &str = "v1";

/// The version that is rolled out.
pub(super) const NEW: &str = "v2";

/// How long the first version may take to serve.
const READY_DEADLINE: Duration = Duration::from_secs(20);

/// How long the rollout may take, one way or the other.
const END_DEADLINE: Duration = Duration::from_mins(5);

/// How long load runs before the new version comes, so that there is something to compare with.
const WARM_UP: Duration = Duration::from_secs(2);

/// How long load goes on after the end, so that what follows from it is seen as well.
const COOL_DOWN: Duration = Duration::from_secs(1);

/// An answer later than this is a bad one for a user of the shop.
const SLOW: Duration = Duration::from_millis(300);

/// Where the demo is seen while it runs.
pub(crate) trait Stage {
    /// Shows where the rollout stands; called several times a second. Returns whether the person wants to go on.
    fn show(&mut self, view: &ServiceView, load: &LoadReport) -> anyhow::Result<bool>;
}

/// A daemon for the demo, in a directory that goes with it.
#[derive(Debug)]
pub(crate) struct Demo {
    daemon: Daemon,
    directory: TempDir,
    began: Instant,
}

impl Demo {
    /// Starts the daemon.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let began = Instant::now();
        let directory = tempfile::Builder::new()
            .prefix("haldane-demo-")
            .tempdir()
            .context("making a directory")?;
        let daemon = Daemon::start(DaemonConfig {
            data_dir: directory.path().join("data"),
            socket: directory.path().join("haldane.sock"),
            metrics_listen: None,
            threads: None,
            upstream_connections: haldane_proxy::UPSTREAM_CONNECTIONS_MAX,
            expose_version: false,
        })
        .await?;
        Ok(Self {
            daemon,
            directory,
            began,
        })
    }

    /// Runs the demo and tells what happened.
    pub(crate) async fn play(
        &self,
        args: &DemoArgs,
        stage: &mut dyn Stage,
    ) -> anyhow::Result<Told> {
        play(args, &self.daemon, self.directory.path(), self.began, stage).await
    }

    /// Stops everything.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.daemon.stop().await
    }
}

async fn play(
    args: &DemoArgs,
    daemon: &Daemon,
    directory: &Path,
    began: Instant,
    stage: &mut dyn Stage,
) -> anyhow::Result<Told> {
    let seed = args.seed();
    let shop = |version, behavior| shop_command(version, behavior, args.base, seed);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let engine = daemon.engine();
    let service: ServiceName = "shop".parse()?;
    let text = release_file(listen, &shop(OLD, &args.stable)?)?;
    let base_dir = directory.display().to_string();
    let by = "haldane demo".to_owned();
    engine
        .apply(ApplyRequest {
            text,
            base_dir,
            prune: false,
            dry_run: false,
            by: by.clone(),
        })
        .await?;
    wait_until_ready(engine, &service).await?;
    let target = daemon
        .address(listen)
        .context("the proxy does not listen")?;
    let load = LoadRun::start(load_plan(target, args.rps, seed))?;
    sleep(WARM_UP).await;
    let deploy = DeployRequest {
        version: NEW.parse()?,
        run: Some(shop(NEW, &args.canary)?),
        env: std::collections::BTreeMap::new(),
        dir: None,
        urls: None,
        replicas: None,
        rollout: None,
        by,
        reason: Some("the demo".to_owned()),
    };
    engine.deploy(service.clone(), deploy).await?;
    let watched = watch(engine, &service, &load, stage).await?;
    sleep(COOL_DOWN).await;
    let report = load.stop(TIMEOUT_DEFAULT).await;
    let history = history(engine, &service).await?;
    Ok(Told::new(
        seed,
        &report,
        &history,
        &watched,
        began.elapsed(),
    ))
}

/// Follows the rollout to its end.
async fn watch(
    engine: &Engine,
    service: &ServiceName,
    load: &LoadRun,
    stage: &mut dyn Stage,
) -> anyhow::Result<Watched> {
    let mut watched = Watched::default();
    let mut tick = interval(Duration::from_millis(100));
    let deadline = Instant::now() + END_DEADLINE;
    loop {
        tick.tick().await;
        if let Some(view) = engine.views().get(service) {
            let report = load.snapshot();
            watched.note(view, report.elapsed);
            if !stage.show(view, &report)? {
                bail!("ended before the rollout was over");
            }
            if view.rollout.as_ref().is_some_and(|rollout| rollout.is_over) {
                return Ok(watched);
            }
        }
        if Instant::now() > deadline {
            bail!(
                "the rollout did not end within {} s",
                END_DEADLINE.as_secs()
            );
        }
    }
}

async fn wait_until_ready(engine: &Engine, service: &ServiceName) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_DEADLINE;
    let mut tick = interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        let views = engine.views();
        if views.get(service).is_some_and(|view| {
            view.stable.replicas_wanted > 0
                && view.stable.replicas_ready >= view.stable.replicas_wanted
        }) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "the shop's first version did not answer within {} s",
                READY_DEADLINE.as_secs()
            );
        }
    }
}

async fn history(engine: &Engine, service: &ServiceName) -> anyhow::Result<RolloutHistory> {
    let rollouts = engine.history(service.clone(), 1, true).await?;
    rollouts
        .into_iter()
        .next()
        .context("the rollout left no history")
}

fn load_plan(target: SocketAddr, rps: f64, seed: u64) -> LoadPlan {
    LoadPlan {
        slow: SLOW,
        seed,
        ..LoadPlan::of_shop(target, rps, Arrivals::Poisson)
    }
}

/// The shop's command line: the only place that `--canary` reaches.
fn shop_command(
    version: &str,
    behavior: &Behavior,
    base: Share,
    seed: u64,
) -> anyhow::Result<Vec<String>> {
    let program = env::current_exe().context("finding this program")?;
    let program = program
        .to_str()
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
        "--base",
        &base.to_string(),
        "--seed",
        &chance::stream(seed, u64::from(version == NEW)).to_string(),
    ];
    Ok(std::iter::once(program)
        .chain(words.map(str::to_owned))
        .collect())
}

/// The release file of the demo: the same whatever the versions are like.
fn release_file(listen: SocketAddr, run: &[String]) -> anyhow::Result<String> {
    let run = serde_json::to_string(run)?;
    Ok(format!(
        "services:
  shop:
    listen: {listen}
    stable: {{ version: {OLD}, run: {run}, replicas: 2 }}
    health: {{ path: /health, interval: 250ms, timeout: 1s }}
    rollout:
      steps: [10%, 25%, 50%, 100%]
      hold: {{ min: 3s, max: 7s }}
      guards: {{ errorRate: 5%, p95: 250ms, restarts: 1 }}
      sampling: {{ window: 30s, requestsMin: 100 }}
      deadlines: {{ evidence: 2m, lost: 10s, ready: 20s }}
"
    ))
}
