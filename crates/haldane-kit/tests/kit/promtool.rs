//! Programs of Prometheus' packages.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Runs promtool, and fails with what it says.
#[track_caller]
pub(super) fn promtool(args: &[&str]) {
    output("promtool", args);
}

/// Runs a program, fails with what it says, and else returns that.
#[track_caller]
pub(super) fn output(name: &str, args: &[&str]) -> String {
    let output = Command::new(program(name)).args(args).output().unwrap();
    let (said, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{name} {args:?}\n{said}{told}");
    said.into_owned()
}

/// Returns a program of the packages that `cargo xtask setup` fetches, unless it is installed.
pub(super) fn program(name: &str) -> PathBuf {
    let is_here = |program: &Path| {
        let mut command = Command::new(program);
        command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let fetched = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/setup/prometheus/usr/bin"
    );
    let candidates = [PathBuf::from(name), Path::new(fetched).join(name)];
    let mut here = candidates.into_iter().filter(|program| is_here(program));
    here.next()
        .unwrap_or_else(|| panic!("{name} is missing: run `cargo xtask setup`"))
}
