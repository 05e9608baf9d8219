//! Plays many simulated rollouts and says what was broken or missed; `--trace` plays one and prints what happens.
//!
//! `gates`, `tables` and `figures` compare the judges instead: whether each keeps to what is promised, and all there is to know about it.

mod comparison;

use std::{io::Write, process::ExitCode};

use haldane_sim::{Summary, run, trace};

use comparison::{Comparison, What};

const USAGE: &str = "usage: haldane-sim [--rollouts N] [--seed S] | --trace SEED [--death N]
       haldane-sim gates|tables|figures [--runs N] [--seed S] [--table NAME]";

/// How many rollouts are played unless told otherwise.
const ROLLOUTS: u64 = 20_000;

/// After how many rollouts a line is printed.
const PROGRESS_EACH: u64 = 5_000;

/// What to do.
#[derive(Debug)]
enum Task {
    Simulate(Args),
    Compare(Comparison),
}

#[derive(Debug, Default)]
struct Args {
    rollouts: Option<u64>,
    seed: Option<u64>,
    trace: Option<u64>,
    death: Option<u64>,
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let Some(task) = Task::read(std::env::args().skip(1).collect()) else {
        return match writeln!(std::io::stderr(), "{USAGE}") {
            Ok(()) | Err(_) => ExitCode::from(2),
        };
    };
    let result = match task {
        Task::Compare(comparison) => comparison::run(&mut out, &comparison),
        Task::Simulate(Args {
            trace: Some(seed),
            death,
            ..
        }) => one(&mut out, seed, death),
        Task::Simulate(args) => many(
            &mut out,
            args.rollouts.unwrap_or(ROLLOUTS),
            args.seed.unwrap_or(1),
        ),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => match writeln!(std::io::stderr(), "error: {error}") {
            Ok(()) | Err(_) => ExitCode::FAILURE,
        },
    }
}

impl Task {
    fn read(words: Vec<String>) -> Option<Self> {
        let what = match words.first().map(String::as_str) {
            Some("gates") => What::Gates,
            Some("tables") => What::Tables,
            Some("figures") => What::Figures,
            Some(_) | None => return Args::read(words.into_iter()).map(Self::Simulate),
        };
        let mut comparison = Comparison {
            what,
            runs: comparison::RUNS,
            seed: 1,
            table: None,
        };
        let mut words = words.into_iter().skip(1);
        while let Some(word) = words.next() {
            let value = words.next()?;
            match word.as_str() {
                "--runs" => comparison.runs = value.parse().ok()?,
                "--seed" => comparison.seed = value.parse().ok()?,
                "--table" => comparison.table = Some(value),
                _ => return None,
            }
        }
        Some(Self::Compare(comparison))
    }
}

impl Args {
    fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut args = Self::default();
        while let Some(word) = words.next() {
            let number = words.next()?.parse().ok()?;
            let place = match word.as_str() {
                "--rollouts" => &mut args.rollouts,
                "--seed" => &mut args.seed,
                "--trace" => &mut args.trace,
                "--death" => &mut args.death,
                _ => return None,
            };
            *place = Some(number);
        }
        Some(args)
    }
}

fn one(out: &mut impl Write, seed: u64, death: Option<u64>) -> std::io::Result<bool> {
    let (outcome, lines) = trace(seed, death);
    for line in lines {
        writeln!(out, "{line}")?;
    }
    writeln!(
        out,
        "{} after {} decisions, trace {:016x}",
        outcome.end, outcome.transitions, outcome.hash
    )?;
    Ok(outcome.violation.is_none())
}

fn many(out: &mut impl Write, rollouts: u64, seed: u64) -> std::io::Result<bool> {
    writeln!(out, "playing {rollouts} rollouts, seed {seed}")?;
    let mut told = Ok(());
    let summary = run(rollouts, seed, |index| {
        if index > 0 && index % PROGRESS_EACH == 0 && told.is_ok() {
            told = writeln!(out, "{index} played");
        }
    });
    told?;
    print(out, &summary)?;
    Ok(summary.is_good())
}

fn print(out: &mut impl Write, summary: &Summary) -> std::io::Result<()> {
    writeln!(
        out,
        "{} rollouts, {} decisions",
        summary.rollouts, summary.transitions
    )?;
    for (end, count) in &summary.ends {
        writeln!(out, "  {count:>7} {end}")?;
    }
    writeln!(
        out,
        "{} more with a death at each place in turn; {} ended as without it",
        summary.deaths, summary.deaths_without_effect
    )?;
    let coverage = &summary.coverage;
    writeln!(
        out,
        "met: {} pairs of phase and input, {} places to die, {} kinds of trouble",
        coverage.pairs.len(),
        coverage.crashes.len(),
        coverage.faults.len()
    )?;
    if let Some(failure) = &summary.failure {
        let death = failure
            .death
            .map_or_else(String::new, |at| format!(" --death {at}"));
        writeln!(out, "broken: {}", failure.violation)?;
        writeln!(out, "replay: haldane-sim --trace {}{death}", failure.seed)?;
        for line in trace(failure.seed, failure.death).1 {
            writeln!(out, "{line}")?;
        }
        return Ok(());
    }
    for missing in coverage.missing() {
        writeln!(out, "never met: {missing}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Task> {
        Task::read(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn a_word_says_what_to_compare() {
        let Some(Task::Compare(comparison)) = read("gates --runs 7 --seed 9 --table late") else {
            panic!("a comparison");
        };
        assert_eq!(
            (comparison.what, comparison.runs, comparison.seed),
            (What::Gates, 7, 9)
        );
        assert_eq!(comparison.table.as_deref(), Some("late"));
    }

    #[test]
    fn without_a_word_rollouts_are_simulated() {
        for line in ["", "--rollouts 5", "--trace 3 --death 1"] {
            assert!(matches!(read(line), Some(Task::Simulate(_))), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "judge",
            "gates --runs",
            "gates --runs many",
            "tables --rollouts 5",
            "--runs 5",
        ] {
            assert!(read(line).is_none(), "{line}");
        }
    }
}
