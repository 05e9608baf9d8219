//! Sends one request to a version and brings the response back.
//!
//! What is tried again, and what never:
//! - No connection: nothing was sent, so any request goes to another endpoint, then to stable.
//! - All connections in use that the endpoint may have, and none free in time: the endpoint has the fewest requests of its version, so
//!   the others are as full. The request goes to stable; where stable itself is full, it is refused with 503. Who still waits for a
//!   version when its share falls to zero goes to stable at once, so that the version gets no request after that.
//! - A kept connection that closed before it took the request, or (for a repeatable request) before it answered: once more on a
//!   fresh connection to the same endpoint. It says nothing about the version, so it isn't counted against it.
//! - A fresh connection that broke before the head of a response: a repeatable request goes once more to stable; where stable itself
//!   broke it, to another endpoint of stable. What broke one replica of the canary may break the next. The client sees no error, but
//!   the judge does: the break stays counted as a failure of the version that broke it, and the answer is stable's.
//!
//! Repeatable is a request without body whose method is idempotent.
//!
//! **Invariant:** a request that an endpoint may have begun to act on is never sent again unless it is repeatable.

use std::{pin::pin, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    request,
};
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use crate::{
    body::{BodyStage, BodyWatch, Bond, ClientBody, IdleTimer, Relay, RequestBody, Source},
    connection::after,
    count::{Attempt, Fault, Hold, Marks, Outcome},
    lane::{Lane, Spot},
    pool::{ConnectError, Lease, Pending, Want},
    refuse::Answer,
    sanitize::{self, Target},
    table::Timeouts,
};

/// Endpoints of one version that one request tries. More would multiply the load on a version that is down already.
const ENDPOINTS_TRIED_MAX: usize = 3;

const X_HALDANE_VERSION: HeaderName = HeaderName::from_static("x-haldane-version");

/// A request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Job {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    host: Option<HeaderValue>,
    body: Option<Box<ClientBody>>,
    watch: Option<Arc<BodyWatch>>,
    is_repeatable: bool,
    is_measured: bool,
    /// What it counts for besides.
    marks: Marks,
}

/// Why an exchange with an endpoint gave no response.
#[derive(Debug)]
enum Failure {
    /// Nothing was sent.
    Connect(ConnectError),
    /// The kept connection is gone; the job is whole and may be sent again.
    Stale,
    /// The connection closed before it took anything of the request; the job is whole.
    Unsent,
    /// The endpoint's fault, after something was sent.
    Fault(Fault),
    /// The client's fault.
    Client(BodyStage),
}

/// What may be tried after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing.
    GiveUp,
    /// Another endpoint.
    Elsewhere,
    /// Another endpoint, but no third one after another reset.
    ElsewhereOnce,
    /// Stable, if this is another version.
    Stable,
}

/// Sends `job` to `arm` of `lane`, or to stable where that can't serve it.
pub(crate) async fn forward(
    lane: &Lane,
    mut arm: usize,
    mut job: Job,
    tasks: &TaskTracker,
) -> Result<Response<Source>, Answer> {
    let mut last = Answer::Unavailable;
    let mut may_repeat = job.is_repeatable;
    loop {
        let Some(lane_arm) = lane.arms.get(arm) else {
            return Err(last);
        };
        let hold = Hold::new(Arc::clone(&lane_arm.shard));
        let mut tried = Vec::new();
        while tried.len() < ENDPOINTS_TRIED_MAX
            && let Some((at, spot)) = lane.pick(arm, &tried)
        {
            let attempt = Attempt::begin(Arc::clone(&lane_arm.shard), job.is_measured)
                .with_conversions(lane_arm.conversions.as_ref(), job.marks);
            let pending = Pending::new(&spot.pool);
            let failure = match exchange(lane, arm, spot, &mut job, tasks).await {
                Ok((response, lease)) => {
                    let watch = job.watch.take();
                    let bond = Bond::new(attempt, hold, pending, lease, watch);
                    return Ok(relay(response, bond, lane, lane_arm.exposed.as_ref()));
                }
                Err(failure) => failure,
            };
            last = failure.answer();
            let next = failure.conclude(attempt, spot, may_repeat);
            tried.push(at);
            match next {
                Next::GiveUp => return Err(last),
                Next::Elsewhere => {}
                Next::Stable => break,
                Next::ElsewhereOnce => {
                    may_repeat = false;
                    // What broke one replica of the canary may break the next; stable is the safe side.
                    if arm != lane.route.fallback() {
                        break;
                    }
                }
            }
        }
        if tried.is_empty() && job.is_measured {
            lane_arm.shard.count_unavailable();
        }
        if arm == lane.route.fallback() {
            return Err(last);
        }
        arm = lane.route.fallback();
    }
}

/// Sends `job` to one endpoint: over a kept connection if there is one, else, or if that is gone, over a fresh one.
async fn exchange(
    lane: &Lane,
    arm: usize,
    spot: &Spot,
    job: &mut Job,
    tasks: &TaskTracker,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let timeouts = lane.route.timeouts();
    let want = job.want();
    let lease = match spot.pool.take(want) {
        Some(lease) => lease,
        None => connect(spot, want, timeouts, tasks).await?,
    };
    let is_reused = lease.is_reused;
    match send(lease, spot, job, timeouts.response_head).await {
        Err(Failure::Stale | Failure::Unsent) if is_reused => {
            if let Some(arm) = lane.arms.get(arm) {
                arm.shard.count_resent();
            }
        }
        done => return done,
    }
    let lease = connect(spot, Want::Fresh, timeouts, tasks).await?;
    send(lease, spot, job, timeouts.response_head).await
}

async fn connect(
    spot: &Spot,
    want: Want,
    timeouts: Timeouts,
    tasks: &TaskTracker,
) -> Result<Lease, Failure> {
    let lease = spot.pool.connect(want, timeouts.connect, tasks).await;
    let lease = lease.map_err(Failure::Connect)?;
    spot.endpoint.absolve();
    Ok(lease)
}

/// Sends `job` over one connection and awaits the head of the response.
async fn send(
    mut lease: Lease,
    spot: &Spot,
    job: &mut Job,
    response_head: Duration,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let request = job.next_request(spot);
    let response = lease.sender.try_send_request(request);
    let response = match &job.watch {
        None => tokio::time::timeout(response_head, response).await.ok(),
        Some(watch) => with_body(response, watch, response_head).await,
    };
    match response {
        Some(Ok(response)) if is_foreign(&response) => Err(Failure::Fault(Fault::Protocol)),
        Some(Ok(response)) => Ok((response, lease)),
        Some(Err(error)) => Err(job.failure(error, lease.is_reused)),
        None => Err(Failure::Fault(Fault::Timeout)),
    }
}

/// Whether a response speaks of something that no request of ours asks for.
fn is_foreign(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        || !sanitize::is_plainly_framed(response.headers())
}

/// Awaits the head of a response while the body of the request is still on its way: as long as that moves, or waits for the client,
/// the endpoint isn't late.
async fn with_body<T>(
    response: impl Future<Output = T>,
    watch: &BodyWatch,
    response_head: Duration,
) -> Option<T> {
    let mut response = pin!(response);
    let mut deadline = after(Instant::now(), response_head);
    loop {
        tokio::select! {
            biased;
            response = response.as_mut() => return Some(response),
            () = sleep_until(deadline) => {}
        }
        let since = match watch.stage() {
            BodyStage::Awaited => Instant::now(),
            BodyStage::Offered
            | BodyStage::Done
            | BodyStage::Stalled
            | BodyStage::TooLarge
            | BodyStage::Broken => watch.last_progress(),
        };
        deadline = after(since, response_head);
        if deadline <= Instant::now() {
            return None;
        }
    }
}

/// Makes the response fit for the client, and ties all that must end with it to its body.
fn relay(
    response: Response<Incoming>,
    bond: Bond,
    lane: &Lane,
    exposed: Option<&HeaderValue>,
) -> Response<Source> {
    let (mut parts, incoming) = response.into_parts();
    sanitize::response(&mut parts.headers);
    parts.version = Version::HTTP_11;
    if let Some(version) = exposed {
        parts.headers.insert(X_HALDANE_VERSION, version.clone());
    }
    let idle = IdleTimer::new(lane.route.timeouts().body_idle);
    let relay = Relay {
        incoming,
        status: parts.status,
        bond,
        idle,
    };
    Response::from_parts(parts, Source::Relay(relay))
}

impl Job {
    /// Returns the job of a request.
    pub(crate) fn new(
        parts: request::Parts,
        target: Target,
        body: Option<Box<ClientBody>>,
        (is_measured, marks): (bool, Marks),
    ) -> Self {
        let mut headers = parts.headers;
        if body.as_ref().is_some_and(|body| !body.has_length()) {
            // Said outright, because hyper would otherwise leave the body of a GET out.
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Self {
            is_repeatable: body.is_none() && parts.method.is_idempotent(),
            watch: body.as_ref().map(|body| body.watch()),
            method: parts.method,
            uri: parts.uri,
            headers,
            host: target.host,
            body,
            is_measured,
            marks,
        }
    }

    const fn want(&self) -> Want {
        if self.is_repeatable {
            Want::Any
        } else {
            Want::Recent
        }
    }

    /// Returns the request for `spot`. A repeatable job stays whole; of another, headers and body go along.
    fn next_request(&mut self, spot: &Spot) -> Request<RequestBody> {
        let headers = if self.is_repeatable {
            self.headers.clone()
        } else {
            std::mem::take(&mut self.headers)
        };
        let body = self
            .body
            .take()
            .map_or(RequestBody::Empty, RequestBody::Client);
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        // HTTP/1.0 clients may have no host; HTTP/1.1 endpoints must be sent one, if only an empty one.
        let host = spot.endpoint.authority().or(self.host.as_ref());
        let host = host.cloned().unwrap_or(HeaderValue::from_static(""));
        request.headers_mut().insert(HOST, host);
        request
    }

    /// Makes the job whole again with a request that was not sent.
    fn take_back(&mut self, request: Request<RequestBody>) {
        let (parts, body) = request.into_parts();
        self.headers = parts.headers;
        if let RequestBody::Client(body) = body {
            self.body = Some(body);
        }
    }

    /// Returns what went wrong, and makes the job whole if it can be sent again.
    fn failure(
        &mut self,
        mut error: TrySendError<Request<RequestBody>>,
        is_reused: bool,
    ) -> Failure {
        if let Some(request) = error.take_message() {
            self.take_back(request);
            return Failure::Unsent;
        }
        if let Some(watch) = &self.watch {
            let stage = watch.stage();
            if stage.is_clients_fault() {
                return Failure::Client(stage);
            }
        }
        match error.into_error() {
            error if error.is_parse() => Failure::Fault(Fault::Protocol),
            _ if is_reused && self.is_repeatable => Failure::Stale,
            _ => Failure::Fault(Fault::Reset),
        }
    }
}

impl Failure {
    /// Ends the attempt, and says what may be tried next.
    fn conclude(&self, mut attempt: Attempt, spot: &Spot, may_repeat: bool) -> Next {
        match self {
            Self::Connect(ConnectError::OutOfResources) => {
                attempt.cancel();
                Next::GiveUp
            }
            Self::Connect(ConnectError::Refused | ConnectError::TimedOut) => {
                attempt.end(Outcome::Fault(Fault::Connect));
                spot.endpoint.suspect();
                Next::Elsewhere
            }
            Self::Connect(ConnectError::Withdrawn) => {
                attempt.cancel();
                Next::Stable
            }
            Self::Connect(ConnectError::Saturated) => {
                attempt.end(Outcome::Fault(Fault::Saturated));
                Next::Stable
            }
            Self::Stale | Self::Unsent => {
                attempt.end(Outcome::Fault(Fault::Reset));
                Next::Elsewhere
            }
            Self::Client(_) => {
                attempt.end(Outcome::AbortedByClient);
                Next::GiveUp
            }
            Self::Fault(fault) => {
                attempt.end(Outcome::Fault(*fault));
                let is_reset = *fault == Fault::Reset;
                if is_reset && may_repeat {
                    Next::ElsewhereOnce
                } else {
                    Next::GiveUp
                }
            }
        }
    }

    /// Returns what the client is told if nothing else can be tried.
    const fn answer(&self) -> Answer {
        match self {
            Self::Connect(ConnectError::Refused) => Answer::Fault(Fault::Connect),
            Self::Connect(ConnectError::TimedOut) => Answer::ConnectTimeout,
            Self::Connect(ConnectError::Saturated | ConnectError::Withdrawn) => {
                Answer::Fault(Fault::Saturated)
            }
            Self::Connect(ConnectError::OutOfResources) => Answer::OutOfResources,
            Self::Stale | Self::Unsent => Answer::Fault(Fault::Reset),
            Self::Fault(fault) => Answer::Fault(*fault),
            Self::Client(BodyStage::TooLarge) => Answer::BodyTooLarge,
            Self::Client(BodyStage::Stalled) => Answer::BodyStalled,
            Self::Client(
                BodyStage::Broken | BodyStage::Offered | BodyStage::Awaited | BodyStage::Done,
            ) => Answer::BodyBroken,
        }
    }
}
