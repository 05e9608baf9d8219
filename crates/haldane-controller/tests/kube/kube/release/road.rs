//! The ways in to a shop: the routers that carry its requests, each with the user's objects and what a Release says of them.

use haldane_plane::Addon;
use haldane_router::{
    Kind,
    kinds::{HTTP_PROXY, HTTP_ROUTE, INGRESS_ROUTE, TRAEFIK_SERVICE},
};
use serde_json::{Value, json};

/// A way in.
pub(crate) struct Road {
    pub addon: Addon,
    /// The user's objects, each called `shop`. The first one is that which is split.
    pub objects: Vec<(&'static Kind, Value)>,
    /// Where in that one the backends stand.
    pub backends: &'static str,
    /// The Release's `routers`.
    pub routers: Value,
}

impl Road {
    /// An HTTPRoute of Contour's Gateway.
    pub(crate) fn contour(host: &str) -> Self {
        Self::gateway(host, Addon::Contour, "contour", "projectcontour")
    }

    /// An HTTPRoute of Traefik's Gateway.
    pub(crate) fn traefik(host: &str) -> Self {
        Self::gateway(host, Addon::Traefik, "traefik", "traefik")
    }

    /// An HTTPRoute of Envoy Gateway's.
    pub(crate) fn envoy_gateway(host: &str) -> Self {
        Self::gateway(host, Addon::EnvoyGateway, "envoy", "envoy-gateway-system")
    }

    fn gateway(host: &str, addon: Addon, gateway: &str, namespace: &str) -> Self {
        let route = json!({
            "metadata": {"annotations": {"team": "shop"}},
            "spec": {
                "parentRefs": [{"name": gateway, "namespace": namespace}],
                "hostnames": [host],
                "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}],
            },
        });
        Self {
            addon,
            objects: vec![(&HTTP_ROUTE, route)],
            backends: "/spec/rules/0/backendRefs",
            routers: json!([{"gateway": {"httpRoute": "shop"}}]),
        }
    }

    /// Contour's own kind.
    pub(crate) fn proxy(host: &str) -> Self {
        let proxy = json!({
            "metadata": {"annotations": {"team": "shop"}},
            "spec": {
                "virtualhost": {"fqdn": host},
                "routes": [{"services": [{"name": "shop", "port": 80}]}],
            },
        });
        Self {
            addon: Addon::Contour,
            objects: vec![(&HTTP_PROXY, proxy)],
            backends: "/spec/routes/0/services",
            routers: json!([{"contour": {"httpProxy": "shop"}}]),
        }
    }

    /// Traefik's own kinds: an IngressRoute to a TraefikService, which is split.
    pub(crate) fn traefik_service(host: &str) -> Self {
        let service = json!({
            "metadata": {"annotations": {"team": "shop"}},
            "spec": {"weighted": {"services": [{"name": "shop", "port": 80}]}},
        });
        let rule = json!({
            "kind": "Rule",
            "match": format!("Host(`{host}`)"),
            "services": [{"kind": "TraefikService", "name": "shop"}],
        });
        let route = json!({"spec": {"entryPoints": ["web"], "routes": [rule]}});
        Self {
            addon: Addon::Traefik,
            objects: vec![(&TRAEFIK_SERVICE, service), (&INGRESS_ROUTE, route)],
            backends: "/spec/weighted/services",
            routers: json!([{"traefik": {"service": "shop", "ingressRoute": "shop"}}]),
        }
    }
}
