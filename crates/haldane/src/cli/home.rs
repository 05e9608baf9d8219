//! Where services live, as the commands see it: this machine's daemon, or a cluster.
//!
//! Commands ask a [`Home`] and don't know which it is. **Invariant:** both answer with the same bodies, so that what is written is the
//! same, too.

mod cluster;
mod daemon;

use std::{fmt, pin::Pin, sync::Arc};

use haldane_api::http::{Answer, CommandRequest, RecomputationView, RolloutHistory, ServiceView};
use haldane_controller::client::ClusterError;
use haldane_core::RolloutId;
use tokio::{sync::mpsc, task::JoinSet};

pub(crate) use self::cluster::Kubernetes;
use super::{
    client::{Client, ClientError},
    exit::Exit,
    subject::Subject,
};

/// An answer that is on its way.
pub(crate) type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, HomeError>> + Send + 'a>>;

/// Where services live.
pub(crate) trait Home: fmt::Debug + Send + Sync {
    /// Tells one service.
    fn service<'a>(&'a self, subject: &'a Subject) -> Asked<'a, ServiceView>;

    /// Tells all services.
    fn services(&self, scope: Scope) -> Asked<'_, Vec<ServiceView>>;

    /// Gives a command.
    fn command<'a>(
        &'a self,
        subject: &'a Subject,
        request: &'a CommandRequest,
    ) -> Asked<'a, Answer>;

    /// Tells the rollouts of a service, latest first, at most so many.
    fn history<'a>(&'a self, subject: &'a Subject, limit: u32) -> Asked<'a, Vec<RolloutHistory>>;

    /// Tells one rollout of a service, with its decisions.
    fn rollout<'a>(&'a self, subject: &'a Subject, id: &'a RolloutId) -> Asked<'a, RolloutHistory>;

    /// Tells what was counted while a rollout went on; `None` where that is not kept.
    fn recording<'a>(&'a self, id: &'a RolloutId) -> Asked<'a, Option<String>>;

    /// Makes the decisions of a rollout again.
    fn recomputation<'a>(
        &'a self,
        subject: &'a Subject,
        id: &'a RolloutId,
    ) -> Asked<'a, RecomputationView>;

    /// Follows a service, or all of them, until the receiver or the tasks are dropped.
    fn follow(&self, followed: Followed, tasks: &mut JoinSet<()>) -> mpsc::Receiver<Seen>;
}

/// Which services are meant where none is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of this machine, or of the namespace.
    Here,
    /// Those of all namespaces.
    Everywhere,
}

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// One service.
    One(Subject),
    /// All of them.
    All(Scope),
}

/// What is seen while following.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A service changed.
    Service(Box<ServiceView>),
    /// Nothing can be heard; it is tried again.
    Lost(HomeError),
}

/// Why a home did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// The daemon's reason.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// The cluster's reason.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// This machine has no namespaces.
    #[error("{0}: a namespace is a matter of Kubernetes; give --kube, or the service's name alone")]
    Namespace(Subject),
    /// This machine has no namespaces.
    #[error("--all-namespaces is a matter of Kubernetes; give --kube, too")]
    Everywhere,
}

impl HomeError {
    /// Returns how a command ends that fails so.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Namespace(_) | Self::Everywhere => Exit::Usage,
            Self::Cluster(ClusterError::NoAnswer(_)) => Exit::TimedOut,
            Self::Daemon(_) | Self::Cluster(_) => Exit::Failed,
        }
    }

    /// Whether trying again can't help.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Namespace(_) | Self::Everywhere => true,
            Self::Cluster(error) => error.is_final(),
            Self::Daemon(error) => error.is_final(),
        }
    }
}

/// Returns the home behind a daemon's socket.
pub(crate) fn daemon(client: Client) -> Arc<dyn Home> {
    Arc::new(client)
}
