//! The server of all pods: it watches them and listens on the address of each container that runs.
//!
//! Every container has its own listener. When it ends, the listener is closed and the kernel refuses further connections, as with
//! a real pod that is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use futures_util::{Stream, TryStreamExt as _};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    accept::accept,
    pod::{
        behavior::Stop,
        instance::{Id, Instance, instances},
        reply::Replies,
    },
};

/// The connections of one port; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;

/// A restarted container takes over the address of the one before, which may need a moment to let go.
const BIND_TIMEOUT: Duration = Duration::from_secs(2);
const BIND_INTERVAL: Duration = Duration::from_millis(20);

/// Serves all pods for as long as it is polled, and tells through `running` how many containers run.
pub(crate) async fn run(client: Client, running: watch::Sender<usize>) {
    let pods = watcher::watcher(Api::<Pod>::all(client), watcher::Config::default());
    Server::default()
        .follow(pods.default_backoff(), running)
        .await;
}

#[derive(Debug, Default)]
struct Server {
    containers: BTreeMap<Id, Life>,
    tasks: JoinSet<()>,
    /// The pods of a list that is not complete yet.
    listed: BTreeSet<String>,
}

/// How a container is told to end.
#[derive(Clone, Debug, Default)]
struct Life {
    /// SIGTERM.
    stop: CancellationToken,
    /// It is gone.
    kill: CancellationToken,
    is_ending: bool,
}

impl Server {
    async fn follow(
        mut self,
        pods: impl Stream<Item = watcher::Result<Event<Pod>>>,
        running: watch::Sender<usize>,
    ) {
        let mut pods = std::pin::pin!(pods);
        loop {
            tokio::select! {
                event = pods.try_next() => match event {
                    Ok(Some(event)) => self.take(event),
                    Ok(None) => return,
                    Err(error) => warn!(%error, "Watching pods failed"),
                },
                Some(ended) = self.tasks.join_next() => if let Err(error) = ended {
                    warn!(%error, "A container's task failed");
                },
            }
            running.send_replace(self.containers.len());
        }
    }

    fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => {
                self.listed.extend(pod.metadata.uid.clone());
                self.settle(&pod);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.end(|id| !listed.contains(&id.pod));
            }
            Event::Apply(pod) => self.settle(&pod),
            Event::Delete(pod) => {
                let uid = pod.metadata.uid.unwrap_or_default();
                self.end(|id| id.pod == uid);
            }
        }
    }

    /// Makes what runs here what the pod's status says.
    fn settle(&mut self, pod: &Pod) {
        let wanted = instances(pod);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.end(|id| id.pod == uid && wanted.iter().all(|instance| instance.id != *id));
        for instance in wanted {
            let ends_in = instance.ends_in;
            let life = match self.containers.get_mut(&instance.id) {
                Some(life) => life,
                None => {
                    let life = start(&mut self.tasks, &instance);
                    self.containers.entry(instance.id).or_insert(life)
                }
            };
            if let Some(delay) = ends_in.filter(|_| !life.is_ending) {
                life.is_ending = true;
                let Life { stop, kill, .. } = life.clone();
                self.tasks.spawn(async move {
                    kill.run_until_cancelled(time::sleep(delay)).await;
                    stop.cancel();
                });
            }
        }
    }

    fn end(&mut self, is_gone: impl Fn(&Id) -> bool) {
        self.containers.retain(|id, life| {
            let is_gone = is_gone(id);
            if is_gone {
                life.kill.cancel();
            }
            !is_gone
        });
    }
}

fn start(tasks: &mut JoinSet<()>, instance: &Instance) -> Life {
    if let Err(problems) = &instance.behavior {
        for problem in problems {
            warn!(pod = instance.pod_name, %problem, "A setting can't be followed");
        }
    }
    let life = Life::default();
    let replies = Arc::new(Replies::new(instance.clone()));
    let stop = instance
        .behavior
        .as_ref()
        .map_or(Stop::Drain, |behavior| behavior.stop);
    for port in &instance.ports {
        let address = SocketAddr::new(instance.ip, *port);
        let port = Port {
            replies: Arc::clone(&replies),
            life: life.clone(),
            stop,
        };
        let kill = life.kill.clone();
        tasks.spawn(async move {
            // Whatever the port does, it ends at once when the container is gone: its connections are dropped with it.
            kill.run_until_cancelled(port.open(address)).await;
        });
    }
    info!(pod = instance.pod_name, ip = %instance.ip, "Container started");
    life
}

/// One port of one container.
#[derive(Debug)]
struct Port {
    replies: Arc<Replies>,
    life: Life,
    stop: Stop,
}

impl Port {
    async fn open(self, address: SocketAddr) {
        match bind(address).await {
            Ok(listener) => self.serve(listener).await,
            Err(error) => warn!(%address, %error, "A pod's address can't be listened on"),
        }
    }

    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = self.life.stop.cancelled(), if self.stop != Stop::Serve => break,
                (stream, _) = accept(|| listener.accept()), if connections.len() < CONNECTIONS_MAX => {
                    let replies = Arc::clone(&self.replies);
                    let stop = match self.stop {
                        Stop::Serve => CancellationToken::new(),
                        Stop::Drain | Stop::Drop => self.life.stop.clone(),
                    };
                    connections.spawn(converse(stream, replies, stop));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        match self.stop {
            Stop::Drain | Stop::Serve => while connections.join_next().await.is_some() {},
            Stop::Drop => connections.abort_all(),
        }
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + BIND_TIMEOUT;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                time::sleep(BIND_INTERVAL).await;
            }
            result => return result,
        }
    }
}

/// Answers the requests of one connection until it is closed; after SIGTERM only the one that has begun.
async fn converse(stream: TcpStream, replies: Arc<Replies>, stop: CancellationToken) {
    let service = service_fn(|req| replies.answer(req));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client that goes away in the middle is its own affair.
    ended.ok();
}
