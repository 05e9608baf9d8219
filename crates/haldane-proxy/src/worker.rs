//! One data thread: its view of the table, its services, and the way of a request through them.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use haldane_core::ServiceName;
use http::{HeaderValue, Request, Response, header::CONNECTION};
use hyper::body::{Body, Incoming};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use crate::{
    body::{ClientBody, ResponseBody, Source},
    config::Config,
    connection::{Busy, ConnectionState, serve},
    count::{ConnectionCount, Counters, Limit, Marks},
    forward::{Job, forward},
    lane::{Draws, Lane, LaneArm, Spot},
    listener::{Listener, accept},
    pool::{Pool, PoolLimits},
    refuse::Answer,
    sanitize,
    table::Table,
    via::{Pseudonym, Via},
};

/// How often idle connections to endpoints are looked through, and a thread without traffic takes notice of a new table.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) pseudonym: Pseudonym,
    pub(crate) config: Config,
}

/// One data thread.
#[derive(Debug)]
pub(crate) struct Worker {
    shared: Arc<Shared>,
    thread: usize,
    view: Mutex<View>,
    via: Via,
    /// Connections of clients, awaited when the proxy drains.
    pub(crate) clients: TaskTracker,
    /// Connections to endpoints. They end when their last request does.
    upstreams: TaskTracker,
}

/// What a thread is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept connections until the listener closes.
    Accept {
        listener: Arc<Listener>,
        socket: std::net::TcpListener,
        until: TaskTrackerToken,
    },
    /// Say when all requests decided before this hold their version.
    Settle(oneshot::Sender<()>),
}

/// The table as this thread last saw it, with what the thread adds to it.
#[derive(Debug)]
struct View {
    table: Arc<Table>,
    lanes: Vec<Arc<Lane>>,
    draws: BTreeMap<ServiceName, Arc<Mutex<Draws>>>,
    pools: HashMap<SocketAddr, Arc<Pool>>,
}

/// One client's connection, for its requests.
struct Visit {
    worker: Arc<Worker>,
    listener: SocketAddr,
    client: sanitize::Client,
    state: Arc<ConnectionState>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, thread: usize) -> Self {
        let view = View {
            table: Arc::new(Table::empty()),
            lanes: Vec::new(),
            draws: BTreeMap::new(),
            pools: HashMap::new(),
        };
        Self {
            via: Via::new(shared.pseudonym.clone()),
            shared,
            thread,
            view: Mutex::new(view),
            clients: TaskTracker::new(),
            upstreams: TaskTracker::new(),
        }
    }

    /// Does what the thread is told until `stop`.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let accepts = TaskTracker::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Accept { listener, socket, until }) => {
                        accepts.spawn(accept(Arc::clone(&self), listener, socket, until));
                    }
                    Some(Command::Settle(done)) => {
                        drop(self.view());
                        // Each request takes the newest table; those begun before this command have taken hold of their version.
                        // Nobody waits any more: nothing to say.
                        done.send(()).unwrap_or_default();
                    }
                },
                _ = sweep.tick() => self.view().pools.values().for_each(|pool| pool.sweep()),
            }
        }
    }

    /// Serves one client, unless the listener has too many.
    pub(crate) fn serve(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        listener: &Arc<Listener>,
    ) {
        let Some(seat) = listener.seat() else {
            self.shared.counters.hit(Limit::Connections);
            return;
        };
        // Small responses must not wait for the client's acknowledgment; without it they merely come later.
        drop(stream.set_nodelay(true));
        let config = &self.shared.config;
        let state = Arc::new(ConnectionState::new());
        let visit = Arc::new(Visit {
            worker: Arc::clone(self),
            listener: listener.addr(),
            client: sanitize::Client::new(peer.ip(), config.trust_forwarded),
            state: Arc::clone(&state),
        });
        let counters = Arc::clone(&self.shared.counters);
        let limits = config.limits;
        // A token of its own: waiting on a shared one would take a lock that all threads share.
        let closing = listener.closing().child_token();
        let count = ConnectionCount::new(Arc::clone(&counters));
        self.clients.spawn(async move {
            let _open = (seat, count);
            let handle = |request| Arc::clone(&visit).handle(request);
            serve(stream, state, limits, counters, closing, handle).await;
        });
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Returns the view of the newest table.
    fn view(&self) -> MutexGuard<'_, View> {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.shared.table.load();
        if !Arc::ptr_eq(&newest, &view.table) {
            let newest = arc_swap::Guard::into_inner(newest);
            view.renew(newest, &self.shared, self.thread);
        }
        view
    }

    /// Returns the service for a request, if there is one.
    fn lane(&self, listener: SocketAddr, host: &str, path: &str) -> Option<Arc<Lane>> {
        let view = self.view();
        view.lanes
            .get(view.table.find(listener, host, path)?)
            .map(Arc::clone)
    }
}

impl View {
    /// Joins a new table with what the thread has; what is in no table any more is let go.
    fn renew(&mut self, table: Arc<Table>, shared: &Shared, thread: usize) {
        let mut old_draws = std::mem::take(&mut self.draws);
        let old_pools = std::mem::take(&mut self.pools);
        for lane in self.lanes.iter().filter(|lane| lane.has_waiting()) {
            let mut services = table.services();
            lane.turn_away(services.find(|next| next.name() == lane.route.name()));
        }
        self.lanes.clear();
        for route in table.service_arcs() {
            let seed = seed_of(shared.config.seed, thread, route.name());
            let draws = old_draws
                .remove(route.name())
                .unwrap_or_else(|| Arc::new(Mutex::new(Draws::new(seed, route.shares()))));
            draws
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .set_shares(route.shares());
            self.draws.insert(route.name().clone(), Arc::clone(&draws));
            let mut pool = |addr| {
                let pool = self.pools.entry(addr).or_insert_with(|| {
                    old_pools
                        .get(&addr)
                        .map_or_else(|| new_pool(addr, &shared.config), Arc::clone)
                });
                Arc::clone(pool)
            };
            let arms = route.arms().iter().map(|arm| LaneArm {
                shard: shared.counters.shard(thread, route.name(), &arm.version),
                conversions: shared.counters.conversions(
                    thread,
                    route.name(),
                    &arm.version,
                    route.conversions(),
                ),
                spots: arm
                    .endpoints
                    .iter()
                    .map(|endpoint| Spot {
                        endpoint: endpoint.clone(),
                        pool: pool(endpoint.addr()),
                    })
                    .collect(),
                exposed: (shared.config.expose_version)
                    .then(|| HeaderValue::from_str(arm.version.as_str()).ok())
                    .flatten(),
            });
            let arms = arms.collect();
            self.lanes.push(Arc::new(Lane {
                route: Arc::clone(route),
                draws,
                arms,
            }));
        }
        self.table = table;
    }
}

impl Visit {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let busy = Busy::new(Arc::clone(&self.state));
        let mut response = match self.answer(request).await {
            Ok(response) => response,
            Err(answer) => {
                if let Some(limit) = answer.limit() {
                    self.worker.counters().hit(limit);
                }
                answer.into_response()
            }
        };
        if self.state.is_closing() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|source| ResponseBody::new(source, busy)))
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Source>, Answer> {
        let (mut parts, body) = request.into_parts();
        self.state.set_sending(!body.is_end_stream());
        let target = sanitize::request(&mut parts, &self.client, &self.worker.via)
            .map_err(Answer::Refused)?;
        // From here to the first await in `forward`, where the version takes hold of the request, nothing else runs on this thread.
        // `Proxy::settle` relies on that.
        let path = parts.uri.path();
        let lane = self
            .worker
            .lane(self.listener, target.host_name(), path)
            .ok_or(Answer::NoRoute)?;
        let limits = &self.worker.shared.config.limits;
        let body_bytes_max = limits.body_bytes_max.min(lane.route.body_bytes_max());
        if body.size_hint().lower() > body_bytes_max {
            return Err(Answer::BodyTooLarge);
        }
        let is_measured = lane.route.is_measured(path);
        let (arm, is_measured) = lane.choose(&parts.headers, parts.uri.query(), is_measured);
        let marks = Marks::of(lane.route.conversions(), parts.method.as_str(), path);
        let body_idle = lane.route.timeouts().body_idle;
        let body = (!body.is_end_stream()).then(|| {
            let state = Arc::clone(&self.state);
            Box::new(ClientBody::new(body, body_bytes_max, body_idle, state))
        });
        let job = Job::new(parts, target, body, (is_measured, marks));
        forward(&lane, arm, job, &self.worker.upstreams).await
    }
}

fn new_pool(addr: SocketAddr, config: &Config) -> Arc<Pool> {
    let limits = PoolLimits {
        idle_timeout: config.upstream_idle_timeout,
        idle_max: config.upstream_idle_max,
        open_max: config.upstream_connections_max.get(),
        waiting_max: config.upstream_waiting_max,
    };
    Arc::new(Pool::new(addr, limits))
}

/// Returns a seed that differs by thread and service (FNV-1a).
fn seed_of(seed: u64, thread: usize, service: &ServiceName) -> u64 {
    let thread = u64::try_from(thread).unwrap_or(0);
    let parts = [seed.to_le_bytes(), thread.to_le_bytes()];
    parts
        .as_flattened()
        .iter()
        .chain(service.as_str().as_bytes())
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
        })
}
