//! `haldane generate manifests`: all objects of a service in two Deployments.

use std::{io::Write, path::PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use haldane_api::yaml::to_yaml;
use haldane_kit::{
    manifests::{
        Mesh, Service, documents,
        layout::{File, helm, kustomize, list, stream},
    },
    words::{Address, BaseName, Host, HttpPath, Image, Label, Place},
};

use super::files;
use crate::cli::{
    exit::{Exit, UsageError},
    globals::{Format, Globals},
    result,
};

/// How many pods a service may have here; more is a mistake.
const REPLICAS_MAX: i64 = 10_000;

/// What is known of the service.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the service
    service: BaseName,
    /// The image that serves first, such as ghcr.io/orion/auth:v1
    #[arg(long, value_name = "IMAGE")]
    image: Image,
    /// Who splits the traffic
    #[arg(long, value_name = "MESH", default_value_t = Mesh::Istio, value_parser = mesh())]
    mesh: Mesh,
    /// The port on which the pods listen
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// How many pods there are at least
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=REPLICAS_MAX))]
    replicas: u32,
    /// How many pods the autoscaler makes at most, by default twice as many; there is no autoscaler where this is no more than --replicas
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=REPLICAS_MAX))]
    max_replicas: Option<u32>,
    /// The host by which users reach the service; by default NAME.example.com, with Istio none
    #[arg(long, value_name = "HOST")]
    host: Option<Host>,
    /// The Gateway by which users come, NAME or NAMESPACE/NAME, of the Gateway API or of Istio; for the Gateway API `gateway` by default
    #[arg(long, value_name = "GATEWAY")]
    gateway: Option<Place>,
    /// The path that answers while a pod is alive
    #[arg(long, value_name = "PATH", default_value = "/healthz")]
    health_path: HttpPath,
    /// The path that answers while a pod can serve; by default that of --health-path
    #[arg(long, value_name = "PATH")]
    ready_path: Option<HttpPath>,
    /// The path of the service's own metrics
    #[arg(long, value_name = "PATH", default_value = "/metrics")]
    metrics_path: HttpPath,
    /// The Prometheus by which its versions are judged, as the controller reaches it
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://prometheus.monitoring:9090"
    )]
    prometheus: Address,
    /// The namespace from which Prometheus asks the pods
    #[arg(long, value_name = "NS", default_value = "monitoring")]
    monitoring_namespace: Label,
    /// A further namespace from which the service may be called; may be given several times
    #[arg(long, value_name = "NS", value_delimiter = ',')]
    allow_from: Vec<Label>,
    /// The ServiceAccount of the pipeline, NAME or NAMESPACE/NAME, that gets the rights to roll the service out from a terminal
    #[arg(long, value_name = "ACCOUNT")]
    deployer: Option<Place>,
    /// Make the namespace, too, for pods of the Pod Security level `restricted`; needs -n
    #[arg(long)]
    create_namespace: bool,
    /// Leave the Release out: `haldane deploy` rolls the service out from a terminal, without a controller
    #[arg(long)]
    without_release: bool,
    /// How the objects are written; all but `yaml` need --output-dir
    #[arg(long, value_name = "LAYOUT", value_enum, default_value_t)]
    format: Layout,
    /// Write into this directory instead of to stdout
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Replace files of the directory that say something else
    #[arg(long, requires = "output_dir")]
    force: bool,
}

/// How the objects are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Layout {
    /// One stream of YAML
    #[default]
    Yaml,
    /// A Kustomize base with the overlays `staging` and `production`
    Kustomize,
    /// A Helm chart with its values
    #[value(alias = "helm-values")]
    Helm,
}

/// Runs the command.
pub(super) fn run(args: &Args, globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let service = args.service(globals)?;
    let files = match args.format {
        Layout::Yaml if args.output_dir.is_none() => {
            let all = documents(&service);
            if globals.format == Format::Json {
                result::write(globals, out, &list(&all), |_| Ok(()))?;
            } else {
                out.write_all(stream(&all, to_yaml).as_bytes())?;
            }
            return Ok(Exit::Done);
        }
        Layout::Yaml => vec![File {
            path: format!("{}.yaml", service.name),
            text: stream(&documents(&service), to_yaml),
        }],
        Layout::Kustomize => kustomize(&service, to_yaml),
        Layout::Helm => helm(&service, to_yaml),
    };
    let Some(directory) = &args.output_dir else {
        let text = "these are several files; expected --output-dir DIR";
        return Err(UsageError(text.to_owned()).into());
    };
    files::write(directory, &files, args.force, out)?;
    Ok(Exit::Done)
}

impl Args {
    fn service(&self, globals: &Globals) -> anyhow::Result<Service> {
        let access = globals.access.as_ref();
        let namespace = access.and_then(|access| access.namespace.as_deref());
        let namespace: Option<Label> = namespace
            .map(str::parse)
            .transpose()
            .map_err(|error| UsageError(format!("-n: {error}")))?;
        if self.create_namespace && namespace.is_none() {
            let text = "--create-namespace needs to know which; expected -n NS";
            return Err(UsageError(text.to_owned()).into());
        }
        let ready_path = self.ready_path.as_ref();
        Ok(Service {
            name: self.service.clone(),
            namespace,
            has_namespace: self.create_namespace,
            image: self.image.clone(),
            port: self.port,
            replicas: self.replicas,
            replicas_max: self
                .max_replicas
                .unwrap_or_else(|| self.replicas.saturating_mul(2)),
            mesh: self.mesh,
            host: self.host.clone(),
            gateway: self.gateway.clone(),
            live_path: self.health_path.clone(),
            ready_path: ready_path.unwrap_or(&self.health_path).clone(),
            metrics_path: self.metrics_path.clone(),
            prometheus: self.prometheus.clone(),
            monitoring: self.monitoring_namespace.clone(),
            callers: self.allow_from.clone(),
            deployer: self.deployer.clone(),
            has_release: !self.without_release,
        })
    }
}

fn mesh() -> impl clap::builder::TypedValueParser<Value = Mesh> {
    let names = PossibleValuesParser::new(Mesh::ALL.map(Mesh::as_str));
    names.try_map(|name| name.parse::<Mesh>())
}
