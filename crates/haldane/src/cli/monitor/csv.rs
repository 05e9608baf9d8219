//! The figures as CSV: a header, then one row per version and interval.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
use haldane_api::http::{ServiceView, VersionView};
use jiff::Timestamp;

/// The columns; units stand in their names, so that values are plain numbers.
const HEADER: &str = "time,service,rollout,phase,role,version,weight_percent,traffic_share_percent,requests,\
error_rate_percent,request_rate_per_second,p50_ms,p95_ms,p99_ms,success_rate_percent,cpu_percent,memory_mb,\
replicas_ready,replicas_wanted,restarts,verdict";

/// A file of figures.
#[derive(Debug)]
pub(crate) struct Csv<W = File> {
    to: W,
}

impl Csv {
    /// Makes the file, with its header.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
        Self::new(file).with_context(|| format!("writing {}", path.display()))
    }
}

impl<W: Write> Csv<W> {
    fn new(mut to: W) -> io::Result<Self> {
        writeln!(to, "{HEADER}")?;
        Ok(Self { to })
    }

    /// Adds the rows of one interval. Each is written at once: the export is whole up to the last interval, whatever ends it.
    pub(crate) fn add(&mut self, service: &ServiceView, at: Timestamp) -> io::Result<()> {
        let mut rows = row(service, "stable", &service.stable, at);
        if let Some(canary) = &service.canary {
            rows.push_str(&row(service, "canary", canary, at));
        }
        self.to.write_all(rows.as_bytes())?;
        self.to.flush()
    }
}

/// Names hold no commas or quotes, and everything else is a number or one of our words, so nothing needs quoting.
fn row(service: &ServiceView, role: &str, version: &VersionView, at: Timestamp) -> String {
    let figures = &version.figures;
    let rollout = service.rollout.as_ref();
    let text = |value: Option<String>| value.unwrap_or_default();
    let scaled = |value: Option<u64>, scale: u64| text(value.map(|value| decimal(value, scale)));
    let verdict = rollout
        .and_then(|rollout| rollout.judgement.as_ref())
        .map(|one| one.verdict.to_string());
    let cells = [
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        service.name.to_string(),
        text(rollout.map(|rollout| rollout.id.to_string())),
        text(rollout.map(|rollout| rollout.phase.clone())),
        role.to_owned(),
        version.version.to_string(),
        scaled(
            rollout.map(|rollout| u64::from(rollout.weight_bps.as_bps())),
            100,
        ),
        scaled(figures.traffic_share_bps, 100),
        figures.requests.to_string(),
        scaled(figures.error_rate_ppm, 10_000),
        scaled(figures.request_rate_milli, 1_000),
        scaled(figures.p50_us, 1_000),
        scaled(figures.p95_us, 1_000),
        scaled(figures.p99_us, 1_000),
        scaled(figures.success_rate_ppm, 10_000),
        scaled(figures.cpu_ppm, 10_000),
        scaled(figures.memory_bytes, 1_000_000),
        version.replicas_ready.to_string(),
        version.replicas_wanted.to_string(),
        text(figures.restarts.map(|restarts| restarts.to_string())),
        text(verdict),
    ];
    format!("{}\n", cells.join(","))
}

/// Writes `value / scale` exactly; the scale is a power of ten.
fn decimal(value: u64, scale: u64) -> String {
    let digits = usize::try_from(scale.ilog10()).unwrap_or(0);
    let text = format!("{}.{:0digits$}", value / scale, value % scale);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::service;

    #[test]
    fn there_is_a_header_and_a_row_per_version() {
        let mut auth = service("Progressing");
        auth.stable.figures.p99_us = None;
        let mut out = Vec::new();
        Csv::new(&mut out).unwrap().add(&auth, auth.at).unwrap();
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines[1..],
            [
                "2026-11-21T12:00:00Z,auth,auth-7,Progressing,stable,v1,25,75,6000,0.12,100,12.3,42,,99.88,3.2,12.9,2,2,0,fail",
                "2026-11-21T12:00:00Z,auth,auth-7,Progressing,canary,v2,25,25,6000,6.2,100,12.3,42,88.1,93.8,3.2,12.9,1,1,0,fail",
            ]
        );
        let columns = |line: &str| line.split(',').count();
        assert!(
            lines.iter().all(|line| columns(line) == columns(HEADER)),
            "{out}"
        );
    }
}
