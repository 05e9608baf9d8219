//! What queries name the versions by, where they run.

use std::collections::BTreeMap;

use haldane_core::plan::metric::{Ask, Metric};

use crate::{
    keys,
    read::{At, Problems},
    tree::shorten,
};

/// What fills the placeholders of a declaration.
#[derive(Clone, Copy, Debug)]
pub(in crate::file) struct Names<'a> {
    /// Where the versions run.
    pub(in crate::file) home: Home,
    /// What the declaration itself says.
    pub(in crate::file) variables: &'a BTreeMap<String, String>,
}

/// Where the versions of a service run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::file) enum Home {
    /// On this machine: a release file.
    Machine,
    /// In a cluster: a `Release`.
    Cluster,
}

impl Home {
    /// Returns what fills placeholders and can't be set.
    pub(in crate::file) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Machine => &["service", "version", "workload", "window"],
            Self::Cluster => &[
                "service",
                "version",
                "workload",
                "window",
                "deployment",
                "replicaset",
                "side",
            ],
        }
    }

    /// Returns what fills placeholders unless it is set.
    pub(in crate::file) const fn defaults(self) -> &'static [&'static str] {
        match self {
            Self::Machine => &[],
            Self::Cluster => &["namespace", "ingress", "route"],
        }
    }

    /// Returns what differs between the versions.
    const fn telling(self) -> &'static [&'static str] {
        match self {
            Self::Machine => &["version", "workload"],
            Self::Cluster => &[
                "version",
                "workload",
                "service",
                "deployment",
                "replicaset",
                "side",
            ],
        }
    }

    /// Returns what tells the versions apart, for people.
    pub(in crate::file) fn telling_words(self) -> String {
        words(self.telling().iter().copied())
    }

    /// Returns what a version is called unless the declaration says otherwise.
    pub(super) fn workload(self, ask: &Ask) -> &'static str {
        match (self, ask) {
            (Self::Machine, _) => Metric::WORKLOAD,
            (Self::Cluster, Ask::Template(name)) => template_workload(name),
            (Self::Cluster, _) => "{{deployment}}",
        }
    }
}

/// Returns what a template's versions are called in a cluster.
pub(in crate::file) fn template_workload(name: &str) -> &'static str {
    let mut templates = keys::TEMPLATES.iter();
    let found = templates.find(|(known, ..)| *known == name);
    found.map_or("{{deployment}}", |(.., workload)| workload)
}

/// Reads what a version is called.
pub(in crate::file) fn read_workload(
    at: &At<'_>,
    names: Names<'_>,
    out: &mut Problems,
) -> Option<String> {
    let text = at.filled("a text such as shop-{{version}}", out)?;
    check_placeholders(at, &text, names, out)?;
    let telling = || {
        let names = names.home.telling().iter().copied();
        names.filter(|name| *name != "workload")
    };
    let is_in = |name| text.contains(&placeholder(name));
    if text.contains("{{workload}}") || !telling().any(is_in) {
        let expected = words(telling());
        let message =
            format!("both versions would be the same; expected a text with {expected} in it");
        out.add(at, message);
        return None;
    }
    Some(text)
}

/// Checks that all placeholders of a text are known, and returns whether one tells the versions apart.
pub(in crate::file) fn check_placeholders(
    at: &At<'_>,
    text: &str,
    names: Names<'_>,
    out: &mut Problems,
) -> Option<bool> {
    let mut is_of_version = false;
    let known = || {
        let variables = names.variables.keys().map(String::as_str);
        let known = names.home.names().iter().chain(names.home.defaults());
        known.copied().chain(variables)
    };
    for part in text.split("{{").skip(1) {
        let Some((name, _)) = part.split_once("}}") else {
            out.add(
                at,
                "`{{` without `}}`; expected placeholders such as {{version}}",
            );
            return None;
        };
        let name = name.trim();
        is_of_version |= names.home.telling().contains(&name);
        if !known().any(|known| known == name) {
            let expected: Vec<&str> = known().collect();
            let message = format!(
                "nothing is known to fill in for {{{{{}}}}}; expected one of {}",
                shorten(name),
                expected.join(", ")
            );
            out.add(at, message);
        }
    }
    Some(is_of_version)
}

fn placeholder(name: &str) -> String {
    format!("{{{{{name}}}}}")
}

fn words<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = names.map(placeholder).collect();
    words.join(" or ")
}
