//! Open-loop HTTP/1.1 load that counts what its users would see.
//!
//! Requests start by a schedule, whether or not earlier ones were answered, and latency runs from the *scheduled* start: a server that
//! stalls cannot slow its own examination down (no coordinated omission). A request is *dropped* when its user got no complete answer,
//! or a 5xx that the proxy made itself; a 5xx of the shop is the shop's.
//!
//! **Invariant:** nothing is lost from the count. Each scheduled request is `sent` or `not_sent`, and each sent one ends as
//! `completed`, `dropped` or `abandoned`.

mod client;
pub(crate) mod latency;
pub(crate) mod report;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Uri};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::{
    client::{Client, Order},
    report::{End, LoadReport, Outcome},
};
use super::chance::Chance;

/// The time a request may take if a plan has no reason to choose another.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// The path that POST requests go to: the shop's only one that takes a body.
const POST_PATH: &str = "/checkout";

/// The largest body of a POST in bytes: several reads for the proxy, no burden for the test.
const POST_BYTES_MAX: usize = 16 * 1_024;

/// The slowest schedule; anything slower is no load.
pub(crate) const RATE_MIN: f64 = 0.01;

/// The fastest schedule: above what one client can start.
pub(crate) const RATE_MAX: f64 = 1_000_000.0;

/// How many of the shop's users wait at once at most: more than any rate here needs, less than a process may have files.
const IN_FLIGHT_MAX: usize = 10_000;

/// The end of every schedule, 30 years after its start: keeps time arithmetic in range.
const SCHEDULE_SECONDS_MAX: f64 = 1e9;

/// What to send, where and how fast.
#[derive(Clone, Debug)]
pub(crate) struct LoadPlan {
    /// Where to connect.
    pub(crate) target: SocketAddr,
    /// The `Host` header; the target's address without one.
    pub(crate) host: Option<String>,
    /// How many requests start each second, on average.
    pub(crate) rate_per_second: f64,
    /// How the starts are spread.
    pub(crate) arrivals: Arrivals,
    /// The share of requests, 0 to 1, that use a new connection and close it.
    pub(crate) fresh_connection_share: f64,
    /// The share of requests, 0 to 1, that are a POST to `/checkout` with a body.
    pub(crate) post_share: f64,
    /// How long one request may take, from its start to the end of its answer; see [`TIMEOUT_DEFAULT`].
    pub(crate) timeout: Duration,
    /// An answer slower than this is a bad one.
    pub(crate) slow: Duration,
    /// The paths that GET requests choose from.
    pub(crate) paths: Vec<String>,
    /// The seed of paths, bodies, connections and arrivals.
    pub(crate) seed: u64,
    /// How many requests may wait for their answer at once; those beyond are counted as `not_sent`.
    pub(crate) in_flight_max: usize,
}

impl LoadPlan {
    /// Returns load as the users of the shop make it: pages by GET, mostly on kept connections; only answers that are wrong are bad.
    pub(crate) fn of_shop(target: SocketAddr, rate_per_second: f64, arrivals: Arrivals) -> Self {
        Self {
            target,
            host: None,
            rate_per_second,
            arrivals,
            fresh_connection_share: 0.2,
            post_share: 0.0,
            timeout: TIMEOUT_DEFAULT,
            slow: TIMEOUT_DEFAULT,
            paths: ["/", "/products", "/products/3", "/cart"]
                .map(str::to_owned)
                .to_vec(),
            seed: 1,
            in_flight_max: IN_FLIGHT_MAX,
        }
    }
}

/// How the starts of requests are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// One each 1/rate seconds.
    Constant,
    /// Independent of each other, as real users are: exponential gaps.
    Poisson,
}

/// Why a plan cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadPlanError {
    /// The rate is out of range or no number.
    #[error("a rate of {0} requests per second is not between {RATE_MIN} and {RATE_MAX}")]
    Rate(f64),
    /// A share is out of range or no number.
    #[error("{what} is {share}, not from 0 to 1")]
    Share {
        /// Which field of the plan.
        what: &'static str,
        /// Its value.
        share: f64,
    },
    /// There is nothing to ask for.
    #[error("a plan needs at least one path")]
    NoPaths,
    /// A path is none.
    #[error("{0:?} is not a path: expected something like /products?page=1")]
    Path(String),
    /// The host does not fit into a header.
    #[error("{0:?} is not a host name")]
    Host(String),
}

/// Load that is being sent; dropping it stops it at once.
#[derive(Debug)]
pub(crate) struct LoadRun {
    shared: Arc<Shared>,
    stop: CancellationToken,
    /// Holds the one task that owns the schedule and the requests in flight.
    driver: JoinSet<()>,
}

/// What the driver and the reader of reports share.
#[derive(Debug)]
struct Shared {
    started: Instant,
    report: Mutex<LoadReport>,
}

/// A plan in the form that the driver needs.
#[derive(Debug)]
struct Workload {
    plan: LoadPlan,
    host: HeaderValue,
    paths: Vec<Uri>,
}

/// When requests start: the pure part of the open loop.
#[derive(Debug)]
struct Schedule {
    arrivals: Arrivals,
    gap_seconds: f64,
    chance: Chance,
    next_seconds: f64,
}

/// The task that starts requests and counts how they end.
struct Driver {
    workload: Workload,
    client: Arc<Client>,
    shared: Arc<Shared>,
    schedule: Schedule,
    requests: JoinSet<Outcome>,
    /// The number of the next request; each draws from its own stream.
    index: u64,
}

impl LoadRun {
    /// Starts the load on the current tokio runtime.
    ///
    /// # Errors
    /// When a field of the plan makes no sense.
    pub(crate) fn start(plan: LoadPlan) -> Result<Self, LoadPlanError> {
        let workload = Workload::try_from(plan)?;
        let shared = Arc::new(Shared {
            started: Instant::now(),
            report: Mutex::new(LoadReport::new(SystemTime::now(), workload.plan.slow)),
        });
        let stop = CancellationToken::new();
        let mut driver = JoinSet::new();
        driver.spawn(Driver::new(workload, Arc::clone(&shared)).run(stop.clone()));
        Ok(Self {
            shared,
            stop,
            driver,
        })
    }

    /// Returns what is known now.
    pub(crate) fn snapshot(&self) -> LoadReport {
        let mut report = self.shared.lock().clone();
        report.elapsed = self.shared.started.elapsed();
        report
    }

    /// Starts no more requests, waits at most `drain` for those in flight and returns the final report.
    pub(crate) async fn stop(mut self, drain: Duration) -> LoadReport {
        self.stop.cancel();
        self.shared.lock().elapsed = self.shared.started.elapsed();
        let drained = timeout(drain, self.driver.join_next()).await;
        if let Ok(Some(Err(error))) = drained {
            error!(%error, "The load's driver broke");
        }
        self.driver.shutdown().await;
        let mut report = self.shared.lock();
        report.abandon_in_flight();
        report.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, LoadReport> {
        // Each change is a few additions; a panic between them could at worst miscount one request.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TryFrom<LoadPlan> for Workload {
    type Error = LoadPlanError;

    fn try_from(plan: LoadPlan) -> Result<Self, LoadPlanError> {
        if !(RATE_MIN..=RATE_MAX).contains(&plan.rate_per_second) {
            return Err(LoadPlanError::Rate(plan.rate_per_second));
        }
        for (what, share) in [
            ("fresh_connection_share", plan.fresh_connection_share),
            ("post_share", plan.post_share),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(LoadPlanError::Share { what, share });
            }
        }
        if plan.paths.is_empty() {
            return Err(LoadPlanError::NoPaths);
        }
        let host = plan.host.clone().unwrap_or_else(|| plan.target.to_string());
        let host = HeaderValue::try_from(&host).map_err(|_| LoadPlanError::Host(host))?;
        let paths = plan
            .paths
            .iter()
            .map(|path| to_uri(path))
            .collect::<Result<_, _>>()?;
        Ok(Self { plan, host, paths })
    }
}

fn to_uri(path: &str) -> Result<Uri, LoadPlanError> {
    match Uri::try_from(path) {
        Ok(uri) if path.starts_with('/') => Ok(uri),
        Ok(_) | Err(_) => Err(LoadPlanError::Path(path.to_owned())),
    }
}

impl Workload {
    /// Draws the request number `index`.
    fn order(&self, index: u64) -> Order {
        let mut chance = Chance::new(self.plan.seed, index);
        let is_fresh = chance.is_hit(self.plan.fresh_connection_share);
        let (method, uri, body) = if chance.is_hit(self.plan.post_share) {
            let note = "x".repeat(chance.below(POST_BYTES_MAX));
            let body = Bytes::from(format!("{{\"note\":\"{note}\"}}"));
            (Method::POST, Uri::from_static(POST_PATH), body)
        } else {
            let uri = self.paths.get(chance.below(self.paths.len())).cloned();
            (Method::GET, uri.unwrap_or_default(), Bytes::new())
        };
        Order {
            method,
            uri,
            host: self.host.clone(),
            body,
            is_fresh,
        }
    }
}

impl Schedule {
    fn new(plan: &LoadPlan) -> Self {
        let mut schedule = Self {
            arrivals: plan.arrivals,
            gap_seconds: 1.0 / plan.rate_per_second,
            // The stream no request can have: so many requests never come.
            chance: Chance::new(plan.seed, u64::MAX),
            next_seconds: 0.0,
        };
        schedule.advance();
        schedule
    }

    /// Returns when the next request starts, counted from the start of the run.
    fn next(&self) -> Duration {
        Duration::from_secs_f64(self.next_seconds)
    }

    fn advance(&mut self) {
        let gap = match self.arrivals {
            Arrivals::Constant => self.gap_seconds,
            Arrivals::Poisson => -(1.0 - self.chance.unit()).ln() * self.gap_seconds,
        };
        self.next_seconds = (self.next_seconds + gap).min(SCHEDULE_SECONDS_MAX);
    }
}

impl Driver {
    fn new(workload: Workload, shared: Arc<Shared>) -> Self {
        Self {
            client: Arc::new(Client::new(workload.plan.target, workload.plan.timeout)),
            schedule: Schedule::new(&workload.plan),
            workload,
            shared,
            requests: JoinSet::new(),
            index: 0,
        }
    }

    /// Starts requests by the schedule until `stop`, then waits for those in flight.
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let next = self.shared.started + self.schedule.next();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(next) => self.start_due(),
                // Answers are counted as they come, so that a report is fresh between two starts.
                Some(ended) = self.requests.join_next() => self.count(ended),
            }
        }
        while let Some(ended) = self.requests.join_next().await {
            self.count(ended);
        }
    }

    /// Starts every request whose time has come: all that a late wake-up missed, too.
    fn start_due(&mut self) {
        while let Some(ended) = self.requests.try_join_next() {
            self.count(ended);
        }
        let now = self.shared.started.elapsed();
        while self.schedule.next() <= now {
            self.start_one(self.schedule.next());
            self.schedule.advance();
        }
    }

    fn start_one(&mut self, scheduled: Duration) {
        let order = self.workload.order(self.index);
        self.index = self.index.saturating_add(1);
        let has_room = self.requests.len() < self.workload.plan.in_flight_max;
        self.shared.lock().count_start(has_room);
        if has_room {
            let (client, run_started) = (Arc::clone(&self.client), self.shared.started);
            self.requests
                .spawn(request(client, order, run_started, scheduled));
        }
    }

    fn count(&self, ended: Result<Outcome, JoinError>) {
        match ended {
            Ok(outcome) => self.shared.lock().count_end(&outcome),
            Err(error) => {
                error!(%error, "A request's task broke");
                self.shared.lock().count_broken_task();
            }
        }
    }
}

/// Sends one request and says how it ended.
async fn request(
    client: Arc<Client>,
    order: Order,
    run_started: Instant,
    scheduled: Duration,
) -> Outcome {
    let started = run_started.elapsed();
    let reply = client.send(&order).await;
    let finished = run_started.elapsed();
    Outcome {
        started,
        finished,
        latency: finished.saturating_sub(scheduled),
        version: reply.seen.version,
        is_retried: reply.seen.is_retried,
        end: match reply.result {
            Ok(class) => End::Answered(class),
            Err(cause) => End::Dropped(cause),
        },
    }
}

#[cfg(test)]
mod tests;
