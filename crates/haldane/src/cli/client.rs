//! The daemon's HTTP API over its unix socket.
//!
//! One connection per call: calls are rare, and a daemon that was started again is met without a word. **Invariant:** every call
//! ends; streams end when the daemon is silent for longer than its keep-alives allow.

mod event;
mod follow;

use std::{
    collections::VecDeque,
    io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use haldane_api::http::{Refused, ServiceView};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, task::JoinSet, time::timeout};

use self::event::EventParser;
pub(crate) use self::follow::follow;

/// How long a call may take; the slowest, an abort, is answered when the weight is zero and recorded.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an event stream may be silent: three of the daemon's keep-alives.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// The largest answer: a long history with its evidence stays far below.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Speaks with the daemon behind a socket.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens.
    #[error("no daemon at {}; start one with `haldane up`", socket.display())]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket is not ours.
    #[error("the daemon at {} is another user's; run this as that user, or give --socket", socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
    },
    /// Something else is where the socket should be.
    #[error("{} is a {what}, not a socket; --socket takes the daemon's, which is `haldane.sock` in its data directory", socket.display())]
    NotSocket {
        /// The path.
        socket: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The socket cannot be connected to.
    #[error("connecting to {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon went away in the middle of its answer")]
    Broken(#[source] hyper::Error),
    /// The daemon took too long.
    #[error("the daemon did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The daemon's answer is not what this release expects.
    #[error("the daemon's answer cannot be read; are daemon and command of the same release?")]
    Unreadable(#[source] anyhow::Error),
    /// The daemon refused.
    #[error("{}", refusal(.refused))]
    Refused {
        /// The answer's status.
        status: StatusCode,
        /// Why.
        refused: Refused,
    },
}

type Result<T, E = ClientError> = std::result::Result<T, E>;

/// What the daemon tells of services as they change.
#[derive(Debug)]
pub(crate) struct Events {
    stream: Stream,
    parser: EventParser,
    ready: VecDeque<ServiceView>,
}

/// A body that comes in pieces.
#[derive(Debug)]
pub(crate) struct Stream {
    body: Incoming,
    /// Moves the bytes of the connection; ends with the stream.
    _connection: JoinSet<hyper::Result<()>>,
}

impl Client {
    /// Returns a client for a socket; nothing is connected yet.
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Returns the socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, Bytes::new(), CALL_TIMEOUT)
            .await
    }

    /// Reads a text.
    pub(crate) async fn text(&self, path: &str) -> Result<String> {
        let body = self
            .body(Method::GET, path, Bytes::new(), CALL_TIMEOUT)
            .await?;
        String::from_utf8(body.into()).map_err(|error| ClientError::Unreadable(error.into()))
    }

    /// Asks for something to be done.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        self.post_within(path, body, CALL_TIMEOUT).await
    }

    /// Asks for something to be done that takes its time.
    pub(crate) async fn post_within<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T> {
        let body =
            serde_json::to_vec(body).map_err(|error| ClientError::Unreadable(error.into()))?;
        self.call(Method::POST, path, body.into(), limit).await
    }

    /// Follows all services, or one.
    pub(crate) async fn events(&self, path: &str) -> Result<Events> {
        let stream = self.stream(path).await?;
        Ok(Events {
            stream,
            parser: EventParser::default(),
            ready: VecDeque::new(),
        })
    }

    /// Reads a body piece by piece.
    pub(crate) async fn stream(&self, path: &str) -> Result<Stream> {
        let head = within(CALL_TIMEOUT, self.send(Method::GET, path, Bytes::new()));
        let (status, stream) = head.await?;
        if status.is_success() {
            return Ok(stream);
        }
        let body = within(CALL_TIMEOUT, stream.collect()).await?;
        Err(refused(status, &body))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<T> {
        let body = self.body(method, path, body, limit).await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Unreadable(error.into()))
    }

    async fn body(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes> {
        let exchange = async {
            let (status, stream) = self.send(method, path, body).await?;
            Ok((status, stream.collect().await?))
        };
        let (status, body) = within(limit, exchange).await?;
        if !status.is_success() {
            return Err(refused(status, &body));
        }
        Ok(body)
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Stream)> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(ClientError::Broken)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "haldane")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| ClientError::Unreadable(error.into()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(ClientError::Broken)?;
        let status = response.status();
        Ok((
            status,
            Stream {
                body: response.into_body(),
                _connection: tasks,
            },
        ))
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        let kind = source.kind();
        if kind == io::ErrorKind::ConnectionRefused
            && let Some(what) = what_else(&socket)
        {
            return ClientError::NotSocket { socket, what };
        }
        if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&kind) {
            return ClientError::NoDaemon { socket };
        }
        if kind == io::ErrorKind::PermissionDenied {
            return ClientError::Denied { socket };
        }
        ClientError::Connect { socket, source }
    }
}

impl ClientError {
    /// Whether trying again can't help.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.is_client_error(),
            Self::Denied { .. } | Self::NotSocket { .. } | Self::Unreadable(_) => true,
            Self::NoDaemon { .. } | Self::Connect { .. } | Self::Broken(_) | Self::TimedOut(_) => {
                false
            }
        }
    }

    /// Whether the daemon knows nothing of what was asked about.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

impl Events {
    /// Waits for the next service; `None` when the daemon ended the stream. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Option<ServiceView>> {
        loop {
            if let Some(view) = self.ready.pop_front() {
                return Ok(Some(view));
            }
            let Some(piece) = within(SILENCE_MAX, self.stream.next()).await? else {
                return Ok(None);
            };
            for event in self
                .parser
                .push(&piece)
                .map_err(|error| ClientError::Unreadable(error.into()))?
            {
                if event.name == "service" {
                    let view = serde_json::from_str(&event.data);
                    self.ready
                        .push_back(view.map_err(|error| ClientError::Unreadable(error.into()))?);
                }
            }
        }
    }
}

impl Stream {
    /// Waits for the next piece; `None` at the end. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(ClientError::Broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    async fn collect(self) -> Result<Bytes> {
        let Self { body, _connection } = self;
        let whole = Limited::new(body, BODY_BYTES_MAX).collect().await;
        whole
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(broken) => ClientError::Broken(*broken),
                Err(other) => ClientError::Unreadable(anyhow::anyhow!(other)),
            })
    }
}

/// Returns what a path is that is no socket.
fn what_else(path: &Path) -> Option<&'static str> {
    let kind = path.metadata().ok()?.file_type();
    if kind.is_socket() {
        return None;
    }
    Some(if kind.is_dir() { "directory" } else { "file" })
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(limit, call)
        .await
        .unwrap_or(Err(ClientError::TimedOut(limit)))
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    let refused = serde_json::from_slice(body).unwrap_or_else(|_| Refused {
        error: format!(
            "the daemon answered {status}: {}",
            String::from_utf8_lossy(body).trim()
        ),
        problems: Vec::new(),
    });
    ClientError::Refused { status, refused }
}

fn refusal(refused: &Refused) -> String {
    let mut text = refused.error.clone();
    for problem in &refused.problems {
        text.push_str("\n  ");
        text.push_str(problem);
    }
    text
}

#[cfg(test)]
mod tests;
