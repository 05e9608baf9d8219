//! Each manifest promoted: by its plan, to the end, with nothing left.

use std::time::Duration;

use haldane_plane::Addon;
use http::Request;
use serde_json::{Value, json};
use tokio::time;

use super::cluster::{Cluster, Shape, replace};

const CANARY_WEIGHT: &str = "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight";

pub(super) fn istio() -> Shape {
    Shape {
        manifest: include_str!("istio.yaml"),
        addon: Some(Addon::Istio),
        release: "auth",
        apps: &["auth"],
        object: ["apis/networking.istio.io/v1", "virtualservices", "auth"],
        weight: "/spec/http/0/route/1/weight",
        patch: |weight| {
            replace(&[
                ("/spec/http/0/route/0/weight", json!(100 - weight)),
                ("/spec/http/0/route/1/weight", json!(weight)),
            ])
        },
        hand: "kubectl-patch",
    }
}

pub(super) fn smi() -> Shape {
    Shape {
        manifest: include_str!("smi.yaml"),
        addon: Some(Addon::Smi),
        release: "user",
        apps: &["user"],
        object: ["apis/split.smi-spec.io/v1alpha2", "trafficsplits", "user"],
        weight: "/spec/backends/1/weight",
        patch: |weight| {
            replace(&[
                ("/spec/backends/0/weight", json!(100 - weight)),
                ("/spec/backends/1/weight", json!(weight)),
            ])
        },
        hand: "kubectl-patch",
    }
}

fn linkerd() -> Shape {
    Shape {
        manifest: include_str!("linkerd.yaml"),
        addon: Some(Addon::Linkerd),
        release: "mail",
        apps: &["mail"],
        object: ["apis/policy.linkerd.io/v1beta3", "httproutes", "mail"],
        weight: "/spec/rules/0/backendRefs/1/weight",
        patch: |weight| {
            replace(&[
                ("/spec/rules/0/backendRefs/0/weight", json!(100 - weight)),
                ("/spec/rules/0/backendRefs/1/weight", json!(weight)),
            ])
        },
        hand: "kubectl-patch",
    }
}

pub(super) fn nginx() -> Shape {
    Shape {
        manifest: include_str!("nginx.yaml"),
        addon: None,
        release: "web",
        apps: &["auth", "meals", "coach"],
        object: ["apis/networking.k8s.io/v1", "ingresses", "web-canary"],
        weight: CANARY_WEIGHT,
        patch: |weight| replace(&[(CANARY_WEIGHT, json!(weight.to_string()))]),
        hand: "kubectl-annotate",
    }
}

pub(super) fn header() -> Shape {
    Shape {
        manifest: include_str!("header.yaml"),
        release: "auth",
        apps: &["auth"],
        object: ["apis/networking.k8s.io/v1", "ingresses", "auth-canary"],
        ..nginx()
    }
}

#[tokio::test]
async fn a_pair_behind_a_virtual_service_is_promoted() {
    let cluster = Cluster::new("seed-istio", istio()).await;
    promoted(&cluster, "f:http").await;
}

#[tokio::test]
async fn a_pair_behind_a_traffic_split_is_promoted() {
    let cluster = Cluster::new("seed-smi", smi()).await;
    promoted(&cluster, "f:backends").await;
}

#[tokio::test]
async fn a_pair_behind_a_route_of_linkerd_is_promoted() {
    let cluster = Cluster::new("seed-linkerd", linkerd()).await;
    tokio::select! {
        () = promoted(&cluster, "f:rules") => {}
        () = mesh(&cluster) => {}
    }
}

#[tokio::test]
async fn three_pairs_behind_one_canary_ingress_are_promoted_together() {
    let cluster = Cluster::new("seed-nginx", nginx()).await;
    // What the manifest says for good leads nowhere while the canaries have no pods.
    cluster.weighs(0).await;
    promoted(&cluster, "f:nginx.ingress.kubernetes.io/canary-weight").await;
    // One of three is bad: all go back.
    cluster.set_image("coach", "does-not-exist").await;
    cluster.phase("Preparing").await;
    cluster.command("give-up", "abort").await;
    cluster.phase("RolledBack").await;
    cluster.stopped().await;
    for app in ["auth", "meals", "coach"] {
        assert_eq!(
            cluster.image(&format!("{app}-stable")).await,
            format!("{app}:v2")
        );
    }
}

#[tokio::test]
async fn a_pair_with_testers_by_header_is_promoted() {
    let cluster = Cluster::new("seed-header", header()).await;
    promoted(&cluster, "f:nginx.ingress.kubernetes.io/canary-weight").await;
}

/// Promotes the canaries' next version; `field` is what the router's object is to be changed in.
async fn promoted(cluster: &Cluster, field: &str) {
    cluster.rest().await;
    let before = cluster.object().await;
    cluster.set_version("v2").await;
    for weight in [25, 50, 100, 0] {
        cluster.weighs(weight).await;
        if weight == 50 {
            let first = format!("{}-stable", cluster.shape.apps[0]);
            assert!(cluster.image(&first).await.ends_with(":v1"));
        }
    }
    cluster.phase("Completed").await;
    cluster.rest().await;
    let after = cluster.object().await;
    let annotations = "/metadata/annotations";
    for part in ["/spec", annotations, "/metadata/labels"] {
        assert_eq!(after.pointer(part), before.pointer(part), "{part}");
    }
    // What Argo CD is told to leave to Haldane is what Haldane wrote.
    let own = Cluster::fields_of(&after, "haldane-controller");
    assert!(own.contains(field), "{own}");
    assert!(is_ignored(&after), "{}", after["kind"]);
    for app in cluster.shape.apps {
        let name = format!("{app}-stable");
        let stable = cluster.deployment(&name).await;
        let template = &stable["spec"]["template"];
        let container = &template["spec"]["containers"][0];
        assert_eq!(container["image"], format!("{app}:v2"));
        assert_eq!(container["env"][0]["value"], "stable");
        let labels = json!({"app": app, "version": "stable"});
        assert_eq!(template["metadata"]["labels"], labels);
        assert_eq!(stable["metadata"]["labels"], labels);
        assert_eq!(stable["spec"]["replicas"], 2);
        let own = Cluster::fields_of(&stable, "haldane-controller");
        assert!(own.contains("f:image"), "{own}");
        assert!(is_ignored(&stable));
        assert_eq!(cluster.replicas(&format!("{app}-canary")).await, 0);
        let follow = format!("kubectl set image deployment/{app}-stable {app}={app}:v2");
        assert!(cluster.message().await.contains(&follow));
        cluster.told(&follow).await;
    }
}

/// Whether Argo CD is told to leave what Haldane writes into objects of this kind.
fn is_ignored(object: &Value) -> bool {
    let text = include_str!("../../../../../../deploy/argocd/ignore-differences.yaml");
    let settings: Value = serde_norway::from_str(text).unwrap();
    let of = object["apiVersion"].as_str().unwrap().split_once('/');
    let group = of.map_or("", |(group, _)| group);
    let mut entries = settings["ignoreDifferences"].as_array().unwrap().iter();
    entries.any(|entry| {
        entry["group"] == group
            && entry["kind"] == object["kind"]
            && entry["managedFieldsManagers"] == json!(["haldane-controller"])
    })
}

/// Tells of the HTTPRoute, as often as it changes, what Linkerd tells of it.
async fn mesh(cluster: &Cluster) {
    let client = &cluster.rig.client;
    let [api, plural, name] = cluster.shape.object;
    let path = format!("/{api}/namespaces/{}/{plural}/{name}", cluster.rig.ns);
    let mut told = None;
    loop {
        let generation = cluster.object().await["metadata"]["generation"].as_i64();
        if generation == told {
            time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        told = generation;
        let condition = |kind: &str| {
            json!({
                "type": kind, "status": "True", "reason": kind, "message": "",
                "observedGeneration": told, "lastTransitionTime": "2026-11-21T10:00:00Z",
            })
        };
        let status = json!({"status": {"parents": [{
            "controllerName": "linkerd.io/policy-controller",
            "parentRef": {"group": "core", "kind": "Service", "name": "mail", "port": 80},
            "conditions": [condition("Accepted"), condition("ResolvedRefs")],
        }]}});
        let request = Request::patch(format!("{path}/status"))
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(&status).unwrap());
        client.request::<Value>(request.unwrap()).await.unwrap();
    }
}
