//! `cargo xtask sim`: simulated rollouts of the real decision core with faults, and the judges against each other on random traffic.

mod pictures;

use std::io::Write;

use crate::{invocation::Invocation, workspace::Workspace};

/// The crate, and the binary in it, that simulates.
const SIMULATOR: &str = "haldane-sim";

/// How many rollouts reach every phase, input, effect boundary and fault (the simulator fails when one was not hit).
const ROLLOUTS_DEFAULT: u64 = 20_000;

/// How many rollouts a cell of a comparison has: a share of one in a hundred is then known to a quarter of it.
const CELL_DEFAULT: u64 = 2_000;

/// A fixed seed, so that the same tree gives the same result; another one explores further.
const SEED_DEFAULT: &str = "1";

/// What to simulate.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to simulate.
    #[arg(value_enum, env = "HALDANE_SIM_WHAT", default_value_t = What::Faults)]
    what: What,
    /// How many rollouts to run: with faults 20000 unless given, of each cell of a comparison 2000.
    #[arg(long, env = "HALDANE_SIM_ROLLOUTS")]
    rollouts: Option<u64>,
    /// Where chance begins; a failure prints the seed that shows it again.
    #[arg(long, env = "HALDANE_SIM_SEED", default_value = SEED_DEFAULT)]
    seed: u64,
    /// Only this table of the judges, as `healthy`, `late` or `latency`, an unknown one is told with all there are; or only the gates with this
    /// in their name.
    #[arg(long, env = "HALDANE_SIM_TABLE")]
    table: Option<String>,
}

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Rollouts in a world with faults.
    Faults,
    /// What the judges must keep to, as the test command checks it.
    Gates,
    /// Every table of the judges against each other, in Markdown.
    Judges,
    /// The pictures of docs/judging.md, drawn anew.
    Pictures,
}

/// Runs the simulator.
pub(crate) fn run(args: &Args, workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<bool> {
    anyhow::ensure!(
        is_present(workspace),
        "this workspace has no simulator: no binary {SIMULATOR}"
    );
    match args.what {
        What::Pictures => pictures::draw(&workspace.root, out, |table| {
            figures(args, table).output(&workspace.root)
        }),
        What::Faults | What::Gates | What::Judges => invocation(args).run(&workspace.root),
    }
}

/// Whether the workspace has a simulator yet.
pub(crate) fn is_present(workspace: &Workspace) -> bool {
    let simulator = workspace.member(SIMULATOR);
    simulator.is_some_and(|member| member.binaries.iter().any(|name| name == SIMULATOR))
}

/// Returns what builds the simulator, so that a run's time is that of the rollouts alone.
pub(crate) fn build() -> Invocation {
    Invocation::cargo(&["build", "--release", "-p", SIMULATOR, "--bin", SIMULATOR])
}

/// Returns the rollouts with faults that the test command runs.
pub(crate) fn standard() -> Invocation {
    simulator(&[
        "--rollouts",
        &ROLLOUTS_DEFAULT.to_string(),
        "--seed",
        SEED_DEFAULT,
    ])
}

/// Returns the gates of the judges that the test command runs.
pub(crate) fn gates() -> Invocation {
    simulator(&[
        "gates",
        "--runs",
        &CELL_DEFAULT.to_string(),
        "--seed",
        SEED_DEFAULT,
    ])
}

fn invocation(args: &Args) -> Invocation {
    let seed = args.seed.to_string();
    let cell = args.rollouts.unwrap_or(CELL_DEFAULT).to_string();
    let table = args.table.iter().flat_map(|table| ["--table", table]);
    match args.what {
        What::Faults => {
            let rollouts = args.rollouts.unwrap_or(ROLLOUTS_DEFAULT).to_string();
            simulator(&["--rollouts", &rollouts, "--seed", &seed])
        }
        What::Gates => {
            let words = ["gates", "--runs", &cell, "--seed", &seed];
            simulator(&words.into_iter().chain(table).collect::<Vec<_>>())
        }
        What::Judges | What::Pictures => {
            let words = ["tables", "--runs", &cell, "--seed", &seed];
            simulator(&words.into_iter().chain(table).collect::<Vec<_>>())
        }
    }
}

/// Returns what gives the figures of a table, a line of JSON each.
fn figures(args: &Args, table: &str) -> Invocation {
    let cell = args.rollouts.unwrap_or(CELL_DEFAULT).to_string();
    let seed = args.seed.to_string();
    simulator(&[
        "figures", "--runs", &cell, "--seed", &seed, "--table", table,
    ])
}

fn simulator(words: &[&str]) -> Invocation {
    let cargo = [
        "run",
        "--release",
        "-p",
        SIMULATOR,
        "--bin",
        SIMULATOR,
        "--",
    ];
    Invocation::cargo(&[&cargo[..], words].concat())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::workspace::Member;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn workspace(binaries: &[&str]) -> Workspace {
        let member = Member {
            name: SIMULATOR.to_owned(),
            directory: "crates/haldane-sim".into(),
            dependencies: Vec::new(),
            binaries: binaries.iter().map(|name| (*name).to_owned()).collect(),
        };
        Workspace {
            root: "/".into(),
            members: vec![member],
        }
    }

    fn check(line: &str, expected: &str) {
        let line = Line::try_parse_from(line.split_whitespace()).unwrap();
        let cargo = "cargo run --release -p haldane-sim --bin haldane-sim -- ";
        let found = invocation(&line.args).to_string();
        assert_eq!(found.strip_prefix(cargo), Some(expected));
    }

    #[test]
    fn a_library_alone_is_no_simulator() {
        assert!(is_present(&workspace(&[SIMULATOR])));
        assert!(!is_present(&workspace(&[])));
        let line = Line::try_parse_from(["sim"]).unwrap();
        assert!(run(&line.args, &workspace(&[]), &mut Vec::new()).is_err());
    }

    #[test]
    fn each_run_names_its_size_and_seed() {
        check("sim", "--rollouts 20000 --seed 1");
        check("sim --rollouts 5 --seed 7", "--rollouts 5 --seed 7");
        check("sim gates", "gates --runs 2000 --seed 1");
        check("sim judges --rollouts 100", "tables --runs 100 --seed 1");
        check(
            "sim judges --table late",
            "tables --runs 2000 --seed 1 --table late",
        );
    }

    #[test]
    fn the_test_command_runs_the_same() {
        let cargo = "cargo run --release -p haldane-sim --bin haldane-sim -- ";
        assert_eq!(
            standard().to_string(),
            format!("{cargo}--rollouts 20000 --seed 1")
        );
        assert_eq!(
            gates().to_string(),
            format!("{cargo}gates --runs 2000 --seed 1")
        );
    }
}
