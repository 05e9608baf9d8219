//! Why a query got no reading.
//!
//! Code decides on the variant; the provider's words are for people, and are cut to [`MESSAGE_CHARS_MAX`].

use std::time::Duration;

use crate::answer::Answer;

/// The most characters kept of what a provider says: enough for a parse error with its position, short enough for a status line.
pub const MESSAGE_CHARS_MAX: usize = 300;

/// How long to wait before asking again a provider that is not there, or that limits without saying for how long.
const PAUSE: Duration = Duration::from_secs(5);

/// Why a query got no reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The query can't be sent: something in it, in its address or in its window is impossible.
    #[error("{what} is not usable: {why}")]
    Invalid {
        /// What of the query.
        what: &'static str,
        /// What was expected.
        why: String,
    },
    /// The credentials are not of the kind that the provider takes.
    #[error("the credentials don't fit: expected {expected}")]
    Credentials {
        /// The kinds that it takes.
        expected: &'static str,
    },
    /// The provider refused the credentials.
    #[error("not authorized: {message}")]
    Unauthorized {
        /// What the provider says.
        message: String,
    },
    /// The provider wants fewer requests.
    #[error("rate limited")]
    RateLimited {
        /// How long to wait, if it says so.
        retry_after: Option<Duration>,
    },
    /// The provider does not understand or accept the query.
    #[error("the query was refused: {message}")]
    BadQuery {
        /// What the provider says.
        message: String,
    },
    /// There is nothing at that address or of that name.
    #[error("not found: {message}")]
    NotFound {
        /// What the provider says.
        message: String,
    },
    /// The provider is there, but can't answer now.
    #[error("unavailable (status {status}): {message}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// What the provider says.
        message: String,
        /// How long to wait, if it says so.
        retry_after: Option<Duration>,
    },
    /// The answer is not of the form that the provider documents.
    #[error("malformed answer at {place}: expected {what}")]
    Malformed {
        /// What was expected, and what was found.
        what: String,
        /// Where in the answer.
        place: String,
    },
    /// The answer is larger than what is read.
    #[error("the answer has too many {what}: expected at most {max}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// The provider has only a part of what was asked for.
    #[error("the answer is partial: {message}")]
    Partial {
        /// What the provider says.
        message: String,
    },
}

/// Whether asking again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same query gets the same answer.
    Never,
    /// After a pause it may get another.
    After(Duration),
    /// It may get another at once.
    Now,
}

/// A result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns whether asking again can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::RateLimited { retry_after } | Self::Unavailable { retry_after, .. } => {
                Retry::After(retry_after.unwrap_or(PAUSE))
            }
            Self::Partial { .. } => Retry::After(PAUSE),
            // A body that was cut in transit looks like this, too.
            Self::Malformed { .. } => Retry::Now,
            Self::Invalid { .. }
            | Self::Credentials { .. }
            | Self::Unauthorized { .. }
            | Self::BadQuery { .. }
            | Self::NotFound { .. }
            | Self::TooLarge { .. } => Retry::Never,
        }
    }

    /// Returns the error that the status of `answer` means, with the provider's `message`; `None` for success.
    ///
    /// A redirect that reaches this place was refused by the client.
    pub(crate) fn of_status(answer: &Answer<'_>, message: &str) -> Option<Self> {
        let message = short(message);
        let status = answer.status;
        match status {
            200..=299 => None,
            401 | 403 | 407 => Some(Self::Unauthorized { message }),
            404 | 410 => Some(Self::NotFound { message }),
            429 => Some(Self::RateLimited {
                retry_after: answer.retry_after(),
            }),
            408 | 425 | 500..=599 => Some(Self::Unavailable {
                status,
                message,
                retry_after: answer.retry_after(),
            }),
            300..=399 => Some(Self::Malformed {
                what: format!("an answer, found a redirect (status {status})"),
                place: "the status".to_owned(),
            }),
            400..=499 => Some(Self::BadQuery { message }),
            _ => Some(Self::Malformed {
                what: format!("an HTTP status, found {status}"),
                place: "the status".to_owned(),
            }),
        }
    }

    /// Returns the error with `change` applied to all that a provider said.
    pub(crate) fn map_text(mut self, change: impl Fn(&str) -> String) -> Self {
        match &mut self {
            Self::Unauthorized { message }
            | Self::BadQuery { message }
            | Self::NotFound { message }
            | Self::Unavailable { message, .. }
            | Self::Partial { message } => *message = change(message),
            Self::Malformed { what, place } => {
                *what = change(what);
                *place = change(place);
            }
            Self::Invalid { .. }
            | Self::Credentials { .. }
            | Self::RateLimited { .. }
            | Self::TooLarge { .. } => {}
        }
        self
    }

    pub(crate) fn invalid(what: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid {
            what,
            why: why.into(),
        }
    }

    pub(crate) fn bad_query(message: &str) -> Self {
        Self::BadQuery {
            message: short(message),
        }
    }

    pub(crate) fn malformed(what: impl Into<String>, place: impl Into<String>) -> Self {
        Self::Malformed {
            what: what.into(),
            place: place.into(),
        }
    }
}

/// Returns the beginning of `text` on one line, without control characters.
pub(crate) fn short(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|c| !c.is_control()));
        if line.len() > MESSAGE_CHARS_MAX.saturating_mul(4) {
            break;
        }
    }
    match line.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => {
            line.truncate(end);
            line.push('…');
            line
        }
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_says_is_cut_and_cleaned() {
        assert_eq!(short(" a\n\tb\u{1b}[31m  c "), "a b[31m c");
        let long = short(&"ä".repeat(10_000));
        assert_eq!(long.chars().count(), MESSAGE_CHARS_MAX + 1);
    }

    #[test]
    fn each_status_is_one_kind_of_error() {
        let headers = [("Retry-After".to_owned(), "7".to_owned())];
        let check = |status, expected: &str| {
            let answer = Answer {
                status,
                headers: &headers,
                body: b"",
            };
            let found = Error::of_status(&answer, "why").map(|error| format!("{error:?}"));
            let found = found.unwrap_or_else(|| "ok".to_owned());
            assert!(found.starts_with(expected), "{status}: {found}");
        };
        for (status, expected) in [
            (200, "ok"),
            (204, "ok"),
            (302, "Malformed"),
            (400, "BadQuery"),
            (401, "Unauthorized"),
            (403, "Unauthorized"),
            (404, "NotFound"),
            (422, "BadQuery"),
            (429, "RateLimited { retry_after: Some(7s)"),
            (500, "Unavailable"),
            (
                503,
                "Unavailable { status: 503, message: \"why\", retry_after: Some(7s)",
            ),
            (99, "Malformed"),
        ] {
            check(status, expected);
        }
    }

    #[test]
    fn only_what_can_change_is_asked_again() {
        assert_eq!(Error::bad_query("x").retry(), Retry::Never);
        let limited = Error::RateLimited { retry_after: None };
        assert_eq!(limited.retry(), Retry::After(PAUSE));
        assert_eq!(Error::malformed("x", "y").retry(), Retry::Now);
    }
}
