//! `haldane replay`: what each judge would have decided on past data, and when.
//!
//! The data come from a rollout's recording, from a table of counts, or from a Prometheus. Only the first asks the daemon.

mod csv;
mod past;
mod prometheus;
mod report;

use std::{fs, io::Write, path::PathBuf};

use anyhow::Context;
use haldane_api::{file::default_plan, http::ServiceView};
use haldane_core::{RolloutId, ServiceName, VersionName, plan::Plan};
use haldane_engine::recording::Recording;
use haldane_sim::judges::replay::{Asking, replay};

use self::report::{Report, Subject};
use super::{
    client::Client,
    exit::{Exit, UsageError},
    globals::Globals,
    plan::of_file,
    result,
    source::Source,
};

/// Judges past data.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A rollout such as shop-3, or a service for its last one; with --csv or --prometheus: the service in the release file
    name: Option<String>,
    /// Read a recording that --save wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "csv", "prometheus", "save"])]
    recording: Option<PathBuf>,
    /// Read counts by time from a table; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prometheus", "save"])]
    csv: Option<PathBuf>,
    /// With --csv: the counts are totals since a beginning, not those of each interval
    #[arg(long, requires = "csv")]
    cumulative: bool,
    /// Ask a Prometheus for the plan's metrics
    #[arg(long, value_name = "URL", requires_all = ["from", "to", "file"], conflicts_with = "save")]
    prometheus: Option<String>,
    /// With --prometheus: where the time begins, such as 2026-11-21T10:00:00Z
    #[arg(long, value_name = "TIME", requires = "prometheus", value_parser = csv::moment)]
    from: Option<jiff::Timestamp>,
    /// With --prometheus: where it ends
    #[arg(long, value_name = "TIME", requires = "prometheus", value_parser = csv::moment)]
    to: Option<jiff::Timestamp>,
    /// With --prometheus: the version that served users, where it is another than the file's
    #[arg(long, value_name = "VERSION", requires = "prometheus")]
    stable: Option<VersionName>,
    /// With --prometheus: the version on trial
    #[arg(long, value_name = "VERSION", requires = "prometheus")]
    canary: Option<VersionName>,
    /// The release file whose plan judges, instead of the recorded or the default one
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// With -f: the service whose plan judges, where the data are another's
    #[arg(long, value_name = "NAME", requires = "file")]
    service: Option<ServiceName>,
    /// Write the recording to a file, too, to take it along
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let report = if let Some(path) = &args.csv {
        of_table(args, path)?
    } else if let Some(url) = &args.prometheus {
        of_prometheus(args, url).await?
    } else {
        let text = match (&args.recording, &args.name) {
            (Some(path), _) => Source::read(path)?.text,
            (None, Some(name)) => fetch(&globals.client(), name).await?,
            (None, None) => return Err(nothing_given().into()),
        };
        if let Some(path) = &args.save {
            fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
        }
        of_recording(args, &text)?
    };
    result::write(globals, out, &report, |out| report.write(globals, out))?;
    Ok(Exit::Done)
}

fn nothing_given() -> UsageError {
    let expected = "a rollout or a service, --recording, --csv or --prometheus";
    UsageError(format!("there is nothing to replay; expected {expected}"))
}

/// Fetches the recording of a rollout, or of a service's last one.
async fn fetch(client: &Client, name: &str) -> anyhow::Result<String> {
    let id = match name.parse::<ServiceName>() {
        Ok(service) => last_rollout(client, &service, name).await?,
        Err(_) => None,
    };
    let id = match id {
        Some(id) => id,
        None => name.parse::<RolloutId>().map_err(|error| {
            UsageError(format!("{name:?} is no service and no rollout: {error}"))
        })?,
    };
    Ok(client.text(&format!("/v1/rollouts/{id}/recording")).await?)
}

/// Returns a service's last rollout; `None` where the name is a rollout's, which may look like a service's.
async fn last_rollout(
    client: &Client,
    service: &ServiceName,
    name: &str,
) -> anyhow::Result<Option<RolloutId>> {
    let view: Result<ServiceView, _> = client.get(&format!("/v1/services/{service}")).await;
    match view {
        Ok(view) => match view.rollout {
            Some(rollout) => Ok(Some(rollout.id)),
            None => anyhow::bail!("{service} has had no rollout so far: nothing to replay"),
        },
        Err(error) if error.is_not_found() && name.parse::<RolloutId>().is_ok() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn of_recording(args: &Args, text: &str) -> anyhow::Result<Report> {
    let recording = Recording::read(text);
    let recording = recording.with_context(|| match &args.recording {
        Some(path) => path.display().to_string(),
        None => "reading the daemon's recording".to_owned(),
    })?;
    let head = &recording.head;
    if recording.moments.is_empty() {
        anyhow::bail!(
            "{} has no recording: it ended before its judges looked, is older than the last ones that are kept, or an older release made it",
            head.rollout
        );
    }
    let other = match &args.file {
        Some(path) => {
            let service = args.service.as_ref().unwrap_or(&head.service);
            Some(of_file(service.as_str(), &Source::read(path)?)?)
        }
        None => None,
    };
    let (plan, asking) = match &other {
        Some(plan) => (plan, Asking::Always),
        None => (&head.plan, Asking::AsRecorded),
    };
    let subject = Subject {
        of: format!("{}: {} to {}", head.rollout, head.stable, head.canary),
        plan: plan_name(args, "its own plan"),
        notes: Vec::new(),
        decisions: recording.decisions.clone(),
    };
    let findings = replay(plan, &recording.moments, asking);
    Ok(Report::new(subject, &recording.moments, findings))
}

fn of_table(args: &Args, path: &std::path::Path) -> anyhow::Result<Report> {
    let source = Source::read(path)?;
    let rows = csv::read(&source.text, args.cumulative);
    let rows = rows.map_err(|problems| {
        let named = problems
            .iter()
            .map(|problem| format!("{}:{problem}", source.name()));
        anyhow::anyhow!("{}", named.collect::<Vec<_>>().join("\n"))
    })?;
    let plan = plan(args)?;
    let moments = past::moments(rows);
    let subject = Subject {
        of: source.name(),
        plan: plan_name(args, "the default plan"),
        notes: Vec::new(),
        decisions: Vec::new(),
    };
    let findings = replay(&plan, &moments, Asking::AsRecorded);
    Ok(Report::new(subject, &moments, findings))
}

async fn of_prometheus(args: &Args, url: &str) -> anyhow::Result<Report> {
    let (Some(from), Some(to), Some(path)) = (args.from, args.to, &args.file) else {
        return Err(nothing_given().into());
    };
    let Some(canary) = &args.canary else {
        return Err(UsageError("expected --canary, the version on trial".to_owned()).into());
    };
    let name = service(args)?;
    let source = Source::read(path)?;
    let file = source.parse();
    let file = file.map_err(|problems| anyhow::anyhow!("{}", problems.join("\n")))?;
    let service = file.services.get(&name);
    let service =
        service.ok_or_else(|| UsageError(format!("{} has no service {name}", source.name())))?;
    let stable = args.stable.as_ref().unwrap_or(&service.stable.version);
    let asked = prometheus::Asked {
        service: &name,
        stable,
        canary,
        url,
        from,
        to,
        metrics: &service.plan.rules().metrics,
    };
    let answer = prometheus::ask(&asked).await?;
    let moments = past::moments(answer.rows);
    let subject = Subject {
        of: format!("{name} in {url}: {stable} to {canary}"),
        plan: plan_name(args, "the default plan"),
        notes: answer.notes,
        decisions: Vec::new(),
    };
    let findings = replay(&service.plan, &moments, Asking::AsRecorded);
    Ok(Report::new(subject, &moments, findings))
}

/// Returns the plan of the file's service, or the default one.
fn plan(args: &Args) -> anyhow::Result<Plan> {
    match &args.file {
        Some(path) => of_file(service(args)?.as_str(), &Source::read(path)?),
        None => Ok(default_plan()),
    }
}

/// Returns the service whose plan is meant.
fn service(args: &Args) -> anyhow::Result<ServiceName> {
    if let Some(service) = &args.service {
        return Ok(service.clone());
    }
    let expected = "with -f: expected the service whose plan judges";
    let name = args.name.as_ref();
    let name = name.ok_or_else(|| UsageError(expected.to_owned()))?;
    Ok(name
        .parse()
        .map_err(|error| UsageError(format!("{error}")))?)
}

fn plan_name(args: &Args, usual: &str) -> String {
    match (&args.file, args.service.as_ref().map(ServiceName::as_str)) {
        (Some(path), Some(service)) => format!("the plan of {service} in {}", path.display()),
        (Some(path), None) => format!("the plan in {}", path.display()),
        (None, _) => usual.to_owned(),
    }
}

#[cfg(test)]
mod tests;
