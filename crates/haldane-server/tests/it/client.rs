//! A client: one connection per request, so that each test sees exactly its own.

use std::{net::SocketAddr, path::Path, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::timeout,
};

/// The longest wait for anything that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// An answer whose body is still to come.
pub(crate) struct Answering {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    text: String,
    /// The connection; closed when the answer is dropped.
    _connection: JoinSet<()>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// What to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    path: String,
    body: Option<(String, &'static str)>,
    accept: &'static str,
}

impl Ask {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            accept: "*/*",
        }
    }

    pub(crate) fn post(path: impl Into<String>, body: &(impl ToString + ?Sized)) -> Self {
        let body = Some((body.to_string(), "application/json"));
        Self {
            method: Method::POST,
            path: path.into(),
            body,
            accept: "*/*",
        }
    }

    pub(crate) fn method(self, method: &str) -> Self {
        Self {
            method: method.parse().unwrap(),
            ..self
        }
    }

    pub(crate) fn content_type(self, content_type: &'static str) -> Self {
        Self {
            body: self.body.map(|(text, _)| (text, content_type)),
            ..self
        }
    }

    pub(crate) fn accept(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }

    pub(crate) async fn send(self, socket: &Path) -> Answered {
        self.open(socket).await.read().await
    }

    pub(crate) async fn send_tcp(self, address: SocketAddr) -> Answered {
        let io = TcpStream::connect(address).await.unwrap();
        self.open_on(io).await.read().await
    }

    pub(crate) async fn open(self, socket: &Path) -> Answering {
        let io = UnixStream::connect(socket).await.unwrap();
        self.open_on(io).await
    }

    async fn open_on(self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Answering {
        self.try_open_on(io).await.unwrap()
    }

    /// Asks a server that may end meanwhile.
    pub(crate) async fn try_open(self, socket: &Path) -> hyper::Result<Answering> {
        let io = UnixStream::connect(socket).await.unwrap();
        self.try_open_on(io).await
    }

    async fn try_open_on(
        self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> hyper::Result<Answering> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { connection.await.unwrap_or_default() });
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(header::HOST, "haldane")
            .header(header::ACCEPT, self.accept);
        let mut body = Bytes::new();
        if let Some((text, content_type)) = self.body {
            request = request.header(header::CONTENT_TYPE, content_type);
            body = text.into();
        }
        let request = request.body(Full::new(body)).unwrap();
        let answer = timeout(PATIENCE * 2, sender.send_request(request))
            .await
            .expect("an answer")?;
        let (parts, body) = answer.into_parts();
        Ok(Answering {
            status: parts.status,
            headers: parts.headers,
            body,
            text: String::new(),
            _connection: tasks,
        })
    }
}

impl Answering {
    /// Reads to the end.
    pub(crate) async fn read(mut self) -> Answered {
        while timeout(PATIENCE, self.more())
            .await
            .expect("more or the end")
        {}
        Answered {
            status: self.status,
            headers: self.headers,
            text: self.text,
        }
    }

    /// Returns the next event's name and data, or nothing at the end. Comments are passed over.
    pub(crate) async fn event(&mut self) -> Option<(String, String)> {
        loop {
            let block = self.until("\n\n").await?;
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::to_owned)
            };
            if let (Some(event), Some(data)) = (field("event: "), field("data: ")) {
                return Some((event, data));
            }
        }
    }

    /// Returns the next text that ends so, or nothing if there is no more.
    pub(crate) async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.text.find(end) {
                let rest = self.text.split_off(at + end.len());
                return Some(std::mem::replace(&mut self.text, rest));
            }
            if !timeout(PATIENCE, self.more())
                .await
                .expect("more or the end")
            {
                return None;
            }
        }
    }

    /// Whether the body ends other than it should.
    pub(crate) async fn fails(&mut self) -> bool {
        loop {
            match timeout(PATIENCE, self.body.frame())
                .await
                .expect("more or the end")
            {
                None => return false,
                Some(Err(_)) => return true,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn more(&mut self) -> bool {
        let Some(Ok(frame)) = self.body.frame().await else {
            return false;
        };
        if let Some(data) = frame.data_ref() {
            self.text.push_str(std::str::from_utf8(data).unwrap());
        }
        true
    }
}

impl Answered {
    /// Returns the body, which must be JSON of this type and say so.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        let content_type = self.headers.get(header::CONTENT_TYPE);
        assert_eq!(
            content_type.map(|value| value.to_str().unwrap()),
            Some("application/json"),
            "{self:?}"
        );
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
