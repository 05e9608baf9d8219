//! `haldane controller`: the Kubernetes home in the foreground.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use haldane_api::release::SECRETS_DIR;
use haldane_controller::{
    Config, Controller,
    client::Access,
    host::{GroupHost, Ports, ReleaseHost},
};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Exit, Globals, exit::talk},
    wire::{asker::ClusterAsker, meter::ClusterMeter},
};

/// The longest name of a namespace: that of a DNS label.
const NAMESPACE_BYTES_MAX: usize = 63;

/// Options of `haldane controller`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ControllerArgs {
    /// The namespaces whose releases are rolled out, such as `shop,pay`; all of them by default
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,
    /// How many writes the API server gets in a second
    #[arg(long, value_name = "N", default_value = "300")]
    pub qps: NonZeroU32,
    /// How many writes it gets at once after a pause
    #[arg(long, value_name = "N", default_value = "600")]
    pub burst: NonZeroU32,
    /// Decide everything and write nothing: what would be written is logged and counted. Takes no lease
    #[arg(long)]
    pub shadow: bool,
    /// Serve `/healthz`, `/readyz` and `/metrics` at this address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    /// The name of the Lease by which one of several controllers leads
    #[arg(long, value_name = "NAME", default_value = "haldane-controller")]
    pub lease_name: String,
    /// The namespace of the Lease; by default that of the pod or of the kubeconfig's context
    #[arg(long, value_name = "NAME", value_parser = namespace)]
    pub lease_namespace: Option<String>,
    /// The directory that holds, by namespace, the files with the secrets that releases may name
    #[arg(long, value_name = "DIR", default_value = SECRETS_DIR)]
    pub secrets_dir: PathBuf,
}

impl ControllerArgs {
    /// Returns how the controller runs, on the cluster that is meant.
    fn into_config(self, access: Option<&Access>) -> Config {
        let Self {
            namespaces,
            qps,
            burst,
            shadow,
            listen,
            lease_name,
            lease_namespace,
            secrets_dir: _,
        } = self;
        Config {
            kubeconfig: access.and_then(|access| access.kubeconfig.clone()),
            context: access.and_then(|access| access.context.clone()),
            namespaces,
            qps: qps.get(),
            burst: burst.get(),
            is_shadow: shadow,
            lease_name,
            lease_namespace,
            listen: Some(listen),
        }
    }
}

/// Runs the controller until it is told to stop.
pub(crate) async fn run(args: ControllerArgs, globals: &Globals) -> anyhow::Result<Exit> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let runtime = Handle::current();
    let releases = Arc::new(ReleaseHost::new(Ports {
        meter: Arc::new(ClusterMeter::new(&runtime, args.secrets_dir.clone())),
        asker: Arc::new(ClusterAsker::new(&runtime)),
    }));
    let config = args.into_config(globals.access.as_ref());
    let controller = Controller::connect(config, vec![releases, Arc::new(GroupHost)]).await?;
    if let Some(address) = controller.address() {
        talk(&format!(
            "the controller is up; it tells how it is at http://{address}"
        ));
    }
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let told = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
    };
    // It ends only after it was told to.
    tokio::join!(told, controller.run(stop));
    Ok(Exit::Done)
}

/// Reads the name of a namespace.
fn namespace(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = !text.is_empty()
        && text.len() <= NAMESPACE_BYTES_MAX
        && text.chars().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a namespace: a-z, 0-9 and dashes between, at most 63".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn config(words: &[&str]) -> Result<Config, String> {
        let words = ["haldane", "controller"].iter().chain(words);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Controller(args) = cli.command else {
            panic!("{:?}", cli.command)
        };
        Ok(args.into_config(None))
    }

    #[test]
    fn without_options_everything_is_watched_and_little_is_exposed() {
        let config = config(&[]).unwrap();
        assert_eq!(config.namespaces, [""; 0]);
        assert_eq!(
            (config.qps, config.burst, config.is_shadow),
            (300, 600, false)
        );
        assert_eq!(config.lease_name, "haldane-controller");
        assert_eq!((config.lease_namespace, config.kubeconfig), (None, None));
        assert!(config.listen.unwrap().ip().is_loopback());
    }

    #[test]
    fn options_are_read_and_mistakes_are_told() {
        let words = [
            "--namespaces=shop,pay-2",
            "--namespaces",
            "other",
            "--qps=1",
            "--burst=1",
            "--shadow",
            "--listen=0.0.0.0:8081",
            "--lease-namespace=haldane",
        ];
        let config = config(&words).unwrap();
        assert_eq!(config.namespaces, ["shop", "pay-2", "other"]);
        assert_eq!((config.qps, config.burst, config.is_shadow), (1, 1, true));
        assert_eq!(config.lease_namespace.as_deref(), Some("haldane"));
    }

    #[test]
    fn what_can_not_be_is_refused_with_what_was_expected() {
        for (word, expected) in [
            ("--namespaces=", "expected the name of a namespace"),
            ("--namespaces=a,B", "expected the name of a namespace"),
            ("--lease-namespace=-a", "expected the name of a namespace"),
            ("--qps=0", "invalid value '0'"),
            ("--burst=-1", "invalid value"),
            ("--listen=8081", "invalid value '8081'"),
        ] {
            let told = config(&[word]).unwrap_err();
            assert!(told.contains(expected), "{word}: {told}");
        }
    }
}
