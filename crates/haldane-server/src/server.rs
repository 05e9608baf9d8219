//! The server's life: what it listens on, and how it ends.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use haldane_engine::handle::Engine;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    app::App,
    extras::Extras,
    limit::{CONNECTIONS_MAX, OPEN_CONNECTION_LIFE, OPEN_CONNECTIONS_MAX},
    route,
    serve::{Door, Reuse, serve},
    socket::{self, SocketFile},
};

/// A server at work. Dropping it ends everything at once; [`Server::stop`] does it in order.
#[derive(Debug)]
pub struct Server {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    socket: SocketFile,
    metrics_address: Option<SocketAddr>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The unix socket's path, in a directory that only its owner may change.
    pub socket: PathBuf,
    /// Where `/metrics` and `/healthz` are offered to others, if at all.
    pub metrics_listen: Option<SocketAddr>,
}

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The operating system can't have a socket with such a path.
    #[error(
        "the socket's path {} has {bytes} bytes; expected at most {bytes_max}, so choose a shorter data directory",
        path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
        /// The longest.
        bytes_max: usize,
    },
    /// A daemon answers there.
    #[error("another daemon listens on {}", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// There is something that no daemon has made.
    #[error("{} is not a socket; remove it or choose another data directory", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket could not be made.
    #[error("binding the socket {} failed", path.display())]
    BindSocket {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The listener for metrics could not be made.
    #[error("listening on {address} for metrics failed")]
    BindMetrics {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Server {
    /// Binds and begins to serve. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn start(
        config: ServerConfig,
        engine: Engine,
        extras: Arc<dyn Extras>,
    ) -> Result<Self, ServeError> {
        let (listener, socket) = socket::bind(&config.socket).await?;
        let stop = CancellationToken::new();
        let app = App::new(engine, extras, stop.clone());
        let mut tasks = JoinSet::new();
        let metrics_address = match config.metrics_listen {
            Some(address) => Some(open(address, &app, &mut tasks).await?),
            None => None,
        };
        let door = Door {
            router: route::socket_router(app.clone()),
            connections_max: CONNECTIONS_MAX,
            reuse: Reuse::Unlimited,
            hits: app.hits,
            stop: app.stop,
        };
        tasks.spawn(serve(listener, door));
        info!(socket = %config.socket.display(), "API started");
        Ok(Self {
            tasks,
            stop,
            socket,
            metrics_address,
        })
    }

    /// Returns where metrics are offered, with the port that was chosen if the setting was port 0.
    #[must_use]
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Stops accepting, ends the streams, lets requests at work finish until `deadline`, and then ends them.
    pub async fn stop(self, deadline: Duration) {
        let Self {
            mut tasks,
            stop,
            socket,
            metrics_address: _,
        } = self;
        drop(socket);
        stop.cancel();
        let drained = tokio::time::timeout(deadline, async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    warn!(%error, "A listener failed");
                }
            }
        });
        if drained.await.is_err() {
            warn!(
                ?deadline,
                "Requests were still at work when the API stopped"
            );
            tasks.shutdown().await;
        }
    }
}

async fn open(
    address: SocketAddr,
    app: &App,
    tasks: &mut JoinSet<()>,
) -> Result<SocketAddr, ServeError> {
    let fail = |source| ServeError::BindMetrics { address, source };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    let door = Door {
        router: route::open_router(app.clone()),
        connections_max: OPEN_CONNECTIONS_MAX,
        reuse: Reuse::Once(OPEN_CONNECTION_LIFE),
        hits: Arc::clone(&app.hits),
        stop: app.stop.clone(),
    };
    tasks.spawn(serve(listener, door));
    info!(address = %bound, "Metrics offered");
    Ok(bound)
}
