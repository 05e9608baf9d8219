//! A rollout from a terminal: the runtime of the controller for one release that is kept on a workload.
//!
//! It watches one namespace, and leads by a Lease of that release alone, so that of several terminals one writes.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Access, Carried, lease_name},
    controller::{Config, Controller, ControllerError},
    host::{Ports, Progress, TerminalHost},
};

/// Writes in a second, and at once after a pause: one rollout needs a few.
const QPS: u32 = 50;
const BURST: u32 = 100;

/// A terminal that is connected, but does nothing yet.
#[derive(Debug)]
pub struct Terminal {
    controller: Controller,
    progress: watch::Receiver<Progress>,
}

impl Terminal {
    /// Prepares to go on with a release.
    ///
    /// # Errors
    /// When it is not known how to get into the cluster.
    pub async fn connect(
        access: &Access,
        carried: &Carried,
        ports: Ports,
    ) -> Result<Self, ControllerError> {
        let target = carried.target.clone();
        let namespace = target.namespace.clone();
        let (host, progress) = TerminalHost::new(ports, target, carried.name.as_str());
        let config = Config {
            kubeconfig: access.kubeconfig.clone(),
            context: access.context.clone(),
            namespaces: vec![namespace.clone()],
            qps: QPS,
            burst: BURST,
            is_shadow: false,
            lease_name: lease_name(&carried.name),
            lease_namespace: Some(namespace),
            listen: None,
        };
        let controller = Controller::connect(config, vec![Arc::new(host)]).await?;
        Ok(Self {
            controller,
            progress,
        })
    }

    /// Returns where the release stands.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Returns what tells whether this terminal is the one that writes.
    #[must_use]
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.controller.leading()
    }

    /// Returns who this terminal is in the lease.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.controller.identity().unwrap_or_default()
    }

    /// Goes on with the release until `stop`. Nothing is written any more when this returns, and the lease is given back.
    pub async fn run(self, stop: CancellationToken) {
        self.controller.run(stop).await;
    }
}
