//! `haldane report`: what became of a rollout, or of all rollouts of a time, for people who were not there.

mod document;
mod period;
mod plot;
mod rollout;

use std::{io::Write, time::Duration};

use anyhow::Context;
use haldane_api::text::parse_duration;
use haldane_engine::recording::Recording;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use self::{
    document::Document,
    period::{Past, PeriodReport, is_failure},
    rollout::RolloutReport,
};
use super::{
    exit::{Exit, UsageError},
    globals::Globals,
    history::{HISTORY_MAX, rollout_id},
    home::{Home, Scope},
    result,
    subject::Subject,
};

/// So many failed rollouts are asked for their decisions; of more only their ends are told.
const FAILURES_MAX: usize = 200;

/// Writes a report as Markdown, or as JSON or YAML with -o.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service, on Kubernetes the release: NAME or NS/NAME; with --since all of them by default
    #[arg(required_unless_present = "since")]
    name: Option<Subject>,
    /// The rollout: its id, such as auth-7, or its number; the last one by default
    #[arg(conflicts_with = "since")]
    id: Option<String>,
    /// Report of all rollouts that began in this time, such as 30d
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Duration>,
    /// On Kubernetes: the releases of all namespaces
    #[arg(short = 'A', long, requires = "since", conflicts_with = "name")]
    all_namespaces: bool,
    /// Write a page with plots instead of Markdown
    #[arg(long)]
    html: bool,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let home = globals.home().await?;
    match (&args.since, &args.name) {
        (Some(since), _) => {
            let report = of_period(args, *since, &*home).await?;
            write(&report, &report.document(&globals.zone), args, globals, out)?;
        }
        (None, Some(name)) => {
            let report = of_rollout(name, args.id.as_deref(), &*home).await?;
            write(&report, &report.document(&globals.zone), args, globals, out)?;
        }
        (None, None) => {
            return Err(UsageError("expected a service, or --since".to_owned()).into());
        }
    }
    Ok(Exit::Done)
}

fn write(
    report: &impl Serialize,
    document: &Document,
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let text = if args.html {
        document.to_html()
    } else {
        document.to_markdown()
    };
    if args.html {
        return Ok(out.write_all(text.as_bytes())?);
    }
    result::write(globals, out, report, |out| {
        Ok(out.write_all(text.as_bytes())?)
    })
}

async fn of_rollout(
    name: &Subject,
    id: Option<&str>,
    home: &dyn Home,
) -> anyhow::Result<RolloutReport> {
    let id = match id {
        Some(id) => rollout_id(&name.name, id)?,
        None => {
            let last = home.history(name, 1).await?.into_iter().next();
            last.with_context(|| format!("{name} has had no rollout so far: nothing to report"))?
                .id
        }
    };
    let rollout = home.rollout(name, &id).await?;
    // A report without what was counted by time is one, too.
    let text = home.recording(&id).await.ok().flatten();
    let recording = text.and_then(|text| Recording::read(&text).ok());
    Ok(RolloutReport::new(rollout, recording.as_ref()))
}

async fn of_period(args: &Args, since: Duration, home: &dyn Home) -> anyhow::Result<PeriodReport> {
    let to = Timestamp::now();
    let since = SignedDuration::try_from(since).context("reading --since")?;
    let from = to.checked_sub(since).context("reading --since")?;
    let subjects = match &args.name {
        Some(name) => vec![name.clone()],
        None => {
            let scope = if args.all_namespaces {
                Scope::Everywhere
            } else {
                Scope::Here
            };
            home.services(scope)
                .await?
                .iter()
                .map(Subject::of)
                .collect()
        }
    };
    let (mut all, mut notes, mut asked) = (Vec::new(), Vec::new(), 0_usize);
    for subject in subjects {
        let histories = home.history(&subject, HISTORY_MAX).await?;
        let is_cut = u32::try_from(histories.len()).is_ok_and(|number| number >= HISTORY_MAX);
        if is_cut && histories.iter().all(|one| one.started_at >= from) {
            notes.push(format!(
                "Of {subject} only the last {HISTORY_MAX} rollouts are told."
            ));
        }
        for rollout in histories.into_iter().filter(|one| one.started_at >= from) {
            let rollout = if is_failure(&rollout) && asked < FAILURES_MAX {
                asked = asked.saturating_add(1);
                // Its end is known even where its decisions are not kept any more.
                home.rollout(&subject, &rollout.id).await.unwrap_or(rollout)
            } else {
                rollout
            };
            all.push(Past {
                service: subject.to_string(),
                rollout,
            });
        }
    }
    Ok(PeriodReport::new(from, to, all, notes))
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
