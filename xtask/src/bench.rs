//! `cargo xtask bench`: the promised figures, taken by the program itself in its released form.

use crate::{invocation::Invocation, setup, workspace::Workspace};

/// The crate, and the binary in it, that takes the figures.
const PROGRAM: &str = "haldane";

/// The first word of those that need a Kubernetes, and the crate, and the binary in it, that takes them.
const KUBE: &str = "kube";
const PLANE_PROGRAM: &str = "haldane-plane";

/// Which figures to take.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is passed on: a bench's name (reaction, memory, zero-drop, judges; kube for those on a
    /// Kubernetes) and options such as `-o json`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<String>,
}

/// Takes the figures; what they are is told on standard output, how far it is on standard error.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> anyhow::Result<bool> {
    if args.passed_on.first().is_some_and(|name| name == KUBE) {
        setup::prometheus(workspace)?;
    }
    for invocation in invocations(&args.passed_on) {
        if !invocation.run(&workspace.root)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns what is run, one after the other.
fn invocations(passed_on: &[String]) -> Vec<Invocation> {
    match passed_on.split_first() {
        // The program under test lies beside the one that measures it.
        Some((name, passed_on)) if name == KUBE => vec![
            cargo("build", PROGRAM, &[]),
            cargo("run", PLANE_PROGRAM, &words(passed_on)),
        ],
        _ => vec![cargo("run", PROGRAM, &words(passed_on))],
    }
}

/// Returns what a program is told to take figures.
fn words(passed_on: &[String]) -> Vec<&str> {
    let begin = ["--", "bench"].into_iter();
    begin.chain(passed_on.iter().map(String::as_str)).collect()
}

/// Returns what cargo does with a program in its released form.
fn cargo(what: &str, program: &str, words: &[&str]) -> Invocation {
    let cargo = [
        what,
        "--quiet",
        "--release",
        "-p",
        program,
        "--bin",
        program,
    ];
    let words: Vec<&str> = cargo.into_iter().chain(words.iter().copied()).collect();
    Invocation::cargo(&words)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn check(line: &[&str], expected: &[&str]) {
        let line = Line::try_parse_from(["bench"].iter().chain(line)).unwrap();
        let lines = invocations(&line.args.passed_on);
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn names_and_options_are_passed_on() {
        check(
            &["zero-drop", "-o", "json"],
            &["cargo run --quiet --release -p haldane --bin haldane -- bench zero-drop -o json"],
        );
    }

    #[test]
    fn the_program_is_built_before_it_is_measured_on_a_kubernetes() {
        check(
            &["kube", "--quick"],
            &[
                "cargo build --quiet --release -p haldane --bin haldane",
                "cargo run --quiet --release -p haldane-plane --bin haldane-plane -- bench --quick",
            ],
        );
    }
}
