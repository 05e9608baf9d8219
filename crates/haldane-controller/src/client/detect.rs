//! What a service consists of in a cluster, found by its name: its Deployments, and the route that leads to it.
//!
//! The names are those that canaries are kept by with scripts: a Deployment `NAME`, or two, `NAME-stable` and `NAME-canary`; a
//! VirtualService, TrafficSplit, HTTPRoute, HTTPProxy, TraefikService or Ingress `NAME`, of a pair the canary Ingress `NAME-canary`.

use haldane_api::release::{Pair, Spec};
use haldane_core::ServiceName;
use haldane_router::{
    Kind,
    kinds::{
        HTTP_PROXY, HTTP_ROUTE, INGRESS, ISTIO_SERVICE, POLICY_ROUTE, TRAEFIK_SERVICE,
        TRAFFIC_SPLIT,
    },
};
use serde_json::{Value, json};

use super::{Cluster, ClusterError, TerminalError};
use crate::kinds::DEPLOYMENT;

/// What splits the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mesh {
    /// Istio: a VirtualService.
    Istio,
    /// Linkerd: a TrafficSplit, or an HTTPRoute on a Service.
    Linkerd,
    /// ingress-nginx: an Ingress.
    Nginx,
    /// A Gateway of any implementation: an HTTPRoute.
    GatewayApi,
    /// Contour: an HTTPProxy, or an HTTPRoute.
    Contour,
    /// Traefik: a TraefikService, or an HTTPRoute.
    Traefik,
    /// Nothing but the numbers of pods.
    Pods,
}

/// A service as it was found.
#[derive(Clone, Debug)]
pub struct Detected {
    /// How it would be rolled out, by the default plan and without metrics.
    pub spec: Spec,
    /// What splits its traffic.
    pub mesh: Mesh,
    /// What was found, in words: `Deployment shop, HTTPRoute shop`.
    pub said: String,
}

/// A kind of route: whose it is, and how a Release names it.
struct Candidate {
    kind: &'static Kind,
    /// The mesh that is meant where none was named.
    mesh: Mesh,
    /// The others that may have one.
    also: &'static [Mesh],
    route: fn(&str) -> Value,
}

/// Kinds of routes, by what one of the service's name means.
const CANDIDATES: [Candidate; 7] = [
    Candidate {
        kind: &ISTIO_SERVICE,
        mesh: Mesh::Istio,
        also: &[],
        route: |name| json!({"istio": {"virtualService": name}}),
    },
    Candidate {
        kind: &TRAFFIC_SPLIT,
        mesh: Mesh::Linkerd,
        also: &[],
        route: |name| json!({"smi": {"trafficSplit": name}}),
    },
    Candidate {
        kind: &POLICY_ROUTE,
        mesh: Mesh::Linkerd,
        also: &[],
        route: |name| json!({"linkerd": {"httpRoute": name, "group": "policy.linkerd.io"}}),
    },
    Candidate {
        kind: &HTTP_ROUTE,
        mesh: Mesh::GatewayApi,
        also: &[Mesh::Contour, Mesh::Traefik],
        route: |name| json!({"gateway": {"httpRoute": name}}),
    },
    Candidate {
        kind: &HTTP_PROXY,
        mesh: Mesh::Contour,
        also: &[],
        route: |name| json!({"contour": {"httpProxy": name}}),
    },
    Candidate {
        kind: &TRAEFIK_SERVICE,
        mesh: Mesh::Traefik,
        also: &[],
        route: |name| json!({"traefik": {"service": name}}),
    },
    Candidate {
        kind: &INGRESS,
        mesh: Mesh::Nginx,
        also: &[],
        route: |name| json!({"nginx": {"ingress": name}}),
    },
];

impl Mesh {
    /// Returns the template of the queries by which its requests are counted; see `haldane metrics show`.
    #[must_use]
    pub const fn template(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::Linkerd => "linkerd",
            Self::Nginx => "nginx",
            Self::GatewayApi | Self::Pods => "gateway-api",
            Self::Contour => "contour",
            Self::Traefik => "traefik",
        }
    }
}

impl Cluster {
    /// Finds a service by its name.
    ///
    /// # Errors
    /// When there is no workload of that name, no route of the mesh, or several routes and no mesh was named.
    pub async fn detect(
        &self,
        namespace: &str,
        name: &ServiceName,
        mesh: Option<Mesh>,
    ) -> Result<Detected, TerminalError> {
        let (mut spec, mut said) = self.workload_of(namespace, name).await?;
        let is_pair = !spec.workload.pairs.is_empty();
        let mut found: Vec<(Mesh, Value, String)> = Vec::new();
        let mut missing = Vec::new();
        for candidate in &CANDIDATES {
            let is_meant = mesh.is_none_or(|mesh| candidate.is_of(mesh));
            // An Ingress of a pair splits by the annotations of a second one.
            let is_canary_ingress = is_pair && *candidate.kind == INGRESS;
            let named = if is_canary_ingress {
                format!("{name}-canary")
            } else {
                name.to_string()
            };
            if !is_meant || mesh == Some(Mesh::Pods) {
                continue;
            }
            let target = candidate.kind.named(namespace, &named);
            let api = self.api(candidate.kind, Some(namespace));
            match self.call(api.get_opt(&named)).await {
                Ok(Some(object)) => {
                    let object = object.data;
                    let (own, route) = candidate.route(&object, &named, is_canary_ingress);
                    found.push((own, route, target.to_string()));
                }
                Ok(None) => missing.push(format!("{} {named} does not exist", candidate.kind.kind)),
                Err(ClusterError::NoDefinition) => {
                    missing.push(format!("{} is not installed", candidate.kind.kind));
                }
                // Who named no mesh needs no rights on all of them.
                Err(ClusterError::Forbidden(_)) if mesh.is_none() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let usage = |text| Err(TerminalError::Usage(text));
        match (found.as_slice(), mesh) {
            ([(own, route, target)], _) => {
                let route = serde_json::from_value(route.clone());
                spec.routers =
                    vec![route.map_err(|error| TerminalError::Usage(error.to_string()))?];
                said = format!("{said}, {target}");
                let mesh = mesh.unwrap_or(*own);
                Ok(Detected { spec, mesh, said })
            }
            ([], None | Some(Mesh::Pods)) => Ok(Detected {
                spec,
                mesh: Mesh::Pods,
                said: format!("{said}, no route: the numbers of pods split the traffic"),
            }),
            ([], Some(_)) => usage(format!(
                "no route of this mesh leads to {name} in namespace {namespace}: {}; --route names another one",
                missing.join(", ")
            )),
            ([_, _, ..], _) => {
                let all: Vec<&str> = found.iter().map(|(_, _, target)| target.as_str()).collect();
                usage(format!(
                    "{} may split the traffic of {name}: say which, by --mesh or --route",
                    all.join(" and ")
                ))
            }
        }
    }

    /// Finds what runs a service.
    async fn workload_of(
        &self,
        namespace: &str,
        name: &ServiceName,
    ) -> Result<(Spec, String), TerminalError> {
        let is_there = async |name: &str| self.is_there(&DEPLOYMENT.named(namespace, name)).await;
        let (stable, canary) = (format!("{name}-stable"), format!("{name}-canary"));
        if is_there(&stable).await? && is_there(&canary).await? {
            let said = format!("Deployments {stable} and {canary}");
            let mut spec = Spec::default();
            spec.workload.pairs = vec![Pair {
                stable,
                canary,
                stable_service: None,
                canary_service: None,
                replicas: None,
            }];
            return Ok((spec, said));
        }
        if is_there(name.as_str()).await? {
            let said = format!("Deployment {name}");
            return Ok((Spec::of_deployment(name.as_str()), said));
        }
        Err(TerminalError::Usage(format!(
            "namespace {namespace} has neither a Deployment {name} nor the two {stable} and {canary}; -f names a manifest with a Release that says what runs it"
        )))
    }
}

impl Candidate {
    fn is_of(&self, mesh: Mesh) -> bool {
        // An HTTPRoute may be on a Service, for Linkerd.
        let is_on_service = mesh == Mesh::Linkerd && *self.kind == HTTP_ROUTE;
        self.mesh == mesh || self.also.contains(&mesh) || is_on_service
    }

    /// Returns whose route this object is, and how a Release names it.
    fn route(&self, object: &Value, name: &str, is_canary_ingress: bool) -> (Mesh, Value) {
        if is_canary_ingress {
            return (self.mesh, json!({"nginx": {"canaryIngress": name}}));
        }
        let parents = object.pointer("/spec/parentRefs").and_then(Value::as_array);
        let is_on_service = *self.kind == HTTP_ROUTE
            && parents.is_some_and(|all| all.iter().any(|one| one["kind"] == "Service"));
        if is_on_service {
            return (Mesh::Linkerd, json!({"linkerd": {"httpRoute": name}}));
        }
        (self.mesh, (self.route)(name))
    }
}

#[cfg(test)]
mod tests {
    use haldane_router::Route;

    use super::*;

    #[test]
    fn each_candidate_is_a_route() {
        for candidate in &CANDIDATES {
            let (_, value) = candidate.route(&json!({}), "shop", false);
            let route: Route = serde_json::from_value(value).unwrap();
            let objects = route.router().unwrap().objects("web");
            let target = candidate.kind.named("web", "shop");
            assert!(objects.contains(&target), "{target}: {objects:?}");
        }
    }

    #[test]
    fn an_http_route_on_a_service_is_linkerds() {
        let candidate = CANDIDATES.iter().find(|one| *one.kind == HTTP_ROUTE);
        let candidate = candidate.unwrap();
        let of = |kind: &str| json!({"spec": {"parentRefs": [{"kind": kind, "name": "shop"}]}});
        assert_eq!(
            candidate.route(&of("Service"), "shop", false).0,
            Mesh::Linkerd
        );
        assert_eq!(
            candidate.route(&of("Gateway"), "shop", false).0,
            Mesh::GatewayApi
        );
        assert!(candidate.is_of(Mesh::Linkerd) && candidate.is_of(Mesh::Contour));
        assert!(!candidate.is_of(Mesh::Istio));
    }
}
