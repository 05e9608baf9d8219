//! What the tests of all providers share: answers in, one line of text out.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    answer::Answer,
    error::{Error, Result},
    reading::{Reading, Value},
    request::Request,
    window::Window,
};

/// The window of all provider tests: ten minutes up to 2023-11-14T22:20:00Z.
pub(crate) fn window() -> Window {
    let at = |second| Timestamp::from_second(second).unwrap();
    Window::try_new(
        at(1_700_000_400),
        at(1_700_001_000),
        Duration::from_secs(60),
    )
    .unwrap()
}

/// Returns an answer without headers.
pub(crate) const fn answer(status: u16, body: &str) -> Answer<'_> {
    Answer {
        status,
        headers: &[],
        body: body.as_bytes(),
    }
}

/// Writes a reading as `second{labels}=value; …`, an error by its kind and message.
pub(crate) fn show(result: &Result<Reading>) -> String {
    let reading = match result {
        Ok(reading) => reading,
        Err(error) => return show_error(error),
    };
    let mut parts: Vec<String> = reading
        .points
        .iter()
        .map(|point| {
            let value = match &point.value {
                Value::Number(number) => number.to_string(),
                Value::NotFinite(what) => what.to_string(),
                Value::Null => "null".to_owned(),
                Value::Histogram(histogram) => {
                    let buckets = histogram.buckets().iter();
                    let buckets: Vec<_> = buckets
                        .map(|b| format!("({},{}]{}", b.lower, b.upper, b.count))
                        .collect();
                    format!("[{}]", buckets.join(" "))
                }
                Value::Other(text) => format!("other {text}"),
            };
            let labels = if point.labels.iter().len() == 0 {
                String::new()
            } else {
                point.labels.to_string()
            };
            format!("{}{labels}={value}", crate::window::seconds(point.at))
        })
        .collect();
    parts.extend(
        reading
            .warnings
            .iter()
            .map(|text| format!("warning {text}")),
    );
    parts.extend(reading.partial.iter().map(|text| format!("partial {text}")));
    parts.extend(
        reading
            .next
            .iter()
            .map(|page| format!("next {}", page.as_str())),
    );
    if parts.is_empty() {
        parts.push("empty".to_owned());
    }
    parts.join("; ")
}

/// Writes an error by its kind and message.
pub(crate) fn show_error(error: &Error) -> String {
    let debug = format!("{error:?}");
    let kind = debug.split([' ', '{']).next().unwrap_or_default();
    format!("{kind}: {error}")
}

/// Checks rows of status, body and expected text.
pub(crate) fn check(parse: impl Fn(&Answer<'_>) -> Result<Reading>, rows: &[(u16, &str, &str)]) {
    for (status, body, expected) in rows {
        assert_eq!(
            &show(&parse(&answer(*status, body))),
            expected,
            "{status} {body}"
        );
    }
}

/// Checks the answers that every provider may get from a proxy before it: not found, limited, down, no JSON, half a body.
pub(crate) fn check_common(parse: impl Fn(&Answer<'_>) -> Result<Reading>) {
    let headers = [("retry-after".to_owned(), "30".to_owned())];
    let kind = |status: u16, body: &str| {
        let answer = Answer {
            status,
            headers: &headers,
            body: body.as_bytes(),
        };
        show(&parse(&answer))
    };
    let page = "<html><body>502 Bad Gateway</body></html>";
    assert!(
        kind(502, page).starts_with("Unavailable"),
        "{}",
        kind(502, page)
    );
    assert!(kind(401, page).starts_with("Unauthorized"));
    assert!(kind(403, "").starts_with("Unauthorized"));
    assert!(kind(404, "").starts_with("NotFound"));
    assert!(kind(302, "").starts_with("Malformed"));
    assert_eq!(kind(429, "slow down"), "RateLimited: rate limited");
    let limited = Answer {
        status: 429,
        headers: &headers,
        body: b"",
    };
    let retry_after = Some(Duration::from_secs(30));
    assert_eq!(parse(&limited), Err(Error::RateLimited { retry_after }));
    for body in [page, "{\"a\":", "", "[1,", "\u{0}", "3 apples"] {
        let found = kind(200, body);
        assert!(found.starts_with("Malformed"), "{body:?} is {found}");
    }
    let body = [b"{\"a\":\"".as_slice(), &[0xff, 0xfe], b"\"}"].concat();
    let not_text = Answer {
        status: 200,
        headers: &[],
        body: &body,
    };
    assert!(matches!(parse(&not_text), Err(Error::Malformed { .. })));
    let large = " ".repeat(crate::answer::BODY_BYTES_MAX + 1);
    assert!(kind(200, &large).starts_with("TooLarge"));
}

/// Writes a request with its headers and body.
pub(crate) fn show_request(request: &Request) -> String {
    let mut lines = vec![format!("{} {}", request.method.as_str(), request.url)];
    for header in &request.headers {
        lines.push(format!("{}: {}", header.name, header.value.expose()));
    }
    if !request.body.is_empty() {
        lines.push(String::from_utf8(request.body.clone()).unwrap());
    }
    lines.join("\n")
}
