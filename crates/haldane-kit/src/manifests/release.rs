//! Who measures the service, and the Release by which it is rolled out.

use serde_json::{Map, Value, json};

use crate::manifests::{Document, Mesh, Part, Service, Side, VERSION};

/// How often Prometheus asks the pods: errors are to be seen within seconds.
const INTERVAL: &str = "5s";

pub(super) fn documents(service: &Service) -> Vec<Document> {
    let mut all: Vec<Document> = Side::BOTH.map(|side| monitor(service, side)).into();
    all.extend(service.has_release.then(|| release(service)));
    all
}

fn monitor(service: &Service, side: Side) -> Document {
    let labels = service.labels_of(side);
    let object = service.object(
        ["monitoring.coreos.com/v1", "ServiceMonitor", &side.of(service)],
        labels.clone(),
        json!({"spec": {
            "selector": {"matchLabels": labels},
            "targetLabels": ["app", VERSION],
            "endpoints": [{"port": "http", "path": service.metrics_path.as_str(), "interval": INTERVAL}],
        }}),
    );
    let about = match (side, is_judged_by_own(service.mesh)) {
        (Side::Stable, true) => {
            "The service's own metrics, by which it is judged: `http_requests_total` with the label `code`, and the histogram\n`http_request_duration_seconds`. Needs the Prometheus operator."
        }
        (Side::Stable, false) => {
            "The service's own metrics. It is judged by those of its router, which Prometheus must ask, too. Needs the Prometheus\noperator."
        }
        (Side::Canary, _) => "The same of the version on trial.",
    };
    Document::new(Part::Metrics, about, object)
}

/// Whether nobody but the pods themselves counts what a version answered.
const fn is_judged_by_own(mesh: Mesh) -> bool {
    matches!(mesh, Mesh::GatewayApi | Mesh::None)
}

fn release(service: &Service) -> Document {
    let name = service.name.as_str();
    let mut spec = Map::new();
    let pair = json!({"stable": Side::Stable.of(service), "canary": Side::Canary.of(service)});
    spec.insert("workload".to_owned(), json!({"pairs": [pair]}));
    if let Some(router) = router(service) {
        spec.insert("routers".to_owned(), json!([router]));
    }
    let sources = json!({"prometheus": {"prometheus": service.prometheus.as_str()}});
    spec.insert("sources".to_owned(), sources);
    spec.insert("requests".to_owned(), requests(service));
    spec.insert(
        "rollout".to_owned(),
        json!({
            "steps": ["5%", "25%", "50%", "100%"],
            "hold": "5m",
            "guards": {
                "errorRate": "5%",
                "successRate": "95%",
                "p99": "1s",
                "p95": {"rollback": "500ms", "severity": "warn"},
            },
            "promote": "auto",
        }),
    );
    let object = service.object(
        ["haldane.dev/v1alpha1", "Release", name],
        service.labels(),
        json!({ "spec": spec }),
    );
    let about = "How a new version is rolled out: 5, 25, 50, 100 % for five minutes each; back at once where it fails more than 5 % of\nits requests, is slower than 1 s at p99, or fails more than stable does. `promote: manual` asks a person at the end.";
    Document::new(Part::Release, about, object)
}

/// Returns by which object the Release splits the traffic.
fn router(service: &Service) -> Option<Value> {
    let name = service.name.as_str();
    match service.mesh {
        Mesh::Istio => Some(json!({"istio": {"virtualService": name}})),
        Mesh::Linkerd => {
            Some(json!({"linkerd": {"httpRoute": name, "group": "policy.linkerd.io"}}))
        }
        Mesh::Nginx => Some(json!({"nginx": {"canaryIngress": Side::Canary.of(service)}})),
        Mesh::GatewayApi => Some(json!({"gateway": {"httpRoute": name}})),
        Mesh::Contour => Some(json!({"contour": {"httpProxy": name}})),
        Mesh::Traefik => Some(json!({"traefik": {"service": name, "ingressRoute": name}})),
        Mesh::None => None,
    }
}

/// Returns where the requests of both versions are counted.
fn requests(service: &Service) -> Value {
    let of = |template: &str| json!({"source": "prometheus", "template": template, "interval": INTERVAL});
    match service.mesh {
        Mesh::Istio => of("istio"),
        Mesh::Linkerd => of("linkerd"),
        // The controller counts the canary's requests under the name of the main Ingress.
        Mesh::Nginx => {
            let mut requests = of("nginx");
            if let Some(requests) = requests.as_object_mut() {
                let variables = json!({"ingress": service.name.as_str()});
                requests.insert("variables".to_owned(), variables);
            }
            requests
        }
        Mesh::Contour => of("contour"),
        Mesh::Traefik => of("traefik"),
        Mesh::GatewayApi | Mesh::None => of("plain"),
    }
}
