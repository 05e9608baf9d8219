//! The controller as a whole: connects, watches, leads, gives turns, and ends in good order.
//!
//! Data flows in one direction: watches fill the cache, changes in it wake releases, workers give them their turns, and what these
//! want written goes through the gate to the server, whose answers go into the cache again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use haldane_router::{Kind, ObjectRef};
use kube::{
    Client,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::{self, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use crate::{
    api::Api,
    cache::Cache,
    endpoint,
    events::{Teller, events},
    gate::Gate,
    hub::Hub,
    lease::{BootClock, Elector, Fence, random},
    metrics::Metrics,
    queue::Outcome,
    shadow::Shadow,
    turn::Host,
    watch::Watches,
    worker::Worker,
    writer::Writer,
};

/// Turns at the same time: those that wait for slow writes keep none from an urgent one.
const TURNS_MAX: usize = 256;

/// How long a connection to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long writes that are under way may take when the controller ends: as long as one request.
const SHUTDOWN_MAX: Duration = Duration::from_secs(12);

/// How long everything else may take then, the lease above all.
const REST_MAX: Duration = Duration::from_secs(6);

/// How a controller runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The kubeconfig; without one, the usual places and then the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// Its context; without one, the current one.
    pub context: Option<String>,
    /// The namespaces that are watched; none for all.
    pub namespaces: Vec<String>,
    /// Writes in a second.
    pub qps: u32,
    /// Writes at once after a pause.
    pub burst: u32,
    /// Whether everything is decided, but nothing is written.
    pub is_shadow: bool,
    /// The name of the lease.
    pub lease_name: String,
    /// Its namespace; without one, that of the kubeconfig or of the pod.
    pub lease_namespace: Option<String>,
    /// Where probes and scrapes are answered.
    pub listen: Option<SocketAddr>,
}

/// A controller that is connected, but does nothing yet.
pub struct Controller {
    state: Arc<State>,
    teller: Teller,
    /// Nothing in the shadow.
    elector: Option<Elector>,
    listener: Option<TcpListener>,
    address: Option<SocketAddr>,
    /// Ends the watches.
    watching: CancellationToken,
    stopping: CancellationToken,
}

/// Why a controller does not start.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// The kubeconfig can't be used.
    #[error("reading the kubeconfig")]
    Kubeconfig(#[from] KubeconfigError),
    /// There is neither a kubeconfig nor a service account.
    #[error("finding the cluster")]
    Infer(#[from] InferConfigError),
    /// No client can be made of it.
    #[error("preparing the connection to the API server")]
    Client(#[from] kube::Error),
    /// The address for probes can't be used.
    #[error("listening on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// What all tasks share.
pub(crate) struct State {
    pub worker: Worker,
    pub metrics: Arc<Metrics>,
    leading: watch::Receiver<bool>,
    /// What is watched from the beginning.
    kinds: Vec<&'static Kind>,
}

/// Turns that are under way.
#[derive(Default)]
struct Turns {
    tasks: JoinSet<()>,
    keys: BTreeMap<Id, ObjectRef>,
}

/// Runs a controller until `stop`.
///
/// Nothing is written any more when this returns, and the lease is given back.
pub async fn run(
    config: Config,
    hosts: Vec<Arc<dyn Host>>,
    stop: CancellationToken,
) -> Result<(), ControllerError> {
    Controller::connect(config, hosts).await?.run(stop).await;
    Ok(())
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Controller {
    /// Prepares a controller with a host for each kind that it reconciles; without the first kind it is not ready. The API server need
    /// not be there yet.
    pub async fn connect(
        config: Config,
        hosts: Vec<Arc<dyn Host>>,
    ) -> Result<Self, ControllerError> {
        let mut cluster = cluster(&config).await?;
        cluster.connect_timeout = Some(CONNECT_TIMEOUT);
        // Whether something is tried again is decided here.
        cluster.default_retry = false;
        let own_namespace = cluster.default_namespace.clone();
        let metrics = Arc::new(Metrics::default());
        let api = Api::new(Client::try_from(cluster)?, Arc::clone(&metrics));
        let (listener, address) = listen(config.listen).await?;
        let fence = Arc::new(Fence::new(Arc::new(BootClock)));
        let elector = (!config.is_shadow).then(|| {
            let namespace = config.lease_namespace.as_deref().unwrap_or(&own_namespace);
            Elector::new(
                api.clone(),
                namespace,
                &config.lease_name,
                Arc::clone(&fence),
            )
        });
        let leading = elector
            .as_ref()
            .map_or_else(|| watch::channel(true).1, Elector::leading);
        let namespaces: BTreeSet<String> = config.namespaces.into_iter().collect();
        let cache = Arc::new(Cache::new(namespaces.clone()));
        let own: Vec<&'static Kind> = hosts.iter().map(|host| host.kind()).collect();
        let hub = Arc::new(Hub::new(Arc::clone(&cache), own, random()));
        let writer = Arc::new(Writer {
            api: api.clone(),
            cache,
            gate: Gate::new(config.qps, config.burst),
            fence,
        });
        let (events, teller) = events(Arc::clone(&writer), Arc::clone(&metrics));
        let (watching, stopping) = (CancellationToken::new(), CancellationToken::new());
        let watches = Watches {
            api,
            hub: Arc::clone(&hub),
            metrics: Arc::clone(&metrics),
            namespaces,
            stop: watching.clone(),
            tasks: TaskTracker::new(),
            started: std::sync::Mutex::default(),
        };
        let kinds = kinds(&hosts);
        let worker = Worker {
            hosts,
            hub,
            watches,
            writer,
            events,
            metrics: Arc::clone(&metrics),
            shadow: config.is_shadow.then(Shadow::default),
            stop: stopping.clone(),
        };
        let state = Arc::new(State {
            worker,
            metrics,
            leading,
            kinds,
        });
        Ok(Self {
            state,
            teller,
            elector,
            listener,
            address,
            watching,
            stopping,
        })
    }

    /// Returns what tells whether this controller is the one that leads.
    #[must_use]
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.state.leading.clone()
    }

    /// Returns who it is in its lease; nothing where it takes none.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.elector.as_ref().map(Elector::identity)
    }

    /// Returns where probes and scrapes are answered.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Runs it until `stop`. Nothing is written any more when this returns, and the lease is given back.
    pub async fn run(self, stop: CancellationToken) {
        let state = self.state;
        let mut rest = JoinSet::new();
        let mut leading = JoinSet::new();
        for kind in &state.kinds {
            state.worker.watches.ensure(kind);
        }
        if let Some(listener) = self.listener {
            rest.spawn(endpoint::serve(listener, Arc::clone(&state)));
        }
        rest.spawn(self.teller.run());
        let written = CancellationToken::new();
        if let Some(elector) = self.elector {
            leading.spawn(elector.run(stop.clone(), written.clone()));
        }
        let mut turns = Turns::default();
        state.give_turns(&mut turns, &stop).await;
        info!("Ending");
        self.stopping.cancel();
        self.watching.cancel();
        state.finish(&mut turns).await;
        // Events still in the line are dropped: the next controller tells what matters then.
        rest.shutdown().await;
        written.cancel();
        let released = async { while leading.join_next().await.is_some() {} };
        if time::timeout(REST_MAX, released).await.is_err() {
            warn!("Lease not given back in time");
        }
        let watches = &state.worker.watches.tasks;
        watches.close();
        if time::timeout(REST_MAX, watches.wait()).await.is_err() {
            warn!("Watches did not end in time");
        }
    }
}

impl State {
    pub(crate) fn is_leader(&self) -> bool {
        *self.leading.borrow()
    }

    pub(crate) const fn is_shadow(&self) -> bool {
        self.worker.shadow.is_some()
    }

    /// Returns the kinds that keep it from being ready.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let watches = &self.worker.watches;
        let mut kinds = self.kinds.iter();
        let own = kinds.next().filter(|kind| !watches.is_synced(kind));
        let others = kinds.filter(|kind| !watches.is_settled(kind));
        own.into_iter()
            .chain(others)
            .map(|kind| kind.kind)
            .collect()
    }

    /// Gives releases their turns while we lead, until `stop`.
    async fn give_turns(self: &Arc<Self>, turns: &mut Turns, stop: &CancellationToken) {
        let mut leading = self.leading.clone();
        let mut is_leader = false;
        let mut is_ready = false;
        loop {
            if is_leader != self.is_leader() {
                is_leader = !is_leader;
                if is_leader {
                    self.worker.hub.wake_up();
                } else {
                    self.worker.hub.fall_asleep();
                }
            }
            is_ready = is_ready || self.missing().is_empty();
            let may_take = is_leader && is_ready;
            if may_take {
                self.start(turns);
            }
            let next = self.worker.hub.next();
            let next = next.filter(|_| may_take && turns.tasks.len() < TURNS_MAX);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.worker.hub.changed() => {}
                Ok(()) = leading.changed() => {}
                Some(ended) = turns.tasks.join_next_with_id() => self.end(turns, ended),
                () = until(next), if next.is_some() => {}
            }
        }
    }

    fn start(self: &Arc<Self>, turns: &mut Turns) {
        while turns.tasks.len() < TURNS_MAX {
            let Some(key) = self.worker.hub.take() else {
                return;
            };
            let (state, own) = (Arc::clone(self), key.clone());
            let task = turns.tasks.spawn(async move {
                let outcome = state.worker.turn(&own).await;
                state.metrics.count_turn(outcome.as_str());
                state.worker.hub.done(&own, outcome);
            });
            turns.keys.insert(task.id(), key);
        }
    }

    fn end(&self, turns: &mut Turns, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let key = turns.keys.remove(&id);
        if let (Some(key), Err(error)) = (key, ended) {
            // One release that can't be handled takes nothing from the others.
            error!(about = %key, %error, "Turn broke");
            self.metrics.count_turn("broken");
            self.worker.hub.done(&key, Outcome::Failed);
        }
    }

    /// Lets writes end that are under way.
    async fn finish(&self, turns: &mut Turns) {
        let ended = async {
            while let Some(ended) = turns.tasks.join_next_with_id().await {
                self.end(turns, ended);
            }
        };
        if time::timeout(SHUTDOWN_MAX, ended).await.is_err() {
            warn!("Writes under way were given up");
            turns.tasks.shutdown().await;
        }
    }
}

/// Returns what is watched from the beginning, each kind once; the first one is the first host's own.
fn kinds(hosts: &[Arc<dyn Host>]) -> Vec<&'static Kind> {
    let mut kinds = Vec::new();
    for host in hosts {
        for kind in std::iter::once(host.kind()).chain(host.kinds()) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    kinds
}

async fn until(next: Option<Instant>) {
    if let Some(next) = next {
        time::sleep_until(next).await;
    }
}

async fn listen(
    wanted: Option<SocketAddr>,
) -> Result<(Option<TcpListener>, Option<SocketAddr>), ControllerError> {
    let Some(address) = wanted else {
        return Ok((None, None));
    };
    let failed = |source| ControllerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((Some(listener), Some(address)))
}

async fn cluster(config: &Config) -> Result<kube::Config, ControllerError> {
    let options = KubeConfigOptions {
        context: config.context.clone(),
        cluster: None,
        user: None,
    };
    match (&config.kubeconfig, &config.context) {
        (Some(path), _) => {
            let text = Kubeconfig::read_from(path)?;
            Ok(kube::Config::from_custom_kubeconfig(text, &options).await?)
        }
        (None, Some(_)) => Ok(kube::Config::from_kubeconfig(&options).await?),
        (None, None) => Ok(kube::Config::infer().await?),
    }
}
