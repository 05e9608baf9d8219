//! Rows to statements and back.
//!
//! **Invariant:** a row is read back as it was written, to the nanosecond, or is reported as damage.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use haldane_core::{RolloutId, ServiceName};
use rusqlite::{Connection, Params, Row, params, types::Type};

use crate::store::{
    BandRow, CommandRow, EntryRow, RecordingRow, RolloutRow, ServiceRow, VersionRow, Write,
};

/// The longest body of a row, in bytes: a hundred times what a decision with its evidence takes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Why a row cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("a row's body has {bytes} bytes, more than the {BODY_BYTES_MAX} that are kept")]
struct BodyTooLong {
    bytes: usize,
}

pub(super) fn apply(connection: &Connection, write: &Write) -> rusqlite::Result<()> {
    match write {
        Write::PutService(row) => put_service(connection, row),
        Write::RemoveService(name) => remove_service(connection, name),
        Write::PutRollout(row) => put_rollout(connection, row),
        Write::AddEntry(row) => add_entry(connection, row),
        Write::PutRecording(row) => put_recording(connection, row),
        Write::AddCommand(row) => add_command(connection, row),
        Write::PutVersion(row) => put_version(connection, row),
        Write::PutBand(row) => put_band(connection, row),
    }
}

pub(super) fn services(connection: &Connection) -> rusqlite::Result<Vec<ServiceRow>> {
    let sql = "SELECT name, body FROM service ORDER BY name";
    select(connection, sql, [], |row| {
        Ok(ServiceRow {
            name: parsed(row, 0)?,
            body: row.get(1)?,
        })
    })
}

pub(super) fn live_rollouts(connection: &Connection) -> rusqlite::Result<Vec<RolloutRow>> {
    let sql = "SELECT id, service, number, started_at, ended_at, body FROM rollout
        WHERE ended_at IS NULL ORDER BY sequence";
    select(connection, sql, [], rollout)
}

pub(super) fn rollouts(
    connection: &Connection,
    service: &ServiceName,
    limit: u32,
) -> rusqlite::Result<Vec<RolloutRow>> {
    let sql = "SELECT id, service, number, started_at, ended_at, body FROM rollout
        WHERE service = ?1 ORDER BY number DESC LIMIT ?2";
    select(connection, sql, params![service.as_str(), limit], rollout)
}

pub(super) fn entries(
    connection: &Connection,
    rollout: &RolloutId,
    limit: u32,
) -> rusqlite::Result<Vec<EntryRow>> {
    let sql = "SELECT rollout, number, at, body FROM entry
        WHERE rollout = ?1 ORDER BY number DESC LIMIT ?2";
    let mut entries = select(connection, sql, params![rollout.as_str(), limit], |row| {
        Ok(EntryRow {
            rollout: parsed(row, 0)?,
            number: count(row, 1)?,
            at: parsed(row, 2)?,
            body: row.get(3)?,
        })
    })?;
    entries.reverse();
    Ok(entries)
}

pub(super) fn recording(
    connection: &Connection,
    rollout: &RolloutId,
    from: u64,
    limit: u32,
) -> rusqlite::Result<Vec<RecordingRow>> {
    let sql = "SELECT rollout, number, body FROM recording
        WHERE rollout = ?1 AND number >= ?2 ORDER BY number LIMIT ?3";
    let values = params![rollout.as_str(), integer(from)?, limit];
    select(connection, sql, values, |row| {
        Ok(RecordingRow {
            rollout: parsed(row, 0)?,
            number: count(row, 1)?,
            body: row.get(2)?,
        })
    })
}

pub(super) fn commands(
    connection: &Connection,
    service: &ServiceName,
    limit: u32,
) -> rusqlite::Result<Vec<CommandRow>> {
    let sql = "SELECT service, at, body FROM command
        WHERE service = ?1 ORDER BY sequence DESC LIMIT ?2";
    select(connection, sql, params![service.as_str(), limit], |row| {
        Ok(CommandRow {
            service: parsed(row, 0)?,
            at: parsed(row, 1)?,
            body: row.get(2)?,
        })
    })
}

pub(super) fn versions(
    connection: &Connection,
    service: &ServiceName,
) -> rusqlite::Result<Vec<VersionRow>> {
    let sql = "SELECT service, version, used_at, body FROM version
        WHERE service = ?1 ORDER BY sequence DESC";
    select(connection, sql, params![service.as_str()], |row| {
        Ok(VersionRow {
            service: parsed(row, 0)?,
            version: parsed(row, 1)?,
            used_at: parsed(row, 2)?,
            body: row.get(3)?,
        })
    })
}

pub(super) fn bands(
    connection: &Connection,
    service: &ServiceName,
    metric: &str,
    hours: &RangeInclusive<u8>,
) -> rusqlite::Result<Vec<BandRow>> {
    let sql = "SELECT service, metric, hour, body FROM band
        WHERE service = ?1 AND metric = ?2 AND hour BETWEEN ?3 AND ?4 ORDER BY hour";
    let values = params![service.as_str(), metric, hours.start(), hours.end()];
    select(connection, sql, values, |row| {
        Ok(BandRow {
            service: parsed(row, 0)?,
            metric: row.get(1)?,
            hour: row.get(2)?,
            body: row.get(3)?,
        })
    })
}

fn put_service(connection: &Connection, row: &ServiceRow) -> rusqlite::Result<()> {
    let sql = "INSERT INTO service (name, body) VALUES (?1, ?2)
        ON CONFLICT (name) DO UPDATE SET body = excluded.body";
    execute(
        connection,
        sql,
        params![row.name.as_str(), body(&row.body)?],
    )
}

fn remove_service(connection: &Connection, name: &ServiceName) -> rusqlite::Result<()> {
    let sql = "DELETE FROM service WHERE name = ?1";
    execute(connection, sql, params![name.as_str()])
}

fn put_rollout(connection: &Connection, row: &RolloutRow) -> rusqlite::Result<()> {
    let sql = "INSERT INTO rollout (id, service, number, started_at, ended_at, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (id) DO UPDATE SET service = excluded.service, number = excluded.number,
            started_at = excluded.started_at, ended_at = excluded.ended_at, body = excluded.body";
    let values = params![
        row.id.as_str(),
        row.service.as_str(),
        integer(row.number)?,
        row.started_at.to_string(),
        row.ended_at.map(|at| at.to_string()),
        body(&row.body)?,
    ];
    execute(connection, sql, values)
}

fn add_entry(connection: &Connection, row: &EntryRow) -> rusqlite::Result<()> {
    let sql = "INSERT INTO entry (rollout, number, at, body) VALUES (?1, ?2, ?3, ?4)";
    let values = params![
        row.rollout.as_str(),
        integer(row.number)?,
        row.at.to_string(),
        body(&row.body)?,
    ];
    execute(connection, sql, values)
}

/// A row that is there already is of a commit that was taken for failed; this one goes on from before it.
fn put_recording(connection: &Connection, row: &RecordingRow) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO recording (rollout, number, body) VALUES (?1, ?2, ?3)";
    let values = params![row.rollout.as_str(), integer(row.number)?, body(&row.body)?,];
    execute(connection, sql, values)
}

fn add_command(connection: &Connection, row: &CommandRow) -> rusqlite::Result<()> {
    let sql = "INSERT INTO command (service, at, body) VALUES (?1, ?2, ?3)";
    let values = params![row.service.as_str(), row.at.to_string(), body(&row.body)?];
    execute(connection, sql, values)
}

/// Replaces the whole row, so that it gets a new sequence; nothing refers to it.
fn put_version(connection: &Connection, row: &VersionRow) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO version (service, version, used_at, body)
        VALUES (?1, ?2, ?3, ?4)";
    let values = params![
        row.service.as_str(),
        row.version.as_str(),
        row.used_at.to_string(),
        body(&row.body)?,
    ];
    execute(connection, sql, values)
}

/// Replaces the whole row, so that it gets a new sequence; nothing refers to it.
fn put_band(connection: &Connection, row: &BandRow) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO band (service, metric, hour, body) VALUES (?1, ?2, ?3, ?4)";
    let values = params![row.service.as_str(), row.metric, row.hour, body(&row.body)?,];
    execute(connection, sql, values)
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn select<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection
        .prepare_cached(sql)?
        .query_map(values, read)?
        .collect()
}

fn rollout(row: &Row<'_>) -> rusqlite::Result<RolloutRow> {
    let has_ended = row.get_ref(4)?.data_type() != Type::Null;
    Ok(RolloutRow {
        id: parsed(row, 0)?,
        service: parsed(row, 1)?,
        number: count(row, 2)?,
        started_at: parsed(row, 3)?,
        ended_at: has_ended.then(|| parsed(row, 4)).transpose()?,
        body: row.get(5)?,
    })
}

fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: Display>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.to_string().into())
    })
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    number
        .try_into()
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn integer(number: u64) -> rusqlite::Result<i64> {
    number
        .try_into()
        .map_err(|error: std::num::TryFromIntError| {
            rusqlite::Error::ToSqlConversionFailure(error.into())
        })
}

fn body(text: &str) -> rusqlite::Result<&str> {
    if text.len() <= BODY_BYTES_MAX {
        return Ok(text);
    }
    let error = BodyTooLong { bytes: text.len() };
    Err(rusqlite::Error::ToSqlConversionFailure(error.into()))
}
