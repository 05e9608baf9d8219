//! The judges against each other, at the command line: gates, tables for people, and figures for pictures.

use std::{io::Write, num::NonZeroUsize, panic, thread};

use haldane_sim::judges::{
    Figures, Judge, Run,
    gate::{self, Outcome},
    table::{self, Row, Table},
    wald_seconds,
};
use serde_json::json;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Whether each gate is met.
    Gates,
    /// Tables in Markdown.
    Tables,
    /// The figures of each cell, as a line of JSON.
    Figures,
}

/// How the judges are compared.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) what: What,
    pub(crate) runs: u32,
    pub(crate) seed: u64,
    /// Only the table of this name, or the gates whose scenario has it in its own.
    pub(crate) table: Option<String>,
}

/// How many runs a cell has unless told otherwise.
pub(crate) const RUNS: u32 = 2_000;

/// What the tables begin with.
const HEADING: &str = "# The judges on the same traffic

Printed by `cargo xtask sim judges`; [judging.md](../judging.md) says how to read it.";

/// Plays, writes, and says whether all is well.
pub(crate) fn run(out: &mut impl Write, comparison: &Comparison) -> std::io::Result<bool> {
    match comparison.what {
        What::Gates => gates(out, comparison),
        What::Tables => tables(out, comparison).map(|()| true),
        What::Figures => figures(out, comparison).map(|()| true),
    }
}

fn gates(out: &mut impl Write, comparison: &Comparison) -> std::io::Result<bool> {
    let &Comparison { runs, seed, .. } = comparison;
    let part = comparison.table.as_deref().unwrap_or_default();
    writeln!(out, "{runs} rollouts for each, seed {seed}\n")?;
    writeln!(
        out,
        "| met | what | must | found | Wald |\n|---|---|---|---|---|"
    )?;
    let (mut passed, mut failed) = (0_u32, 0_u32);
    let mut tell = |outcomes: Vec<Outcome>| {
        for outcome in outcomes {
            let met = if outcome.is_met { "yes" } else { "NO" };
            let count = if outcome.is_met {
                &mut passed
            } else {
                &mut failed
            };
            *count = count.saturating_add(1);
            let Outcome {
                what,
                must,
                found,
                wald,
                ..
            } = outcome;
            writeln!(out, "| {met} | {what} | {must} | {found} | {wald} |")?;
        }
        out.flush()
    };
    let gates = gate::all().into_iter();
    for gate in gates.filter(|gate| gate.row.name.contains(part)) {
        tell(gate.play(runs, seed, &play_all))?;
    }
    let contests = gate::contests().into_iter();
    for contest in contests.filter(|contest| contest.name().contains(part)) {
        tell(contest.play(runs, seed, &play_all))?;
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    writeln!(
        out,
        "\ntest result: {word}. {passed} passed; {failed} failed"
    )?;
    Ok(failed == 0 && passed > 0)
}

fn tables(out: &mut impl Write, comparison: &Comparison) -> std::io::Result<()> {
    let &Comparison { runs, seed, .. } = comparison;
    writeln!(
        out,
        "{HEADING}\n\n{runs} rollouts in each cell, seed {seed}."
    )?;
    for table in chosen(comparison)? {
        writeln!(out, "\n{}", table.head())?;
        for row in &table.rows {
            writeln!(out, "{}", table.line(row, runs, seed, &play_all).0)?;
            out.flush()?;
        }
    }
    Ok(())
}

fn figures(out: &mut impl Write, comparison: &Comparison) -> std::io::Result<()> {
    let &Comparison { runs, seed, .. } = comparison;
    for table in chosen(comparison)? {
        for row in &table.rows {
            for (judge, figures) in table.line(row, runs, seed, &play_all).1 {
                writeln!(out, "{}", cell(&table, row, judge, &figures))?;
            }
            out.flush()?;
        }
    }
    Ok(())
}

fn chosen(comparison: &Comparison) -> std::io::Result<Vec<Table>> {
    let mut tables = table::all();
    if let Some(name) = &comparison.table {
        let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
        let message = format!("no table {name:?}; there are {}", names.join(", "));
        tables.retain(|table| table.name == name);
        if tables.is_empty() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                message,
            ));
        }
    }
    Ok(tables)
}

fn cell(table: &Table, row: &Row, judge: Judge, figures: &Figures) -> serde_json::Value {
    json!({
        "table": table.name,
        "scenario": row.name,
        "judge": judge.name(),
        "requestsPerSecond": row.scenario.requests_per_second,
        "stable": row.scenario.stable,
        "canary": row.scenario.canary,
        "runs": figures.runs,
        "rollbackShare": figures.rollback_share,
        "pausedShare": figures.paused_share,
        "secondsP50": figures.seconds_p50,
        "secondsP95": figures.seconds_p95,
        "promotedP50": figures.promoted_p50,
        "excessErrors": figures.excess_errors,
        "waldSeconds": wald_seconds(&row.scenario, &row.schedule),
    })
}

/// Plays the runs on all processors; each has its own part of them, and the answers are in order.
fn play_all(runs: u32, play: &(dyn Fn(u32) -> Run + Sync)) -> Vec<Run> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = u32::try_from(threads).unwrap_or(1);
    let each = runs.div_ceil(threads).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|thread| {
                let from = thread.saturating_mul(each).min(runs);
                let to = from.saturating_add(each).min(runs);
                scope.spawn(move || (from..to).map(play).collect::<Vec<Run>>())
            })
            .collect();
        parts
            .into_iter()
            .flat_map(|part| {
                part.join()
                    .unwrap_or_else(|panic| panic::resume_unwind(panic))
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(what: What, runs: u32, table: &str) -> Result<String, String> {
        let comparison = Comparison {
            what,
            runs,
            seed: 3,
            table: Some(table.to_owned()),
        };
        let mut out = Vec::new();
        run(&mut out, &comparison).map_err(|error| error.to_string())?;
        String::from_utf8(out).map_err(|error| error.to_string())
    }

    #[test]
    fn the_same_seed_gives_the_same_figures() {
        let first = written(What::Figures, 3, "late").unwrap();
        assert_eq!(first, written(What::Figures, 3, "late").unwrap());
        assert_eq!(first.lines().count(), 28);
        let cell: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&cell["table"], &cell["judge"], &cell["runs"]),
            (&json!("late"), &json!("sequential"), &json!(3))
        );
    }

    #[test]
    fn an_unknown_table_is_told_with_those_there_are() {
        let error = written(What::Tables, 1, "nothing").unwrap_err();
        assert!(
            error.starts_with("no table \"nothing\"; there are healthy, "),
            "{error}"
        );
    }

    #[test]
    fn runs_are_in_their_order_on_any_number_of_processors() {
        let run = |index: u32| Run {
            rolled_back: Some(index),
            paused: None,
            promoted: None,
            excess_errors: 0.0,
            canary_requests: 0,
        };
        for runs in [0, 1, 2, 7, 100] {
            let order: Vec<u32> = play_all(runs, &run)
                .iter()
                .filter_map(|run| run.rolled_back)
                .collect();
            assert_eq!(order, (0..runs).collect::<Vec<_>>());
        }
    }
}
