//! `cargo xtask`: the one entry for people and CI.
//!
//! Each subcommand is a file with its `Args` and a `run`; a new one adds a file, a variant and an arm. What runs in which order
//! is data (tables of stages, of components, of generated files), so that reading a table tells what a command does.
//!
//! **Invariant:** nothing that was asked for is left out silently: what can't run here says `skipped` and why, or fails.

mod bench;
mod check;
mod codegen;
mod image;
mod invocation;
mod plane;
mod purity;
mod setup;
mod sim;
mod stage;
mod test;
mod tidy;
mod workspace;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Set-up, checks, tests, simulation and code generation of Haldane.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Installs what checks and tests need and isn't here yet; running it again does nothing.
    Setup(setup::Args),
    /// Runs every check but the tests: format, lints, docs, pure crates alone, tidy, dependencies, generated files.
    Check,
    /// Runs set-up, tests, the simulator and the checks; ends with one line `N passed, N failed`.
    Test(test::Args),
    /// Runs many simulated rollouts, with faults or under every judge; the same seed gives the same run.
    Sim(sim::Args),
    /// Runs a real Kubernetes to test against: `up`, `down`, `install`, `status`, `kubeconfig`, `exec`, `fault`.
    Plane(plane::Args),
    /// Takes the promised figures; passes on a name (reaction, memory, zero-drop, judges, kube) and options such as `-o json`.
    Bench(bench::Args),
    /// Writes the generated files that are committed.
    Codegen(codegen::Args),
    /// Builds the container image, with a static program in it.
    Image(image::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args.task, &mut io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nothing is left to tell it to when standard error is closed, too.
            writeln!(io::stderr(), "error: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Runs one task and returns whether all of it went well.
fn run(task: &Task, out: &mut dyn Write) -> anyhow::Result<bool> {
    let workspace = Workspace::load()?;
    match task {
        Task::Setup(args) => setup::run(args, &workspace, out),
        Task::Check => check::run(&workspace, out),
        Task::Test(args) => test::run(args, &workspace, out),
        Task::Sim(args) => sim::run(args, &workspace, out),
        Task::Plane(args) => plane::run(args, &workspace),
        Task::Bench(args) => bench::run(args, &workspace),
        Task::Codegen(args) => codegen::run(args, &workspace, out),
        Task::Image(args) => image::run(args, &workspace, out),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_unknown_task_is_a_usage_error() {
        let error = Args::try_parse_from(["xtask", "deploy"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
