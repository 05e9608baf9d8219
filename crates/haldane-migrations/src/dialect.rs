//! Whose SQL it is, and of which server.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL, and MariaDB as far as it is the same.
    Mysql,
}

/// A server's version: `14`, `8.0.29`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    /// The number before the first dot.
    pub major: u32,
    /// The number after it.
    pub minor: u32,
    /// The last number.
    pub patch: u32,
}

/// Not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version of a server; expected one like 15 or 8.0.29")]
pub struct VersionError(String);

/// What only one of them says. A file with `SERIAL` may be of both, so that it says nothing.
const POSTGRES: [&str; 14] = [
    "CONCURRENTLY",
    "BIGSERIAL",
    "JSONB",
    "TIMESTAMPTZ",
    "BYTEA",
    "LOCK_TIMEOUT",
    "STATEMENT_TIMEOUT",
    "VALIDATE",
    "PLPGSQL",
    "GEN_RANDOM_UUID",
    "RETURNING",
    "ILIKE",
    "EXTENSION",
    "REINDEX",
];

const MYSQL: [&str; 13] = [
    "AUTO_INCREMENT",
    "ENGINE",
    "MODIFY",
    "CHANGE",
    "DATETIME",
    "TINYINT",
    "MEDIUMTEXT",
    "LONGTEXT",
    "UNSIGNED",
    "CHARSET",
    "ALGORITHM",
    "FULLTEXT",
    "LOCK_WAIT_TIMEOUT",
];

impl Dialect {
    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
        }
    }

    /// Returns the version that is assumed where none is told: the oldest that its makers still care for.
    #[must_use]
    pub const fn version(self) -> ServerVersion {
        match self {
            Self::Postgres => ServerVersion::new(14, 0, 0),
            Self::Mysql => ServerVersion::new(8, 4, 0),
        }
    }

    /// Guesses by words that only one of them says; PostgreSQL where that tells nothing.
    #[must_use]
    pub fn guess<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut postgres, mut mysql) = (0_usize, 0_usize);
        for text in texts {
            mysql = mysql.saturating_add(text.matches('`').count());
            postgres = postgres.saturating_add(text.matches("$$").count());
            let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            for word in words.map(str::to_uppercase) {
                if POSTGRES.contains(&word.as_str()) {
                    postgres = postgres.saturating_add(1);
                } else if MYSQL.contains(&word.as_str()) {
                    mysql = mysql.saturating_add(1);
                }
            }
        }
        if mysql > postgres {
            Self::Mysql
        } else {
            Self::Postgres
        }
    }
}

impl ServerVersion {
    /// Returns the version of these numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }
}

impl FromStr for ServerVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || VersionError(text.to_owned());
        let mut numbers = text.split('.').map(str::parse::<u32>);
        let mut number = || match numbers.next() {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(error()),
        };
        let version = Self::new(
            number()?.unwrap_or(0),
            number()?.unwrap_or(0),
            number()?.unwrap_or(0),
        );
        if number()?.is_some() {
            Err(error())
        } else {
            Ok(version)
        }
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.minor, self.patch) {
            (0, 0) => write!(f, "{}", self.major),
            (minor, 0) => write!(f, "{}.{minor}", self.major),
            (minor, patch) => write!(f, "{}.{minor}.{patch}", self.major),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_is_guessed_by_what_only_it_says() {
        for (text, expected) in [
            ("CREATE TABLE a (id int)", Dialect::Postgres),
            ("ALTER TABLE `a` ADD COLUMN b int", Dialect::Mysql),
            (
                "create table a (id bigint auto_increment primary key) engine=innodb",
                Dialect::Mysql,
            ),
            (
                "create table a (id bigserial, b jsonb, c datetime)",
                Dialect::Postgres,
            ),
        ] {
            assert_eq!(Dialect::guess([text]), expected, "{text}");
        }
    }

    #[test]
    fn versions_are_read_and_compared_by_number() {
        let read = |text: &str| text.parse::<ServerVersion>();
        assert!(read("8.0.9").unwrap() < read("8.0.12").unwrap());
        assert_eq!(read("15").unwrap().to_string(), "15");
        assert_eq!(read("8.0.29").unwrap().to_string(), "8.0.29");
        for text in ["", "x", "8.0.29.1", "-1", "8..1"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
