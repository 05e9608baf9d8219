//! Proves that a pure crate, built alone, contains neither a clock nor a library that touches the world.
//!
//! In a build of the whole workspace another crate turns jiff's `std` on for everyone, so only the crate's own tree shows it.

use std::{collections::BTreeSet, io::Write};

use crate::{
    invocation::Invocation,
    stage::Outcome,
    tidy::{self, Architecture},
    workspace::Workspace,
};

/// The features with which jiff reads the clock or the machine's time zone.
const CLOCK_FEATURES: [&str; 5] = ["std", "default", "tz-system", "tzdb-zoneinfo", "js"];

/// Checks each pure crate and returns whether all are pure.
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

/// A library is listed once for each feature that it is wanted with; one telling is enough.
fn problems(workspace: &Workspace) -> anyhow::Result<BTreeSet<String>> {
    let architecture = Architecture::load(&workspace.root)?;
    let mut problems = BTreeSet::new();
    for name in tidy::pure_crates(workspace)? {
        let args = [
            "tree",
            "-p",
            &name,
            "-e",
            "normal,features",
            "--prefix",
            "none",
        ];
        let tree = Invocation::cargo(&args).output(&workspace.root)?;
        problems.extend(impurities(&tree, &architecture).map(|what| format!("{name}: {what}")));
    }
    Ok(problems)
}

/// Reads lines such as `jiff feature "std"` and `tokio v1.52.0 (*)`.
fn impurities<'a>(
    tree: &'a str,
    architecture: &'a Architecture,
) -> impl Iterator<Item = String> + 'a {
    tree.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            ["jiff", "feature", feature, ..] => {
                let feature = feature.trim_matches('"');
                let is_clock = CLOCK_FEATURES.contains(&feature);
                is_clock.then(|| format!("jiff's feature `{feature}` brings a clock"))
            }
            [library, version, ..] if version.starts_with('v') => architecture
                .is_restricted(library)
                .then(|| format!("`{library}` reaches a pure crate")),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tree: &str, expected: &[&str]) {
        let architecture = Architecture::load(&Workspace::load().unwrap().root).unwrap();
        assert_eq!(
            impurities(tree, &architecture).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn a_clock_deep_in_the_tree_is_found() {
        let tree = "haldane-core v0.1.0 (/repository)\njiff feature \"std\"\njiff v0.2.43\nserde feature \"std\"\n";
        check(tree, &["jiff's feature `std` brings a clock"]);
    }

    #[test]
    fn a_library_that_touches_the_world_is_found() {
        check(
            "haldane-core v0.1.0 (/r)\ntokio v1.52.0 (*)\n",
            &["`tokio` reaches a pure crate"],
        );
    }

    #[test]
    fn plain_data_is_pure() {
        check(
            "haldane-core v0.1.0 (/r)\njiff feature \"alloc\"\njiff v0.2.43\njiff-core v0.1.5\n",
            &[],
        );
    }

    #[test]
    fn the_pure_crates_are_pure() {
        assert_eq!(
            problems(&Workspace::load().unwrap()).unwrap(),
            BTreeSet::new()
        );
    }
}
