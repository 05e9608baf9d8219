//! The replicas' output: append-only files that the children write themselves, rotated by size.
//!
//! A child gets its log file as standard output and error, so no byte passes through the daemon: a child that prints a gigabyte
//! slows nobody down, and one that outlives the daemon goes on logging. Because the child keeps its file open, rotation copies the
//! file and then takes what was copied off its beginning (the child appends, so it goes on at the new end). On ext4 and XFS nothing
//! is lost. Elsewhere the file is truncated, and a line written between the last byte copied and the truncation, normally some
//! microseconds, is lost.
//!
//! The directory is bounded by [`crate::LogLimits`] plus what a child writes within one check interval; of what is over, the
//! newest part is kept and a line says how much was left out.

mod follow;
mod rotate;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use haldane_core::{ServiceName, VersionName};

pub use follow::{Follower, LogLine, follow, tail};
pub(crate) use rotate::rotate;

use crate::{home::ReplicaKey, spec::VersionKey};

/// Returns where all logs of a data directory are.
pub(crate) fn root(dir: &Path) -> PathBuf {
    dir.join("logs")
}

/// Returns the replica's current log file.
pub(crate) fn path(dir: &Path, key: &ReplicaKey) -> PathBuf {
    version_dir(dir, &key.version.service, &key.version.version).join(format!("{}.log", key.index))
}

/// Opens the replica's log for appending, as the child will have it.
pub(crate) fn open(path: &Path) -> io::Result<fs::File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::OpenOptions::new().append(true).create(true).open(path)
}

/// Removes the logs of the service's oldest versions but for `kept` of them; those that `is_used` stay and don't count.
pub(crate) fn prune(
    dir: &Path,
    service: &ServiceName,
    kept: usize,
    is_used: impl Fn(&VersionKey) -> bool,
) -> io::Result<()> {
    let mut unused: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(root(dir).join(service.as_str()))? {
        let entry = entry?;
        let Some(Ok(version)) = entry.file_name().to_str().map(str::parse::<VersionName>) else {
            continue;
        };
        if !is_used(&VersionKey {
            service: service.clone(),
            version,
        }) {
            unused.push((newest(&entry.path())?, entry.path()));
        }
    }
    unused.sort();
    let surplus = unused.len().saturating_sub(kept);
    unused
        .iter()
        .take(surplus)
        .try_for_each(|(_, path)| fs::remove_dir_all(path))
}

fn version_dir(dir: &Path, service: &ServiceName, version: &VersionName) -> PathBuf {
    root(dir).join(service.as_str()).join(version.as_str())
}

/// Returns when any file of the directory was last written.
fn newest(dir: &Path) -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(dir)? {
        newest = newest.max(entry?.metadata()?.modified()?);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests;
