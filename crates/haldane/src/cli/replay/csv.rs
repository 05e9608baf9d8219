//! Counts by time from a table of comma-separated values.
//!
//! The first line names the columns: `time`, `stable_requests`, `stable_errors`, `canary_requests` and `canary_errors` in any order, and
//! if wanted `weight` (the canary's share in force, such as `5%`) and, for latencies, `stable_le_100ms` and `canary_le_100ms` for each
//! bound: how many requests were answered within it, as Prometheus counts. What is above the largest bound is the rest of the
//! requests. A row tells what was counted since the row before, until its time.

mod columns;

use std::fmt;

use haldane_analysis::{Bucket, Sample, series::BUCKETS_MAX};
use jiff::{SignedDuration, Timestamp};

use self::columns::{Column, columns};
use super::past::Row;
use crate::cli::quantity::weight;

/// How many columns it may have: all counts, and the bounds of both versions.
const COLUMNS_MAX: usize = 2 * BOUNDS_MAX + 6;

/// The most rows of a table: more than eleven days of seconds.
const ROWS_MAX: usize = 1_000_000;

/// The longest time that a table may span.
const SPAN_MAX: SignedDuration = SignedDuration::from_hours(31 * 24);

/// How many mistakes are told.
const PROBLEMS_MAX: usize = 20;

/// A mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The line, from 1.
    pub(super) line: usize,
    /// The character in the line, from 1.
    pub(super) column: usize,
    /// What is wrong, and what was expected.
    pub(super) text: String,
}

/// A cell with its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell<'a> {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) text: &'a str,
}

/// One line's numbers.
#[derive(Clone, Debug, Default)]
struct Counts {
    at: Option<Timestamp>,
    weight: Option<haldane_core::Weight>,
    stable: Arm,
    canary: Arm,
}

/// One version's numbers.
#[derive(Clone, Debug, Default)]
struct Arm {
    requests: u64,
    errors: u64,
    /// By bound, cumulative.
    within: Vec<u64>,
}

/// Reads a table; with `is_cumulative` its numbers are totals since some beginning.
///
/// # Errors
/// With every mistake, up to a screenful.
pub(super) fn read(text: &str, is_cumulative: bool) -> Result<Vec<Row>, Vec<Problem>> {
    // Spreadsheets put a mark before a text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let Some((number, header)) = lines.next() else {
        let expected = format!(
            "the table is empty; expected a header such as {}",
            columns::USUAL
        );
        return Err(vec![Problem::at(1, 1, expected)]);
    };
    if count(header) > COLUMNS_MAX {
        let expected = format!("more than {COLUMNS_MAX} columns");
        return Err(vec![Problem::at(number, 1, expected)]);
    }
    let columns = columns(&cells(number, header)).map_err(|mut problems| {
        problems.truncate(PROBLEMS_MAX);
        problems
    })?;
    let mut problems = Vec::new();
    let mut table: Vec<(usize, Counts)> = Vec::new();
    for (number, line) in lines {
        if table.len() >= ROWS_MAX {
            problems.push(Problem::at(number, 1, format!("more than {ROWS_MAX} rows")));
            break;
        }
        let (found, expected) = (count(line), columns.list.len());
        if found != expected {
            let text = format!("{found} cells; expected {expected}, as in the header");
            problems.push(Problem::at(number, 1, text));
            continue;
        }
        let cells = cells(number, line);
        let mut counts = Counts::empty(columns.bounds_us.len());
        for (cell, column) in cells.iter().zip(&columns.list) {
            if let Err(text) = counts.set(*column, cell.text) {
                problems.push(Problem::at(cell.line, cell.column, text));
            }
        }
        let first = table.first().and_then(|(_, first)| first.at);
        let before = table.last().and_then(|(_, last)| last.at);
        let place = columns
            .list
            .iter()
            .zip(&cells)
            .find(|(column, _)| **column == Column::Time);
        let place = place.map_or(1, |(_, cell)| cell.column);
        if let Some(text) = misplaced(first, before, counts.at) {
            problems.push(Problem::at(number, place, text));
        }
        table.push((number, counts));
        if problems.len() >= PROBLEMS_MAX {
            break;
        }
    }
    if problems.is_empty() && table.len() < 2 {
        let text = format!("{} rows; expected at least two", table.len());
        problems.push(Problem::at(number, 1, text));
    }
    if !problems.is_empty() {
        problems.truncate(PROBLEMS_MAX);
        return Err(problems);
    }
    rows(table, &columns.bounds_us, is_cumulative)
}

/// Reads a time: RFC 3339, or seconds since 1970.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let expected = || {
        format!(
            "{text:?} is no time; expected one such as 2026-11-21T10:00:00Z, or seconds since 1970"
        )
    };
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 9 || !is_number(whole) || !is_number(part) {
        return Err(expected());
    }
    let seconds: i64 = whole.parse().map_err(|_| expected())?;
    let nanoseconds: i32 = format!("{part:0<9}").parse().map_err(|_| expected())?;
    Timestamp::new(seconds, nanoseconds).map_err(|_| expected())
}

/// Says what is wrong with a time after these.
fn misplaced(
    first: Option<Timestamp>,
    before: Option<Timestamp>,
    at: Option<Timestamp>,
) -> Option<String> {
    let at = at?;
    if let Some(before) = before.filter(|before| at <= *before) {
        return Some(format!(
            "{at} is not after the row before, {before}; expected times that rise"
        ));
    }
    let days = SPAN_MAX.as_hours() / 24;
    first
        .filter(|first| at.duration_since(*first) > SPAN_MAX)
        .map(|first| format!("{at} is more than {days} days after the first row, {first}"))
}

/// Returns how many cells a line has.
fn count(line: &str) -> usize {
    line.matches(',').count().saturating_add(1)
}

fn cells(number: usize, line: &str) -> Vec<Cell<'_>> {
    let mut column = 1_usize;
    let cells = line.split(',').map(|text| {
        let begin = column;
        column = column
            .saturating_add(text.chars().count())
            .saturating_add(1);
        let blank = text.chars().take_while(|it| it.is_whitespace()).count();
        let text = text.trim();
        // Spreadsheets quote what they like.
        let bare = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        Cell {
            line: number,
            column: begin.saturating_add(blank),
            text: bare.unwrap_or(text),
        }
    });
    cells.collect()
}

/// Returns what was counted between each two lines.
fn rows(
    table: Vec<(usize, Counts)>,
    bounds_us: &[u64],
    is_cumulative: bool,
) -> Result<Vec<Row>, Vec<Problem>> {
    let times: Vec<Timestamp> = table.iter().filter_map(|(_, counts)| counts.at).collect();
    // What the first row of an interval covers nobody says; as long as the second one, then.
    let first = match times.as_slice() {
        [one, two, ..] => one.checked_sub(two.duration_since(*one)).unwrap_or(*one),
        [] | [_] => Timestamp::UNIX_EPOCH,
    };
    let mut problems = Vec::new();
    let mut rows = Vec::new();
    let mut before: Option<Counts> = None;
    let mut from = first;
    for (number, counts) in table {
        let to = counts.at.unwrap_or(from);
        let known = if is_cumulative {
            before.replace(counts.clone())
        } else {
            Some(Counts::empty(bounds_us.len()))
        };
        if let Some(known) = known {
            let sample = |now: &Arm, known: &Arm, of: &str| {
                let increase = if is_cumulative {
                    now.since(known)
                } else {
                    now.clone()
                };
                increase
                    .sample(bounds_us)
                    .map_err(|text| Problem::at(number, 1, format!("{of}: {text}")))
            };
            let stable = sample(&counts.stable, &known.stable, "stable");
            let canary = sample(&counts.canary, &known.canary, "canary");
            match (stable, canary) {
                (Ok(stable), Ok(canary)) => rows.push(Row {
                    from,
                    to,
                    stable,
                    canary,
                    weight: counts.weight,
                    told: Vec::new(),
                }),
                (one, other) => problems.extend(one.err().into_iter().chain(other.err())),
            }
        }
        from = to;
    }
    if problems.is_empty() {
        return Ok(rows);
    }
    problems.truncate(PROBLEMS_MAX);
    Err(problems)
}

impl Counts {
    fn empty(bounds: usize) -> Self {
        let arm = Arm {
            within: vec![0; bounds],
            ..Arm::default()
        };
        Self {
            stable: arm.clone(),
            canary: arm,
            ..Self::default()
        }
    }

    fn set(&mut self, column: Column, text: &str) -> Result<(), String> {
        let number = || {
            text.parse::<u64>()
                .map_err(|_| format!("{text:?} is no count; expected a whole number"))
        };
        match column {
            Column::Time => self.at = Some(moment(text)?),
            Column::Weight => self.weight = Some(weight(text)?),
            Column::Requests(version) => version.of(self).requests = number()?,
            Column::Errors(version) => version.of(self).errors = number()?,
            Column::Within(version, place) => {
                if let Some(count) = version.of(self).within.get_mut(place) {
                    *count = number()?;
                }
            }
        }
        Ok(())
    }
}

impl columns::Version {
    const fn of(self, counts: &mut Counts) -> &mut Arm {
        match self {
            Self::Stable => &mut counts.stable,
            Self::Canary => &mut counts.canary,
        }
    }
}

impl Arm {
    /// Returns what was counted since `known`; counters that went back began again from nothing.
    fn since(&self, known: &Self) -> Self {
        let pairs = || self.within.iter().zip(&known.within);
        let is_reset = self.requests < known.requests
            || self.errors < known.errors
            || pairs().any(|(now, known)| now < known);
        if is_reset {
            return self.clone();
        }
        Self {
            requests: self.requests.saturating_sub(known.requests),
            errors: self.errors.saturating_sub(known.errors),
            within: pairs()
                .map(|(now, known)| now.saturating_sub(*known))
                .collect(),
        }
    }

    /// Returns the numbers as judges take them.
    fn sample(&self, bounds_us: &[u64]) -> Result<Sample, String> {
        let Self {
            requests, errors, ..
        } = *self;
        if errors > requests {
            return Err(format!(
                "{errors} errors among {requests} requests; expected at most as many"
            ));
        }
        let mut histogram = Vec::new();
        let mut below = 0;
        for (bound, within) in bounds_us.iter().zip(&self.within) {
            let count = within.checked_sub(below).ok_or_else(|| {
                format!("{within} requests within {bound} us, but {below} within less; expected counts that rise with the bound")
            })?;
            histogram.push((*bound, count));
            below = *within;
        }
        let above = requests.checked_sub(below).ok_or_else(|| {
            format!("{below} requests within the largest bound, but {requests} in all")
        })?;
        if !bounds_us.is_empty() {
            histogram.push((u64::MAX, above));
        }
        Ok(Sample {
            requests,
            failures: errors,
            latency: Bucket::list(histogram),
            ..Sample::default()
        })
    }
}

impl Problem {
    pub(super) const fn at(line: usize, column: usize, text: String) -> Self {
        Self { line, column, text }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.text)
    }
}

/// The most bounds of latencies.
const BOUNDS_MAX: usize = BUCKETS_MAX / 8;

#[cfg(test)]
mod tests;
