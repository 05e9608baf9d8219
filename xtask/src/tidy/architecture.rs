//! The tables of `ARCHITECTURE.md`: which crate may use which, which are pure, and what only some crates may touch.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;

const FILE: &str = "ARCHITECTURE.md";

/// What the document allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Architecture {
    crates: BTreeMap<String, Crate>,
    restricted: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Crate {
    is_pure: bool,
    may_use: Vec<String>,
}

impl Architecture {
    /// Reads the document at the root of the repository.
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let text =
            fs::read_to_string(root.join(FILE)).with_context(|| format!("reading {FILE}"))?;
        Self::parse(&text).with_context(|| format!("reading the tables of {FILE}"))
    }

    /// Reads the document's two tables, told apart by their headers.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut architecture = Self::default();
        for row in table(text, &["crate", "pure", "may use"])? {
            let [name, pure, may_use] = row.as_slice() else {
                anyhow::bail!("a row has three cells: {row:?}")
            };
            let is_pure = match *pure {
                "yes" => true,
                "no" => false,
                _ => anyhow::bail!("pure is `yes` or `no`, not {pure:?}"),
            };
            let entry = Crate {
                is_pure,
                may_use: names(may_use),
            };
            let old = architecture.crates.insert(name_of(name)?, entry);
            anyhow::ensure!(old.is_none(), "two rows for {name}");
        }
        for row in table(text, &["restricted", "only in"])? {
            let [name, only_in] = row.as_slice() else {
                anyhow::bail!("a row has two cells: {row:?}")
            };
            architecture
                .restricted
                .insert(name_of(name)?, names(only_in));
        }
        Ok(architecture)
    }

    /// Whether `name` is a crate without clock, chance and I/O.
    pub(crate) fn is_pure(&self, name: &str) -> bool {
        self.crates.get(name).is_some_and(|entry| entry.is_pure)
    }

    /// Whether only some crates may use the library `name`.
    pub(crate) fn is_restricted(&self, name: &str) -> bool {
        self.restricted.contains_key(name)
    }

    /// Returns what `name` may use, or nothing for a crate that has no row.
    pub(super) fn may_use(&self, name: &str) -> Option<&[String]> {
        self.crates.get(name).map(|entry| entry.may_use.as_slice())
    }

    /// Returns the crates that may use the library `name`, or nothing when it isn't restricted.
    pub(super) fn users(&self, name: &str) -> Option<&[String]> {
        self.restricted.get(name).map(Vec::as_slice)
    }

    /// Returns the restricted paths, such as `std::process::Command`, that `name` may not use.
    pub(super) fn forbidden_paths<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let paths = self
            .restricted
            .iter()
            .filter(|(path, _)| path.contains("::"));
        let forbidden = paths.filter(move |(_, users)| !users.iter().any(|user| user == name));
        forbidden.map(|(path, _)| path.as_str())
    }
}

/// Returns the rows below the header whose cells are `header`.
fn table<'a>(text: &'a str, header: &[&str]) -> anyhow::Result<Vec<Vec<&'a str>>> {
    let mut lines = text.lines().skip_while(|line| cells(line) != header);
    let found = lines.by_ref().take(2).count() == 2; // The header and the line below it.
    let rows = lines.map_while(|line| line.starts_with('|').then(|| cells(line)));
    let rows: Vec<_> = rows.collect();
    anyhow::ensure!(
        found && !rows.is_empty(),
        "no table with the header `{}`",
        header.join(" | ")
    );
    Ok(rows)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim()
        .trim_matches('|')
        .split('|')
        .map(str::trim)
        .collect()
}

/// Returns what stands between backticks.
fn names(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn name_of(cell: &str) -> anyhow::Result<String> {
    names(cell)
        .into_iter()
        .next()
        .with_context(|| format!("no name in backticks in {cell:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Title

| crate | pure | may use |
|---|---|---|
| `core` | yes | – |
| `engine` | no | `core` |

Text.

| restricted | only in |
|---|---|
| `tokio` | `engine` |
| `std::process::Command` | `supervisor` |
";

    #[test]
    fn both_tables_are_read() {
        let architecture = Architecture::parse(TEXT).unwrap();
        assert!(architecture.is_pure("core"));
        assert!(!architecture.is_pure("engine") && !architecture.is_pure("unknown"));
        assert_eq!(architecture.may_use("core"), Some([].as_slice()));
        assert_eq!(
            architecture.may_use("engine"),
            Some(["core".to_owned()].as_slice())
        );
        assert_eq!(architecture.may_use("unknown"), None);
        assert_eq!(
            architecture.users("tokio"),
            Some(["engine".to_owned()].as_slice())
        );
        assert_eq!(
            architecture.forbidden_paths("core").collect::<Vec<_>>(),
            ["std::process::Command"]
        );
        assert_eq!(architecture.forbidden_paths("supervisor").count(), 0);
    }

    #[test]
    fn a_document_without_its_tables_allows_nothing() {
        for (text, problem) in [
            ("", "no table with the header `crate | pure | may use`"),
            (
                &TEXT.replace("restricted", "limited"),
                "no table with the header `restricted | only in`",
            ),
            (
                &TEXT.replace("| yes |", "| maybe |"),
                "pure is `yes` or `no`, not \"maybe\"",
            ),
            (
                &TEXT.replace("`engine` | no", "`core` | no"),
                "two rows for `core`",
            ),
            (
                &TEXT.replace("| `core` | yes |", "| core | yes |"),
                "no name in backticks in \"core\"",
            ),
        ] {
            assert_eq!(Architecture::parse(text).unwrap_err().to_string(), problem);
        }
    }
}
