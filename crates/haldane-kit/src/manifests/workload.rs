//! What runs: Services, both Deployments, and what keeps enough of their pods.

use serde_json::{Value, json};

use crate::manifests::{Document, Mesh, Part, SERVICE_PORT, Service, Side, VERSION, annotated};

/// The user of the containers; images that run as another one are told so.
const USER: u32 = 1_001;

pub(super) fn documents(service: &Service) -> Vec<Document> {
    let mut all = vec![base_service(service)];
    all.extend(Side::BOTH.map(|side| service_of(service, side)));
    all.extend(Side::BOTH.map(|side| deployment(service, side)));
    all.push(disruption_budget(service));
    all.extend(autoscaler(service));
    all
}

fn base_service(service: &Service) -> Document {
    // A mesh splits what is sent to this Service; of an ingress it is not seen, and its callers would get the canary unasked.
    let (selector, about) = match service.mesh {
        Mesh::Istio | Mesh::Linkerd => (
            service.labels(),
            "The address of the service. The mesh splits what is sent here.",
        ),
        Mesh::None => (
            service.labels(),
            "The address of the service: the pods of both versions, and so the share of pods is the share of traffic.",
        ),
        Mesh::Nginx | Mesh::GatewayApi | Mesh::Contour | Mesh::Traefik => (
            service.labels_of(Side::Stable),
            "The address of the service inside of the cluster. Only the router splits traffic, so it is stable's.",
        ),
    };
    let name = service.name.as_str();
    Document::new(
        Part::Workload,
        about,
        a_service(service, name, service.labels(), &selector),
    )
}

fn service_of(service: &Service, side: Side) -> Document {
    let labels = service.labels_of(side);
    let object = a_service(service, &side.of(service), labels.clone(), &labels);
    let about = match side {
        Side::Stable => "The version that serves users.",
        Side::Canary => "The version on trial.",
    };
    Document::new(Part::Workload, about, object)
}

fn a_service(service: &Service, name: &str, labels: Value, selector: &Value) -> Value {
    let object = service.object(
        ["v1", "Service", name],
        labels,
        json!({"spec": {
            "selector": selector,
            "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": "http", "appProtocol": "http"}],
        }}),
    );
    match service.mesh {
        // A pod that fails so often in a row gets no requests for a while.
        Mesh::Linkerd => annotated(
            object,
            json!({
                "balancer.linkerd.io/failure-accrual": "consecutive",
                "balancer.linkerd.io/failure-accrual-consecutive-max-failures": "7",
            }),
        ),
        // As much goes to the pods at once; what is more is refused by Envoy.
        Mesh::Contour => annotated(
            object,
            json!({
                "projectcontour.io/max-connections": "1024",
                "projectcontour.io/max-pending-requests": "1024",
                "projectcontour.io/max-requests": "1024",
            }),
        ),
        Mesh::Istio | Mesh::Nginx | Mesh::GatewayApi | Mesh::Traefik | Mesh::None => object,
    }
}

fn deployment(service: &Service, side: Side) -> Document {
    let labels = service.labels_of(side);
    let mut spec = json!({
        "selector": {"matchLabels": labels},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "revisionHistoryLimit": 3,
        "template": {"metadata": pod_metadata(service, side), "spec": pod(service)},
    });
    let replicas = match side {
        Side::Canary => Some(0),
        // Applying this again must not undo what the autoscaler has done.
        Side::Stable if has_autoscaler(service) => None,
        Side::Stable => Some(service.replicas),
    };
    if let (Some(spec), Some(replicas)) = (spec.as_object_mut(), replicas) {
        spec.insert("replicas".to_owned(), json!(replicas));
    }
    let object = service.object(
        ["apps/v1", "Deployment", &side.of(service)],
        labels,
        json!({ "spec": spec }),
    );
    let about = match side {
        Side::Stable if has_autoscaler(service) => {
            "The version that serves users. A promotion writes its image; the autoscaler says how many pods it has."
        }
        Side::Stable => "The version that serves users. A promotion writes its image.",
        Side::Canary => {
            "The version on trial. A new image here begins a rollout, which also says how many pods it has; between rollouts it has\nnone. Its template is that of stable but for the label `version`: change both together."
        }
    };
    Document::new(Part::Workload, about, object)
}

fn pod_metadata(service: &Service, side: Side) -> Value {
    let mut labels = service.labels_of(side);
    let mut annotations = json!({});
    match service.mesh {
        Mesh::Istio => {
            put(&mut labels, "sidecar.istio.io/inject", "true");
            // The sidecar tells the service's metrics together with its own.
            put(&mut annotations, "prometheus.io/scrape", "true");
            put(
                &mut annotations,
                "prometheus.io/port",
                &service.port.to_string(),
            );
            put(
                &mut annotations,
                "prometheus.io/path",
                service.metrics_path.as_str(),
            );
        }
        Mesh::Linkerd => put(&mut annotations, "linkerd.io/inject", "enabled"),
        Mesh::Nginx | Mesh::GatewayApi | Mesh::Contour | Mesh::Traefik | Mesh::None => {}
    }
    if annotations == json!({}) {
        return json!({ "labels": labels });
    }
    json!({"labels": labels, "annotations": annotations})
}

fn put(map: &mut Value, key: &str, value: &str) {
    if let Some(map) = map.as_object_mut() {
        map.insert(key.to_owned(), json!(value));
    }
}

/// Returns what both Deployments run.
fn pod(service: &Service) -> Value {
    let name = service.name.as_str();
    json!({
        "serviceAccountName": name,
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            spread(service, "topology.kubernetes.io/zone"),
            spread(service, "kubernetes.io/hostname"),
        ],
        "containers": [{
            "name": name,
            "image": service.image.as_str(),
            "imagePullPolicy": "IfNotPresent",
            "ports": [{"name": "http", "containerPort": service.port, "protocol": "TCP"}],
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"cpu": "500m", "memory": "256Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            // A minute to start; only then the others begin.
            "startupProbe": probe(service.live_path.as_str(), 2, 30),
            "readinessProbe": probe(service.ready_path.as_str(), 5, 2),
            "livenessProbe": probe(service.live_path.as_str(), 10, 3),
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "128Mi"}}],
    })
}

fn probe(path: &str, period: u32, failures: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period, "timeoutSeconds": 2, "failureThreshold": failures,
    })
}

/// Spreads the pods of each version by itself: those of one template have one hash.
fn spread(service: &Service, key: &str) -> Value {
    json!({
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": service.labels()},
        "matchLabelKeys": ["pod-template-hash"],
    })
}

fn disruption_budget(service: &Service) -> Document {
    let object = service.object(
        ["policy/v1", "PodDisruptionBudget", service.name.as_str()],
        service.labels(),
        json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": service.labels()}}}),
    );
    let about = "Nodes that are drained take one pod at a time, of whichever version.";
    Document::new(Part::Workload, about, object)
}

fn has_autoscaler(service: &Service) -> bool {
    service.replicas < service.replicas_max
}

fn autoscaler(service: &Service) -> Option<Document> {
    if !has_autoscaler(service) {
        return None;
    }
    let name = Side::Stable.of(service);
    let labels = json!({"app": service.name.as_str(), VERSION: Side::Stable.as_str()});
    let cpu = json!({
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
    });
    let object = service.object(
        ["autoscaling/v2", "HorizontalPodAutoscaler", &name],
        labels,
        json!({"spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": service.replicas,
            "maxReplicas": service.replicas_max,
            "metrics": [cpu],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 1_800}},
        }}),
    );
    let about = "Stable's size. The canary follows it. Stable shrinks later than a rollout takes, so that there is room for all\ntraffic where the canary is rolled back.";
    Some(Document::new(Part::Workload, about, object))
}
