//! What a store keeps, as rows, and what it promises.
//!
//! Rows carry what is looked up by and a body that the store does not read; `record` turns them into what the driver works with.
//!
//! **Invariant:** what [`Store::commit`] was given is durable when it returns, all of it or none of it.

pub mod absent;
pub mod lock;
pub mod sqlite;

use std::{io, ops::RangeInclusive, path::Path};

use haldane_core::{RolloutId, ServiceName, VersionName};
use jiff::Timestamp;

/// A durable store of services, rollouts and their history.
pub trait Store {
    /// Returns why there is no store, if there is none: then nothing can be decided, and nothing is known.
    fn absence(&self) -> Option<&str> {
        None
    }

    /// Writes all rows in one transaction and returns when they are durable.
    ///
    /// # Errors
    /// When nothing of it was written.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError>;

    /// Returns all services, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn services(&mut self) -> Result<Vec<ServiceRow>, StoreError>;

    /// Returns the rollouts that have not ended, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn live_rollouts(&mut self) -> Result<Vec<RolloutRow>, StoreError>;

    /// Returns a service's last rollouts, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn rollouts(
        &mut self,
        service: &ServiceName,
        limit: u32,
    ) -> Result<Vec<RolloutRow>, StoreError>;

    /// Returns a rollout's history, oldest first, from its newest `limit` entries.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn entries(&mut self, rollout: &RolloutId, limit: u32) -> Result<Vec<EntryRow>, StoreError>;

    /// Returns the rows of a rollout's recording from this number on, oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn recording(
        &mut self,
        rollout: &RolloutId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<RecordingRow>, StoreError>;

    /// Returns a service's last commands, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn commands(
        &mut self,
        service: &ServiceName,
        limit: u32,
    ) -> Result<Vec<CommandRow>, StoreError>;

    /// Returns the versions of a service that are known, the last used first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn versions(&mut self, service: &ServiceName) -> Result<Vec<VersionRow>, StoreError>;

    /// Returns what is usual of a metric in these hours of the week, by hour.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn bands(
        &mut self,
        service: &ServiceName,
        metric: &str,
        hours: RangeInclusive<u8>,
    ) -> Result<Vec<BandRow>, StoreError>;
}

/// One row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Adds or replaces a service.
    PutService(ServiceRow),
    /// Removes a service with its rollouts, history, recordings, commands, versions and bands.
    RemoveService(ServiceName),
    /// Adds or replaces a rollout.
    PutRollout(RolloutRow),
    /// Adds an entry to a rollout's history; the same rollout and number twice is an error.
    AddEntry(EntryRow),
    /// Adds a row to a rollout's recording, or puts it in place of one that has its number.
    PutRecording(RecordingRow),
    /// Adds a command.
    AddCommand(CommandRow),
    /// Adds or replaces a version, and makes it the last used.
    PutVersion(VersionRow),
    /// Adds or replaces what is usual of a metric in an hour of the week.
    PutBand(BandRow),
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRow {
    /// Its name.
    pub name: ServiceName,
    /// What it is, as JSON.
    pub body: String,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutRow {
    /// Its id.
    pub id: RolloutId,
    /// Its service.
    pub service: ServiceName,
    /// Its number within the service; only rises.
    pub number: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
    /// What it is, as JSON.
    pub body: String,
}

/// One decision in a rollout's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// The rollout.
    pub rollout: RolloutId,
    /// Its number within the rollout, from 0.
    pub number: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// What was decided on which inputs and evidence, as JSON.
    pub body: String,
}

/// A part of a rollout's recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingRow {
    /// The rollout.
    pub rollout: RolloutId,
    /// Its number within the rollout, from 0.
    pub number: u64,
    /// What the judges saw, one moment a line, as JSON.
    pub body: String,
}

/// A command that somebody gave, carried out or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRow {
    /// The service.
    pub service: ServiceName,
    /// When it was given.
    pub at: Timestamp,
    /// Who gave it, why, and what became of it, as JSON.
    pub body: String,
}

/// A version of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    /// The service.
    pub service: ServiceName,
    /// The version.
    pub version: VersionName,
    /// When it was last made to serve or to be tried.
    pub used_at: Timestamp,
    /// Where it comes from, as JSON.
    pub body: String,
}

/// What is usual of a metric in an hour of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BandRow {
    /// The service.
    pub service: ServiceName,
    /// The metric's name.
    pub metric: String,
    /// The hour, from 0.
    pub hour: u8,
    /// What was learned, as JSON.
    pub body: String,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the data directory.
    #[error("the data directory {directory} is in use by process {pid}")]
    InUse {
        /// The directory.
        directory: String,
        /// The process that holds it, as it wrote itself.
        pid: String,
    },
    /// The data directory is something else.
    #[error("the data directory {path} is not a directory")]
    NotADirectory {
        /// The path.
        path: String,
    },
    /// There is no store, because it could not be opened.
    #[error(
        "the daemon was started without its store ({why}); mend the store or move it away, and start the daemon again"
    )]
    Absent {
        /// Why it could not be opened.
        why: String,
    },
    /// The store was written by a newer release.
    #[error(
        "the store at {path} has schema {found}; this release knows up to {known}: use the newer release, or restore the backup beside it"
    )]
    TooNew {
        /// The file.
        path: String,
        /// Its schema version.
        found: u32,
        /// The newest schema version that is known here.
        known: u32,
    },
    /// The store is damaged.
    #[error("the store at {path} is damaged: {detail}")]
    Damaged {
        /// The file.
        path: String,
        /// What was found.
        detail: String,
    },
    /// Reading or writing failed.
    #[error("could not {doing} the store")]
    Io {
        /// What was being done: `lock`, `open`, `write`, `read`, `migrate`.
        doing: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Returns the error for a failed access to a file of the store.
    fn at(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::Io {
            doing,
            source: format!("{}: {error}", path.display()).into(),
        }
    }
}
