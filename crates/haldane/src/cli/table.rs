//! Tables and trees for people, as wide as the line.

use std::io::{self, Write};

use super::{
    paint::{Paint, Tone},
    words::{clean, cut},
};

/// What stands between two columns.
const GAP: usize = 2;

/// The last column is never cut below this.
const LAST_CHARS_MIN: usize = 12;

/// A table with a header; the last column takes what is left of the line.
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

    /// Writes the table in lines of at most so many characters.
    pub(crate) fn write(&self, out: &mut impl Write, width: usize, paint: Paint) -> io::Result<()> {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let mut widths = vec![0; self.header.len()];
        for line in lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.text.chars().count().max(*width);
            }
        }
        if let Some((last, others)) = widths.split_last_mut() {
            let taken: usize = others.iter().map(|width| width.saturating_add(GAP)).sum();
            *last = width.saturating_sub(taken).max(LAST_CHARS_MIN);
        }
        for line in lines() {
            let mut text = String::new();
            for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let is_last = index.saturating_add(1) == line.len();
                let shown = cut(&cell.text, *width);
                let used = shown.chars().count();
                text.push_str(&paint.tone(cell.tone, &shown));
                if !is_last {
                    text.push_str(&" ".repeat(width.saturating_sub(used).saturating_add(GAP)));
                }
            }
            writeln!(out, "{}", text.trim_end())?;
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
    fn the_last_column_takes_what_is_left() {
        let expected = "\
NAME         PHASE        MESSAGE
auth         Progressing  holding at 25% for five minutes
a-long-name  -
";
        assert_eq!(written(80), expected);
        let narrow = expected.replace("at 25% for five minutes", "at…");
        assert_eq!(written(38), narrow);
        assert_eq!(written(10), narrow, "a message is not cut to nothing");
    }
}
