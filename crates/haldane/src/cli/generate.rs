//! `haldane generate`: files for others, made from what this program knows. Needs no daemon.

mod alerts;
mod dashboard;
mod limits;
mod watched;

use std::io::Write;

use haldane_api::release::{
    argocd,
    schema::{definition, group_definition},
};
use serde_json::{Value, json};

use super::{
    exit::Exit,
    globals::{Format, Globals},
    result,
};

/// What to write.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Target {
    /// Write the definitions of the kinds Release and ReleaseGroup for Kubernetes
    #[command(after_help = "\
Examples:
  haldane generate crds | kubectl apply --server-side -f -
  haldane generate crds release > release.yaml")]
    Crds {
        /// The kind; both by default
        kind: Option<Defined>,
    },
    /// Write what Argo CD must be told to show the health of a Release and to offer its commands
    #[command(after_help = "\
Examples:
  haldane generate argocd > argocd-cm.yaml
  kubectl patch configmap argocd-cm -n argocd --patch-file argocd-cm.yaml")]
    Argocd,
    /// Write Prometheus rules about the canary of a service: 20 alerts, and the figures that they use
    #[command(after_help = "\
Examples:
  haldane generate alerts auth-service -n orion --mesh istio | kubectl apply -f -
  haldane generate alerts auth-service -n orion --mesh linkerd --plain > rules.yaml
  haldane generate alerts auth-service -n orion -f release.yaml --latency-p99 800
  haldane generate alerts auth-service -n orion --alertmanager slack --channel '#deployments'

Shares and times of the plan are the thresholds, where it has fixed ones. What each alert means, and
what to do then: docs/operations/alerts.md")]
    Alerts(Box<alerts::Args>),
    /// Write a Grafana dashboard about canaries, as JSON
    #[command(after_help = "\
Examples:
  haldane generate dashboard > overview.json
  haldane generate dashboard service --service auth-service -n orion --mesh istio > auth-service.json
  haldane generate dashboard errors --service auth-service -n orion --mesh nginx --error-threshold 2

Grafana asks for the Prometheus when it is imported: docs/operations/dashboards.md")]
    Dashboard(Box<dashboard::Args>),
}

/// A kind that Haldane defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Defined {
    /// A service and how its versions are rolled out
    Release,
    /// Releases that go together
    ReleaseGroup,
}

/// Runs the command; documents are YAML, unless JSON was asked for or Grafana reads them, and what is for Argo CD is YAML.
pub(crate) fn run(
    target: &Target,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let format = match (globals.format, target) {
        (Format::Table, Target::Dashboard(_)) | (Format::Json, _) => Format::Json,
        (Format::Table | Format::Yaml, _) => Format::Yaml,
    };
    let globals = Globals {
        format,
        ..globals.clone()
    };
    match target {
        Target::Crds { kind } => result::write(&globals, out, &definitions(*kind), |_| Ok(()))?,
        Target::Alerts(args) => return alerts::run(args, &globals, out),
        Target::Dashboard(args) => return dashboard::run(args, &globals, out),
        Target::Argocd => out.write_all(argocd::config_map().as_bytes())?,
    }
    Ok(Exit::Done)
}

/// Returns what `kubectl apply` takes.
fn definitions(kind: Option<Defined>) -> Value {
    match kind {
        Some(Defined::Release) => definition(),
        Some(Defined::ReleaseGroup) => group_definition(),
        None => json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": [definition(), group_definition()],
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::testing::Daemon;

    #[tokio::test]
    async fn the_definition_is_yaml_unless_json_is_asked_for() {
        let (_, out) = Daemon::start([]).run("generate crds release").await;
        assert!(
            out.starts_with(
                "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
            )
        );
        let (_, out) = Daemon::start([]).run("generate crds -o json").await;
        let list: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(list["kind"], "List");
        let names = ["releases.haldane.dev", "releasegroups.haldane.dev"];
        for (index, name) in names.into_iter().enumerate() {
            assert_eq!(list["items"][index]["metadata"]["name"], name);
        }
    }

    #[tokio::test]
    async fn argo_cd_is_told_health_and_actions() {
        let (_, out) = Daemon::start([]).run("generate argocd").await;
        for part in ["health", "actions"] {
            let key = format!("  resource.customizations.{part}.haldane.dev_Release: |\n");
            assert!(out.contains(&key), "{out}");
        }
        assert!(out.contains("  resource.customizations.health.haldane.dev_ReleaseGroup: |\n"));
    }
}
