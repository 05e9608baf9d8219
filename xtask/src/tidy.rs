//! Tidy: rules about the tree that neither the compiler nor clippy knows.
//!
//! Crate edges and purity are read from the tables of `ARCHITECTURE.md`, so that the document can't lie. Each rule is a pure
//! function from text to [`Problem`]s, with a test that shows it can fail.

mod architecture;
mod edges;
mod lexer;
mod lints;
mod manifest;
mod source;

use std::{
    fmt, fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;

pub(crate) use crate::tidy::architecture::Architecture;
use crate::{stage::Outcome, tidy::source::Source, workspace::Workspace};

/// Where one rule is broken, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    path: String,
    line: Option<usize>,
    what: String,
}

/// Checks the tree and tells every problem.
pub(crate) fn stage(workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let problems = problems(workspace)?;
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    Ok(if problems.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed
    })
}

/// Returns the crates that `ARCHITECTURE.md` calls pure and that exist.
pub(crate) fn pure_crates(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let architecture = Architecture::load(&workspace.root)?;
    let names = workspace.members.iter().map(|member| &member.name);
    Ok(names
        .filter(|name| architecture.is_pure(name))
        .cloned()
        .collect())
}

fn problems(workspace: &Workspace) -> anyhow::Result<Vec<Problem>> {
    let root = &workspace.root;
    let architecture = Architecture::load(root)?;
    let root_lints = read(root, Path::new("clippy.toml"))?;
    let mut problems = edges::problems(workspace, &architecture);
    problems.extend(manifest::root_problems(&read(
        root,
        Path::new("Cargo.toml"),
    )?));
    for member in &workspace.members {
        let path = member.directory.join("Cargo.toml");
        problems.extend(manifest::problems(&show(&path), &read(root, &path)?));
        let path = member.directory.join("clippy.toml");
        let text = root
            .join(&path)
            .exists()
            .then(|| read(root, &path))
            .transpose()?;
        let is_pure = architecture.is_pure(&member.name);
        problems.extend(lints::problems(
            &show(&path),
            text.as_deref(),
            &root_lints,
            is_pure,
        ));
        for path in rust_files(root, &member.directory)? {
            let text = read(root, &path)?;
            problems.extend(Source::new(&member.name, &show(&path), &text).problems(&architecture));
        }
    }
    problems.sort();
    Ok(problems)
}

fn read(root: &Path, path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("reading {}", path.display()))
}

/// Returns the `.rs` files under `directory`, seen from `root`, in order.
fn rust_files(root: &Path, directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(root.join(&directory));
        for entry in entries.with_context(|| format!("listing {}", directory.display()))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

impl Problem {
    fn new(path: &str, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line: None,
            what: what.into(),
        }
    }

    fn at(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            ..Self::new(path, what)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let problems = problems(&Workspace::load().unwrap()).unwrap();
        let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(list.is_empty(), "\n{}", list.join("\n"));
    }

    #[test]
    fn files_in_every_depth_are_found() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("crates/a/src/b")).unwrap();
        for file in [
            "crates/a/src/lib.rs",
            "crates/a/src/b/c.rs",
            "crates/a/src/notes.md",
        ] {
            fs::write(root.path().join(file), "").unwrap();
        }
        let files = rust_files(root.path(), Path::new("crates/a")).unwrap();
        assert_eq!(
            files,
            [
                Path::new("crates/a/src/b/c.rs"),
                Path::new("crates/a/src/lib.rs")
            ]
        );
    }

    #[test]
    fn a_problem_says_where() {
        let problem = Problem::at("src/lib.rs", 3, "no").to_string();
        assert_eq!(problem, "src/lib.rs:3: no");
        assert_eq!(
            Problem::new("Cargo.toml", "no").to_string(),
            "Cargo.toml: no"
        );
    }
}
