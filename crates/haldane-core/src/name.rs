//! Names of services, versions and rollouts: short, printable, safe in a path, a label and a URL.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest name, in bytes: that of a Kubernetes label value and a DNS label.
pub const NAME_BYTES_MAX: usize = 63;

/// The longest rollout id: a service name, a dash and a number.
const ROLLOUT_ID_BYTES_MAX: usize = NAME_BYTES_MAX + 21;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a {what}: expected 1 to {max} characters of {allowed}, beginning and ending with a letter or digit"
)]
pub struct NameError {
    text: String,
    what: &'static str,
    max: usize,
    allowed: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $allowed:literal, $is_allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if is_name(text, $max, $is_allowed) {
                    return Ok(Self(text.to_owned()));
                }
                let text = text.chars().take(NAME_BYTES_MAX).collect();
                Err(NameError { text, what: $what, max: $max, allowed: $allowed })
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of a service, as in `haldane.yaml`: lower-case letters, digits and dashes.
    ServiceName,
    "service name",
    NAME_BYTES_MAX,
    "a-z, 0-9 and '-'",
    |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);

name!(
    /// The name of a version of a service: letters, digits, dots, dashes and underscores.
    VersionName,
    "version name",
    NAME_BYTES_MAX,
    "A-Z, a-z, 0-9, '.', '_' and '-'",
    |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
);

name!(
    /// The id of one rollout: the service and a number that only rises, as in `auth-7`.
    RolloutId,
    "rollout id",
    ROLLOUT_ID_BYTES_MAX,
    "a-z, 0-9 and '-'",
    |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);

impl RolloutId {
    /// Returns the id of the `number`th rollout of `service`.
    #[must_use]
    pub fn new(service: &ServiceName, number: u64) -> Self {
        Self(format!("{service}-{number}"))
    }
}

fn is_name(text: &str, bytes_max: usize, is_allowed: impl Fn(char) -> bool) -> bool {
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= bytes_max
        && is_edge(text.chars().next())
        && is_edge(text.chars().next_back())
        && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_unsafe_in_a_path_or_label_are_refused() {
        for text in [
            "",
            "-a",
            "a-",
            "a/b",
            "..",
            "a b",
            "A",
            "ü",
            &"a".repeat(64),
        ] {
            assert!(text.parse::<ServiceName>().is_err(), "{text:?}");
        }
        for text in ["auth", "a", "auth-2", &"a".repeat(63)] {
            assert!(text.parse::<ServiceName>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn versions_may_look_like_image_tags() {
        for text in ["v1", "2.0.0-rc.1", "20261121_1"] {
            assert!(text.parse::<VersionName>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn the_longest_service_has_room_for_every_number() {
        let service: ServiceName = "a".repeat(NAME_BYTES_MAX).parse().unwrap();
        let id = RolloutId::new(&service, u64::MAX);
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert!(format!("{id}0").parse::<RolloutId>().is_err());
    }

    #[test]
    fn a_stored_name_is_checked_again() {
        assert!(serde_json::from_str::<ServiceName>("\"../etc\"").is_err());
    }

    #[test]
    fn the_error_says_what_was_expected() {
        let error = "Auth!".parse::<ServiceName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"Auth!\" is not a service name: expected 1 to 63 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit"
        );
    }
}
