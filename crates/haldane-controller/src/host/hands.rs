//! What people do by hand to a rollout's objects, and what it means.
//!
//! **Invariant:** what somebody set by hand is never written over: it is an abort, an override, or left alone.

use haldane_core::rollout::{Action, Actor, Phase, effect};
use jiff::Timestamp;
use tracing::info;

use super::{
    act::{Act, Setting},
    record::{Live, Stable},
    routes::{Looked, is_repeater},
    site::{Blocked, Scene},
};
use crate::turn::FIELD_MANAGER;

impl Act<'_> {
    /// Takes what somebody did by hand for what it means.
    pub(super) fn notice_hands(&mut self, setting: &Setting<'_>) -> Result<(), Blocked> {
        let (Some(live), Some(plan)) = (self.record.live().cloned(), self.memory.plan.clone())
        else {
            return Ok(());
        };
        if matches!(live.state.phase, Phase::Pending(_) | Phase::RollingBack(_)) {
            return Ok(());
        }
        // Where pods are the traffic, a canary without traffic has none.
        let wants_pods = self
            .canary_size(setting, &live, &plan)
            .is_none_or(|size| size.count > 0);
        if live.is_started && self.is_canary_gone && wants_pods {
            let how = setting.site.taken_away(&self.view, &live)?;
            self.by_hand(Action::Abort, "somebody", how.unwrap_or_default());
            return Ok(());
        }
        let wanted = effect::traffic(&plan, &live.state);
        let Ok(looked) = setting.routes.look(&self.view, &wanted) else {
            return Ok(());
        };
        let (seen, Some(by)) = (looked.applied.weight, looked.by.clone()) else {
            return Ok(());
        };
        // Who applies a manifest again that never named a canary says nothing of it.
        if seen.is_zero() && !looked.is_named {
            return Ok(());
        }
        // Our own write may be unfinished; what somebody wrote after it was decided is not that.
        let is_unfinished = seen.as_bps() == live.routed && !self.is_after(&live, looked.at);
        let is_ours = by == FIELD_MANAGER || seen == wanted.weight || is_unfinished;
        if is_ours || is_repeater(&by) {
            return Ok(());
        }
        let action = if seen.is_zero() {
            Action::Abort
        } else {
            Action::SetWeight(seen)
        };
        let said = format!("the canary's weight was set to {seen} by {by}");
        self.by_hand(action, &by, said);
        Ok(())
    }

    /// Whether somebody wrote after what is decided was kept: in the same second or later, since the API server tells no more.
    fn is_after(&self, live: &Live, written: Option<Timestamp>) -> bool {
        let decided = self.memory.decided(live);
        decided
            .zip(written)
            .is_some_and(|(decided, at)| at.as_second() >= decided.as_second())
    }

    fn by_hand(&mut self, action: Action, by: &str, said: String) {
        let actor = Actor {
            name: by.to_owned(),
            reason: Some(said.clone()),
        };
        info!(release = %self.view.key, "Done by hand: {said}");
        if self.command(action, actor).is_ok() {
            self.tell(true, "ByHand", said);
        }
    }

    /// Whether the canary keeps a weight that somebody gave it while no rollout goes on: as long as its pods answer, and until the next
    /// rollout begins at zero.
    pub(super) fn leaves_to_hands(
        &mut self,
        looked: &Looked,
        stable: &Stable,
        scene: &Scene,
    ) -> bool {
        let (weight, Some(by)) = (looked.applied.weight, &looked.by) else {
            return false;
        };
        let is_done = !self.record.stop && stable.beside.is_none() && !self.release.is_deleted();
        let is_by_hand = by != FIELD_MANAGER && !is_repeater(by) && !weight.is_zero();
        let answers = scene.canary.is_some_and(|canary| canary.ready > 0);
        if !is_done || !is_by_hand || !answers || self.is_new(stable, scene) {
            return false;
        }
        let by = by.clone();
        let is_told = self.release.status.weight.as_deref() == Some(weight.to_string().as_str());
        if !is_told {
            let said =
                format!("the canary's weight was set to {weight} by {by}; no rollout goes on");
            self.tell(true, "ByHand", said);
        }
        self.left = Some((weight, by));
        true
    }
}
