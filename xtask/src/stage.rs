//! Stages: named pieces of work with a time budget, run in order, counted and timed.
//!
//! A stage that fails does not end the run: one run tells all that is wrong.
//!
//! **Invariant:** a run in which a stage failed never closes with `0 failed`: a stage that failed without a failed test counts
//! as one failure.

use std::{
    fmt,
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{invocation::Invocation, workspace::Workspace};

/// One row of a table of stages.
#[derive(Debug)]
pub(crate) struct Stage {
    /// What the reader sees.
    pub name: String,
    /// How long it may take on two cores, with nothing built before. Taking longer is told, it is no failure.
    pub budget: Duration,
    /// What is done.
    pub work: Work,
}

/// What a stage does.
#[derive(Debug)]
pub(crate) enum Work {
    /// A program; its exit code decides.
    Program(Invocation),
    /// `cargo test` with these arguments, whose results are counted.
    Tests(Invocation),
    /// Code of this program.
    Call(fn(&Workspace, &mut dyn Write) -> anyhow::Result<Outcome>),
    /// Something that can't be done here, and why.
    Skip(String),
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well.
    Passed,
    /// Something is wrong; the output says what.
    Failed,
    /// It was not done, and why.
    Skipped(String),
}

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
}

/// What became of all stages of a run.
#[derive(Debug)]
pub(crate) struct Summary {
    reports: Vec<Report>,
}

#[derive(Debug)]
struct Report {
    name: String,
    outcome: Outcome,
    tally: Tally,
    took: Duration,
    budget: Duration,
}

impl Stage {
    /// Returns the stage called `name`, which may take `minutes`.
    pub(crate) fn new(name: impl Into<String>, minutes: u64, work: Work) -> Self {
        Self {
            name: name.into(),
            budget: Duration::from_secs(minutes.saturating_mul(60)),
            work,
        }
    }

    fn run(&self, workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<Report> {
        writeln!(out, "== {} (budget {})", self.name, Minutes(self.budget))?;
        let start = Instant::now();
        let (outcome, tally) = self.work.run(workspace, out)?;
        let report = Report {
            name: self.name.clone(),
            outcome,
            tally,
            took: start.elapsed(),
            budget: self.budget,
        };
        writeln!(out, "-- {report}\n")?;
        Ok(report)
    }
}

impl Work {
    fn run(&self, workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<(Outcome, Tally)> {
        match self {
            Self::Program(invocation) => {
                writeln!(out, "$ {invocation}")?;
                out.flush()?;
                Ok((
                    outcome(invocation.run(&workspace.root), out)?,
                    Tally::default(),
                ))
            }
            Self::Tests(invocation) => {
                writeln!(out, "$ {invocation}")?;
                let mut tally = Tally::default();
                let result = invocation.run_watched(&workspace.root, out, |line| tally.read(line));
                Ok((outcome(result, out)?, tally))
            }
            Self::Call(function) => {
                let outcome = function(workspace, out).or_else(|error| {
                    writeln!(out, "error: {error:#}")
                        .context("writing")
                        .map(|()| Outcome::Failed)
                })?;
                Ok((outcome, Tally::default()))
            }
            Self::Skip(reason) => Ok((Outcome::Skipped(reason.clone()), Tally::default())),
        }
    }
}

/// A program that could not be run is a failed stage; only our own output failing ends the run.
fn outcome(result: anyhow::Result<bool>, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    match result {
        Ok(true) => Ok(Outcome::Passed),
        Ok(false) => Ok(Outcome::Failed),
        Err(error) => {
            writeln!(out, "error: {error:#}")?;
            Ok(Outcome::Failed)
        }
    }
}

impl Tally {
    /// Adds the numbers of a line such as `test result: ok. 5 passed; 0 failed; 0 ignored; …`; other lines say nothing.
    fn read(&mut self, line: &str) {
        let Some(results) = line.strip_prefix("test result: ") else {
            return;
        };
        let words: Vec<&str> = results.split([' ', ';']).collect();
        for pair in words.windows(2) {
            match *pair {
                [number, "passed"] => self.passed = add(self.passed, number),
                [number, "failed"] => self.failed = add(self.failed, number),
                _ => {}
            }
        }
    }
}

fn add(sum: u64, number: &str) -> u64 {
    sum.saturating_add(number.parse().unwrap_or(0))
}

impl Summary {
    /// Runs `stages` in order.
    pub(crate) fn of(
        stages: &[Stage],
        workspace: &Workspace,
        out: &mut dyn Write,
    ) -> anyhow::Result<Self> {
        let reports = stages.iter().map(|stage| stage.run(workspace, out));
        Ok(Self {
            reports: reports.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Whether no stage failed.
    pub(crate) fn is_ok(&self) -> bool {
        self.tally().failed == 0
    }

    /// Returns the tests of all stages, and one failure more for each stage that failed without a failed test.
    pub(crate) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for Report { outcome, tally, .. } in &self.reports {
            let least = u64::from(*outcome == Outcome::Failed);
            sum.passed = sum.passed.saturating_add(tally.passed);
            sum.failed = sum.failed.saturating_add(tally.failed.max(least));
        }
        sum
    }

    /// Writes one line for each stage.
    pub(crate) fn write(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        writeln!(out, "== summary")?;
        for report in &self.reports {
            writeln!(out, "{report}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match &self.outcome {
            Outcome::Skipped(reason) => return write!(f, "skipped: {reason}"),
            Outcome::Passed => write!(f, "passed")?,
            Outcome::Failed => write!(f, "FAILED")?,
        }
        if self.tally != Tally::default() {
            write!(f, " ({})", self.tally)?;
        }
        write!(f, " in {:.1} s", self.took.as_secs_f64())?;
        if self.took > self.budget {
            write!(f, ", over its budget of {}", Minutes(self.budget))?;
        }
        Ok(())
    }
}

struct Minutes(Duration);

impl fmt::Display for Minutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} min", self.0.as_secs().div_ceil(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Invocation {
        Invocation::new("sh", &["-c", script])
    }

    fn run(work: Vec<Work>) -> (Summary, String) {
        let stages: Vec<Stage> = work
            .into_iter()
            .map(|work| Stage::new("stage", 1, work))
            .collect();
        let workspace = Workspace {
            root: "/".into(),
            members: Vec::new(),
        };
        let mut out = Vec::new();
        let summary = Summary::of(&stages, &workspace, &mut out).unwrap();
        summary.write(&mut out).unwrap();
        (summary, String::from_utf8(out).unwrap())
    }

    fn check(work: Vec<Work>, tally: &str) {
        assert_eq!(run(work).0.tally().to_string(), tally);
    }

    #[test]
    fn the_tests_of_all_binaries_are_summed() {
        let tests = shell(
            "echo 'running 2 tests'; echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured'
             echo 'test result: FAILED. 30 passed; 4 failed; 0 ignored; 0 measured; finished in 1.2s'; exit 101",
        );
        check(
            vec![Work::Tests(tests.clone()), Work::Tests(tests)],
            "64 passed, 8 failed",
        );
    }

    #[test]
    fn a_stage_that_fails_without_a_failed_test_is_one_failure() {
        check(vec![Work::Program(shell("exit 1"))], "0 passed, 1 failed");
        check(
            vec![Work::Tests(shell("echo 'could not compile'; exit 101"))],
            "0 passed, 1 failed",
        );
        check(
            vec![Work::Program(Invocation::new("no-such-program", &[]))],
            "0 passed, 1 failed",
        );
        check(
            vec![Work::Call(|_, _| anyhow::bail!("no"))],
            "0 passed, 1 failed",
        );
        check(
            vec![Work::Call(|_, _| Ok(Outcome::Failed))],
            "0 passed, 1 failed",
        );
    }

    #[test]
    fn the_stages_after_a_failed_one_still_run() {
        let (summary, text) = run(vec![
            Work::Program(shell("exit 1")),
            Work::Program(shell("exit 0")),
        ]);
        assert!(!summary.is_ok());
        assert!(text.contains("stage: FAILED in "), "{text}");
        assert!(text.contains("stage: passed in "), "{text}");
    }

    #[test]
    fn what_is_skipped_is_told_and_is_no_failure() {
        let (summary, text) = run(vec![Work::Skip("wasm32 target not available".to_owned())]);
        assert!(summary.is_ok());
        assert!(
            text.contains("stage: skipped: wasm32 target not available\n"),
            "{text}"
        );
    }

    #[test]
    fn taking_longer_than_planned_is_told() {
        let report = Report {
            name: "docs".to_owned(),
            outcome: Outcome::Passed,
            tally: Tally {
                passed: 3,
                failed: 0,
            },
            took: Duration::from_secs(90),
            budget: Duration::from_secs(60),
        };
        let expected = "docs: passed (3 passed, 0 failed) in 90.0 s, over its budget of 1 min";
        assert_eq!(report.to_string(), expected);
    }
}
