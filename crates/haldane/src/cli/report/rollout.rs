//! The report of one rollout: what happened, on which evidence, whom it hit, and who said what.

use haldane_analysis::recording::Moment;
use haldane_api::http::{EntryView, RolloutHistory};
use haldane_core::guard::Unit;
use haldane_engine::recording::Recording;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::{
    document::{Block, Document},
    plot::{Line, Plot},
};
use crate::cli::words::{NOTHING, date_and_time, span};

/// So many points are kept: more than the pixels of a line can tell apart.
const POINTS_MAX: usize = 240;

/// The cause of the first decision: who began it is told by itself.
const BEGIN: &str = "begin";

/// A rollout and what was counted meanwhile.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RolloutReport {
    /// The rollout with its decisions.
    rollout: RolloutHistory,
    /// Whom it hit.
    users_hit: UsersHit,
    /// What was counted by time, where that is kept.
    points: Vec<Point>,
    /// The decisions that a person's command led to.
    commands: Vec<EntryView>,
}

/// How many requests the canary got.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UsersHit {
    /// Requests that went to the canary; `None` where nobody counted them.
    canary_requests: Option<u64>,
    /// Those of them that failed.
    canary_errors: Option<u64>,
    /// Whether these are all, or only those that the judge used last.
    is_whole: bool,
}

/// What was counted over a short time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Point {
    at: Timestamp,
    stable_requests: u64,
    stable_errors: u64,
    canary_requests: u64,
    canary_errors: u64,
}

impl RolloutReport {
    /// Puts together what is known.
    pub(super) fn new(rollout: RolloutHistory, recording: Option<&Recording>) -> Self {
        let seconds = recording.map(points).unwrap_or_default();
        let is_full = |moment: &Moment| matches!(moment, Moment::Full(_));
        let is_whole = recording.is_some_and(|known| !known.moments.iter().any(is_full));
        let users_hit = if seconds.is_empty() {
            judged(&rollout)
        } else {
            counted(&seconds, is_whole)
        };
        let commands = rollout
            .entries
            .iter()
            .filter(|entry| entry.by.is_some() && entry.cause != BEGIN)
            .cloned()
            .collect();
        Self {
            users_hit,
            points: thin(&seconds),
            commands,
            rollout,
        }
    }

    /// Returns it for people.
    pub(super) fn document(&self, zone: &TimeZone) -> Document {
        let rollout = &self.rollout;
        let mut blocks = vec![
            Block::Text(self.what(zone)),
            Block::Text(format!("{}: {}", rollout.phase, rollout.message)),
        ];
        blocks.push(Block::Heading("Users hit"));
        blocks.push(Block::Text(self.users_hit.text()));
        blocks.push(Block::Heading("Timeline"));
        blocks.push(Block::Picture(self.weights()));
        blocks.push(Block::Table(
            vec!["TIME", "PHASE", "STEP", "WEIGHT", "WHAT", "CAUSE"],
            rollout
                .entries
                .iter()
                .map(|entry| timeline(entry, zone))
                .collect(),
        ));
        blocks.push(Block::Heading("Evidence"));
        blocks.extend(self.errors().map(Block::Picture));
        blocks.extend(self.harm().map(Block::Picture));
        blocks.extend(self.evidence());
        blocks.push(Block::Heading("Commands"));
        if self.commands.is_empty() {
            blocks.push(Block::Text(
                "Nobody gave a command after it began.".to_owned(),
            ));
        } else {
            let row = |entry: &EntryView| {
                vec![
                    date_and_time(entry.at, zone),
                    entry.by.clone().unwrap_or_default(),
                    entry.cause.clone(),
                    entry.text.clone(),
                ]
            };
            blocks.push(Block::Table(
                vec!["TIME", "WHO", "COMMAND", "WHAT CAME OF IT"],
                self.commands.iter().map(row).collect(),
            ));
        }
        Document {
            title: format!(
                "{}: {} in place of {}",
                rollout.id, rollout.canary, rollout.stable
            ),
            blocks,
        }
    }

    fn what(&self, zone: &TimeZone) -> String {
        let RolloutHistory {
            kind,
            by,
            reason,
            started_at,
            ended_at,
            ..
        } = &self.rollout;
        let reason = reason
            .as_ref()
            .map(|reason| format!(", because {reason:?}"))
            .unwrap_or_default();
        let began = date_and_time(*started_at, zone);
        let end = match ended_at {
            Some(end) => format!(
                "ended {} after {}",
                date_and_time(*end, zone),
                span(*started_at, *end)
            ),
            None => "goes on".to_owned(),
        };
        format!("A {kind} by {by}{reason}; it began {began} and {end}.")
    }

    fn end(&self) -> Timestamp {
        let last = self.rollout.entries.last().map(|entry| entry.at);
        self.rollout
            .ended_at
            .or(last)
            .unwrap_or(self.rollout.started_at)
    }

    fn seconds(&self, at: Timestamp) -> u64 {
        u64::try_from(at.duration_since(self.rollout.started_at).as_secs()).unwrap_or(0)
    }

    fn plot(&self, title: &'static str, is_stepped: bool, lines: Vec<Line>) -> Plot {
        Plot {
            title,
            lines,
            is_stepped,
            span: span(self.rollout.started_at, self.end()),
        }
    }

    fn weights(&self) -> Plot {
        let weight = |entry: &EntryView| {
            (
                self.seconds(entry.at),
                u64::from(entry.weight_bps.as_bps()).saturating_mul(100),
            )
        };
        let points = self.rollout.entries.iter().map(weight).collect();
        self.plot(
            "The canary's share of traffic",
            true,
            vec![Line {
                name: "canary",
                points,
            }],
        )
    }

    /// The share of failed requests of both versions, where requests were counted by time.
    fn errors(&self) -> Option<Plot> {
        let line = |name, counts: fn(&Point) -> (u64, u64)| {
            let points = self.points.iter().filter_map(|point| {
                let (requests, errors) = counts(point);
                let share = errors.saturating_mul(1_000_000).checked_div(requests)?;
                Some((self.seconds(point.at), share))
            });
            Line {
                name,
                points: points.collect(),
            }
        };
        let lines = vec![
            line("stable", |point| {
                (point.stable_requests, point.stable_errors)
            }),
            line("canary", |point| {
                (point.canary_requests, point.canary_errors)
            }),
        ];
        (!self.points.is_empty()).then(|| self.plot("Failed requests", false, lines))
    }

    /// How far the evidence of harm was on its way to a rollback, where the plan has the sequential judge.
    fn harm(&self) -> Option<Plot> {
        let harm = |entry: &EntryView| {
            let comparison = entry.judgement.as_ref()?.comparison.as_ref()?;
            Some((
                self.seconds(entry.at),
                u64::from(comparison.harm_percent).saturating_mul(10_000),
            ))
        };
        let points: Vec<(u64, u64)> = self.rollout.entries.iter().filter_map(harm).collect();
        (!points.is_empty()).then(|| {
            self.plot(
                "Evidence of harm, of what a rollback needs",
                true,
                vec![Line {
                    name: "evidence",
                    points,
                }],
            )
        })
    }

    /// What the judges said last.
    fn evidence(&self) -> Vec<Block> {
        let last = self
            .rollout
            .entries
            .iter()
            .rev()
            .find_map(|entry| entry.judgement.as_ref());
        let Some(judgement) = last else {
            return vec![Block::Text("Nothing was judged.".to_owned())];
        };
        let or_nothing =
            |value: &Option<String>| value.clone().unwrap_or_else(|| NOTHING.to_owned());
        let mut blocks = vec![Block::Text(format!(
            "The last verdict was {}: {}",
            judgement.verdict, judgement.reason
        ))];
        let guards = judgement.guards.iter().map(|guard| {
            vec![
                guard.metric.clone(),
                or_nothing(&guard.stable),
                or_nothing(&guard.canary),
                guard.limit.clone(),
                guard.verdict.to_string(),
            ]
        });
        let guards: Vec<Vec<String>> = guards.collect();
        if !guards.is_empty() {
            blocks.push(Block::Table(
                vec!["GUARD", "STABLE", "CANARY", "LIMIT", "VERDICT"],
                guards,
            ));
        }
        let compared = judgement
            .comparison
            .iter()
            .flat_map(|comparison| &comparison.metrics)
            .map(|metric| {
                vec![
                    metric.name.clone(),
                    or_nothing(&metric.stable),
                    or_nothing(&metric.canary),
                    or_nothing(&metric.ratio),
                    metric.verdict.to_string(),
                ]
            });
        let compared: Vec<Vec<String>> = compared.collect();
        if !compared.is_empty() {
            blocks.push(Block::Table(
                vec!["METRIC", "STABLE", "CANARY", "CANARY BY STABLE", "VERDICT"],
                compared,
            ));
        }
        blocks
    }
}

impl UsersHit {
    fn text(&self) -> String {
        let Some(requests) = self.canary_requests else {
            return "Nobody counted the requests that went to the canary.".to_owned();
        };
        let least = if self.is_whole { "" } else { "At least " };
        match self.canary_errors {
            Some(errors) => {
                let share = errors
                    .saturating_mul(1_000_000)
                    .checked_div(requests)
                    .unwrap_or(0);
                format!(
                    "{least}{requests} requests went to the canary; {errors} of them failed ({}).",
                    Unit::Share.show(share)
                )
            }
            None => format!(
                "{least}{requests} requests went to the canary: so many a verdict was made of at most."
            ),
        }
    }
}

fn timeline(entry: &EntryView, zone: &TimeZone) -> Vec<String> {
    let by = entry
        .by
        .as_ref()
        .map(|by| format!(" by {by}"))
        .unwrap_or_default();
    vec![
        date_and_time(entry.at, zone),
        entry.phase.clone(),
        entry
            .step
            .map_or_else(|| NOTHING.to_owned(), |step| step.to_string()),
        entry.weight_bps.to_string(),
        entry.text.clone(),
        format!("{}{by}", entry.cause),
    ]
}

fn points(recording: &Recording) -> Vec<Point> {
    let seconds = recording.moments.iter().filter_map(|moment| match moment {
        Moment::Second(second) => Some(&second.batch),
        Moment::Segment(_) | Moment::Past(_) | Moment::Full(_) => None,
    });
    seconds
        .map(|batch| Point {
            at: batch.from,
            stable_requests: batch.stable.requests,
            stable_errors: batch.stable.failures,
            canary_requests: batch.canary.requests,
            canary_errors: batch.canary.failures,
        })
        .collect()
}

fn counted(points: &[Point], is_whole: bool) -> UsersHit {
    let sum = |count: fn(&Point) -> u64| points.iter().map(count).fold(0, u64::saturating_add);
    UsersHit {
        canary_requests: Some(sum(|point| point.canary_requests)),
        canary_errors: Some(sum(|point| point.canary_errors)),
        is_whole,
    }
}

/// Where nothing else is kept: the most that a verdict was made of.
fn judged(rollout: &RolloutHistory) -> UsersHit {
    let judgements = rollout
        .entries
        .iter()
        .filter_map(|entry| entry.judgement.as_ref()?.requests);
    UsersHit {
        canary_requests: judgements.map(|requests| requests.canary).max(),
        canary_errors: None,
        is_whole: false,
    }
}

/// Sums neighbors, so that at most so many points are left.
fn thin(points: &[Point]) -> Vec<Point> {
    let size = points.len().div_ceil(POINTS_MAX).max(1);
    let sum = |chunk: &[Point], count: fn(&Point) -> u64| {
        chunk.iter().map(count).fold(0, u64::saturating_add)
    };
    let chunks = points.chunks(size).filter_map(|chunk| {
        Some(Point {
            at: chunk.first()?.at,
            stable_requests: sum(chunk, |point| point.stable_requests),
            stable_errors: sum(chunk, |point| point.stable_errors),
            canary_requests: sum(chunk, |point| point.canary_requests),
            canary_errors: sum(chunk, |point| point.canary_errors),
        })
    });
    chunks.collect()
}
