//! `haldane generate`: files for others, made from what this program knows. Needs no daemon.

mod alerts;
mod ci;
mod dashboard;
mod files;
mod limits;
mod manifests;
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
#[derive(Debug, clap::Subcommand)]
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
    /// Write all objects of a service in two Deployments, stable and canary, with its router and its Release
    #[command(after_help = "\
Examples:
  haldane generate manifests auth-service --image ghcr.io/orion/auth:v1 -n orion > auth.yaml
  haldane generate manifests auth --image auth:v1 -n orion --mesh nginx --host auth.orion.io
  haldane generate manifests auth --image auth:v1 -n orion --create-namespace \\
      --mesh gateway-api --gateway edge/public
  haldane generate manifests auth --image auth:v1 -n orion --format kustomize --output-dir auth
  haldane generate manifests auth --image auth:v1 --format helm --output-dir charts/auth
  haldane generate manifests auth --image auth:v1 -n orion --without-release \\
      --deployer ci/pipeline       for pipelines that roll out without a controller")]
    Manifests(Box<manifests::Args>),
    /// Write a pipeline that builds, tests, scans, measures, rolls out and verifies a service
    #[command(after_help = "\
Examples:
  haldane generate ci github --service auth -n orion > .github/workflows/auth.yaml
  haldane generate ci gitlab --service auth -n orion --image registry.example.com/auth
  haldane generate ci jenkins --service auth -n orion --manifest deploy/auth.yaml > Jenkinsfile
  haldane generate ci argocd --service auth -n orion

`github-setup`, `github-action` and `jenkins-library` are the parts that workflows of any service
use; `argocd` and `flux` tell how these are set up.")]
    Ci(ci::Args),
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

/// Runs the command; documents are YAML, unless JSON was asked for or Grafana reads them; what is for Argo CD or a pipeline has its own form.
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
        Target::Ci(args) => return ci::run(args, &globals, out),
        Target::Manifests(args) => return manifests::run(args, &globals, out),
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
    use crate::cli::{
        exit::{Exit, exit_of},
        testing::Daemon,
    };

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

    #[tokio::test]
    async fn a_services_manifests_are_yaml_json_or_files() {
        let daemon = Daemon::start([]);
        let line = "generate manifests auth --image auth:v1 --mesh contour";
        let (exit, out) = daemon.run(line).await;
        assert_eq!(exit.unwrap(), Exit::Done);
        for kind in ["Deployment", "HTTPProxy", "Release"] {
            assert!(out.contains(&format!("\nkind: {kind}\n")), "{out}");
        }
        let (_, out) = daemon.run(&format!("{line} -o json")).await;
        let list: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(list["items"][0]["kind"], "ServiceAccount");

        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().display().to_string();
        let (exit, _) = daemon.run(&format!("{line} --format helm")).await;
        assert_eq!(exit_of(&exit.unwrap_err()), Exit::Usage);
        let line = format!("{line} --format helm --output-dir {dir}");
        let (exit, out) = daemon.run(&line).await;
        assert_eq!(exit.unwrap(), Exit::Done);
        assert!(out.contains(&format!("{dir}/templates/traffic.yaml\n")));
        // The same again changes nothing, and another image would.
        daemon.run(&line).await.0.unwrap();
        let other = line.replace("auth:v1", "auth:v2");
        let error = daemon.run(&other).await.0.unwrap_err();
        assert!(
            error.to_string().contains("values.yaml is there already"),
            "{error}"
        );
        daemon.run(&format!("{other} --force")).await.0.unwrap();
    }

    #[tokio::test]
    async fn a_namespace_that_is_to_be_made_has_a_name() {
        let line = "generate manifests auth --image auth:v1 --create-namespace";
        let error = Daemon::start([]).run(line).await.0.unwrap_err();
        assert_eq!(exit_of(&error), Exit::Usage);
        assert!(error.to_string().contains("expected -n NS"), "{error}");
    }
}
