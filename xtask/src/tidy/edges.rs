//! Crate edges: dependencies point down the table of `ARCHITECTURE.md`, and some libraries belong to some crates.
//!
//! What a crate needs only for its tests is free, since it never reaches a user.

use crate::{
    tidy::{Architecture, Problem},
    workspace::{Member, Workspace},
};

/// Returns every edge that the document does not allow.
pub(super) fn problems(workspace: &Workspace, architecture: &Architecture) -> Vec<Problem> {
    workspace
        .members
        .iter()
        .flat_map(|member| of_crate(member, workspace, architecture))
        .collect()
}

fn of_crate(member: &Member, workspace: &Workspace, architecture: &Architecture) -> Vec<Problem> {
    let path = member.directory.join("Cargo.toml").display().to_string();
    let name = &member.name;
    let Some(may_use) = architecture.may_use(name) else {
        return vec![Problem::new(
            &path,
            format!("`{name}` has no row in ARCHITECTURE.md"),
        )];
    };
    let mut problems = Vec::new();
    for dependency in &member.dependencies {
        if workspace.member(dependency).is_some() && !may_use.contains(dependency) {
            problems.push(format!(
                "ARCHITECTURE.md has no edge from `{name}` to `{dependency}`"
            ));
        }
        let users = architecture.users(dependency);
        if users.is_some_and(|users| !users.contains(name)) {
            problems.push(format!(
                "ARCHITECTURE.md does not let `{name}` use `{dependency}`"
            ));
        }
    }
    problems
        .into_iter()
        .map(|what| Problem::new(&path, what))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "\
| crate | pure | may use |
|---|---|---|
| `core` | yes | – |
| `engine` | no | `core` |

| restricted | only in |
|---|---|
| `tokio` | `engine` |
";

    fn check(name: &str, dependencies: &[&str], expected: &[&str]) {
        let member = |name: &str, dependencies: &[&str]| Member {
            name: name.to_owned(),
            directory: format!("crates/{name}").into(),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
            binaries: Vec::new(),
        };
        let others = ["core", "engine"]
            .into_iter()
            .filter(|other| *other != name);
        let mut members: Vec<Member> = others.map(|other| member(other, &[])).collect();
        members.push(member(name, dependencies));
        let workspace = Workspace {
            root: "/".into(),
            members,
        };
        let problems = problems(&workspace, &Architecture::parse(TABLES).unwrap());
        let problems: Vec<String> = problems.into_iter().map(|problem| problem.what).collect();
        assert_eq!(problems, expected);
    }

    #[test]
    fn edges_down_the_table_are_allowed() {
        check("engine", &["core", "tokio", "serde"], &[]);
    }

    #[test]
    fn an_edge_up_the_table_is_refused() {
        check(
            "core",
            &["engine"],
            &["ARCHITECTURE.md has no edge from `core` to `engine`"],
        );
    }

    #[test]
    fn a_library_of_another_crate_is_refused() {
        check(
            "core",
            &["tokio"],
            &["ARCHITECTURE.md does not let `core` use `tokio`"],
        );
    }

    #[test]
    fn a_crate_that_the_document_does_not_know_is_refused() {
        check("extra", &[], &["`extra` has no row in ARCHITECTURE.md"]);
    }
}
