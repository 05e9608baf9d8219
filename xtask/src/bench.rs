//! `cargo xtask bench`: the promised figures, taken by the program itself in its released form.

use crate::{invocation::Invocation, workspace::Workspace};

/// The crate, and the binary in it, that takes the figures.
const PROGRAM: &str = "haldane";

/// Which figures to take.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is passed on: a bench's name (reaction, memory, zero-drop, judges) and options such as `-o json`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<String>,
}

/// Takes the figures; what they are is told on standard output, how far it is on standard error.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> anyhow::Result<bool> {
    invocation(&args.passed_on).run(&workspace.root)
}

fn invocation(passed_on: &[String]) -> Invocation {
    let cargo = [
        "run",
        "--quiet",
        "--release",
        "-p",
        PROGRAM,
        "--bin",
        PROGRAM,
        "--",
        "bench",
    ];
    let words: Vec<&str> = cargo
        .into_iter()
        .chain(passed_on.iter().map(String::as_str))
        .collect();
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

    #[test]
    fn names_and_options_are_passed_on() {
        let line = Line::try_parse_from(["bench", "zero-drop", "-o", "json"]).unwrap();
        let expected =
            "cargo run --quiet --release -p haldane --bin haldane -- bench zero-drop -o json";
        assert_eq!(invocation(&line.args.passed_on).to_string(), expected);
    }
}
