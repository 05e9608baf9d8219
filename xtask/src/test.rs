//! `cargo xtask test`: set-up, tests, the simulator and the checks, in a fixed order.
//!
//! The last line is `N passed, N failed`, and the exit code is 0 only if nothing failed. The budgets of all stages that build
//! sum to 25 minutes, the standalone tests have 8, and the tests on the test plane have 12, on two cores with
//! nothing built before.

use std::io::Write;

use crate::{
    check,
    invocation::Invocation,
    plane, setup, sim,
    stage::{Stage, Summary, Work},
    workspace::Workspace,
};

/// What to test.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the unit tests, without set-up: for people between edits.
    #[arg(long, env = "HALDANE_TEST_QUICK")]
    quick: bool,
    /// Leave out the tests on a real Kubernetes, which is built first.
    #[arg(long, env = "HALDANE_TEST_NO_PLANE", conflicts_with = "quick")]
    no_plane: bool,
}

/// Runs the tests and closes with the one line that sums them.
pub(crate) fn run(args: &Args, workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<bool> {
    let stages = if args.quick {
        quick_stages()
    } else {
        stages(args, workspace)?
    };
    let summary = Summary::of(&stages, workspace, out)?;
    summary.write(out)?;
    writeln!(out, "\n{}", summary.tally())?;
    Ok(summary.is_ok())
}

fn quick_stages() -> Vec<Stage> {
    let unit = ["test", "--workspace", "--lib", "--bins", "--no-fail-fast"];
    vec![Stage::new(
        "unit tests",
        10,
        Work::Tests(Invocation::cargo(&unit)),
    )]
}

fn stages(args: &Args, workspace: &Workspace) -> anyhow::Result<Vec<Stage>> {
    let build = ["test", "--workspace", "--no-run"];
    // Doc tests are a stage of their own: they build while they run.
    let tests = [
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--no-fail-fast",
    ];
    let doc_tests = ["test", "--workspace", "--doc", "--no-fail-fast"];
    let mut stages = vec![
        Stage::new("set-up", 3, Work::Call(setup::stage)),
        Stage::new(
            "build of tests",
            10,
            Work::Program(Invocation::cargo(&build)),
        ),
        Stage::new(
            "standalone tests",
            8,
            Work::Tests(Invocation::cargo(&tests)),
        ),
        Stage::new("doc tests", 4, Work::Tests(Invocation::cargo(&doc_tests))),
    ];
    if sim::is_present(workspace) {
        stages.extend([
            Stage::new("build of the simulator", 5, Work::Program(sim::build())),
            Stage::new("simulator", 4, Work::Program(sim::standard())),
            Stage::new("gates of the judges", 3, Work::Tests(sim::gates())),
        ]);
    }
    stages.extend(check::stages(workspace)?);
    if !args.no_plane {
        stages.extend(plane::stages(workspace));
    }
    Ok(stages)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn minutes(stages: &[Stage], names: &[&str]) -> u64 {
        let chosen = stages
            .iter()
            .filter(|stage| names.contains(&stage.name.as_str()));
        chosen.map(|stage| stage.budget).sum::<Duration>().as_secs() / 60
    }

    fn usual() -> Vec<Stage> {
        let args = Args {
            quick: false,
            no_plane: false,
        };
        stages(&args, &Workspace::load().unwrap()).unwrap()
    }

    #[test]
    fn the_budgets_keep_what_they_promise() {
        let stages = usual();
        let builds = ["build of tests", "build of the simulator", "clippy", "docs"];
        assert!(minutes(&stages, &builds) <= 25);
        assert_eq!(minutes(&stages, &["standalone tests"]), 8);
    }

    #[test]
    fn tests_come_before_checks_and_after_set_up() {
        let stages = usual();
        let position = |name: &str| stages.iter().position(|stage| stage.name == name).unwrap();
        assert_eq!(position("set-up"), 0);
        assert!(position("standalone tests") < position("clippy"));
    }
}
