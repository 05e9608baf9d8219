//! The lock on a data directory: one daemon each.
//!
//! The lock is the kernel's (`flock`), so that it ends with its holder however that ends, `kill -9` included; what the file says
//! is for people. The file stays when the lock ends, since removing it would let two processes lock two files of one name.
//!
//! **Invariant:** while a [`DirectoryLock`] or a copy of it lives, no other process has one for the same directory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::store::StoreError;

/// The name of the lock file in the data directory.
pub const LOCK_FILE: &str = "haldane.lock";

/// How often a lock is tried before another process counts as its holder.
const LOCK_TRIES: u32 = 100;

/// The time between two tries: a fork takes microseconds to its exec, and milliseconds on a busy machine.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The most that is read of a lock file: a process id and a start time are far shorter.
const LOCK_FILE_BYTES_MAX: u64 = 256;

/// A data directory, held against other processes; copies share the lock, and the last one to go ends it.
#[derive(Clone, Debug)]
pub struct DirectoryLock {
    file: Arc<File>,
    directory: PathBuf,
}

impl DirectoryLock {
    /// Locks a data directory, which is made when it is missing, readable by its owner only.
    ///
    /// The lock file then holds this process's id and, in the next line, its start time in clock ticks after boot
    /// (as in `/proc/<pid>/stat`), where the system tells it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process holds the directory, [`StoreError::NotADirectory`] when it is none,
    /// [`StoreError::Io`] when the lock file can't be written.
    pub fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(LOCK_FILE);
        let failed = |error: io::Error| StoreError::at("lock", &path, &error);
        if directory.metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(StoreError::NotADirectory {
                path: directory.display().to_string(),
            });
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match try_lock(&file) {
            Ok(()) => {}
            Err(error) if error == Errno::WOULDBLOCK => {
                return Err(StoreError::InUse {
                    directory: directory.display().to_string(),
                    pid: holder(&mut file),
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        sign(&mut file).map_err(failed)?;
        let lock = Self {
            file: Arc::new(file),
            directory: directory.to_owned(),
        };
        lock.check_covers(directory)?;
        Ok(lock)
    }

    /// Returns the directory that is held.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Checks that this is the lock of `directory`, and that its file was not replaced by another that a second process could lock.
    pub(super) fn check_covers(&self, directory: &Path) -> Result<(), StoreError> {
        let path = directory.join(LOCK_FILE);
        let failed = |error: io::Error| StoreError::at("lock", &path, &error);
        let (held, named) = (
            self.file.metadata().map_err(failed)?,
            fs::metadata(&path).map_err(failed)?,
        );
        if (held.dev(), held.ino()) == (named.dev(), named.ino()) {
            return Ok(());
        }
        Err(failed(io::Error::other(
            "this is not the file that was locked",
        )))
    }
}

/// Writes who holds the lock, for the message that a second process gives.
fn sign(file: &mut File) -> io::Result<()> {
    let started = started_at_ticks().map_or_else(String::new, |ticks| format!("{ticks}\n"));
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{}\n{started}", process::id()).as_bytes())
}

/// Returns the id that the holder of the lock wrote.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(LOCK_FILE_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) => return format!("(unknown: {error})"),
    }
    let pid = text.lines().next().unwrap_or_default();
    if pid.is_empty() || pid.contains(|c: char| !c.is_ascii_digit()) {
        return "(unknown: it is just starting)".to_owned();
    }
    pid.to_owned()
}

/// Returns when this process started, where `/proc` is: with the id it names a process for good, since ids are used again.
fn started_at_ticks() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything; the start time is the 22nd.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Locks the file, waiting a moment for a holder that was killed: its children hold the lock until they have executed their program.
fn try_lock(file: &File) -> Result<(), Errno> {
    for _ in 1..LOCK_TRIES {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_RETRY),
            other => return other,
        }
    }
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_last_copy_of_the_first_goes() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::take(directory.path()).unwrap();
        let copy = first.clone();
        drop(first);
        let refusal = DirectoryLock::take(directory.path()).unwrap_err();
        let StoreError::InUse { pid, .. } = &refusal else {
            panic!("{refusal:?}");
        };
        assert_eq!(*pid, process::id().to_string());
        drop(copy);
        DirectoryLock::take(directory.path()).unwrap();
    }

    #[test]
    fn the_file_names_process_and_start() {
        let directory = tempfile::tempdir().unwrap();
        // What a longer-lived predecessor left is longer than what we write.
        fs::write(directory.path().join(LOCK_FILE), "9".repeat(99)).unwrap();
        let lock = DirectoryLock::take(&directory.path().join(".")).unwrap();
        let text = fs::read_to_string(directory.path().join(LOCK_FILE)).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(process::id().to_string().as_str()));
        let ticks = lines.next().map(|line| line.parse::<u64>().unwrap());
        assert_eq!(ticks, started_at_ticks());
        assert_eq!(ticks.is_some(), Path::new("/proc/self/stat").exists());
        assert_eq!(lines.next(), None);
        assert_eq!(lock.directory(), directory.path().join("."));
    }

    #[test]
    fn a_missing_directory_is_made_for_its_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/b");
        DirectoryLock::take(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_is_no_data_directory() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        fs::write(&path, "mine").unwrap();
        let refusal = DirectoryLock::take(&path).unwrap_err();
        let expected = format!("the data directory {} is not a directory", path.display());
        assert_eq!(refusal.to_string(), expected);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_lock_covers_its_own_directory_and_its_own_file_only() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let lock = DirectoryLock::take(one.path()).unwrap();
        let _other = DirectoryLock::take(other.path()).unwrap();
        lock.check_covers(one.path()).unwrap();
        assert!(lock.check_covers(other.path()).is_err());
        fs::remove_file(one.path().join(LOCK_FILE)).unwrap();
        assert!(lock.check_covers(one.path()).is_err());
        fs::write(one.path().join(LOCK_FILE), "").unwrap();
        assert!(lock.check_covers(one.path()).is_err());
    }
}
