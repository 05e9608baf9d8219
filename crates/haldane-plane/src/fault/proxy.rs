//! The fault injector: a proxy in front of the API server that passes everything through, but what a rule says.
//!
//! It shows the API server's own certificate, so that one kubeconfig with another port leads here. Each connection of a client has
//! one connection to the server behind it.
//!
//! **Invariant:** without a rule, what passes is not changed: neither its status, nor its headers, nor a byte of its body.

mod events;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming, client::conn::http1 as client, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::json;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex as AsyncMutex,
    task::JoinSet,
    time,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::{debug, info};

use crate::{
    accept::accept,
    fault::{ApiRequest, Fault, Refusal, RuleId, Rules, Verb, rules::Hit},
};

/// The clients of one test; a watch needs a connection of its own here.
const CONNECTIONS_MAX: usize = 4096;

/// How long the API server may take to accept a connection, and a client to greet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much a stale read remembers: answers, and bytes of each.
const KEPT_MAX: usize = 256;
const KEPT_BYTES_MAX: usize = 16 << 20;

type Body = UnsyncBoxBody<Bytes, ProxyError>;

/// Why a request was not answered: the client sees its connection close.
#[derive(Debug, Error)]
pub(crate) enum ProxyError {
    /// A rule says so.
    #[error("cut by a rule")]
    Cut,
    /// The server's side failed.
    #[error("talking to the API server")]
    Server(#[source] hyper::Error),
    /// The server can't be reached.
    #[error("connecting to the API server")]
    Connect(#[source] std::io::Error),
    /// The server did not answer in time.
    #[error("no connection to the API server in time")]
    ConnectTimeout,
    /// An answer is too large to be kept for stale reads.
    #[error("reading an answer that is kept for stale reads")]
    Keep(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why the injector can't begin.
#[derive(Debug, Error)]
pub(crate) enum SetUpError {
    #[error("reading the certificate of the API server")]
    Certificate(#[from] rustls::pki_types::pem::Error),
    #[error("using the certificate of the API server")]
    Tls(#[from] rustls::Error),
}

/// The injector.
pub(crate) struct Injector {
    rules: Rules,
    server: SocketAddr,
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    kept: Mutex<BTreeMap<(RuleId, String), Kept>>,
}

type Kept = (http::response::Parts, Bytes);

impl Injector {
    /// Returns the injector before the API server at `server`, whose certificate and key are given.
    pub(crate) fn try_new(
        rules: Rules,
        server: SocketAddr,
        certificate: &Path,
        key: &Path,
    ) -> Result<Self, SetUpError> {
        let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(key)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(chain.iter().cloned());
        let connect = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let accept = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self {
            rules,
            server,
            connector: TlsConnector::from(Arc::new(connect)),
            acceptor: TlsAcceptor::from(Arc::new(accept)),
            kept: Mutex::default(),
        })
    }

    /// Accepts on both listeners for as long as it is polled.
    pub(crate) async fn serve(self: Arc<Self>, inside: TcpListener, outside: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let is_free = connections.len() < CONNECTIONS_MAX;
            let (stream, _) = tokio::select! {
                accepted = accept(|| inside.accept()), if is_free => accepted,
                accepted = accept(|| outside.accept()), if is_free => accepted,
                Some(_) = connections.join_next() => continue,
            };
            connections.spawn(Arc::clone(&self).converse(stream));
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let greeted = time::timeout(CONNECT_TIMEOUT, self.acceptor.accept(stream)).await;
        let Ok(Ok(stream)) = greeted else {
            debug!("A client did not greet");
            return;
        };
        let link = AsyncMutex::new(Link::default());
        let service = service_fn(|req| self.answer(req, &link));
        let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // Cutting a connection is what some rules are for.
        served.await.ok();
    }

    async fn answer(
        &self,
        req: Request<Incoming>,
        link: &AsyncMutex<Link>,
    ) -> Result<Response<Body>, ProxyError> {
        let agent = req.headers().get(header::USER_AGENT);
        let agent = agent
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default();
        let api = ApiRequest::new(req.method(), req.uri(), agent);
        let hit = self.rules.meet(&api);
        if let Some(Hit { id, fault }) = hit {
            info!(rule = id.0, ?fault, request = %api, "Fault injected");
        }
        let mut link = link.lock().await;
        match hit.map(|hit| (hit.id, hit.fault)) {
            Some((_, Fault::Refuse(refusal))) => Ok(refuse(refusal, &api)),
            Some((_, Fault::DoneBut(refusal))) => {
                self.finish(req, &mut link).await?;
                Ok(refuse(refusal, &api))
            }
            Some((_, Fault::Lost)) => {
                self.finish(req, &mut link).await?;
                Err(ProxyError::Cut)
            }
            Some((id, Fault::Silence)) => {
                self.rules.gone(id).await;
                Err(ProxyError::Cut)
            }
            Some((_, Fault::Slow { delay_ms })) => {
                time::sleep(Duration::from_millis(delay_ms)).await;
                self.pass(req, api, &mut link).await
            }
            Some((id, Fault::Stale)) => self.recall(id, req, &mut link).await,
            Some((_, Fault::CutWatch | Fault::ExpireWatch | Fault::HoldWatch)) | None => {
                self.pass(req, api, &mut link).await
            }
        }
    }

    async fn pass(
        &self,
        req: Request<Incoming>,
        api: ApiRequest,
        link: &mut Link,
    ) -> Result<Response<Body>, ProxyError> {
        let response = self.forward(req, link).await?;
        if api.verb == Verb::Watch && response.status() == StatusCode::OK {
            return Ok(response.map(|body| events::body(body, self.rules.clone(), api)));
        }
        Ok(response.map(|body| body.map_err(ProxyError::Server).boxed_unsync()))
    }

    /// Lets the server do what was asked, to its end.
    async fn finish(&self, req: Request<Incoming>, link: &mut Link) -> Result<(), ProxyError> {
        let mut body = self.forward(req, link).await?.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(ProxyError::Server)?;
        }
        Ok(())
    }

    /// Answers as at first.
    async fn recall(
        &self,
        id: RuleId,
        req: Request<Incoming>,
        link: &mut Link,
    ) -> Result<Response<Body>, ProxyError> {
        let key = (id, req.uri().to_string());
        if let Some((parts, body)) = self.kept().get(&key).cloned() {
            return Ok(Response::from_parts(parts, full(body)));
        }
        let (parts, body) = self.forward(req, link).await?.into_parts();
        let body = Limited::new(body, KEPT_BYTES_MAX).collect().await;
        let body = body.map_err(ProxyError::Keep)?.to_bytes();
        let mut kept = self.kept();
        kept.retain(|(old, _), _| self.rules.stands(*old));
        if kept.len() < KEPT_MAX {
            kept.insert(key, (parts.clone(), body.clone()));
        }
        Ok(Response::from_parts(parts, full(body)))
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<(RuleId, String), Kept>> {
        // Nothing panics while it holds the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn forward(
        &self,
        req: Request<Incoming>,
        link: &mut Link,
    ) -> Result<Response<Incoming>, ProxyError> {
        let is_usable = match &mut link.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_usable {
            *link = self.connect().await?;
        }
        let Some(sender) = &mut link.sender else {
            return Err(ProxyError::ConnectTimeout);
        };
        sender.send_request(req).await.map_err(ProxyError::Server)
    }

    async fn connect(&self) -> Result<Link, ProxyError> {
        let connect = async {
            let stream = TcpStream::connect(self.server).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::from(self.server.ip());
            self.connector.connect(name, stream).await
        };
        let stream = time::timeout(CONNECT_TIMEOUT, connect).await;
        let stream = stream.map_err(|_| ProxyError::ConnectTimeout)?;
        let stream = TokioIo::new(stream.map_err(ProxyError::Connect)?);
        let (sender, connection) = client::handshake(stream)
            .await
            .map_err(ProxyError::Server)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The request that is under way learns of a failure.
            connection.await.ok();
        });
        Ok(Link {
            sender: Some(sender),
            _driver: driver,
        })
    }
}

/// The connection to the server that belongs to one of a client; what drives it ends with it.
#[derive(Debug, Default)]
struct Link {
    sender: Option<client::SendRequest<Incoming>>,
    _driver: JoinSet<()>,
}

fn refuse(refusal: Refusal, api: &ApiRequest) -> Response<Body> {
    let (code, reason) = refusal.parts();
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{reason} by a fault of the test plane: {api}"), "reason": reason, "code": code,
    });
    let mut response = Response::new(full(Bytes::from(status.to_string())));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if refusal == Refusal::TooManyRequests {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn full(body: Bytes) -> Body {
    Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}
