//! Users: requests through the gateway at a steady pace, and who answered them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http1, http::response::Parts};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

/// Connections, each with its share of the requests.
const CONNECTIONS: u32 = 4;

/// Longer than any answer of a pod that is there.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What became of one request: the version that answered, or what went wrong.
type Outcome = Result<String, String>;

/// One request, and the cookie that its answer set.
#[derive(Debug)]
pub(crate) struct Visit {
    pub outcome: Outcome,
    pub cookie: Option<String>,
}

/// Requests at a steady pace, from a thread of their own.
pub(crate) struct Load {
    log: Arc<Mutex<Vec<(Instant, Outcome)>>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// All requests of a load, by the time at which they were answered.
pub(crate) struct Answers(Vec<(Instant, Outcome)>);

impl Load {
    /// Begins to send so many requests per second to `host`.
    pub(crate) fn begin(gateway: SocketAddr, host: String, rps: u32) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let (own, stopped) = (Arc::clone(&log), stop.clone());
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut users = JoinSet::new();
                for _ in 0..CONNECTIONS {
                    users.spawn(user(gateway, host.clone(), rps, Arc::clone(&own)));
                }
                stopped.cancelled().await;
            });
        });
        Self {
            log,
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it and returns what it saw.
    pub(crate) fn end(mut self) -> Answers {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
        Answers(std::mem::take(&mut self.log.lock().unwrap()))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Answers {
    /// Fails on each request that was not answered with 200.
    pub(crate) fn none_dropped(&self) {
        let first = self.0.first().unwrap().0;
        let failed: Vec<(Duration, &String)> = self
            .0
            .iter()
            .filter_map(|(at, outcome)| Some((*at - first, outcome.as_ref().err()?)))
            .collect();
        assert!(
            failed.is_empty(),
            "{} of {}: {failed:?}\n{:?}",
            failed.len(),
            self.0.len(),
            self.by_second()
        );
        assert!(self.0.len() > 500, "only {} requests", self.0.len());
    }

    /// Returns who answered how often in each second.
    fn by_second(&self) -> BTreeMap<u64, BTreeMap<&str, usize>> {
        let first = self.0.first().unwrap().0;
        let mut all: BTreeMap<u64, BTreeMap<&str, usize>> = BTreeMap::new();
        for (at, outcome) in &self.0 {
            let second = all.entry((*at - first).as_secs()).or_default();
            *second
                .entry(outcome.as_deref().unwrap_or("lost"))
                .or_default() += 1;
        }
        all
    }

    /// Returns how many requests were answered between two times, and how many of them by `version`.
    pub(crate) fn between(&self, begin: Instant, end: Instant, version: &str) -> (usize, usize) {
        let within = self.0.iter().filter(|(at, _)| (begin..end).contains(at));
        let answers: Vec<&Outcome> = within.map(|(_, outcome)| outcome).collect();
        let of = answers.iter().filter(|one| one.as_deref() == Ok(version));
        (answers.len(), of.count())
    }

    /// Returns how many answers a version gave after a time.
    pub(crate) fn since(&self, begin: Instant, version: &str) -> usize {
        self.between(begin, begin + Duration::from_secs(3_600), version)
            .1
    }
}

async fn user(
    gateway: SocketAddr,
    host: String,
    rps: u32,
    log: Arc<Mutex<Vec<(Instant, Outcome)>>>,
) {
    let mut pace = time::interval(Duration::from_secs(1) * CONNECTIONS / rps);
    let mut connections = JoinSet::new();
    let mut sender: Option<Sender> = None;
    loop {
        pace.tick().await;
        let asked = time::timeout(TIMEOUT, async {
            // A connection that was closed after an answer is no lost request.
            let mut own = match sender.take() {
                Some(own) if !own.is_closed() => own,
                Some(_) | None => connect(gateway, &mut connections).await?,
            };
            let version = ask(&mut own, &host).await?;
            sender = Some(own);
            Ok(version)
        });
        let outcome = asked.await.unwrap_or_else(|_| Err("no answer".to_owned()));
        log.lock().unwrap().push((Instant::now(), outcome));
    }
}

type Sender = http1::SendRequest<Empty<Bytes>>;

async fn connect(gateway: SocketAddr, of: &mut JoinSet<()>) -> Result<Sender, String> {
    let stream = TcpStream::connect(gateway).await;
    let stream = stream.map_err(|error| format!("connecting: {error}"))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("connecting: {error}"))?;
    // How it ended is told by the request that it breaks.
    of.spawn(async { drop(connection.await) });
    Ok(sender)
}

async fn ask(sender: &mut Sender, host: &str) -> Outcome {
    let request = Request::get("/").header("host", host).body(Empty::new());
    exchange(sender, request.unwrap())
        .await
        .and_then(|head| version(&head))
}

/// Asks once, over a connection of its own.
pub(crate) async fn visit(gateway: SocketAddr, host: &str, cookie: Option<&str>) -> Visit {
    let mut request = Request::get("/").header("host", host);
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    let request = request.body(Empty::new()).unwrap();
    let mut connections = JoinSet::new();
    let asked = time::timeout(TIMEOUT, async {
        let mut sender = connect(gateway, &mut connections).await?;
        exchange(&mut sender, request).await
    });
    match asked.await.unwrap_or_else(|_| Err("no answer".to_owned())) {
        Ok(head) => {
            let set = text(&head, "set-cookie");
            let cookie = set.and_then(|set| set.split(';').next().map(str::to_owned));
            let outcome = version(&head);
            Visit { outcome, cookie }
        }
        Err(error) => Visit {
            outcome: Err(error),
            cookie: None,
        },
    }
}

async fn exchange(sender: &mut Sender, request: Request<Empty<Bytes>>) -> Result<Parts, String> {
    let asked = sender.send_request(request).await;
    let (head, body) = asked
        .map_err(|error| format!("asking: {error:?}"))?
        .into_parts();
    let read = body.collect().await;
    let body = read
        .map_err(|error| format!("reading: {error:?}"))?
        .to_bytes();
    if head.status != 200 {
        return Err(format!(
            "{}: {}",
            head.status,
            String::from_utf8_lossy(&body)
        ));
    }
    Ok(head)
}

fn version(head: &Parts) -> Outcome {
    Ok(text(head, "x-version").unwrap_or("none").to_owned())
}

fn text<'a>(head: &'a Parts, header: &str) -> Option<&'a str> {
    head.headers.get(header)?.to_str().ok()
}
