//! What the judges would have decided, as a table and for programs.

use std::io::Write;

use haldane_analysis::recording::Moment;
use haldane_core::verdict::Verdict;
use haldane_engine::recording::Decision;
use haldane_sim::judges::replay::{Finding, extent};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::{
    globals::Globals,
    paint::Tone,
    table::{Cell, Table},
    words::{NOTHING, clean, count, date_and_time, span},
};

/// What was replayed.
#[derive(Debug)]
pub(super) struct Subject {
    /// The data.
    pub(super) of: String,
    /// By which plan.
    pub(super) plan: String,
    /// What could not be used.
    pub(super) notes: Vec<String>,
    /// The decisions as they were made, where there was a rollout.
    pub(super) decisions: Vec<Decision>,
}

/// The whole, as programs get it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    of: String,
    plan: String,
    notes: Vec<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    /// When the canary was first to have traffic.
    canary_from: Option<Timestamp>,
    batches: u64,
    stable: Arm,
    canary: Arm,
    judges: Vec<Told>,
    decisions: Vec<Decision>,
}

#[derive(Debug, Serialize)]
struct Arm {
    requests: u64,
    errors: u64,
}

/// What one judge would have decided.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    judge: &'static str,
    verdict: Verdict,
    at: Option<Timestamp>,
    /// Seconds since the canary had its first traffic.
    seconds: u64,
    canary_requests: u64,
    canary_errors: u64,
    /// When it was first sure that the canary is no worse than accepted.
    shown_at: Option<Timestamp>,
    why: String,
}

impl Report {
    pub(super) fn new(subject: Subject, moments: &[Moment], findings: Vec<Finding>) -> Self {
        let extent = extent(moments);
        let told = findings.into_iter().map(|finding| Told {
            judge: finding.judge,
            verdict: finding.verdict,
            at: finding.at,
            seconds: finding.seconds,
            canary_requests: finding.canary_requests,
            canary_errors: finding.canary_failures,
            shown_at: finding.shown_at,
            why: finding.why,
        });
        let full = moments.iter().filter_map(|moment| match moment {
            Moment::Full(at) => Some(format!(
                "recording stopped at {at:.0}, when there was too much of it"
            )),
            Moment::Segment(_) | Moment::Past(_) | Moment::Second(_) => None,
        });
        Self {
            of: subject.of,
            plan: subject.plan,
            notes: subject.notes.into_iter().chain(full).collect(),
            from: extent.from,
            to: extent.to,
            canary_from: extent.canary_from,
            batches: extent.batches,
            stable: Arm {
                requests: extent.stable_requests,
                errors: extent.stable_failures,
            },
            canary: Arm {
                requests: extent.canary_requests,
                errors: extent.canary_failures,
            },
            judges: told.collect(),
            decisions: subject.decisions,
        }
    }

    pub(super) fn write(&self, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
        writeln!(out, "{}, by {}", clean(&self.of), clean(&self.plan))?;
        self.write_extent(globals, out)?;
        for note in &self.notes {
            writeln!(out, "notice: {}", clean(note))?;
        }
        writeln!(out)?;
        let mut table = Table::new([
            "JUDGE", "VERDICT", "AT", "AFTER", "REQUESTS", "ERRORS", "WHY",
        ]);
        for told in &self.judges {
            let (tone, verdict) = match told.verdict {
                Verdict::Fail => (Tone::Bad, "roll back"),
                Verdict::Pass if told.shown_at.is_some() => (Tone::Good, "pass"),
                // Nothing was found against it so far, which is no proof.
                Verdict::Pass => (Tone::Plain, "goes on"),
                Verdict::Inconclusive => (Tone::Warn, "pause"),
                Verdict::NoData => (Tone::Warn, "no data"),
            };
            let shown = told.shown_at.filter(|_| told.verdict != Verdict::Fail);
            let shown = shown.map_or_else(String::new, |at| {
                format!("; sure of it since {}", date_and_time(at, &globals.zone))
            });
            table.push([
                told.judge.into(),
                Cell::new(tone, verdict),
                self.at(told.at, globals).into(),
                format!("{}s", told.seconds).into(),
                told.canary_requests.to_string().into(),
                told.canary_errors.to_string().into(),
                format!("{}{shown}", clean(&told.why)).into(),
            ]);
        }
        table.write(out, globals.width, globals.paint)?;
        self.write_decisions(globals, out)
    }

    fn at(&self, at: Option<Timestamp>, globals: &Globals) -> String {
        at.map_or_else(|| NOTHING.to_owned(), |at| date_and_time(at, &globals.zone))
    }

    fn write_extent(&self, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
        let (Some(from), Some(to)) = (self.from, self.to) else {
            writeln!(out, "No data.")?;
            return Ok(());
        };
        let canary = self.canary_from.map_or_else(
            || "the canary had no traffic".to_owned(),
            |since| {
                format!(
                    "the canary had traffic from {}",
                    date_and_time(since, &globals.zone)
                )
            },
        );
        writeln!(
            out,
            "{} to {} ({}), {}; {canary}",
            date_and_time(from, &globals.zone),
            date_and_time(to, &globals.zone),
            span(from, to),
            count(self.batches, "interval", "intervals"),
        )?;
        writeln!(
            out,
            "stable {} with {}, canary {} with {}",
            count(self.stable.requests, "request", "requests"),
            count(self.stable.errors, "error", "errors"),
            count(self.canary.requests, "request", "requests"),
            count(self.canary.errors, "error", "errors"),
        )?;
        Ok(())
    }

    /// Writes how it ended.
    fn write_decisions(&self, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
        let is_end = |decision: &&Decision| {
            [
                "RollingBack",
                "Promoting",
                "RolledBack",
                "Completed",
                "Failed",
            ]
            .contains(&decision.phase.as_str())
        };
        let Some(end) = self.decisions.iter().find(is_end) else {
            return Ok(());
        };
        writeln!(
            out,
            "\nAs it was: {} at {}: {}",
            end.phase,
            date_and_time(end.at, &globals.zone),
            clean(&end.text)
        )?;
        Ok(())
    }
}
