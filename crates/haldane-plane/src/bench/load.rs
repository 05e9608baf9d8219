//! Load as users make it: requests come when they come, whether earlier ones are answered or not.
//!
//! Half of them come over fresh connections, half over kept ones. What counts is what a client sees: anything but an answer that is no
//! server error is *dropped*.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{self, Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

/// Requests in a second.
pub(super) const RATE: u32 = 500;

/// How long a request may take before nobody waits for it any more.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long a kept connection may lie unused; Envoy closes it after a minute.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// How long a load may go on: a bound for what is remembered.
const LOAD_MAX: Duration = Duration::from_secs(600);

/// How large an answer may be.
const ANSWER_BYTES_MAX: usize = 1 << 16;

/// How much of a bad answer is told.
const REASON_CHARS_MAX: usize = 120;

/// What became of one request.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// When it was sent.
    pub sent: Instant,
    /// When its fate was known.
    pub ended: Instant,
    /// The version that answered, or why there was no good answer.
    pub answer: Result<String, String>,
}

/// A load that goes on.
#[derive(Debug)]
pub(super) struct Load {
    stop: CancellationToken,
    log: Log,
    run: JoinSet<()>,
}

/// What became of all requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Sent>>>);

/// Connections that wait for the next request, the one used longest ago first.
type Kept = Arc<Mutex<VecDeque<(Instant, Connection)>>>;

/// A connection; it ends when this is dropped.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driver: JoinSet<hyper::Result<()>>,
}

impl Load {
    /// Begins to send requests for this host to an address.
    pub(super) fn begin(address: SocketAddr, host: &str) -> Self {
        let (stop, log) = (CancellationToken::new(), Log::default());
        let mut run = JoinSet::new();
        run.spawn(send_all(
            address,
            host.to_owned(),
            stop.clone(),
            log.clone(),
        ));
        Self { stop, log, run }
    }

    /// Returns what is known so far.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Ends it, waits for the answers that are still to come, and returns all.
    pub(super) async fn end(mut self) -> anyhow::Result<Vec<Sent>> {
        self.stop.cancel();
        let ended = time::timeout(ANSWER_MAX.saturating_mul(3), self.run.join_next()).await;
        ended
            .context("the load does not end")?
            .context("the load was lost")??;
        Ok(self.log.all())
    }
}

impl Log {
    /// Returns all requests whose fate is known.
    pub(super) fn all(&self) -> Vec<Sent> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the first request that `is_wanted`.
    pub(super) fn first(&self, is_wanted: impl Fn(&Sent) -> bool) -> Option<Sent> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|one| is_wanted(one)).cloned()
    }

    fn note(&self, sent: Sent) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sent);
    }
}

impl Sent {
    /// Whether this version answered.
    pub(super) fn is_by(&self, version: &str) -> bool {
        matches!(&self.answer, Ok(by) if by == version)
    }

    /// Whether a client was let down.
    pub(super) fn is_dropped(&self) -> bool {
        self.answer.is_err()
    }
}

/// Counts dropped requests by their reason.
pub(super) fn dropped(log: &[Sent]) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    for sent in log.iter().filter(|sent| sent.is_dropped()) {
        let reason = sent.answer.clone().err().unwrap_or_default();
        let count: &mut u64 = reasons.entry(reason).or_default();
        *count = count.saturating_add(1);
    }
    reasons
}

async fn send_all(address: SocketAddr, host: String, stop: CancellationToken, log: Log) {
    let kept = Kept::default();
    let mut requests = JoinSet::new();
    let mut clock = time::interval(Duration::from_secs(1) / RATE);
    // A request that is late is sent late, not left out.
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = Instant::now() + LOAD_MAX;
    let mut is_fresh = false;
    while !stop.is_cancelled() && Instant::now() < end {
        clock.tick().await;
        is_fresh = !is_fresh;
        let kept = (!is_fresh).then(|| Arc::clone(&kept));
        let (host, log) = (host.clone(), log.clone());
        requests.spawn(async move {
            let sent = Instant::now();
            let exchange = time::timeout(ANSWER_MAX, exchange(address, &host, kept));
            let answer = exchange
                .await
                .unwrap_or_else(|_| Err("no answer in time".to_owned()));
            log.note(Sent {
                sent,
                ended: Instant::now(),
                answer,
            });
        });
        while requests.try_join_next().is_some() {}
    }
    requests.join_all().await;
}

async fn exchange(address: SocketAddr, host: &str, kept: Option<Kept>) -> Result<String, String> {
    let mut connection = match kept.as_ref().and_then(take) {
        Some(connection) => connection,
        None => connect(address).await?,
    };
    let failed = |error: hyper::Error| format!("connection broke: {error}");
    connection.sender.ready().await.map_err(failed)?;
    let request = Request::get("/").header("host", host).body(Empty::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = connection
        .sender
        .send_request(request)
        .await
        .map_err(failed)?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body
        .map_err(|error| format!("answer broke off: {error}"))?
        .to_bytes();
    if let Some(kept) = kept {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((Instant::now(), connection));
    }
    if head.status.is_server_error() {
        let said: String = String::from_utf8_lossy(&body)
            .chars()
            .take(REASON_CHARS_MAX)
            .collect();
        return Err(format!("answered {}: {said}", head.status.as_u16())
            .trim()
            .to_owned());
    }
    let version = head
        .headers
        .get("x-version")
        .and_then(|value| value.to_str().ok());
    Ok(version.unwrap_or_default().to_owned())
}

/// Returns a kept connection that the other side has not closed.
fn take(kept: &Kept) -> Option<Connection> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some((since, connection)) = kept.pop_front() {
        if since.elapsed() < IDLE_MAX && !connection.sender.is_closed() {
            return Some(connection);
        }
    }
    None
}

async fn connect(address: SocketAddr) -> Result<Connection, String> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| format!("not connected: {error}"))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| format!("not connected: {error}"))?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok(Connection {
        sender,
        _driver: driver,
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::bench::wait::until;

    /// Answers each connection's requests: the first well, the second with 500; then it hangs up in the middle of the third.
    async fn serve(listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut request = [0; 1024];
                for code in ["200 OK", "500 Oh"] {
                    if !matches!(stream.read(&mut request).await, Ok(1..)) {
                        return;
                    }
                    let text =
                        format!("HTTP/1.1 {code}\r\nx-version: v2\r\ncontent-length: 0\r\n\r\n");
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
                drop(stream.read(&mut request).await);
            });
        }
    }

    #[tokio::test]
    async fn what_a_client_sees_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(serve(listener));
        let load = Load::begin(address, "shop.example");
        let is_broken = |sent: &Sent| sent.answer.is_err();
        until("a broken connection", Duration::from_secs(30), async || {
            Ok(load.log().first(is_broken))
        })
        .await
        .unwrap();
        let log = load.end().await.unwrap();
        let reasons = dropped(&log);
        assert!(reasons.contains_key("answered 500:"), "{reasons:?}");
        assert!(
            reasons
                .keys()
                .any(|reason| reason.starts_with("connection broke")),
            "{reasons:?}"
        );
        assert!(
            log.iter()
                .any(|sent| sent.is_by("v2") && !sent.is_dropped())
        );
        let count: u64 = reasons.values().sum();
        let expected = log.iter().filter(|sent| sent.is_dropped()).count();
        assert_eq!(usize::try_from(count).unwrap(), expected);
    }

    #[tokio::test]
    async fn nobody_there_is_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let load = Load::begin(address, "shop.example");
        until("a refusal", Duration::from_secs(30), async || {
            Ok(load.log().first(|_| true))
        })
        .await
        .unwrap();
        let log = load.end().await.unwrap();
        assert!(log.iter().all(Sent::is_dropped), "{log:?}");
    }
}
