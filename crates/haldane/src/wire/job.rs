//! Commands of the user's that are waited for: gates and metrics.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use haldane_supervisor::{
    Exit,
    job::{Job, JobEnd, JobExit, Jobs},
};
use tokio::task::JoinError;

/// Cancels a job when whoever waits for it is gone.
struct CancelOnDrop(Arc<AtomicBool>);

/// Runs a command to its end; whoever stops waiting for it ends it.
///
/// # Errors
/// When the thread that waits for it broke off.
pub(super) async fn run(jobs: &Jobs, job: Job) -> Result<JobEnd, JoinError> {
    let cancel = CancelOnDrop(Arc::default());
    let cancelled = Arc::clone(&cancel.0);
    let jobs = jobs.clone();
    tokio::task::spawn_blocking(move || jobs.run(&job, &cancelled)).await
}

/// Says how a command ended, with what it printed.
pub(super) fn words(end: &JobEnd) -> String {
    let mut words = match &end.exit {
        JobExit::Ended(exit @ Exit::Code(_)) => exit.to_string(),
        JobExit::Ended(Exit::Signal(signal)) => format!("ended by signal {signal}"),
        JobExit::Ended(Exit::Unknown) => "ended, nobody knows how".to_owned(),
        JobExit::TimedOut => "killed because its time was over".to_owned(),
        JobExit::Cancelled => "cancelled".to_owned(),
        JobExit::NotStarted(error) => error.to_string(),
    };
    let output = printable(&end.output);
    if !output.trim().is_empty() {
        // Writing to a string doesn't fail.
        write!(words, "\n{}", output.trim_end()).ok();
    }
    words
}

/// Returns a text as people may see it: without control characters, which could play tricks on a terminal.
pub(super) fn printable(text: &str) -> String {
    let is_harmless = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(is_harmless).collect()
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
