//! The process supervisor of the standalone home: the only crate that forks.
//!
//! The host states a [`Wish`] (which versions, how many replicas of each) and the [`Supervisor`] converges to it on a thread of
//! its own: it starts, restarts with backoff, stops, rotates logs, and takes over what still runs after the daemon's death. It
//! does not check health; whoever does reports it by [`Supervisor::report_health`]. Single commands, such as gates ask, run by [`job`].
//!
//! **Invariant:** no signal goes to a process that isn't verified to be ours: the process id with the kernel's start time and
//! boot, or a token of this data directory in the process's environment.
//!
//! **Invariant:** a process is started only with a token in its environment that leads back to this data directory, so a daemon
//! killed at any point leaves no child that the next one doesn't find.
//!
//! What it can't do: notice a process that leaves its process group *and* wipes its environment; survive a service manager that
//! kills the daemon's whole control group (under systemd set `KillMode=process`).

mod decide;
mod fleet;
mod home;
pub mod job;
pub mod logs;
mod port;
mod proc;
mod process;
mod seen;
mod spec;
mod start;
mod supervisor;
mod user;
mod variable;

pub use home::OpenError;
pub use seen::{Exit, Failure, LastExit, ReplicaId, ReplicaSeen, ReplicaState, Usage};
pub use spec::{Config, LogLimits, REPLICAS_MAX, VersionKey, VersionSpec, Wish, WishedVersion};
pub use start::StartError;
pub use supervisor::{Snapshot, Supervisor};
pub use user::UserError;
