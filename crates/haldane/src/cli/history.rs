//! `haldane history`: past rollouts of a service, or every decision of one of them.

use std::io::Write;

use anyhow::Context;
use haldane_api::http::{EntryView, RolloutHistory};
use haldane_core::{RolloutId, ServiceName};

use super::{
    exit::{Exit, UsageError},
    globals::Globals,
    paint, result,
    subject::Subject,
    table::{Cell, Table},
    words::{clean, date_and_time, day_and_minute, span, wrap},
};

/// The most rollouts that the daemon tells at once.
pub(super) const HISTORY_MAX: u32 = 100;

/// What the texts of decisions are indented by.
pub(super) const INDENT: &str = "      ";

/// Shows the rollouts of a service, or the decisions of one of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service, on Kubernetes the release: NAME or NS/NAME
    name: Subject,
    /// The rollout whose decisions are shown: its id, such as auth-7, or its number
    id: Option<String>,
    /// How many rollouts are shown, newest first, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(HISTORY_MAX)))]
    limit: u32,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let home = globals.home().await?;
    if let Some(id) = &args.id {
        let id = rollout_id(&args.name.name, id)?;
        let history = home.rollout(&args.name, &id).await?;
        result::write(globals, out, &history, |out| {
            write_one(&history, globals, out)
        })?;
        return Ok(Exit::Done);
    }
    let histories = home.history(&args.name, args.limit).await?;
    result::write(globals, out, &histories, |out| {
        write_all(&histories, globals, out)
    })?;
    Ok(Exit::Done)
}

/// Reads the id of a rollout, or its number.
pub(super) fn rollout_id(service: &ServiceName, text: &str) -> anyhow::Result<RolloutId> {
    if let Ok(number) = text.parse::<u64>() {
        return Ok(RolloutId::new(service, number));
    }
    let id: RolloutId = text
        .parse()
        .map_err(|error| UsageError(format!("{error}")))
        .context("reading the rollout's id")?;
    Ok(id)
}

fn write_all(
    histories: &[RolloutHistory],
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if histories.is_empty() {
        writeln!(out, "No rollouts so far.")?;
        return Ok(());
    }
    let mut table = Table::new([
        "ID", "KIND", "FROM", "TO", "PHASE", "STARTED", "TOOK", "MESSAGE",
    ]);
    for one in histories {
        let (_, tone) = paint::phase(&one.phase);
        let took = one
            .ended_at
            .map_or_else(|| "…".to_owned(), |end| span(one.started_at, end));
        table.push([
            one.id.as_str().into(),
            one.kind.as_str().into(),
            one.stable.as_str().into(),
            one.canary.as_str().into(),
            Cell::new(tone, &one.phase),
            day_and_minute(one.started_at, &globals.zone).into(),
            took.into(),
            one.message.as_str().into(),
        ]);
    }
    table.write(out, globals.width, globals.paint)?;
    Ok(())
}

fn write_one(
    history: &RolloutHistory,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let RolloutHistory {
        id,
        kind,
        by,
        reason,
        stable,
        canary,
        phase,
        message,
        ..
    } = history;
    let reason = reason
        .as_ref()
        .map(|reason| format!(", because {:?}", clean(reason)))
        .unwrap_or_default();
    writeln!(
        out,
        "{id}: {kind} of {canary} in place of {stable}, by {}{reason}",
        clean(by)
    )?;
    writeln!(out, "{}: {}", globals.paint.phase(phase), clean(message))?;
    for entry in &history.entries {
        write_entry(entry, globals, out)?;
    }
    Ok(())
}

/// Writes one decision.
pub(super) fn write_entry(
    entry: &EntryView,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let EntryView {
        number,
        at,
        phase,
        step,
        weight_bps,
        text,
        cause,
        by,
        judgement,
    } = entry;
    let step = step.map(|step| format!(" step {step}")).unwrap_or_default();
    let by = by
        .as_ref()
        .map(|by| format!(" by {}", clean(by)))
        .unwrap_or_default();
    let at = date_and_time(*at, &globals.zone);
    writeln!(
        out,
        "{number:>4}  {at}  {phase}{step} at {weight_bps} ({cause}{by})"
    )?;
    let room = globals.width.saturating_sub(INDENT.len());
    let evidence = judgement
        .as_ref()
        .map(|one| format!("evidence: {}: {}", one.verdict, one.reason));
    for text in std::iter::once(text).chain(&evidence) {
        for line in wrap(&clean(text), room) {
            writeln!(out, "{INDENT}{line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::testing::{Daemon, Reply, service_json};

    fn history(entries: &Value) -> Value {
        json!({
            "id": "auth-7", "kind": "deploy", "by": "ann@desk", "reason": "faster login", "stable": "v1", "canary": "v2",
            "phase": "RolledBack", "message": "errorRate 6.2% is beyond 5%", "startedAt": "2026-11-21T11:50:00Z",
            "endedAt": "2026-11-21T12:00:05Z", "entries": entries,
        })
    }

    #[tokio::test]
    async fn rollouts_are_listed_and_one_is_told_in_full() {
        let judgement = service_json("Progressing")["rollout"]["judgement"].clone();
        let entries = json!([
            { "number": 0, "at": "2026-11-21T11:50:00Z", "phase": "Preparing", "step": null, "weightBps": 0,
              "text": "start v2", "cause": "deploy", "by": "ann@desk", "judgement": null },
            { "number": 1, "at": "2026-11-21T12:00:00Z", "phase": "RollingBack", "step": 4, "weightBps": 0,
              "text": "take the canary's traffic away", "cause": "judge", "by": null, "judgement": judgement },
        ]);
        let daemon = Daemon::start([
            (
                "GET /v1/services/auth/history",
                Reply::json(200, &json!([history(&json!([]))])),
            ),
            (
                "GET /v1/rollouts/auth-7",
                Reply::json(200, &history(&entries)),
            ),
        ]);
        let (_, list) = daemon.run("history auth --limit 5").await;
        let (_, one) = daemon.run("history auth 7").await;
        assert_eq!(daemon.asked()[0].0, "GET /v1/services/auth/history?limit=5");
        assert_eq!(daemon.run("history auth auth-7").await.1, one);
        insta::assert_snapshot!(format!("{list}\n{one}"));
    }

    #[tokio::test]
    async fn an_id_that_is_none_is_a_usage_error() {
        let error = Daemon::start([])
            .run("history auth ../x")
            .await
            .0
            .unwrap_err();
        assert_eq!(crate::cli::exit::exit_of(&error), Exit::Usage);
    }
}
