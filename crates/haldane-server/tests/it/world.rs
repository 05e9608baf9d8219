//! A server between a driver that answers by the service's name and extras that answer by the version's.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use haldane_api::http::{
    Answer, DaemonView, FiguresView, RolloutHistory, ServiceView, VersionView,
};
use haldane_core::{RolloutId, ServiceName};
use haldane_engine::handle::{Engine, Event, RequestError, Views};
use haldane_engine::{recording::Part, store::RolloutRow};
use haldane_server::{Extras, LogError, LogFollower, LogRequest, Metrics, Server, ServerConfig};
use tempfile::TempDir;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};

use crate::it::client::PATIENCE;

/// Everything around a server, and the server.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) server: Option<Server>,
    pub(crate) views: watch::Sender<Arc<Views>>,
    pub(crate) extras: Arc<Binary>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// Lets the driver answer the service `slow`.
    pub(crate) release: Arc<Notify>,
    daemon: watch::Sender<DaemonView>,
    driver: JoinSet<()>,
}

/// The binary's side.
#[derive(Default)]
pub(crate) struct Binary {
    pub(crate) shut_downs: AtomicUsize,
    pub(crate) shut_down: Notify,
    pub(crate) followers: Arc<AtomicUsize>,
    pub(crate) requests: Mutex<Vec<LogRequest>>,
    /// What followers have still to tell, in pieces.
    pub(crate) lines: Arc<Mutex<Vec<io::Result<String>>>>,
}

struct Lines {
    lines: Arc<Mutex<Vec<io::Result<String>>>>,
    alive: Arc<AtomicUsize>,
}

impl World {
    /// Starts with the services `auth` and `shop`.
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_with_metrics() -> Self {
        Self::start_with(Some("127.0.0.1:0")).await
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("haldane.sock")
    }

    /// Changes the services at once, as the driver does.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Views)) {
        self.views.send_modify(|views| change(Arc::make_mut(views)));
    }

    /// Ends the driver, as a failure would.
    pub(crate) async fn lose_driver(&mut self) {
        self.driver.shutdown().await;
        let (views, _) = watch::channel(Arc::default());
        self.views = views;
    }

    async fn start_with(metrics: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (views, seen) = watch::channel(Arc::new(Views::from(
            ["auth", "shop"].map(|name| (service(name), view(name))),
        )));
        let (daemon, daemon_seen) = watch::channel(daemon());
        let (events, inbox) = mpsc::channel(16);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut driver = JoinSet::new();
        let release = Arc::default();
        driver.spawn(drive(inbox, Arc::clone(&asked), Arc::clone(&release)));
        let extras = Arc::new(Binary::default());
        let config = ServerConfig {
            socket: directory.path().join("haldane.sock"),
            metrics_listen: metrics.map(|address| address.parse().unwrap()),
        };
        let engine = Engine::new(events, seen, daemon_seen);
        let server = Server::start(config, engine, Arc::clone(&extras) as Arc<dyn Extras>)
            .await
            .unwrap();
        Self {
            directory,
            server: Some(server),
            views,
            extras,
            asked,
            release,
            daemon,
            driver,
        }
    }

    /// Changes what is known of the daemon.
    pub(crate) fn fault(&self, fault: &str) {
        self.daemon
            .send_modify(|daemon| daemon.store_fault = Some(fault.to_owned()));
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Locks what no test leaves in pieces.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

pub(crate) fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

pub(crate) fn view(name: &str) -> ServiceView {
    ServiceView {
        name: service(name),
        namespace: None,
        listen: vec!["127.0.0.1:8080".to_owned()],
        stable: VersionView {
            version: "v1".parse().unwrap(),
            source: "./auth".to_owned(),
            replicas_wanted: 1,
            replicas_ready: 1,
            replicas_existing: 1,
            figures: FiguresView::default(),
        },
        canary: None,
        rollout: None,
        queued: None,
        differences: Vec::new(),
        notices: Vec::new(),
        objects: Vec::new(),
        at: "2026-11-21T10:00:00Z".parse().unwrap(),
    }
}

pub(crate) fn daemon() -> DaemonView {
    DaemonView {
        version: "0.1.0".to_owned(),
        pid: 7,
        started_at: "2026-11-21T09:00:00Z".parse().unwrap(),
        data_dir: "/var/lib/haldane".to_owned(),
        store_fault: None,
    }
}

pub(crate) fn history(id: RolloutId) -> RolloutHistory {
    RolloutHistory {
        id,
        kind: "deploy".to_owned(),
        by: "ada".to_owned(),
        reason: None,
        stable: "v1".parse().unwrap(),
        canary: "v2".parse().unwrap(),
        phase: "Completed".to_owned(),
        message: "Promoted.".to_owned(),
        started_at: "2026-11-21T09:10:00Z".parse().unwrap(),
        ended_at: None,
        entries: Vec::new(),
    }
}

pub(crate) fn done(message: &str) -> Answer {
    Answer {
        messages: vec![message.to_owned()],
        rollout: None,
        is_durable: true,
    }
}

async fn drive(
    mut inbox: mpsc::Receiver<Event>,
    asked: Arc<Mutex<Vec<String>>>,
    release: Arc<Notify>,
) {
    // Replies to the service `mute`, which is never answered.
    let mut held = Vec::new();
    while let Some(event) = inbox.recv().await {
        asked.lock().unwrap().push(format!("{event:?}"));
        match event {
            Event::Apply(request, reply) if request.text == "wrong" => {
                let problems = vec!["1:1: expected a mapping".to_owned()];
                reply
                    .send(Err(RequestError::Invalid {
                        error: "1 mistake".to_owned(),
                        problems,
                    }))
                    .unwrap();
            }
            Event::Apply(request, reply) => {
                reply
                    .send(Ok(done(&format!("Applied {} bytes.", request.text.len()))))
                    .unwrap();
            }
            Event::Deploy(service, request, reply) => match service.as_str() {
                "lost" => drop(reply),
                "mute" => held.push(reply),
                "slow" => {
                    release.notified().await;
                    reply.send(Ok(done("Deploying at last."))).unwrap();
                }
                name => {
                    let answer = fault(name)
                        .map_or_else(|| Ok(done(&format!("Deploying {}.", request.version))), Err);
                    // Who asked may have gone.
                    reply.send(answer).unwrap_or_default();
                }
            },
            Event::Command(service, request, reply) => {
                let text = format!("{:?} by {}.", request.command, request.by);
                let answer = fault(service.as_str()).map_or_else(|| Ok(done(&text)), Err);
                reply.send(answer).unwrap_or_default();
            }
            Event::History {
                service,
                limit,
                has_entries: _,
                reply,
            } => {
                let rollouts = (1..=u64::from(limit))
                    .rev()
                    .map(|number| history(RolloutId::new(&service, number)));
                reply
                    .send(fault(service.as_str()).map_or_else(|| Ok(rollouts.collect()), Err))
                    .unwrap();
            }
            Event::Rollout(id, reply) => {
                let is_known = id.as_str() == "auth-1";
                let answer = if is_known {
                    Ok(history(id))
                } else {
                    Err(RequestError::NotFound(format!("there is no rollout {id}")))
                };
                reply.send(answer).unwrap();
            }
            Event::Stored(id, _, reply) => {
                let row = (id.as_str() == "auth-1").then(|| stored(&id));
                let why = format!("there is no rollout {id}");
                reply.send(row.ok_or(RequestError::NotFound(why))).unwrap();
            }
            Event::Gate(_) | Event::Changed => {}
        }
    }
}

/// Returns a rollout as a store keeps it, of which nothing is recorded.
fn stored(id: &RolloutId) -> Part {
    let row = RolloutRow {
        id: id.clone(),
        service: service("auth"),
        number: 1,
        started_at: daemon().started_at,
        ended_at: None,
        body: include_str!("rollout.json").to_owned(),
    };
    Part {
        rollout: Some((row, Vec::new())),
        rows: Vec::new(),
    }
}

fn fault(service: &str) -> Option<RequestError> {
    match service {
        "ghost" => Some(RequestError::NotFound(
            "there is no service ghost".to_owned(),
        )),
        "busy" => Some(RequestError::Refused("a rollout goes on".to_owned())),
        "disk" => Some(RequestError::Store("the disk is full".to_owned())),
        _ => None,
    }
}

impl Extras for Binary {
    fn metrics(&self, accept: &str, figures: &str) -> Metrics {
        Metrics {
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: format!("haldane_proxy_connections 3\n# for {accept}\n{figures}").into(),
        }
    }

    fn logs(&self, request: &LogRequest) -> Result<String, LogError> {
        lock(&self.requests).push(request.clone());
        match request.version.as_str() {
            "gone" => Err(LogError::NotFound("there is no version gone".to_owned())),
            "broken" => Err(LogError::Unreadable(io::Error::other("bad sector"))),
            _ => Ok("one\ntwo\n".to_owned()),
        }
    }

    fn follow_logs(&self, request: &LogRequest) -> Result<Box<dyn LogFollower>, LogError> {
        let first = self.logs(request)?;
        lock(&self.lines).push(Ok(first));
        self.followers.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Lines {
            lines: Arc::clone(&self.lines),
            alive: Arc::clone(&self.followers),
        }))
    }

    fn shut_down(&self) {
        self.shut_downs.fetch_add(1, Ordering::SeqCst);
        self.shut_down.notify_one();
    }
}

impl LogFollower for Lines {
    fn poll(&mut self) -> io::Result<String> {
        lock(&self.lines).pop().unwrap_or_else(|| Ok(String::new()))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}
