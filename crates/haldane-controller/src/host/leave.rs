//! What is done when a release is deleted: traffic goes back to stable, and the objects are as they were.

use haldane_core::rollout::{Action, Actor, Phase};
use jiff::SignedDuration;
use serde_json::json;

use super::{
    act::{Act, Setting, is_gone},
    release::FINALIZER,
    site::Blocked,
};
use crate::turn::Write;

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
        writes = setting.site.leave(&self.view, &self.record)?;
        if writes.is_empty() {
            return Ok(self.released());
        }
        writes.extend(self.released());
        Ok(writes)
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
