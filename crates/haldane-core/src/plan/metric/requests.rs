//! Requests that the proxy counts for a metric: `hit: POST /checkout 2xx`, `of: GET /cart`.
//!
//! A pattern is `[METHOD] PATH [STATUS]`. The path is compared segment by segment, as it was sent and without the query: `*` stands for one
//! segment, `**` at the end for the rest, as in URI templates of Envoy; `/a/**` is `/a` and all below it, as a path prefix of the proxy is.
//!
//! **Invariant:** what was parsed once is never parsed again on the way of a request: matching neither allocates nor fails.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The longest pattern, in bytes; it bounds what one request costs.
pub const PATTERN_BYTES_MAX: usize = 512;

/// The shortest and the longest time that hits may take.
const WITHIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

/// Requests that are hits, of others that could lead to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// What happened.
    pub hit: RequestPattern,
    /// What could lead to it.
    pub of: RequestPattern,
    /// Within which time of it nearly all hits come.
    pub within: Duration,
}

/// Which requests are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestPattern {
    /// `None` for any.
    method: Option<String>,
    segments: Vec<Segment>,
    /// Whether anything may follow the segments.
    has_rest: bool,
    /// `None` for any.
    status: Option<StatusPattern>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is too long.
    #[error("longer than 512 bytes; expected a shorter pattern")]
    Long,
    /// No word of it is a path.
    #[error("no path in {0:?}; expected [METHOD] PATH [STATUS], such as POST /checkout 2xx")]
    NoPath(String),
    /// There is more than a method, a path and a status.
    #[error(
        "{0:?} is one word too many; expected [METHOD] PATH [STATUS], such as POST /checkout 2xx"
    )]
    Words(String),
    /// The method is none.
    #[error("{0:?} is no method; expected capital letters such as POST, or * for any")]
    Method(String),
    /// The path has a character that no path has.
    #[error(
        "{0:?} is no path; expected printable ASCII without `?` and `#`: the query is no part of it"
    )]
    Path(String),
    /// A star is part of a segment.
    #[error("`*` is a part of {0:?}; expected it to stand for a whole segment, as in /items/*/buy")]
    Star(String),
    /// There is something after the rest.
    #[error("{0:?} goes on after `**`; expected `**` at the end only, as in /shop/**")]
    Rest(String),
    /// The status is none.
    #[error("{0:?} is no status; expected one such as 2xx, 200 or !5xx")]
    Status(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// One that is not empty.
    Any,
    Exact(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StatusPattern {
    is_not: bool,
    codes: Codes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codes {
    /// A hundred of them: 2 for 200 to 299.
    Class(u16),
    One(u16),
}

impl Requests {
    /// How long hits may take unless the declaration says otherwise: what people do next, they mostly do in the first minute.
    pub const WITHIN: Duration = Duration::from_mins(1);

    /// Returns it, where hits are the same requests with a certain end: those come with what they are hits of.
    #[must_use]
    pub fn is_at_once(&self) -> bool {
        self.hit.is_of_same_requests(&self.of)
    }

    /// Returns how long hits may take unless the declaration says otherwise.
    #[must_use]
    pub fn within(hit: &RequestPattern, of: &RequestPattern) -> Duration {
        if hit.is_of_same_requests(of) {
            WITHIN.0
        } else {
            Self::WITHIN
        }
    }

    /// Returns after which time data is old unless the declaration says otherwise: each change of the weight costs `within`.
    #[must_use]
    pub const fn stale_after(&self) -> Duration {
        self.within.saturating_add(Duration::from_mins(1))
    }

    /// Returns what of it makes no sense, each with the name of its key.
    pub(super) fn problems(&self, stale_after: Duration) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut add = |key, message: &str| found.push((key, message.to_owned()));
        if self.hit == self.of {
            add(
                "hit",
                "the same as of, so that each would be a hit; expected some of them, such as POST /checkout 2xx",
            );
        }
        if self.within < WITHIN.0 || self.within > WITHIN.1 {
            add("within", "expected 1s to 1h");
        }
        if stale_after <= self.within {
            add(
                "staleAfter",
                "data would be old before it counts; expected more than within",
            );
        }
        found
    }
}

impl RequestPattern {
    /// Whether a request of this method and path (without its query) is meant, whatever becomes of it.
    #[must_use]
    pub fn is_request(&self, method: &str, path: &str) -> bool {
        if self.method.as_deref().is_some_and(|own| own != method) {
            return false;
        }
        let Some(path) = path.strip_prefix('/') else {
            return false;
        };
        let mut found = path.split('/');
        let is_met = |segment: &Segment| match (segment, found.next()) {
            (Segment::Any, Some(found)) => !found.is_empty(),
            (Segment::Exact(own), Some(found)) => own == found,
            (Segment::Any | Segment::Exact(_), None) => false,
        };
        self.segments.iter().all(is_met) && (self.has_rest || found.next().is_none())
    }

    /// Whether an end is meant: an HTTP status, or `None` where the version gave no whole answer, which counts as a 5xx.
    #[must_use]
    pub fn is_end(&self, status: Option<u16>) -> bool {
        self.status.is_none_or(|own| own.is_met(status))
    }

    /// Whether both mean the same requests, whatever becomes of them.
    #[must_use]
    pub fn is_of_same_requests(&self, other: &Self) -> bool {
        (&self.method, &self.segments, self.has_rest)
            == (&other.method, &other.segments, other.has_rest)
    }
}

impl StatusPattern {
    fn is_met(self, status: Option<u16>) -> bool {
        let is_one = match (self.codes, status) {
            (Codes::Class(class), Some(status)) => status / 100 == class,
            (Codes::Class(class), None) => class == 5,
            (Codes::One(code), Some(status)) => status == code,
            (Codes::One(_), None) => false,
        };
        is_one != self.is_not
    }
}

impl FromStr for RequestPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::Long);
        }
        let no_path = || PatternError::NoPath(text.to_owned());
        let mut words = text.split_ascii_whitespace();
        let first = words.next().ok_or_else(no_path)?;
        let (method, path) = if first.starts_with('/') {
            (None, first)
        } else {
            let path = words.next().filter(|word| word.starts_with('/'));
            (read_method(first)?, path.ok_or_else(no_path)?)
        };
        let status = words.next().map(str::parse).transpose()?;
        if let Some(word) = words.next() {
            return Err(PatternError::Words(word.to_owned()));
        }
        let (segments, has_rest) = read_path(path)?;
        Ok(Self {
            method,
            segments,
            has_rest,
            status,
        })
    }
}

impl FromStr for StatusPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let no_status = || PatternError::Status(text.to_owned());
        let (is_not, codes) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let codes = match codes {
            "2xx" => Codes::Class(2),
            "3xx" => Codes::Class(3),
            "4xx" => Codes::Class(4),
            "5xx" => Codes::Class(5),
            code if code.len() == 3 => {
                let code = code.parse().map_err(|_| no_status())?;
                // No request ends with less than 200.
                if !(200..=599).contains(&code) {
                    return Err(no_status());
                }
                Codes::One(code)
            }
            _ => return Err(no_status()),
        };
        Ok(Self { is_not, codes })
    }
}

fn read_method(word: &str) -> Result<Option<String>, PatternError> {
    let is_letter = |c: char| c.is_ascii_uppercase() || c == '-';
    match word {
        "*" => Ok(None),
        word if word.chars().all(is_letter) => Ok(Some(word.to_owned())),
        word => Err(PatternError::Method(word.to_owned())),
    }
}

fn read_path(text: &str) -> Result<(Vec<Segment>, bool), PatternError> {
    let is_path = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
    if !text.chars().all(is_path) {
        return Err(PatternError::Path(text.to_owned()));
    }
    let mut segments = Vec::new();
    let mut found = text.strip_prefix('/').unwrap_or(text).split('/');
    while let Some(segment) = found.next() {
        match segment {
            "**" if found.next().is_none() => return Ok((segments, true)),
            "**" => return Err(PatternError::Rest(text.to_owned())),
            "*" => segments.push(Segment::Any),
            segment if segment.contains('*') => {
                return Err(PatternError::Star(segment.to_owned()));
            }
            segment => segments.push(Segment::Exact(segment.to_owned())),
        }
    }
    Ok((segments, false))
}

impl fmt::Display for RequestPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.method.as_deref().unwrap_or("*"))?;
        for segment in &self.segments {
            match segment {
                Segment::Any => f.write_str("/*")?,
                Segment::Exact(text) => write!(f, "/{text}")?,
            }
        }
        if self.has_rest {
            f.write_str("/**")?;
        }
        self.status.map_or(Ok(()), |status| write!(f, " {status}"))
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_not { "!" } else { "" })?;
        match self.codes {
            Codes::Class(class) => write!(f, "{class}xx"),
            Codes::One(code) => write!(f, "{code}"),
        }
    }
}

impl TryFrom<String> for RequestPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<RequestPattern> for String {
    fn from(pattern: RequestPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> RequestPattern {
        text.parse().unwrap()
    }

    fn check(text: &str, expected: &str) {
        let error = text.parse::<RequestPattern>().unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }

    #[test]
    fn a_path_is_met_segment_by_segment() {
        for (text, path, expected) in [
            ("/cart", "/cart", true),
            ("/cart", "/cart/", false),
            ("/cart", "/carts", false),
            ("/cart", "/cart/1", false),
            ("/", "/", true),
            ("/", "/a", false),
            ("/a/", "/a/", true),
            ("/a/", "/a", false),
            ("/items/*/buy", "/items/7/buy", true),
            ("/items/*/buy", "/items//buy", false),
            ("/items/*/buy", "/items/7/8/buy", false),
            ("/items/*", "/items/7", true),
            ("/items/*", "/items/", false),
            ("/items/*", "/items", false),
            ("/shop/**", "/shop", true),
            ("/shop/**", "/shop/", true),
            ("/shop/**", "/shop/a/b", true),
            ("/shop/**", "/shops", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/**", "*", false),
        ] {
            assert_eq!(
                pattern(text).is_request("GET", path),
                expected,
                "{text} {path}"
            );
        }
    }

    #[test]
    fn a_method_is_met_by_itself_and_a_star_by_all() {
        assert!(pattern("POST /a").is_request("POST", "/a"));
        assert!(!pattern("POST /a").is_request("GET", "/a"));
        assert!(pattern("* /a").is_request("PURGE", "/a"));
        assert_eq!(pattern("/a"), pattern("* /a"));
    }

    #[test]
    fn an_end_is_met_by_its_status_and_no_answer_is_a_5xx() {
        for (text, status, expected) in [
            ("/a", Some(500), true),
            ("/a", None, true),
            ("/a 2xx", Some(204), true),
            ("/a 2xx", Some(302), false),
            ("/a 2xx", None, false),
            ("/a 200", Some(200), true),
            ("/a 200", Some(201), false),
            ("/a !5xx", Some(404), true),
            ("/a !5xx", Some(503), false),
            ("/a !5xx", None, false),
            ("/a 5xx", None, true),
            ("/a 502", None, false),
            ("/a !404", None, true),
        ] {
            assert_eq!(pattern(text).is_end(status), expected, "{text} {status:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_with_what_was_expected() {
        check(
            "",
            "no path in \"\"; expected [METHOD] PATH [STATUS], such as POST /checkout 2xx",
        );
        check(
            "POST checkout",
            "no path in \"POST checkout\"; expected [METHOD] PATH [STATUS], such as POST /checkout 2xx",
        );
        check(
            "post /a",
            "\"post\" is no method; expected capital letters such as POST, or * for any",
        );
        check(
            "GET /a?b=1",
            "\"/a?b=1\" is no path; expected printable ASCII without `?` and `#`: the query is no part of it",
        );
        check(
            "GET /a*/b",
            "`*` is a part of \"a*\"; expected it to stand for a whole segment, as in /items/*/buy",
        );
        check(
            "GET /a/**/b",
            "\"/a/**/b\" goes on after `**`; expected `**` at the end only, as in /shop/**",
        );
        for status in ["2x", "1xx", "0200", "600", "!!5xx", "ok"] {
            let expected =
                format!("{status:?} is no status; expected one such as 2xx, 200 or !5xx");
            check(&format!("GET /a {status}"), &expected);
        }
        check(
            "GET /a 2xx 3xx",
            "\"3xx\" is one word too many; expected [METHOD] PATH [STATUS], such as POST /checkout 2xx",
        );
        let long = format!("/{}", "a".repeat(PATTERN_BYTES_MAX));
        check(&long, "longer than 512 bytes; expected a shorter pattern");
    }

    #[test]
    fn a_pattern_is_stored_as_it_is_written() {
        for text in ["POST /checkout 2xx", "* /", "GET /a/*/b/** !404", "GET /a/"] {
            let stored = serde_json::to_string(&pattern(text)).unwrap();
            assert_eq!(stored, format!("{text:?}"));
            assert_eq!(
                serde_json::from_str::<RequestPattern>(&stored).unwrap(),
                pattern(text)
            );
        }
        assert!(serde_json::from_str::<RequestPattern>("\"no\"").is_err());
    }
}
