//! `haldane doctor --kube`: each trouble is told with what to do about it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::rig::{Ended, Rig, ended, eventually, status};

const COMPLETE: &str = "complete in namespace doctor";

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/haldane/leases";

pub(crate) async fn a_cluster_without_definitions_is_told(rig: &Rig) {
    rig.haldane("get")
        .await
        .has(1, "this cluster has no Releases; install");
    let found = rig.haldane("doctor -o json").await;
    assert_eq!(found.code, 1);
    has(
        &found,
        "FAIL",
        "definitions",
        "this cluster has no Releases",
    );
    has(&found, "OK", "API server", "v1.34");
    let dead = rig.kubeconfig_with("dead", |text| {
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
        config.to_string()
    });
    let line = format!("doctor -o json --kubeconfig {}", dead.display());
    let found = ended(rig.program(&line)).await;
    has(&found, "FAIL", "API server", "can't be reached");
    assert_eq!(found.json().as_array().unwrap().len(), 1);
}

pub(crate) async fn each_trouble_says_what_to_do(rig: &Rig) {
    rig.release("doctor", "shop", &status("Paused")).await;
    let found = rig.haldane("doctor -n doctor -o json").await;
    assert_eq!(found.code, 1);
    has(
        &found,
        "OK",
        "definitions",
        "haldane.dev/v1alpha1 is served",
    );
    has(&found, "OK", "your rights", COMPLETE);
    has(&found, "OK", "rights of a terminal", COMPLETE);
    has(
        &found,
        "WARN",
        "controller's rights",
        "no account haldane in",
    );
    has(&found, "FAIL", "controller", "none leads");
    has(&found, "OK", "release", "doctor/shop: Paused");

    rig.namespace("haldane").await;
    let now = Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%S.000000Z")
        .to_string();
    let spec = json!({"holderIdentity": "pod-a", "leaseDurationSeconds": 600, "renewTime": now});
    rig.create(
        LEASES,
        &json!({"metadata": {"name": "haldane-controller"}, "spec": spec}),
    )
    .await;
    let account = json!({"metadata": {"name": "haldane"}});
    rig.create("/api/v1/namespaces/haldane/serviceaccounts", &account)
        .await;
    let stalled = json!([{
        "type": "Stalled", "status": "True", "reason": "NoSuchDeployment", "message": "Deployment shop does not exist",
        "lastTransitionTime": "2026-11-21T12:00:00Z",
    }]);
    rig.set_status("doctor", "shop", &json!({ "conditions": stalled }))
        .await;
    let found = rig.haldane("doctor -n doctor -o json").await;
    has(&found, "OK", "controller", "pod-a leads");
    has(
        &found,
        "FAIL",
        "controller's rights",
        "missing in namespace doctor: get releases",
    );
    has(
        &found,
        "FAIL",
        "release",
        "doctor/shop: Deployment shop does not exist (NoSuchDeployment)",
    );
    let found = rig.haldane("doctor -A -o json").await;
    has(&found, "OK", "release", "follow/shop: Promoting");
    rights_of_a_release(rig).await;
}

/// What the controller may do is held against what each release needs.
async fn rights_of_a_release(rig: &Rig) {
    rig.set_status("doctor", "shop", &status("Paused")).await;
    let all = json!([{"apiGroups": ["", "apps", "haldane.dev", "discovery.k8s.io", "coordination.k8s.io"], "resources": ["*"], "verbs": ["*"]}]);
    rig.create(
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        &json!({"metadata": {"name": "doctor"}, "rules": all}),
    )
    .await;
    rig.create(
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        &json!({
            "metadata": {"name": "doctor"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "doctor"},
            "subjects": [{"kind": "ServiceAccount", "name": "haldane", "namespace": "haldane"}],
        }),
    )
    .await;
    let route = json!({"spec": {"routers": [{"gateway": {"httpRoute": "shop"}}]}});
    let path = "/apis/haldane.dev/v1alpha1/namespaces/doctor/releases/shop";
    rig.patch(path, &route).await;
    // Rights take effect a moment after they are given.
    let found = eventually("the rights", async || {
        let found = rig.haldane("doctor -n doctor -o json").await;
        is_in(&found, "OK", "controller's rights", COMPLETE).then_some(found)
    })
    .await;
    let lacking = "the controller lacks rights: list httproutes, watch httproutes, patch httproutes; set the chart's";
    has(&found, "FAIL", "release", lacking);
}

#[track_caller]
fn has(found: &Ended, status: &str, check: &str, text: &str) {
    let is_in = is_in(found, status, check, text);
    assert!(is_in, "expected {status} {check}: {text}\n{}", found.out);
}

fn is_in(found: &Ended, status: &str, check: &str, text: &str) -> bool {
    let findings = found.json();
    let mut findings = findings.as_array().unwrap().iter();
    findings.any(|one| {
        one["status"] == status
            && one["check"] == check
            && one["text"].as_str().unwrap().contains(text)
    })
}
