//! What the handlers share.

use std::sync::Arc;

use haldane_api::http::ServiceView;
use haldane_core::{RolloutId, ServiceName};
use haldane_engine::{
    handle::{Engine, RequestError},
    recording::Stored,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    extras::Extras,
    limit::{LimitHits, READS_MAX, RECORDINGS_MAX, STREAMS_MAX},
    refusal::Refusal,
};

/// The state of the router; a clone shares everything.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) extras: Arc<dyn Extras>,
    pub(crate) hits: Arc<LimitHits>,
    /// Ends streams and connections.
    pub(crate) stop: CancellationToken,
    streams: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    recordings: Arc<Semaphore>,
}

impl App {
    /// Returns the state of a server that `stop` ends.
    pub(crate) fn new(engine: Engine, extras: Arc<dyn Extras>, stop: CancellationToken) -> Self {
        Self {
            engine,
            extras,
            hits: Arc::default(),
            stop,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            recordings: Arc::new(Semaphore::new(RECORDINGS_MAX)),
        }
    }

    /// Returns what is known of a service.
    pub(crate) fn service(&self, name: &ServiceName) -> Result<ServiceView, Refusal> {
        let views = self.engine.views();
        let view = views.get(name).cloned();
        view.ok_or_else(|| Refusal::not_found(format!("there is no service {name}")))
    }

    /// Takes a place for a stream, which is free again when the permit is dropped.
    pub(crate) fn stream(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            self.hits.streams.count();
            Refusal::unavailable(format!(
                "{STREAMS_MAX} streams are open; close one or try later"
            ))
        })
    }

    /// Returns all that is stored of a rollout, once the one before is done with, and makes something of it.
    pub(crate) async fn stored<T: Send + 'static>(
        &self,
        id: RolloutId,
        work: impl FnOnce(&Stored) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let permit = Arc::clone(&self.recordings).acquire_owned().await;
        let stored = self.engine.stored(id).await?;
        self.read(move || {
            let done = work(&stored);
            drop(permit);
            done
        })
        .await
    }

    /// Runs work that may block, once a thread is free for it.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let permit = Arc::clone(&self.reads).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit); // Not when the request is given up: the thread is busy until here.
            done
        });
        done.await
            .map_err(|_| Refusal::from(RequestError::Unavailable))
    }
}
