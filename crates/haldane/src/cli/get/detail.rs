//! One service as a tree.

mod objects;

use std::io::Write;

use haldane_api::http::{RolloutView, ServiceView, VersionView};

use super::{step_sign, step_text};
use crate::cli::{
    bands, comparison,
    globals::Globals,
    paint::Tone,
    snapshot::{Snapshot, as_of},
    table::write_branches,
    words::{NOTHING, bps_or_nothing, clean, span},
};

/// Writes all that there is to say of a service.
pub(super) fn write(
    snapshot: &Snapshot,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let service = &snapshot.service;
    let place = match &service.namespace {
        Some(namespace) => format!("namespace {namespace}"),
        None => service.listen.join(", "),
    };
    writeln!(
        out,
        "{}  {place}",
        globals.paint.tone(Tone::Strong, service.name.as_str()),
    )?;
    if let Some(rollout) = &service.rollout {
        write_standing(snapshot, rollout, globals, out)?;
    }
    writeln!(out, "Versions:")?;
    let canary = service
        .canary
        .iter()
        .map(|version| version_line("canary", version));
    let versions: Vec<String> = std::iter::once(version_line("stable", &service.stable))
        .chain(canary)
        .collect();
    write_branches(out, &versions)?;
    if let Some(rollout) = &service.rollout {
        write_steps(rollout, globals, out)?;
        write_judgement(service, rollout, globals, out)?;
        if !rollout.is_over {
            writeln!(out, "Next:     {}", clean(&rollout.next))?;
        }
    }
    if !service.objects.is_empty() {
        objects::write(&service.objects, globals, out)?;
    }
    if let Some(queued) = &service.queued {
        writeln!(out, "Queued:   {queued}")?;
    }
    for (title, lines) in [
        ("Notices:", &service.notices),
        ("Differences from the file:", &service.differences),
    ] {
        if !lines.is_empty() {
            writeln!(out, "{title}")?;
            write_branches(
                out,
                &lines.iter().map(|line| clean(line)).collect::<Vec<_>>(),
            )?;
        }
    }
    Ok(())
}

fn write_standing(
    snapshot: &Snapshot,
    rollout: &RolloutView,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let phase = snapshot.phase(rollout, globals);
    let reason = rollout
        .reason
        .as_ref()
        .map(|reason| format!(", because {:?}", clean(reason)));
    let by = if rollout.by.is_empty() {
        String::new()
    } else {
        format!(" by {}", clean(&rollout.by))
    };
    let by = format!(
        "{} of {}{by}{}",
        rollout.kind,
        rollout.canary,
        reason.unwrap_or_default()
    );
    let applied = if rollout.is_applied {
        "applied"
    } else {
        "not applied yet"
    };
    let observed = bps_or_nothing(rollout.observed_bps);
    writeln!(out, "Phase:    {phase}")?;
    writeln!(out, "Message:  {}", clean(&rollout.message))?;
    writeln!(
        out,
        "Rollout:  {}, {by}, {} ago",
        rollout.id,
        span(rollout.started_at, snapshot.service.at)
    )?;
    writeln!(out, "Step:     {}", step_text(rollout))?;
    writeln!(
        out,
        "Weight:   {} set ({applied}), {observed} observed",
        rollout.weight_bps
    )?;
    Ok(())
}

fn version_line(role: &str, version: &VersionView) -> String {
    let VersionView {
        version,
        source,
        replicas_wanted,
        replicas_ready,
        ..
    } = version;
    let line = format!(
        "{role} {version}  {replicas_ready}/{replicas_wanted} ready  {}",
        clean(source)
    );
    line.trim_end().to_owned()
}

fn write_steps(
    rollout: &RolloutView,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    writeln!(out, "Steps:")?;
    let lines = rollout.steps.iter().map(|step| {
        let (sign, word, tone) = step_sign(step.state);
        globals
            .paint
            .tone(tone, &format!("{sign} {word}  {}", clean(&step.text)))
    });
    Ok(write_branches(out, &lines.collect::<Vec<_>>())?)
}

fn write_judgement(
    service: &ServiceView,
    rollout: &RolloutView,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Some(judgement) = &rollout.judgement else {
        return Ok(());
    };
    let verdict = globals.paint.verdict(judgement.verdict);
    let as_of = as_of(service, judgement, &globals.zone);
    let reason = clean(&judgement.reason);
    writeln!(out, "Verdict:  {verdict}: {reason}{as_of}")?;
    let guards = judgement.guards.iter().map(|guard| {
        let verdict = globals.paint.verdict(guard.verdict);
        let canary = guard.canary.as_deref().unwrap_or(NOTHING);
        format!(
            "{} {}  {verdict}  {} ({})",
            guard.metric, canary, guard.limit, guard.severity
        )
    });
    write_branches(
        out,
        &guards
            .map(|line| line.replace('\n', " "))
            .collect::<Vec<_>>(),
    )?;
    for metric in judgement.comparison.iter().flat_map(|known| &known.metrics) {
        writeln!(out, "Compared: {}", comparison::short(metric))?;
    }
    for (tone, text) in bands::unusual(judgement) {
        writeln!(out, "Unusual:  {}", globals.paint.tone(tone, &text))?;
    }
    Ok(())
}
