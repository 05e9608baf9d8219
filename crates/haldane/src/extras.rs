//! What the API serves beyond the driver's views: metrics, logs, and the way to stop.

use std::{
    io,
    path::{Path, PathBuf},
};

use haldane_proxy::{DELIMITED_TYPE, TEXT_TYPE, encode_metrics, prefers_delimited, render_metrics};
use haldane_server::{Extras, LogError, LogFollower, LogRequest, Metrics};
use haldane_supervisor::logs::{self, Follower, LogLine};
use tokio_util::sync::CancellationToken;

use crate::wire::machine::Machine;

/// The extras of the standalone home.
#[derive(Debug)]
pub(crate) struct DaemonExtras {
    machine: Machine,
    /// The supervisor's directory, where the logs are.
    dir: PathBuf,
    stop: CancellationToken,
}

/// A service's output as it comes.
struct Following {
    first: Vec<LogLine>,
    follower: Follower,
    replica: Option<u32>,
}

impl DaemonExtras {
    pub(crate) fn new(machine: Machine, data_dir: &Path, stop: CancellationToken) -> Self {
        Self {
            machine,
            dir: data_dir.join("supervisor"),
            stop,
        }
    }
}

impl Extras for DaemonExtras {
    fn metrics(&self, accept: &str, figures: &str) -> Metrics {
        let reading = self.machine.reading();
        let mut text = render_metrics(&reading);
        text.push_str(figures);
        if prefers_delimited(accept) {
            return Metrics {
                content_type: DELIMITED_TYPE,
                body: encode_metrics(&text, &reading),
            };
        }
        Metrics {
            content_type: TEXT_TYPE,
            body: text.into(),
        }
    }

    fn logs(&self, request: &LogRequest) -> Result<String, LogError> {
        let lines = logs::tail(
            &self.dir,
            &request.service,
            &request.version,
            line_count(request),
        );
        Ok(text(lines.map_err(unreadable(request))?, request.replica))
    }

    fn follow_logs(&self, request: &LogRequest) -> Result<Box<dyn LogFollower>, LogError> {
        let found = logs::follow(
            &self.dir,
            &request.service,
            &request.version,
            line_count(request),
        );
        let (first, follower) = found.map_err(unreadable(request))?;
        Ok(Box::new(Following {
            first,
            follower,
            replica: request.replica,
        }))
    }

    fn shut_down(&self) {
        self.stop.cancel();
    }
}

impl LogFollower for Following {
    fn poll(&mut self) -> io::Result<String> {
        let mut lines = std::mem::take(&mut self.first);
        lines.extend(self.follower.poll()?);
        Ok(text(lines, self.replica))
    }
}

fn line_count(request: &LogRequest) -> usize {
    usize::try_from(request.lines).unwrap_or(usize::MAX)
}

fn unreadable(request: &LogRequest) -> impl Fn(io::Error) -> LogError + '_ {
    |error| {
        if error.kind() == io::ErrorKind::NotFound {
            return LogError::NotFound(format!(
                "{} {} has no output here",
                request.service, request.version
            ));
        }
        LogError::Unreadable(error)
    }
}

/// Writes lines one below the other, each with its replica where there are several.
fn text(lines: Vec<LogLine>, replica: Option<u32>) -> String {
    let mut text = String::new();
    for line in lines
        .into_iter()
        .filter(|line| replica.is_none_or(|replica| replica == line.replica))
    {
        if replica.is_none() {
            text.push_str(&format!("[{}] ", line.replica));
        }
        text.push_str(&line.text);
        text.push('\n');
    }
    text
}
