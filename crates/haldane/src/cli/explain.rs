//! `haldane explain`: the evidence behind what a rollout does, guard by guard, what decides next, and whether its decisions follow again,
//! to the bit, from what is stored.

use std::io::Write;

use haldane_api::http::{
    EntryView, JudgementView, RecomputationView, Recomputed, RequestsView, RolloutView, ServiceView,
};
use serde::Serialize;

use super::{
    bands, comparison,
    exit::Exit,
    globals::Globals,
    history::{INDENT, write_entry},
    home::Home,
    paint::{self, Tone},
    result,
    snapshot::{Snapshot, write_verdict},
    subject::Subject,
    table::{Cell, Table},
    words::{NOTHING, clean, date_and_time, wrap},
};

/// Says why a rollout stands where it stands.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service, on Kubernetes the release: NAME or NS/NAME
    name: Subject,
}

/// How many decisions are listed, the newest; of older ones those that are not the same.
const DECISIONS_MAX: usize = 30;

/// What programs get: the rollout, and its decisions made again.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    rollout: &'a RolloutView,
    recomputation: Option<&'a RecomputationView>,
    /// Where they can't be made again: the decisions that are remembered, with what the judges saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    decisions: Option<&'a [EntryView]>,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let home = globals.home().await?;
    let snapshot = Snapshot::ask(&*home, &args.name).await?;
    let again = match &snapshot.service.rollout {
        Some(rollout) => Some(home.recomputation(&args.name, &rollout.id).await),
        None => None,
    };
    let decisions = match (&snapshot.service.rollout, &again) {
        (Some(rollout), Some(Err(_))) => decisions(&*home, args, rollout).await,
        (_, _) => None,
    };
    let explained = snapshot.service.rollout.as_ref().map(|rollout| Explained {
        rollout,
        recomputation: again.as_ref().and_then(|again| again.as_ref().ok()),
        decisions: decisions.as_deref(),
    });
    result::write(globals, out, &explained, |out| {
        write(&snapshot, globals, out)?;
        match &again {
            Some(Ok(again)) => write_again(again, globals, out),
            // An explanation without it is one, too.
            Some(Err(why)) => {
                write_decisions(decisions.as_deref().unwrap_or_default(), globals, out)?;
                let why = clean(&why.to_string());
                Ok(writeln!(out, "Not recomputed: {why}")?)
            }
            None => Ok(()),
        }
    })?;
    Ok(Exit::Done)
}

/// Returns the decisions that are remembered; that they can't be told is no reason to tell nothing else.
async fn decisions(home: &dyn Home, args: &Args, rollout: &RolloutView) -> Option<Vec<EntryView>> {
    let history = home.rollout(&args.name, &rollout.id).await.ok()?;
    Some(history.entries).filter(|entries| !entries.is_empty())
}

/// Writes decisions, with what is kept of what the judges saw then.
fn write_decisions(
    entries: &[EntryView],
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nDecisions:")?;
    let room = globals.width.saturating_sub(INDENT.len());
    let mut next = None;
    for entry in entries {
        if next.is_some_and(|next| next < entry.number) {
            writeln!(out, "   …  not kept: there was no room for them")?;
        }
        next = Some(entry.number.saturating_add(1));
        write_entry(entry, globals, out)?;
        let Some(judgement) = &entry.judgement else {
            continue;
        };
        let requests = judgement.requests.map(|requests| requests_text(&requests));
        let guards = judgement.guards.iter();
        let guards = guards
            .map(|guard| format!("{} (limit {}): {}", guard.metric, guard.limit, guard.reason));
        let compared = judgement.comparison.iter().flat_map(|known| &known.metrics);
        let compared = compared.map(comparison::short);
        for text in requests.into_iter().chain(guards).chain(compared) {
            for line in wrap(&clean(&text), room) {
                writeln!(out, "{INDENT}{line}")?;
            }
        }
    }
    Ok(())
}

fn requests_text(requests: &RequestsView) -> String {
    let RequestsView { stable, canary } = requests;
    format!("Requests: {stable} of stable, {canary} of the canary")
}

/// Writes which decisions follow again from what is stored.
fn write_again(
    again: &RecomputationView,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let tone = if again.is_same { Tone::Good } else { Tone::Bad };
    let mut text = clean(&again.text);
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    writeln!(out, "\n{}", globals.paint.tone(tone, &text))?;
    for note in &again.notes {
        writeln!(out, "  {}", clean(note))?;
    }
    let is_other = |result| result != Recomputed::Same;
    let surplus = again.decisions.len().saturating_sub(DECISIONS_MAX);
    let (older, newer) = again.decisions.split_at(surplus);
    let others = older.iter().filter(|one| is_other(one.result));
    let mut table = Table::new(["DECISION", "AT", "AGAIN", "LOOKS", "WHAT"]);
    for one in others.take(DECISIONS_MAX).chain(newer) {
        let (tone, result) = match one.result {
            Recomputed::Same => (Tone::Good, "same"),
            Recomputed::Different => (Tone::Bad, "DIFFERENT"),
            Recomputed::NotRecorded => (Tone::Warn, "not recorded"),
        };
        table.push([
            one.number.to_string().into(),
            date_and_time(one.at, &globals.zone).into(),
            Cell::new(tone, result),
            one.looks.to_string().into(),
            clean(&one.text).into(),
        ]);
    }
    table.write(out, globals.width, globals.paint)?;
    Ok(())
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
        Some(judgement) => write_evidence(service, judgement, globals, out)?,
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
    service: &ServiceView,
    judgement: &JudgementView,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    write_verdict(service, judgement, globals, out)?;
    if let (Some(from), Some(to)) = (judgement.from, judgement.to) {
        let (from, to) = (
            date_and_time(from, &globals.zone),
            date_and_time(to, &globals.zone),
        );
        writeln!(out, "Samples: {from} to {to}")?;
    }
    if let Some(requests) = &judgement.requests {
        writeln!(out, "{}", requests_text(requests))?;
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
    async fn each_decision_is_told_to_be_the_same_or_what_differs() {
        let one = |number: u32, result: &str, text: &str| {
            serde_json::json!({
                "number": number, "at": "2026-11-21T12:00:05Z", "result": result, "looks": 7 * number, "text": text,
            })
        };
        let again = serde_json::json!({
            "rollout": "auth-7", "isSame": false, "looks": 312, "notes": ["seconds before 12:00 are not recorded"],
            "text": "recomputed from 312 looks: 1 of 3 decisions differ",
            "decisions": [
                one(0, "Same", "the beginning"),
                one(1, "NotRecorded", "the look that it rests on is not recorded"),
                one(2, "Different", "the state differs: recomputed …5…, stored …6…"),
            ],
        });
        let daemon = Daemon::start([
            (
                "GET /v1/services/auth",
                Reply::json(200, &service_json("RollingBack")),
            ),
            (
                "GET /v1/rollouts/auth-7/recomputation",
                Reply::json(200, &again),
            ),
        ]);
        let (exit, out) = daemon.run("explain auth").await;
        assert_eq!(exit.unwrap(), Exit::Done);
        let (_, told) = out.split_once("What to do:").unwrap();
        insta::assert_snapshot!(told);
        let (_, out) = daemon.run("explain auth -o json").await;
        let value: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["id"], "auth-7");
        assert_eq!(value["recomputation"], again);
    }

    #[tokio::test]
    async fn decisions_that_can_not_be_made_again_are_told_with_what_is_kept_of_them() {
        let judgement = service_json("RollingBack")["rollout"]["judgement"].clone();
        let entry = |number: u32, phase: &str, text: &str, judgement: Value| {
            serde_json::json!({
                "number": number, "at": "2026-11-21T12:00:05Z", "phase": phase, "step": 2, "weightBps": 500,
                "text": text, "cause": "judge", "by": null, "judgement": judgement,
            })
        };
        let history = serde_json::json!({
            "id": "auth-7", "kind": "apply", "by": "ann", "reason": null, "stable": "v1", "canary": "v2",
            "phase": "RollingBack", "message": "m", "startedAt": "2026-11-21T11:50:00Z", "endedAt": null,
            "entries": [
                entry(0, "Preparing", "v2 starts, without traffic", Value::Null),
                entry(5, "RollingBack", "errorRate 6.2% is beyond 5%", judgement),
            ],
        });
        let service = service_json("RollingBack");
        let daemon = Daemon::start([
            ("GET /v1/services/auth", Reply::json(200, &service)),
            ("GET /v1/rollouts/auth-7", Reply::json(200, &history)),
        ]);
        let (exit, out) = daemon.run("explain auth").await;
        assert_eq!(exit.unwrap(), Exit::Done);
        let (_, told) = out.split_once("\nDecisions:").unwrap();
        insta::assert_snapshot!(told);
        let (_, out) = daemon.run("explain auth -o json").await;
        let value: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["decisions"], history["entries"]);
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
