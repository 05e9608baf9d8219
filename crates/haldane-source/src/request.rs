//! A request as data: the client sends it, within its own limits of time and size.

use std::fmt;

use crate::{
    error::{Error, Result},
    secret::Secret,
};

/// The longest query text: sixteen times the longest seen in the field; a megabyte is a mistake.
pub const QUERY_BYTES_MAX: usize = 16 * 1024;

/// The most headers that a query may add.
pub const HEADERS_MAX: usize = 32;

/// How a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads with a body, or creates.
    Post,
    /// Replaces.
    Put,
    /// Removes.
    Delete,
}

/// A header; its value may be a secret, and is never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

/// A request.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// How it is made.
    pub method: Method,
    /// The whole URL, encoded.
    pub url: String,
    /// The headers besides `Host` and `Content-Length`.
    pub headers: Vec<Header>,
    /// The body; empty where there is none.
    pub body: Vec<u8>,
}

impl Method {
    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl Header {
    /// Returns the header `name: value`.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: Secret::new(value),
        }
    }
}

impl Request {
    /// Returns a reading request.
    pub(crate) fn get(url: String) -> Self {
        Self {
            method: Method::Get,
            url,
            headers: vec![Header::new("Accept", "application/json")],
            body: Vec::new(),
        }
    }

    /// Returns a request with a JSON body.
    pub(crate) fn post_json(url: String, body: &serde_json::Value) -> Self {
        Self::post(url, "application/json", body.to_string())
    }

    /// Returns a request with a body.
    pub(crate) fn post(url: String, kind: &str, body: String) -> Self {
        Self {
            method: Method::Post,
            url,
            headers: vec![
                Header::new("Accept", "application/json"),
                Header::new("Content-Type", kind),
            ],
            body: body.into_bytes(),
        }
    }

    /// Adds or replaces a header.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.headers
            .retain(|header| !header.name.eq_ignore_ascii_case(name));
        self.headers.push(Header::new(name, value));
    }

    /// Adds the headers that a person wrote.
    pub(crate) fn with(mut self, headers: &[Header]) -> Result<Self> {
        if headers.len() > HEADERS_MAX {
            return Err(Error::invalid("the list of headers", "expected at most 32"));
        }
        for header in headers {
            check_header(header)?;
            self.set(&header.name, header.value.expose());
        }
        Ok(self)
    }
}

impl fmt::Debug for Request {
    /// Shows what is asked of whom; neither values of parameters and headers nor the body, for there may be secrets in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.url.split('?').next().unwrap_or_default();
        write!(f, "{} {path}", self.method.as_str())
    }
}

/// Checks that a query is neither empty nor too long.
pub(crate) fn check_query(text: &str) -> Result<&str> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::invalid("the query", "expected some text"));
    }
    if text.len() > QUERY_BYTES_MAX {
        return Err(Error::invalid("the query", "expected at most 16 KiB"));
    }
    if text.contains('\0') {
        return Err(Error::invalid("the query", "expected no NUL"));
    }
    Ok(text)
}

/// Checks that a name is fit to be one part of a path.
pub(crate) fn check_segment<'a>(what: &'static str, text: &'a str) -> Result<&'a str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    let is_name = !text.is_empty() && text.len() <= 253 && text.chars().all(is_part);
    if !is_name || text.chars().all(|c| c == '.') {
        return Err(Error::invalid(
            what,
            "expected 1 to 253 letters, digits, dashes, dots, colons and underscores",
        ));
    }
    Ok(text)
}

/// Checks that a header is one: no line break can add another, and none decides who receives the request.
fn check_header(header: &Header) -> Result<()> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if header.name.is_empty() || !header.name.chars().all(is_token) {
        return Err(Error::invalid("a header", "expected a name of RFC 9110"));
    }
    let is_odd = |c: char| c.is_control() && c != '\t';
    if header.value.expose().contains(is_odd) {
        return Err(Error::invalid("a header", "expected a value on one line"));
    }
    let taken = ["host", "content-length", "transfer-encoding", "connection"];
    if taken
        .iter()
        .any(|name| header.name.eq_ignore_ascii_case(name))
    {
        return Err(Error::invalid(
            "a header",
            "expected none of Host, Content-Length, Transfer-Encoding and Connection",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shows_neither_headers_nor_parameters() {
        let mut request = Request::post_json(
            "https://h/p?token=hunter2".to_owned(),
            &serde_json::json!({"password": "hunter2"}),
        );
        request.set("X-Token", "hunter2");
        assert_eq!(format!("{request:?}"), "POST https://h/p");
    }

    #[test]
    fn no_header_adds_another_or_redirects_the_request() {
        let with = |name: &str, value: &str| {
            Request::get("http://h".to_owned()).with(&[Header::new(name, value)])
        };
        assert!(with("X-Scope-OrgID", "team-a").is_ok());
        for (name, value) in [
            ("", "a"),
            ("A b", "c"),
            ("A:b", "c"),
            ("A", "b\r\nX: y"),
            ("A", "b\0"),
            ("Host", "evil"),
            ("content-length", "0"),
        ] {
            assert!(with(name, value).is_err(), "{name:?}: {value:?}");
        }
        let many = vec![Header::new("A", "b"); HEADERS_MAX + 1];
        assert!(Request::get("http://h".to_owned()).with(&many).is_err());
    }

    #[test]
    fn a_written_header_replaces_ours() {
        let request = Request::get("http://h".to_owned());
        let request = request
            .with(&[Header::new("accept", "text/plain")])
            .unwrap();
        assert_eq!(request.headers, [Header::new("accept", "text/plain")]);
    }

    #[test]
    fn a_name_in_a_path_stays_one_part_of_it() {
        for text in ["", ".", "..", "a/b", "a?b", "a b", "a%2fb", "ü"] {
            assert!(check_segment("a name", text).is_err(), "{text:?}");
        }
        assert!(check_segment("a name", "kube-system.v1").is_ok());
    }
}
