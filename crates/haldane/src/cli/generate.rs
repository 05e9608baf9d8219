//! `haldane generate`: files for others, made from what this program knows. Needs no daemon.

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
#[derive(Clone, Copy, Debug, clap::Subcommand)]
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
}

/// A kind that Haldane defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Defined {
    /// A service and how its versions are rolled out
    Release,
    /// Releases that go together
    ReleaseGroup,
}

/// Runs the command; a definition is YAML, unless JSON was asked for, and what is for Argo CD is YAML.
pub(crate) fn run(
    target: &Target,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let format = match globals.format {
        Format::Table | Format::Yaml => Format::Yaml,
        Format::Json => Format::Json,
    };
    let globals = Globals {
        format,
        ..globals.clone()
    };
    match target {
        Target::Crds { kind } => result::write(&globals, out, &definitions(*kind), |_| Ok(()))?,
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
