//! The header of a table.

use std::time::Duration;

use haldane_api::text::parse_duration;

use super::{BOUNDS_MAX, Cell, Problem};

/// The columns that must be there.
pub(super) const USUAL: &str = "time,stable_requests,stable_errors,canary_requests,canary_errors";

/// A version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Stable,
    Canary,
}

/// What a column tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Time,
    Weight,
    Requests(Version),
    Errors(Version),
    /// Requests within the bound of this place.
    Within(Version, usize),
}

/// All columns, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) list: Vec<Column>,
    /// The bounds of latencies, ascending.
    pub(super) bounds_us: Vec<u64>,
}

/// A column before the bounds of all are known.
enum Name {
    Known(Column),
    Within(Version, u64),
}

/// Reads the header.
pub(super) fn columns(cells: &[Cell<'_>]) -> Result<Columns, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut names = Vec::new();
    for cell in cells {
        match name(cell.text) {
            Ok(name) => names.push(name),
            Err(text) => problems.push(Problem::at(cell.line, cell.column, text)),
        }
    }
    let within = |version| {
        let bounds = names.iter().filter_map(move |name| match name {
            Name::Within(of, bound) if *of == version => Some(*bound),
            Name::Within(..) | Name::Known(_) => None,
        });
        let mut bounds: Vec<u64> = bounds.collect();
        bounds.sort_unstable();
        bounds
    };
    let (bounds_us, canary) = (within(Version::Stable), within(Version::Canary));
    let line = cells.first().map_or(1, |cell| cell.line);
    let mut refuse = |text: &str| problems.push(Problem::at(line, 1, text.to_owned()));
    if bounds_us != canary {
        refuse(
            "the versions have different bounds of latency; expected a canary_le_… column for each stable_le_… column",
        );
    }
    if bounds_us.windows(2).any(|pair| pair.first() == pair.last()) {
        refuse("a bound of latency is there twice");
    }
    if bounds_us.len() > BOUNDS_MAX {
        refuse("there are too many bounds of latency; expected at most 128");
    }
    let list = names.into_iter().filter_map(|name| match name {
        Name::Known(column) => Some(column),
        Name::Within(version, bound) => {
            let place = bounds_us.binary_search(&bound).ok()?;
            Some(Column::Within(version, place))
        }
    });
    let list: Vec<Column> = list.collect();
    for name in USUAL.split(',').chain(["weight"]) {
        let Ok(Name::Known(column)) = self::name(name) else {
            continue;
        };
        let found = list.iter().filter(|known| **known == column).count();
        if found > 1 {
            problems.push(Problem::at(
                line,
                1,
                format!("the column {name} is there {found} times"),
            ));
        } else if found == 0 && column != Column::Weight {
            problems.push(Problem::at(
                line,
                1,
                format!("the column {name} is missing; expected {USUAL}"),
            ));
        }
    }
    if problems.is_empty() {
        Ok(Columns { list, bounds_us })
    } else {
        Err(problems)
    }
}

fn name(text: &str) -> Result<Name, String> {
    let unknown = || {
        format!(
            "{text:?} is no column; expected {USUAL}, weight, or stable_le_100ms and canary_le_100ms for latencies"
        )
    };
    let known = match text {
        "time" => Column::Time,
        "weight" => Column::Weight,
        other => {
            let (version, rest) = other.split_once('_').ok_or_else(unknown)?;
            let version = match version {
                "stable" => Version::Stable,
                "canary" => Version::Canary,
                _ => return Err(unknown()),
            };
            match rest {
                "requests" => Column::Requests(version),
                "errors" => Column::Errors(version),
                rest => {
                    let bound = rest.strip_prefix("le_").ok_or_else(unknown)?;
                    let bound =
                        parse_duration(bound).map_err(|error| format!("{text:?}: {error}"))?;
                    return Ok(Name::Within(version, microseconds(bound)));
                }
            }
        }
    };
    Ok(Name::Known(known))
}

fn microseconds(bound: Duration) -> u64 {
    u64::try_from(bound.as_micros()).unwrap_or(u64::MAX)
}
