//! `cargo xtask sim`: many simulated rollouts of the real decision core, with faults.

use crate::{invocation::Invocation, workspace::Workspace};

/// The crate, and the binary in it, that simulates.
const SIMULATOR: &str = "haldane-sim";

/// How many rollouts reach every phase, input, effect boundary and fault (the simulator fails when one was not hit).
const ROLLOUTS_DEFAULT: &str = "20000";

/// A fixed seed, so that the same tree gives the same result; another one explores further.
const SEED_DEFAULT: &str = "1";

/// What to simulate.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rollouts to run.
    #[arg(long, env = "HALDANE_SIM_ROLLOUTS", default_value = ROLLOUTS_DEFAULT)]
    rollouts: u64,
    /// Where chance begins; a failure prints the seed that shows it again.
    #[arg(long, env = "HALDANE_SIM_SEED", default_value = SEED_DEFAULT)]
    seed: u64,
}

/// Runs the simulator.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> anyhow::Result<bool> {
    anyhow::ensure!(
        is_present(workspace),
        "this workspace has no simulator: no binary {SIMULATOR}"
    );
    invocation(&args.rollouts.to_string(), &args.seed.to_string()).run(&workspace.root)
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

/// Returns the run that the test command makes.
pub(crate) fn standard() -> Invocation {
    invocation(ROLLOUTS_DEFAULT, SEED_DEFAULT)
}

fn invocation(rollouts: &str, seed: &str) -> Invocation {
    let cargo = [
        "run",
        "--release",
        "-p",
        SIMULATOR,
        "--bin",
        SIMULATOR,
        "--",
    ];
    Invocation::cargo(&[&cargo[..], &["--rollouts", rollouts, "--seed", seed]].concat())
}

#[cfg(test)]
mod tests {
    use crate::workspace::Member;

    use super::*;

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

    #[test]
    fn a_library_alone_is_no_simulator() {
        assert!(is_present(&workspace(&[SIMULATOR])));
        assert!(!is_present(&workspace(&[])));
        let args = Args {
            rollouts: 1,
            seed: 1,
        };
        assert!(run(&args, &workspace(&[])).is_err());
    }

    #[test]
    fn the_standard_run_names_its_size_and_seed() {
        let expected =
            "cargo run --release -p haldane-sim --bin haldane-sim -- --rollouts 20000 --seed 1";
        assert_eq!(standard().to_string(), expected);
    }
}
