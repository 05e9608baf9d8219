//! Rows of named fields, as SQL-like providers answer: numbers are values, texts are labels.

use jiff::Timestamp;

use crate::{
    error::{Result, short},
    json::Node,
    reading::{Labels, Point, Reading, Value},
};

/// The label that holds a value's column.
const FIELD: &str = "field";

/// What a field of a row is.
pub(super) enum Field {
    /// A value under a name of its own.
    Value(String, Value),
    /// A label.
    Label(String, String),
    /// When the row was measured; of several the last counts.
    Time(Timestamp),
    /// Neither.
    Nothing,
}

/// Adds the values of one row, each with the row's labels and its own name as the label `field`.
pub(super) fn push(
    reading: &mut Reading,
    fields: impl IntoIterator<Item = Result<Field>>,
    at: Timestamp,
) -> Result<()> {
    let (mut values, mut labels, mut at) = (Vec::new(), Vec::new(), at);
    for field in fields {
        match field? {
            Field::Value(name, value) => values.push((name, value)),
            Field::Label(name, text) => labels.push((name, text)),
            Field::Time(time) => at = time,
            Field::Nothing => {}
        }
    }
    Labels::check_count(labels.len())?;
    for (name, value) in values {
        let own = [(FIELD.to_owned(), name)];
        let labels: Labels = labels.iter().cloned().chain(own).collect();
        reading.push(Point { at, labels, value })?;
    }
    Ok(())
}

/// Returns a JSON member as a field: texts are labels, all else is a value.
pub(super) fn of_json(name: &str, node: Node<'_>) -> Field {
    match node.value().as_str() {
        Some(text) => Field::Label(name.to_owned(), short(text)),
        None => Field::Value(name.to_owned(), Value::of_json(node.value())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_very_many_labels_is_refused() {
        let row = |labels: usize| {
            let labels =
                (0..labels).map(|index| Ok(Field::Label(index.to_string(), String::new())));
            let value = Ok(Field::Value("v".to_owned(), Value::Null));
            push(
                &mut Reading::default(),
                labels.chain([value]),
                Timestamp::UNIX_EPOCH,
            )
        };
        assert!(row(100).is_ok());
        assert!(row(100_000).is_err());
    }
}
