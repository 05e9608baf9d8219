//! One command line of another program, as data: shown as it is run, and run from the root of the repository.

use std::{
    env,
    ffi::OsString,
    fmt,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

/// How often a child with a time limit is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What cargo tells the program it runs. Some build scripts watch these, so passing them on would rebuild their crates each time.
const CARGO_PRIVATE: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];

/// A program, its arguments, and what is added to the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Invocation {
    /// Returns the invocation of `program` with `args`.
    pub(crate) fn new(program: &str, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self {
            program: program.to_owned(),
            args,
            env: Vec::new(),
        }
    }

    /// Returns the invocation of cargo with `args`.
    pub(crate) fn cargo(args: &[&str]) -> Self {
        Self::new("cargo", args)
    }

    /// Returns the invocation with `name=value` added to its environment.
    pub(crate) fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it with our own output and returns whether it succeeded.
    pub(crate) fn run(&self, root: &Path) -> anyhow::Result<bool> {
        let status = self
            .command(root)
            .status()
            .with_context(|| format!("running `{self}`"))?;
        Ok(status.success())
    }

    /// Runs it, shows each line of its output, gives it to `seen`, and returns whether it succeeded.
    pub(crate) fn run_watched(
        &self,
        root: &Path,
        out: &mut dyn Write,
        mut seen: impl FnMut(&str),
    ) -> anyhow::Result<bool> {
        let mut child = self.spawn(root, Stdio::piped(), Stdio::inherit())?;
        let stdout = child.stdout.take().context("taking the child's output")?;
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.with_context(|| format!("reading the output of `{self}`"))?;
            let line = String::from_utf8_lossy(&line);
            writeln!(out, "{line}")?;
            seen(&line);
        }
        Ok(child
            .wait()
            .with_context(|| format!("waiting for `{self}`"))?
            .success())
    }

    /// Runs it and returns what it wrote to standard output; an error when it fails.
    pub(crate) fn output(&self, root: &Path) -> anyhow::Result<String> {
        let output = self.command(root).stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("running `{self}`"))?;
        anyhow::ensure!(
            output.status.success(),
            "`{self}` failed: {}",
            output.status
        );
        String::from_utf8(output.stdout).with_context(|| format!("reading the output of `{self}`"))
    }

    /// Whether it can be run and succeeds within `limit`; its output goes nowhere.
    pub(crate) fn succeeds(&self, root: &Path, limit: Duration) -> bool {
        self.spawn(root, Stdio::null(), Stdio::null())
            .is_ok_and(|child| succeeds_within(child, limit))
    }

    fn spawn(&self, root: &Path, stdout: Stdio, stderr: Stdio) -> anyhow::Result<Child> {
        let mut command = self.command(root);
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        command
            .spawn()
            .with_context(|| format!("starting `{self}`"))
    }

    fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(self.executable());
        command.args(&self.args).current_dir(root);
        for (name, _) in env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| CARGO_PRIVATE.iter().any(|p| name.starts_with(p)))
            {
                command.env_remove(name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The cargo that runs us runs the rest, too, whatever lies first in the search path.
    fn executable(&self) -> OsString {
        match self.program.as_str() {
            "cargo" => env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
            program => program.into(),
        }
    }
}

impl fmt::Display for Invocation {
    /// Writes the command line as one would type it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quoted(value))?;
        }
        write!(f, "{}", self.program)?;
        self.args
            .iter()
            .try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn quoted(word: &str) -> String {
    let is_plain =
        !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "'\"$".contains(c));
    if is_plain {
        word.to_owned()
    } else {
        format!("{word:?}")
    }
}

fn succeeds_within(mut child: Child, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => thread::sleep(POLL_INTERVAL),
            Err(_) => return false,
        }
    }
    // Too late: it may already be gone, and then there is nothing to end.
    child
        .kill()
        .and_then(|()| child.wait())
        .is_ok_and(|_| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_as_one_would_type_it() {
        let invocation =
            Invocation::cargo(&["doc", "--no-deps", "a b"]).with_env("FLAGS", "-D warnings");
        assert_eq!(
            invocation.to_string(),
            "FLAGS=\"-D warnings\" cargo doc --no-deps \"a b\""
        );
    }

    #[test]
    fn each_line_is_shown_and_seen() {
        let (mut out, mut lines) = (Vec::new(), Vec::new());
        let invocation = Invocation::new("sh", &["-c", "echo one; echo two; exit 3"]);
        let is_ok =
            invocation.run_watched(Path::new("/"), &mut out, |line| lines.push(line.to_owned()));
        assert!(!is_ok.unwrap());
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(out, b"one\ntwo\n");
    }

    #[test]
    fn a_failed_command_has_no_output() {
        let error = Invocation::new("sh", &["-c", "echo half; exit 1"])
            .output(Path::new("/"))
            .unwrap_err();
        assert!(error.to_string().contains("failed"), "{error}");
    }

    #[test]
    fn a_command_that_hangs_or_is_missing_does_not_succeed() {
        let limit = Duration::from_millis(200);
        assert!(Invocation::new("true", &[]).succeeds(Path::new("/"), Duration::from_secs(30)));
        assert!(!Invocation::new("sleep", &["60"]).succeeds(Path::new("/"), limit));
        assert!(!Invocation::new("no-such-program", &[]).succeeds(Path::new("/"), limit));
    }
}
