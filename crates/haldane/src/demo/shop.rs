//! The sample shop: a small HTTP server that ships good and bad versions of itself.
//!
//! `haldane demo` runs it as real child processes, one per replica of a version. How a version behaves is an argument of its process,
//! so nothing else can know it beforehand. The work is simulated, its time is seeded, and its answers say which version made them.
//!
//! **Invariant:** `/health` and `/metrics` are never slow, never fail and are never counted, whatever the behavior: a canary whose
//! health check is green and whose users suffer is the one worth catching.

mod metrics;
mod products;

use std::{
    convert::Infallible,
    env, fmt,
    future::{Future, pending},
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::metrics::ShopMetrics;
use super::chance::{self, Chance};
use crate::cli::Exit;

/// The header by which each answer names the version that made it.
pub(crate) const VERSION_HEADER: &str = "x-shop-version";

/// The share of requests that fail when `errors` names none.
const ERROR_SHARE_DEFAULT: f64 = 0.5;

/// The share of requests that the behavior `slow` delays: most, not all, as a cold cache would.
const SLOW_SHARE: f64 = 0.9;

/// The shortest and longest delay that `slow` adds, in milliseconds.
const SLOW_MS: (f64, f64) = (400.0, 900.0);

/// The shortest and longest life of a crashing shop after its first request, in milliseconds.
const CRASH_MS: (f64, f64) = (2_000.0, 4_000.0);

/// The median of the simulated work, in milliseconds.
pub(crate) const WORK_MS_MEDIAN: f64 = 7.0;

/// The spread of the simulated work (the σ of its logarithm): 95 % of requests take under 13 ms.
pub(crate) const WORK_SIGMA: f64 = 0.35;

/// The longest simulated work, in milliseconds: a log-normal tail has no end, a demo has.
const WORK_MS_MAX: f64 = 60.0;

/// The largest request body that the checkout reads: an order is small.
const BODY_BYTES_MAX: usize = 1 << 20;

/// How many connections are served at once; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 4_096;

/// How long a connection may take to bring the next request head: the keep-alive time of most servers.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long requests in flight may take after the shop was told to stop: well above the slowest answer.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How long accepting pauses after an error such as too many open files, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The flags of `haldane shop`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShopArgs {
    /// The port to listen on, at 127.0.0.1
    #[arg(long)]
    pub(crate) port: u16,
    /// The version that each answer names in its `x-shop-version` header
    #[arg(long)]
    pub(crate) version: String,
    /// How this version behaves: good, errors[=SHARE], slow[=FACTORx] or crash
    #[arg(long, default_value_t = Behavior::Good)]
    pub(crate) behavior: Behavior,
    /// The share of requests answered 500 whatever the behavior, as 0.001 or 0.1%
    #[arg(long, default_value_t = Share::NONE)]
    pub(crate) base: Share,
    /// The seed of every draw: the same seed, replica and requests give the same answers
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// How a version of the shop behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Behavior {
    /// Answers well and quickly.
    Good,
    /// Answers this share of requests with 500.
    Errors(Share),
    /// Adds hundreds of milliseconds to most requests.
    Slow,
    /// Takes this multiple of the time for each request.
    Slower(Factor),
    /// Answers well, then its process ends with code 1 some seconds after its first request, at every start anew.
    Crash,
}

/// A share of requests, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Share(f64);

/// A multiple of a time, from 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Factor(f64);

/// Why a text is not a multiple.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a multiple: expected a number from 1x to 100x such as 1.5x")]
pub(crate) struct FactorError(String);

/// Why a text is not a share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a share: expected a number from 0 to 1 such as 0.05, or percent such as 5%")]
pub(crate) struct ShareError(String);

/// Why a text is not a behavior.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BehaviorError {
    /// The name is none of the behaviors, or takes nothing after it.
    #[error(
        "{0:?} is not a behavior: expected good, errors, errors=SHARE, slow, slow=FACTORx or crash"
    )]
    Unknown(String),
    /// The share after `errors=` is none.
    #[error("{0}")]
    Share(#[from] ShareError),
    /// The multiple after `slow=` is none.
    #[error("{0}")]
    Factor(#[from] FactorError),
}

/// The shop ended as its behavior `crash` asks; the process must end with a code other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shop crashed, as its behavior asks")]
pub(crate) struct Crashed;

/// What all requests to one shop share.
struct Shop {
    behavior: Behavior,
    base: Share,
    seed: u64,
    version: HeaderValue,
    metrics: ShopMetrics,
    /// How many measured requests came; each draws from its own stream.
    requests: AtomicU64,
    /// Wakes the crash timer at the first measured request.
    has_request: Notify,
}

/// Serves until SIGTERM; a crash is an error, so that the process ends with its code.
///
/// # Errors
/// When the port cannot be had, or the shop crashes as it was asked to.
pub(crate) async fn run(mut args: ShopArgs) -> anyhow::Result<Exit> {
    // Replicas of one version have one command line; if they drew alike, failures would come in pairs.
    let replica = env::var("HALDANE_REPLICA").ok();
    let replica = replica.and_then(|replica| replica.parse().ok());
    args.seed = chance::stream(args.seed, replica.unwrap_or(0));
    let mut terminate = signal(SignalKind::terminate())?;
    serve(args, async {
        terminate.recv().await;
    })
    .await?;
    Ok(Exit::Done)
}

/// Serves the shop until `shutdown` ends and requests in flight are answered, or until it crashes.
///
/// # Errors
/// [`Crashed`] when the behavior says so (requests in flight break); any other when the shop could not start.
pub(crate) async fn serve(
    args: ShopArgs,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}"))?;
    serve_on(listener, args, shutdown).await
}

/// Serves the shop on a listener that is open already.
pub(crate) async fn serve_on(
    listener: TcpListener,
    args: ShopArgs,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let address = listener
        .local_addr()
        .context("reading the listener's address")?;
    info!(%address, version = %args.version, "Shop listens");
    let shop = Arc::new(Shop::try_new(args)?);
    let stop = CancellationToken::new();
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&listener, &shop, &stop, &mut connections) => {}
        () = shutdown => {}
        // Dropping the connections breaks what is in flight.
        () = crash(&shop) => return Err(Crashed.into()),
    }
    drop(listener);
    stop.cancel();
    let drained = timeout(DRAIN_MAX, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        warn!(
            connections = connections.len(),
            "Connections cut at the drain deadline"
        );
    }
    info!("Shop stopped");
    Ok(())
}

/// Accepts connections without end.
async fn accept(
    listener: &TcpListener,
    shop: &Arc<Shop>,
    stop: &CancellationToken,
    connections: &mut JoinSet<()>,
) {
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(shop), stop.clone()));
            }
            Err(error) => {
                warn!(%error, "Accepting failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection until it closes, or until `stop` and its last answer.
async fn connection(stream: TcpStream, shop: Arc<Shop>, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY was refused");
    }
    let service = service_fn(move |req| {
        let shop = Arc::clone(&shop);
        async move { Ok::<_, Infallible>(shop.answer(req).await) }
    });
    let mut serving = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
    );
    let served = tokio::select! {
        served = &mut serving => served,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "Connection broke");
    }
}

/// Ends when a crashing shop must crash; never for the others.
async fn crash(shop: &Shop) {
    if shop.behavior != Behavior::Crash {
        return pending().await;
    }
    shop.has_request.notified().await;
    // The stream no request can have: so many requests never come.
    sleep(between(CRASH_MS, &mut Chance::new(shop.seed, u64::MAX))).await;
}

impl Shop {
    fn try_new(args: ShopArgs) -> anyhow::Result<Self> {
        let ShopArgs {
            port: _,
            version,
            behavior,
            base,
            seed,
        } = args;
        let header = HeaderValue::try_from(&version).context("version as a header value")?;
        Ok(Self {
            behavior,
            base,
            seed,
            version: header,
            metrics: ShopMetrics::new(version),
            requests: AtomicU64::new(0),
            has_request: Notify::new(),
        })
    }

    async fn answer(&self, req: Request<Incoming>) -> Response<Full<Bytes>> {
        let mut rsp = match req.uri().path() {
            "/health" => content("text/plain; charset=utf-8", "ok".to_owned()),
            "/metrics" => {
                let accept = req.headers().get(header::ACCEPT);
                let accept = accept.and_then(|accept| accept.to_str().ok());
                let (content_type, body) = self.metrics.encode(accept.unwrap_or_default());
                content(content_type, body)
            }
            _ => self.answer_measured(req).await,
        };
        let name = HeaderName::from_static(VERSION_HEADER);
        rsp.headers_mut().insert(name, self.version.clone());
        rsp
    }

    async fn answer_measured(&self, req: Request<Incoming>) -> Response<Full<Bytes>> {
        let started = Instant::now();
        self.has_request.notify_one();
        let index = self.requests.fetch_add(1, Ordering::Relaxed);
        let fate = self.fate(&mut Chance::new(self.seed, index));
        let (head, body) = req.into_parts();
        // Read first, as a shop that works on the order would: a refused body must not break the connection.
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        sleep(fate.work).await;
        let rsp = match body {
            Err(_) => error(StatusCode::PAYLOAD_TOO_LARGE),
            Ok(_) if fate.is_error => error(StatusCode::INTERNAL_SERVER_ERROR),
            Ok(body) => route(&head.method, head.uri.path(), index, &body.to_bytes()),
        };
        self.metrics.observe(rsp.status(), started.elapsed());
        rsp
    }

    /// Draws what happens to one request. Every behavior makes the same draws, so that two of one seed differ in nothing else.
    fn fate(&self, chance: &mut Chance) -> Fate {
        let work_ms = (WORK_MS_MEDIAN * (WORK_SIGMA * chance.normal()).exp()).min(WORK_MS_MAX);
        let work = Duration::from_secs_f64(work_ms / 1_000.0);
        let is_base_error = chance.is_hit(self.base.0);
        let trouble = chance.unit();
        let delay = between(SLOW_MS, chance);
        match self.behavior {
            Behavior::Good | Behavior::Crash => Fate {
                work,
                is_error: is_base_error,
            },
            Behavior::Errors(share) => Fate {
                work,
                is_error: is_base_error || trouble < share.0,
            },
            Behavior::Slow if trouble < SLOW_SHARE => Fate {
                work: work.saturating_add(delay),
                is_error: is_base_error,
            },
            Behavior::Slow => Fate {
                work,
                is_error: is_base_error,
            },
            Behavior::Slower(factor) => Fate {
                work: work.mul_f64(factor.0),
                is_error: is_base_error,
            },
        }
    }
}

/// What happens to one request.
struct Fate {
    work: Duration,
    is_error: bool,
}

fn route(method: &Method, path: &str, order: u64, body: &Bytes) -> Response<Full<Bytes>> {
    let expected = if path == "/checkout" {
        Method::POST
    } else {
        Method::GET
    };
    let found = match path {
        "/" => Some(json!({ "shop": "The Canary Shop", "see": ["/products", "/cart"] })),
        "/products" => Some(products::all()),
        "/cart" => Some(json!({ "items": [], "total": "0.00" })),
        // The size tells a client whether its whole order arrived.
        "/checkout" => Some(json!({ "order": order, "bytes": body.len() })),
        _ => path.strip_prefix("/products/").and_then(products::one),
    };
    match found {
        None => error(StatusCode::NOT_FOUND),
        Some(_) if *method != expected => error(StatusCode::METHOD_NOT_ALLOWED),
        Some(value) => content("application/json", value.to_string()),
    }
}

fn error(status: StatusCode) -> Response<Full<Bytes>> {
    let reason = status.canonical_reason().unwrap_or("error");
    let mut rsp = content("application/json", json!({ "error": reason }).to_string());
    *rsp.status_mut() = status;
    rsp
}

fn content(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut rsp = Response::new(Full::new(body.into()));
    rsp.headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    rsp
}

/// Draws a duration between two numbers of milliseconds.
fn between((low_ms, high_ms): (f64, f64), chance: &mut Chance) -> Duration {
    Duration::from_secs_f64((low_ms + (high_ms - low_ms) * chance.unit()) / 1_000.0)
}

impl Share {
    /// No request.
    pub(crate) const NONE: Self = Self(0.0);
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let (number, divisor) = match text.strip_suffix('%') {
            Some(percent) => (percent, 100.0),
            None => (text, 1.0),
        };
        match number.trim_end().parse::<f64>() {
            Ok(number) if (0.0..=divisor).contains(&number) => Ok(Self(number / divisor)),
            Ok(_) | Err(_) => Err(ShareError(text.to_owned())),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Factor {
    type Err = FactorError;

    fn from_str(text: &str) -> Result<Self, FactorError> {
        let number = text.strip_suffix('x').map(str::parse::<f64>);
        match number {
            Some(Ok(number)) if (1.0..=100.0).contains(&number) => Ok(Self(number)),
            _ => Err(FactorError(text.to_owned())),
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x", self.0)
    }
}

impl FromStr for Behavior {
    type Err = BehaviorError;

    fn from_str(text: &str) -> Result<Self, BehaviorError> {
        match text.split_once('=') {
            None => match text {
                "good" => Ok(Self::Good),
                "errors" => Ok(Self::Errors(Share(ERROR_SHARE_DEFAULT))),
                "slow" => Ok(Self::Slow),
                "crash" => Ok(Self::Crash),
                _ => Err(BehaviorError::Unknown(text.to_owned())),
            },
            Some(("errors", share)) => Ok(Self::Errors(share.parse()?)),
            Some(("slow", factor)) => Ok(Self::Slower(factor.parse()?)),
            Some(_) => Err(BehaviorError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for Behavior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("good"),
            Self::Errors(share) => write!(f, "errors={share}"),
            Self::Slow => f.write_str("slow"),
            Self::Slower(factor) => write!(f, "slow={factor}"),
            Self::Crash => f.write_str("crash"),
        }
    }
}

#[cfg(test)]
mod tests;
