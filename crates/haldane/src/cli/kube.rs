//! Whether a command is for a cluster, and for which one.

use std::{ffi::OsStr, path::PathBuf};

use haldane_controller::client::Access;

/// What the program is called where `kubectl` runs it as its plugin.
const PLUGIN: &str = "kubectl-haldane";

/// The options that say which cluster is meant.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct KubeArgs {
    /// Ask a Kubernetes cluster instead of this machine's daemon; what is asked about are its Releases. As `kubectl haldane` that is so anyhow
    #[arg(long, env = "HALDANE_KUBE", global = true)]
    pub kube: bool,
    /// The context of the kubeconfig, by default the current one; means --kube
    #[arg(long, value_name = "NAME", env = "HALDANE_CONTEXT", global = true)]
    pub context: Option<String>,
    /// The namespace, by default the context's own; means --kube
    #[arg(
        short,
        long,
        value_name = "NS",
        env = "HALDANE_NAMESPACE",
        global = true
    )]
    pub namespace: Option<String>,
    /// The kubeconfig, by default as kubectl has it: `$KUBECONFIG`, `~/.kube/config`, or that of the pod this runs in; means --kube
    #[arg(long, value_name = "FILE", env = "HALDANE_KUBECONFIG", global = true)]
    pub kubeconfig: Option<PathBuf>,
}

impl KubeArgs {
    /// Returns the cluster that is meant, if one is; `program` is what this program was called by.
    pub(crate) fn access(&self, program: Option<&OsStr>) -> Option<Access> {
        let access = Access {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            namespace: self.namespace.clone(),
        };
        let is_meant = self.kube || access != Access::default() || is_plugin(program);
        is_meant.then_some(access)
    }
}

/// Whether `kubectl` runs us: it looks for the name with dashes, and on some systems for one with an underscore or an ending.
fn is_plugin(program: Option<&OsStr>) -> bool {
    let name = program
        .map(std::path::Path::new)
        .and_then(|path| path.file_name());
    let name = name.map(OsStr::to_string_lossy).unwrap_or_default();
    name.replace('_', "-").starts_with(PLUGIN)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn access(program: &str, line: &str) -> Option<Access> {
        let words = std::iter::once(program).chain(line.split(' '));
        let cli = Cli::try_parse_from(words).unwrap();
        cli.globals.kube.access(Some(OsStr::new(program)))
    }

    #[test]
    fn a_cluster_is_meant_by_any_of_its_options_and_by_the_plugins_name() {
        let of = |namespace: Option<&str>| {
            Some(Access {
                namespace: namespace.map(str::to_owned),
                ..Access::default()
            })
        };
        for (program, line, expected) in [
            ("haldane", "get", None),
            ("/usr/bin/haldane", "get shop", None),
            ("haldane", "get --kube", of(None)),
            ("haldane", "get -n web", of(Some("web"))),
            ("haldane", "--namespace web get", of(Some("web"))),
            ("/opt/kubectl-haldane", "get", of(None)),
            ("kubectl_haldane-linux_amd64", "get -n web", of(Some("web"))),
        ] {
            assert_eq!(access(program, line), expected, "{program} {line}");
        }
        let context = access("haldane", "get --context prod --kubeconfig /k").unwrap();
        assert_eq!(context.context.as_deref(), Some("prod"));
        assert_eq!(context.kubeconfig, Some("/k".into()));
    }
}
