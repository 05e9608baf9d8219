//! The words that a person says about a service, checked, so that each fits the place in a manifest or a pipeline that it is put into.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// The longest name from which the names of Services can be made: theirs are labels of DNS, and get `-stable` or `-canary`.
const BASE_NAME_BYTES_MAX: usize = LABEL_BYTES_MAX - "-stable".len();

/// The longest label of DNS.
const LABEL_BYTES_MAX: usize = 63;

/// The longest name of a host.
const HOST_BYTES_MAX: usize = 253;

/// The longest reference of an image, path or address; longer ones are mistakes.
const TEXT_BYTES_MAX: usize = 1_024;

/// A word that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is no {what}: expected {expected}")]
pub struct WordError {
    text: String,
    what: &'static str,
    expected: &'static str,
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $is_one:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// Returns the word.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = WordError;

            fn from_str(text: &str) -> Result<Self, WordError> {
                let is_one: fn(&str) -> bool = $is_one;
                if is_one(text) {
                    return Ok(Self(text.to_owned()));
                }
                Err(WordError {
                    text: text.to_owned(),
                    what: $what,
                    expected: $expected,
                })
            }
        }
    };
}

word!(
    /// The name of a service, from which those of its objects are made.
    BaseName,
    "name of a service",
    "1 to 56 characters of a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit",
    |text| is_label(text)
        && text.len() <= BASE_NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
);

word!(
    /// The name of a namespace, or of an object in one.
    Label,
    "name in a cluster",
    "1 to 63 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit",
    is_label
);

word!(
    /// A container image.
    Image,
    "image",
    "REPOSITORY:TAG or REPOSITORY@DIGEST without spaces, such as ghcr.io/orion/auth:v1",
    |text| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        let is_edge = |c: char| c.is_ascii_alphanumeric();
        (1..=TEXT_BYTES_MAX).contains(&text.len())
            && text.chars().all(is_allowed)
            && text.starts_with(is_edge)
            && text.ends_with(is_edge)
    }
);

word!(
    /// The name of a host.
    Host,
    "name of a host",
    "labels of a-z, 0-9 and '-' with dots between them, such as auth.example.com",
    |text| text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label)
);

word!(
    /// The path of a request.
    HttpPath,
    "path of a request",
    "a text that begins with /, without spaces, such as /healthz",
    |text| is_visible(text) && text.starts_with('/')
);

word!(
    /// The address of an HTTP server.
    Address,
    "address",
    "http://HOST:PORT or https://HOST:PORT",
    |text| is_visible(text)
        && ["http://", "https://"]
            .iter()
            .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
);

word!(
    /// The path of a file in a repository.
    FilePath,
    "path of a file",
    "letters, digits, '.', '_', '-' and '/', such as deploy/auth.yaml",
    |text| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        (1..=TEXT_BYTES_MAX).contains(&text.len())
            && text.chars().all(is_allowed)
            && !text.starts_with('-')
    }
);

/// A name in a namespace that may be another one: NAME or NAMESPACE/NAME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The namespace, where it is said.
    pub namespace: Option<Label>,
    /// The name.
    pub name: Label,
}

impl Image {
    /// Returns the image without tag and digest.
    #[must_use]
    pub fn repository(&self) -> &str {
        let bare = self.0.split('@').next().unwrap_or_default();
        match bare.rsplit_once(':') {
            // A port is followed by a path.
            Some((repository, tag)) if !tag.contains('/') => repository,
            Some(_) | None => bare,
        }
    }

    /// Returns the tag.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        let bare = self.0.split('@').next().unwrap_or_default();
        let rest = bare.strip_prefix(self.repository())?;
        rest.strip_prefix(':')
    }
}

impl FromStr for Place {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace.parse()?), name),
            None => (None, text),
        };
        Ok(Self {
            namespace,
            name: name.parse()?,
        })
    }
}

fn is_label(text: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=LABEL_BYTES_MAX).contains(&text.len())
        && text.starts_with(is_edge)
        && text.ends_with(is_edge)
        && text.chars().all(|c| is_edge(c) || c == '-')
}

fn is_visible(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_graphic() && !"\"'`\\{}$".contains(c);
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_would_break_a_manifest_are_refused() {
        for text in ["", "Auth", "1auth", "auth-", "auth_1", &"a".repeat(57)] {
            assert!(text.parse::<BaseName>().is_err(), "{text:?}");
        }
        assert!("a".repeat(56).parse::<BaseName>().is_ok());
        for text in ["", "a b", "a\nb", "auth:", "${x}", "-x"] {
            assert!(text.parse::<Image>().is_err(), "{text:?}");
        }
        for text in ["", "a..b", "A.example", "`x`", "a.example/"] {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
        for text in ["healthz", "/a b", "/{{x}}"] {
            assert!(text.parse::<HttpPath>().is_err(), "{text:?}");
        }
        for text in ["prometheus:9090", "http://", "http://a b"] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
        for text in ["", "-x.yaml", "a b", "$(x)"] {
            assert!(text.parse::<FilePath>().is_err(), "{text:?}");
        }
        let error = "a/b/c".parse::<Place>().unwrap_err();
        assert!(error.to_string().starts_with("\"b/c\" is no name"));
    }

    #[test]
    fn an_image_is_taken_apart() {
        for (text, repository, tag) in [
            ("auth", "auth", None),
            ("ghcr.io/orion/auth:v1", "ghcr.io/orion/auth", Some("v1")),
            ("localhost:5000/auth", "localhost:5000/auth", None),
            (
                "localhost:5000/auth:v1@sha256:0a",
                "localhost:5000/auth",
                Some("v1"),
            ),
        ] {
            let image: Image = text.parse().unwrap();
            assert_eq!(
                (image.repository(), image.tag()),
                (repository, tag),
                "{text}"
            );
        }
    }
}
