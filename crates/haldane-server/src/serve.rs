//! Connections: accepted up to a maximum, served, and ended in order.
//!
//! `axum::serve` would leave connections running that don't end by themselves, and bounds neither their number nor the time for a
//! request's head; here all of them belong to the loop that accepted them.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::limit::{HEAD_TIMEOUT, LimitHits};

/// What one listener serves, and within which bounds.
pub(crate) struct Door {
    pub(crate) router: Router,
    pub(crate) connections_max: usize,
    pub(crate) reuse: Reuse,
    pub(crate) hits: Arc<LimitHits>,
    pub(crate) stop: CancellationToken,
}

/// How long a connection may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// As long as it is used.
    Unlimited,
    /// For one request, and at most this long.
    Once(Duration),
}

/// Accepts and serves connections until the door's token is cancelled, and then until the last of them has ended.
pub(crate) async fn serve(mut listener: impl Listener, door: Door) {
    let mut connections = JoinSet::new();
    let accepting = accept(&mut listener, &door, &mut connections);
    if let Some(never) = door.stop.run_until_cancelled(accepting).await {
        match never {}
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

struct Connection {
    router: Router,
    reuse: Reuse,
    stop: CancellationToken,
    /// Held for its drop.
    _slot: Option<OwnedSemaphorePermit>,
}

impl Door {
    fn connection(&self, slot: Option<OwnedSemaphorePermit>) -> Connection {
        Connection {
            router: self.router.clone(),
            reuse: self.reuse,
            stop: self.stop.clone(),
            _slot: slot,
        }
    }
}

async fn accept(
    listener: &mut impl Listener,
    door: &Door,
    connections: &mut JoinSet<()>,
) -> Infallible {
    let slots = Arc::new(Semaphore::new(door.connections_max));
    loop {
        let slot = slot(&slots, &door.hits).await;
        let (io, _) = listener.accept().await;
        while let Some(ended) = connections.try_join_next() {
            report(ended);
        }
        connections.spawn(connection(TokioIo::new(io), door.connection(slot)));
    }
}

/// Waits for a free place; the semaphore is never closed.
async fn slot(slots: &Arc<Semaphore>, hits: &LimitHits) -> Option<OwnedSemaphorePermit> {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return Some(slot);
    }
    hits.connections.count();
    Arc::clone(slots).acquire_owned().await.ok()
}

async fn connection<I>(io: TokioIo<I>, connection: Connection)
where
    TokioIo<I>: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let (keep_alive, life) = match connection.reuse {
        Reuse::Unlimited => (true, Duration::MAX),
        Reuse::Once(life) => (false, life),
    };
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(keep_alive)
        .serve_connection(io, TowerToHyperService::new(connection.router.clone()));
    let mut http = pin!(http);
    let served = tokio::time::timeout(life, async {
        tokio::select! {
            served = http.as_mut() => served,
            () = connection.stop.cancelled() => {
                http.as_mut().graceful_shutdown();
                http.await
            }
        }
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "A connection broke"),
        Err(_) => debug!("A connection lasted too long"),
    }
}

/// Tells of a task that panicked: the others go on.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "A connection's task failed");
    }
}

#[cfg(test)]
mod tests;
