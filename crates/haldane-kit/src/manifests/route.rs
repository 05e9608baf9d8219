//! The router's objects, with all traffic on stable. A rollout changes their weights, and leaves them as they are here.

use serde_json::{Map, Value, json};

use crate::manifests::{Document, Mesh, Part, SERVICE_PORT, Service, Side, annotated};

/// How long a request may take.
const TIMEOUT: &str = "15s";

/// Says of each router's main object who changes it.
const SPLIT: &str = "All traffic goes to stable. A rollout changes the weights and puts them back; leave that to it.";

pub(super) fn documents(service: &Service) -> Vec<Document> {
    let of = |about: &str, object| Document::new(Part::Traffic, about, object);
    match service.mesh {
        Mesh::Istio => istio(service),
        Mesh::Linkerd => vec![of(SPLIT, linkerd(service))],
        Mesh::Nginx => vec![
            of("The way in, to stable.", ingress(service, Side::Stable)),
            of(
                "The share of the same requests that goes to the canary. A rollout changes the weight and puts it back.",
                ingress(service, Side::Canary),
            ),
        ],
        Mesh::GatewayApi => vec![of(SPLIT, gateway(service))],
        Mesh::Contour => vec![of(SPLIT, contour(service))],
        Mesh::Traefik => traefik(service),
        Mesh::None => Vec::new(),
    }
}

fn istio(service: &Service) -> Vec<Document> {
    let name = service.name.as_str();
    let mut hosts = vec![json!(name)];
    hosts.extend(service.host.as_ref().map(|host| json!(host.as_str())));
    let destination = |side: Side, weight: u32| {
        let host = json!({"host": side.of(service), "port": {"number": SERVICE_PORT}});
        json!({"destination": host, "weight": weight})
    };
    let mut spec = Map::new();
    spec.insert("hosts".to_owned(), json!(hosts));
    if let Some(gateway) = &service.gateway {
        let namespace = gateway.namespace.as_ref().map(|name| format!("{name}/"));
        let gateway = format!("{}{}", namespace.unwrap_or_default(), gateway.name);
        spec.insert("gateways".to_owned(), json!(["mesh", gateway]));
    }
    spec.insert(
        "http".to_owned(),
        json!([{
            "name": "primary",
            "timeout": TIMEOUT,
            // What reached no pod is tried again; what a pod answered is not, or the canary's failures would not be seen.
            "retries": {"attempts": 2, "perTryTimeout": "5s", "retryOn": "connect-failure,refused-stream"},
            "route": [destination(Side::Stable, 100), destination(Side::Canary, 0)],
        }]),
    );
    let object = service.object(
        ["networking.istio.io/v1", "VirtualService", name],
        service.labels(),
        json!({ "spec": spec }),
    );
    let mut all = vec![Document::new(Part::Traffic, SPLIT, object)];
    all.extend(Side::BOTH.map(|side| destination_rule(service, side)));
    all
}

fn destination_rule(service: &Service, side: Side) -> Document {
    let name = side.of(service);
    let policy = json!({
        "loadBalancer": {"simple": "LEAST_REQUEST"},
        "connectionPool": {
            "tcp": {"maxConnections": 1_024, "connectTimeout": "3s"},
            "http": {"http1MaxPendingRequests": 1_024, "http2MaxRequests": 1_024, "maxRetries": 16},
        },
        "outlierDetection": {
            "consecutive5xxErrors": 7, "interval": "10s", "baseEjectionTime": "30s", "maxEjectionPercent": 50,
        },
    });
    let object = service.object(
        ["networking.istio.io/v1", "DestinationRule", &name],
        service.labels_of(side),
        json!({"spec": {"host": name, "trafficPolicy": policy}}),
    );
    let about = format!(
        "Of {}'s pods, one that fails seven times in a row gets nothing for 30 s; queues have an end.",
        side.as_str()
    );
    Document::new(Part::Traffic, about, object)
}

fn linkerd(service: &Service) -> Value {
    let name = service.name.as_str();
    service.object(
        ["policy.linkerd.io/v1beta3", "HTTPRoute", name],
        service.labels(),
        json!({"spec": {
            "parentRefs": [{"group": "core", "kind": "Service", "name": name, "port": SERVICE_PORT}],
            "rules": [{"backendRefs": backends(service), "timeouts": {"request": TIMEOUT}}],
        }}),
    )
}

fn gateway(service: &Service) -> Value {
    let mut parent = Map::new();
    let gateway = service.gateway.as_ref();
    let name = gateway.map_or("gateway", |gateway| gateway.name.as_str());
    parent.insert("name".to_owned(), json!(name));
    if let Some(namespace) = gateway.and_then(|gateway| gateway.namespace.as_ref()) {
        parent.insert("namespace".to_owned(), json!(namespace.as_str()));
    }
    service.object(
        [
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            service.name.as_str(),
        ],
        service.labels(),
        json!({"spec": {
            "parentRefs": [parent],
            "hostnames": [service.host()],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "timeouts": {"request": TIMEOUT},
                "backendRefs": backends(service),
            }],
        }}),
    )
}

/// Returns both versions' Services, as the Gateway API and what follows it write them.
fn backends(service: &Service) -> Value {
    let of = |side: Side, weight: u32| json!({"name": side.of(service), "port": SERVICE_PORT, "weight": weight});
    json!([of(Side::Stable, 100), of(Side::Canary, 0)])
}

fn ingress(service: &Service, side: Side) -> Value {
    let mut annotations = json!({
        "nginx.ingress.kubernetes.io/proxy-connect-timeout": "3",
        "nginx.ingress.kubernetes.io/proxy-read-timeout": "15",
        // What reached no pod is tried again; what a pod answered is not, or the canary's failures would not be seen.
        "nginx.ingress.kubernetes.io/proxy-next-upstream": "error",
        "nginx.ingress.kubernetes.io/proxy-next-upstream-tries": "2",
    });
    let name = match side {
        Side::Stable => service.name.to_string(),
        Side::Canary => {
            annotations = json!({
                "nginx.ingress.kubernetes.io/canary": "true",
                "nginx.ingress.kubernetes.io/canary-weight": "0",
            });
            side.of(service)
        }
    };
    let backend = json!({"service": {"name": side.of(service), "port": {"number": SERVICE_PORT}}});
    let object = service.object(
        ["networking.k8s.io/v1", "Ingress", &name],
        service.labels_of(side),
        json!({"spec": {
            "ingressClassName": "nginx",
            "rules": [{
                "host": service.host(),
                "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
            }],
        }}),
    );
    annotated(object, annotations)
}

fn contour(service: &Service) -> Value {
    service.object(
        ["projectcontour.io/v1", "HTTPProxy", service.name.as_str()],
        service.labels(),
        json!({"spec": {
            "virtualhost": {"fqdn": service.host()},
            "routes": [{
                "conditions": [{"prefix": "/"}],
                "timeoutPolicy": {"response": TIMEOUT},
                "services": backends(service),
            }],
        }}),
    )
}

fn traefik(service: &Service) -> Vec<Document> {
    let name = service.name.as_str();
    let limits = format!("{name}-limits");
    let stable = json!({
        "name": Side::Stable.of(service), "port": SERVICE_PORT, "weight": 100,
        // A pod that fails seven times in ten seconds gets nothing for a while.
        "passiveHealthCheck": {"failureWindow": "10s", "maxFailedAttempts": 7},
    });
    let split = service.object(
        ["traefik.io/v1alpha1", "TraefikService", name],
        service.labels(),
        json!({"spec": {"weighted": {"services": [stable]}}}),
    );
    let middleware = service.object(
        ["traefik.io/v1alpha1", "Middleware", &limits],
        service.labels(),
        json!({"spec": {"inFlightReq": {"amount": 1_024}}}),
    );
    let route = service.object(
        ["traefik.io/v1alpha1", "IngressRoute", name],
        service.labels(),
        json!({"spec": {
            "entryPoints": ["web"],
            "routes": [{
                "kind": "Rule",
                "match": format!("Host(`{}`)", service.host()),
                "middlewares": [{"name": limits}],
                "services": [{"kind": "TraefikService", "name": name}],
            }],
        }}),
    );
    let of = |about: &str, object| Document::new(Part::Traffic, about, object);
    vec![
        of(
            "So many requests may be on their way at once; what is more is answered with 429.",
            middleware,
        ),
        of(
            "All traffic goes to stable. A rollout adds the canary while it has pods: Traefik answers 404 for a Service without any.",
            split,
        ),
        of("The way in.", route),
    ]
}
