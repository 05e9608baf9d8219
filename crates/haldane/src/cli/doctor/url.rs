//! Which versions answer at an address: what the weight really does.

use std::collections::BTreeMap;

use haldane_source::{Method, Request};

use super::{Finding, Status};
use crate::{
    cli::words::{clean, count, cut},
    wire::web::{REQUEST_TIMEOUT, Web, WebError},
};

/// How many requests are sent, one after the other.
const REQUESTS: u32 = 20;

/// The headers by which services tell their version, best first.
const HEADERS: [&str; 4] = [
    "x-haldane-version",
    "x-version",
    "x-app-version",
    "x-served-by",
];

/// How large an answer may be; a page with its pictures inside is not.
const BYTES_MAX: usize = 16 << 20;

/// The most characters of a version's name.
const NAME_CHARS_MAX: usize = 63;

/// The status and headers of an answer.
type Head = (u16, Vec<(String, String)>);

/// What was answered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    versions: BTreeMap<String, u32>,
    unnamed: u32,
    /// Answers that say that the service failed.
    failed: BTreeMap<u16, u32>,
    /// No answer at all; the last reason.
    broken: u32,
    reason: String,
}

/// Sends the requests, and tells who answered.
pub(super) async fn finding(url: &str) -> Finding {
    let web = Web::new(REQUEST_TIMEOUT);
    let question = Request {
        method: Method::Get,
        url: url.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    let mut tally = Tally::default();
    for _ in 0..REQUESTS {
        let answer = web.fetch(&question, BYTES_MAX).await;
        let is_final = answer.as_ref().is_err_and(|error| !error.is_passing());
        tally.add(answer.map(|answer| (answer.status.as_u16(), answer.headers)));
        if is_final {
            break;
        }
    }
    let (status, text) = tally.told();
    Finding::new(status, "requests", text)
}

impl Tally {
    fn add(&mut self, answer: Result<Head, WebError>) {
        let add = |count: &mut u32| *count = count.saturating_add(1);
        match answer {
            Err(error) => {
                add(&mut self.broken);
                self.reason = error.to_string();
            }
            Ok((status, headers)) => {
                if status >= 500 {
                    add(self.failed.entry(status).or_default());
                }
                let named = |wanted: &&str| {
                    headers
                        .iter()
                        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                };
                match HEADERS.iter().find_map(named) {
                    Some((_, version)) => {
                        let version = cut(&clean(version), NAME_CHARS_MAX);
                        add(self.versions.entry(version).or_default());
                    }
                    None => add(&mut self.unnamed),
                }
            }
        }
    }

    fn told(&self) -> (Status, String) {
        let sent = |number: u32| count(number, "request", "requests");
        let mut parts: Vec<String> = self
            .versions
            .iter()
            .map(|(version, number)| format!("{} answered by {version}", sent(*number)))
            .collect();
        if self.unnamed > 0 {
            parts.push(format!(
                "{} answered without a version (a header such as {} tells it)",
                sent(self.unnamed),
                HEADERS.get(1).copied().unwrap_or_default()
            ));
        }
        for (status, number) in &self.failed {
            parts.push(format!("{} of them failed with {status}", sent(*number)));
        }
        if self.broken > 0 {
            parts.push(format!(
                "{} had no answer ({}); look at the address, its route and its Service",
                sent(self.broken),
                self.reason
            ));
        }
        let status = if self.broken > 0 {
            Status::Fail
        } else if self.failed.is_empty() {
            Status::Ok
        } else {
            Status::Warn
        };
        (status, parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, header: &str) -> Result<Head, WebError> {
        let header = header.split_once('=');
        let headers = header.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok((status, headers.into_iter().collect()))
    }

    fn told(answers: Vec<Result<Head, WebError>>) -> (Status, String) {
        let mut tally = Tally::default();
        for answer in answers {
            tally.add(answer);
        }
        tally.told()
    }

    #[test]
    fn who_answered_is_told_by_a_header() {
        let answers = vec![
            answer(200, "X-Version=v1"),
            answer(200, "x-version=v1"),
            answer(404, "x-app-version=v2"),
        ];
        let expected = "2 requests answered by v1; 1 request answered by v2";
        assert_eq!(told(answers), (Status::Ok, expected.to_owned()));
        let (status, text) = told(vec![answer(503, "server=envoy")]);
        assert_eq!(status, Status::Warn);
        assert!(
            text.starts_with("1 request answered without a version"),
            "{text}"
        );
        assert!(
            text.ends_with("1 request of them failed with 503"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn an_address_where_nobody_is_fails_and_says_what_to_look_at() {
        let found = finding("http://127.0.0.1:1/").await;
        assert_eq!(found.status, Status::Fail);
        assert!(
            found.text.starts_with("20 requests had no answer ("),
            "{found:?}"
        );
    }
}
