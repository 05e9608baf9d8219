//! The daemon of the standalone home: everything wired together, from start to stop.
//!
//! Threads: the proxy's own data threads, the supervisor's, the driver's, and the control runtime that this module is called on.
//! The order of a stop is the reverse of a start: no new decisions, no new requests, then no processes, and the API last, so that who
//! asked for the stop sees its end.
//!
//! **Invariant:** a store that cannot be opened is left as it is; the daemon then serves what its release file says and decides nothing.

use std::{
    fs,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail};
use haldane_api::http::{Answer, ApplyRequest, DaemonView};
use haldane_core::plan::check::Abilities;
use haldane_engine::{
    driver::{Driver, Setup},
    handle::{Engine, Event, RequestError},
    port::Ports,
    store::{Store, absent::AbsentStore, lock::DirectoryLock, sqlite::SqliteStore},
};
use haldane_proxy::{Drained, Proxy};
use haldane_server::{Server, ServerConfig};
use haldane_supervisor::Supervisor;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    extras::DaemonExtras,
    wire::{WallClock, gates::GateKeeper, machine::Machine, notify::Notifier},
};

/// What this home can do beyond weights, holds, scaling and judging.
pub(crate) const ABILITIES: Abilities = Abilities {
    mirror: false,
    experiment: false,
    header_route: true,
    header_regex: false,
    command: true,
    job: false,
};

/// How often the daemon looks whether its driver is still there.
const DRIVER_LOOK: Duration = Duration::from_secs(1);

/// How long a stop waits for requests in flight.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// How long a stop waits for processes, beyond what the services' own graces take: for the kernel to end what was killed.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// How long a stop waits for the API's last answers.
const API_DEADLINE: Duration = Duration::from_secs(2);

/// How a daemon is to run.
#[derive(Clone, Debug)]
pub(crate) struct DaemonConfig {
    /// Where its store, logs and records are.
    pub data_dir: PathBuf,
    /// Its unix socket.
    pub socket: PathBuf,
    /// Where metrics are served over TCP, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// How many data threads the proxy has; as many as processors by default.
    pub threads: Option<NonZeroUsize>,
    /// How many connections each data thread keeps open to one replica at most.
    pub upstream_connections: NonZeroUsize,
    /// Whether responses say which version made them.
    pub expose_version: bool,
}

/// A daemon that runs.
#[derive(Debug)]
pub(crate) struct Daemon {
    engine: Engine,
    machine: Machine,
    proxy: Arc<Proxy>,
    supervisor: Arc<Supervisor>,
    server: Server,
    stop_driver: CancellationToken,
    driver: JoinHandle<std::io::Result<()>>,
    asked_to_stop: CancellationToken,
    /// Why there is no store, if there is none.
    store_absence: Option<String>,
    // Held until everything has stopped.
    _lock: DirectoryLock,
}

impl Daemon {
    /// Starts a daemon that takes up what its store knows, or, where that cannot be opened, knows nothing.
    ///
    /// # Errors
    /// When the data directory is in use or unusable, or an address cannot be had.
    pub(crate) async fn start(config: DaemonConfig) -> anyhow::Result<Self> {
        let lock = DirectoryLock::take(&config.data_dir)?;
        let store = open_store(&config.data_dir, &lock)?;
        let store_absence = store.absence().map(str::to_owned);
        let supervisor = Supervisor::open(
            &config.data_dir.join("supervisor"),
            haldane_supervisor::Config::default(),
        )
        .context("taking over the processes")?;
        let supervisor = Arc::new(supervisor);
        let proxy = Arc::new(start_proxy(&config)?);
        let machine = Machine::new(
            Handle::current(),
            Arc::clone(&proxy),
            Arc::clone(&supervisor),
        );
        let late_engine: Arc<OnceLock<Engine>> = Arc::default();
        let ports = Ports {
            workloads: Box::new(machine.clone()),
            traffic: Box::new(machine.clone()),
            measurements: Box::new(machine.clone()),
            gates: Box::new(gate_keeper(&supervisor, &late_engine)),
            notify: Box::new(Notifier::new(&Handle::current())),
            clock: Box::new(WallClock),
        };
        let setup = Setup {
            ports,
            store,
            abilities: ABILITIES,
            daemon: daemon_view(&config.data_dir),
        };
        let stop_driver = CancellationToken::new();
        let (driver, engine) = start_driver(setup, stop_driver.clone()).await?;
        late_engine.get_or_init(|| engine.clone());
        let asked_to_stop = CancellationToken::new();
        let extras = Arc::new(DaemonExtras::new(
            machine.clone(),
            &config.data_dir,
            asked_to_stop.clone(),
        ));
        let server_config = ServerConfig {
            socket: config.socket.clone(),
            metrics_listen: config.metrics_listen,
        };
        let server = Server::start(server_config, engine.clone(), extras)
            .await
            .context("serving the API")?;
        info!(data_dir = %config.data_dir.display(), socket = %config.socket.display(), "Daemon started");
        Ok(Self {
            engine,
            machine,
            proxy,
            supervisor,
            server,
            stop_driver,
            driver,
            asked_to_stop,
            store_absence,
            _lock: lock,
        })
    }

    /// Returns the handle on the driver.
    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns why the daemon has no store, if it has none.
    pub(crate) fn store_absence(&self) -> Option<&str> {
        self.store_absence.as_deref()
    }

    /// Returns the real address of a listener that was asked for.
    pub(crate) fn address(&self, asked: SocketAddr) -> Option<SocketAddr> {
        self.machine.listeners().get(&asked).copied()
    }

    /// Waits until the driver is gone, which it should not be before the daemon is asked to stop.
    pub(crate) async fn driver_ended(&self) {
        let mut look = tokio::time::interval(DRIVER_LOOK);
        while !self.driver.is_finished() {
            look.tick().await;
        }
    }

    /// Waits until somebody asks the daemon to stop through its API.
    pub(crate) async fn asked_to_stop(&self) {
        self.asked_to_stop.cancelled().await;
    }

    /// Drains, and stops everything that the daemon started.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        info!("Daemon stops");
        let deadline = self.machine.stop_grace().saturating_add(STOP_DEADLINE);
        let ended = end_driver(&self.stop_driver, self.driver).await;
        match self.proxy.drain(DRAIN_DEADLINE).await {
            Drained::Complete => info!("Requests ended"),
            Drained::CutOff { connections } => {
                warn!(connections, "Requests did not end in time and are cut off");
            }
        }
        self.supervisor.stop_all();
        if tokio::time::timeout(deadline, until_idle(&self.supervisor))
            .await
            .is_err()
        {
            warn!("Some processes did not end in time; the next start takes them over");
        }
        self.server.stop(API_DEADLINE).await;
        ended
    }

    /// Ends the daemon and lets go of the processes as they are, for the next start to take over.
    pub(crate) async fn leave(self) -> anyhow::Result<()> {
        info!("Daemon ends; processes go on");
        let ended = end_driver(&self.stop_driver, self.driver).await;
        self.server.stop(API_DEADLINE).await;
        ended
    }
}

async fn end_driver(
    stop: &CancellationToken,
    driver: JoinHandle<std::io::Result<()>>,
) -> anyhow::Result<()> {
    stop.cancel();
    let ended = tokio::task::spawn_blocking(move || driver.join())
        .await
        .context("waiting for the driver")?;
    match ended {
        Ok(result) => result.context("running the driver"),
        Err(_) => bail!("the driver broke off"),
    }
}

/// Opens the store; one that is damaged or cannot be reached is left alone, and something that knows nothing stands in for it.
fn open_store(data_dir: &Path, lock: &DirectoryLock) -> anyhow::Result<Box<dyn Store + Send>> {
    match SqliteStore::open(data_dir, lock) {
        Ok(store) => Ok(Box::new(store)),
        Err(error) => {
            let absent = AbsentStore::try_new(error)?;
            let why = absent.absence().unwrap_or_default();
            error!(%why, "Store cannot be opened; nothing is decided until it is mended and the daemon started again");
            Ok(Box::new(absent))
        }
    }
}

/// Waits until all processes are gone; none needs to wait for requests, because the proxy has none left, and no gate's command has
/// anybody who waits for its answer.
async fn until_idle(supervisor: &Supervisor) {
    supervisor.jobs().idle().await;
    let mut changes = supervisor.subscribe();
    while !supervisor.is_idle() {
        for replica in &changes.borrow_and_update().replicas {
            supervisor.report_drained(&replica.id);
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Reads a release file and applies it.
pub(crate) async fn apply_file(engine: &Engine, file: &Path, by: &str) -> anyhow::Result<Answer> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let path = fs::canonicalize(file).with_context(|| format!("finding {}", file.display()))?;
    let base_dir = path
        .parent()
        .unwrap_or_else(|| Path::new("/"))
        .display()
        .to_string();
    let request = ApplyRequest {
        text,
        base_dir,
        prune: false,
        dry_run: false,
        by: by.to_owned(),
    };
    engine.apply(request).await.map_err(|error| match error {
        RequestError::Invalid { error, problems } => {
            let lines: Vec<String> = problems
                .iter()
                .map(|problem| format!("{}:{problem}", file.display()))
                .collect();
            anyhow::anyhow!("{error}\n{}", lines.join("\n"))
        }
        error @ (RequestError::NotFound(_)
        | RequestError::Refused(_)
        | RequestError::Store(_)
        | RequestError::Unavailable) => {
            anyhow::Error::new(error).context(format!("applying {}", file.display()))
        }
    })
}

fn start_proxy(config: &DaemonConfig) -> anyhow::Result<Proxy> {
    let defaults = haldane_proxy::Config::default();
    let proxy = haldane_proxy::Config {
        threads: config.threads.unwrap_or(defaults.threads),
        upstream_connections_max: config.upstream_connections,
        expose_version: config.expose_version,
        seed: u64::from(std::process::id()),
        ..defaults
    };
    Proxy::start(proxy).context("starting the proxy")
}

fn gate_keeper(supervisor: &Supervisor, engine: &Arc<OnceLock<Engine>>) -> GateKeeper {
    let engine = Arc::clone(engine);
    GateKeeper::new(
        &Handle::current(),
        supervisor.jobs().clone(),
        move |answer| {
            engine
                .get()
                .is_some_and(|engine| engine.tell(Event::Gate(answer)))
        },
    )
}

/// Opens the driver on its own thread, because it waits for the disk and for the proxy.
async fn start_driver(
    setup: Setup,
    stop: CancellationToken,
) -> anyhow::Result<(JoinHandle<std::io::Result<()>>, Engine)> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    let driver =
        thread::Builder::new()
            .name("driver".to_owned())
            .spawn(move || match Driver::open(setup) {
                Ok((driver, engine)) => {
                    if tx.send(Ok(engine)).is_err() {
                        return Ok(());
                    }
                    driver.run(&stop)
                }
                Err(error) => {
                    tx.send(Err(error)).ok();
                    Ok(())
                }
            })?;
    let engine = rx
        .await
        .context("starting the driver")?
        .context("reading the store")?;
    Ok((driver, engine))
}

fn daemon_view(data_dir: &Path) -> DaemonView {
    DaemonView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: jiff::Timestamp::now(),
        data_dir: data_dir.display().to_string(),
        store_fault: None,
    }
}

#[cfg(test)]
mod tests;
