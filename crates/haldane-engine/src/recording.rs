//! A rollout's recording as it leaves the store: a file that people can take along, and what is decided again from it.
//!
//! The file has one JSON value a line: a [`Head`] with the plan, then the decisions as they were made, then what the judges saw
//! ([`Moment`]s), oldest first.
//!
//! **Invariant:** no secret leaves with a recording: credentials and headers of metric systems, and what gates ask, are left out.

mod recompute;

use haldane_analysis::recording::Moment;
use haldane_api::http::RecomputationView;
use haldane_core::{
    RolloutId, ServiceName, VersionName, Weight,
    plan::{Ask, Plan, PlanParts, Rules, Step},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    record::{Entry, RolloutRecord},
    store::{EntryRow, RecordingRow, RolloutRow, StoreError},
};

/// The form of files that is written today.
const FORM: u32 = 1;

/// The most decisions that are decided again, and told with a recording: the newest.
pub(crate) const ENTRIES_MAX: u32 = 1_000;

/// The most rows that are read from the store at once, so that no turn of the driver waits for more than a few hundred kilobytes.
pub(crate) const ROWS_MAX: u32 = 64;

/// A part of what is stored of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The rollout and its decisions, with the first part alone.
    pub rollout: Option<(RolloutRow, Vec<EntryRow>)>,
    /// Rows of its recording.
    pub rows: Vec<RecordingRow>,
}

/// All that is stored of a rollout.
#[derive(Clone, Debug)]
pub struct Stored {
    record: RolloutRecord,
    entries: Vec<EntryRow>,
    rows: Vec<RecordingRow>,
}

/// A recording that was taken along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Of what.
    pub head: Head,
    /// The decisions as they were made.
    pub decisions: Vec<Decision>,
    /// What the judges saw.
    pub moments: Vec<Moment>,
}

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The form of the file.
    form: u32,
    /// The rollout.
    pub rollout: RolloutId,
    /// The service.
    pub service: ServiceName,
    /// The version that served.
    pub stable: VersionName,
    /// The version on trial.
    pub canary: VersionName,
    /// When the rollout began.
    pub started_at: Timestamp,
    /// What it did.
    pub plan: Plan,
}

/// A decision as it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Its number within the rollout, from 0.
    pub number: u64,
    /// When it was made.
    pub at: Timestamp,
    /// The phase after it.
    pub phase: String,
    /// The weight after it.
    pub weight_bps: Weight,
    /// What was decided, in one sentence.
    pub text: String,
}

/// Why a file is no recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It does not begin as one.
    #[error(
        "line 1: expected the head of a recording, as `haldane replay NAME --save FILE` writes it"
    )]
    NoHead,
    /// It has a form that this release does not know.
    #[error("line 1: a recording of form {found}; this release knows form {FORM}")]
    Form {
        /// The form.
        found: u32,
    },
    /// A line can't be read.
    #[error("line {line}, column {column}: {why}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// Where in it.
        column: usize,
        /// What is wrong.
        why: String,
    },
}

/// A line of a file before the moments.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Head(Box<Head>),
    Decision(Decision),
}

/// How lines of the two kinds begin.
const HEAD: &str = "{\"head\":";
const DECISION: &str = "{\"decision\":";

impl Stored {
    /// Returns what is stored of a rollout, from its parts in order.
    ///
    /// # Errors
    /// When the rollout can't be read.
    pub(crate) fn try_new(
        rollout: &RolloutRow,
        entries: Vec<EntryRow>,
        rows: Vec<RecordingRow>,
    ) -> Result<Self, StoreError> {
        let record = RolloutRecord::read(rollout)?;
        Ok(Self {
            record,
            entries,
            rows,
        })
    }

    /// Returns how many rows of a recording the rollout had when it was read.
    pub(crate) const fn rows_recorded(&self) -> u64 {
        self.record.recorded.rows
    }

    pub(crate) fn push(&mut self, rows: Vec<RecordingRow>) {
        self.rows.extend(rows);
    }

    /// Decides everything again, and compares; gives up where `is_cancelled` says so.
    #[must_use]
    pub fn recompute(&self, is_cancelled: &dyn Fn() -> bool) -> RecomputationView {
        recompute::recompute(self, is_cancelled)
    }

    /// Returns the recording as a file.
    ///
    /// # Errors
    /// When a decision can't be read.
    pub fn to_text(&self) -> Result<String, StoreError> {
        let record = &self.record;
        let head = Head {
            form: FORM,
            rollout: record.state.id.clone(),
            service: record.service.clone(),
            stable: record.stable.version.clone(),
            canary: record.wish.spec.version.clone(),
            started_at: record.started_at,
            plan: without_secrets(&record.wish.plan)?,
        };
        let mut lines = vec![to_line(&Line::Head(Box::new(head)))?];
        for row in &self.entries {
            let entry = Entry::read(row)?;
            lines.push(to_line(&Line::Decision(Decision {
                number: row.number,
                at: row.at,
                phase: entry.state.phase.name().to_owned(),
                weight_bps: entry.state.weight(),
                text: entry.text,
            }))?);
        }
        lines.extend(self.rows.iter().map(|row| row.body.clone()));
        lines.push(String::new());
        Ok(lines.join("\n"))
    }
}

impl Recording {
    /// Reads a file.
    ///
    /// # Errors
    /// With the line and the column where it is wrong.
    pub fn read(text: &str) -> Result<Self, ReadError> {
        let mut lines = (1..).zip(text.lines());
        let first = lines.next().map(|(_, first)| first);
        let first = first.filter(|first| first.starts_with(HEAD));
        let Line::Head(head) = parse(1, first.ok_or(ReadError::NoHead)?)? else {
            return Err(ReadError::NoHead);
        };
        if head.form != FORM {
            return Err(ReadError::Form { found: head.form });
        }
        let mut recording = Self {
            head: *head,
            decisions: Vec::new(),
            moments: Vec::new(),
        };
        for (number, text) in lines.filter(|(_, text)| !text.is_empty()) {
            if !text.starts_with(DECISION) {
                recording.moments.push(parse(number, text)?);
            } else if let Line::Decision(decision) = parse(number, text)? {
                recording.decisions.push(decision);
            }
        }
        Ok(recording)
    }
}

fn parse<T: DeserializeOwned>(line: usize, text: &str) -> Result<T, ReadError> {
    serde_json::from_str(text).map_err(|error| ReadError::Line {
        line,
        column: error.column(),
        why: error.to_string(),
    })
}

fn to_line(line: &Line) -> Result<String, StoreError> {
    serde_json::to_string(line).map_err(|source| StoreError::io("read", source))
}

/// Returns a plan that judges the same, without what nobody else may know.
fn without_secrets(plan: &Plan) -> Result<Plan, StoreError> {
    let PlanParts { steps, rules } = PlanParts::from(plan.clone());
    let steps = steps.into_iter().map(|mut step| {
        if let Step::Gate(gate) = &mut step {
            gate.ask = Ask::Approval;
        }
        step
    });
    let metrics = rules.metrics.into_iter().map(|mut metric| {
        metric.source.headers.clear();
        metric.source.auth.clear();
        metric
    });
    let parts = PlanParts {
        steps: steps.collect(),
        rules: Rules {
            metrics: metrics.collect(),
            after_rollback: Vec::new(),
            ..rules
        },
    };
    // What is left out is nothing that a plan needs.
    Plan::try_new(parts).map_err(|problems| {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        StoreError::io("read", texts.join("; "))
    })
}

#[cfg(test)]
mod tests;
