//! The supervisor's data directory: its lock, its identity, and one small record per replica.
//!
//! A record is written twice per start: before the fork as an intent (with the token that the child will carry), and after it
//! with the child's process id and start time. A daemon killed in between leaves an intent, and the next one finds the child by
//! its token. Records are replaced by renaming, so a reader sees the old one or the new one.
//!
//! **Invariant:** a record counts only in the directory it was written in: a copied directory doesn't own the original's children.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use haldane_core::{ServiceName, VersionName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    proc::{self, Mark},
    spec::{VersionKey, VersionSpec},
};

/// The version of the record's form; a daemon that finds another one treats the record as unreadable.
const RECORD_FORMAT: u32 = 1;

/// How often a held lock is tried again: a child between fork and exec holds it for moments after its daemon's death.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why a data directory can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or directory in it can't be made, read or written.
    #[error("cannot prepare {path}")]
    Prepare {
        /// What was being prepared.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another supervisor has it.
    #[error("{path} is in use by the daemon with process id {holder}")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it, as far as it said.
        holder: String,
    },
    /// `/proc` is missing or incomplete.
    #[error("cannot read /proc, which tells our processes from others")]
    Proc(#[source] io::Error),
    /// The supervisor's thread or its wake-up can't be made.
    #[error("cannot start the supervisor's thread")]
    Thread(#[source] io::Error),
}

/// One replica of one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReplicaKey {
    pub(crate) version: VersionKey,
    pub(crate) index: u32,
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VersionKey { service, version } = &self.version;
        write!(f, "{service}/{version}/{}", self.index)
    }
}

/// What is known on disk about a replica's last start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    pub(crate) service: ServiceName,
    pub(crate) version: VersionName,
    pub(crate) index: u32,
    pub(crate) run: u64,
    pub(crate) generation: u64,
    pub(crate) port: u16,
    pub(crate) spec: VersionSpec,
    pub(crate) started_at: Timestamp,
    pub(crate) boot: String,
    pub(crate) token: String,
    /// None in an intent.
    pub(crate) process: Option<Mark>,
}

/// What the caller decides of a record; the rest is the home's.
#[derive(Clone, Debug)]
pub(crate) struct Start<'a> {
    pub(crate) key: &'a ReplicaKey,
    pub(crate) run: u64,
    pub(crate) generation: u64,
    pub(crate) port: u16,
    pub(crate) spec: &'a VersionSpec,
    pub(crate) started_at: Timestamp,
}

impl Record {
    pub(crate) fn key(&self) -> ReplicaKey {
        let version = VersionKey {
            service: self.service.clone(),
            version: self.version.clone(),
        };
        ReplicaKey {
            version,
            index: self.index,
        }
    }
}

/// An opened and locked data directory.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    boot: String,
    /// The beginning of every token of this directory.
    prefix: String,
    /// The beginning of the tokens of single commands that this daemon runs.
    jobs: String,
    /// Held until the daemon ends, however it ends.
    _lock: File,
}

impl Home {
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        let prepare = |path: PathBuf| move |source| OpenError::Prepare { path, source };
        for dir in [dir.to_owned(), replicas_dir(dir), crate::logs::root(dir)] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(prepare(dir))?;
        }
        let lock = lock(dir)?;
        let id = id(&dir.join("id")).map_err(prepare(dir.join("id")))?;
        // The inode tells a copy from the original.
        let inode = fs::metadata(dir).map_err(prepare(dir.to_owned()))?.ino();
        let boot = proc::boot().map_err(OpenError::Proc)?;
        let prefix = format!("{id}.{inode}.");
        let daemon = proc::unique().map_err(OpenError::Proc)?;
        Ok(Self {
            dir: dir.to_owned(),
            boot,
            jobs: format!("{prefix}job.{daemon}."),
            prefix,
            _lock: lock,
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    /// Whether `token` was made for this directory.
    pub(crate) fn is_ours(&self, token: &str) -> bool {
        token.starts_with(&self.prefix)
    }

    /// Returns what the tokens of this daemon's single commands begin with.
    pub(crate) fn jobs(&self) -> &str {
        &self.jobs
    }

    /// Returns the intent to start a replica, with a token of its own. It isn't saved yet.
    pub(crate) fn intend(&self, start: &Start<'_>) -> io::Result<Record> {
        Ok(Record {
            format: RECORD_FORMAT,
            service: start.key.version.service.clone(),
            version: start.key.version.version.clone(),
            index: start.key.index,
            run: start.run,
            generation: start.generation,
            port: start.port,
            spec: start.spec.clone(),
            started_at: start.started_at,
            boot: self.boot.clone(),
            token: format!("{}{}", self.prefix, proc::unique()?),
            process: None,
        })
    }

    /// Returns the records of this directory; what isn't one is moved out of the way.
    pub(crate) fn load(&self) -> Result<Vec<Record>, OpenError> {
        let path = replicas_dir(&self.dir);
        let prepare = |source| OpenError::Prepare {
            path: path.clone(),
            source,
        };
        let mut records = Vec::new();
        for entry in fs::read_dir(&path).map_err(prepare)? {
            let file = entry.map_err(prepare)?.path();
            if file.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match self.read(&file) {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "Replica record is put aside");
                    let aside = file.with_extension("bad");
                    fs::rename(&file, aside).map_err(prepare)?;
                }
            }
        }
        Ok(records)
    }

    /// Replaces the replica's record.
    pub(crate) fn save(&self, record: &Record) -> io::Result<()> {
        let path = self.path(&record.key());
        let new = path.with_extension("new");
        // The spec's environment may hold secrets.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.sync_data()?;
        fs::rename(&new, &path)
    }

    pub(crate) fn remove(&self, key: &ReplicaKey) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn read(&self, file: &Path) -> io::Result<Record> {
        let record: Record = serde_json::from_slice(&fs::read(file)?)?;
        let is_valid = record.format == RECORD_FORMAT
            && self.is_ours(&record.token)
            && self.path(&record.key()) == file;
        is_valid.then_some(record).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "it was written elsewhere or by another release",
            )
        })
    }

    fn path(&self, key: &ReplicaKey) -> PathBuf {
        // Neither name may hold an '@'.
        let VersionKey { service, version } = &key.version;
        replicas_dir(&self.dir).join(format!("{service}@{version}@{}.json", key.index))
    }
}

fn replicas_dir(dir: &Path) -> PathBuf {
    dir.join("replicas")
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let prepare = |source| OpenError::Prepare {
        path: path.clone(),
        source,
    };
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .to_owned();
    let mut file = options.open(&path).map_err(prepare)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).map_err(prepare)?;
                write!(file, "{}", std::process::id()).map_err(prepare)?;
                return Ok(file);
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(prepare(error)),
        }
    }
    let holder = fs::read_to_string(&path).unwrap_or_default();
    Err(OpenError::InUse {
        path: dir.to_owned(),
        holder,
    })
}

/// Returns the directory's identity, made at its first use.
fn id(path: &Path) -> io::Result<String> {
    let found = fs::read_to_string(path).unwrap_or_default();
    if !found.is_empty() {
        return Ok(found);
    }
    let id = proc::unique()?;
    let new = path.with_extension("new");
    fs::write(&new, &id)?;
    fs::rename(&new, path)?;
    Ok(id)
}

#[cfg(test)]
mod tests;
