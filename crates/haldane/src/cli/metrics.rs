//! `haldane metrics`: the queries of known meshes and ingresses, and what the metric systems of a release file say now.
//!
//! Needs no daemon, but for what the proxy of a running one counted itself: a metric that has no data, or fails on stable already, is to be found before a rollout and not blamed on a canary.
//! Secrets are read where the file says, as the daemon does, but from this command's own environment.

mod check;
mod counted;

use std::{collections::BTreeMap, io::Write, path::PathBuf, time::Duration};

use haldane_api::text::parse_duration;
use haldane_core::{ServiceName, VersionName};
use haldane_source::template::{self, Template, Variables};
use serde::Serialize;

use super::{
    exit::{Exit, UsageError},
    globals::Globals,
    paint::Tone,
    result,
    table::Table,
};

/// Shows or asks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the templates, or show the queries of one
    #[command(after_help = "\
Examples:
  haldane metrics show
  haldane metrics show istio --set namespace=shop --stable shop-v1 --canary shop-v2
  haldane metrics show plain -o json")]
    Show(ShowArgs),
    /// Ask every metric system of a release file now: value, age, labels, what is missing; of conversions, what the proxy counted
    #[command(after_help = "\
Examples:
  haldane metrics check -f haldane.yaml
  haldane metrics check -f haldane.yaml shop --canary v2
  haldane metrics check -f haldane.yaml -o json

Without --canary only stable is asked about. Exit code 1 where something is missing, or a limit is broken already.")]
    Check(CheckArgs),
}

/// Which template, and with which names.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The template's name
    template: Option<String>,
    /// The service
    #[arg(long, value_name = "NAME", default_value = "shop")]
    service: String,
    /// What the metric system calls the stable version
    #[arg(long, value_name = "NAME", default_value = "v1")]
    stable: String,
    /// What it calls the canary
    #[arg(long, value_name = "NAME", default_value = "v2")]
    canary: String,
    /// A variable of the template, such as namespace=shop; may be given again
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Over which time rates are taken
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    window: Duration,
}

/// Which metrics to ask for.
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The service; without it all of the file
    service: Option<ServiceName>,
    /// The release file; - for standard input
    #[arg(short, long, value_name = "FILE", default_value = "haldane.yaml")]
    file: PathBuf,
    /// The version serving users, where it is another than the file's
    #[arg(long, value_name = "VERSION")]
    stable: Option<VersionName>,
    /// A version on trial that runs already
    #[arg(long, value_name = "VERSION")]
    canary: Option<VersionName>,
}

/// A template as listed.
#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    about: &'static str,
    /// What the names of the versions are there.
    workload: &'static str,
    /// What else must be set.
    variables: Vec<&'static str>,
}

/// The queries of a template.
#[derive(Debug, Serialize)]
struct Shown {
    name: &'static str,
    about: &'static str,
    workload: &'static str,
    stable: Queries,
    canary: Queries,
}

/// The queries of one version.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Queries {
    requests: String,
    failures: String,
    buckets: String,
    native: String,
    success_rate: String,
    duration: String,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    match &args.action {
        Action::Show(args) => show(args, globals, out),
        Action::Check(args) => check::run(args, globals, out).await,
    }
}

fn show(args: &ShowArgs, globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let Some(name) = &args.template else {
        return list(globals, out);
    };
    let known = template::find(name);
    let known = known.map_err(|error| UsageError(format!("{name:?}: {error}")))?;
    let variables = variables(args, known)?;
    let rendered = template::render(name, &variables);
    let rendered = rendered.map_err(|error| UsageError(error.to_string()))?;
    let shown = Shown {
        name: known.name,
        about: known.about,
        workload: known.workload,
        stable: rendered.stable.into(),
        canary: rendered.canary.into(),
    };
    result::write(globals, out, &shown, |out| {
        let strong = |text: &str| globals.paint.tone(Tone::Strong, text);
        writeln!(out, "{}: {}", strong(shown.name), shown.about)?;
        writeln!(out, "a version is named by {}", shown.workload)?;
        for (version, queries) in [("stable", &shown.stable), ("canary", &shown.canary)] {
            writeln!(out, "\n{}", strong(version))?;
            for (what, query) in queries.all() {
                // Queries are to be copied, so that they are not wrapped.
                writeln!(out, "  {what}:\n    {query}")?;
            }
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

fn list(globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let listed = template::list().iter().map(|template| Listed {
        name: template.name,
        about: template.about,
        workload: template.workload,
        variables: needs(template),
    });
    let listed: Vec<Listed> = listed.collect();
    result::write(globals, out, &listed, |out| {
        let mut table = Table::new(["TEMPLATE", "VERSION IS", "VARIABLES", "FOR"]);
        for one in &listed {
            let variables = if one.variables.is_empty() {
                "-".to_owned()
            } else {
                one.variables.join(", ")
            };
            // Where versions are told apart otherwise, what follows says how.
            let workload = one.workload.split(':').next().unwrap_or_default();
            table.push([
                one.name.into(),
                workload.into(),
                variables.into(),
                one.about.into(),
            ]);
        }
        Ok(table.write(out, usize::MAX, globals.paint)?)
    })?;
    Ok(Exit::Done)
}

/// Returns what must be set besides the service.
fn needs(template: &Template) -> Vec<&'static str> {
    let names = template.names().into_iter();
    names.filter(|name| *name != "service").collect()
}

fn variables(args: &ShowArgs, template: &Template) -> Result<Variables, UsageError> {
    let mut names = BTreeMap::from([("service".to_owned(), args.service.clone())]);
    for pair in &args.set {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| UsageError(format!("{pair:?} is no NAME=VALUE")))?;
        names.insert(name.to_owned(), value.to_owned());
    }
    // What is not set stands for itself, so that the queries can be seen before anything is known.
    for name in needs(template) {
        names
            .entry(name.to_owned())
            .or_insert_with(|| name.to_owned());
    }
    Ok(Variables {
        stable: args.stable.clone(),
        canary: args.canary.clone(),
        window: args.window,
        names,
    })
}

impl Queries {
    fn all(&self) -> [(&'static str, &str); 6] {
        [
            ("requests", &self.requests),
            ("failures", &self.failures),
            ("buckets", &self.buckets),
            ("the same as a native histogram", &self.native),
            ("success rate, %", &self.success_rate),
            ("duration, ms", &self.duration),
        ]
    }
}

impl From<template::Arm> for Queries {
    fn from(arm: template::Arm) -> Self {
        Self {
            requests: arm.requests,
            failures: arm.failures,
            buckets: arm.buckets,
            native: arm.native,
            success_rate: arm.success_rate,
            duration: arm.duration,
        }
    }
}

#[cfg(test)]
mod tests;
