//! In which order files run, and which way each goes, by the names that the usual tools ask for.
//!
//! Flyway `V1.2__x.sql`, `U1.2__x.sql`, `R__x.sql`; golang-migrate `1_x.up.sql`; sqlx, Rails and dbmate `20240101120000_x.sql`; Diesel and
//! Prisma with a directory for each migration. Names without a number run after those with one, by name.

use crate::{check::File, script::Direction};

/// What a file's name says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Naming {
    /// Its place among the others.
    pub place: Place,
    /// Which way it goes.
    pub direction: Direction,
}

/// The place of a file among others, first to last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// By its numbers: each its length without zeros and its digits, so that it has no maximum.
    Version(Vec<(usize, String)>, String),
    /// By its name.
    Name(String),
    /// After all others, each time it has changed.
    Repeatable(String),
}

/// Whether one of the files has that number.
#[must_use]
pub fn is_number_of(files: &[File], number: &str) -> bool {
    let Place::Version(sought, _) = read(number).place else {
        return false;
    };
    files
        .iter()
        .any(|file| matches!(read(&file.path).place, Place::Version(own, _) if own == sought))
}

/// Reads a path relative to the directory of the migrations.
pub(crate) fn read(path: &str) -> Naming {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file.strip_suffix(".sql").unwrap_or(file);
    let (stem, direction) = match stem.rsplit_once('.') {
        Some((stem, "up")) => (stem, Direction::Up),
        Some((stem, "down")) => (stem, Direction::Down),
        _ => (stem, Direction::Up),
    };
    // A directory for each migration has its number there.
    let (name, direction) = match stem {
        "up" | "migration" => (last(directory), Direction::Up),
        "down" => (last(directory), Direction::Down),
        _ => (stem, direction),
    };
    let flyway = name.split_once("__").map(|(prefix, _)| prefix);
    let (digits, direction) = match flyway.and_then(letter) {
        Some(('R', "")) => {
            return Naming {
                place: Place::Repeatable(name.to_owned()),
                direction,
            };
        }
        Some(('V' | 'B', version)) => (version, direction),
        Some(('U', version)) => (version, Direction::Down),
        _ => (name, direction),
    };
    let place = match numbers(digits) {
        numbers if numbers.is_empty() => Place::Name(path.to_owned()),
        numbers => Place::Version(numbers, name.to_owned()),
    };
    Naming { place, direction }
}

impl Naming {
    /// Whether it runs at `version` or before, where `version` is a number as in its name, or its path.
    pub(crate) fn is_within(&self, path: &str, version: &str) -> bool {
        match &self.place {
            Place::Repeatable(_) => false,
            Place::Name(name) => name.as_str() <= version,
            Place::Version(own, _) => {
                if path == version {
                    return true;
                }
                match read(version).place {
                    Place::Version(other, _) => *own <= other,
                    Place::Name(_) | Place::Repeatable(_) => false,
                }
            }
        }
    }
}

fn last(directory: &str) -> &str {
    directory
        .rsplit_once('/')
        .map_or(directory, |(_, last)| last)
}

/// Returns the letter and what follows.
fn letter(prefix: &str) -> Option<(char, &str)> {
    let mut characters = prefix.chars();
    let first = characters.next()?;
    Some((first, characters.as_str()))
}

/// Returns the numbers at the beginning: `1.10_x` has two, `1_2_x` too, `2024-01-02_x` three.
fn numbers(text: &str) -> Vec<(usize, String)> {
    let mut numbers = Vec::new();
    let mut rest = text;
    loop {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (digits, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if digits.is_empty() {
            return numbers;
        }
        let significant = digits.trim_start_matches('0');
        numbers.push((significant.len(), significant.to_owned()));
        rest = after.strip_prefix(['.', '_', '-']).unwrap_or("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(paths: &[&str]) -> Vec<String> {
        let mut paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        paths.sort_by_key(|path| read(path));
        paths
    }

    #[test]
    fn files_run_in_the_order_of_their_tools() {
        for (given, expected) in [
            (
                vec!["R__v.sql", "V10__b.sql", "V2__a.sql", "V2.1__c.sql"],
                vec!["V2__a.sql", "V2.1__c.sql", "V10__b.sql", "R__v.sql"],
            ),
            (
                vec!["10_b.up.sql", "9_a.up.sql", "0011_c.up.sql"],
                vec!["9_a.up.sql", "10_b.up.sql", "0011_c.up.sql"],
            ),
            (
                vec!["20240201000000_b.sql", "20240101120000_a.sql"],
                vec!["20240101120000_a.sql", "20240201000000_b.sql"],
            ),
            (
                vec!["b.sql", "a.sql", "1_z.sql"],
                vec!["1_z.sql", "a.sql", "b.sql"],
            ),
            (
                vec!["2024-02-01-1_b/up.sql", "2024-01-01-9_a/up.sql"],
                vec!["2024-01-01-9_a/up.sql", "2024-02-01-1_b/up.sql"],
            ),
        ] {
            assert_eq!(sorted(&given), expected);
        }
    }

    #[test]
    fn names_tell_the_direction() {
        for (path, expected) in [
            ("1_x.up.sql", Direction::Up),
            ("1_x.down.sql", Direction::Down),
            ("U1__x.sql", Direction::Down),
            ("V1__x.sql", Direction::Up),
            ("1_x/down.sql", Direction::Down),
            ("1_x/migration.sql", Direction::Up),
            ("x.sql", Direction::Up),
        ] {
            assert_eq!(read(path).direction, expected, "{path}");
        }
    }

    #[test]
    fn what_ran_already_is_told_by_number_or_by_name() {
        let is_within = |path: &str, version: &str| read(path).is_within(path, version);
        assert!(is_within("V2__a.sql", "V2__a.sql"));
        assert!(is_within("V2__a.sql", "10"));
        assert!(is_within("V2__a.sql", "2"));
        assert!(!is_within("V10__a.sql", "2"));
        assert!(!is_within("R__a.sql", "99"));
        assert!(is_within("20240101120000_a.sql", "20240101120000"));
        assert!(is_within("a.sql", "b.sql"));
        assert!(!is_within("c.sql", "b.sql"));
    }
}
