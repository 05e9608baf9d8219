//! The manifests of a service in two Deployments, stable and canary, with all that a careful team puts beside them.
//!
//! Both Deployments have the same template but for the label `version`, so that what is promoted fits where it is put. Nothing in it needs
//! a right: the pods are fit for the Pod Security level `restricted`. What a router can't do (outlier detection, limits of its pools) is left
//! out of its objects.

mod access;
pub mod layout;
mod release;
mod route;
mod workload;

use std::{fmt, str::FromStr};

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::words::{Address, BaseName, Host, HttpPath, Image, Label, Place};

/// The label whose value tells stable from canary.
const VERSION: &str = "version";

/// The port of each Service; the pods' own stands in their templates.
const SERVICE_PORT: u16 = 80;

/// What is known of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: BaseName,
    /// Where it lives; without one, wherever the manifests are applied.
    pub namespace: Option<Label>,
    /// Whether the namespace is one of the objects.
    pub has_namespace: bool,
    /// The image that serves first.
    pub image: Image,
    /// The port on which its pods listen.
    pub port: u16,
    /// How many pods stable has at least.
    pub replicas: u32,
    /// How many pods the autoscaler gives it at most; there is none where this is not more than `replicas`.
    pub replicas_max: u32,
    /// Who splits its traffic.
    pub mesh: Mesh,
    /// The host by which its users reach it; with Istio only where one is said.
    pub host: Option<Host>,
    /// The Gateway by which its users reach it, for Istio and the Gateway API.
    pub gateway: Option<Place>,
    /// The path that answers while a pod is alive.
    pub live_path: HttpPath,
    /// The path that answers while a pod can serve.
    pub ready_path: HttpPath,
    /// The path of its own metrics.
    pub metrics_path: HttpPath,
    /// The Prometheus by which its versions are judged.
    pub prometheus: Address,
    /// The namespace from which its metrics are scraped.
    pub monitoring: Label,
    /// Further namespaces from which it may be called.
    pub callers: Vec<Label>,
    /// The account of the pipeline that rolls it out from a terminal, if it needs rights.
    pub deployer: Option<Place>,
    /// Whether its Release is one of the objects; without it, a terminal rolls it out.
    pub has_release: bool,
}

/// Who splits the traffic of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mesh {
    /// Istio: a VirtualService, and a DestinationRule for each version.
    Istio,
    /// Linkerd: an HTTPRoute on the Service.
    Linkerd,
    /// ingress-nginx: an Ingress, and a canary Ingress.
    Nginx,
    /// The Gateway API: an HTTPRoute on a Gateway.
    GatewayApi,
    /// Contour: an HTTPProxy.
    Contour,
    /// Traefik: a weighted TraefikService and an IngressRoute.
    Traefik,
    /// Nobody: the share of pods is the share of traffic.
    None,
}

/// A name of no mesh.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no mesh: expected one of {names}", names = Mesh::ALL.map(Mesh::as_str).join(", "))]
pub struct MeshError(String);

/// One object, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// To what it belongs.
    pub part: Part,
    /// What it is for, for whoever reads it later.
    pub about: String,
    /// The object.
    pub object: Value,
}

/// What an object belongs to; in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The namespace.
    Namespace,
    /// Who may do what.
    Access,
    /// What runs.
    Workload,
    /// Who gets which version.
    Traffic,
    /// Who measures it.
    Metrics,
    /// How it is rolled out.
    Release,
}

/// One of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Stable,
    Canary,
}

/// Returns all objects of a service: what others need comes before them.
#[must_use]
pub fn documents(service: &Service) -> Vec<Document> {
    let mut all = access::documents(service);
    all.extend(workload::documents(service));
    all.extend(route::documents(service));
    all.extend(release::documents(service));
    all
}

impl Mesh {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Istio,
        Self::Linkerd,
        Self::Nginx,
        Self::GatewayApi,
        Self::Contour,
        Self::Traefik,
        Self::None,
    ];

    /// Returns its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::Linkerd => "linkerd",
            Self::Nginx => "nginx",
            Self::GatewayApi => "gateway-api",
            Self::Contour => "contour",
            Self::Traefik => "traefik",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mesh {
    type Err = MeshError;

    fn from_str(text: &str) -> Result<Self, MeshError> {
        let found = Self::ALL.into_iter().find(|mesh| mesh.as_str() == text);
        found.ok_or_else(|| MeshError(text.to_owned()))
    }
}

impl Part {
    /// Returns the name of the file that has its objects.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Namespace => "namespace.yaml",
            Self::Access => "access.yaml",
            Self::Workload => "workload.yaml",
            Self::Traffic => "traffic.yaml",
            Self::Metrics => "metrics.yaml",
            Self::Release => "release.yaml",
        }
    }
}

impl Side {
    const BOTH: [Self; 2] = [Self::Stable, Self::Canary];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }

    /// Returns the name of this version's Deployment and Service.
    fn of(self, service: &Service) -> String {
        format!("{}-{}", service.name, self.as_str())
    }
}

impl Service {
    /// Returns the labels by which all pods of the service are found.
    fn labels(&self) -> Value {
        json!({"app": self.name.as_str()})
    }

    /// Returns the labels by which the pods of one version are found.
    fn labels_of(&self, side: Side) -> Value {
        json!({"app": self.name.as_str(), VERSION: side.as_str()})
    }

    /// Returns the host by which users reach it.
    fn host(&self) -> String {
        match &self.host {
            Some(host) => host.to_string(),
            None => format!("{}.example.com", self.name),
        }
    }

    /// Returns an object of the service's namespace.
    fn object(&self, [version, kind, name]: [&str; 3], labels: Value, rest: Value) -> Value {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("labels".to_owned(), labels);
        if let Some(namespace) = &self.namespace {
            metadata.insert("namespace".to_owned(), json!(namespace.as_str()));
        }
        let mut object = match rest {
            Value::Object(object) => object,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        };
        object.insert("apiVersion".to_owned(), json!(version));
        object.insert("kind".to_owned(), json!(kind));
        object.insert("metadata".to_owned(), Value::Object(metadata));
        Value::Object(object)
    }
}

impl Document {
    fn new(part: Part, about: impl Into<String>, object: Value) -> Self {
        Self {
            part,
            about: about.into(),
            object,
        }
    }
}

/// Gives an object annotations.
fn annotated(mut object: Value, annotations: Value) -> Value {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        metadata.insert("annotations".to_owned(), annotations);
    }
    object
}

#[cfg(test)]
mod tests;
