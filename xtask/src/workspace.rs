//! What the workspace contains, as `cargo metadata` tells it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use crate::invocation::Invocation;

/// The crates of this repository.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// Where the repository lies.
    pub root: PathBuf,
    /// Its crates, by name.
    pub members: Vec<Member>,
}

/// One crate of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name.
    pub name: String,
    /// Its directory, seen from the root.
    pub directory: PathBuf,
    /// What it needs to run or to build, by the name in the registry; what only its tests need is left out.
    pub dependencies: Vec<String>,
    /// The names of its binaries.
    pub binaries: Vec<String>,
}

impl Workspace {
    /// Asks cargo for the workspace that this program belongs to.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = xtask
            .parent()
            .context("finding the root of the repository")?;
        let args = ["metadata", "--format-version", "1", "--no-deps"];
        let metadata = Invocation::cargo(&args).output(root)?;
        let members = members(&metadata, root).context("reading the output of `cargo metadata`")?;
        Ok(Self {
            root: root.to_owned(),
            members,
        })
    }

    /// Returns the crate called `name`, if it exists yet.
    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

fn members(metadata: &str, root: &Path) -> anyhow::Result<Vec<Member>> {
    let metadata: Value = serde_json::from_str(metadata)?;
    let mut members = list(&metadata, "packages")?
        .iter()
        .map(|package| member(package, root))
        .collect::<anyhow::Result<Vec<_>>>()?;
    members.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(members)
}

fn member(package: &Value, root: &Path) -> anyhow::Result<Member> {
    let manifest = Path::new(text(package, "manifest_path")?);
    let directory = manifest
        .parent()
        .context("a manifest without a directory")?;
    let mut dependencies = Vec::new();
    for dependency in list(package, "dependencies")? {
        // The kind of a normal dependency is null.
        if dependency.get("kind").and_then(Value::as_str) != Some("dev") {
            dependencies.push(text(dependency, "name")?.to_owned());
        }
    }
    let mut binaries = Vec::new();
    for target in list(package, "targets")? {
        if list(target, "kind")?.iter().any(|kind| kind == "bin") {
            binaries.push(text(target, "name")?.to_owned());
        }
    }
    let name = text(package, "name")?.to_owned();
    let directory = directory.strip_prefix(root).unwrap_or(directory).to_owned();
    Ok(Member {
        name,
        directory,
        dependencies,
        binaries,
    })
}

fn list<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a Vec<Value>> {
    value
        .get(key)
        .and_then(Value::as_array)
        .with_context(|| format!("no list `{key}`"))
}

fn text<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    value
        .get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("no text `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_dependencies_are_left_out() {
        let metadata = r#"{"packages": [{
            "name": "b", "manifest_path": "/w/crates/b/Cargo.toml",
            "dependencies": [
                {"name": "tokio", "kind": null}, {"name": "cc", "kind": "build"}, {"name": "proptest", "kind": "dev"}
            ],
            "targets": [{"name": "b", "kind": ["lib"]}, {"name": "run-b", "kind": ["bin"]}]
        }]}"#;
        let b = Member {
            name: "b".to_owned(),
            directory: "crates/b".into(),
            dependencies: vec!["tokio".to_owned(), "cc".to_owned()],
            binaries: vec!["run-b".to_owned()],
        };
        assert_eq!(members(metadata, Path::new("/w")).unwrap(), [b]);
    }

    #[test]
    fn an_unexpected_answer_is_an_error() {
        let error = members(r#"{"packages": [{"name": "b"}]}"#, Path::new("/w")).unwrap_err();
        assert_eq!(error.to_string(), "no text `manifest_path`");
    }

    #[test]
    fn this_workspace_contains_this_program() {
        let workspace = Workspace::load().unwrap();
        let xtask = workspace.member("xtask").unwrap();
        assert_eq!(xtask.directory, Path::new("xtask"));
        assert_eq!(xtask.binaries, ["xtask"]);
    }
}
