//! Plays many simulated rollouts and says what was broken or missed; `--trace` plays one and prints what happens.

use std::{io::Write, process::ExitCode};

use haldane_sim::{Summary, run, trace};

const USAGE: &str = "usage: haldane-sim [--rollouts N] [--seed S] | --trace SEED [--death N]";

/// How many rollouts are played unless told otherwise.
const ROLLOUTS: u64 = 20_000;

/// After how many rollouts a line is printed.
const PROGRESS_EACH: u64 = 5_000;

#[derive(Debug, Default)]
struct Args {
    rollouts: Option<u64>,
    seed: Option<u64>,
    trace: Option<u64>,
    death: Option<u64>,
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let Some(args) = Args::read(std::env::args().skip(1)) else {
        return match writeln!(std::io::stderr(), "{USAGE}") {
            Ok(()) | Err(_) => ExitCode::from(2),
        };
    };
    let result = match args.trace {
        Some(seed) => one(&mut out, seed, args.death),
        None => many(
            &mut out,
            args.rollouts.unwrap_or(ROLLOUTS),
            args.seed.unwrap_or(1),
        ),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
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
