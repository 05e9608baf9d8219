//! How much history is kept, and the removal of the rest in the commit that exceeds it.
//!
//! What a person asks about is why the last rollouts went as they did, how a long one began and how it stands now, and what could
//! be gone back to. With these bounds a service in daily use holds some tens of megabytes, and one that runs wild can't fill a disk.
//!
//! **Invariant:** a live rollout is never removed, and each removal is a search in an index, whatever the store's size.

use haldane_core::{RolloutId, ServiceName};
use rusqlite::{Connection, params};

use crate::store::Write;

/// The ended rollouts that are kept per service, the ones with the highest numbers: most of a year at one per working day.
pub const ENDED_ROLLOUTS_MAX: u32 = 200;

/// The entries that are kept per rollout: its first [`FIRST_ENTRIES_KEPT`] and its newest, almost three hours at one per second.
pub const ENTRIES_MAX: u32 = 10_000;

/// The entries at a rollout's beginning that are kept for good: who started it, on which plan, and how it got under way.
pub const FIRST_ENTRIES_KEPT: u32 = 100;

/// The ended rollouts per service whose recordings are kept, the ones with the highest numbers. Recordings are the largest part of
/// a store: this many of the largest fill 160 MiB, usual ones a hundredth of that.
pub const RECORDINGS_MAX: u32 = 10;

/// The commands that are kept per service, the newest.
pub const COMMANDS_MAX: u32 = 1_000;

/// The versions that are kept per service, the ones last put. Those that serve or are on trial are among them as long as each is
/// put when it is used: the store can't see what a body refers to.
pub const VERSIONS_MAX: u32 = 100;

/// The hours of metrics that are kept per service, the ones in which something was learned last: a week of more metrics than a plan can
/// have, and of some that it had before.
pub const BANDS_MAX: u32 = 32 * 168;

/// Removes what one write made too much.
pub(super) fn after(connection: &Connection, write: &Write) -> rusqlite::Result<()> {
    match write {
        Write::PutService(_) | Write::RemoveService(_) => Ok(()),
        Write::PutRollout(row) if row.ended_at.is_none() => Ok(()),
        Write::PutRollout(row) => {
            rollouts(connection, &row.service)?;
            recordings(connection, &row.service)
        }
        Write::AddEntry(row) => entries(connection, &row.rollout),
        Write::PutRecording(_) => Ok(()),
        Write::AddCommand(row) => commands(connection, &row.service),
        Write::PutVersion(row) => versions(connection, &row.service),
        Write::PutBand(row) => bands(connection, &row.service),
    }
}

fn rollouts(connection: &Connection, service: &ServiceName) -> rusqlite::Result<()> {
    let sql = "DELETE FROM rollout WHERE service = ?1 AND ended_at IS NOT NULL AND number <= (
        SELECT number FROM rollout WHERE service = ?1 AND ended_at IS NOT NULL
        ORDER BY number DESC LIMIT 1 OFFSET ?2)";
    oldest(connection, sql, service, ENDED_ROLLOUTS_MAX)
}

fn recordings(connection: &Connection, service: &ServiceName) -> rusqlite::Result<()> {
    let sql = "DELETE FROM recording WHERE rollout IN (
        SELECT id FROM rollout WHERE service = ?1 AND ended_at IS NOT NULL
        ORDER BY number DESC LIMIT -1 OFFSET ?2)";
    oldest(connection, sql, service, RECORDINGS_MAX)
}

/// Entries have numbers, so the range to remove follows from the last number, without counting.
fn entries(connection: &Connection, rollout: &RolloutId) -> rusqlite::Result<()> {
    let sql = "DELETE FROM entry WHERE rollout = ?1 AND number >= ?2
        AND number <= (SELECT max(number) FROM entry WHERE rollout = ?1) - ?3";
    let newest_kept = ENTRIES_MAX.saturating_sub(FIRST_ENTRIES_KEPT);
    connection.prepare_cached(sql)?.execute(params![
        rollout.as_str(),
        FIRST_ENTRIES_KEPT,
        newest_kept
    ])?;
    Ok(())
}

fn commands(connection: &Connection, service: &ServiceName) -> rusqlite::Result<()> {
    let sql = "DELETE FROM command WHERE service = ?1 AND sequence <= (
        SELECT sequence FROM command WHERE service = ?1
        ORDER BY sequence DESC LIMIT 1 OFFSET ?2)";
    oldest(connection, sql, service, COMMANDS_MAX)
}

fn versions(connection: &Connection, service: &ServiceName) -> rusqlite::Result<()> {
    let sql = "DELETE FROM version WHERE service = ?1 AND sequence <= (
        SELECT sequence FROM version WHERE service = ?1
        ORDER BY sequence DESC LIMIT 1 OFFSET ?2)";
    oldest(connection, sql, service, VERSIONS_MAX)
}

fn bands(connection: &Connection, service: &ServiceName) -> rusqlite::Result<()> {
    let sql = "DELETE FROM band WHERE service = ?1 AND sequence <= (
        SELECT sequence FROM band WHERE service = ?1
        ORDER BY sequence DESC LIMIT 1 OFFSET ?2)";
    oldest(connection, sql, service, BANDS_MAX)
}

fn oldest(
    connection: &Connection,
    sql: &str,
    service: &ServiceName,
    kept: u32,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(sql)?
        .execute(params![service.as_str(), kept])?;
    Ok(())
}
