//! People: one who answers what is asked, and others who meddle.

use haldane_core::rollout::{Action, Actor, Command, Pause, Phase, State};

use crate::{
    chance::Chance,
    draw,
    fault::{Fault, Faults},
};

/// The most commands that meddlers give in one rollout, so that every rollout ends.
const MEDDLING_MAX: u32 = 12;

/// Everyone who gives commands.
#[derive(Clone, Debug)]
pub(crate) struct People {
    /// When the one who answers will answer, once there is a question.
    answer_at: Option<i64>,
    meddling: u32,
    chance: Chance,
}

impl People {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            answer_at: None,
            meddling: 0,
            chance: Chance::new(seed, 6),
        }
    }

    pub(super) fn commands(
        &mut self,
        now: i64,
        state: &State,
        faults: &mut Faults,
    ) -> Vec<Command> {
        let mut given: Vec<Action> = self.answer(now, state, faults).into_iter().collect();
        if self.meddling < MEDDLING_MAX {
            self.meddle(state, faults, &mut given);
        }
        given
            .into_iter()
            .map(|action| Command {
                action,
                actor: Actor {
                    name: "ann".to_owned(),
                    reason: None,
                },
            })
            .collect()
    }

    fn answer(&mut self, now: i64, state: &State, faults: &mut Faults) -> Option<Action> {
        let Phase::Paused(paused) = &state.phase else {
            self.answer_at = None;
            return None;
        };
        let ends_by_itself = matches!(paused.why, Pause::Closed(_) | Pause::Confirming(_));
        if ends_by_itself || faults.strikes(Fault::Absent) {
            return None;
        }
        let Some(at) = self.answer_at else {
            self.answer_at = Some(now.saturating_add(self.chance.seconds(2, 20)));
            return None;
        };
        if at > now {
            return None;
        }
        self.answer_at = None;
        Some(match &paused.why {
            // Who sees that the canary is bad does not go on with it.
            Pause::Failure(_) => Action::Abort,
            Pause::Operator(_)
            | Pause::Override(_)
            | Pause::Planned
            | Pause::Question(_)
            | Pause::Closed(_)
            | Pause::Confirming(_) => Action::Resume,
        })
    }

    fn meddle(&mut self, state: &State, faults: &mut Faults, given: &mut Vec<Action>) {
        let chance = &mut self.chance;
        let before = given.len();
        let step = state.step();
        if faults.strikes_at_times(Fault::DoublePromote, 100, chance) {
            given.push(Action::Promote { step });
            given.push(Action::Promote { step });
        }
        if faults.strikes_at_times(Fault::PromoteAndAbort, 40, chance) {
            given.push(Action::Promote { step: None });
            given.push(Action::Abort);
        }
        if faults.strikes_at_times(Fault::Meddling, 250, chance) {
            given.extend(any_action(chance));
        }
        let count = u32::try_from(given.len().saturating_sub(before)).unwrap_or(0);
        self.meddling = self.meddling.saturating_add(count);
    }
}

fn any_action(chance: &mut Chance) -> Option<Action> {
    Some(match chance.below(20) {
        0..=3 => Action::Promote { step: None },
        4 => Action::PromoteFull { step: Some(1) },
        5..=7 => Action::Pause,
        8..=10 => Action::Resume,
        11 => Action::Abort,
        12..=13 => Action::Restart,
        14..=16 => Action::SetWeight(draw::share(chance)),
        17 => Action::Supersede("v3".parse().ok()?),
        18 => Action::BackToStable,
        _ => Action::PromoteFull { step: None },
    })
}
