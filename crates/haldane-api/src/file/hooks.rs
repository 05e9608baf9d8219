//! Hooks of a rollout: questions at certain moments, made gates between its steps.
//!
//! The core knows gates alone, so that hooks are shown, simulated and asked as the steps that they are. Those after a rollback belong
//! to no step: they are a rule of the plan.

use haldane_core::plan::{Gate, Step, check::HOOKS_MAX};

use super::{rollout::Steps, step::read_gate};
use crate::{
    keys,
    read::{At, Fields, Problems},
};

/// The hooks of a rollout, each with its place in the file.
#[derive(Default)]
pub(super) struct Hooks<'a> {
    before_rollout: Vec<(Gate, At<'a>)>,
    each_step: Vec<(Gate, At<'a>)>,
    before_promotion: Vec<(Gate, At<'a>)>,
    /// After a rollback.
    pub(super) after_rollback: Vec<Gate>,
}

impl<'a> Hooks<'a> {
    /// Reads the key `hooks` of a rollout.
    pub(super) fn read(rollout: &Fields<'a>, out: &mut Problems) -> Self {
        let fields = rollout
            .get("hooks")
            .and_then(|at| at.fields(&keys::HOOKS, out));
        let Some(fields) = fields else {
            return Self::default();
        };
        let mut read = |key, moment| {
            let read = |at: &At<'a>| read_hooks(at, moment, out);
            fields.or(key, Vec::new(), read)
        };
        Self {
            before_rollout: read("beforeRollout", "before the rollout"),
            each_step: read("eachStep", "at each step"),
            before_promotion: read("beforePromotion", "before promotion"),
            after_rollback: read("afterRollback", "after a rollback")
                .into_iter()
                .map(|(gate, _)| gate)
                .collect(),
        }
    }

    /// Puts the hooks between the steps.
    pub(super) fn woven(&self, steps: Steps<'a>) -> Steps<'a> {
        let Steps {
            steps,
            places,
            firsts,
        } = steps;
        // No step at all is a mistake that hooks must not hide.
        if steps.is_empty() {
            return Steps::default();
        }
        let mut woven = Steps::default();
        let mut has_begun = false;
        let mut has_trial = false;
        for (index, (step, place)) in (0_u32..).zip(steps.into_iter().zip(&places)) {
            if !has_begun && !matches!(step, Step::ScaleCanary(_)) {
                has_begun = true;
                woven.ask(&self.before_rollout);
            }
            let is_shift = matches!(step, Step::SetWeight(_) | Step::TestTraffic);
            if is_shift && has_trial {
                woven.ask(&self.each_step);
            }
            if is_shift {
                has_trial = !matches!(step, Step::SetWeight(weight) if weight.is_zero());
            }
            // Every entry has a step, so that no two begin here.
            if firsts.binary_search(&index).is_ok() {
                woven.begin();
            }
            woven.push(step, place);
        }
        if has_trial {
            woven.ask(&self.each_step);
        }
        woven.ask(&self.before_promotion);
        woven
    }
}

impl<'a> Steps<'a> {
    fn ask(&mut self, hooks: &[(Gate, At<'a>)]) {
        for (gate, place) in hooks {
            self.push(Step::Gate(gate.clone()), place);
        }
    }
}

fn read_hooks<'a>(at: &At<'a>, moment: &str, out: &mut Problems) -> Option<Vec<(Gate, At<'a>)>> {
    let items = at.items("a list of gates such as [{ webhook: https://… }]", out)?;
    if items.len() > HOOKS_MAX {
        let count = items.len();
        out.add(at, format!("{count} hooks; expected at most {HOOKS_MAX}"));
        return None;
    }
    let read = |at: At<'a>| Some((read_gate(&at, Some(moment), out)?, at));
    Some(items.into_iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests;
