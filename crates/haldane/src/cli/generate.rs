//! `haldane generate`: files for others, made from what this program knows. Needs no daemon.

use std::io::Write;

use haldane_api::release::{argocd, schema::definition};

use super::{
    exit::Exit,
    globals::{Format, Globals},
    result,
};

/// What to write.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub(crate) enum Target {
    /// Write the definition of the kind Release for Kubernetes
    #[command(after_help = "\
Examples:
  haldane generate crds | kubectl apply --server-side -f -")]
    Crds,
    /// Write what Argo CD must be told to show the health of a Release and to offer its commands
    #[command(after_help = "\
Examples:
  haldane generate argocd > argocd-cm.yaml
  kubectl patch configmap argocd-cm -n argocd --patch-file argocd-cm.yaml")]
    Argocd,
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
        Target::Crds => result::write(&globals, out, &definition(), |_| Ok(()))?,
        Target::Argocd => out.write_all(argocd::config_map().as_bytes())?,
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use crate::cli::testing::Daemon;

    #[tokio::test]
    async fn the_definition_is_yaml_unless_json_is_asked_for() {
        let (_, out) = Daemon::start([]).run("generate crds").await;
        assert!(
            out.starts_with(
                "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
            )
        );
        let (_, out) = Daemon::start([]).run("generate crds -o json").await;
        let definition: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(definition["metadata"]["name"], "releases.haldane.dev");
    }

    #[tokio::test]
    async fn argo_cd_is_told_health_and_actions() {
        let (_, out) = Daemon::start([]).run("generate argocd").await;
        for part in ["health", "actions"] {
            let key = format!("  resource.customizations.{part}.haldane.dev_Release: |\n");
            assert!(out.contains(&key), "{out}");
        }
    }
}
