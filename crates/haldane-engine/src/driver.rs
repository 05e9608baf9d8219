//! The loop: what is seen and asked goes in, decisions are made durable, effects go out.
//!
//! One driver holds any number of services on one thread. A turn gathers inputs, lets the core decide, commits, and states the
//! effects to the ports; nothing in it waits but the commit. The turn comes again at least each second, so a lost effect, a missed
//! change or a failed commit is made good by the next one.
//!
//! **Invariants:** a decision is durable before its effects begin, except that weight may be lowered first; while such a lowering is
//! not durable, nothing else is decided for its rollout; a rollout whose stored state makes no sense gets no traffic.

mod apply;
mod home;
mod request;
mod tell;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use haldane_api::{
    file::Notify as NotifyTarget,
    http::{Answer, DaemonView},
};
use haldane_core::{ServiceName, plan::check::Abilities};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::home::Home;
use crate::{
    handle::{Engine, Event, REQUESTS_MAX, RequestError, Views},
    port::Ports,
    record::{RolloutRecord, ServiceRecord},
    store::{Store, StoreError},
};

/// The time between turns: a tenth of the reaction time that the fastest guard needs.
const TURN: Duration = Duration::from_millis(100);

/// The time between two looks at the counters; batches are this long.
const BATCH: Duration = Duration::from_secs(1);

/// The time between two publications of views.
const VIEW: Duration = Duration::from_millis(250);

/// What the driver needs to begin.
pub struct Setup {
    /// The outside world.
    pub ports: Ports,
    /// Where decisions are kept.
    pub store: Box<dyn Store + Send>,
    /// What the ports can do.
    pub abilities: Abilities,
    /// What the daemon says of itself.
    pub daemon: DaemonView,
}

/// The host of all rollouts.
pub struct Driver {
    ports: Ports,
    store: Box<dyn Store + Send>,
    abilities: Abilities,
    homes: BTreeMap<ServiceName, Home>,
    targets: Vec<NotifyTarget>,
    events: mpsc::Receiver<Event>,
    views: watch::Sender<Arc<Views>>,
    daemon: watch::Sender<DaemonView>,
    /// Bodies in the store that could not be read; their services begin at weight 0.
    unreadable: BTreeSet<String>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("daemon", &self.daemon).finish_non_exhaustive()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("services", &self.homes.keys()).finish_non_exhaustive()
    }
}

impl Driver {
    /// Returns a driver that knows what the store knows, and the handle that speaks to it.
    ///
    /// # Errors
    /// When the store cannot be read at all.
    pub fn open(setup: Setup) -> Result<(Self, Engine), StoreError> {
        let (sender, events) = mpsc::channel(REQUESTS_MAX);
        let (views, views_seen) = watch::channel(Arc::new(Views::new()));
        let (daemon, daemon_seen) = watch::channel(setup.daemon);
        let mut driver = Self {
            ports: setup.ports,
            store: setup.store,
            abilities: setup.abilities,
            homes: BTreeMap::new(),
            targets: Vec::new(),
            events,
            views,
            daemon,
            unreadable: BTreeSet::new(),
        };
        driver.resume()?;
        Ok((driver, Engine::new(sender, views_seen, daemon_seen)))
    }

    /// Runs until it is told to stop; what runs and what is routed stays as it is.
    ///
    /// It blocks the calling thread, which is its own: a commit waits for the disk, and a port may wait for its library.
    ///
    /// # Errors
    /// When the thread cannot have a timer.
    pub fn run(mut self, stop: &CancellationToken) -> std::io::Result<()> {
        let timer = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut viewed = Instant::now();
        let mut next_turn = Instant::now();
        while !stop.is_cancelled() {
            match timer.block_on(self.wait(stop, next_turn)) {
                Some(event) => self.take(event),
                None => next_turn = Instant::now() + TURN,
            }
            let now = self.ports.clock.now();
            self.turn(now);
            if viewed.elapsed() >= VIEW {
                viewed = Instant::now();
                self.publish(now);
            }
        }
        info!("Driver stopped");
        Ok(())
    }

    /// Waits for the next event; `None` when a turn is due or it is time to stop.
    async fn wait(&mut self, stop: &CancellationToken, turn: Instant) -> Option<Event> {
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            event = self.events.recv() => event,
            () = sleep_until(turn) => None,
        }
    }

    /// Lets every rollout move as far as it can, and states all effects again.
    fn turn(&mut self, now: Timestamp) {
        self.ports.workloads.look();
        let names: Vec<ServiceName> = self.homes.keys().cloned().collect();
        for name in &names {
            self.turn_of(name, now);
        }
        self.ports.workloads.act();
    }

    fn take(&mut self, event: Event) {
        let now = self.ports.clock.now();
        match event {
            Event::Apply(request, reply) => answer(reply, self.apply(&request, now)),
            Event::Deploy(service, request, reply) => answer(reply, self.deploy(&service, request, now)),
            Event::Command(service, request, reply) => {
                let result = self.command(&service, &request, now);
                answer(reply, result);
            }
            Event::History { service, limit, has_entries, reply } => {
                answer(reply, self.history(&service, limit, has_entries));
            }
            Event::Rollout(id, reply) => answer(reply, self.rollout(&id)),
            Event::Gate(gate) => self.hear_gate(gate, now),
            Event::Changed => {}
        }
        self.publish(now);
    }

    /// Takes up what the store knows.
    fn resume(&mut self) -> Result<(), StoreError> {
        let now = self.ports.clock.now();
        for row in self.store.services()? {
            match ServiceRecord::read(&row) {
                Ok(record) => {
                    self.homes.insert(row.name, Home::new(record, now));
                }
                Err(source) => {
                    error!(service = %row.name, error = %source, "Service unreadable in the store");
                    self.unreadable.insert(row.name.to_string());
                }
            }
        }
        for row in self.store.live_rollouts()? {
            let Some(home) = self.homes.get_mut(&row.service) else { continue };
            match RolloutRecord::read(&row) {
                Ok(record) => {
                    info!(rollout = %row.id, phase = record.state.phase.name(), "Rollout resumed");
                    home.resume(record);
                }
                Err(source) => {
                    // Without a readable last decision the safe side is stable alone.
                    error!(rollout = %row.id, error = %source, "Rollout unreadable in the store; stable serves alone");
                    self.unreadable.insert(row.id.to_string());
                }
            }
        }
        let files = self.homes.iter().map(|(name, home)| (name.clone(), home.record.file.clone())).collect();
        if let Err(why) = self.ports.traffic.configure(&files) {
            warn!(%why, "Some addresses cannot be listened on");
        }
        for (name, home) in &self.homes {
            self.ports.workloads.configure(name, &home.record.file);
        }
        self.turn(now);
        self.publish(now);
        Ok(())
    }

    fn publish(&mut self, now: Timestamp) {
        let views: Views =
            self.homes.iter().map(|(name, home)| (name.clone(), view::service(name, home, now))).collect();
        self.views.send_replace(Arc::new(views));
    }

    fn note_store(&mut self, fault: Option<&StoreError>) {
        let fault = fault.map(|error| tell::chain(error));
        self.daemon.send_if_modified(|daemon| {
            if daemon.store_fault == fault {
                return false;
            }
            match &fault {
                Some(why) => error!(%why, "Store does not take decisions; traffic stays at the last durable weight"),
                None => info!("Store takes decisions again"),
            }
            daemon.store_fault.clone_from(&fault);
            true
        });
    }
}

fn answer<T>(reply: tokio::sync::oneshot::Sender<Result<T, RequestError>>, result: Result<T, RequestError>) {
    if reply.send(result).is_err() {
        warn!("Nobody waits for the answer any more");
    }
}

fn done(message: impl Into<String>) -> Answer {
    Answer { messages: vec![message.into()], rollout: None, is_durable: true }
}
