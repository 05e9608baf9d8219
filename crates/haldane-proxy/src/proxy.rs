//! The proxy as the host holds it: starts the threads, publishes tables, reads counters, drains.

use std::{
    collections::BTreeMap, io, net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration,
};

use arc_swap::ArcSwap;
use haldane_core::{ServiceName, VersionName};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use crate::{
    config::Config,
    count::{Counters, Reading},
    listener::{ListenError, Listener, bind},
    table::Table,
    via::Pseudonym,
    worker::{Command, Shared, Worker},
};

/// Commands that may wait for a thread. They come from configuration, so there are few.
const COMMANDS_MAX: usize = 64;

/// The data plane. Dropping it ends all traffic at once; [`Proxy::drain`] does it gently.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
    /// By the address that was asked for.
    listeners: Mutex<BTreeMap<SocketAddr, Arc<Listener>>>,
    closing: CancellationToken,
    stop: CancellationToken,
}

/// Why the data plane can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gave no event queue.
    #[error("build the runtime of data thread {thread}")]
    Runtime {
        /// The thread.
        thread: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gave no thread.
    #[error("start data thread {thread}")]
    Thread {
        /// The thread.
        thread: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered and every connection closed.
    Complete,
    /// Time ran out; what was open has been cut off.
    CutOff {
        /// How many connections were open.
        connections: u64,
    },
}

#[derive(Debug)]
struct Thread {
    commands: mpsc::Sender<Command>,
    clients: TaskTracker,
    handle: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts the data threads, with an empty table and no listener.
    ///
    /// # Errors
    /// When the system gives no thread or event queue.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let count = config.threads.get();
        let shared = Arc::new(Shared {
            table: ArcSwap::from_pointee(Table::empty()),
            counters: Arc::new(Counters::new(count)),
            pseudonym: Pseudonym::new(),
            config,
        });
        let stop = CancellationToken::new();
        // An error ends the threads already started.
        let guard = stop.clone().drop_guard();
        let threads = (0..count)
            .map(|thread| Thread::start(&shared, thread, stop.clone()))
            .collect::<Result<_, _>>()?;
        info!(threads = count, "Data plane started");
        let listeners = Mutex::default();
        Ok(Self {
            shared,
            threads,
            listeners,
            closing: CancellationToken::new(),
            stop: guard.disarm(),
        })
    }

    /// Makes `addrs` exactly the addresses listened on, and returns them with their real ports.
    ///
    /// Port 0 is one port chosen by the system; it stays the same in later calls. What is listened on already is left untouched. What
    /// is no longer asked for stops accepting before this returns; its open connections end after their next response.
    ///
    /// # Errors
    /// When an address can't be listened on. Nothing has changed then.
    pub async fn listen(&self, addrs: &[SocketAddr]) -> Result<Vec<SocketAddr>, ListenError> {
        let mut listeners = self.listeners.lock().await;
        let mut wanted: BTreeMap<SocketAddr, Arc<Listener>> = BTreeMap::new();
        let mut fresh = Vec::new();
        let mut real = Vec::new();
        for addr in addrs {
            let is_it = |(asked, listener): &(&SocketAddr, &Arc<Listener>)| {
                *asked == addr || listener.addr() == *addr
            };
            let known = wanted.iter().chain(listeners.iter()).find(is_it);
            let known = known.map(|(asked, listener)| (*asked, Arc::clone(listener)));
            let (asked, listener) = match known {
                Some(known) => known,
                None => {
                    let ours = listeners
                        .values()
                        .any(|other| other.addr().port() == addr.port());
                    let (real, sockets) = bind(*addr, self.threads.len(), ours)?;
                    let max = self.shared.config.limits.connections_max;
                    let listener = Arc::new(Listener::new(real, self.closing.child_token(), max));
                    fresh.push((Arc::clone(&listener), sockets));
                    (*addr, listener)
                }
            };
            real.push(listener.addr());
            wanted.insert(asked, listener);
        }
        for (listener, sockets) in fresh {
            self.accept(&listener, sockets).await;
        }
        let gone: Vec<_> = std::mem::replace(&mut *listeners, wanted)
            .into_iter()
            .filter(|(asked, _)| !listeners.contains_key(asked))
            .collect();
        for (_, listener) in gone {
            close(&listener).await;
        }
        Ok(real)
    }

    /// Makes `table` decide from the next request on, on all threads, at once and as a whole.
    ///
    /// Requests under way stay with the version that has them. Listeners are not touched.
    pub fn publish(&self, table: Table) {
        self.shared.counters.bound(&table);
        self.shared.table.store(Arc::new(table));
    }

    /// Waits until no thread decides by an older table than the published one.
    ///
    /// After this, [`Proxy::in_flight`] of a version without endpoints in the table only falls.
    pub async fn settle(&self) {
        for thread in &self.threads {
            let (tx, rx) = oneshot::channel();
            // A thread that is gone decides nothing.
            if thread.commands.send(Command::Settle(tx)).await.is_ok() {
                drop(rx.await);
            }
        }
    }

    /// Returns all counters.
    #[must_use]
    pub fn read(&self) -> Reading {
        self.shared.counters.read(&self.shared.table.load())
    }

    /// Returns how many requests a version holds right now. See [`Proxy::settle`].
    #[must_use]
    pub fn in_flight(&self, service: &ServiceName, version: &VersionName) -> u64 {
        self.shared.counters.in_flight(service, version)
    }

    /// Drops the counters of a version that is in the table no more. Returns whether there were any to drop.
    pub fn forget(&self, service: &ServiceName, version: &VersionName) -> bool {
        let table = self.shared.table.load();
        let mut arms = table
            .services()
            .filter(|route| route.name() == service)
            .flat_map(|route| route.arms());
        !arms.any(|arm| arm.version == *version) && self.shared.counters.forget(service, version)
    }

    /// Stops accepting, answers what is under way with `connection: close`, closes idle connections, and ends the threads when all is
    /// done or after `deadline`.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.closing.cancel();
        let done = timeout(deadline, async {
            for listener in self.listeners.lock().await.values() {
                listener.accepting.close();
                listener.accepting.wait().await;
            }
            for thread in &self.threads {
                thread.clients.close();
                thread.clients.wait().await;
            }
        });
        let drained = match done.await {
            Ok(()) => Drained::Complete,
            Err(_) => Drained::CutOff {
                connections: self.read().connections,
            },
        };
        self.stop.cancel();
        info!(?drained, "Data plane drained");
        drained
    }

    async fn accept(&self, listener: &Arc<Listener>, sockets: Vec<std::net::TcpListener>) {
        info!(addr = %listener.addr(), "Listening");
        for (thread, socket) in self.threads.iter().zip(sockets) {
            let command = Command::Accept {
                listener: Arc::clone(listener),
                socket,
                until: listener.accepting.token(),
            };
            // A thread that is gone is drained: there is nothing to accept any more.
            drop(thread.commands.send(command).await);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                // A panic has been reported by the thread itself.
                drop(handle.join());
            }
        }
    }
}

impl Thread {
    fn start(
        shared: &Arc<Shared>,
        thread: usize,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|source| StartError::Runtime { thread, source })?;
        let (commands, rx) = mpsc::channel(COMMANDS_MAX);
        let worker = Arc::new(Worker::new(Arc::clone(shared), thread));
        let clients = worker.clients.clone();
        let handle = std::thread::Builder::new()
            .name(format!("haldane-data-{thread}"))
            .spawn(move || runtime.block_on(worker.run(rx, stop)))
            .map_err(|source| StartError::Thread { thread, source })?;
        Ok(Self {
            commands,
            clients,
            handle: Some(handle),
        })
    }
}

/// Stops accepting on `listener`; its connections end after their next response.
async fn close(listener: &Listener) {
    listener.closing().cancel();
    listener.accepting.close();
    listener.accepting.wait().await;
    info!(addr = %listener.addr(), "No longer listening");
}
