//! Manifests: versions and features live only in the root's `[workspace.dependencies]`, and every crate has the same lints.
//!
//! `cargo metadata` does not tell what was inherited, so this reads the text: sections, and `key = value` with brackets closed.

use crate::tidy::Problem;

const LINTS: &str = "expected `[lints]` with `workspace = true`";
const INHERIT: &str =
    "expected `workspace = true`: versions live in the root's [workspace.dependencies]";
const DEFAULT_FEATURES: &str =
    "expected `default-features = false`, and the features that are used";

/// One `key = value`.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    line: usize,
    section: String,
    key: String,
    value: String,
}

/// Returns what is wrong with the manifest of a crate.
pub(super) fn problems(path: &str, text: &str) -> Vec<Problem> {
    let entries = entries(text);
    let mut problems = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_dependency()) {
        if !entry.is_inherited() {
            problems.push(Problem::at(
                path,
                entry.line,
                format!("`{}`: {INHERIT}", entry.key),
            ));
        }
    }
    let is_linted = |entry: &Entry| {
        entry.section == "lints" && entry.key == "workspace" && entry.value == "true"
    };
    if !entries.iter().any(is_linted) {
        problems.push(Problem::new(path, LINTS));
    }
    problems
}

/// Returns what is wrong with the root's manifest.
pub(super) fn root_problems(text: &str) -> Vec<Problem> {
    let entries = entries(text);
    let rows = entries
        .iter()
        .filter(|entry| entry.section.starts_with("workspace.dependencies"));
    let wrong = rows.filter(|entry| {
        // Our own crates have no default features to turn off.
        !entry.value.contains("path = ") && !entry.value.contains("default-features = false")
    });
    let problem = |entry: &Entry| {
        Problem::at(
            "Cargo.toml",
            entry.line,
            format!("`{}`: {DEFAULT_FEATURES}", entry.key),
        )
    };
    wrong.map(problem).collect()
}

impl Entry {
    fn is_dependency(&self) -> bool {
        self.section
            .split('.')
            .any(|part| part.ends_with("dependencies"))
    }

    fn is_inherited(&self) -> bool {
        let dotted = self.key.ends_with(".workspace") && self.value == "true";
        let table = self.value.starts_with('{') && self.value.contains("workspace = true");
        dotted || table
    }
}

fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (mut section, mut open): (String, Option<Entry>) = (String::new(), None);
    for (index, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or(line).trim();
        let entry = match open.take() {
            Some(mut entry) => {
                entry.value.push_str(line);
                entry
            }
            None if line.starts_with('#') => continue,
            None => match (line.strip_prefix('['), line.split_once('=')) {
                (Some(header), _) => {
                    section = header.trim_matches(['[', ']']).to_owned();
                    continue;
                }
                (None, Some((key, value))) => Entry {
                    line: index + 1,
                    section: section.clone(),
                    key: key.trim().to_owned(),
                    value: value.trim().to_owned(),
                },
                (None, None) => continue,
            },
        };
        if is_closed(&entry.value) {
            entries.push(entry)
        } else {
            open = Some(entry)
        }
    }
    entries
}

fn is_closed(value: &str) -> bool {
    let count = |wanted: [char; 2]| value.chars().filter(|c| wanted.contains(c)).count();
    count(['[', '{']) <= count([']', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let lints = "\n[lints]\nworkspace = true\n";
        let problems = problems("Cargo.toml", &format!("{text}{lints}"));
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, expected, "{text}");
    }

    #[test]
    fn inherited_dependencies_are_fine() {
        check(
            "[package]\nversion = \"1\"\n[dependencies]\nserde.workspace = true\n",
            &[],
        );
        check(
            "[dev-dependencies]\nserde = { workspace = true, features = [\n \"rc\",\n] }\n",
            &[],
        );
    }

    #[test]
    fn a_version_of_its_own_is_refused() {
        let wrong = |line: usize| format!("Cargo.toml:{line}: `serde`: {INHERIT}");
        check("[dependencies]\nserde = \"1\"\n", &[&wrong(2)]);
        check(
            "[dev-dependencies]\n\n# why\nserde = { version = \"1\" }\n",
            &[&wrong(4)],
        );
        check(
            "[target.'cfg(unix)'.dependencies]\nserde = { path = \"../serde\" }\n",
            &[&wrong(2)],
        );
        let table = format!("Cargo.toml:2: `version`: {INHERIT}");
        check("[dependencies.serde]\nversion = \"1\"\n", &[&table]);
    }

    #[test]
    fn a_crate_without_our_lints_is_refused() {
        for text in ["[package]\nname = \"a\"\n", "[lints]\nworkspace = false\n"] {
            assert_eq!(
                problems("Cargo.toml", text),
                [Problem::new("Cargo.toml", LINTS)]
            );
        }
    }

    #[test]
    fn default_features_are_refused() {
        let text = "[workspace.dependencies]\nown = { path = \"crates/own\" }\n\
                    a = { version = \"1\", default-features = false, features = [\"x\"] }\nb = \"1\"\n";
        let problem = Problem::at("Cargo.toml", 4, format!("`b`: {DEFAULT_FEATURES}"));
        assert_eq!(root_problems(text), [problem]);
    }
}
