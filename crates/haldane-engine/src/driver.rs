//! The loop: what is seen and asked goes in, decisions are made durable, effects go out.
//!
//! One driver holds any number of services on one thread. A turn gathers inputs, lets the core decide, commits, and states the
//! effects to the ports; nothing in it waits but the commit. The turn comes again at least each second, so a lost effect, a missed
//! change or a failed commit is made good by the next one.
//!
//! **Invariants:** a decision is durable before its effects begin, except that weight may be lowered first; while such a lowering is
//! not durable, nothing follows for its rollout but what takes traffic away; a rollout whose stored state makes no sense gets no traffic;
//! without a store nothing is decided, and what a release file says serves alone.

mod aftermath;
mod apply;
mod bands;
mod beginning;
mod clock;
mod decision;
mod earlier;
mod effects;
mod home;
mod observation;
mod recorder;
mod request;
mod resume;
mod tell;
mod view;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use haldane_api::http::{Answer, DaemonView};
use haldane_core::{ServiceName, plan::check::Abilities};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::{clock::DriverTime, home::Home};
use crate::{
    handle::{Engine, Event, REQUESTS_MAX, RequestError, Views},
    port::Ports,
    store::{Store, StoreError, Write},
};

/// The time between turns: a tenth of the reaction time that the fastest guard needs.
const TURN: Duration = Duration::from_millis(100);

/// The time between two publications of views.
const VIEW: Duration = Duration::from_millis(250);

/// What people are told of each service while there is no store.
const WITHOUT_STORE: &str = "the daemon runs without its store: what the release file says serves alone, and no rollout can begin; see `haldane doctor`";

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
    events: mpsc::Receiver<Event>,
    views: watch::Sender<Arc<Views>>,
    daemon: watch::Sender<DaemonView>,
    /// Services in the store that could not be read, a sentence each; nothing is known of them until their file is applied again.
    unreadable: BTreeMap<ServiceName, String>,
    /// What was wrong with the last commit.
    commit_fault: Option<String>,
    time: DriverTime,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("daemon", &self.daemon)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("services", &self.homes.keys())
            .finish_non_exhaustive()
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
        let (wall, uptime) = (setup.ports.clock.now(), setup.ports.clock.uptime());
        let mut driver = Self {
            ports: setup.ports,
            store: setup.store,
            abilities: setup.abilities,
            homes: BTreeMap::new(),
            events,
            views,
            daemon,
            unreadable: BTreeMap::new(),
            commit_fault: None,
            time: DriverTime::new(wall, wall, uptime),
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
        let timer = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let mut viewed = Instant::now();
        let mut next_turn = Instant::now();
        while !stop.is_cancelled() {
            match timer.block_on(self.wait(stop, next_turn)) {
                Some(event) => self.take(event),
                None => next_turn = Instant::now() + TURN,
            }
            let now = self.now();
            self.turn(now);
            if viewed.elapsed() >= VIEW {
                viewed = Instant::now();
                self.publish(now);
            }
        }
        let now = self.now();
        self.learn_last(now);
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
        self.learn(now);
    }

    fn take(&mut self, event: Event) {
        let now = self.now();
        // Who has the answer to a request sees what it brought about.
        match event {
            Event::Apply(request, reply) => {
                let result = self.apply(&request, now);
                self.publish(now);
                answer(reply, result);
            }
            Event::Deploy(service, request, reply) => {
                let result = self.deploy(&service, request, now);
                self.publish(now);
                answer(reply, result);
            }
            Event::Command(service, request, reply) => {
                let result = self.command(&service, &request, now);
                self.publish(now);
                answer(reply, result);
            }
            Event::History {
                service,
                limit,
                has_entries,
                reply,
            } => {
                let history = self.history(&service, limit, has_entries);
                // Whoever reads what was decided must not see an older service after it.
                self.publish(now);
                answer(reply, history);
            }
            Event::Rollout(id, reply) => {
                let rollout = self.rollout(&id);
                self.publish(now);
                answer(reply, rollout);
            }
            // Nothing is told that a view shows, and it may come often.
            Event::Stored(id, from, reply) => answer(reply, self.stored(&id, from)),
            Event::Gate(gate) => {
                self.hear_gate(gate, now);
                self.publish(now);
            }
            Event::Changed => self.publish(now),
        }
    }

    /// Returns the time by which rollouts live; while none goes on, it is the wall clock's.
    fn now(&mut self) -> Timestamp {
        let (wall, uptime) = (self.ports.clock.now(), self.ports.clock.uptime());
        let is_free = self.homes.values().all(|home| home.live().is_none());
        if is_free && self.time.follow(wall, uptime) {
            warn!(%wall, "Wall clock was set; counting begins anew");
            let now = self.time.at(uptime);
            self.homes
                .values_mut()
                .for_each(|home| home.count_anew(now));
        }
        self.time.at(uptime)
    }

    fn publish(&mut self, now: Timestamp) {
        let listeners = self.ports.traffic.listeners();
        let views: Views = self
            .homes
            .iter()
            .map(|(name, home)| {
                let mut view = view::service(name, home, &listeners, now);
                if self.store.absence().is_some() {
                    view.notices.push(WITHOUT_STORE.to_owned());
                }
                (name.clone(), view)
            })
            .collect();
        self.views.send_replace(Arc::new(views));
    }

    /// Makes rows durable, and tells people when that begins or ceases to fail.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let result = self.store.commit(writes);
        if self.store.absence().is_some() {
            // That was said at the start, and is shown all the time.
            return result;
        }
        let fault = result.as_ref().err().map(StoreError::to_chain);
        if self.commit_fault != fault {
            match &fault {
                Some(why) => {
                    error!(%why, "Store does not take decisions; traffic stays at the last durable weight")
                }
                None => info!("Store takes decisions again"),
            }
            self.commit_fault = fault;
        }
        self.show_store();
        result
    }

    /// Shows what is wrong with the store.
    fn show_store(&self) {
        let absence = self
            .store
            .absence()
            .map(|why| format!("the daemon was started without its store ({why})"));
        let faults: Vec<&str> = absence
            .iter()
            .chain(&self.commit_fault)
            .chain(self.unreadable.values())
            .map(String::as_str)
            .collect();
        let fault = (!faults.is_empty()).then(|| faults.join("; "));
        self.daemon.send_if_modified(|daemon| {
            let is_other = daemon.store_fault != fault;
            daemon.store_fault.clone_from(&fault);
            is_other
        });
    }
}

fn answer<T>(
    reply: tokio::sync::oneshot::Sender<Result<T, RequestError>>,
    result: Result<T, RequestError>,
) {
    if reply.send(result).is_err() {
        warn!("Nobody waits for the answer any more");
    }
}

fn done(message: impl Into<String>) -> Answer {
    Answer {
        messages: vec![message.into()],
        rollout: None,
        is_durable: true,
    }
}
