//! What the host sees of the replicas.

use std::{fmt, time::Duration};

use haldane_core::{ServiceName, VersionName};
use jiff::Timestamp;

/// One run of one replica; after a restart it is another id, so that a late health report can't hit the wrong process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId {
    /// The service.
    pub service: ServiceName,
    /// Its version.
    pub version: VersionName,
    /// Which replica of the version, from 0.
    pub index: u32,
    /// Which start of the replica, from 1; 0 before the first.
    pub run: u64,
}

/// One replica as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSeen {
    /// Which one.
    pub id: ReplicaId,
    /// What it is doing.
    pub state: ReplicaState,
    /// Whether it was last reported healthy.
    pub is_healthy: bool,
    /// The process id of its leader, while it has one.
    pub pid: Option<i32>,
    /// The loopback port that it was told to listen on; 0 before the first start.
    pub port: u16,
    /// How many times it was started again.
    pub restarts: u64,
    /// When its process was started.
    pub started_at: Option<Timestamp>,
    /// How its last process ended.
    pub last_exit: Option<LastExit>,
    /// How many starts in a row came to nothing, without a good while in between.
    pub failures: u32,
    /// How the last of them came to nothing, until the replica is reported healthy.
    pub last_failure: Option<Failure>,
}

/// How a start of a replica came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no process.
    NotStarted {
        /// Why, for people.
        why: String,
        /// Whether another try can't help before somebody changes something: the program is missing, say.
        is_lasting: bool,
    },
    /// The process ended by itself.
    Ended(Exit),
    /// The process was not reported healthy within this time, and was ended.
    NeverHealthy(Duration),
}

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// It runs and was not yet reported healthy.
    Starting,
    /// It runs and was reported healthy at least once.
    Running,
    /// It has no process and gets one at that time (or once there is a wish).
    BackingOff {
        /// When it is started again.
        until: Timestamp,
    },
    /// It must go and gets no new requests, but still answers the ones that it has.
    Draining,
    /// It was told to end, or is being killed.
    Stopping,
}

/// How and when a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastExit {
    /// How.
    pub exit: Exit,
    /// When the supervisor noticed.
    pub at: Timestamp,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It was started by an earlier daemon, so the kernel told its end to someone else.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// What the processes of one replica use now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The processor time that they and their ended children used since their start.
    pub cpu: Duration,
    /// Resident memory; pages shared by several processes count in each.
    pub rss_bytes: u64,
    /// Proportional memory, where every process lets us read it; shared pages are split among their users.
    pub pss_bytes: Option<u64>,
    /// How many processes there are.
    pub processes: u32,
}
