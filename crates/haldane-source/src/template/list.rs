//! The templates themselves, as data.

use crate::{
    histogram::Unit,
    template::{Latency, Select, Shown, Template},
};

/// Envoy's counter of requests to a cluster, and its histogram.
const ENVOY: &str = "envoy_cluster_upstream_rq";
const ENVOY_FAILED: &str = r#"envoy_response_code=~"5..""#;
const ENVOY_LATENCY: Latency = Latency {
    histogram: "envoy_cluster_upstream_rq_time",
    and: "",
    shown: Shown::Quantile,
};

/// All templates, by name.
pub(super) const TEMPLATES: [Template; 16] = [
    Template {
        name: "apisix",
        about: "Apache APISIX, prometheus plugin with prefer_name; it counts by route, not by backend",
        workload: "the ApisixRoute",
        counter: "apisix_http_status",
        select: Select::Workload(r#"route=~"{{namespace}}_{{workload}}_.+""#),
        failed: r#"code=~"5..""#,
        latency: Latency {
            histogram: "apisix_http_latency",
            and: r#",type="request""#,
            shown: Shown::Quantile,
        },
        unit: Unit::Milliseconds,
    },
    Template {
        name: "appmesh",
        about: "AWS App Mesh: Envoy beside the pods",
        workload: "the Deployment",
        counter: ENVOY,
        select: Select::Workload(
            r#"kubernetes_namespace="{{namespace}}",kubernetes_pod_name=~"{{workload}}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)""#,
        ),
        failed: ENVOY_FAILED,
        latency: ENVOY_LATENCY,
        unit: Unit::Milliseconds,
    },
    Template {
        name: "contour",
        about: "Contour: Envoy's clusters by Service",
        workload: "the Service",
        counter: ENVOY,
        select: Select::Workload(
            r#"envoy_cluster_name=~"{{namespace}}_{{workload}}_[0-9a-zA-Z-]+""#,
        ),
        failed: ENVOY_FAILED,
        latency: ENVOY_LATENCY,
        unit: Unit::Milliseconds,
    },
    Template {
        name: "gateway-api",
        about: "any Gateway API implementation, by the metrics of the pods themselves",
        workload: "the Deployment",
        counter: "http_request_duration_seconds_count",
        select: Select::Workload(
            r#"kubernetes_namespace="{{namespace}}",kubernetes_pod_name=~"{{workload}}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)""#,
        ),
        failed: r#"status=~"5..""#,
        latency: Latency {
            histogram: "http_request_duration_seconds",
            and: "",
            shown: Shown::Quantile,
        },
        unit: Unit::Seconds,
    },
    Template {
        name: "gloo",
        about: "Gloo Edge: Envoy's clusters by upstream",
        workload: "the upstream",
        counter: ENVOY,
        select: Select::Workload(
            r#"envoy_cluster_name=~"{{namespace}}-{{workload}}-[0-9a-zA-Z-]+_[0-9a-zA-Z-]+""#,
        ),
        failed: ENVOY_FAILED,
        latency: ENVOY_LATENCY,
        unit: Unit::Milliseconds,
    },
    Template {
        name: "haldane",
        about: "Haldane's own proxy",
        workload: "the version",
        counter: "haldane_proxy_requests_total",
        // What a client broke off says nothing about the version.
        select: Select::Workload(
            r#"service="{{service}}",version="{{workload}}",origin!="client""#,
        ),
        failed: r#"class=~"5xx|connect|reset|timeout|body|protocol|saturated""#,
        latency: Latency {
            histogram: "haldane_proxy_request_duration_seconds",
            and: "",
            shown: Shown::Quantile,
        },
        unit: Unit::Seconds,
    },
    Template {
        name: "istio",
        about: "Istio: the sidecar of the receiver, or its waypoint",
        workload: "the Deployment",
        counter: "istio_requests_total",
        select: Select::Workload(
            r#"reporter=~"destination|waypoint",destination_workload_namespace="{{namespace}}",destination_workload="{{workload}}""#,
        ),
        failed: r#"response_code=~"5..""#,
        latency: Latency {
            histogram: "istio_request_duration_milliseconds",
            and: "",
            shown: Shown::Quantile,
        },
        unit: Unit::Milliseconds,
    },
    Template {
        name: "istio-gateway",
        about: "Istio's gateways without sidecars behind them: the view of the sender",
        workload: "the Service",
        counter: "istio_requests_total",
        select: Select::Workload(
            r#"reporter="source",destination_service_namespace="{{namespace}}",destination_service_name="{{workload}}""#,
        ),
        failed: r#"response_code=~"5..""#,
        latency: Latency {
            histogram: "istio_request_duration_milliseconds",
            and: "",
            shown: Shown::Quantile,
        },
        unit: Unit::Milliseconds,
    },
    Template {
        name: "knative",
        about: "Knative: Envoy's clusters by revision",
        workload: "the Revision",
        counter: ENVOY,
        select: Select::Workload(r#"envoy_cluster_name="{{namespace}}/{{workload}}""#),
        failed: ENVOY_FAILED,
        latency: ENVOY_LATENCY,
        unit: Unit::Milliseconds,
    },
    Template {
        name: "kuma",
        about: "Kuma: Envoy by its service",
        workload: "the Service",
        counter: ENVOY,
        select: Select::Workload(r#"service=~"{{workload}}_{{namespace}}_svc_[0-9a-zA-Z-]+""#),
        failed: ENVOY_FAILED,
        latency: ENVOY_LATENCY,
        unit: Unit::Milliseconds,
    },
    Template {
        name: "linkerd",
        about: "Linkerd: the proxy of the receiver",
        workload: "the Deployment",
        counter: "response_total",
        select: Select::Workload(
            r#"namespace="{{namespace}}",deployment="{{workload}}",direction="inbound""#,
        ),
        failed: r#"classification="failure""#,
        latency: Latency {
            histogram: "response_latency_ms",
            and: "",
            shown: Shown::Quantile,
        },
        unit: Unit::Milliseconds,
    },
    Template {
        name: "nginx",
        about: "ingress-nginx with a canary Ingress",
        workload: "not used: the label `canary` tells the versions apart",
        counter: "nginx_ingress_controller_requests",
        select: Select::Arms {
            stable: r#"namespace="{{namespace}}",ingress="{{ingress}}",canary="""#,
            canary: r#"namespace="{{namespace}}",ingress="{{ingress}}",canary!="""#,
        },
        failed: r#"status=~"5..""#,
        latency: Latency {
            histogram: "nginx_ingress_controller_response_duration_seconds",
            and: "",
            shown: Shown::Mean,
        },
        unit: Unit::Seconds,
    },
    Template {
        name: "osm",
        about: "Open Service Mesh",
        workload: "the Deployment",
        counter: "osm_request_total",
        select: Select::Workload(
            r#"destination_namespace="{{namespace}}",destination_kind="Deployment",destination_name="{{workload}}""#,
        ),
        failed: r#"response_code=~"5..""#,
        latency: Latency {
            histogram: "osm_request_duration_ms",
            and: "",
            shown: Shown::Quantile,
        },
        unit: Unit::Milliseconds,
    },
    Template {
        name: "plain",
        about: "http_requests_total with the labels service, version and code",
        workload: "the version",
        counter: "http_requests_total",
        select: Select::Workload(r#"service="{{service}}",version="{{workload}}""#),
        failed: r#"code=~"5..""#,
        latency: Latency {
            histogram: "http_request_duration_seconds",
            and: "",
            shown: Shown::Quantile,
        },
        unit: Unit::Seconds,
    },
    Template {
        name: "skipper",
        about: "Skipper: routes by Service and by the Ingress that has the weights",
        workload: "the Service",
        counter: "skipper_response_duration_seconds_count",
        select: Select::Workload(
            r#"route=~"kube(ew)?_{{namespace_word}}__{{ingress_word}}__.*__{{workload_word}}(_[0-9]+)?""#,
        ),
        failed: r#"code=~"5..""#,
        latency: Latency {
            histogram: "skipper_serve_route_duration_seconds",
            and: "",
            shown: Shown::Mean,
        },
        unit: Unit::Seconds,
    },
    Template {
        name: "traefik",
        about: "Traefik: services of its own resources and of Ingresses",
        workload: "the Service",
        counter: "traefik_service_request_duration_seconds_count",
        select: Select::Workload(
            r#"service=~"{{namespace}}-{{workload}}-[0-9a-zA-Z]+@kubernetes(crd)?""#,
        ),
        failed: r#"code=~"5..""#,
        latency: Latency {
            histogram: "traefik_service_request_duration_seconds",
            and: "",
            shown: Shown::Quantile,
        },
        unit: Unit::Seconds,
    },
];
