//! This machine as a home: the daemon behind its socket.

use haldane_api::http::{Answer, CommandRequest, RecomputationView, RolloutHistory, ServiceView};
use haldane_core::{RolloutId, ServiceName};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Asked, Followed, Home, HomeError, Scope, Seen};
use crate::cli::{
    client::{self, Client},
    subject::Subject,
};

impl Home for Client {
    fn service<'a>(&'a self, subject: &'a Subject) -> Asked<'a, ServiceView> {
        Box::pin(async move {
            let name = local(subject)?;
            Ok(self.get(&format!("/v1/services/{name}")).await?)
        })
    }

    fn services(&self, scope: Scope) -> Asked<'_, Vec<ServiceView>> {
        Box::pin(async move {
            match scope {
                Scope::Everywhere => Err(HomeError::Everywhere),
                Scope::Here => Ok(self.get("/v1/services").await?),
            }
        })
    }

    fn command<'a>(
        &'a self,
        subject: &'a Subject,
        request: &'a CommandRequest,
    ) -> Asked<'a, Answer> {
        Box::pin(async move {
            let path = format!("/v1/services/{}/commands", local(subject)?);
            Ok(self.post(&path, request).await?)
        })
    }

    fn history<'a>(&'a self, subject: &'a Subject, limit: u32) -> Asked<'a, Vec<RolloutHistory>> {
        Box::pin(async move {
            let name = local(subject)?;
            let path = format!("/v1/services/{name}/history?limit={limit}");
            Ok(self.get(&path).await?)
        })
    }

    fn rollout<'a>(&'a self, subject: &'a Subject, id: &'a RolloutId) -> Asked<'a, RolloutHistory> {
        Box::pin(async move {
            local(subject)?;
            Ok(self.get(&format!("/v1/rollouts/{id}")).await?)
        })
    }

    fn recording<'a>(&'a self, id: &'a RolloutId) -> Asked<'a, Option<String>> {
        Box::pin(async move {
            Ok(Some(
                self.text(&format!("/v1/rollouts/{id}/recording")).await?,
            ))
        })
    }

    fn recomputation<'a>(
        &'a self,
        subject: &'a Subject,
        id: &'a RolloutId,
    ) -> Asked<'a, RecomputationView> {
        Box::pin(async move {
            local(subject)?;
            Ok(self
                .get(&format!("/v1/rollouts/{id}/recomputation"))
                .await?)
        })
    }

    fn follow(&self, followed: Followed, tasks: &mut JoinSet<()>) -> mpsc::Receiver<Seen> {
        let path = match followed {
            Followed::One(subject) => format!("/v1/events?service={}", subject.name),
            Followed::All(_) => "/v1/events".to_owned(),
        };
        client::follow(self, path, tasks)
    }
}

/// Returns the name of a service of this machine.
fn local(subject: &Subject) -> Result<&ServiceName, HomeError> {
    match subject.namespace {
        None => Ok(&subject.name),
        Some(_) => Err(HomeError::Namespace(subject.clone())),
    }
}
