//! Commands as metric systems: run to their end, and what they wrote is the answer.
//!
//! **Invariant:** what a command wrote is an answer only if it ended by itself with exit code 0, and all of it was kept.

use std::collections::BTreeMap;

use haldane_api::command::split;
use haldane_core::plan::metric::Metric;
use haldane_source::{Answer, Reading, Window, provider::command};
use haldane_supervisor::job::{Job, STOP_GRACE};
use jiff::Timestamp;
use tokio::time::timeout;

use super::{AskError, Asker, Trust, invalid};
use crate::wire::{job, observe::question::window};

/// How much a command may write: far more than any list of pods takes.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// How much of it is told where the command failed.
const TOLD_CHARS_MAX: usize = 300;

impl Asker {
    /// Runs the command of a metric with further arguments, and returns what it wrote.
    ///
    /// # Errors
    /// See [`AskError`].
    pub(crate) async fn run(
        &self,
        metric: &Metric,
        text: &str,
        variables: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<Reading, AskError> {
        if self.trust != Trust::Operator {
            return Err(failed("whoever declares it may run none"));
        }
        let (arguments, query) = command::Query::parse(text);
        let line = format!("{} {arguments}", metric.source.address);
        let argv = split(&line).map_err(|error| invalid("the command", &error.to_string()))?;
        let window = Window::try_new(now - window(metric), now, metric.interval)?;
        let job = Job {
            argv,
            env: variables.clone(),
            dir: self.dir.clone(),
            timeout: self.timeout,
            output_bytes_max: OUTPUT_BYTES_MAX,
        };
        // It ends when its time is over; a stubborn one isn't waited for.
        let patience = self.timeout.saturating_add(STOP_GRACE * 2);
        let end = match timeout(patience, job::run(&self.jobs, job)).await {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => return Err(failed(&format!("it could not be run: {error}"))),
            Err(_) => {
                return Err(failed(
                    "its time was over, and it does not end when told to",
                ));
            }
        };
        if !end.is_success() {
            return Err(failed(&job::words(&end)));
        }
        if end.output.len() > OUTPUT_BYTES_MAX {
            return Err(failed("it wrote more than 64 KiB"));
        }
        let answer = Answer {
            status: command::status(0),
            headers: &[],
            body: end.output.as_bytes(),
        };
        Ok(command::parse(&query, &window, &answer)?)
    }
}

fn failed(why: &str) -> AskError {
    let told: String = why.chars().take(TOLD_CHARS_MAX).collect();
    AskError::Command(format!("the command failed: {told}"))
}
