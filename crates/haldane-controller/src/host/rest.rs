//! What is left to do while no rollout goes on: routes are set back, stable comes to where it stays, the canary goes.

use haldane_core::rollout::Traffic;
use jiff::Timestamp;

use super::{
    act::{Act, SPREAD, Setting},
    site::{Blocked, Rest, SPREAD_MAX, Scene},
};

impl Act<'_> {
    /// Looks after what is left to do while no rollout goes on, and begins the next one.
    pub(super) fn rest(&mut self, setting: &Setting<'_>, scene: &Scene) -> Result<(), Blocked> {
        let Some(stable) = self.record.stable.clone() else {
            return Ok(());
        };
        let withdrawn = setting.routes.toward(&self.view, &Traffic::STABLE_ONLY)?;
        let looked = setting.routes.look(&self.view, &Traffic::STABLE_ONLY)?;
        if self.leaves_to_hands(&looked, &stable, scene) {
            return Ok(());
        }
        let left = setting.routes.cleared(&self.view)?;
        let is_clear = left.is_empty() && looked.why_not.is_none();
        self.not_applied = looked.why_not;
        self.memory.cleared = is_clear.then(|| self.memory.cleared.unwrap_or(self.view.now));
        let is_calm = withdrawn.is_empty();
        self.memory.calm = is_calm.then(|| self.memory.calm.unwrap_or(self.view.now));
        let spread = after(self.memory.cleared);
        let is_spread = self.is_long(self.memory.cleared);
        // What stable ran on before may only go when it is kept that it runs elsewhere.
        let is_kept = self.memory.is_kept(&self.record);
        self.is_to_be_kept = is_spread && !is_kept;
        let is_fresh = self.view.now.duration_since(stable.since) < SPREAD_MAX;
        let is_led = !is_fresh || self.is_long(self.memory.led);
        let is_drained = is_spread && is_kept && is_led;
        let mut rest = setting
            .site
            .rest(&self.view, &self.record, &stable, is_drained)?;
        if let Some(moved) = rest.stable.take() {
            self.record.stable = Some(moved);
            self.memory.led = None;
            return self.rest(setting, scene);
        }
        self.heed_spread(&mut rest, is_fresh);
        if is_drained && rest.is_stopped && self.record.stop {
            self.record.stop = false;
        }
        if !left.is_empty() || !(is_kept || is_spread) {
            let said = "the routes are set back".to_owned();
            rest.goes_on.get_or_insert(said);
        }
        if is_clear && !is_spread {
            rest.at = rest.at.into_iter().chain(spread).min();
        }
        if rest.is_stable_reached {
            let forgotten = after(self.memory.calm);
            if self.is_long(self.memory.calm) || setting.routes.keeps_canary(&self.view)? {
                rest.writes.extend(left);
            } else if !left.is_empty() {
                rest.writes.extend(withdrawn);
                rest.at = rest.at.into_iter().chain(forgotten).min();
            }
        }
        let is_ready = rest.is_stable_reached && is_clear;
        let is_done = is_ready && rest.writes.is_empty() && rest.goes_on.is_none();
        if is_done && self.is_over(&stable, scene) {
            rest.writes.push(self.deletion());
        }
        self.rest = Some(rest);
        if is_ready && !self.release.is_deleted() && self.release.fault.is_none() {
            self.begin(setting, scene)?;
        }
        Ok(())
    }

    /// Takes stable's Service for led only when routers had the time to hear of it.
    fn heed_spread(&mut self, rest: &mut Rest, is_fresh: bool) {
        let led = rest.is_stable_reached;
        self.memory.led = led.then(|| self.memory.led.unwrap_or(self.view.now));
        if led && is_fresh && !self.is_long(self.memory.led) {
            rest.is_stable_reached = false;
            rest.at = rest.at.into_iter().chain(after(self.memory.led)).min();
            let last = self.memory.history.first();
            if last.is_some_and(|past| past.phase == "Completed") {
                let said = "routers hear where stable is".to_owned();
                rest.goes_on.get_or_insert(said);
            }
        }
    }

    /// Whether something has been so for long enough that routers know.
    fn is_long(&self, since: Option<Timestamp>) -> bool {
        after(since).is_some_and(|at| at <= self.view.now)
    }
}

/// Returns when routers know what has been so since then.
fn after(since: Option<Timestamp>) -> Option<Timestamp> {
    since.and_then(|at| at.checked_add(SPREAD).ok())
}
