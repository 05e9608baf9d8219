//! The options that say what the versions of a service are called in its metrics.

use haldane_kit::watched::{Mesh, Names, Watched, Workload};

use crate::cli::{exit::UsageError, globals::Globals};

/// The namespace that is meant where none is named.
const NAMESPACE: &str = "default";

/// What the versions are called, and who counts their requests.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WatchedArgs {
    /// Who counts the requests of both versions
    #[arg(long, value_enum, default_value_t)]
    mesh: MeshName,
    /// How the Deployments of both versions are kept
    #[arg(long, value_enum, default_value_t)]
    workload: WorkloadName,
    /// Stable's Deployment and Service [default: SERVICE-stable of a pair, SERVICE of a Deployment]
    #[arg(long, value_name = "NAME")]
    stable: Option<String>,
    /// The canary's Deployment and Service [default: SERVICE-canary]
    #[arg(long, value_name = "NAME")]
    canary: Option<String>,
}

/// A kind of workload by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum WorkloadName {
    /// Two Deployments, one for each version
    #[default]
    Pair,
    /// One Deployment, beside which Haldane makes the canary's, with a hash after its name
    Deployment,
}

/// A mesh or ingress by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum MeshName {
    /// Istio's sidecars or waypoints
    #[default]
    Istio,
    /// Linkerd's proxies
    Linkerd,
    /// ingress-nginx with a canary Ingress
    Nginx,
    /// Contour's Envoy
    Contour,
    /// Traefik
    Traefik,
    /// The pods' own http_requests_total and http_request_duration_seconds, with the labels service and version
    Http,
}

impl WatchedArgs {
    /// Returns the service as it is watched.
    pub(super) fn watched(&self, service: &str, globals: &Globals) -> anyhow::Result<Watched> {
        let (stable, workload) = match self.workload {
            WorkloadName::Pair => (format!("{service}-stable"), Workload::Pair),
            WorkloadName::Deployment => (service.to_owned(), Workload::Deployment),
        };
        let canary = format!("{service}-canary");
        let names = Names {
            service: service.to_owned(),
            namespace: namespace(globals),
            stable: self.stable.clone().unwrap_or(stable),
            canary: self.canary.clone().unwrap_or(canary),
        };
        let watched = Watched::try_new(names, workload, self.mesh.mesh());
        Ok(watched.map_err(|error| UsageError(error.to_string()))?)
    }
}

impl MeshName {
    const fn mesh(self) -> Mesh {
        match self {
            Self::Istio => Mesh::Istio,
            Self::Linkerd => Mesh::Linkerd,
            Self::Nginx => Mesh::Nginx,
            Self::Contour => Mesh::Contour,
            Self::Traefik => Mesh::Traefik,
            Self::Http => Mesh::Http,
        }
    }
}

fn namespace(globals: &Globals) -> String {
    let access = globals.access.as_ref();
    let given = access.and_then(|access| access.namespace.clone());
    given.unwrap_or_else(|| NAMESPACE.to_owned())
}
