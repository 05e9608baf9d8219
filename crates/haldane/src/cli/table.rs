//! Tables and trees for people, as wide as the line.

use std::io::{self, Write};

use super::{
    paint::{Paint, Tone},
    words::{clean, wrap},
};

/// What stands between two columns.
const GAP: usize = 2;

/// The last column has at least this room, however narrow the line is.
const LAST_CHARS_MIN: usize = 12;

/// What a cell below its line is indented by.
const BELOW: &str = "    ";

/// A table with a header; the last column takes what is left of the line, or the next one.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

/// A text and how it is meant.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Returns a cell in a tone.
    pub(crate) fn new(tone: Tone, text: impl AsRef<str>) -> Self {
        Self {
            text: clean(text.as_ref()),
            tone,
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(Tone::Plain, text)
    }
}

impl Table {
    /// Returns a table without rows.
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self {
            header: header.map(|text| Cell::new(Tone::Strong, text)).to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn push<const N: usize>(&mut self, row: [Cell; N]) {
        self.rows.push(row.into_iter().collect());
    }

    /// Writes the table in lines of at most so many characters; a last cell that does not fit its line goes below it.
    pub(crate) fn write(&self, out: &mut impl Write, width: usize, paint: Paint) -> io::Result<()> {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let mut widths = vec![0; self.header.len()];
        for line in lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.text.chars().count().max(*width);
            }
        }
        widths.pop();
        let taken: usize = widths.iter().map(|width| width.saturating_add(GAP)).sum();
        let room = width.saturating_sub(taken).max(LAST_CHARS_MIN);
        for line in lines() {
            let Some((last, others)) = line.split_last() else {
                continue;
            };
            let mut text = String::new();
            for (cell, width) in others.iter().zip(&widths) {
                let used = cell.text.chars().count();
                text.push_str(&paint.tone(cell.tone, &cell.text));
                text.push_str(&" ".repeat(width.saturating_sub(used).saturating_add(GAP)));
            }
            if last.text.chars().count() <= room {
                text.push_str(&paint.tone(last.tone, &last.text));
                writeln!(out, "{}", text.trim_end())?;
                continue;
            }
            writeln!(out, "{}", text.trim_end())?;
            for piece in wrap(
                &last.text,
                width.saturating_sub(BELOW.len()).max(LAST_CHARS_MIN),
            ) {
                writeln!(out, "{BELOW}{}", paint.tone(last.tone, &piece))?;
            }
        }
        Ok(())
    }
}

/// Writes the items as branches under the line before.
pub(crate) fn write_branches(out: &mut impl Write, items: &[String]) -> io::Result<()> {
    for (index, item) in items.iter().enumerate() {
        let is_last = index.saturating_add(1) == items.len();
        writeln!(out, "{} {item}", if is_last { "└─" } else { "├─" })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: usize) -> String {
        let mut table = Table::new(["NAME", "PHASE", "MESSAGE"]);
        table.push([
            "auth".into(),
            "Progressing".into(),
            "holding at 25% for five minutes".into(),
        ]);
        table.push(["a-long-name".into(), "-".into(), "".into()]);
        let mut out = Vec::new();
        table.write(&mut out, width, Paint::Mono).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_last_cell_that_does_not_fit_goes_below_its_line() {
        let expected = "\
NAME         PHASE        MESSAGE
auth         Progressing  holding at 25% for five minutes
a-long-name  -
";
        assert_eq!(written(80), expected);
        assert_eq!(written(usize::MAX), expected);
        let below = "\
NAME         PHASE        MESSAGE
auth         Progressing
    holding at 25% for five minutes
a-long-name  -
";
        assert_eq!(written(38), below);
        let narrow = below.replace("at 25% for five ", "at\n    25% for five\n    ");
        assert_eq!(written(10), narrow, "words keep some room");
    }
}
