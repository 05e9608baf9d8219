//! The small HTTP endpoint for probes and scrapes: `/healthz`, `/readyz` and `/metrics`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time,
};
use tracing::debug;

use crate::{controller::State, metrics::Gauges};

/// Probes and scrapes at the same time; others wait.
const CONNECTIONS_MAX: usize = 32;

/// How long a client may take for its request, and how long a connection may last.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// How long to wait when no connection can be taken, for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const TEXT: &str = "text/plain; charset=utf-8";

/// The content type of the metrics.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers until it is dropped.
pub(crate) async fn serve(listener: TcpListener, state: Arc<State>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    connection(stream, state).await;
                    drop(permit);
                });
            }
            Err(error) => {
                debug!(%error, "Connection not taken");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |req: Request<Incoming>| {
        let rsp = answer(req.method(), req.uri().path(), &state);
        async move { Ok::<_, Infallible>(rsp) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = time::timeout(CONNECTION_MAX, connection).await {
        debug!(%error, "Connection broke");
    }
}

fn answer(method: &Method, path: &str, state: &State) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
    }
    match path {
        "/healthz" => response(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => ready(state),
        "/metrics" => response(
            StatusCode::OK,
            METRICS_TEXT,
            state.metrics.render(&gauges(state)),
        ),
        _ => response(StatusCode::NOT_FOUND, TEXT, "not found\n"),
    }
}

fn ready(state: &State) -> Response<Full<Bytes>> {
    let missing = state.missing();
    if !missing.is_empty() {
        let text = format!("not ready: waiting for {}\n", missing.join(", "));
        return response(StatusCode::SERVICE_UNAVAILABLE, TEXT, text);
    }
    let text = if state.is_shadow() {
        "ready: in the shadow, nothing is written\n"
    } else if state.is_leader() {
        "ready: leading\n"
    } else {
        "ready: standing by\n"
    };
    response(StatusCode::OK, TEXT, text)
}

fn gauges(state: &State) -> Gauges {
    let sizes = state.worker.hub.cache.view().sizes();
    Gauges {
        is_leader: state.is_leader(),
        is_ready: state.missing().is_empty(),
        waiting_turns: state.worker.hub.depth(),
        waiting_writes: state.worker.writer.gate.depth(),
        kept: sizes
            .into_iter()
            .map(|(kind, size)| (kind.kind, size.objects, size.bytes))
            .collect(),
    }
}

fn response(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut rsp = Response::new(Full::new(body.into()));
    *rsp.status_mut() = status;
    rsp.headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    rsp
}
