//! Graphite's render API.
//!
//! <https://graphite.readthedocs.io/en/stable/render_api.html>. Points are `[value, seconds]`; a missing value is null. Infinities are
//! written as `1e9999`, which no JSON parser takes for a number, so they are read before.

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::{Error, Result},
    json::{self, Node},
    reading::{Labels, Point, Reading, Value},
    request::{Request, check_query},
    window::{self, Window},
};

/// The most targets of one request.
const TARGETS_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Graphite's address.
    pub address: String,
    /// What is rendered.
    pub form: Form,
}

/// What is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Targets, over the window.
    Targets(Vec<String>),
    /// A query string with `target=` and its own `from`, as Flagger has it.
    QueryString(String),
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, window: &Window, auth: &Auth) -> Result<Request> {
    let address = Address::parse(&query.address)?;
    let url = match &query.form {
        Form::Targets(targets) => {
            if targets.is_empty() || targets.len() > TARGETS_MAX {
                return Err(Error::invalid("the list of targets", "expected 1 to 64"));
            }
            let from = window.from().as_second().to_string();
            let until = window.to().as_second().to_string();
            let mut parameters = Vec::new();
            for target in targets {
                parameters.push(("target", check_query(target)?));
            }
            parameters.extend([
                ("from", from.as_str()),
                ("until", until.as_str()),
                ("format", "json"),
            ]);
            address.join("/render", &parameters)
        }
        Form::QueryString(text) => {
            let text = check_query(text)?;
            if !text.split('&').any(|part| part.starts_with("target=")) {
                return Err(Error::invalid("the query", "expected a `target=`"));
            }
            let text = encoded(text);
            address.join(&format!("/render?{text}&format=json"), &[])
        }
    };
    auth.plain(Request::get(url))
}

/// Encodes what may not stand in a URL, and leaves what is encoded.
fn encoded(text: &str) -> String {
    let is_fine = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}#".contains(c);
    let parts = text.chars().map(|c| {
        if is_fine(c) {
            c.to_string()
        } else {
            crate::encoding::percent(&c.to_string())
        }
    });
    parts.collect()
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(answer: &Answer<'_>) -> Result<Reading> {
    let text = answer.success()?;
    let value = json::parse(&with_infinities(text))?;
    let mut reading = Reading::default();
    for series in Node::root(&value).items()? {
        let target = series.need("target")?.text()?;
        let mut labels = vec![("target".to_owned(), target.to_owned())];
        if let Some(tags) = series.get("tags") {
            let tags = Labels::of_json(tags)?;
            labels.extend(tags.iter().map(|(n, v)| (n.to_owned(), v.to_owned())));
        }
        let labels: Labels = labels.into_iter().collect();
        for pair in series.need("datapoints")?.items()? {
            let at = pair.at(1)?;
            reading.push(Point {
                at: window::from_seconds(at.number()?)
                    .ok_or_else(|| at.wrong("seconds since 1970"))?,
                labels: labels.clone(),
                value: Value::of_json(pair.at(0)?.value()),
            })?;
        }
    }
    Ok(reading)
}

/// Writes `1e9999` as a text, outside of texts.
fn with_infinities(text: &str) -> String {
    if !text.contains("1e9999") {
        return text.to_owned();
    }
    let mut parts = Vec::new();
    let mut is_text = false;
    for part in text.split('"') {
        let replaced = part.replace("-1e9999", "\u{0}").replace("1e9999", "\u{1}");
        parts.push(if is_text {
            part.to_owned()
        } else {
            replaced
                .replace('\u{0}', "\"-Infinity\"")
                .replace('\u{1}', "\"Infinity\"")
        });
        // A quote after a backslash belongs to its text, unless the backslash is escaped itself.
        let backslashes = part.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let is_escaped = backslashes % 2 == 1;
        is_text = is_text == is_escaped;
    }
    parts.join("\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, check_common, show_request, window};

    fn query(form: Form) -> Query {
        Query {
            address: "http://graphite/prefix".to_owned(),
            form,
        }
    }

    #[test]
    fn targets_are_asked_over_the_window() {
        let show = |form| request(&query(form), &window(), &Auth::None);
        let targets = Form::Targets(vec!["sumSeries(a.*.{b,c})".to_owned(), "d".to_owned()]);
        assert_eq!(
            show_request(&show(targets).unwrap()),
            "GET http://graphite/prefix/render?target=sumSeries%28a.%2A.%7Bb%2Cc%7D%29&target=d&from=1700000400&until=1700001000&format=json\n\
             Accept: application/json"
        );
        let text = Form::QueryString("target=summarize(a.b, '1min')&from=-5min".to_owned());
        assert_eq!(
            show(text).unwrap().url,
            "http://graphite/prefix/render?target=summarize(a.b,%20'1min')&from=-5min&format=json"
        );
        assert!(show(Form::Targets(Vec::new())).is_err());
        assert!(show(Form::Targets(vec!["a".to_owned(); 65])).is_err());
        assert!(show(Form::QueryString("from=-5min".to_owned())).is_err());
    }

    #[test]
    fn each_documented_answer_has_its_reading() {
        check(
            parse,
            &[
                (
                    200,
                    r#"[{"target":"entries","tags":{"name":"entries","aggregatedBy":"sum"},"datapoints":[[1.0,1311836008],[null,1311836009],[3.5,1311836010]]}]"#,
                    r#"1311836008{aggregatedBy="sum", name="entries", target="entries"}=1; 1311836009{aggregatedBy="sum", name="entries", target="entries"}=null; 1311836010{aggregatedBy="sum", name="entries", target="entries"}=3.5"#,
                ),
                (200, "[]", "empty"),
                (200, r#"[{"target":"a","datapoints":[]}]"#, "empty"),
                (
                    200,
                    r#"[{"target":"x\"1e9999\\","datapoints":[[1e9999,10],[-1e9999, 20]]}]"#,
                    r#"10{target="x\"1e9999\\"}=+Inf; 20{target="x\"1e9999\\"}=-Inf"#,
                ),
                (
                    200,
                    r#"[{"target":"a","datapoints":[["7",10]]}]"#,
                    r#"10{target="a"}=other "7""#,
                ),
                (
                    200,
                    r#"[{"target":"a","datapoints":[[1]]}]"#,
                    "Malformed: malformed answer at $[0].datapoints[0]: expected an item 1, found a list",
                ),
                (
                    200,
                    r#"{"target":"a"}"#,
                    "Malformed: malformed answer at $: expected a list, found an object",
                ),
                (
                    400,
                    "Invalid target: unknown function",
                    "BadQuery: the query was refused: Invalid target: unknown function",
                ),
            ],
        );
        check_common(parse);
    }
}
