//! Decisions made again from what is stored, and compared to the last bit.
//!
//! Each decision rests on what the judges said and on where the rollout stood. What the judges said is judged again from the recording;
//! the decision follows again from the state before it, what was known of the world, and the input. Where it differs, either what
//! is stored was changed, or this release decides otherwise than the one that decided.

use std::{collections::BTreeMap, iter::Peekable, vec::IntoIter};

use haldane_analysis::recording::{Judged, Moment, Playback};
use haldane_api::http::{RecomputationView, Recomputed, RecomputedView};
use haldane_core::{
    plan::Plan,
    rollout::{self, Input, State},
    verdict::{Judgement, Subject},
};
use jiff::{SignedDuration, Timestamp};

use super::Stored;
use crate::record::Entry;

/// The most notes on rows and gaps; more would be the same again.
const NOTES_MAX: usize = 20;

/// How far apart the ends of two seconds are at most, where none is missing; a late turn makes one long second of many.
const SECOND_MAX: SignedDuration = SignedDuration::from_secs(2);

/// The judges, on their way through the recording.
struct Court<'a> {
    playback: Playback<'a>,
    /// What was seen, and when.
    moments: Peekable<IntoIter<(Timestamp, &'a Moment)>>,
    /// What they said last, of each subject, since the last segment.
    said: BTreeMap<Subject, Judged>,
    has_begun: bool,
    full: Option<Timestamp>,
}

/// What was found of one decision.
struct Finding {
    result: Recomputed,
    text: String,
}

pub(super) fn recompute(stored: &Stored, is_cancelled: &dyn Fn() -> bool) -> RecomputationView {
    let record = &stored.record;
    let (moments, mut notes) = moments(stored);
    let mut court = Court {
        playback: Playback::new(&record.wish.plan),
        moments: timed(&moments).into_iter().peekable(),
        said: BTreeMap::new(),
        has_begun: false,
        full: None,
    };
    let mut decisions = Vec::new();
    let mut before: Option<State> = None;
    for row in &stored.entries {
        court.play_until(Some(row.at), is_cancelled);
        if is_cancelled() {
            break;
        }
        let finding = match Entry::read(row) {
            Ok(entry) => {
                let finding = check(&record.wish.plan, &court, before.as_ref(), &entry, row.at);
                before = Some(entry.state);
                finding
            }
            Err(error) => {
                before = None;
                Finding::of(
                    Recomputed::Different,
                    format!("it can't be read: {}", error.to_chain()),
                )
            }
        };
        decisions.push(RecomputedView {
            number: row.number,
            at: row.at,
            result: finding.result,
            looks: court.playback.looks(),
            text: finding.text,
        });
    }
    court.play_until(None, is_cancelled);
    let is_broken = !notes.is_empty();
    let breaks = court.playback.breaks().iter();
    notes.extend(breaks.map(|at| format!("seconds before {at:.0} are not recorded: the judges began there with more than the recording holds")));
    notes.extend(
        court
            .full
            .map(|at| format!("recording stopped at {at:.0}, when there was too much of it")),
    );
    // As long as everything is recorded, what the judges remember at the end follows from it.
    let is_other = court.has_begun
        && court.full.is_none()
        && !is_cancelled()
        && court.playback.memory() != &record.judges;
    if is_other {
        notes.push(
            "what the judges remember at the end is not what follows from the recording".to_owned(),
        );
    }
    notes.truncate(NOTES_MAX);
    let is_whole = !is_cancelled() && !is_broken && !is_other;
    conclude(stored, decisions, court.playback.looks(), notes, is_whole)
}

/// Returns the moments of all rows, and what is wrong with those that can't be read.
fn moments(stored: &Stored) -> (Vec<Moment>, Vec<String>) {
    let (mut moments, mut notes) = (Vec::new(), Vec::new());
    for row in &stored.rows {
        for (line, text) in (1..).zip(row.body.lines()) {
            match serde_json::from_str(text) {
                Ok(moment) => moments.push(moment),
                Err(error) => notes.push(format!(
                    "row {} of the recording can't be read: line {line}: {error}",
                    row.number
                )),
            }
        }
    }
    (moments, notes)
}

/// Returns the moments with their times. A beginning is at the end of its first second: what was decided in the same instant before a
/// restart is not of it.
fn timed(moments: &[Moment]) -> Vec<(Timestamp, &Moment)> {
    let mut next = Timestamp::MAX;
    let last_first = moments.iter().rev().map(|moment| {
        match moment {
            Moment::Segment(_) | Moment::Past(_) => {}
            Moment::Second(second) => next = second.batch.to,
            Moment::Full(at) => next = *at,
        }
        (next, moment)
    });
    let mut timed: Vec<_> = last_first.collect();
    timed.reverse();
    timed
}

fn conclude(
    stored: &Stored,
    decisions: Vec<RecomputedView>,
    looks: u64,
    notes: Vec<String>,
    is_whole: bool,
) -> RecomputationView {
    let count = |result| {
        let those = decisions
            .iter()
            .filter(|decision| decision.result == result);
        those.count()
    };
    let (same, different) = (count(Recomputed::Same), count(Recomputed::Different));
    let missing = count(Recomputed::NotRecorded);
    let is_same = is_whole && different == 0;
    let mut text = if different > 0 {
        format!("{different} of {} decisions differ", decisions.len())
    } else if same == 0 {
        "no decision could be made again".to_owned()
    } else {
        format!("{}: same to the bit", plural(same, "decision"))
    };
    if missing > 0 {
        text = format!("{text}; {} not recorded", plural(missing, "decision"));
    }
    if !is_whole {
        text = format!("{text}; what is recorded is not whole");
    }
    RecomputationView {
        rollout: stored.record.state.id.clone(),
        is_same,
        text: format!("recomputed from {}: {text}", plural_u64(looks, "look")),
        looks,
        notes,
        decisions,
    }
}

impl Court<'_> {
    /// Judges again what was seen up to a time, or all of it.
    fn play_until(&mut self, until: Option<Timestamp>, is_cancelled: &dyn Fn() -> bool) {
        let is_due = |(at, _): &(Timestamp, &Moment)| until.is_none_or(|until| *at <= until);
        while let Some((_, moment)) = self.moments.next_if(is_due) {
            if is_cancelled() {
                return;
            }
            match moment {
                Moment::Segment(_) => {
                    self.has_begun = true;
                    self.said.clear();
                }
                Moment::Full(at) => {
                    self.full = Some(*at);
                    self.said.clear();
                }
                Moment::Past(_) | Moment::Second(_) => {}
            }
            for judged in self.playback.play(moment) {
                self.said.insert(judged.asked.subject, judged);
            }
        }
    }
}

impl Court<'_> {
    /// Whether seconds are missing before this time.
    fn is_behind(&self, at: Timestamp) -> bool {
        let newest = self.playback.newest();
        newest.is_none_or(|newest| at.duration_since(newest) > SECOND_MAX)
    }
}

impl Finding {
    fn of(result: Recomputed, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { result, text }
    }
}

/// Makes one decision again.
fn check(
    plan: &Plan,
    court: &Court<'_>,
    before: Option<&State>,
    entry: &Entry,
    at: Timestamp,
) -> Finding {
    let Some(input) = &entry.input else {
        return Finding::of(Recomputed::Same, "the beginning");
    };
    let Some(before) = before else {
        let why = "the decision before it is not kept";
        return Finding::of(Recomputed::NotRecorded, why);
    };
    if let Some(difference) = other_state(plan, before, input, entry, at) {
        return Finding::of(Recomputed::Different, difference);
    }
    judged(court, input, entry, at)
}

/// Decides again; says what is different.
fn other_state(
    plan: &Plan,
    before: &State,
    input: &Input,
    entry: &Entry,
    at: Timestamp,
) -> Option<String> {
    let before = State {
        facts: entry.facts.clone(),
        ..before.clone()
    };
    let again = rollout::step(plan, &before, input, at);
    let stored = State {
        facts: entry.facts.clone(),
        ..entry.state.clone()
    };
    if again.refusal.is_none() && again.state == stored {
        return None;
    }
    let why = again.refusal.map_or_else(
        || difference("the state", &again.state, &stored),
        |refusal| format!("the command is refused: {refusal:?}"),
    );
    Some(why)
}

/// Compares what the judges said before the decision with what they say again.
fn judged(court: &Court<'_>, input: &Input, entry: &Entry, at: Timestamp) -> Finding {
    let heard = match input {
        Input::Judged(judgement) => Some(judgement),
        Input::Tick
        | Input::Workloads(_)
        | Input::Traffic(_)
        | Input::Gate(_)
        | Input::Calendar(_)
        | Input::Command(_) => None,
    };
    let known = [&entry.facts.background, &entry.facts.step];
    let known: Vec<&Judgement> = known.into_iter().flatten().collect();
    if known.is_empty() && entry.evidence.is_none() {
        return Finding::of(Recomputed::Same, "the state; nothing had been judged");
    }
    let mut compared = false;
    for judgement in known {
        // A step's judgement may be of a step that is over.
        match court.said.get(&judgement.subject) {
            Some(said) if &said.judgement == judgement => compared = true,
            Some(said) if court.is_behind(at) || (heard == Some(judgement) && said.at != at) => {
                let why = "the look that it rests on is not recorded";
                return Finding::of(Recomputed::NotRecorded, why);
            }
            Some(said) => {
                let text = difference("the judgement", &said.judgement, judgement);
                return Finding::of(Recomputed::Different, text);
            }
            None => {
                let why = unrecorded(court);
                return Finding::of(Recomputed::NotRecorded, format!("the state; {why}"));
            }
        }
    }
    let shown = court.playback.shown();
    match (&entry.evidence, shown) {
        (Some(stored), Some(shown)) if stored != &shown.evidence && court.is_behind(at) => {
            let why = "the look that it rests on is not recorded";
            Finding::of(Recomputed::NotRecorded, why)
        }
        (Some(stored), Some(shown)) if stored != &shown.evidence => {
            let text = difference("the evidence", &shown.evidence, stored);
            Finding::of(Recomputed::Different, text)
        }
        (Some(_), None) => {
            let why = unrecorded(court);
            Finding::of(Recomputed::NotRecorded, format!("the state; {why}"))
        }
        (Some(_), Some(_)) => Finding::of(
            Recomputed::Same,
            "the state, the judgement and its evidence",
        ),
        (None, _) if compared => Finding::of(Recomputed::Same, "the state and the judgement"),
        (None, _) => Finding::of(Recomputed::Same, "the state"),
    }
}

fn unrecorded(court: &Court<'_>) -> &'static str {
    if court.full.is_some() {
        "recording had stopped, because there was too much"
    } else if court.has_begun {
        "what the judges saw is missing from the recording"
    } else {
        "what the judges saw is not recorded; an older release does not record"
    }
}

/// How much of a value is shown where it differs.
const SHOWN_MAX: usize = 120;

/// Says where two values differ first, as they are stored.
fn difference<T: serde::Serialize>(of: &str, again: &T, stored: &T) -> String {
    let json = |value: &T| serde_json::to_string(value).unwrap_or_default();
    let (again, stored) = (json(again), json(stored));
    let same = again.chars().zip(stored.chars());
    let at = same.take_while(|(one, other)| one == other).count();
    // A little of what is the same shows where it is.
    let begin = at.saturating_sub(30);
    let part = |text: &str| text.chars().skip(begin).take(SHOWN_MAX).collect::<String>();
    format!(
        "{of} differs: recomputed …{}…, stored …{}…",
        part(&again),
        part(&stored)
    )
}

fn plural(count: usize, what: &str) -> String {
    plural_u64(u64::try_from(count).unwrap_or(u64::MAX), what)
}

fn plural_u64(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
