//! Giving a command: it is written on the release as an annotation, and what became of it is told by the release's status.

use std::{collections::hash_map::RandomState, hash::BuildHasher, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _};
use haldane_api::{
    http::{Answer, CommandRequest},
    release::{COMMAND_ANNOTATION, CommandNote, Stage, typed},
};
use haldane_core::{ServiceName, VersionName, Weight};
use haldane_router::ObjectRef;
use jiff::Timestamp;
use kube::{
    api::{Patch, PatchParams},
    runtime::watcher,
};
use serde_json::json;
use tokio::time::timeout;

use super::{Cluster, ClusterError, Result, to_value};
use crate::{carrier::Carrier, kinds::RELEASE, release::Release};

/// How long a controller may take; it answers in milliseconds, an abort when weight zero is written.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Whose change it is, in `metadata.managedFields`.
pub(super) const FIELD_MANAGER: &str = "haldane-cli";

impl Cluster {
    /// Gives a command to a release and waits for what becomes of it.
    ///
    /// # Errors
    /// When it can't be given, is refused, or nobody carries it out.
    pub async fn command(
        &self,
        namespace: &str,
        name: &ServiceName,
        request: &CommandRequest,
    ) -> Result<Answer> {
        // What is not there is told better than by a patch that fails.
        self.release(namespace, name).await?;
        let place = self.place(namespace, name).await?;
        let (id, text) = self.note_text(request)?;
        let patch = json!({"metadata": {"annotations": {COMMAND_ANNOTATION: text}}});
        let api = self.api(place.kind, Some(namespace));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.call(api.patch(&place.name, &params, &Patch::Merge(&patch)))
            .await?;
        let answer = timeout(ANSWER_TIMEOUT, self.answer(&place, name, &id)).await;
        match answer {
            Ok(answer) => answer,
            Err(_) if *place.kind == RELEASE => Err(ClusterError::NoAnswer(ANSWER_TIMEOUT)),
            Err(_) => Err(ClusterError::Unattended(name.clone())),
        }
    }

    /// Returns a request as it is written, with its id.
    pub(super) fn note_text(&self, request: &CommandRequest) -> Result<(String, String)> {
        let note = note(request, (self.clock)());
        let text = serde_json::to_string(&note).unwrap_or_default();
        CommandNote::parse(&text).map_err(|error| ClusterError::Command(error.to_string()))?;
        Ok((note.id, text))
    }

    /// Returns the object that takes commands: the Release, else the workload that carries it, while a terminal looks after it.
    async fn place(&self, namespace: &str, name: &ServiceName) -> Result<ObjectRef> {
        if self.has_release(namespace, name).await? {
            return Ok(RELEASE.named(namespace, name.as_str()));
        }
        let carrier = self.carrier(namespace, name).await?;
        let carrier = carrier.filter(|one| one.terminal.stage != Stage::Over);
        let Some(carrier) = carrier else {
            return Err(ClusterError::Refused("no rollout goes on".to_owned()));
        };
        // A command that nobody hears would be carried out when somebody goes on, to whose surprise?
        if self.is_attended(namespace, name).await? {
            Ok(carrier.target)
        } else {
            Err(ClusterError::Unattended(name.clone()))
        }
    }

    /// Follows a release until its status tells of the command.
    async fn answer(&self, place: &ObjectRef, name: &ServiceName, id: &str) -> Result<Answer> {
        let (kind, namespace) = (place.kind, &place.namespace);
        let api = self.api(kind, Some(namespace));
        let seen = watcher::watch_object(api, &place.name).map_err(|error| self.of_watch(&error));
        let mut seen = std::pin::pin!(seen);
        while let Some(next) = seen.next().await {
            let object = match next {
                Ok(object) => object,
                Err(error) if error.is_final() => return Err(error),
                // The watch begins again by itself, and the deadline ends it.
                Err(_) => continue,
            };
            let Some(object) = object else {
                return Err(ClusterError::Gone {
                    namespace: namespace.clone(),
                    name: name.clone(),
                });
            };
            let object = to_value(object, kind);
            let release = match Carrier::read(kind, object.clone()) {
                Some(Ok(carrier)) => carrier.release(),
                Some(Err(_)) | None => object,
            };
            let release = Release::read(&release)?;
            if let Some(outcome) = outcome(&release, id) {
                return outcome;
            }
        }
        Err(ClusterError::NoAnswer(ANSWER_TIMEOUT))
    }
}

/// Returns a request as it is written on a release.
fn note(request: &CommandRequest, now: Timestamp) -> CommandNote {
    CommandNote {
        id: fresh_id(now),
        name: typed(request.command).to_owned(),
        by: request.by.clone(),
        at: Some(now),
        reason: request.reason.clone(),
        step: request.step,
        full: request.full,
        weight_bps: request.weight_bps.map(Weight::as_bps),
        to: request.to.as_ref().map(VersionName::to_string),
        rollout: request.rollout.clone(),
    }
}

/// Returns an id that no command before had: the time, so that people can read it, and something that two people in the same second
/// don't share.
fn fresh_id(now: Timestamp) -> String {
    let chance = RandomState::new().hash_one(now.as_nanosecond());
    format!("{}-{:08x}", now.strftime("%Y%m%dT%H%M%SZ"), chance >> 32)
}

/// Returns what became of a command, if the status tells it.
fn outcome(release: &Release, id: &str) -> Option<Result<Answer>> {
    let answer = release.status.command.as_ref()?;
    if answer.id == id {
        if answer.result == "Done" {
            return Some(Ok(Answer {
                messages: vec![answer.message.clone()],
                rollout: release
                    .status
                    .rollout
                    .as_ref()
                    .and_then(|id| id.parse().ok()),
                is_durable: true,
            }));
        }
        return Some(Err(ClusterError::Refused(answer.message.clone())));
    }
    // Commands are answered in the order in which they are seen: one that came later and has its answer was seen instead of ours.
    let other = release.command.as_ref()?;
    (other.id == answer.id).then(|| {
        Err(ClusterError::Overtaken {
            name: other.name.clone(),
            by: other.by.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use haldane_api::http::CommandName;
    use serde_json::Value;

    use super::*;

    const NOW: &str = "2026-11-21T12:00:00Z";

    fn release(annotated: &str, answered: Option<(&str, &str)>) -> Release {
        let note = format!(r#"{{"id": "{annotated}", "name": "pause", "by": "bob"}}"#);
        let command = answered.map(|(id, result)| {
            json!({"id": id, "name": "abort", "by": "ann", "result": result, "message": "told", "at": NOW})
        });
        let object = json!({
            "metadata": {"name": "shop", "namespace": "web", "annotations": {COMMAND_ANNOTATION: note}},
            "spec": {"workload": {}},
            "status": {"phase": "RollingBack", "rollout": "shop-7", "command": command},
        });
        Release::read(&object).unwrap()
    }

    fn told(annotated: &str, answered: Option<(&str, &str)>) -> String {
        match outcome(&release(annotated, answered), "7") {
            None => "waits".to_owned(),
            Some(Ok(answer)) => format!("{} {}", answer.messages[0], answer.rollout.unwrap()),
            Some(Err(error)) => error.to_string(),
        }
    }

    #[test]
    fn a_command_is_over_when_the_status_has_its_id() {
        let overtaken = "`pause` by bob took the place of this command before the controller saw it; \
                         look where it stands with `haldane status`";
        for (annotated, answered, expected) in [
            ("7", None, "waits"),
            // The answer to the command before.
            ("7", Some(("6", "Done")), "waits"),
            ("7", Some(("7", "Done")), "told shop-7"),
            ("7", Some(("7", "Refused")), "told"),
            // Somebody came after us; ours may have been seen before.
            ("8", Some(("6", "Done")), "waits"),
            ("8", Some(("7", "Done")), "told shop-7"),
            ("8", Some(("8", "Done")), overtaken),
        ] {
            assert_eq!(
                told(annotated, answered),
                expected,
                "{annotated} {answered:?}"
            );
        }
    }

    #[test]
    fn a_request_is_written_as_the_controller_reads_it() {
        let request = CommandRequest {
            command: CommandName::SetWeight,
            step: None,
            full: false,
            weight_bps: Some(Weight::from_percent(10)),
            to: None,
            rollout: None,
            by: "ann@desk".to_owned(),
            reason: Some("lunch".to_owned()),
        };
        let now: Timestamp = NOW.parse().unwrap();
        let (note, other) = (note(&request, now), note(&request, now));
        assert_ne!(note.id, other.id, "two people in the same second");
        assert!(note.id.starts_with("20261121T120000Z-"), "{}", note.id);
        let text = serde_json::to_string(&note).unwrap();
        assert_eq!(CommandNote::parse(&text).unwrap(), note);
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value["id"] = json!("1");
        let expected = json!({
            "id": "1", "name": "set-weight", "by": "ann@desk", "at": NOW, "reason": "lunch", "weightBps": 1_000,
        });
        assert_eq!(value, expected);
    }
}
