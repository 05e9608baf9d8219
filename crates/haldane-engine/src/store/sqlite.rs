//! The store in SQLite: one file, `haldane.db`, and its write-ahead log in the data directory.
//!
//! A commit is one transaction with one sync (`synchronous=FULL`), so it survives `kill -9` and a power cut. The file is held
//! exclusively while it is open: no other program can block a decision, or keep the log from being folded in by a long read.
//! Times are RFC 3339 text, lossless and readable by people; order is always by number, never by time, since clocks go backwards.
//!
//! When a write fails, the same connection stays in use, on purpose: it knows that the failed transaction is void, whereas a new
//! one would read the log from disk and might find that transaction whole. It needs no repair; it works again when the disk does.
//! (For the same reason a commit that failed may be found at the next start, if its sync failed and the process died thereupon.)
//!
//! To put a backup in place of the file, remove `haldane.db-wal` too: it belongs to the file that it was written for.
//!
//! **Invariant:** a file that is damaged, foreign or newer than this release is refused and not changed.

mod prune;
mod rows;
mod schema;

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, OpenOptions},
    io,
    ops::RangeInclusive,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use haldane_core::{RolloutId, ServiceName};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, config::DbConfig};

pub use prune::{
    BANDS_MAX, COMMANDS_MAX, ENDED_ROLLOUTS_MAX, ENTRIES_MAX, FIRST_ENTRIES_KEPT, RECORDINGS_MAX,
    VERSIONS_MAX,
};
pub use rows::BODY_BYTES_MAX;

use crate::store::{
    BandRow, CommandRow, EntryRow, RecordingRow, RolloutRow, ServiceRow, Store, StoreError,
    VersionRow, Write, lock::DirectoryLock,
};

/// The name of the store's file in the data directory.
pub const DATABASE_FILE: &str = "haldane.db";

/// The log is folded into the file after so many pages of 4 KiB: 4 MiB, a few milliseconds of work, once in hundreds of commits.
const LOG_PAGES: u32 = 1_000;

/// What the log file may keep on disk after it was folded in; only a commit of many rows makes it longer than [`LOG_PAGES`].
const LOG_BYTES_KEPT: u32 = 16 * 1024 * 1024;

/// How long to wait for a program that has the file open, such as a backup; decisions wait for it, so it is short.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// More than there are distinct statements, so that each is compiled once.
const STATEMENTS_MAX: usize = 32;

/// The store of one data directory.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    files: Files,
    // The last field, hence dropped last: the file is closed before another process may open it.
    _lock: DirectoryLock,
}

/// What was found of the store's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integrity {
    /// What is wrong, one sentence each; empty when nothing is.
    pub problems: Vec<String>,
    /// The store's file.
    pub path: PathBuf,
    /// The schema version.
    pub schema: u32,
    /// The size of the file.
    pub database_bytes: u64,
    /// The part of the file that is free to be used again.
    pub free_bytes: u64,
    /// The size of the write-ahead log.
    pub log_bytes: u64,
}

/// Which files the connection has open, by device and inode, to compare with those that a later process would find.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    database: (u64, u64),
    log: (u64, u64),
}

impl SqliteStore {
    /// Opens the store of the data directory that `lock` holds; makes it when there is none, and brings an older one up to date.
    ///
    /// # Errors
    /// [`StoreError::TooNew`], [`StoreError::Damaged`], or [`StoreError::Io`], with the files unchanged;
    /// [`StoreError::InUse`] when another program has the file open.
    pub fn open(dir: &Path, lock: &DirectoryLock) -> Result<Self, StoreError> {
        lock.check_covers(dir)?;
        let path = dir.join(DATABASE_FILE);
        create_if_missing(&path)?;
        let mut connection = connect(&path)?;
        check_writable(&connection, &path)?;
        // Until the file is known to be ours and sound, closing it must not fold the log into it.
        let checked = (|| {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))?;
            schema::version(&connection)
        })();
        let version = checked.map_err(|error| failed_open(&path, error))?;
        schema::check(&path, version)?;
        check_sound(&connection, &path)?;
        set_up(&connection).map_err(|error| failed("open", &path, error))?;
        schema::migrate(&mut connection, &path, schema::MIGRATIONS)?;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(|error| failed("open", &path, error))?;
        let files = Files::named(&path)?;
        Ok(Self {
            connection,
            path,
            files,
            _lock: lock.clone(),
        })
    }

    /// Checks the whole file and measures it; takes time in proportion to its size.
    ///
    /// # Errors
    /// When the check could not be made; what it finds is in the answer.
    pub fn integrity(&mut self) -> Result<Integrity, StoreError> {
        let mut problems = match self.check_in_place() {
            Ok(()) => Vec::new(),
            Err(error) => vec![error.to_string()],
        };
        match quick_check(&self.connection) {
            Ok(found) => problems.extend(found),
            Err(error) if is_damage(&error) => problems.push(error.to_string()),
            Err(error) => return Err(failed("read", &self.path, error)),
        }
        let number = |name: &str| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, u32>(0))
                .map_err(|error| failed("read", &self.path, error))
        };
        let page_bytes = u64::from(number("page_size")?);
        Ok(Integrity {
            problems,
            path: self.path.clone(),
            schema: number("user_version")?,
            database_bytes: u64::from(number("page_count")?).saturating_mul(page_bytes),
            free_bytes: u64::from(number("freelist_count")?).saturating_mul(page_bytes),
            log_bytes: fs::metadata(log_path(&self.path)).map_or(0, |metadata| metadata.len()),
        })
    }

    /// Checks that what is written now will be found at the next start.
    ///
    /// Files that were deleted or replaced take writes as ever, and lose them when they are closed.
    fn check_in_place(&self) -> Result<(), StoreError> {
        match Files::named(&self.path) {
            Ok(files) if files == self.files => Ok(()),
            Ok(_) | Err(_) => Err(StoreError::Damaged {
                path: self.path.display().to_string(),
                detail: "the file or its log was deleted or replaced while it was open; put it back, or restart"
                    .to_owned(),
            }),
        }
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        query(&self.connection).map_err(|error| failed("read", &self.path, error))
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.check_in_place()?;
        write_all(&mut self.connection, writes).map_err(|error| failed("write", &self.path, error))
    }

    fn services(&mut self) -> Result<Vec<ServiceRow>, StoreError> {
        self.read(rows::services)
    }

    fn live_rollouts(&mut self) -> Result<Vec<RolloutRow>, StoreError> {
        self.read(rows::live_rollouts)
    }

    fn rollouts(
        &mut self,
        service: &ServiceName,
        limit: u32,
    ) -> Result<Vec<RolloutRow>, StoreError> {
        self.read(|connection| rows::rollouts(connection, service, limit))
    }

    fn entries(&mut self, rollout: &RolloutId, limit: u32) -> Result<Vec<EntryRow>, StoreError> {
        self.read(|connection| rows::entries(connection, rollout, limit))
    }

    fn recording(
        &mut self,
        rollout: &RolloutId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<RecordingRow>, StoreError> {
        self.read(|connection| rows::recording(connection, rollout, from, limit))
    }

    fn commands(
        &mut self,
        service: &ServiceName,
        limit: u32,
    ) -> Result<Vec<CommandRow>, StoreError> {
        self.read(|connection| rows::commands(connection, service, limit))
    }

    fn versions(&mut self, service: &ServiceName) -> Result<Vec<VersionRow>, StoreError> {
        self.read(|connection| rows::versions(connection, service))
    }

    fn bands(
        &mut self,
        service: &ServiceName,
        metric: &str,
        hours: RangeInclusive<u8>,
    ) -> Result<Vec<BandRow>, StoreError> {
        self.read(|connection| rows::bands(connection, service, metric, &hours))
    }
}

impl Files {
    fn named(path: &Path) -> Result<Self, StoreError> {
        let identity = |path: &Path| {
            fs::metadata(path)
                .map(|metadata| (metadata.dev(), metadata.ino()))
                .map_err(|error| StoreError::at("open", path, &error))
        };
        Ok(Self {
            database: identity(path)?,
            log: identity(&log_path(path))?,
        })
    }
}

fn write_all(connection: &mut Connection, writes: &[Write]) -> rusqlite::Result<()> {
    // A transaction that is dropped is rolled back.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for write in writes {
        rows::apply(&transaction, write)?;
    }
    for write in writes {
        prune::after(&transaction, write)?;
    }
    transaction.commit()
}

/// Makes a store under another name and then names it, so that a file named [`DATABASE_FILE`] is whole, or was damaged.
fn create_if_missing(path: &Path) -> Result<(), StoreError> {
    let is_there = |path: &Path| {
        path.try_exists()
            .map_err(|error| StoreError::at("open", path, &error))
    };
    if is_there(path)? {
        return Ok(());
    }
    let log = log_path(path);
    if is_there(&log)? {
        return Err(StoreError::Damaged {
            path: path.display().to_string(),
            detail: format!(
                "it is missing, yet its log {} is there; put it back, or remove the log to begin anew",
                log.display()
            ),
        });
    }
    let new = path.with_extension("db.new");
    let failed_file = |error: io::Error| StoreError::at("open", &new, &error);
    create_private(&new).map_err(failed_file)?;
    let mut connection = connect(&new)?;
    schema::create(&mut connection).map_err(|error| failed("open", &new, error))?;
    connection
        .close()
        .map_err(|(_, error)| failed("open", &new, error))?;
    rename_durably(&new, path).map_err(failed_file)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(connection)
    });
    opened.map_err(|error| failed_open(path, error))
}

/// Sets what SQLite doesn't keep in the file, and the kind of log.
fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))
}

/// Checks the whole file; it is read once at start, which is cheap against starting on a store that lies.
fn check_sound(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found = cut_off(connection, path)?;
    let mut problems = quick_check(connection).map_err(|error| failed_open(path, error))?;
    problems.extend(found);
    match problems.into_iter().next() {
        None => Ok(()),
        Some(detail) => Err(StoreError::Damaged {
            path: path.display().to_string(),
            detail,
        }),
    }
}

/// Returns a finding if the file ends within a page, which SQLite fills up with zeros without a word.
///
/// While the log has content, the rest of the page is there: a crash may have come between the two.
fn cut_off(connection: &Connection, path: &Path) -> Result<Option<String>, StoreError> {
    let page_bytes: u32 = connection
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .map_err(|error| failed_open(path, error))?;
    let bytes = fs::metadata(path)
        .map_err(|error| StoreError::at("open", path, &error))?
        .len();
    let has_log = fs::metadata(log_path(path)).is_ok_and(|metadata| metadata.len() > 0);
    let is_cut_off = !has_log && !bytes.is_multiple_of(u64::from(page_bytes));
    Ok(is_cut_off.then(|| format!("it ends within a page, after {bytes} bytes")))
}

/// SQLite opens a file that it may not write for reading, and fails later with less clear words.
fn check_writable(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    match connection.is_readonly("main") {
        Ok(false) => Ok(()),
        Ok(true) => Err(StoreError::at(
            "open",
            path,
            &io::Error::from(io::ErrorKind::PermissionDenied),
        )),
        Err(error) => Err(failed("open", path, error)),
    }
}

/// Returns what SQLite finds wrong, the first hundred findings at most (its own limit).
fn quick_check(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA quick_check")?;
    let found = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut found = found.collect::<rusqlite::Result<Vec<_>>>()?;
    found.retain(|finding| finding != "ok");
    Ok(found)
}

fn log_path(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

/// Makes an empty file for its owner only, in place of what a crash may have left.
fn create_private(path: &Path) -> io::Result<()> {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    remove_if_there(path)?;
    remove_if_there(Path::new(&journal))?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Syncs a file and gives it its name, so that a crash leaves all of it under that name, or none.
fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    to.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Is the store damaged, rather than unreachable? Content that this code can't have written counts.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    ) || matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

fn failed(doing: &'static str, path: &Path, error: rusqlite::Error) -> StoreError {
    if is_damage(&error) {
        return StoreError::Damaged {
            path: path.display().to_string(),
            detail: error.to_string(),
        };
    }
    StoreError::Io {
        doing,
        source: error.into(),
    }
}

/// As [`failed`], for the first access: only then can another program be in the way.
fn failed_open(path: &Path, error: rusqlite::Error) -> StoreError {
    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) {
        let directory = path.parent().unwrap_or(path);
        return StoreError::InUse {
            directory: directory.display().to_string(),
            pid: format!("(unknown: it has {DATABASE_FILE} open, but isn't a daemon)"),
        };
    }
    failed("open", path, error)
}
