//! What a command wrote: a number, or JSON with a JSONPath to it.
//!
//! The host runs the command and passes its exit code as the status: 0 is 200, anything else 500. A number may stand alone, or as the
//! last line after others; `NaN` and nothing are told as what they are.

use crate::{
    answer::Answer,
    error::{Error, Result},
    json, jsonpath,
    provider::web,
    reading::{Labels, Point, Reading, Value},
    window::Window,
};

/// How the output is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The JSONPath to the number; `None` where the last line is the number.
    pub path: Option<String>,
}

impl Query {
    /// Reads a release file's form, `[ARGUMENTS] [JSONPATH]`, and returns the arguments, too.
    #[must_use]
    pub fn parse(text: &str) -> (&str, Self) {
        let (arguments, path) = jsonpath::split(text);
        let path = path.map(str::to_owned);
        (arguments, Self { path })
    }
}

/// Returns the status that stands for an exit code.
#[must_use]
pub const fn status(exit_code: i32) -> u16 {
    if exit_code == 0 { 200 } else { 500 }
}

/// Reads the output.
///
/// # Errors
/// When the command failed, or its output is not of the expected form.
pub fn parse(query: &Query, window: &Window, answer: &Answer<'_>) -> Result<Reading> {
    let text = answer.success()?;
    if let Some(path) = &query.path {
        return web::read(path, window, &json::parse(text)?);
    }
    let mut reading = Reading::default();
    let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty()) else {
        return Ok(reading);
    };
    let value = Value::of_text(line);
    if let Value::Other(found) = &value {
        let what = format!("a number, found {found}");
        return Err(Error::malformed(what, "the last line"));
    }
    reading.push(Point {
        at: window.to(),
        labels: Labels::default(),
        value,
    })?;
    Ok(reading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, window};

    #[test]
    fn the_last_line_is_the_number() {
        let query = Query { path: None };
        check(
            |answer| parse(&query, &window(), answer),
            &[
                (200, "0.25\n", "1700001000=0.25"),
                (200, "connecting…\n  3 \n\n", "1700001000=3"),
                (200, "NaN", "1700001000=NaN"),
                (200, "-inf", "1700001000=-Inf"),
                (200, "", "empty"),
                (200, "\n\n", "empty"),
                (
                    200,
                    "3 apples",
                    "Malformed: malformed answer at the last line: expected a number, found \"3 apples\"",
                ),
                (
                    status(3),
                    "no route",
                    "Unavailable: unavailable (status 500): no route",
                ),
            ],
        );
    }

    #[test]
    fn the_files_form_is_read() {
        let query = |path: Option<&str>| Query {
            path: path.map(str::to_owned),
        };
        let (arguments, read) = Query::parse("sold --of v2 $.a");
        assert_eq!((arguments, read), ("sold --of v2", query(Some("$.a"))));
        assert_eq!(Query::parse(" sold "), ("sold", query(None)));
    }

    #[test]
    fn json_is_read_by_its_path() {
        let query = Query {
            path: Some("$.v".to_owned()),
        };
        check(
            |answer| parse(&query, &window(), answer),
            &[
                (status(0), r#"{"v": 3}"#, "1700001000=3"),
                (200, "{}", "empty"),
                (
                    200,
                    "3 apples",
                    "Malformed: malformed answer at line 1 column 3: expected JSON, found something else",
                ),
            ],
        );
    }
}
