//! The tables, and how an older store becomes one of today.
//!
//! The schema version is `user_version` in the file's header. Each step from one version to the next is one transaction that sets
//! the new version too, so a crash leaves a store of some version, never between two, and the next start goes on from there.
//!
//! **Invariant:** a published step never changes; a new version is a new step. Before the first step on a store in use, a copy of
//! it is beside it, as `haldane.db.v<version>.bak`, and stays there.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, backup::Backup};

use super::{connect, create_private, failed, rename_durably};
use crate::store::StoreError;

/// What marks a file as ours, in its header: `Hldn`.
const APPLICATION_ID: i32 = 0x486c_646e;

/// Every step, in order.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        to: 1,
        sql: include_str!("schema/1.sql"),
    },
    Migration {
        to: 2,
        sql: include_str!("schema/2.sql"),
    },
    Migration {
        to: 3,
        sql: include_str!("schema/3.sql"),
    },
];

/// The pages that are copied at a time for a backup; all are, in one go, since nobody else may write.
const ALL_PAGES: i32 = -1;

/// A step to a schema version from the one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Migration {
    /// The version it leads to.
    pub(super) to: u32,
    /// What it does.
    pub(super) sql: &'static str,
}

/// Whose file it is, and of which schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    application: i32,
    schema: u32,
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<Version> {
    Ok(Version {
        application: connection.pragma_query_value(None, "application_id", |row| row.get(0))?,
        schema: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
    })
}

/// Refuses a file that is not ours, or newer.
pub(super) fn check(path: &Path, version: Version) -> Result<(), StoreError> {
    let known = MIGRATIONS.last().map_or(0, |migration| migration.to);
    if version.application != APPLICATION_ID || version.schema == 0 {
        return Err(StoreError::Damaged {
            path: path.display().to_string(),
            detail: "it is empty, or another program's database".to_owned(),
        });
    }
    if version.schema > known {
        return Err(StoreError::TooNew {
            path: path.display().to_string(),
            found: version.schema,
            known,
        });
    }
    Ok(())
}

/// Makes the tables in a new file.
pub(super) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    apply(connection, MIGRATIONS)
}

/// Brings an older store up to date, after a copy of it was made.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[Migration],
) -> Result<(), StoreError> {
    let found = version(connection).map_err(|error| failed("migrate", path, error))?;
    if migrations
        .iter()
        .all(|migration| migration.to <= found.schema)
    {
        return Ok(());
    }
    back_up(connection, path, found.schema)?;
    apply(connection, migrations).map_err(|error| failed("migrate", path, error))
}

fn apply(connection: &mut Connection, migrations: &[Migration]) -> rusqlite::Result<()> {
    let found = version(connection)?.schema;
    for migration in migrations.iter().filter(|migration| migration.to > found) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration.sql)?;
        transaction.pragma_update(None, "user_version", migration.to)?;
        transaction.commit()?;
        tracing::info!(schema = migration.to, "Store brought to a schema");
    }
    Ok(())
}

/// Copies the store beside itself; a copy of the same version from an earlier attempt is replaced, once the new one is whole.
fn back_up(connection: &Connection, path: &Path, schema: u32) -> Result<(), StoreError> {
    let copy = path.with_extension(format!("db.v{schema}.bak"));
    let new = path.with_extension(format!("db.v{schema}.bak.new"));
    let failed_file = |error: std::io::Error| StoreError::at("migrate", &new, &error);
    create_private(&new).map_err(failed_file)?;
    let mut target = connect(&new)?;
    let copied = Backup::new(connection, &mut target).and_then(|backup| backup.step(ALL_PAGES));
    copied.map_err(|error| failed("migrate", path, error))?;
    target
        .close()
        .map_err(|(_, error)| failed("migrate", path, error))?;
    rename_durably(&new, &copy).map_err(failed_file)?;
    tracing::info!(copy = %copy.display(), "Store copied before it is changed");
    Ok(())
}
