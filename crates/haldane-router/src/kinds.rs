//! Every kind of object that a router reads or writes.

use crate::object::Kind;

const GATEWAY: &str = "gateway.networking.k8s.io";
const ISTIO: &str = "networking.istio.io";
const CONSUL: &str = "consul.hashicorp.com";
const GLOO: &str = "gateway.solo.io";
const KNATIVE: &str = "serving.knative.dev";
const TRAEFIK: &str = "traefik.io";

/// Kubernetes' own Ingress.
pub static INGRESS: Kind = kind("networking.k8s.io", "Ingress", "ingresses", &["v1"]);

/// Gateway API's route for HTTP.
pub static HTTP_ROUTE: Kind = kind(GATEWAY, "HTTPRoute", "httproutes", &["v1", "v1beta1"]);

/// Gateway API's route for gRPC.
pub static GRPC_ROUTE: Kind = kind(GATEWAY, "GRPCRoute", "grpcroutes", &["v1", "v1alpha2"]);

/// Gateway API's route for TCP.
pub static TCP_ROUTE: Kind = kind(GATEWAY, "TCPRoute", "tcproutes", &["v1", "v1alpha2"]);

/// Gateway API's route for TLS.
pub static TLS_ROUTE: Kind = kind(
    GATEWAY,
    "TLSRoute",
    "tlsroutes",
    &["v1", "v1alpha3", "v1alpha2"],
);

/// Linkerd's own kind of route.
pub static POLICY_ROUTE: Kind = kind(
    "policy.linkerd.io",
    "HTTPRoute",
    "httproutes",
    &["v1beta3", "v1beta2", "v1beta1"],
);

/// SMI's TrafficSplit.
pub static TRAFFIC_SPLIT: Kind = kind(
    "split.smi-spec.io",
    "TrafficSplit",
    "trafficsplits",
    &["v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"],
);

/// Istio's VirtualService.
pub static ISTIO_SERVICE: Kind = kind(
    ISTIO,
    "VirtualService",
    "virtualservices",
    &["v1", "v1beta1", "v1alpha3"],
);

/// Istio's DestinationRule.
pub static DESTINATION_RULE: Kind = kind(
    ISTIO,
    "DestinationRule",
    "destinationrules",
    &["v1", "v1beta1", "v1alpha3"],
);

/// Ambassador's Mapping.
pub static MAPPING: Kind = kind(
    "getambassador.io",
    "Mapping",
    "mappings",
    &["v3alpha1", "v2"],
);

/// APISIX's ApisixRoute.
pub static APISIX_ROUTE: Kind = kind("apisix.apache.org", "ApisixRoute", "apisixroutes", &["v2"]);

/// Consul's ServiceSplitter.
pub static SERVICE_SPLITTER: Kind =
    kind(CONSUL, "ServiceSplitter", "servicesplitters", &["v1alpha1"]);

/// Consul's ServiceRouter.
pub static SERVICE_ROUTER: Kind = kind(CONSUL, "ServiceRouter", "servicerouters", &["v1alpha1"]);

/// Consul's ServiceResolver.
pub static SERVICE_RESOLVER: Kind =
    kind(CONSUL, "ServiceResolver", "serviceresolvers", &["v1alpha1"]);

/// Contour's HTTPProxy.
pub static HTTP_PROXY: Kind = kind("projectcontour.io", "HTTPProxy", "httpproxies", &["v1"]);

/// Gloo's RouteTable.
pub static ROUTE_TABLE: Kind = kind(GLOO, "RouteTable", "routetables", &["v1"]);

/// Gloo's VirtualService.
pub static GLOO_SERVICE: Kind = kind(GLOO, "VirtualService", "virtualservices", &["v1"]);

/// Knative's Service.
pub static KNATIVE_SERVICE: Kind = kind(KNATIVE, "Service", "services", &["v1"]);

/// Knative's Route.
pub static KNATIVE_ROUTE: Kind = kind(KNATIVE, "Route", "routes", &["v1"]);

/// Kuma's MeshHTTPRoute.
pub static MESH_HTTP_ROUTE: Kind =
    kind("kuma.io", "MeshHTTPRoute", "meshhttproutes", &["v1alpha1"]);

/// Skipper's RouteGroup.
pub static ROUTE_GROUP: Kind = kind("zalando.org", "RouteGroup", "routegroups", &["v1"]);

/// Traefik's TraefikService.
pub static TRAEFIK_SERVICE: Kind =
    kind(TRAEFIK, "TraefikService", "traefikservices", &["v1alpha1"]);

/// Traefik's IngressRoute.
pub static INGRESS_ROUTE: Kind = kind(TRAEFIK, "IngressRoute", "ingressroutes", &["v1alpha1"]);

const fn kind(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    versions: &'static [&'static str],
) -> Kind {
    Kind {
        group,
        kind,
        plural,
        versions,
    }
}
