//! One client's connection: serves its requests and ends it when the client is too slow or the proxy drains.
//!
//! hyper knows one time-out for the wait between requests and for the head of a request. These differ much, so the connection is
//! watched here: the socket and the handler note what phase it is in, and one timer, set only when it must fire earlier than it
//! would, ends it. The same notes tell which answers are the parser's, and whether the client is still sending when all is said.

mod client_io;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::trace;

use crate::{
    body::ResponseBody,
    config::Limits,
    connection::client_io::ClientIo,
    count::{Counters, Limit},
};

/// How long an idle connection stays open when the proxy drains. A request that is on its way meanwhile is still answered, with
/// `connection: close`, so only a connection that was idle for this long is closed under a client's hands.
const LINGER: Duration = Duration::from_millis(500);

/// The least that hyper takes for its buffer.
const BUFFER_BYTES_MIN: usize = 8 * 1024;

/// How far ahead the timer is set when nothing has a deadline.
const FAR: Duration = Duration::from_secs(3_600);

/// What a connection is doing, noted by its socket and its handler.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    phase: AtomicU8,
    requests: AtomicU32,
    is_write_blocked: AtomicBool,
    writes: AtomicU32,
    is_closing: AtomicBool,
    /// Whether the handler was called since all was written: then what is written next may be its response.
    has_answer: AtomicBool,
    /// Whether the client may be sending what nobody will read.
    is_sending: AtomicBool,
}

/// A request is under way as long as this lives.
#[derive(Debug)]
pub(crate) struct Busy(Arc<ConnectionState>);

/// What the connection waits for; each value differs from the one before when a new wait begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// For the next request.
    Next { requests: u32, is_closing: bool },
    /// For the rest of a head.
    Head { requests: u32 },
    /// For us.
    Busy,
    /// For the client to take what is written.
    Write { writes: u32 },
}

struct Watchdog {
    limits: Limits,
    wait: Wait,
    deadline: Option<Instant>,
    armed: Instant,
    sleep: Pin<Box<Sleep>>,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// Serves the requests of one connection with `handle` until it ends or is ended.
pub(crate) async fn serve<H, F>(
    stream: TcpStream,
    state: Arc<ConnectionState>,
    limits: Limits,
    counters: Arc<Counters>,
    closing: CancellationToken,
    handle: H,
) where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<ResponseBody>, Infallible>>,
{
    let io = ClientIo::new(stream, Arc::clone(&state));
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(BUFFER_BYTES_MIN))
        .serve_connection(io, service_fn(handle));
    let mut connection = pin!(connection);
    let mut closed = pin!(closing.cancelled());
    let mut watchdog = Watchdog::new(limits);
    let end = poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                return Poll::Ready(Ok(end));
            }
            if !state.is_closing() && closed.as_mut().poll(cx).is_ready() {
                state.is_closing.store(true, Relaxed);
            }
            match ready!(watchdog.poll_expired(cx, state.wait())) {
                Wait::Next { .. } => {
                    // hyper lets go of an idle connection, and of no other.
                    connection.as_mut().graceful_shutdown();
                }
                Wait::Head { .. } => return Poll::Ready(Err(Limit::HeaderTime)),
                Wait::Write { .. } => return Poll::Ready(Err(Limit::WriteTime)),
                Wait::Busy => {}
            }
        }
    })
    .await;
    match end {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            if error.is_parse_too_large() {
                counters.hit(Limit::HeaderSize);
            } else if error.is_parse() {
                counters.hit(Limit::BadRequest);
            }
            trace!(%error, "Connection of client ended");
        }
        Err(limit) => counters.hit(limit),
    }
}

/// Returns the time `later` than `since`, or one far ahead if no clock goes that far.
pub(crate) fn after(since: Instant, later: Duration) -> Instant {
    since
        .checked_add(later)
        .or_else(|| since.checked_add(FAR))
        .unwrap_or(since)
}

impl ConnectionState {
    pub(crate) const fn new() -> Self {
        Self {
            phase: AtomicU8::new(IDLE),
            requests: AtomicU32::new(0),
            is_write_blocked: AtomicBool::new(false),
            writes: AtomicU32::new(0),
            is_closing: AtomicBool::new(false),
            has_answer: AtomicBool::new(false),
            is_sending: AtomicBool::new(false),
        }
    }

    /// Whether the next response must be the last.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Relaxed)
    }

    /// Notes whether the client has more of its request to send.
    pub(crate) fn set_sending(&self, is_sending: bool) {
        self.is_sending.store(is_sending, Relaxed);
    }

    fn is_sending(&self) -> bool {
        self.is_sending.load(Relaxed)
    }

    fn has_answer(&self) -> bool {
        self.has_answer.load(Relaxed)
    }

    /// Notes that the parser has answered: the connection ends, and nobody reads what the client still sends.
    fn note_own_answer(&self) {
        self.phase.store(BUSY, Relaxed);
        self.is_sending.store(true, Relaxed);
    }

    fn note_flush(&self) {
        if self.phase.load(Relaxed) != BUSY {
            self.has_answer.store(false, Relaxed);
        }
    }

    fn wait(&self) -> Wait {
        let requests = self.requests.load(Relaxed);
        if self.is_write_blocked.load(Relaxed) {
            return Wait::Write {
                writes: self.writes.load(Relaxed),
            };
        }
        match self.phase.load(Relaxed) {
            IDLE => Wait::Next {
                requests,
                is_closing: self.is_closing(),
            },
            HEAD => Wait::Head { requests },
            _ => Wait::Busy,
        }
    }

    fn note_read(&self) {
        if self.phase.load(Relaxed) == IDLE {
            self.phase.store(HEAD, Relaxed);
        }
    }

    fn note_write<T>(&self, poll: Poll<T>) -> Poll<T> {
        match &poll {
            Poll::Pending => self.is_write_blocked.store(true, Relaxed),
            Poll::Ready(_) => {
                self.is_write_blocked.store(false, Relaxed);
                self.writes.fetch_add(1, Relaxed);
            }
        }
        poll
    }
}

impl Busy {
    pub(crate) fn new(state: Arc<ConnectionState>) -> Self {
        state.phase.store(BUSY, Relaxed);
        state.has_answer.store(true, Relaxed);
        Self(state)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.fetch_add(1, Relaxed);
        self.0.phase.store(IDLE, Relaxed);
    }
}

impl Watchdog {
    fn new(limits: Limits) -> Self {
        // A new connection is not idle: it has come to send a request.
        let deadline = after(Instant::now(), limits.header_read_timeout);
        Self {
            limits,
            wait: Wait::Next {
                requests: 0,
                is_closing: false,
            },
            deadline: Some(deadline),
            armed: deadline,
            sleep: Box::pin(tokio::time::sleep_until(deadline)),
        }
    }

    /// Is ready with what the connection waited for too long.
    fn poll_expired(&mut self, cx: &mut Context<'_>, wait: Wait) -> Poll<Wait> {
        if wait != self.wait {
            self.wait = wait;
            self.deadline = self
                .limits
                .time_for(wait)
                .map(|time| after(Instant::now(), time));
        }
        if let Some(deadline) = self.deadline
            && deadline < self.armed
        {
            self.arm(deadline);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            match self.deadline {
                Some(deadline) if deadline <= now => {
                    self.deadline = None;
                    self.arm(after(now, FAR));
                    return Poll::Ready(wait);
                }
                Some(deadline) => self.arm(deadline),
                None => self.arm(after(now, FAR)),
            }
        }
    }

    fn arm(&mut self, at: Instant) {
        self.armed = at;
        self.sleep.as_mut().reset(at);
    }
}

impl Limits {
    const fn time_for(&self, wait: Wait) -> Option<Duration> {
        match wait {
            Wait::Next {
                is_closing: true, ..
            } => Some(LINGER),
            Wait::Next { .. } => Some(self.idle_timeout),
            Wait::Head { .. } => Some(self.header_read_timeout),
            Wait::Write { .. } => Some(self.write_timeout),
            Wait::Busy => None,
        }
    }
}
