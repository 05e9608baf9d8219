//! The report of a time: how many rollouts, how many of them failed and why, and how long users had to bear it.

use std::collections::BTreeMap;

use haldane_api::http::{EntryView, RolloutHistory};
use haldane_core::guard::Unit;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::document::{Block, Document};
use crate::cli::words::{NOTHING, count, date_and_time, day_and_minute, span};

/// What became of the rollouts of a time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PeriodReport {
    from: Timestamp,
    to: Timestamp,
    /// Changes that ended: rollouts that bring a version, so without those that only go back to one.
    changes: usize,
    promoted: usize,
    rolled_back: usize,
    failed: usize,
    /// Rollouts by which people went back to an earlier version.
    undone: usize,
    /// Rollouts that go on.
    going_on: usize,
    /// Changes that were rolled back, failed or undone, by all that ended: parts per million.
    change_failure_rate_ppm: Option<u64>,
    /// The usual time for which a canary that was taken back had traffic, and the longest; of those whose decisions are kept.
    restore_median_seconds: Option<u64>,
    restore_longest_seconds: Option<u64>,
    /// What the failures followed from, and how often.
    causes: BTreeMap<String, usize>,
    /// The changes that failed, newest first.
    failures: Vec<Failure>,
    /// What is missing, a sentence each.
    notes: Vec<String>,
}

/// A change that failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    service: String,
    rollout: String,
    version: String,
    phase: String,
    started_at: Timestamp,
    cause: String,
    message: String,
    /// For how long the canary had traffic.
    restore_seconds: Option<u64>,
}

/// A rollout and whose it is.
#[derive(Debug)]
pub(super) struct Past {
    /// The service.
    pub service: String,
    /// The rollout; with its decisions where it failed.
    pub rollout: RolloutHistory,
}

impl PeriodReport {
    /// Sums the rollouts that began then.
    pub(super) fn new(
        from: Timestamp,
        to: Timestamp,
        mut all: Vec<Past>,
        notes: Vec<String>,
    ) -> Self {
        all.retain(|one| one.rollout.started_at >= from);
        all.sort_by_key(|one| std::cmp::Reverse(one.rollout.started_at));
        let of = |phase: &str| {
            all.iter()
                .filter(|one| is_change(one) && one.rollout.phase == phase)
                .count()
        };
        let (promoted, rolled_back, failed) = (of("Completed"), of("RolledBack"), of("Failed"));
        let undone = all.iter().filter(|one| !is_change(one)).count();
        let changes = promoted.saturating_add(rolled_back).saturating_add(failed);
        let failures: Vec<Failure> = all
            .iter()
            .filter(|one| is_failure(&one.rollout))
            .map(Failure::new)
            .collect();
        let mut causes = BTreeMap::new();
        for failure in &failures {
            let number: &mut usize = causes.entry(failure.cause.clone()).or_default();
            *number = number.saturating_add(1);
        }
        let bad = rolled_back
            .saturating_add(failed)
            .saturating_add(undone.min(promoted));
        let mut restored: Vec<u64> = failures
            .iter()
            .filter_map(|failure| failure.restore_seconds)
            .collect();
        restored.sort_unstable();
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Self {
            from,
            to,
            changes,
            promoted,
            rolled_back,
            failed,
            undone,
            going_on: all
                .iter()
                .filter(|one| one.rollout.ended_at.is_none())
                .count(),
            change_failure_rate_ppm: wide(bad)
                .saturating_mul(1_000_000)
                .checked_div(wide(changes)),
            restore_median_seconds: restored.get(restored.len().saturating_sub(1) / 2).copied(),
            restore_longest_seconds: restored.last().copied(),
            causes,
            failures,
            notes,
        }
    }

    /// Returns it for people.
    pub(super) fn document(&self, zone: &TimeZone) -> Document {
        let or_nothing =
            |seconds: Option<u64>| seconds.map_or_else(|| NOTHING.to_owned(), in_words);
        let rate = self
            .change_failure_rate_ppm
            .map_or_else(|| NOTHING.to_owned(), |ppm| Unit::Share.show(ppm));
        let figures = [
            ("changes that ended", self.changes.to_string()),
            ("promoted", self.promoted.to_string()),
            ("rolled back", self.rolled_back.to_string()),
            ("failed", self.failed.to_string()),
            ("undone by people", self.undone.to_string()),
            ("going on", self.going_on.to_string()),
            ("change failure rate", rate),
            (
                "time to restore, usual",
                or_nothing(self.restore_median_seconds),
            ),
            (
                "time to restore, longest",
                or_nothing(self.restore_longest_seconds),
            ),
        ];
        let mut blocks = vec![Block::Table(
            vec!["WHAT", "HOW MANY"],
            figures
                .into_iter()
                .map(|(what, value)| vec![what.to_owned(), value])
                .collect(),
        )];
        blocks.extend(self.notes.iter().cloned().map(Block::Text));
        if !self.failures.is_empty() {
            let causes = self
                .causes
                .iter()
                .map(|(cause, number)| vec![cause.clone(), number.to_string()]);
            blocks.push(Block::Heading("Causes"));
            blocks.push(Block::Table(vec!["CAUSE", "HOW OFTEN"], causes.collect()));
            blocks.push(Block::Heading("Changes that failed"));
            let rows = self.failures.iter().map(|failure| {
                vec![
                    failure.rollout.clone(),
                    failure.version.clone(),
                    failure.phase.clone(),
                    day_and_minute(failure.started_at, zone),
                    or_nothing(failure.restore_seconds),
                    failure.message.clone(),
                ]
            });
            blocks.push(Block::Table(
                vec!["ROLLOUT", "VERSION", "ENDED", "BEGAN", "RESTORED IN", "WHY"],
                rows.collect(),
            ));
        }
        let title = format!(
            "{}, {} to {}",
            count(self.changes, "change", "changes"),
            date_and_time(self.from, zone),
            date_and_time(self.to, zone)
        );
        Document { title, blocks }
    }
}

impl Failure {
    fn new(past: &Past) -> Self {
        let Past { service, rollout } = past;
        let turn = turn(&rollout.entries);
        Self {
            service: service.clone(),
            rollout: rollout.id.to_string(),
            version: rollout.canary.to_string(),
            phase: rollout.phase.clone(),
            started_at: rollout.started_at,
            cause: turn.map_or_else(|| "not kept".to_owned(), |entry| entry.cause.clone()),
            message: rollout.message.clone(),
            restore_seconds: restore(&rollout.entries),
        }
    }
}

/// Whether the rollout ended otherwise than by a promotion.
pub(super) fn is_failure(rollout: &RolloutHistory) -> bool {
    matches!(
        rollout.phase.as_str(),
        "RolledBack" | "Failed" | "RollingBack"
    )
}

/// Whether it brings a version, and does not only go back to one.
fn is_change(past: &Past) -> bool {
    past.rollout.kind != "undo"
}

/// Returns the decision to go back.
fn turn(entries: &[EntryView]) -> Option<&EntryView> {
    entries.iter().find(|entry| {
        matches!(
            entry.phase.as_str(),
            "RollingBack" | "RolledBack" | "Failed"
        )
    })
}

/// Returns for how long the canary had traffic before all of it was taken away; `None` where it never had any, or where a decision before
/// its first traffic is not kept, which might have been an earlier one.
fn restore(entries: &[EntryView]) -> Option<u64> {
    let position = entries
        .iter()
        .position(|entry| !entry.weight_bps.is_zero())?;
    let from = entries.get(position)?;
    if u64::try_from(position).ok()? != from.number {
        return None;
    }
    let turn = turn(entries)?.number;
    let is_end = |entry: &&EntryView| entry.number >= turn && entry.weight_bps.is_zero();
    let to = entries.iter().find(is_end)?;
    u64::try_from(to.at.duration_since(from.at).as_secs()).ok()
}

fn in_words(seconds: u64) -> String {
    let at = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.map_or_else(|| NOTHING.to_owned(), |at| span(Timestamp::UNIX_EPOCH, at))
}
