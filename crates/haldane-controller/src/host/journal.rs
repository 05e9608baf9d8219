//! The decisions that a status keeps: enough for a person to see what was decided, when and why, and what the judges saw.
//!
//! They are written with the status that makes them durable, and never by a write of their own. **Invariant:** however long a rollout
//! is and whatever its metrics are called, they stay below [`BYTES_MAX`], and what the judges saw below [`JUDGED_BYTES_MAX`]; the
//! oldest are dropped first, but never a rollout's first one while it goes on.

use haldane_analysis::Evidence;
use haldane_api::release::{Decision, Judged};
use haldane_core::{
    plan::Plan,
    rollout::{self, Actor, Phase, State},
    verdict::{Judgement, Verdict},
};
use haldane_engine::evidence;
use serde::Serialize;

use super::act::Act;

/// The most decisions that are kept: a rollout of five steps makes about as many.
const DECISIONS_MAX: usize = 20;

/// The longest that they are together: the whole status stays small beside the 1.5 MiB that an object may have, and each write of it is cheap.
const BYTES_MAX: usize = 4 << 10;

/// The longest that is kept of what the judges saw once: two decisions with that always have room.
const JUDGED_BYTES_MAX: usize = 1_280;

/// The longest text in them; a name and a reason are most often shorter.
const TEXT_BYTES_MAX: usize = 160;

/// The most guards and the most metrics of one judgement.
const ROWS_MAX: usize = 8;

/// The decisions that a status keeps, oldest first.
#[derive(Debug, Default)]
pub(super) struct Journal {
    decisions: Vec<Decision>,
    /// The state after the last one, of the rollout that goes on.
    noted: Option<State>,
}

/// Why a decision was made.
pub(super) struct Why<'a> {
    /// What it followed from.
    pub cause: &'static str,
    /// Who wanted it, if a person did.
    pub by: Option<&'a Actor>,
    /// What the judges said last.
    pub judged: Option<&'a (Judgement, Evidence)>,
}

impl Act<'_> {
    /// Notes what was decided, if something was.
    pub(super) fn note(&mut self, cause: &'static str, by: Option<&Actor>) {
        if let (Some(live), Some(plan)) = (&self.record.live, &self.memory.plan) {
            let bench = self.memory.bench.as_ref();
            let judged = bench.and_then(|bench| bench.judged.as_ref());
            let why = Why { cause, by, judged };
            self.memory.journal.note(plan, &live.state, &why);
        }
    }
}

impl Journal {
    /// Returns what a status has, whose rollout stands here.
    pub(super) fn of(decisions: &[Decision], state: Option<&State>) -> Self {
        Self {
            decisions: decisions.to_vec(),
            noted: state.cloned(),
        }
    }

    /// Returns the decisions, oldest first.
    pub(super) fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Notes a decision, if one was made since the last.
    pub(super) fn note(&mut self, plan: &Plan, state: &State, why: &Why<'_>) {
        let noted = self.noted.as_ref().filter(|noted| noted.id == state.id);
        if noted.is_some_and(|noted| noted.is_same_decision(state)) {
            return;
        }
        let is_turn = noted.is_none_or(|noted| noted.phase.name() != state.phase.name());
        let last = self.decisions.last();
        let last = last.filter(|one| one.rollout == state.id.as_str());
        let number = match last {
            Some(last) => last.number.saturating_add(1),
            // The beginning was decided by somebody who kept nothing of it.
            None => u32::from(noted.is_some()),
        };
        let own = self.decisions.iter().rev();
        let said = own
            .take_while(|one| one.rollout == state.id.as_str())
            .find_map(|one| one.judged.as_ref());
        let decision = Decision {
            rollout: state.id.to_string(),
            number,
            at: state.seen,
            phase: state.phase.name().to_owned(),
            step: state.step().map(|step| step.saturating_add(1)),
            weight: state.weight().to_string(),
            text: cut(&rollout::decided(plan, state)),
            cause: why.cause.to_owned(),
            by: why.by.map(|by| cut(&by.to_string())),
            judged: why.judged.and_then(|judged| {
                // What a rollout ended by stands with the decision before its end.
                let is_bad = judged.0.verdict == Verdict::Fail && !state.phase.is_terminal();
                if is_turn && rests_on_evidence(state) || is_bad {
                    return Some(seen(judged));
                }
                // What was said with the decision before is not said again.
                let brief = brief(judged);
                let is_news = said.is_none_or(|said| {
                    (said.verdict, &said.reason) != (brief.verdict, &brief.reason)
                });
                is_news.then_some(brief)
            }),
        };
        self.decisions.push(decision);
        self.noted = Some(state.clone());
        self.drop_surplus();
    }

    fn drop_surplus(&mut self) {
        let Some(last) = self.decisions.last() else {
            return;
        };
        let rollout = last.rollout.clone();
        let mut others = self.decisions.iter().rev().map(|one| &one.rollout);
        let before = others.find(|one| **one != rollout).cloned();
        self.decisions
            .retain(|one| one.rollout == rollout || Some(&one.rollout) == before.as_ref());
        while self.decisions.len() > 2
            && (self.decisions.len() > DECISIONS_MAX || bytes(&self.decisions) > BYTES_MAX)
        {
            let is_own = self
                .decisions
                .first()
                .is_some_and(|one| one.rollout == rollout);
            self.decisions.remove(usize::from(is_own));
        }
    }
}

/// Returns what the judges said and saw, as far as there is room.
pub(super) fn seen((judgement, evidence): &(Judgement, Evidence)) -> Judged {
    let mut judged = Judged::from(evidence::view(Some(judgement), evidence));
    judged.reason = cut(&judged.reason);
    // What does not decide is left out first.
    judged
        .guards
        .sort_by_key(|one| one.verdict == Verdict::Pass);
    judged
        .metrics
        .sort_by_key(|one| one.verdict == Verdict::Pass);
    judged.guards.truncate(ROWS_MAX);
    judged.metrics.truncate(ROWS_MAX);
    for guard in &mut judged.guards {
        for text in [&mut guard.metric, &mut guard.limit, &mut guard.reason] {
            *text = cut(text);
        }
    }
    for metric in &mut judged.metrics {
        for text in [&mut metric.name, &mut metric.reason] {
            *text = cut(text);
        }
    }
    while bytes(&judged) > JUDGED_BYTES_MAX {
        let has_passing = |last: Option<Verdict>| last == Some(Verdict::Pass);
        let guard = judged.guards.last().map(|one| one.verdict);
        let metric = judged.metrics.last().map(|one| one.verdict);
        let is_metric = has_passing(metric) || !has_passing(guard) && metric.is_some();
        let is_gone = if is_metric {
            judged.metrics.pop().is_none()
        } else {
            judged.guards.pop().is_none()
        };
        if is_gone {
            break;
        }
    }
    judged
}

/// Returns what the judges said alone.
fn brief((judgement, _): &(Judgement, Evidence)) -> Judged {
    Judged {
        verdict: judgement.verdict,
        reason: cut(&judgement.reason),
        from: None,
        to: None,
        requests: None,
        harm_percent: None,
        guards: Vec::new(),
        metrics: Vec::new(),
    }
}

/// Whether somebody who sees the rollout here wants to know what it rests on.
const fn rests_on_evidence(state: &State) -> bool {
    match &state.phase {
        Phase::Promoting(_) | Phase::RollingBack(_) | Phase::Paused(_) => true,
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Progressing(_)
        | Phase::Completed(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => false,
    }
}

/// Returns as much of a text as there is room for, as JSON has it.
fn cut(text: &str) -> String {
    let mut room = TEXT_BYTES_MAX;
    let mut kept = String::new();
    for c in text.chars() {
        let length = match c {
            '"' | '\\' => 2,
            c if c.is_control() => 6,
            c => c.len_utf8(),
        };
        match room.checked_sub(length) {
            Some(left) => room = left,
            None => {
                kept.push('…');
                break;
            }
        }
        kept.push(c);
    }
    kept
}

fn bytes(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests;
