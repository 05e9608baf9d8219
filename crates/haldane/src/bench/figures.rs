//! Figures by name.

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

    /// Notes the smallest, the middle and the largest value of several rounds.
    pub(super) fn put_spread(&mut self, name: &str, values: &[f64]) {
        let names = ["min", "median", "max"];
        for (what, value) in names.into_iter().zip(spread(values)) {
            self.put(&format!("{name}_{what}"), value);
        }
    }

    /// Returns one object with all figures.
    pub(super) fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Writes one figure a line.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let width = self.0.keys().map(String::len).max().unwrap_or(0);
        self.0
            .iter()
            .try_for_each(|(name, value)| writeln!(out, "{name:width$}  {value}"))
    }
}

/// Returns the smallest, the middle and the largest value; null where there is none.
pub(super) fn spread(values: &[f64]) -> [Value; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.get(sorted.len() / 2);
    [sorted.first(), middle, sorted.last()]
        .map(|value| value.map(|value| thousandths(*value)).into())
}

/// Rounds to what can be meant.
pub(super) fn thousandths(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_least_its_middle_and_its_most() {
        let mut figures = Figures::default();
        figures.put_spread("x_ms", &[3.0, 1.000_4, 2.0]);
        figures.put("n", 7);
        let expected =
            serde_json::json!({ "x_ms_min": 1.0, "x_ms_median": 2.0, "x_ms_max": 3.0, "n": 7 });
        assert_eq!(figures.to_json(), expected);
        let mut out = Vec::new();
        figures.write(&mut out).unwrap();
        assert!(
            String::from_utf8(out)
                .unwrap()
                .contains("x_ms_median  2.0\n")
        );
    }

    #[test]
    fn no_round_is_no_number() {
        let mut figures = Figures::default();
        figures.put_spread("x", &[]);
        assert_eq!(figures.to_json()["x_min"], Value::Null);
    }
}
