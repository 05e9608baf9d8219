//! Splunk (Enterprise and Cloud Platform): a search that answers at once.
//!
//! <https://help.splunk.com/en/splunk-enterprise/leverage-rest-apis/rest-api-reference>: `search/jobs` with `exec_mode=oneshot`. Every
//! value is a text there, so that a text that is a number counts as one; `_time` is a time, all other texts are labels.

use jiff::Timestamp;

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::{self, Address},
    error::Result,
    json::Node,
    provider::rows::{self, Field},
    reading::{Reading, Value},
    request::{Request, check_query},
    window::{self, Window},
};

/// The most rows asked for.
const ROWS_MAX: usize = 10_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The management address, usually with port 8089.
    pub address: String,
    /// The search; `search` is put before it unless it begins with that or with `|`.
    pub search: String,
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, window: &Window, auth: &Auth) -> Result<Request> {
    let address = Address::parse(&query.address)?;
    let search = check_query(&query.search)?;
    let first = search.split_whitespace().next().unwrap_or_default();
    let search = if search.starts_with('|') || first.eq_ignore_ascii_case("search") {
        search.to_owned()
    } else {
        format!("search {search}")
    };
    let (earliest, latest) = (window::seconds(window.from()), window::seconds(window.to()));
    let body = encoding::form(&[
        ("search", search.as_str()),
        ("earliest_time", earliest.as_str()),
        ("latest_time", latest.as_str()),
        ("exec_mode", "oneshot"),
        ("output_mode", "json"),
        ("count", &ROWS_MAX.to_string()),
    ]);
    let url = address.join("/services/search/jobs", &[]);
    let request = Request::post(url, "application/x-www-form-urlencoded", body);
    auth.plain(request)
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(window: &Window, answer: &Answer<'_>) -> Result<Reading> {
    let value = answer.json(message)?;
    let root = Node::root(&value);
    let mut reading = Reading::default();
    if root.get("preview").is_some_and(|node| node.value() == true) {
        reading.partial("a preview, not the result");
    }
    if let Some(messages) = root.get("messages") {
        for message in messages.items()? {
            let part = |name| {
                message
                    .get(name)
                    .and_then(|node: Node<'_>| node.text().ok())
            };
            match (part("type"), part("text")) {
                (Some("FATAL"), text) => {
                    return Err(crate::Error::bad_query(text.unwrap_or_default()));
                }
                // Peers that did not answer come as such.
                (Some("ERROR"), Some(text)) => {
                    reading.partial(text);
                    reading.warn(text);
                }
                (Some("WARN"), Some(text)) => reading.warn(text),
                (_, _) => {}
            }
        }
    }
    let rows = root.need("results")?;
    if rows.items()?.len() >= ROWS_MAX {
        reading.partial("more rows than are read");
    }
    for row in rows.items()? {
        let fields = row.members()?.map(|(name, node)| field(name, node));
        rows::push(&mut reading, fields, window.to())?;
    }
    Ok(reading)
}

fn field(name: &str, node: Node<'_>) -> Result<Field> {
    let Some(text) = node.value().as_str() else {
        return Ok(rows::of_json(name, node));
    };
    if name == "_time" {
        let time: Option<Timestamp> = match text.parse() {
            Ok(time) => Some(time),
            Err(_) => text.parse().ok().and_then(window::from_seconds),
        };
        return time.map(Field::Time).ok_or_else(|| node.wrong("a time"));
    }
    if name.starts_with('_') {
        return Ok(Field::Nothing);
    }
    let value = Value::of_text(text);
    if matches!(value, Value::Other(_)) {
        return Ok(rows::of_json(name, node));
    }
    Ok(Field::Value(name.to_owned(), value))
}

/// Finds `messages[0].text`.
fn message(root: Node<'_>) -> Option<String> {
    let first = root.get("messages")?.at(0).ok()?;
    first.get("text")?.text().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        secret::Secret,
        testing::{check, check_common, show_request, window},
    };

    fn query(search: &str) -> Query {
        Query {
            address: "https://splunk:8089".to_owned(),
            search: search.to_owned(),
        }
    }

    #[test]
    fn a_search_is_asked_over_the_window() {
        let auth = Auth::Bearer(Secret::new("t"));
        let body = |search: &str| {
            let request = request(&query(search), &window(), &auth).unwrap();
            show_request(&request)
        };
        let head = "POST https://splunk:8089/services/search/jobs\nAccept: application/json\n\
                    Content-Type: application/x-www-form-urlencoded\nAuthorization: Bearer t\n";
        let tail = "&earliest_time=1700000400&latest_time=1700001000&exec_mode=oneshot&output_mode=json&count=10000";
        assert_eq!(
            body("status>=500 | stats count"),
            format!("{head}search=search%20status%3E%3D500%20%7C%20stats%20count{tail}")
        );
        assert_eq!(
            body("| mstats avg(x)"),
            format!("{head}search=%7C%20mstats%20avg%28x%29{tail}")
        );
        assert!(body("SEARCH x").contains("search=SEARCH%20x&"));
    }

    #[test]
    fn each_documented_answer_has_its_reading() {
        check(
            |answer| parse(&window(), answer),
            &[
                (
                    200,
                    r#"{"preview":false,"init_offset":0,"messages":[],"fields":[{"name":"count"}],"results":[{"count":"5","version":"v2"}]}"#,
                    r#"1700001000{field="count", version="v2"}=5"#,
                ),
                (
                    200,
                    r#"{"results":[{"_time":"2023-11-14T23:10:00.000+01:00","_span":"60","rate":""}]}"#,
                    r#"1699999800{field="rate"}=null"#,
                ),
                (
                    200,
                    r#"{"results":[{"_time":"1699999800.5","rate":"NaN"}]}"#,
                    r#"1699999800.500{field="rate"}=NaN"#,
                ),
                (200, r#"{"results":[]}"#, "empty"),
                (
                    200,
                    r#"{"messages":[{"type":"ERROR","text":"Search peer x did not answer"}],"results":[{"n":"1"}]}"#,
                    r#"1700001000{field="n"}=1; warning Search peer x did not answer; partial Search peer x did not answer"#,
                ),
                (
                    200,
                    r#"{"preview":true,"results":[]}"#,
                    "partial a preview, not the result",
                ),
                (
                    200,
                    r#"{"messages":[{"type":"FATAL","text":"Unknown search command"}],"results":[]}"#,
                    "BadQuery: the query was refused: Unknown search command",
                ),
                (
                    200,
                    r#"{"results":[{"_time":"noon"}]}"#,
                    "Malformed: malformed answer at $.results[0]._time: expected a time, found a text",
                ),
                (
                    400,
                    r#"{"messages":[{"type":"FATAL","text":"Error in 'stats'"}]}"#,
                    "BadQuery: the query was refused: Error in 'stats'",
                ),
                (
                    401,
                    r#"{"messages":[{"type":"WARN","text":"call not properly authenticated"}]}"#,
                    "Unauthorized: not authorized: call not properly authenticated",
                ),
            ],
        );
        check_common(|answer| parse(&window(), answer));
    }
}
