//! What is looked at before a rollout begins from this terminal: rights, routes, the version that serves, and who counts requests.

use std::io::Write;

use haldane_api::release::Spec;
use haldane_controller::client::{Check, Cluster, Health};
use haldane_core::plan::Plan;
use haldane_source::{Method, Request};
use serde::Serialize;
use serde_json::Value;

use super::timetable;
use crate::{
    cli::{
        globals::Globals,
        home::HomeError,
        paint::Tone,
        result,
        table::{Cell, Table},
        words::clean,
    },
    wire::web::{REQUEST_TIMEOUT, Web},
};

/// The most bytes of an answer that only tells that somebody answers.
const BYTES_MAX: usize = 64 << 10;

/// What would be rolled out, and what may keep it from being.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What was found by the service's name; nothing where the file says it.
    pub(super) found: Option<String>,
    pub(super) image: Option<String>,
    /// The spec of the Release that would stand for it.
    pub(super) spec: Spec,
    pub(super) plan: Value,
    pub(super) checks: Vec<Row>,
}

/// One look.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    status: &'static str,
    check: &'static str,
    text: String,
    #[serde(skip)]
    health: Health,
}

/// Looks at all of it.
pub(super) async fn checks(
    cluster: &Cluster,
    namespace: &str,
    spec: &Spec,
    prometheus: Option<&str>,
) -> Result<Vec<Row>, HomeError> {
    let checks = cluster.preflight(namespace, spec).await?;
    let mut rows: Vec<Row> = checks.into_iter().map(Row::from).collect();
    if let Some(url) = prometheus {
        rows.push(metrics(url).await.into());
    }
    Ok(rows)
}

/// Asks a Prometheus for a number that it need not look up.
async fn metrics(url: &str) -> Check {
    let question = Request {
        method: Method::Get,
        url: format!("{}/api/v1/query?query=vector(1)", url.trim_end_matches('/')),
        headers: Vec::new(),
        body: Vec::new(),
    };
    let answer = Web::new(REQUEST_TIMEOUT).fetch(&question, BYTES_MAX).await;
    let (health, text) = match answer {
        Ok(answer) if answer.status.is_success() => (Health::Good, format!("{url} answers")),
        Ok(answer) => (
            Health::Bad,
            format!("{url} answers with {}; is it a Prometheus?", answer.status),
        ),
        Err(error) => (
            Health::Bad,
            format!("{url}: {error}; it must be reachable from this terminal"),
        ),
    };
    Check {
        health,
        what: "metrics",
        text,
    }
}

/// Writes a table of looks.
pub(super) fn write(rows: &[Row], globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
    let mut table = Table::new(["", "CHECK", "WHAT"]);
    for row in rows {
        let tone = match row.health {
            Health::Good => Tone::Good,
            Health::Doubtful => Tone::Warn,
            Health::Bad => Tone::Bad,
        };
        table.push([
            Cell::new(tone, row.status),
            row.check.into(),
            clean(&row.text).into(),
        ]);
    }
    Ok(table.write(out, usize::MAX, globals.paint)?)
}

/// Returns those that keep a rollout from being begun.
pub(super) fn failed(rows: &[Row]) -> Vec<&'static str> {
    let bad = rows.iter().filter(|row| row.health == Health::Bad);
    bad.map(|row| row.check).collect()
}

impl Report {
    /// Writes what would be done.
    pub(super) fn write(
        &self,
        plan: &Plan,
        globals: &Globals,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        result::write(globals, out, self, |out| {
            if let Some(found) = &self.found {
                writeln!(out, "Found: {}", clean(found))?;
            }
            if let Some(image) = &self.image {
                writeln!(out, "Image: {}", clean(image))?;
            }
            writeln!(out)?;
            write(&self.checks, globals, out)?;
            writeln!(out)?;
            timetable::write(plan, globals, out)
        })
    }
}

impl From<Check> for Row {
    fn from(check: Check) -> Self {
        Self {
            status: match check.health {
                Health::Good => "OK",
                Health::Doubtful => "WARN",
                Health::Bad => "FAIL",
            },
            check: check.what,
            text: check.text,
            health: check.health,
        }
    }
}
