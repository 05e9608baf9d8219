//! `haldane simulate --judges`: every judge on the same random traffic.

use std::{collections::BTreeMap, io::Write};

use anyhow::Context;
use haldane_core::plan::{Hold, Plan, Step};
use haldane_sim::{
    forecast,
    judges::{self, Figures, Judge, Run, Scenario, Schedule},
};
use serde::Serialize;

use super::{Args, play_all};
use crate::cli::{exit::UsageError, globals::Globals, result, table::Table, words::NOTHING};

/// What came of it, by judge.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct Report(BTreeMap<&'static str, Outcome>);

/// What one judge did.
#[derive(Clone, Copy, Debug, Serialize)]
struct Outcome {
    runs: u32,
    rollback_share: f64,
    paused_share: f64,
    promoted_share: f64,
    seconds_p50: Option<u32>,
    seconds_p95: Option<u32>,
    promoted_p50: Option<u32>,
    excess_errors: f64,
}

/// Plays the rollouts and writes what came of them.
pub(super) fn run(
    args: &Args,
    plan: &Plan,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let schedule = schedule(plan)?;
    let share = |ppm: u64| ppm as f64 / 1e6;
    let scenario = Scenario::errors(args.rps, share(args.base), share(args.canary));
    let mut report = BTreeMap::new();
    for judge in Judge::ALL {
        let played: Vec<Run> = play_all(args.runs, &|index| {
            let seed = forecast::seed_of(args.seed, index);
            judges::play(judge, &scenario, &schedule, seed)
        })
        .with_context(|| format!("the judge {}", judge.name()))?;
        report.insert(judge.name(), Outcome::from(judges::summarize(&played)));
    }
    let report = Report(report);
    result::write(globals, out, &report, |out| {
        report.write(&scenario, &schedule, globals, out)
    })
}

/// Returns the weights and the time at each; judges that know no other plans are to be compared.
fn schedule(plan: &Plan) -> anyhow::Result<Schedule> {
    let no = || {
        UsageError(
            "the judges are compared on weights that are held equally long; expected a plan such as --traffic-steps 5,25,50,100 --step-duration 5m".to_owned(),
        )
    };
    let mut schedule = Schedule {
        steps: Vec::new(),
        hold: 0,
    };
    for pair in plan.steps().chunks(2) {
        let (Some(Step::SetWeight(weight)), Some(Step::Hold(hold))) = (pair.first(), pair.get(1))
        else {
            return Err(no().into());
        };
        let time = match hold {
            Hold::For(time) => *time,
            Hold::UntilEvidence { max, .. } => *max,
            Hold::UntilResumed => return Err(no().into()),
        };
        let seconds = u32::try_from(time.as_secs()).ok().filter(|it| *it > 0);
        let seconds = seconds.ok_or_else(no)?;
        if schedule.hold != 0 && schedule.hold != seconds {
            return Err(no().into());
        }
        schedule.hold = seconds;
        schedule.steps.push(*weight);
    }
    Ok(schedule)
}

impl Report {
    fn write(
        &self,
        scenario: &Scenario,
        schedule: &Schedule,
        globals: &Globals,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let weights: Vec<String> = schedule.steps.iter().map(ToString::to_string).collect();
        let runs = self.0.values().map(|outcome| outcome.runs).max();
        writeln!(
            out,
            "{} rollouts under each judge: errors {} on stable, {} on the canary, {} requests per second,\n{} for {} s each.\n",
            runs.unwrap_or(0),
            percent(scenario.stable),
            percent(scenario.canary),
            scenario.requests_per_second,
            weights.join(", "),
            schedule.hold,
        )?;
        let mut table = Table::new([
            "JUDGE",
            "ROLLED BACK",
            "PAUSED",
            "PROMOTED",
            "HALF AFTER",
            "95 % AFTER",
            "EXCESS ERRORS",
        ]);
        for judge in Judge::ALL {
            let Some(outcome) = self.0.get(judge.name()) else {
                continue;
            };
            let after = |seconds: Option<u32>| {
                seconds.map_or_else(|| NOTHING.to_owned(), |seconds| format!("{seconds} s"))
            };
            table.push([
                judge.name().into(),
                percent(outcome.rollback_share).into(),
                percent(outcome.paused_share).into(),
                percent(outcome.promoted_share).into(),
                after(outcome.seconds_p50).into(),
                after(outcome.seconds_p95).into(),
                format!("{:.1}", outcome.excess_errors).into(),
            ]);
        }
        table.write(out, globals.width, globals.paint)?;
        Ok(())
    }
}

impl From<Figures> for Outcome {
    fn from(figures: Figures) -> Self {
        Self {
            runs: figures.runs,
            rollback_share: figures.rollback_share,
            paused_share: figures.paused_share,
            promoted_share: figures.promoted_share,
            seconds_p50: figures.seconds_p50,
            seconds_p95: figures.seconds_p95,
            promoted_p50: figures.promoted_p50,
            excess_errors: figures.excess_errors,
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
