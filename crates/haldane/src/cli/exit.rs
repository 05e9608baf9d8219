//! How a command ends, and the code that says so to scripts.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::home::HomeError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked is done.
    Done,
    /// It could not be done, or went wrong.
    Failed,
    /// What was asked makes no sense.
    Usage,
    /// The rollout was aborted or rolled back.
    Aborted,
    /// The time given was over first.
    TimedOut,
    /// The rollout waits for a person.
    Waiting,
}

/// Each end of a command and what it means to a script.
pub(crate) const MEANINGS: [(Exit, &str); 6] = [
    (Exit::Done, "done"),
    (Exit::Failed, "failed"),
    (Exit::Usage, "wrong usage"),
    (Exit::Aborted, "the rollout was aborted or rolled back"),
    (Exit::TimedOut, "timed out"),
    (Exit::Waiting, "waiting for a person"),
];

/// What was asked makes no sense; the text says why, and what would.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub String);

impl Exit {
    /// Returns the code for scripts.
    #[must_use]
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Aborted => 3,
            Self::TimedOut => 4,
            Self::Waiting => 5,
        }
    }
}

/// Tells an error on stderr, and returns the process's exit code. A reader that has seen enough (broken pipe) is no error.
pub(crate) fn finish(result: anyhow::Result<Exit>) -> ExitCode {
    let exit = result.unwrap_or_else(|error| {
        let exit = exit_of(&error);
        if exit != Exit::Done {
            talk(&format!("haldane: {error:#}"));
        }
        exit
    });
    ExitCode::from(exit.code())
}

/// Returns how a command ended that failed so.
pub(crate) fn exit_of(error: &anyhow::Error) -> Exit {
    if error.chain().any(<dyn std::error::Error>::is::<UsageError>) {
        return Exit::Usage;
    }
    let homes = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<HomeError>());
    if let Some(home) = homes {
        return home.exit();
    }
    let io = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    let mut kinds = io.map(io::Error::kind);
    if kinds.any(|kind| kind == io::ErrorKind::BrokenPipe) {
        Exit::Done
    } else {
        Exit::Failed
    }
}

/// Says something beside the result. Nobody may be listening, and that is fine.
pub(crate) fn talk(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn errors_have_their_codes() {
        let broken = Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe));
        let usage = Err::<(), _>(UsageError("no".to_owned()));
        for (error, expected) in [
            (broken.context("writing").unwrap_err(), 0),
            (anyhow::anyhow!("no daemon"), 1),
            (usage.context("reading").unwrap_err(), 2),
        ] {
            assert_eq!(exit_of(&error).code(), expected, "{error:#}");
        }
    }
}
