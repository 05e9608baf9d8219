//! Lint: what a release file or the objects of a manifest may say but rarely should, each with its place, its reason and its fix.
//!
//! Only what is likely to hurt in production and can be told from the text alone; a linter that cries often is turned off. Each
//! finding is of one of the [`RULES`], which docs/lint.md lists. What the readers of the file refuse is a finding, too: `invalid`.

mod comparison;
mod fix;
mod metric;
mod object;
mod pace;
mod place;
mod plan;
mod release;
mod rules;
mod service;
mod threshold;
mod traffic;

use serde::Serialize;

pub(crate) use self::place::StepPlaces;
pub use self::{
    fix::{Edit, fixed},
    rules::{RULES, Rule, Severity},
    traffic::{Held, Traffic},
};
use self::{place::Places, rules::INVALID};
use crate::{
    file::{self, File, Problem},
    manifest,
    read::{At, Problems},
    tree,
};

/// Something found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that it breaks.
    pub rule: &'static Rule,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The path of the key, as in `services.auth.rollout.guards`; empty for the whole text.
    pub path: String,
    /// What is wrong here.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
    /// How the text becomes right, where that is plain and safe.
    pub edit: Option<Edit>,
}

/// What lint says of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was found, in the order of the text.
    #[serde(skip)]
    pub findings: Vec<Finding>,
    /// Objects of a manifest that no rule is about, by kind and name.
    pub ignored: Vec<String>,
}

/// A finding whose place is known by its path alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    /// The rule.
    pub rule: &'static Rule,
    /// The path; steps are counted as the plan has them.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub fix: String,
}

impl Remark {
    fn new(
        rule: &'static Rule,
        path: impl Into<String>,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            path: path.into(),
            reason: reason.into(),
            fix: fix.into(),
        }
    }

    /// Returns a remark whose fix is that of its rule.
    fn plain(rule: &'static Rule, path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(rule, path, reason, rule.fix)
    }
}

/// Checks a release file, or the objects of a manifest; by the traffic, where it is known.
#[must_use]
pub fn check(text: &str, traffic: Option<&Traffic<'_>>) -> Report {
    let mut report = if manifest::is_manifest(text) {
        object::check(text, traffic)
    } else {
        Report {
            findings: check_file(text, traffic),
            ignored: Vec::new(),
        }
    };
    let place = |one: &Finding| (one.line, one.column, one.rule.severity, one.rule.id);
    report
        .findings
        .sort_by(|a, b| (place(a), &a.reason).cmp(&(place(b), &b.reason)));
    report.findings.dedup();
    for finding in &mut report.findings {
        let edit = finding.edit.take();
        finding.edit = edit.and_then(|edit| fix::settled(text, edit));
    }
    report
}

fn check_file(text: &str, traffic: Option<&Traffic<'_>>) -> Vec<Finding> {
    let mut out = Problems::default();
    let root = tree::read(text, &mut out);
    let file = root.as_ref().and_then(|root| {
        let at = At {
            node: root,
            path: String::new(),
        };
        file::read_file(&at, &mut out)
    });
    let steps = std::mem::take(&mut out.steps);
    let problems = out.into_list();
    match (root, file) {
        (Some(root), Some(file)) if problems.is_empty() => {
            let places = Places {
                root: &root,
                steps: &steps,
            };
            let remarks = lint_file(&file, traffic).into_iter();
            remarks.map(|remark| places.place(remark)).collect()
        }
        _ => problems.into_iter().map(mistake).collect(),
    }
}

/// Returns what is to be said of a file that was read.
pub(crate) fn lint_file(file: &File, traffic: Option<&Traffic<'_>>) -> Vec<Remark> {
    let of_services = file.services.iter().flat_map(|(name, service)| {
        service::lint_service(&format!("services.{name}"), service, traffic)
    });
    let of_file = service::lint_file(file);
    of_file
        .into_iter()
        .chain(metric::lint_sources(file))
        .chain(of_services)
        .collect()
}

/// Returns a mistake of the readers as a finding: what was expected is its fix.
fn mistake(problem: Problem) -> Finding {
    let (reason, fix) = match problem.message.split_once("; ") {
        Some((reason, fix)) => (reason.to_owned(), fix.to_owned()),
        None => (problem.message, INVALID.fix.to_owned()),
    };
    Finding {
        rule: &INVALID,
        line: problem.line,
        column: problem.column,
        path: problem.path,
        reason,
        fix,
        edit: None,
    }
}

#[cfg(test)]
mod tests;
