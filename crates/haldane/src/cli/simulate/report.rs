//! What came of a forecast, for programs and for people.

use std::{io::Write, time::Duration};

use haldane_core::guard::Unit;
use haldane_sim::forecast::{End, Place, Scenario, Spread, Summary};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::{
    deploy::step_text,
    globals::Globals,
    table::{Cell, Table},
    words::{NOTHING, count, span, wrap},
};

/// What was asked for, beyond the scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Where chance began.
    pub seed: u64,
    /// Whether the plan leaves the promotion to a person.
    pub is_manual: bool,
}

/// What came of a forecast.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    runs: u32,
    seed: u64,
    promotes_by_hand: bool,
    promoted: Ending,
    rolled_back: Ending,
    no_evidence: Ending,
    waits_for_person: Ending,
    unfinished: Ending,
    seconds_to_promote: Option<Values>,
    seconds_to_roll_back: Option<Values>,
    canary_requests: Option<Values>,
    canary_failures: Option<Values>,
    ends: Vec<EndedAt>,
}

/// How many runs ended so.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ending {
    runs: u32,
    share_ppm: u64,
}

/// The middle of some values, and what 95 % of them don't exceed.
#[derive(Clone, Copy, Debug, Serialize)]
struct Values {
    p50: u64,
    p95: u64,
}

/// Runs that ended in the same way at the same place.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EndedAt {
    /// The step, from 1; none before the first and after the last.
    step: Option<u32>,
    place: String,
    end: &'static str,
    runs: u32,
    /// Why the first of them did.
    why: String,
}

impl Report {
    pub(super) fn new(scenario: &Scenario, summary: &Summary, asked: &Asked) -> Self {
        let ending = |end| {
            let runs = summary.ends.get(&end).copied().unwrap_or(0);
            Ending {
                runs,
                share_ppm: ppm(runs, summary.runs),
            }
        };
        let ends = summary
            .places
            .iter()
            .map(|((place, end), (runs, why))| EndedAt {
                step: step_of(*place),
                place: place_text(scenario, *place),
                end: end_text(*end),
                runs: *runs,
                why: why.clone(),
            });
        Self {
            runs: summary.runs,
            seed: asked.seed,
            promotes_by_hand: asked.is_manual,
            promoted: ending(End::Promoted),
            rolled_back: ending(End::RolledBack),
            no_evidence: ending(End::NoEvidence),
            waits_for_person: ending(End::Person),
            unfinished: ending(End::Unfinished),
            seconds_to_promote: summary.promoted_after.map(seconds),
            seconds_to_roll_back: summary.rolled_back_after.map(seconds),
            canary_requests: summary.canary_requests.map(Values::from),
            canary_failures: summary.canary_failures.map(Values::from),
            ends: ends.collect(),
        }
    }

    pub(super) fn write(
        &self,
        scenario: &Scenario,
        globals: &Globals,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let share = |ppm| Unit::Share.show(ppm);
        writeln!(
            out,
            "{} of a canary that fails {} of its requests, beside a stable that fails {},\nat {} per second.\n",
            count(self.runs, "rollout", "rollouts"),
            share(scenario.canary.error_ppm),
            share(scenario.stable.error_ppm),
            count(scenario.requests_per_second, "request", "requests"),
        )?;
        self.write_outcomes(globals, out)?;
        writeln!(out)?;
        self.write_ends(globals, out)?;
        writeln!(out)?;
        if self.promotes_by_hand {
            write_wrapped(
                out,
                globals,
                "The plan lets a person promote; here they do so at once.",
            )?;
        }
        write_wrapped(
            out,
            globals,
            "Taken as given: replicas are ready 3 s after they were asked for, weights apply at once, gates that ask programs \
             and windows are open, processor and memory stay in their limits.",
        )
    }

    fn write_outcomes(&self, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
        let mut table = Table::new(["", "SHARE", "HALF WITHIN", "95% WITHIN"]);
        let endings = [
            (End::Promoted, self.promoted, self.seconds_to_promote),
            (End::RolledBack, self.rolled_back, self.seconds_to_roll_back),
            (End::NoEvidence, self.no_evidence, self.seconds_to_roll_back),
            (End::Person, self.waits_for_person, None),
            (End::Unfinished, self.unfinished, None),
        ];
        for (end, ending, after) in endings {
            let is_told = matches!(end, End::Promoted | End::RolledBack) || ending.runs > 0;
            if is_told {
                let after = after.filter(|_| ending.runs > 0);
                table.push(row(
                    end_text(end),
                    &Unit::Share.show(ending.share_ppm),
                    after,
                    time,
                ));
            }
        }
        table.write(out, globals.width, globals.paint)?;
        writeln!(out)?;
        let mut table = Table::new(["USERS MEET", "", "AT MOST (HALF)", "AT MOST (95%)"]);
        table.push(row(
            "requests to the canary",
            "",
            self.canary_requests,
            |count| count.to_string(),
        ));
        table.push(row(
            "failed ones of them",
            "",
            self.canary_failures,
            |count| count.to_string(),
        ));
        Ok(table.write(out, globals.width, globals.paint)?)
    }

    fn write_ends(&self, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
        let mut table = Table::new(["RUNS", "END", "AT"]);
        for ended in &self.ends {
            table.push([
                ended.runs.to_string().into(),
                ended.end.into(),
                ended.place.as_str().into(),
            ]);
        }
        table.write(out, globals.width, globals.paint)?;
        for ended in self
            .ends
            .iter()
            .filter(|ended| ended.end != end_text(End::Promoted))
        {
            writeln!(out)?;
            write_wrapped(
                out,
                globals,
                &format!(
                    "{} at {}, for example: {}.",
                    ended.end, ended.place, ended.why
                ),
            )?;
        }
        Ok(())
    }
}

impl From<Spread<u64>> for Values {
    fn from(Spread { p50, p95 }: Spread<u64>) -> Self {
        Self { p50, p95 }
    }
}

fn seconds(Spread { p50, p95 }: Spread<Duration>) -> Values {
    Values {
        p50: p50.as_secs(),
        p95: p95.as_secs(),
    }
}

fn row(name: &str, share: &str, values: Option<Values>, show: impl Fn(u64) -> String) -> [Cell; 4] {
    let value = |of: fn(Values) -> u64| {
        values.map_or_else(|| NOTHING.to_owned(), |values| show(of(values)))
    };
    [
        name.into(),
        share.into(),
        value(|values| values.p50).into(),
        value(|values| values.p95).into(),
    ]
}

fn time(seconds: u64) -> String {
    let start = Timestamp::UNIX_EPOCH;
    let end = start.checked_add(Duration::from_secs(seconds));
    span(start, end.unwrap_or(Timestamp::MAX))
}

fn ppm(part: u32, whole: u32) -> u64 {
    u64::from(part)
        .saturating_mul(1_000_000)
        .checked_div(u64::from(whole))
        .unwrap_or(0)
}

fn step_of(place: Place) -> Option<u32> {
    match place {
        Place::Step(index) => Some(index.saturating_add(1)),
        Place::Start | Place::Promotion => None,
    }
}

fn place_text(scenario: &Scenario, place: Place) -> String {
    let steps = scenario.plan.steps().len();
    match place {
        Place::Start => "the start".to_owned(),
        Place::Promotion => "the promotion".to_owned(),
        Place::Step(index) => {
            let text = scenario.plan.step(index).map(step_text).unwrap_or_default();
            let (number, weight) = (index.saturating_add(1), scenario.plan.weight_at(index));
            format!("step {number} of {steps}: {text}, with {weight}")
        }
    }
}

const fn end_text(end: End) -> &'static str {
    match end {
        End::Promoted => "promoted",
        End::RolledBack => "rolled back",
        End::NoEvidence => "rolled back for lack of evidence",
        End::Person => "waits for a person",
        End::Unfinished => "not over in two days",
    }
}

fn write_wrapped(out: &mut impl Write, globals: &Globals, text: &str) -> anyhow::Result<()> {
    for line in wrap(text, globals.width) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
