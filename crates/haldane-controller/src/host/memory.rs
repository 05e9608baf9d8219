//! What is known of a release between two turns.

use std::sync::Arc;

use haldane_api::release::{CommandAnswer, Judged, JudgedPlan, Past, Status};
use haldane_core::{
    RolloutId,
    plan::Plan,
    rollout::{Effect, GateAnswer, GateKey, State, effects},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    act::SPREAD,
    bench::Bench,
    journal::{self, Journal},
    record::{Live, Record},
    site::View,
};

/// How long a change from which nothing follows may wait for the next one, so that both are one write.
const DEFER: SignedDuration = SignedDuration::from_secs(30);

/// How long the news that what was decided is in force may wait for the next decision.
const APPLIED_DEFER: SignedDuration = SignedDuration::from_secs(12);

/// How long routers may take without a word about it.
const SLOW: SignedDuration = SignedDuration::from_secs(5);
/// Longest message of a past rollout to which something is added.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// How many past rollouts are kept.
const HISTORY_MAX: usize = 10;

/// How many answers of gates wait to be taken; what nobody takes is of a question that was given up.
const ANSWERS_MAX: usize = 16;

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
    /// Decisions of the last rollouts.
    pub journal: Journal,
    /// What the judges of the last rollout said last, if none goes on.
    pub judged: Option<Judged>,
    /// The last command and what became of it.
    pub answer: Option<CommandAnswer>,
    /// Answers of gates that nobody took yet.
    answers: Vec<GateAnswer>,
    /// What the judges of the rollout that goes on know.
    pub bench: Option<Bench>,
    /// The plan of the spec of this generation, with what it is judged by.
    pub judged_plan: Option<(Option<i64>, Arc<JudgedPlan>)>,
    /// Since when something waits to be saved.
    dirty: Option<Timestamp>,
    /// Since when what is decided is not in force.
    pub unapplied: Option<Timestamp>,
    /// Since when it is in force and the status says that it is not.
    untold: Option<Timestamp>,
    /// Since when the routers know of a canary that gets nothing yet.
    pub introduced: Option<Timestamp>,
    /// Since when the routers' objects give the canary nothing any more.
    pub calm: Option<Timestamp>,
    /// Since when stable's Service leads to stable.
    pub led: Option<Timestamp>,
    /// Since when nothing of ours is left at the routers.
    pub cleared: Option<Timestamp>,
}

/// Whether the status must be written for what is remembered.
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
        let state = record.live.as_ref().map(|live| &live.state);
        self.journal = Journal::of(&status.decisions, state);
        self.judged.clone_from(&status.judged);
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

    /// Whether it is kept where stable runs.
    pub(super) fn is_kept(&self, record: &Record) -> bool {
        let saved = self.saved.as_ref();
        saved.is_some_and(|saved| saved.stable == record.stable)
    }

    /// Returns what the judges said last, and what they saw.
    pub(super) fn judged(&self) -> Option<Judged> {
        let now = self.bench.as_ref().and_then(|bench| bench.judged.as_ref());
        now.map(journal::seen).or_else(|| self.judged.clone())
    }

    /// Adds a rollout that is over.
    pub(super) fn remember(&mut self, past: Past) {
        self.history.insert(0, past);
        self.history.truncate(HISTORY_MAX);
    }

    /// Adds what somebody said after a rollout was over to what is kept of it.
    pub(super) fn add_to(&mut self, rollout: &RolloutId, said: &str) {
        let mut past = self.history.iter_mut();
        if let Some(past) = past.find(|past| past.rollout == rollout.as_str()) {
            let all = format!("{}; {said}", past.message);
            past.message = all.chars().take(MESSAGE_CHARS_MAX).collect();
        }
    }

    /// Takes in answers of gates.
    pub(super) fn hear(&mut self, answers: Vec<GateAnswer>) {
        self.answers.extend(answers);
        let surplus = self.answers.len().saturating_sub(ANSWERS_MAX);
        self.answers.drain(..surplus);
    }

    /// Takes the answer of one gate out of what was said.
    pub(super) fn said(&mut self, key: &GateKey) -> Option<GateAnswer> {
        let index = self.answers.iter().position(|answer| answer.key == *key)?;
        Some(self.answers.remove(index))
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

    /// Takes in whether what is decided is in force; returns whether it is not for longer than routers usually take.
    pub(super) fn is_late(&mut self, is_applied: bool, now: Timestamp) -> bool {
        self.unapplied = (!is_applied).then(|| self.unapplied.unwrap_or(now));
        self.slow().is_some_and(|at| at <= now)
    }

    /// Returns when what is not in force is worth a word.
    pub(super) fn slow(&self) -> Option<Timestamp> {
        self.unapplied.and_then(|at| at.checked_add(SLOW).ok())
    }

    /// Returns whether the status must be written for what is remembered, or because it says for too long that something is not in
    /// force which is.
    pub(super) fn save(&mut self, is_untold: bool, now: Timestamp) -> Save {
        self.untold = is_untold.then(|| self.untold.unwrap_or(now));
        let tell = self
            .untold
            .and_then(|at| at.checked_add(APPLIED_DEFER).ok());
        match (self.save_record(now), tell) {
            (Save::Now, _) => Save::Now,
            (_, Some(at)) if at <= now => Save::Now,
            (Save::By(by), Some(at)) => Save::By(by.min(at)),
            (Save::Done, Some(at)) => Save::By(at),
            (save, None) => save,
        }
    }

    fn save_record(&mut self, now: Timestamp) -> Save {
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
    let others = |record: &Record| Record {
        stable: None,
        ..without_live(record)
    };
    let is_same = saved.stable == record.stable;
    if others(saved) != others(record) || !(is_same || is_moved(saved, record)) {
        return Change::Outer;
    }
    match (&saved.live, &record.live, plan) {
        (None, None, _) if is_same => Change::None,
        (None, None, _) => Change::Inner,
        (Some(old), Some(new), Some(plan)) => live_change(old, new, plan),
        (Some(_) | None, Some(_) | None, _) => Change::Outer,
    }
}

/// Whether a version that was promoted has come to where it stays. The objects tell that again to whoever does not remember it.
fn is_moved(saved: &Record, record: &Record) -> bool {
    let (Some(was), Some(is)) = (&saved.stable, &record.stable) else {
        return false;
    };
    was.version == is.version && was.beside.is_some() && is.beside.is_none()
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
