//! Annotated CSV: tables, each with its annotations, one row of names, and rows of values.

use jiff::Timestamp;

use crate::{
    error::{Error, Result},
    reading::{Labels, Point, Reading, Value},
};

/// The columns that are neither value nor label.
const OWN: [&str; 4] = ["table", "_start", "_stop", "_time"];

/// A table being read.
#[derive(Default)]
struct Table {
    kinds: Vec<String>,
    defaults: Vec<String>,
    names: Vec<String>,
}

/// Reads all tables.
pub(super) fn read(text: &str, end: Timestamp) -> Result<Reading> {
    let mut reading = Reading::default();
    let mut table = Table::default();
    let mut rest = text;
    let mut number = 0_usize;
    while !rest.is_empty() {
        number = number.saturating_add(1);
        let (row, after) = row(rest, number)?;
        rest = after;
        if row.iter().all(String::is_empty) && row.len() <= 1 {
            // An empty line ends a table; annotations begin one, too.
            table = Table::default();
            continue;
        }
        match row.first().map(String::as_str) {
            Some("#datatype") => {
                table = Table {
                    kinds: row,
                    ..Table::default()
                }
            }
            Some("#default") => table.defaults = row,
            Some(first) if first.starts_with('#') => {}
            Some(_) | None if table.names.is_empty() => {
                table.names = row;
                table.check(number)?;
            }
            Some(_) | None => reading.push(table.point(&row, number, end)?)?,
        }
    }
    Ok(reading)
}

impl Table {
    fn check(&self, number: usize) -> Result<()> {
        let has = |wanted: &str| self.names.iter().any(|name| name == wanted);
        if has("_value") || (has("error") && has("reference")) {
            return Ok(());
        }
        Err(Error::malformed(
            "a column `_value`",
            format!("row {number}"),
        ))
    }

    fn point(&self, row: &[String], number: usize, end: Timestamp) -> Result<Point> {
        if row.len() != self.names.len() {
            let what = format!("{} columns, found {}", self.names.len(), row.len());
            return Err(Error::malformed(what, format!("row {number}")));
        }
        let mut labels = Vec::new();
        let (mut value, mut time, mut stop, mut error) = (None, None, None, None);
        for (column, (name, text)) in self.names.iter().zip(row).enumerate() {
            let default = || self.defaults.get(column).map_or("", String::as_str);
            let text = if text.is_empty() { default() } else { text };
            match name.as_str() {
                "" => {}
                "error" => error = Some(text),
                "_value" => value = Some(self.value(column, text)),
                "_time" => time = time_of(text, number)?,
                "_stop" => stop = time_of(text, number)?,
                // The name of the query's result, which is usually this one.
                "result" if text == "_result" => {}
                name if OWN.contains(&name) || text.is_empty() => {}
                name => labels.push((name.to_owned(), text.to_owned())),
            }
        }
        match (error, value) {
            (Some(error), None) => Err(Error::bad_query(error)),
            (_, None) => Err(Error::malformed("a value", format!("row {number}"))),
            (_, Some(value)) => Ok(Point {
                at: time.or(stop).unwrap_or(end),
                labels: labels.into_iter().collect::<Labels>(),
                value,
            }),
        }
    }

    /// Returns a value by the type of its column; without types, by its text.
    fn value(&self, column: usize, text: &str) -> Value {
        let kind = self.kinds.get(column).map(String::as_str);
        match kind {
            Some("double" | "long" | "unsignedLong") | None => Value::of_text(text),
            Some(_) if text.is_empty() => Value::Null,
            Some(_) => Value::Other(format!("{text:?}")),
        }
    }
}

fn time_of(text: &str, number: usize) -> Result<Option<Timestamp>> {
    if text.is_empty() {
        return Ok(None);
    }
    let time = text.parse().map(Some);
    time.map_err(|_| Error::malformed("a time", format!("row {number}")))
}

/// Splits one row off, by the rules of RFC 4180.
fn row(text: &str, number: usize) -> Result<(Vec<String>, &str)> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = text.char_indices().peekable();
    while let Some((_, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        match c {
            '"' if is_quoted && next == Some('"') => {
                push(&mut cells, '"');
                chars.next();
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            '\r' if !is_quoted && next == Some('\n') => {}
            '\n' if !is_quoted => {
                let end = chars.peek().map_or(text.len(), |(end, _)| *end);
                return Ok((cells, text.get(end..).unwrap_or_default()));
            }
            c => push(&mut cells, c),
        }
    }
    if is_quoted {
        return Err(Error::malformed(
            "the end of a text in quotes",
            format!("row {number}"),
        ));
    }
    // Servers end every row; a row without its end was cut, perhaps in the middle of a number.
    Err(Error::malformed(
        "the end of the row",
        format!("row {number}"),
    ))
}

fn push(cells: &mut [String], c: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(c);
    }
}
