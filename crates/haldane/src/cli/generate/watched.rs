//! The options that say what the versions of a service are called in its metrics.

use haldane_kit::watched::{Mesh, Names, Watched};

use crate::cli::{exit::UsageError, globals::Globals};

/// The namespace that is meant where none is named.
const NAMESPACE: &str = "default";

/// What the versions are called, and who counts their requests.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WatchedArgs {
    /// Who counts the requests of both versions
    #[arg(long, value_enum, default_value_t)]
    mesh: MeshName,
    /// Stable's Deployment and Service [default: SERVICE-stable]
    #[arg(long, value_name = "NAME")]
    stable: Option<String>,
    /// The canary's Deployment and Service [default: SERVICE-canary]
    #[arg(long, value_name = "NAME")]
    canary: Option<String>,
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
        let version = |given: &Option<String>, side: &str| {
            given.clone().unwrap_or_else(|| format!("{service}-{side}"))
        };
        let names = Names {
            service: service.to_owned(),
            namespace: namespace(globals),
            stable: version(&self.stable, "stable"),
            canary: version(&self.canary, "canary"),
        };
        let watched = Watched::try_new(names, self.mesh.mesh());
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
