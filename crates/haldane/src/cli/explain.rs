//! `haldane explain`: the evidence behind what a rollout does, guard by guard, and what decides next.

use std::io::Write;

use haldane_api::http::JudgementView;
use haldane_core::ServiceName;

use super::{
    bands, comparison,
    exit::Exit,
    globals::Globals,
    paint, result,
    snapshot::{Snapshot, write_verdict},
    table::{Cell, Table},
    words::{NOTHING, clean, date_and_time, wrap},
};

/// Says why a rollout stands where it stands.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service
    name: ServiceName,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let snapshot = Snapshot::ask(&globals.client(), &args.name).await?;
    result::write(globals, out, &snapshot.service.rollout, |out| {
        write(&snapshot, globals, out)
    })?;
    Ok(Exit::Done)
}

fn write(snapshot: &Snapshot, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
    let service = &snapshot.service;
    let Some(rollout) = &service.rollout else {
        writeln!(
            out,
            "{} has had no rollout so far: nothing to explain.",
            service.name
        )?;
        return Ok(());
    };
    let subject = format!("{} ({} → {})", rollout.id, rollout.stable, rollout.canary);
    snapshot.write_phase(&subject, rollout, globals, out)?;
    match &rollout.judgement {
        Some(judgement) => write_evidence(judgement, globals, out)?,
        None => writeln!(
            out,
            "No judgement yet: nothing was measured, or the plan asks for none."
        )?,
    }
    for (title, text) in [
        ("Next:", &rollout.next),
        ("What to do:", &rollout.recommendation),
    ] {
        writeln!(out, "{title} {}", clean(text))?;
    }
    Ok(())
}

fn write_evidence(
    judgement: &JudgementView,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    write_verdict(judgement, globals, out)?;
    if let (Some(from), Some(to)) = (judgement.from, judgement.to) {
        let (from, to) = (
            date_and_time(from, &globals.zone),
            date_and_time(to, &globals.zone),
        );
        writeln!(out, "Samples: {from} to {to}")?;
    }
    if let Some(comparison) = &judgement.comparison {
        writeln!(out)?;
        comparison::write(comparison, globals, out)?;
    }
    if !judgement.bands.is_empty() {
        writeln!(out)?;
        bands::write(&judgement.bands, globals, out)?;
    }
    if judgement.guards.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = Table::new(["GUARD", "STABLE", "CANARY", "VERDICT", "SEVERITY", "LIMIT"]);
    for guard in &judgement.guards {
        table.push([
            guard.metric.as_str().into(),
            guard.stable.as_deref().unwrap_or(NOTHING).into(),
            guard.canary.as_deref().unwrap_or(NOTHING).into(),
            Cell::new(paint::verdict(guard.verdict), guard.verdict.to_string()),
            guard.severity.to_string().into(),
            guard.limit.as_str().into(),
        ]);
    }
    table.write(out, globals.width, globals.paint)?;
    writeln!(out)?;
    for guard in &judgement.guards {
        for line in wrap(
            &format!("{}: {}", guard.metric, clean(&guard.reason)),
            globals.width,
        ) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::testing::{Daemon, Reply, service_json};

    #[tokio::test]
    async fn each_guard_is_told_with_its_values_limit_and_reason() {
        let daemon = Daemon::start([(
            "GET /v1/services/auth",
            Reply::json(200, &service_json("RollingBack")),
        )]);
        let (exit, out) = daemon.run("explain auth").await;
        assert_eq!(exit.unwrap(), Exit::Done);
        insta::assert_snapshot!(out);
    }

    #[tokio::test]
    async fn a_service_without_rollout_has_nothing_to_explain() {
        let mut service = service_json("Completed");
        service["rollout"] = Value::Null;
        let daemon = Daemon::start([("GET /v1/services/auth", Reply::json(200, &service))]);
        assert_eq!(
            daemon.run("explain auth").await.1,
            "auth has had no rollout so far: nothing to explain.\n"
        );
    }
}
