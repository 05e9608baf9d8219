//! A cluster as a home: its releases, through its API server.

use haldane_api::http::{Answer, CommandRequest, RecomputationView, RolloutHistory, ServiceView};
use haldane_controller::client::{Access, Cluster, ClusterError, Sighting};
use haldane_core::RolloutId;
use jiff::Timestamp;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Asked, Followed, Home, Scope, Seen};
use crate::cli::subject::Subject;

/// Views that wait for their reader.
const QUEUE_LEN: usize = 1;

/// The releases of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Kubernetes {
    /// The cluster.
    pub cluster: Cluster,
}

impl Kubernetes {
    /// Finds the cluster.
    ///
    /// # Errors
    /// When it is not known which one is meant.
    pub(crate) async fn connect(access: &Access) -> Result<Self, ClusterError> {
        let cluster = Cluster::connect(access, Timestamp::now).await?;
        Ok(Self { cluster })
    }

    /// Returns the namespace that is meant; `None` means all of them.
    pub(crate) fn namespace(&self, scope: Scope) -> Option<&str> {
        match scope {
            Scope::Here => Some(self.cluster.namespace()),
            Scope::Everywhere => None,
        }
    }

    fn namespace_of<'a>(&'a self, subject: &'a Subject) -> &'a str {
        let named = subject.namespace.as_deref();
        named.unwrap_or_else(|| self.cluster.namespace())
    }
}

impl Home for Kubernetes {
    fn service<'a>(&'a self, subject: &'a Subject) -> Asked<'a, ServiceView> {
        Box::pin(async move {
            let namespace = self.namespace_of(subject);
            Ok(self.cluster.service(namespace, &subject.name).await?)
        })
    }

    fn services(&self, scope: Scope) -> Asked<'_, Vec<ServiceView>> {
        Box::pin(async move { Ok(self.cluster.services(self.namespace(scope)).await?) })
    }

    fn command<'a>(
        &'a self,
        subject: &'a Subject,
        request: &'a CommandRequest,
    ) -> Asked<'a, Answer> {
        Box::pin(async move {
            let namespace = self.namespace_of(subject);
            let answer = self.cluster.command(namespace, &subject.name, request);
            Ok(answer.await?)
        })
    }

    fn history<'a>(&'a self, subject: &'a Subject, limit: u32) -> Asked<'a, Vec<RolloutHistory>> {
        Box::pin(async move {
            let namespace = self.namespace_of(subject);
            let mut all = self.cluster.history(namespace, &subject.name).await?;
            all.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            Ok(all)
        })
    }

    fn rollout<'a>(&'a self, subject: &'a Subject, id: &'a RolloutId) -> Asked<'a, RolloutHistory> {
        Box::pin(async move {
            let namespace = self.namespace_of(subject);
            Ok(self.cluster.rollout(namespace, &subject.name, id).await?)
        })
    }

    fn recomputation<'a>(
        &'a self,
        _subject: &'a Subject,
        _id: &'a RolloutId,
    ) -> Asked<'a, RecomputationView> {
        Box::pin(async move { Ok(self.cluster.recomputation()?) })
    }

    fn follow(&self, followed: Followed, tasks: &mut JoinSet<()>) -> mpsc::Receiver<Seen> {
        let mut sightings = match &followed {
            Followed::One(subject) => {
                let namespace = Some(self.namespace_of(subject));
                self.cluster.follow(namespace, Some(&subject.name), tasks)
            }
            Followed::All(scope) => self.cluster.follow(self.namespace(*scope), None, tasks),
        };
        let (tx, rx) = mpsc::channel(QUEUE_LEN);
        tasks.spawn(async move {
            while let Some(sighting) = sightings.recv().await {
                let seen = match sighting {
                    Sighting::Service(view) => Seen::Service(view),
                    Sighting::Lost(error) => Seen::Lost(error.into()),
                };
                if tx.send(seen).await.is_err() {
                    return;
                }
            }
        });
        rx
    }
}
