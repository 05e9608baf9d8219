//! The way in: what the API asks of the driver, as messages with an answer.
//!
//! A handle is cheap to clone. Requests wait for the driver at most [`ANSWER_TIMEOUT`]; views are read without asking it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use haldane_api::http::{
    Answer, ApplyRequest, CommandRequest, DaemonView, DeployRequest, RolloutHistory, ServiceView,
};
use haldane_core::{RolloutId, ServiceName, rollout::GateAnswer};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    recording::{Part, Stored},
    store::StoreError,
};

/// How long a request waits for the driver. A commit takes milliseconds; a disk that hangs longer than this is a fault to tell.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How many requests wait at the same time; more are refused, so that a flood takes no memory.
pub const REQUESTS_MAX: usize = 256;

/// What is known of every service, by name.
pub type Views = BTreeMap<ServiceName, ServiceView>;

/// A handle on the driver.
#[derive(Clone, Debug)]
pub struct Engine {
    events: mpsc::Sender<Event>,
    views: watch::Receiver<Arc<Views>>,
    daemon: watch::Receiver<DaemonView>,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no such service, rollout or version.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense.
    #[error("{error}")]
    Invalid {
        /// What is wrong.
        error: String,
        /// Mistakes in a file, each with line and column.
        problems: Vec<String>,
    },
    /// The request makes sense, but not now.
    #[error("{0}")]
    Refused(String),
    /// The decision could not be made durable.
    #[error("the store does not take decisions: {0}")]
    Store(String),
    /// The driver has stopped or is too busy to answer.
    #[error("the daemon did not answer in time")]
    Unavailable,
}

impl From<StoreError> for RequestError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_chain())
    }
}

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// One thing that the driver is told.
#[derive(Debug)]
pub enum Event {
    /// Apply a release file.
    Apply(ApplyRequest, Reply<Answer>),
    /// Begin a rollout.
    Deploy(ServiceName, DeployRequest, Reply<Answer>),
    /// Act on a rollout.
    Command(ServiceName, CommandRequest, Reply<Answer>),
    /// Tell a service's rollouts.
    History {
        /// The service.
        service: ServiceName,
        /// How many rollouts at most.
        limit: u32,
        /// Whether their decisions are wanted as well.
        has_entries: bool,
        /// Where the answer goes.
        reply: Reply<Vec<RolloutHistory>>,
    },
    /// Tell one rollout with its decisions.
    Rollout(RolloutId, Reply<RolloutHistory>),
    /// Tell what is stored of one rollout, as far as the rows of its recording from this number on; with 0 all else, too.
    Stored(RolloutId, u64, Reply<Part>),
    /// A gate has answered.
    Gate(GateAnswer),
    /// Something in the world has changed; look now rather than later.
    Changed,
}

impl Engine {
    /// Returns a handle that speaks to the driver at the other end of these channels.
    #[must_use]
    pub const fn new(
        events: mpsc::Sender<Event>,
        views: watch::Receiver<Arc<Views>>,
        daemon: watch::Receiver<DaemonView>,
    ) -> Self {
        Self {
            events,
            views,
            daemon,
        }
    }

    /// Returns what is known of every service.
    #[must_use]
    pub fn views(&self) -> Arc<Views> {
        Arc::clone(&self.views.borrow())
    }

    /// Returns a receiver that is told whenever a view changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Views>> {
        self.views.clone()
    }

    /// Returns what is known of the daemon.
    #[must_use]
    pub fn daemon(&self) -> DaemonView {
        self.daemon.borrow().clone()
    }

    /// Applies a release file.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn apply(&self, request: ApplyRequest) -> Result<Answer, RequestError> {
        self.ask(|reply| Event::Apply(request, reply)).await
    }

    /// Begins a rollout.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn deploy(
        &self,
        service: ServiceName,
        request: DeployRequest,
    ) -> Result<Answer, RequestError> {
        self.ask(|reply| Event::Deploy(service, request, reply))
            .await
    }

    /// Acts on a rollout.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn command(
        &self,
        service: ServiceName,
        request: CommandRequest,
    ) -> Result<Answer, RequestError> {
        self.ask(|reply| Event::Command(service, request, reply))
            .await
    }

    /// Returns a service's rollouts, newest first.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn history(
        &self,
        service: ServiceName,
        limit: u32,
        has_entries: bool,
    ) -> Result<Vec<RolloutHistory>, RequestError> {
        self.ask(|reply| Event::History {
            service,
            limit,
            has_entries,
            reply,
        })
        .await
    }

    /// Returns one rollout with its decisions.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn rollout(&self, id: RolloutId) -> Result<RolloutHistory, RequestError> {
        self.ask(|reply| Event::Rollout(id, reply)).await
    }

    /// Returns all that is stored of one rollout, in parts, so that no decision waits for it.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn stored(&self, id: RolloutId) -> Result<Stored, RequestError> {
        let ask = |from| {
            let id = id.clone();
            self.ask(move |reply| Event::Stored(id, from, reply))
        };
        let first = ask(0).await?;
        let Some((rollout, entries)) = first.rollout else {
            return Err(RequestError::Unavailable);
        };
        let mut next = first.rows.last().map(|row| row.number);
        let mut stored = Stored::try_new(&rollout, entries, first.rows)?;
        // What was added since the rollout was read is not of that time.
        while let Some(last) = next.filter(|last| last.saturating_add(1) < stored.rows_recorded()) {
            let part = ask(last.saturating_add(1)).await?;
            next = part.rows.last().map(|row| row.number);
            stored.push(part.rows);
        }
        Ok(stored)
    }

    /// Tells the driver something that wants no answer; lost when it is too busy, because it looks again by itself.
    pub fn tell(&self, event: Event) -> bool {
        self.events.try_send(event).is_ok()
    }

    async fn ask<T>(&self, event: impl FnOnce(Reply<T>) -> Event) -> Result<T, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.events
            .try_send(event(reply))
            .map_err(|_| RequestError::Unavailable)?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(RequestError::Unavailable),
        }
    }
}
