//! What is done when a release is deleted: traffic goes back to stable, and the objects are as they were.

use haldane_core::rollout::{Action, Actor, Phase};
use jiff::SignedDuration;
use serde_json::json;

use super::{
    act::{Act, Setting, is_gone},
    json as read,
    record::Stable,
    release::{FINALIZER, Home},
    site::{Blocked, Scene},
};
use crate::{
    kinds::{DEPLOYMENT, RELEASE, SERVICE},
    turn::{Urgency, What, Write},
};

/// How long the pods of the last canary are waited for before the user's Service may lead to all pods again.
const QUIET_MAX: SignedDuration = SignedDuration::from_secs(60);

impl Act<'_> {
    /// Ends the rollout of a release that is being deleted.
    pub(super) fn give_up(&mut self) {
        let is_ending =
            |live: &super::record::Live| matches!(live.state.phase, Phase::RollingBack(_));
        if self.release.is_deleted() && self.record.live().is_some_and(|live| !is_ending(live)) {
            let actor = Actor {
                name: "kubernetes".to_owned(),
                reason: Some("the Release was deleted".to_owned()),
            };
            // An abort is possible in every live phase.
            if self.command(Action::Abort, actor).is_ok() {
                self.tell(
                    true,
                    "Deleted",
                    "the rollout ends with its Release".to_owned(),
                );
            }
        }
    }

    /// Returns what is still to be written before the release may be gone.
    pub(super) fn leave(
        &mut self,
        setting: &Setting<'_>,
        blocked: Option<&Blocked>,
    ) -> Result<Vec<Write>, Blocked> {
        // Who has let go already is seen for a moment longer.
        if self.released().is_empty() {
            return Ok(Vec::new());
        }
        // Where something is gone, what is left of the rest is put back.
        if is_gone(blocked) || self.record.stable.is_none() {
            let mut writes = setting.routes.cleared(&self.view).unwrap_or_default();
            writes.extend(self.taken_back(setting));
            if self.is_carried() && !writes.is_empty() {
                return Ok(writes);
            }
            writes.extend(self.swept());
            writes.extend(setting.site.leave(&self.view, &self.record)?);
            writes.extend(self.released());
            return Ok(writes);
        }
        let mut writes = match &mut self.rest {
            Some(rest) => std::mem::take(&mut rest.writes),
            None => return Ok(Vec::new()),
        };
        if !writes.is_empty() || self.goes_on().is_some() || self.memory.cleared.is_none() {
            return Ok(writes);
        }
        let patience = self
            .memory
            .cleared
            .and_then(|at| at.checked_add(QUIET_MAX).ok());
        let is_patient = patience.is_some_and(|at| at > self.view.now);
        if is_patient && !setting.site.is_quiet(&self.view)? {
            if let Some(rest) = &mut self.rest {
                rest.at = rest.at.into_iter().chain(patience).min();
            }
            return Ok(writes);
        }
        writes = self.taken_back(setting);
        if !writes.is_empty() {
            return Ok(writes);
        }
        writes = self.swept();
        writes.extend(setting.site.leave(&self.view, &self.record)?);
        if writes.is_empty() {
            return Ok(self.released());
        }
        writes.extend(self.released());
        Ok(writes)
    }

    /// Whether a release that is kept on a workload has nothing to do any more: what was to be tried is tried.
    pub(super) fn is_over(&self, stable: &Stable, scene: &Scene) -> bool {
        match self.view.home {
            Home::Own => false,
            Home::Carried { is_offered, .. } => {
                let is_done = *is_offered && !self.record.stop && !self.is_new(stable, scene);
                // Who is told of a rollback is told by this terminal, or by nobody.
                let is_told = self.record.told.is_empty() && self.record.jobs.is_empty();
                is_done && is_told && !self.release.is_deleted()
            }
        }
    }

    /// Returns the write that deletes the release itself.
    pub(super) fn deletion(&self) -> Write {
        Write {
            target: self.view.name(&RELEASE, &self.view.key.name),
            what: What::Delete {
                uid: self.view.uid.to_owned(),
            },
            urgency: Urgency::Rest,
        }
    }

    const fn is_carried(&self) -> bool {
        matches!(self.view.home, Home::Carried { .. })
    }

    /// Returns what takes the version away again that a terminal put into the workload, where it does not serve: nobody would hold it
    /// back from now on. Where its old template is kept nowhere any more, the workload stays held.
    fn taken_back(&self, setting: &Setting<'_>) -> Vec<Write> {
        let Home::Carried { is_put: true, .. } = self.view.home else {
            return Vec::new();
        };
        let stable = self.record.stable.as_ref();
        let restored = stable.map(|stable| setting.site.restored(&self.view, stable));
        restored.and_then(Result::ok).unwrap_or_default()
    }

    /// Returns what removes the objects that were made for a release which is kept on a workload: they would stay as long as that.
    fn swept(&self) -> Vec<Write> {
        if !self.is_carried() {
            return Vec::new();
        }
        let made = [&SERVICE, &DEPLOYMENT].into_iter().flat_map(|kind| {
            let owned = self
                .view
                .sight
                .owned(kind, &self.view.key.namespace, self.view.uid);
            owned.into_iter().map(move |object| (kind, object))
        });
        let left = made.filter(|(_, one)| one.pointer("/metadata/deletionTimestamp").is_none());
        let deleted = left.map(|(kind, object)| Write {
            target: self.view.name(
                kind,
                read::text(&object, "/metadata/name").unwrap_or_default(),
            ),
            what: What::Delete {
                uid: read::uid(&object).to_owned(),
            },
            urgency: Urgency::Rest,
        });
        deleted.collect()
    }

    /// Returns the write that lets the release go.
    pub(super) fn released(&self) -> Vec<Write> {
        let finalizers = self.release.finalizers();
        if !finalizers.iter().any(|one| one == FINALIZER) {
            return Vec::new();
        }
        let left: Vec<&String> = finalizers.iter().filter(|one| *one != FINALIZER).collect();
        vec![self.of_metadata(&json!({"finalizers": left}))]
    }
}
