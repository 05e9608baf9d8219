//! The namespace, the account of the pods, who may call them, and who may roll them out.

use serde_json::{Value, json};

use crate::manifests::{Document, Mesh, Part, Service, annotated};

/// The group of roles.
const RBAC: &str = "rbac.authorization.k8s.io";

/// The version of NetworkPolicies.
const NETWORKING: &str = "networking.k8s.io/v1";

pub(super) fn documents(service: &Service) -> Vec<Document> {
    let mut all = Vec::new();
    all.extend(namespace(service));
    all.push(account(service));
    all.extend(deployer(service));
    all.push(network_policy(service));
    all
}

fn namespace(service: &Service) -> Option<Document> {
    let name = service
        .namespace
        .as_ref()
        .filter(|_| service.has_namespace)?;
    let mut labels = json!({
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    });
    if let (Mesh::Istio, Some(labels)) = (service.mesh, labels.as_object_mut()) {
        labels.insert("istio-injection".to_owned(), json!("enabled"));
    }
    let object = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name.as_str(), "labels": labels},
    });
    let object = match service.mesh {
        Mesh::Linkerd => annotated(object, json!({"linkerd.io/inject": "enabled"})),
        Mesh::Istio
        | Mesh::Nginx
        | Mesh::GatewayApi
        | Mesh::Contour
        | Mesh::Traefik
        | Mesh::None => object,
    };
    let mut about = "A namespace that takes no pod with more rights than these have.".to_owned();
    if matches!(service.mesh, Mesh::Istio | Mesh::Linkerd) {
        about.push_str(" The mesh must run with its CNI plugin: without it,\nsidecars ask for rights that this level refuses.");
    }
    Some(Document::new(Part::Namespace, about, object))
}

fn account(service: &Service) -> Document {
    let name = service.name.as_str();
    let object = service.object(
        ["v1", "ServiceAccount", name],
        service.labels(),
        json!({"automountServiceAccountToken": false}),
    );
    let about =
        "Who the pods are. They do not speak to the API server, so they get no token and no role.";
    Document::new(Part::Access, about, object)
}

/// Returns the rights of the pipeline that rolls the service out from a terminal.
fn deployer(service: &Service) -> Vec<Document> {
    let Some(place) = &service.deployer else {
        return Vec::new();
    };
    let name = format!("{}-deployer", service.name);
    let mut rules = vec![
        json!({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch", "patch"]}),
        json!({"apiGroups": ["apps"], "resources": ["replicasets", "statefulsets"], "verbs": ["list", "watch"]}),
        json!({"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["list", "watch"]}),
        json!({"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}),
        json!({"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["get", "list", "watch"]}),
        json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "patch"]}),
        json!({"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}),
        json!({"apiGroups": ["haldane.dev"], "resources": ["releases"], "verbs": ["get", "list", "watch", "patch"]}),
    ];
    if let Some((group, resources)) = routed(service.mesh) {
        rules.push(json!({
            "apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch", "patch"],
        }));
    }
    let role = service.object(
        ["rbac.authorization.k8s.io/v1", "Role", &name],
        service.labels(),
        json!({"rules": rules}),
    );
    let mut subject = json!({"kind": "ServiceAccount", "name": place.name.as_str()});
    let namespace = place.namespace.as_ref().or(service.namespace.as_ref());
    if let (Some(subject), Some(namespace)) = (subject.as_object_mut(), namespace) {
        subject.insert("namespace".to_owned(), json!(namespace.as_str()));
    }
    let binding = service.object(
        ["rbac.authorization.k8s.io/v1", "RoleBinding", &name],
        service.labels(),
        json!({
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
            "subjects": [subject],
        }),
    );
    let about =
        "What a pipeline needs to roll the service out: `haldane deploy`, `status`, `abort`.";
    vec![
        Document::new(Part::Access, about, role),
        Document::new(Part::Access, "The pipeline that may do so.", binding),
    ]
}

/// Returns the kinds in which a router's weights stand.
fn routed(mesh: Mesh) -> Option<(&'static str, Value)> {
    match mesh {
        Mesh::Istio => Some((
            "networking.istio.io",
            json!(["virtualservices", "destinationrules"]),
        )),
        Mesh::Linkerd => Some(("policy.linkerd.io", json!(["httproutes"]))),
        Mesh::Nginx => Some(("networking.k8s.io", json!(["ingresses"]))),
        Mesh::GatewayApi => Some(("gateway.networking.k8s.io", json!(["httproutes"]))),
        Mesh::Contour => Some(("projectcontour.io", json!(["httpproxies"]))),
        Mesh::Traefik => Some(("traefik.io", json!(["traefikservices", "ingressroutes"]))),
        Mesh::None => None,
    }
}

fn network_policy(service: &Service) -> Document {
    let from_namespace = |name: &str| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
    let port = |port: Value| json!({"protocol": "TCP", "port": port});
    let mut callers = vec![json!({"podSelector": {}})];
    callers.extend(
        router_namespaces(service)
            .iter()
            .map(|name| from_namespace(name)),
    );
    callers.extend(
        service
            .callers
            .iter()
            .map(|name| from_namespace(name.as_str())),
    );
    // Where the mesh carries requests to its own port, and where it tells its metrics.
    let (carried, told): (&[u16], &[u16]) = match service.mesh {
        Mesh::Istio => (&[15_008], &[15_020, 15_090]),
        Mesh::Linkerd => (&[4_143], &[4_191]),
        Mesh::Nginx | Mesh::GatewayApi | Mesh::Contour | Mesh::Traefik | Mesh::None => (&[], &[]),
    };
    let of = |more: &[u16]| -> Vec<Value> {
        let more = more.iter().map(|number| port(json!(number)));
        std::iter::once(port(json!("http"))).chain(more).collect()
    };
    let object = service.object(
        [NETWORKING, "NetworkPolicy", service.name.as_str()],
        service.labels(),
        json!({"spec": {
            "podSelector": {"matchLabels": service.labels()},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": callers, "ports": of(carried)},
                {"from": [from_namespace(service.monitoring.as_str())], "ports": of(told)},
            ],
        }}),
    );
    let about = "Who may call the pods: this namespace, the router, and Prometheus. What the pods may call is not\nrestricted; add `egress` with what they need.";
    Document::new(Part::Access, about, object)
}

/// Returns the namespaces in which the router usually runs.
fn router_namespaces(service: &Service) -> Vec<&str> {
    let usual: &[&str] = match service.mesh {
        Mesh::Istio => &["istio-system", "istio-ingress"],
        Mesh::Nginx => &["ingress-nginx"],
        Mesh::Contour => &["projectcontour"],
        Mesh::Traefik => &["traefik"],
        Mesh::Linkerd | Mesh::GatewayApi | Mesh::None => &[],
    };
    let gateway = service
        .gateway
        .as_ref()
        .and_then(|one| one.namespace.as_ref());
    let own = gateway.map(|namespace| namespace.as_str());
    let own = own.filter(|name| !usual.contains(name));
    usual.iter().copied().chain(own).collect()
}
