//! A cluster as a home: its releases, through its API server.

mod figures;

use haldane_api::http::{Answer, CommandRequest, RecomputationView, RolloutHistory, ServiceView};
use haldane_controller::client::{Access, Cluster, ClusterError, Looked, Sighting};
use haldane_core::RolloutId;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use self::figures::{Gauge, Measured};
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
            let looked = self.cluster.service(namespace, &subject.name).await?;
            let measured = Gauge::new(self.cluster.clone()).read(&looked).await;
            let mut view = looked.view;
            measured.put_into(&mut view);
            Ok(view)
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

    fn recording<'a>(&'a self, _id: &'a RolloutId) -> Asked<'a, Option<String>> {
        Box::pin(async move { Ok(None) })
    }

    fn recomputation<'a>(
        &'a self,
        _subject: &'a Subject,
        _id: &'a RolloutId,
    ) -> Asked<'a, RecomputationView> {
        Box::pin(async move { Ok(self.cluster.recomputation()?) })
    }

    fn follow(&self, followed: Followed, tasks: &mut JoinSet<()>) -> mpsc::Receiver<Seen> {
        let sightings = match &followed {
            Followed::One(subject) => {
                let namespace = Some(self.namespace_of(subject));
                self.cluster.follow(namespace, Some(&subject.name), tasks)
            }
            Followed::All(scope) => self.cluster.follow(self.namespace(*scope), None, tasks),
        };
        let (tx, rx) = mpsc::channel(QUEUE_LEN);
        let (shown, seen) = watch::channel(None);
        let (told, measured) = mpsc::channel(QUEUE_LEN);
        if matches!(followed, Followed::One(_)) {
            let gauge = Gauge::new(self.cluster.clone());
            tasks.spawn(gauge.follow(seen, told));
        }
        tasks.spawn(pass_on(sightings, measured, shown, tx));
        rx
    }
}

/// Passes on what is seen, with the figures that were measured last, until nobody listens.
async fn pass_on(
    mut sightings: mpsc::Receiver<Sighting>,
    mut measured: mpsc::Receiver<Measured>,
    shown: watch::Sender<Option<Looked>>,
    tx: mpsc::Sender<Seen>,
) {
    let mut last: Option<Looked> = None;
    let mut figures = Measured::default();
    loop {
        tokio::select! {
            sighting = sightings.recv() => match sighting {
                None => return,
                Some(Sighting::Lost(error)) => {
                    if tx.send(Seen::Lost(error.into())).await.is_err() {
                        return;
                    }
                    continue;
                }
                Some(Sighting::Service(looked)) => {
                    shown.send_replace(Some((*looked).clone()));
                    last = Some(*looked);
                }
            },
            Some(newer) = measured.recv() => {
                figures = newer;
                if let Some(looked) = &mut last {
                    looked.view.at = Timestamp::now();
                }
            }
        }
        let Some(looked) = &last else {
            continue;
        };
        let mut view = looked.view.clone();
        figures.put_into(&mut view);
        if tx.send(Seen::Service(Box::new(view))).await.is_err() {
            return;
        }
    }
}
