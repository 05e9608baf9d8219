//! `cargo xtask check`: every check but the tests, as a table of stages.

use std::{io::Write, time::Duration};

use anyhow::Context;

use crate::{
    codegen,
    invocation::Invocation,
    plane, purity, setup,
    stage::{Outcome, Stage, Summary, Work},
    tidy,
    workspace::Workspace,
};

/// How long the database of advisories may take to arrive; without a network this must not hold anything up.
const ADVISORIES_MAX: Duration = Duration::from_secs(60);

/// Runs all checks and returns whether none failed.
pub(crate) fn run(workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<bool> {
    let summary = Summary::of(&stages(workspace)?, workspace, out)?;
    summary.write(out)?;
    Ok(summary.is_ok())
}

/// Returns the checks, quick ones first.
pub(crate) fn stages(workspace: &Workspace) -> anyhow::Result<Vec<Stage>> {
    let mut stages = vec![
        Stage::new(
            "format",
            1,
            Work::Program(Invocation::cargo(&["fmt", "--all", "--check"])),
        ),
        Stage::new("tidy", 1, Work::Call(tidy::stage)),
        Stage::new("clippy", 5, Work::Program(clippy())),
        Stage::new(
            "clippy of the test plane's tests",
            3,
            Work::Program(plane::clippy()),
        ),
        Stage::new("docs", 5, Work::Program(docs())),
    ];
    for name in tidy::pure_crates(workspace).context("reading which crates are pure")? {
        let alone = Invocation::cargo(&["check", "-p", &name]);
        stages.push(Stage::new(format!("{name} alone"), 1, Work::Program(alone)));
        stages.push(Stage::new(
            format!("{name} for wasm32"),
            1,
            wasm(workspace, &name),
        ));
    }
    stages.extend([
        Stage::new("pure crates have no clock", 1, Work::Call(purity::stage)),
        Stage::new("licenses, bans, sources", 1, Work::Call(deny)),
        Stage::new("advisories", 2, Work::Call(advisories)),
        Stage::new("generated files", 3, Work::Call(codegen::stage)),
    ]);
    Ok(stages)
}

fn clippy() -> Invocation {
    Invocation::cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])
}

fn docs() -> Invocation {
    Invocation::cargo(&["doc", "--workspace", "--no-deps"]).with_env("RUSTDOCFLAGS", "-D warnings")
}

/// Only the library: a simulator's binary may use an operating system.
fn wasm(workspace: &Workspace, name: &str) -> Work {
    if setup::has_wasm(workspace) {
        Work::Program(Invocation::cargo(&[
            "build",
            "-p",
            name,
            "--lib",
            "--target",
            setup::WASM,
        ]))
    } else {
        Work::Skip("wasm32 target not available".to_owned())
    }
}

fn deny(workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    // Not every library that may use a restricted one is in the tree at every time.
    let quiet = ["--hide-inclusion-graph", "--allow", "unused-wrapper"];
    let what = ["licenses", "bans", "sources"];
    run_deny(
        &[&["deny", "check"], &quiet[..], &what].concat(),
        workspace,
        out,
    )
}

fn advisories(workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let fetch = Invocation::cargo(&["deny", "fetch", "db"]);
    if setup::has_deny(workspace) && !fetch.succeeds(&workspace.root, ADVISORIES_MAX) {
        let reason = "the database of advisories can't be had";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    run_deny(
        &["deny", "--offline", "check", "advisories"],
        workspace,
        out,
    )
}

fn run_deny(args: &[&str], workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    if !setup::has_deny(workspace) {
        let reason = "cargo-deny is not installed (`cargo xtask setup --all` installs it)";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    let deny = Invocation::cargo(args);
    writeln!(out, "$ {deny}")?;
    out.flush()?;
    let is_ok = deny.run(&workspace.root)?;
    Ok(if is_ok {
        Outcome::Passed
    } else {
        Outcome::Failed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crates_that_exist_are_built_alone() {
        let workspace = Workspace::load().unwrap();
        let names: Vec<String> = stages(&workspace)
            .unwrap()
            .into_iter()
            .map(|s| s.name)
            .collect();
        assert!(
            names.iter().any(|name| name == "haldane-core alone"),
            "{names:?}"
        );
        for crate_name in names.iter().filter_map(|name| name.strip_suffix(" alone")) {
            assert!(workspace.member(crate_name).is_some(), "{crate_name}");
        }
    }

    #[test]
    fn warnings_are_errors() {
        assert!(clippy().to_string().ends_with("-- -D warnings"));
        assert!(
            docs()
                .to_string()
                .starts_with("RUSTDOCFLAGS=\"-D warnings\" ")
        );
    }
}
