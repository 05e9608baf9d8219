//! What is known of a release between two turns.

use std::sync::Arc;

use haldane_api::release::{CommandAnswer, JudgedPlan, Past, Status};
use haldane_core::{
    plan::Plan,
    rollout::{Effect, State, effects},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    act::SPREAD,
    judge::Bench,
    record::{Live, Record},
    site::View,
};

/// How long a change from which nothing follows may wait for the next one, so that both are one write.
const DEFER: SignedDuration = SignedDuration::from_secs(30);

/// How many past rollouts are kept.
const HISTORY_MAX: usize = 10;

/// What is known of a release between two turns.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The record in the status that was read last, as text.
    text: Option<String>,
    /// The same.
    saved: Option<Record>,
    /// The record as it is now: the saved one, or ahead of it.
    now: Option<Record>,
    /// The plan of the rollout that goes on.
    pub plan: Option<Arc<Plan>>,
    /// Past rollouts, latest first.
    pub history: Vec<Past>,
    /// The last command and what became of it.
    pub answer: Option<CommandAnswer>,
    /// What the judges of the rollout that goes on know.
    pub bench: Option<Bench>,
    /// The plan of the spec of this generation, with what it is judged by.
    pub judged_plan: Option<(Option<i64>, Arc<JudgedPlan>)>,
    /// Since when something waits to be saved.
    dirty: Option<Timestamp>,
    /// Since when the routers know of a canary that gets nothing yet.
    pub introduced: Option<Timestamp>,
    /// Since when the routers' objects give the canary nothing any more.
    pub calm: Option<Timestamp>,
    /// Since when nothing of ours is left at the routers.
    pub cleared: Option<Timestamp>,
}

/// Whether the record must be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Save {
    /// It is saved.
    Done,
    /// It can wait until then.
    By(Timestamp),
    /// Something follows from it.
    Now,
}

impl Memory {
    /// Takes in the status: what was saved by somebody else replaces what is known.
    pub(super) fn take_in(&mut self, status: &Status) -> Result<(), String> {
        if self.now.is_some() && self.text == status.record {
            return Ok(());
        }
        let own = self.now.as_ref().map(Record::to_text);
        self.text.clone_from(&status.record);
        let record = match &status.record {
            Some(text) => Record::read(text).map_err(|error| error.to_string())?,
            None => Record::new(),
        };
        self.saved = Some(record.clone());
        self.dirty = None;
        if own == status.record {
            return Ok(());
        }
        self.plan = match (&record.live, &status.plan) {
            (Some(_), Some(text)) => {
                let plan: Plan = serde_json::from_str(text)
                    .map_err(|error| format!("status.plan can't be read: {error}"))?;
                Some(Arc::new(plan))
            }
            (Some(_), None) => return Err("status.plan is missing".to_owned()),
            (None, _) => None,
        };
        self.bench = None;
        self.history.clone_from(&status.history);
        self.answer.clone_from(&status.command);
        self.now = Some(record);
        Ok(())
    }

    /// Returns when this decision was made, if it is the one that is kept.
    pub(super) fn decided(&self, now: &Live) -> Option<Timestamp> {
        let kept = &self.saved.as_ref()?.live.as_ref()?.state;
        kept.is_same_decision(&now.state).then_some(kept.seen)
    }

    /// Returns the record as it is now.
    pub(super) fn record(&self) -> Record {
        self.now.clone().unwrap_or_else(Record::new)
    }

    /// Puts the record as it is from now on.
    pub(super) fn put(&mut self, record: Record) {
        self.now = Some(record);
    }

    /// Adds a rollout that is over.
    pub(super) fn remember(&mut self, past: Past) {
        self.history.insert(0, past);
        self.history.truncate(HISTORY_MAX);
    }

    /// Whether the routers have known of the canary for long enough to send it requests.
    pub(super) fn introduce(&mut self, is_named: bool, view: &View<'_>) -> bool {
        if !view.is_routed {
            return true;
        }
        self.introduced = is_named.then(|| self.introduced.unwrap_or(view.now));
        let spread = self.introduced.and_then(|at| at.checked_add(SPREAD).ok());
        spread.is_some_and(|at| at <= view.now)
    }

    /// Returns whether the record must be saved.
    pub(super) fn save(&mut self, now: Timestamp) -> Save {
        let (Some(saved), Some(record)) = (&self.saved, &self.now) else {
            return Save::Done;
        };
        match change(saved, record, self.plan.as_deref()) {
            Change::None => {
                self.dirty = None;
                Save::Done
            }
            Change::Inner => {
                let since = *self.dirty.get_or_insert(now);
                let by = since.checked_add(DEFER).unwrap_or(now);
                if by <= now { Save::Now } else { Save::By(by) }
            }
            Change::Outer => Save::Now,
        }
    }
}

/// How two records differ.
enum Change {
    /// Not at all.
    None,
    /// In what is remembered; the same effects follow from both.
    Inner,
    /// In what follows.
    Outer,
}

fn change(saved: &Record, record: &Record, plan: Option<&Plan>) -> Change {
    let without_live = |record: &Record| Record {
        live: None,
        ..record.clone()
    };
    if without_live(saved) != without_live(record) {
        return Change::Outer;
    }
    match (&saved.live, &record.live, plan) {
        (None, None, _) => Change::None,
        (Some(old), Some(new), Some(plan)) => live_change(old, new, plan),
        (Some(_) | None, Some(_) | None, _) => Change::Outer,
    }
}

/// Returns what is written or asked because of a state; what is judged and told depends on no write of it.
fn asked_for(plan: &Plan, state: &State) -> Vec<Effect> {
    let mut effects = effects(plan, state);
    effects.retain(|effect| match effect {
        Effect::EnsureTraffic(_)
        | Effect::EnsureWorkloads(_)
        | Effect::EnsureAsked(_)
        | Effect::EnsureStable(_) => true,
        Effect::EnsureJudged { .. } | Effect::Notify { .. } => false,
    });
    effects
}

fn live_change(old: &Live, new: &Live, plan: &Plan) -> Change {
    let inner = |live: &Live| Live {
        state: new.state.clone(),
        ..live.clone()
    };
    let is_same_decision = new.state.is_same_decision(&old.state);
    if is_same_decision && inner(old) == inner(new) {
        return Change::None;
    }
    let heard = |live: &Live| State {
        facts: new.state.facts.clone(),
        seen: new.state.seen,
        ..live.state.clone()
    };
    let (was, is) = (heard(old), heard(new));
    let is_same_effect = asked_for(plan, &was) == asked_for(plan, &is)
        && was.phase.name() == is.phase.name()
        && was.is_held_back() == is.is_held_back();
    if is_same_effect && old.state.id == new.state.id {
        Change::Inner
    } else {
        Change::Outer
    }
}
