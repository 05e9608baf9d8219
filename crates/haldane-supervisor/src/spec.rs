//! What the host asks for: versions, their replicas, and how each is run.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use haldane_core::{ServiceName, VersionName};
use serde::{Deserialize, Serialize};

/// The most replicas of one version: one machine runs them all, and each costs a process, a port and log files.
pub const REPLICAS_MAX: u32 = 256;

/// One version of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionKey {
    /// The service.
    pub service: ServiceName,
    /// Its version.
    pub version: VersionName,
}

/// How one version's replicas are run.
///
/// The same version name must keep the same command, environment, directory and user; if it doesn't, the replicas are restarted
/// with the new ones, one at a time. Graces and log limits may change at any time and restart nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSpec {
    /// The program and its arguments, executed directly.
    ///
    /// `$PORT`, `$HALDANE_SERVICE`, `$HALDANE_VERSION` and `$HALDANE_REPLICA` (also in braces) are replaced here and in the
    /// values of `env`; the child finds all four in its environment, too.
    pub argv: Vec<String>,
    /// What is set in the environment beside what the daemon has itself, except the daemon's own `HALDANE_…` variables.
    pub env: BTreeMap<String, String>,
    /// The working directory; without one it's the daemon's.
    pub dir: Option<PathBuf>,
    /// The user to run as, by name, with its primary group only; without one it's the daemon's. Needs root.
    pub user: Option<String>,
    /// How long a healthy replica that must go is shown as draining before SIGTERM, unless the host reports it drained.
    pub drain_grace: Duration,
    /// How long after SIGTERM what is left of the replica's processes gets SIGKILL.
    pub stop_grace: Duration,
    /// How long a replica may take until it is reported healthy for the first time; then it is killed and started again.
    pub start_grace: Duration,
    /// How much of its output is kept.
    pub log: LogLimits,
}

impl VersionSpec {
    /// Whether a process of the other spec would be the same.
    pub(crate) fn is_same_process(&self, other: &Self) -> bool {
        (&self.argv, &self.env, &self.dir, &self.user)
            == (&other.argv, &other.env, &other.dir, &other.user)
    }
}

/// How much of one replica's output is kept.
///
/// Together the files take at most `file_bytes_max × (1 + 1.25 × files_kept)`, plus what the child can write between two looks
/// ([`Config::check_interval`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// How large the current file may grow before it is rotated.
    pub file_bytes_max: u64,
    /// How many rotated files are kept beside the current one.
    pub files_kept: u32,
}

impl Default for LogLimits {
    /// 60 MB per replica: days of a normal service, minutes of a chatty one.
    fn default() -> Self {
        Self {
            file_bytes_max: 10_000_000,
            files_kept: 4,
        }
    }
}

/// How many replicas of a version are wished, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WishedVersion {
    /// How they are run.
    pub spec: VersionSpec,
    /// How many there are, at most [`REPLICAS_MAX`].
    pub replicas: u32,
    /// Another number than the one a replica was started under restarts it, one replica at a time.
    pub generation: u64,
}

/// Everything that shall run; what isn't in here is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The versions that shall run.
    pub versions: BTreeMap<VersionKey, WishedVersion>,
}

/// How the supervisor itself behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The wait before the second start after failures; the first is immediate, each further wait is twice the one before.
    pub backoff_first: Duration,
    /// The longest wait between two starts.
    pub backoff_max: Duration,
    /// A replica that stayed healthy for so long starts without backoff again.
    pub healthy_reset: Duration,
    /// How often logs are measured. (Exits are noticed at once where the kernel has pidfds, else at this interval.)
    pub check_interval: Duration,
    /// How many versions per service keep their logs after their last replica is gone.
    pub log_versions_kept: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            healthy_reset: Duration::from_secs(60),
            check_interval: Duration::from_millis(100),
            log_versions_kept: 10,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A spec with short graces.
    pub(crate) fn spec(argv: &[&str]) -> VersionSpec {
        VersionSpec {
            argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
            env: BTreeMap::new(),
            dir: None,
            user: None,
            drain_grace: Duration::ZERO,
            stop_grace: Duration::from_secs(1),
            start_grace: Duration::from_secs(10),
            log: LogLimits::default(),
        }
    }
}
