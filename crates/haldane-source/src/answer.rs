//! The answer of a provider, as the client read it.

use std::time::Duration;

use crate::{
    error::{Error, Result, short},
    json,
};

/// The largest body that is read: a range query of 11,000 points over some tens of series. The client stops reading at it, too.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The longest pause that a provider can ask for; an hour is longer than any step should wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// The answer of a provider.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The HTTP status; for a command its exit code mapped to 200 or 500.
    pub status: u16,
    /// The headers, names in any case.
    pub headers: &'a [(String, String)],
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Returns the first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns how long the provider asks to wait: `Retry-After` in seconds, or the reset of a rate limit in seconds from now.
    ///
    /// A date in `Retry-After` would need a clock; it counts as not said.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let said = ["retry-after", "x-ratelimit-reset"]
            .iter()
            .find_map(|name| self.header(name)?.trim().parse().ok());
        said.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
    }

    /// Returns the body as text.
    pub(crate) fn text(&self) -> Result<&'a str> {
        if self.body.len() > BODY_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "bytes",
                max: BODY_BYTES_MAX,
            });
        }
        std::str::from_utf8(self.body)
            .map_err(|error| Error::malformed("UTF-8", format!("byte {}", error.valid_up_to())))
    }

    /// Returns the JSON of a successful answer.
    ///
    /// `message` finds the provider's words in the JSON of another; where there are none, the beginning of the body stands for them.
    pub(crate) fn json(
        &self,
        message: impl Fn(json::Node<'_>) -> Option<String>,
    ) -> Result<serde_json::Value> {
        let text = self.text()?;
        let parsed = json::parse(text);
        let said = parsed
            .as_ref()
            .ok()
            .and_then(|value| message(json::Node::root(value)));
        let said = said.unwrap_or_else(|| self.gist(text));
        match Error::of_status(self, &said) {
            Some(error) => Err(error),
            None => parsed,
        }
    }

    /// Returns the text of a successful answer.
    pub(crate) fn success(&self) -> Result<&'a str> {
        let text = self.text()?;
        match Error::of_status(self, &self.gist(text)) {
            Some(error) => Err(error),
            None => Ok(text),
        }
    }

    /// Returns the beginning of the body; of a page for people only that it is one.
    fn gist(&self, text: &str) -> String {
        let text = text.trim_start();
        if text.starts_with('<') {
            return "a page of markup".to_owned();
        }
        short(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_beyond_the_maximum_is_not_read() {
        let body = vec![b' '; BODY_BYTES_MAX + 1];
        let answer = Answer {
            status: 200,
            headers: &[],
            body: &body,
        };
        assert!(matches!(answer.text(), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn a_body_that_is_not_text_is_malformed() {
        let answer = Answer {
            status: 200,
            headers: &[],
            body: b"{\"a\":\"\xff\"}",
        };
        let expected = Error::malformed("UTF-8", "byte 6");
        assert_eq!(answer.text(), Err(expected));
    }
}
