//! `haldane plan show`: plans in their long form, every default spelled out. Needs no daemon, and a cluster only for a Release there.

use std::{io::Write, path::PathBuf};

use haldane_api::{
    file::{Problem, default_rules},
    long::plan_long,
    manifest,
    yaml::to_yaml,
};
use haldane_controller::client::Access;
use haldane_core::plan::{Plan, preset};
use serde::Serialize;

use super::{
    exit::{Exit, UsageError},
    globals::{Format, Globals},
    home::Kubernetes,
    result,
    source::Source,
    subject::Subject,
    table::Table,
};

/// Shows plans.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What to do with plans.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show a plan in its long form, or list the presets
    #[command(after_help = "\
Examples:
  haldane plan show                       list the presets
  haldane plan show fast                  what `preset: fast` means
  haldane plan show -f haldane.yaml auth  what the file says of the service auth
  haldane plan show -f release.yaml shop  the same of a Release in a manifest
  haldane plan show --kube web/shop       the same of a Release in a cluster")]
    Show(ShowArgs),
}

/// Which plan to show.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// A preset's name, with -f a service or Release of the file, with --kube a Release of the cluster
    name: Option<String>,
    /// The release file or manifest; - for standard input
    #[arg(short, long, value_name = "FILE", requires = "name")]
    file: Option<PathBuf>,
}

/// A preset as listed.
#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    summary: &'static str,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let Action::Show(show) = &args.action;
    let plan = match (&show.name, &show.file) {
        (None, _) => {
            list(globals, out)?;
            return Ok(Exit::Done);
        }
        (Some(name), None) => match &globals.access {
            Some(access) => of_cluster(name, access).await?,
            None => of_preset(name)?,
        },
        (Some(name), Some(path)) => of_file(name, &Source::read(path)?)?,
    };
    let long = plan_long(&plan);
    match globals.format {
        Format::Table | Format::Yaml => out.write_all(to_yaml(&long).as_bytes())?,
        Format::Json => writeln!(out, "{long:#}")?,
    }
    Ok(Exit::Done)
}

fn list(globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
    let presets: Vec<Listed> = preset::PRESETS
        .iter()
        .map(|preset| Listed {
            name: preset.name,
            summary: preset.summary,
        })
        .collect();
    result::write(globals, out, &presets, |out| {
        let mut table = Table::new(["PRESET", "WHAT"]);
        for Listed { name, summary } in &presets {
            table.push([name.into(), summary.into()]);
        }
        // A list to choose from is not cut.
        Ok(table.write(out, usize::MAX, globals.paint)?)
    })
}

/// Returns the preset as a file has it that says nothing else.
pub(super) fn of_preset(name: &str) -> anyhow::Result<Plan> {
    let plan = preset::find(name, default_rules());
    Ok(plan.ok_or_else(|| UsageError(format!("{name:?} is no preset; see `haldane plan show`")))?)
}

async fn of_cluster(name: &str, access: &Access) -> anyhow::Result<Plan> {
    let subject: Subject = name
        .parse()
        .map_err(|error| UsageError(format!("{error}")))?;
    let cluster = Kubernetes::connect(access).await?.cluster;
    let namespace = subject.namespace.as_deref();
    let namespace = namespace.unwrap_or_else(|| cluster.namespace());
    let release = cluster.release(namespace, &subject.name).await?;
    let problem = |one: &Problem| format!("spec.{}: {}", one.path, one.message);
    release.spec.to_plan().map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(problem).collect();
        anyhow::anyhow!("{}", problems.join("\n"))
    })
}

fn of_manifest(subject: &Subject, source: &Source) -> anyhow::Result<Plan> {
    let manifest = manifest::parse(&source.text);
    let is_it = |found: &&manifest::Found| {
        found.name == subject.name
            && (subject.namespace.is_none() || subject.namespace == found.namespace)
    };
    if let Some(found) = manifest.releases.iter().find(is_it) {
        return Ok(found.plan.clone());
    }
    let name = source.name();
    if manifest.problems.is_empty() {
        return Err(UsageError(format!("{name} has no Release {subject}")).into());
    }
    let problems = manifest.problems.iter();
    let problems: Vec<String> = problems.map(|one| format!("{name}:{one}")).collect();
    Err(anyhow::anyhow!("{}", problems.join("\n")))
}

pub(super) fn of_file(name: &str, source: &Source) -> anyhow::Result<Plan> {
    let subject: Subject = name
        .parse()
        .map_err(|error| UsageError(format!("{error}")))?;
    if manifest::is_manifest(&source.text) {
        return of_manifest(&subject, source);
    }
    let name = subject.name;
    let file = source
        .parse()
        .map_err(|problems| anyhow::anyhow!("{}", problems.join("\n")))?;
    let service = file.services.get(&name);
    let service =
        service.ok_or_else(|| UsageError(format!("{} has no service {name}", source.name())))?;
    Ok(service.plan.clone())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::testing::Daemon;

    #[tokio::test]
    async fn presets_are_listed_and_shown_in_full() {
        let daemon = Daemon::start([]);
        let (_, list) = daemon.run("plan show").await;
        assert!(list.contains("blue-green-canary"), "{list}");
        let (exit, fast) = daemon.run("plan show fast").await;
        assert_eq!(exit.unwrap(), Exit::Done);
        assert!(
            fast.starts_with("steps:\n  - weight: 5%\n  - hold: 10m\n"),
            "{fast}"
        );
        let json = daemon.run("plan show fast -o json").await.1;
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap()["steps"][0]["weight"],
            "5%"
        );
        let error = daemon.run("plan show Fast").await.0.unwrap_err();
        assert_eq!(crate::cli::exit::exit_of(&error), Exit::Usage);
    }

    #[tokio::test]
    async fn the_plan_of_a_file_is_shown_and_reads_back_as_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("haldane.yaml");
        let file = |rollout: &str| {
            format!(
                "services: {{ auth: {{ listen: 0.0.0.0:1, stable: {{ version: v1, run: ./a }}, rollout: {rollout} }} }}"
            )
        };
        fs::write(&path, file("{ steps: [10%, 100%], hold: 1m }")).unwrap();
        let line = format!("plan show auth -o json -f {}", path.display());
        let (_, shown) = Daemon::start([]).run(&line).await;
        fs::write(&path, file(&shown)).unwrap();
        assert_eq!(Daemon::start([]).run(&line).await.1, shown);
    }

    #[tokio::test]
    async fn the_plan_of_a_release_in_a_manifest_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("release.yaml");
        let manifest = "\
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: { name: shop, namespace: web }
spec: { workload: { deployment: { name: shop } }, rollout: { steps: [10%, 50%], hold: 1m } }
";
        fs::write(&path, manifest).unwrap();
        let shown = async |name: &str| {
            let line = format!("plan show {name} -o json -f {}", path.display());
            Daemon::start([]).run(&line).await
        };
        let (_, json) = shown("shop").await;
        let plan: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(plan["steps"][2]["weight"], "50%", "{json}");
        assert_eq!(shown("web/shop").await.1, json);
        let error = shown("other/shop").await.0.unwrap_err();
        assert_eq!(crate::cli::exit::exit_of(&error), Exit::Usage);
    }
}
