//! Figures by name, each with its goal where the project has set one.

use std::io::{self, Write};

use serde_json::{Map, Value};

/// Named figures, each a number with its unit at the end of its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures(Map<String, Value>);

impl Figures {
    /// Notes a figure.
    pub(super) fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Notes a measured number, to a thousandth.
    pub(super) fn put_number(&mut self, name: &str, value: f64) {
        self.put(name, thousandths(value));
    }

    /// Notes a figure, and whether it keeps to its goal.
    pub(super) fn put_judged(&mut self, name: &str, value: f64, most: f64) {
        self.put_number(name, value);
        self.put(&format!("{name}_goal"), most);
        self.put(&format!("{name}_is_met"), value <= most);
    }

    /// Returns one object with all figures.
    pub(super) fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Writes one figure a line; of those that are objects one line for each part.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = self.0.keys().map(String::len).max().unwrap_or(0);
        for (name, value) in &self.0 {
            let Value::Object(parts) = value else {
                writeln!(out, "{name:width$}  {value}")?;
                continue;
            };
            writeln!(out, "{name}")?;
            for (part, value) in parts {
                writeln!(out, "  {part}  {value}")?;
            }
        }
        Ok(())
    }
}

/// Rounds to what can be meant.
pub(super) fn thousandths(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_beside_its_goal() {
        let mut figures = Figures::default();
        figures.put_judged("abort_ms", 1_000.5, 1_000.0);
        figures.put_judged("dropped", 0.0, 0.0);
        let expected = serde_json::json!({
            "abort_ms": 1_000.5, "abort_ms_goal": 1_000.0, "abort_ms_is_met": false,
            "dropped": 0.0, "dropped_goal": 0.0, "dropped_is_met": true,
        });
        assert_eq!(figures.to_json(), expected);
        let mut out = Vec::new();
        figures.write(&mut out).unwrap();
        assert!(
            String::from_utf8(out)
                .unwrap()
                .contains("abort_ms         1000.5\n")
        );
    }
}
