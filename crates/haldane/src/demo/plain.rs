//! The demo as plain lines: one whenever something changes.

use std::io::Write;

use haldane_api::http::ServiceView;

use super::{load::report::LoadReport, run::Stage};
use crate::cli::words::count;

/// Writes a line whenever the rollout moves.
#[derive(Debug)]
pub(crate) struct PlainStage<W> {
    out: W,
    last: String,
}

impl<W: Write> PlainStage<W> {
    pub(crate) const fn new(out: W) -> Self {
        Self {
            out,
            last: String::new(),
        }
    }
}

impl<W: Write> Stage for PlainStage<W> {
    fn show(&mut self, view: &ServiceView, load: &LoadReport) -> anyhow::Result<bool> {
        let Some(rollout) = &view.rollout else {
            return Ok(true);
        };
        let news = format!(
            "{:<12} {:>6}  {}",
            rollout.phase,
            rollout.weight_bps.to_string(),
            rollout.message
        );
        if news != self.last {
            let dropped = load.dropped;
            writeln!(
                self.out,
                "{:6.1} s  {news}  ({}, {dropped} dropped)",
                load.elapsed.as_secs_f64(),
                count(load.sent, "request", "requests")
            )?;
            self.last = news;
        }
        Ok(true)
    }
}
