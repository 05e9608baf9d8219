//! Which router a release has, and what every router answers.

use haldane_core::Weight;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    alb::{self, Alb},
    ambassador::{self, Ambassador},
    apisix::{self, Apisix},
    consul::{self, Consul},
    contour::{self, Contour},
    gateway::{self, Gateway},
    gloo::{self, Gloo},
    istio::{self, Istio},
    knative::{self, Knative},
    kuma::{self, Kuma},
    linkerd::{self, Linkerd},
    nginx::{self, Nginx},
    object::{Change, ObjectRef, Objects},
    skipper::{self, Skipper},
    smi::{self, Smi},
    split::Split,
    traefik::{self, Traefik},
};

/// The annotation that keeps what an object said before Haldane changed it; gone when nothing of the change is left.
pub const BEFORE: &str = "haldane.dev/before";

/// A router with its objects; exactly one member is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Gateway API: HTTPRoute, GRPCRoute, TCPRoute or TLSRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// Istio: a VirtualService, by Service or by subset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub istio: Option<Istio>,
    /// ingress-nginx: a canary Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nginx: Option<Nginx>,
    /// Linkerd: an HTTPRoute on a Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linkerd: Option<Linkerd>,
    /// SMI: a TrafficSplit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smi: Option<Smi>,
    /// AWS Load Balancer Controller's annotations on an Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alb: Option<Alb>,
    /// Ambassador's (Emissary's) Mapping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ambassador: Option<Ambassador>,
    /// Apache APISIX's ApisixRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apisix: Option<Apisix>,
    /// Consul's ServiceSplitter and ServiceRouter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consul: Option<Consul>,
    /// Contour's HTTPProxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contour: Option<Contour>,
    /// Gloo's RouteTable or VirtualService.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gloo: Option<Gloo>,
    /// Knative's Service or Route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knative: Option<Knative>,
    /// Kuma's MeshHTTPRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kuma: Option<Kuma>,
    /// Skipper's RouteGroup, or its annotation on an Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipper: Option<Skipper>,
    /// Traefik's TraefikService and IngressRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traefik: Option<Traefik>,
}

/// What every router answers; all of it from data.
pub trait Router {
    /// Returns the objects that must be seen before anything else is asked.
    fn objects(&self, namespace: &str) -> Vec<ObjectRef>;

    /// Returns those of its objects that split all their requests alike, whatever Services they lead to: two splits can't share one.
    fn undivided(&self, _namespace: &str) -> Vec<ObjectRef> {
        Vec::new()
    }

    /// Returns what must change so that requests are split like this; nothing if all is as it should be.
    ///
    /// # Errors
    /// When an object is missing or does not have the form that is needed, or the router can't do this.
    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError>;

    /// Returns what must change so that nothing of Haldane is left; stable gets everything.
    ///
    /// # Errors
    /// When an object does not have the form that is needed. One that is missing is cleared.
    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError>;

    /// Returns what the objects say of the split now, whoever wrote it.
    ///
    /// # Errors
    /// When an object is missing or does not have the form that is needed.
    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError>;

    /// Returns whether the router says that it does what its objects say.
    fn accepted(&self, split: &Split, objects: &Objects) -> Accepted;

    /// Returns what this router can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether it refuses a whole route in which one Service has no endpoints, be its weight zero.
    fn needs_endpoints(&self) -> bool {
        false
    }
}

/// What the objects of a router say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The canary's share of the requests that no rule of ours takes out, to the nearest basis point.
    pub weight: Weight,
}

/// What a router says of its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It does what they say, as of their present generation.
    Yes,
    /// It never tells; that the objects were read back must do.
    Unreported,
    /// It has not told yet.
    Pending(String),
    /// It refuses them, with the reason.
    No(String),
}

/// What a router can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Its name for people.
    pub name: &'static str,
    /// Whether it splits by weight.
    pub weight: bool,
    /// Whether it routes by exact header values.
    pub header: bool,
    /// Whether it matches headers by regular expression.
    pub header_regex: bool,
    /// Whether it copies requests to the canary.
    pub mirror: bool,
    /// Whether it can copy a share of them.
    pub mirror_share: bool,
    /// Whether it can keep a user on one version.
    pub sticky: bool,
    /// How far it was tried.
    pub proof: Proof,
}

/// How far a router was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// With real requests through the router.
    Traffic,
    /// By its objects alone, on a real API server.
    Objects,
}

/// Why a router can't do what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Not exactly one router is named.
    #[error("expected exactly one router, found {0}")]
    NotOne(usize),
    /// An object is missing.
    #[error("{0} does not exist")]
    Missing(ObjectRef),
    /// An object does not have the form that is needed.
    #[error("{object}: {path}: {expected}")]
    Form {
        /// The object.
        object: ObjectRef,
        /// Where in it.
        path: String,
        /// What was expected there, and what is there.
        expected: String,
    },
    /// The router has no way to do this.
    #[error("{router} can't {what}")]
    Cannot {
        /// The router.
        router: &'static str,
        /// What it can't.
        what: String,
    },
}

impl Capabilities {
    /// Says that this router has no way to do something.
    pub(crate) fn cannot(&self, what: impl Into<String>) -> RouteError {
        RouteError::Cannot {
            router: self.name,
            what: what.into(),
        }
    }
}

impl Route {
    /// Returns the router that is set.
    ///
    /// # Errors
    /// When none is set, or more than one.
    pub fn router(&self) -> Result<&dyn Router, RouteError> {
        let all = [
            self.gateway.as_ref().map(|one| one as &dyn Router),
            self.istio.as_ref().map(|one| one as &dyn Router),
            self.nginx.as_ref().map(|one| one as &dyn Router),
            self.linkerd.as_ref().map(|one| one as &dyn Router),
            self.smi.as_ref().map(|one| one as &dyn Router),
            self.alb.as_ref().map(|one| one as &dyn Router),
            self.ambassador.as_ref().map(|one| one as &dyn Router),
            self.apisix.as_ref().map(|one| one as &dyn Router),
            self.consul.as_ref().map(|one| one as &dyn Router),
            self.contour.as_ref().map(|one| one as &dyn Router),
            self.gloo.as_ref().map(|one| one as &dyn Router),
            self.knative.as_ref().map(|one| one as &dyn Router),
            self.kuma.as_ref().map(|one| one as &dyn Router),
            self.skipper.as_ref().map(|one| one as &dyn Router),
            self.traefik.as_ref().map(|one| one as &dyn Router),
        ];
        let set: Vec<&dyn Router> = all.into_iter().flatten().collect();
        match set.as_slice() {
            [one] => Ok(*one),
            others => Err(RouteError::NotOne(others.len())),
        }
    }
}

/// Returns what each router can do, in the order in which they are told to people.
#[must_use]
pub fn catalog() -> Vec<Capabilities> {
    vec![
        gateway::CAPABILITIES,
        istio::CAPABILITIES,
        nginx::CAPABILITIES,
        linkerd::CAPABILITIES,
        smi::CAPABILITIES,
        alb::CAPABILITIES,
        ambassador::CAPABILITIES,
        apisix::CAPABILITIES,
        consul::CAPABILITIES,
        contour::CAPABILITIES,
        gloo::CAPABILITIES,
        knative::CAPABILITIES,
        kuma::CAPABILITIES,
        skipper::CAPABILITIES,
        traefik::CAPABILITIES,
    ]
}
