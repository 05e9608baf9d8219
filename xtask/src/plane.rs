//! `cargo xtask plane`: a real Kubernetes to test against. The program is `haldane-plane`; this only builds it and passes on what
//! it was asked, so that nothing else here waits for a client of Kubernetes to be built.

use std::{path::Path, time::Duration};

use crate::{
    invocation::Invocation,
    setup,
    stage::{Stage, Work},
    workspace::Workspace,
};

/// The crate, and the binary in it, that runs planes.
const PROGRAM: &str = "haldane-plane";

/// The crate whose tests need one.
const CONTROLLER: &str = "haldane-controller";

/// How long asking the kernel for a namespace may take.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// What a plane needs of this machine, each with the ways to have it and what is missing without any of them.
const NEEDS: &[(&[&[&str]], &str)] = &[
    (
        &[
            &["unshare", "--net", "--pid", "--fork", "true"],
            &[
                "unshare",
                "--user",
                "--map-root-user",
                "--net",
                "--pid",
                "--fork",
                "true",
            ],
        ],
        "this machine does not allow network namespaces of one's own",
    ),
    (
        &[&["ip", "-Version"]],
        "`ip` (Debian's package iproute2) is missing",
    ),
    (
        &[&["nsenter", "--version"]],
        "`nsenter` (Debian's package util-linux) is missing",
    ),
    (
        &[&["go", "version"], &["python3", "-m", "pip", "--version"]],
        "neither Go nor pip, which would fetch it, is here",
    ),
];

/// What to do with planes.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What is passed on: `up`, `down`, `install`, `status`, `kubeconfig`, `exec`, `fault`; `--help` tells more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<String>,
}

/// Builds the program and lets it do what it was asked.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> anyhow::Result<bool> {
    if args.passed_on.iter().any(|one| one.contains("prometheus")) {
        setup::prometheus(workspace)?;
    }
    program(&args.passed_on).run(&workspace.root)
}

/// Builds what a plane consists of, or only looks whether it is built.
pub(crate) fn set_up(workspace: &Workspace, is_look: bool) -> anyhow::Result<bool> {
    let line: &[&str] = if is_look {
        &["setup", "--check"]
    } else {
        &["setup"]
    };
    program(line).run(&workspace.root)
}

/// Returns the stages of the tests that need a plane. They come last: the build is the most expensive part of all tests.
pub(crate) fn stages(workspace: &Workspace) -> Vec<Stage> {
    let work = |work: Work| match obstacle(&workspace.root) {
        Some(reason) => Work::Skip(reason.to_owned()),
        None => work,
    };
    // What tests need that set-up does not build is left to whoever asks for it.
    let tests = [
        "test",
        "-p",
        PROGRAM,
        "--test",
        "smoke",
        "--no-fail-fast",
        "--",
        "--skip",
        "on_request",
    ];
    // They wait more than they work.
    let controller = [
        "test",
        "-p",
        CONTROLLER,
        "--test",
        "kube",
        "--no-fail-fast",
        "--",
        "--test-threads",
        "8",
        "--skip",
        "on_request",
    ];
    let line = ["test", "-p", "haldane", "--test", "kube", "--no-fail-fast"];
    vec![
        Stage::new(
            "build of the test plane",
            12,
            work(Work::Program(program(&["setup"]))),
        ),
        Stage::new(
            "tests of the test plane",
            3,
            work(Work::Tests(Invocation::cargo(&tests))),
        ),
        Stage::new(
            "tests of the controller on the test plane",
            7,
            work(Work::Tests(Invocation::cargo(&controller))),
        ),
        Stage::new(
            "tests of the command line on the test plane",
            2,
            work(Work::Tests(Invocation::cargo(&line))),
        ),
    ]
}

/// Returns the check of those tests' lints: cargo leaves them out of all targets, as it does when it tests.
pub(crate) fn clippy() -> Invocation {
    Invocation::cargo(&[
        "clippy", "-p", PROGRAM, "--test", "smoke", "-p", CONTROLLER, "-p", "haldane", "--test",
        "kube", "--", "-D", "warnings",
    ])
}

fn obstacle(root: &Path) -> Option<&'static str> {
    let is_missing = |(ways, _): &&(&[&[&str]], &str)| {
        !ways.iter().any(|line| {
            let (program, args) = line.split_first().unwrap_or((&"", &[]));
            Invocation::new(program, args).succeeds(root, PROBE_MAX)
        })
    };
    NEEDS.iter().find(is_missing).map(|(_, reason)| *reason)
}

fn program<S: AsRef<str>>(passed_on: &[S]) -> Invocation {
    let cargo = ["run", "--quiet", "-p", PROGRAM, "--bin", PROGRAM, "--"];
    let words: Vec<&str> = cargo
        .into_iter()
        .chain(passed_on.iter().map(AsRef::as_ref))
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
    fn everything_is_passed_on() {
        let line = [
            "plane",
            "exec",
            "--name",
            "a",
            "--",
            "curl",
            "--silent",
            "http://10.128.0.3",
        ];
        let line = Line::try_parse_from(line).unwrap();
        let expected = "cargo run --quiet -p haldane-plane --bin haldane-plane -- \
                        exec --name a -- curl --silent http://10.128.0.3";
        assert_eq!(program(&line.args.passed_on).to_string(), expected);
        let help = Line::try_parse_from(["plane", "--help"]).unwrap();
        assert_eq!(help.args.passed_on, ["--help"]);
    }

    #[test]
    fn the_stages_keep_to_what_tests_of_kubernetes_may_take() {
        let stages = stages(&Workspace::load().unwrap());
        // Building is no test; it counts with the other builds.
        let tests = stages.iter().skip(1);
        let sum: Duration = tests.map(|stage| stage.budget).sum();
        assert_eq!(sum.as_secs(), 12 * 60);
    }
}
