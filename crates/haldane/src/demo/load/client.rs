//! The load's HTTP client: a keep-alive pool on hyper's connections, and the judgement of each answer.
//!
//! Each connection is polled by the request that uses it and by nothing else: no task per connection, and an idle one costs nothing.
//! Polling it once before use tells whether the server has closed it meanwhile. A server may close it in the very moment of use, too;
//! then the request is sent once more on a new connection, as browsers do, if not a single byte of an answer came.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tracing::{debug, trace};

use super::report::{AnswerClass, DropCause};
use crate::demo::shop::VERSION_HEADER;

/// The header by which a proxy owns up to an answer it made itself (RFC 9209).
const PROXY_STATUS_HEADER: &str = "proxy-status";

/// The name under which our proxy does so.
const PROXY_NAME: &str = "haldane";

/// How many idle connections are kept; beyond these they are closed.
const IDLE_MAX: usize = 1_024;

/// One request to send.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) host: HeaderValue,
    pub(super) body: Bytes,
    /// Whether it goes on a new connection that is closed after it.
    pub(super) is_fresh: bool,
}

/// How a request ended.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) result: Result<AnswerClass, DropCause>,
    pub(super) seen: Seen,
}

/// What became known on the way, however the request ended.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The version that the answer's head named.
    pub(super) version: Option<String>,
    /// Whether the request was sent a second time.
    pub(super) is_retried: bool,
}

/// Sends requests to one address.
#[derive(Debug)]
pub(super) struct Client {
    target: SocketAddr,
    timeout: Duration,
    /// The connection used last comes first, so that surplus ones age and are closed by the server.
    idle: Mutex<Vec<Connection>>,
}

/// One connection and the future that moves its bytes; `None` once it is closed.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    wire: Option<Wire>,
    received: Arc<AtomicU64>,
}

type Wire = http1::Connection<TokioIo<Counted>, Full<Bytes>>;

/// A stream that counts the bytes that came in.
#[derive(Debug)]
struct Counted {
    stream: TcpStream,
    received: Arc<AtomicU64>,
}

impl Client {
    pub(super) fn new(target: SocketAddr, timeout: Duration) -> Self {
        Self {
            target,
            timeout,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Sends one request and reads its whole answer.
    pub(super) async fn send(&self, order: &Order) -> Reply {
        let mut seen = Seen::default();
        let result = timeout(self.timeout, self.exchange(order, &mut seen)).await;
        Reply {
            result: result.unwrap_or(Err(DropCause::Timeout)),
            seen,
        }
    }

    async fn exchange(&self, order: &Order, seen: &mut Seen) -> Result<AnswerClass, DropCause> {
        let Some(mut connection) = self.take_idle(order).await else {
            return self.exchange_on_new(order, seen).await;
        };
        let received = connection.received();
        match connection.exchange(order, seen).await {
            Err(_) if connection.received() == received => {
                seen.is_retried = true;
                self.exchange_on_new(order, seen).await
            }
            result => {
                self.put_idle(order, connection).await;
                result
            }
        }
    }

    async fn exchange_on_new(
        &self,
        order: &Order,
        seen: &mut Seen,
    ) -> Result<AnswerClass, DropCause> {
        let mut connection = Connection::open(self.target).await?;
        let result = connection.exchange(order, seen).await;
        self.put_idle(order, connection).await;
        result
    }

    /// Returns an idle connection that the server has not closed, unless the order wants a new one.
    async fn take_idle(&self, order: &Order) -> Option<Connection> {
        if order.is_fresh {
            return None;
        }
        loop {
            // Bound on its own line: the lock must be free before the next await.
            let taken = self.lock_idle().pop();
            let mut connection = taken?;
            if connection.is_reusable().await {
                return Some(connection);
            }
        }
    }

    async fn put_idle(&self, order: &Order, mut connection: Connection) {
        if !order.is_fresh && connection.is_reusable().await {
            let mut idle = self.lock_idle();
            if idle.len() < IDLE_MAX {
                idle.push(connection);
            }
        }
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        // Push and pop leave the list whole even if the thread panics around them.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    async fn open(target: SocketAddr) -> Result<Self, DropCause> {
        let received = Arc::new(AtomicU64::new(0));
        let connect = async {
            let stream = TcpStream::connect(target).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(stream)
        };
        let stream = connect.await.map_err(|error| {
            debug!(%error, "Connecting failed");
            DropCause::Connect
        })?;
        let io = TokioIo::new(Counted {
            stream,
            received: Arc::clone(&received),
        });
        let (sender, wire) = http1::handshake(io).await.map_err(|error| {
            debug!(%error, "Handshake failed");
            DropCause::Connect
        })?;
        Ok(Self {
            sender,
            wire: Some(wire),
            received,
        })
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    async fn exchange(&mut self, order: &Order, seen: &mut Seen) -> Result<AnswerClass, DropCause> {
        let Self { sender, wire, .. } = self;
        let answer = async {
            let rsp = sender
                .send_request(order.to_request())
                .await
                .map_err(|error| {
                    debug!(%error, "No answer");
                    DropCause::NoAnswer
                })?;
            seen.version = version_of(rsp.headers());
            let verdict = classify(rsp.status(), rsp.headers());
            let mut body = rsp.into_body();
            while let Some(frame) = body.frame().await {
                frame.map_err(|error| {
                    debug!(%error, "The answer broke off");
                    DropCause::PartialAnswer
                })?;
            }
            verdict
        };
        while_moving(wire, answer).await
    }

    /// Whether a request can be sent at once; hears of a close that has arrived.
    async fn is_reusable(&mut self) -> bool {
        let Self { sender, wire, .. } = self;
        tokio::select! {
            biased;
            ready = while_moving(wire, sender.ready()) => ready.is_ok(),
            () = std::future::ready(()) => false,
        }
    }
}

/// Moves the connection's bytes while `work` waits for them.
async fn while_moving<T>(wire: &mut Option<Wire>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Some(moving) = wire.as_mut() {
        tokio::select! {
            // The bytes first: what they bring lets the work go on in the same turn.
            biased;
            closed = moving => trace!(?closed, "Connection closed"),
            done = &mut work => return done,
        }
        // It must not be polled again. The work still ends: with what was received, or with an error of its own.
        *wire = None;
    }
    work.await
}

impl Order {
    fn to_request(&self) -> Request<Full<Bytes>> {
        let mut req = Request::new(Full::new(self.body.clone()));
        *req.method_mut() = self.method.clone();
        *req.uri_mut() = self.uri.clone();
        let headers = req.headers_mut();
        headers.insert(header::HOST, self.host.clone());
        if self.method == Method::POST {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        if self.is_fresh {
            // A client that will close must say so (RFC 9112 §9.6).
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        req
    }
}

fn version_of(headers: &HeaderMap) -> Option<String> {
    let version = headers.get(VERSION_HEADER)?;
    Some(String::from_utf8_lossy(version.as_bytes()).into_owned())
}

/// Says what a head is worth if its body will be complete.
fn classify(status: StatusCode, headers: &HeaderMap) -> Result<AnswerClass, DropCause> {
    match status.as_u16() {
        500.. if is_made_by_proxy(headers) => Err(DropCause::ProxyError),
        500.. => Ok(AnswerClass::UpstreamError),
        400..500 => Ok(AnswerClass::ClientError),
        300..400 => Ok(AnswerClass::Redirect),
        ..300 => Ok(AnswerClass::Success),
    }
}

/// Whether our proxy says that it made this answer because of an error: `proxy-status: haldane; error=connection_refused`.
fn is_made_by_proxy(headers: &HeaderMap) -> bool {
    headers
        .get_all(PROXY_STATUS_HEADER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|member| {
            let mut parts = member.split(';').map(str::trim);
            let is_ours = parts
                .next()
                .is_some_and(|name| name.trim_matches('"') == PROXY_NAME);
            is_ours && parts.any(|parameter| parameter.starts_with("error="))
        })
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(ctx, buffer);
        let count = buffer.filled().len().saturating_sub(before);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.received.fetch_add(count, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(ctx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(ctx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(ctx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(ctx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_5xx_with_our_proxy_s_error_is_the_proxy_s() {
        let check = |status: u16, proxy_status: &'static str, expected| {
            let mut headers = HeaderMap::new();
            if !proxy_status.is_empty() {
                headers.insert(PROXY_STATUS_HEADER, HeaderValue::from_static(proxy_status));
            }
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                classify(status, &headers),
                expected,
                "{status} {proxy_status:?}"
            );
        };
        check(200, "", Ok(AnswerClass::Success));
        check(302, "", Ok(AnswerClass::Redirect));
        check(
            404,
            "haldane; error=http_request_error",
            Ok(AnswerClass::ClientError),
        );
        check(500, "", Ok(AnswerClass::UpstreamError));
        check(
            502,
            "haldane; error=connection_refused",
            Err(DropCause::ProxyError),
        );
        check(
            503,
            "\"haldane\"; next-hop=x; error=dns_error",
            Err(DropCause::ProxyError),
        );
        check(
            504,
            "cdn; error=x, haldane;error=connection_timeout",
            Err(DropCause::ProxyError),
        );
        check(
            502,
            "cdn; error=connection_refused, haldane",
            Ok(AnswerClass::UpstreamError),
        );
        check(
            502,
            "haldane; received-status=502",
            Ok(AnswerClass::UpstreamError),
        );
        check(
            502,
            "haldane2; error=connection_refused",
            Ok(AnswerClass::UpstreamError),
        );
    }
}
