//! Any JSON on the web, with a JSONPath to the number.
//!
//! The answer has no time of its own, so that its value holds as of the end of the window. A path that selects nothing gives an empty
//! reading; one that selects several values gives as many series, by their place. A number written as a text is a number here: many
//! services write them so.

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::{Error, Result},
    jsonpath::{self, JsonPath},
    reading::{Labels, Point, Reading, Value},
    request::{Header, Method, Request},
    secret::Secret,
    window::Window,
};

/// The largest body that is sent.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The path to the whole document.
pub const PATH_DEFAULT: &str = "{$}";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The whole URL, with its query; there may be a token in it.
    pub url: Secret,
    /// How it is asked for.
    pub method: Method,
    /// Further headers.
    pub headers: Vec<Header>,
    /// What is sent; empty for nothing. There may be a secret in it.
    pub body: Secret,
    /// The JSONPath to the number.
    pub path: String,
}

impl Query {
    /// Reads a release file's form, `[METHOD] [/PATH][?PARAMETERS] [JSONPATH]`; further lines are the body.
    ///
    /// The path is added to the address, so that no query takes the source's credentials to another host.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn parse(address: &str, text: &str, headers: Vec<Header>) -> Result<Self> {
        let text = text.trim();
        let (line, body) = text.split_once('\n').unwrap_or((text, ""));
        let (asked, path) = jsonpath::split(line);
        let methods = [Method::Get, Method::Post, Method::Put];
        let written = methods.into_iter().find_map(|method| {
            let rest = asked.strip_prefix(method.as_str())?;
            (rest.is_empty() || rest.starts_with(' ')).then(|| (method, rest.trim_start()))
        });
        let (method, place) = written.unwrap_or((Method::Get, asked));
        if !(place.is_empty() || place.starts_with(['/', '?'])) {
            return Err(Error::invalid(
                "the web query",
                "expected `[METHOD] [/PATH][?PARAMETERS] [JSONPATH]`, as in `GET /kpi?version={{version}} $.sold`",
            ));
        }
        let url = if place.starts_with('/') {
            format!("{}{place}", address.trim_end_matches('/'))
        } else {
            format!("{address}{place}")
        };
        Ok(Self {
            url: Secret::new(url),
            method,
            headers,
            body: Secret::new(body),
            path: path.unwrap_or(PATH_DEFAULT).to_owned(),
        })
    }
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, _window: &Window, auth: &Auth) -> Result<Request> {
    JsonPath::parse(&query.path)?;
    let url = query.url.expose().trim();
    let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
    Address::parse(address)?;
    if parameters.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        return Err(Error::invalid("the address", "expected an encoded query"));
    }
    if query.body.expose().len() > BODY_BYTES_MAX {
        return Err(Error::invalid("the body", "expected at most 64 KiB"));
    }
    if query.method == Method::Delete {
        return Err(Error::invalid("the method", "expected GET, POST or PUT"));
    }
    let mut request = Request::get(url.to_owned());
    request.method = query.method;
    if !query.body.expose().is_empty() {
        request.set("Content-Type", "application/json");
        request.body = query.body.expose().as_bytes().to_vec();
    }
    auth.plain(request.with(&query.headers)?)
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not JSON.
pub fn parse(query: &Query, window: &Window, answer: &Answer<'_>) -> Result<Reading> {
    let root = answer.json(|_| None)?;
    read(&query.path, window, &root)
}

/// Returns the values that `path` selects, as of the end of the window.
pub(crate) fn read(path: &str, window: &Window, root: &serde_json::Value) -> Result<Reading> {
    let found = JsonPath::parse(path)?;
    let mut reading = Reading::default();
    let found = found.select(root)?;
    let is_one = found.len() == 1;
    for (index, value) in found.into_iter().enumerate() {
        let labels: Labels = if is_one {
            Labels::default()
        } else {
            [("index".to_owned(), index.to_string())]
                .into_iter()
                .collect()
        };
        let value = Value::of_json_or_text(value);
        reading.push(Point {
            at: window.to(),
            labels,
            value,
        })?;
    }
    Ok(reading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, check_common, show_request, window};

    fn query(path: &str) -> Query {
        Query {
            url: Secret::new("https://shop.example/kpi?v=2"),
            method: Method::Get,
            headers: Vec::new(),
            body: Secret::new(""),
            path: path.to_owned(),
        }
    }

    #[test]
    fn the_url_is_asked_as_it_is() {
        let auth = Auth::Basic {
            username: "a".to_owned(),
            password: Secret::new("b"),
        };
        let post = Query {
            method: Method::Post,
            body: Secret::new(r#"{"from":1}"#),
            ..query("{$.x}")
        };
        assert_eq!(
            show_request(&request(&post, &window(), &auth).unwrap()),
            "POST https://shop.example/kpi?v=2\nAccept: application/json\nContent-Type: application/json\n\
             Authorization: Basic YTpi\n{\"from\":1}"
        );
    }

    #[test]
    fn the_files_form_is_read() {
        let show = |text: &str| {
            let query = Query::parse("https://shop.example/api/", text, Vec::new())?;
            let sent = request(&query, &window(), &Auth::None)?;
            let body = String::from_utf8_lossy(&sent.body).into_owned();
            let (method, url) = (sent.method.as_str(), sent.url);
            Ok::<_, Error>(format!("{method} {url} {} {body}", query.path))
        };
        for (text, expected) in [
            ("$.a", "GET https://shop.example/api/ $.a "),
            ("/kpi?v=2 $.a", "GET https://shop.example/api/kpi?v=2 $.a "),
            ("?v=2", "GET https://shop.example/api/?v=2 {$} "),
            ("PUT $.a\n\n{}\n", "PUT https://shop.example/api/ $.a \n{}"),
            (
                "POST /q {$.a}\n{\"v\": \"v2\"}",
                "POST https://shop.example/api/q {$.a} {\"v\": \"v2\"}",
            ),
        ] {
            assert_eq!(show(text).unwrap(), expected, "{text}");
        }
        for text in [
            "kpi",
            "@evil.example/",
            ".evil.example/ $.a",
            "https://other/",
            "DELETE /a",
            "POSTS /a",
            "/a b $.a",
            "/a $[",
        ] {
            assert!(show(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_sent_is_refused() {
        let refused = |query: Query| assert!(request(&query, &window(), &Auth::None).is_err());
        refused(query("$["));
        let with = |url: &str| Query {
            url: Secret::new(url),
            ..query("$")
        };
        refused(with("file:///etc/passwd"));
        refused(with("http://a:b@h/"));
        refused(with("http://h/?a=b c"));
        refused(with("http://h/?a\r\nX: y"));
        refused(Query {
            method: Method::Delete,
            ..query("$")
        });
        refused(Query {
            body: Secret::new("x".repeat(100_000)),
            ..query("$")
        });
    }

    #[test]
    fn the_path_finds_the_number() {
        let body = r#"{"data":{"ok":0.99,"text":"12.5","none":null,"is":true,"list":[1,"x"]}}"#;
        let rows = |path: &str, expected: &str| {
            check(
                |answer| parse(&query(path), &window(), answer),
                &[(200, body, expected)],
            );
        };
        rows("{$.data.ok}", "1700001000=0.99");
        rows("{$.data.text}", "1700001000=12.5");
        rows("{$.data.none}", "1700001000=null");
        rows("{$.data.is}", "1700001000=other true");
        rows("{$.data.missing}", "empty");
        rows("{$.data.list}", "1700001000=other [1,\"x\"]");
        rows(
            "{$.data.list[*]}",
            "1700001000{index=\"0\"}=1; 1700001000{index=\"1\"}=other \"x\"",
        );
        check(
            |answer| parse(&query("{$}"), &window(), answer),
            &[
                (200, "3.5", "1700001000=3.5"),
                (200, "\"NaN\"", "1700001000=NaN"),
                (200, "\"\"", "1700001000=null"),
                (500, "boom", "Unavailable: unavailable (status 500): boom"),
                (
                    400,
                    r#"{"e":1}"#,
                    r#"BadQuery: the query was refused: {"e":1}"#,
                ),
            ],
        );
        check_common(|answer| parse(&query("$"), &window(), answer));
    }
}
