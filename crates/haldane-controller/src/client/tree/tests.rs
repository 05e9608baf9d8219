//! Objects as the API server has them, and their trees.

use serde_json::json;

use super::*;

fn release(workload: &Value) -> Release {
    let object = json!({
        "metadata": {"name": "shop", "namespace": "web"},
        "spec": {"workload": workload},
    });
    Release::read(&object).unwrap()
}

fn object(kind: &str, name: &str, owner: &str, spec: &Value) -> Value {
    let owners = if owner.is_empty() {
        json!([])
    } else {
        json!([{"uid": owner, "controller": true}])
    };
    json!({
        "kind": kind,
        "metadata": {"name": name, "namespace": "web", "uid": name, "ownerReferences": owners},
        "spec": spec,
        "status": {},
    })
}

fn workload(kind: &str, name: &str, owner: &str, replicas: u32, image: &str) -> Value {
    let template = json!({"spec": {"containers": [{"image": image}]}});
    let spec = json!({"replicas": replicas, "template": template});
    let mut object = object(kind, name, owner, &spec);
    object["status"] = json!({"readyReplicas": replicas});
    object
}

fn pod(name: &str, owner: &str, status: &Value) -> Value {
    let mut pod = object(
        "Pod",
        name,
        owner,
        &json!({"containers": [{"image": "shop:v1"}]}),
    );
    pod["status"] = status.clone();
    pod
}

fn running(is_ready: bool) -> Value {
    json!({
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": if is_ready { "True" } else { "False" }}],
        "containerStatuses": [{"restartCount": 2}, {"restartCount": 1}],
    })
}

fn labelled(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["labels"] = json!({ key: value });
    object
}

/// The tree as text: each object with what is known of it.
fn shown(objects: &[ObjectView], depth: usize) -> String {
    let mut text = String::new();
    for one in objects {
        let role = one.role.as_deref().unwrap_or("-");
        let state = one.state.as_deref().unwrap_or("-");
        text += &format!(
            "{}{} {} {role} {}/{} {state}\n",
            " ".repeat(depth),
            one.kind,
            one.name,
            one.ready,
            one.wanted,
        );
        text += &shown(&one.owned, depth + 1);
        if one.left_out > 0 {
            text += &format!("{}+{}\n", " ".repeat(depth + 1), one.left_out);
        }
    }
    text
}

fn told(workload: &Value, workloads: &[Value], sets: &[Value], pods: &[Value]) -> String {
    let inventory = Inventory {
        workloads: workloads.iter().collect(),
        replica_sets: sets.iter().collect(),
        pods: pods.iter().collect(),
    };
    shown(&tree(&release(workload), &inventory), 0)
}

#[test]
fn a_deployments_revisions_have_their_pods_and_empty_ones_are_counted() {
    let revision = |name: &str, revision: &str, replicas: u32| {
        let mut set = workload("ReplicaSet", name, "shop", replicas, "shop:v1");
        set["metadata"]["annotations"] = json!({ REVISION: revision });
        set
    };
    let sets = [
        revision("shop-a", "9", 2),
        labelled(revision("shop-b", "10", 1), mark::ROLE, "canary"),
        revision("shop-c", "1", 0),
        workload("ReplicaSet", "cart-a", "cart", 1, "cart:v1"),
    ];
    let pods = [
        pod("shop-a-1", "shop-a", &running(true)),
        pod("shop-a-2", "shop-a", &running(false)),
        pod("shop-b-1", "shop-b", &running(true)),
        pod("cart-a-1", "cart-a", &running(true)),
    ];
    let deployments = [
        workload("Deployment", "cart", "", 1, "cart:v1"),
        workload("Deployment", "shop", "", 3, "shop:v2"),
    ];
    let named = json!({"deployment": {"name": "shop"}});
    let expected = "\
Deployment shop - 3/3 -
 ReplicaSet shop-b canary 1/1 -
  Pod shop-b-1 canary 1/1 Running
 ReplicaSet shop-a stable 2/2 -
  Pod shop-a-2 - 0/1 NotReady
  Pod shop-a-1 - 1/1 Running
 +1
";
    assert_eq!(told(&named, &deployments, &sets, &pods), expected);
    let mut elsewhere = deployments[1].clone();
    elsewhere["metadata"]["namespace"] = json!("other");
    assert_eq!(told(&named, &[elsewhere], &sets, &pods), "");
}

#[test]
fn pairs_have_roles_and_labels_bring_in_what_no_spec_names() {
    let deployments = [
        workload("Deployment", "shop-canary", "", 1, "shop:v2"),
        workload("Deployment", "shop", "", 2, "shop:v1"),
        workload("Deployment", "unrelated", "", 2, "x"),
    ];
    let pairs = json!({"pairs": [{"stable": "shop", "canary": "shop-canary"}]});
    let expected = "\
Deployment shop stable 2/2 -
Deployment shop-canary canary 1/1 -
";
    assert_eq!(told(&pairs, &deployments, &[], &[]), expected);
    let mut made = labelled(deployments[0].clone(), mark::RELEASE, "shop");
    made["metadata"]["labels"][mark::ROLE] = json!("canary");
    let named = json!({"deployment": {"name": "shop"}});
    let expected = "\
Deployment shop - 2/2 -
Deployment shop-canary canary 1/1 -
";
    assert_eq!(
        told(&named, &[made.clone(), deployments[1].clone()], &[], &[]),
        expected
    );
    assert!(is_root(&release(&named), &made));
    assert!(!is_root(&release(&named), &deployments[2]));
}

#[test]
fn sets_own_their_pods_themselves() {
    let mut daemons = workload("DaemonSet", "shop", "", 0, "shop:v1");
    daemons["status"] = json!({"desiredNumberScheduled": 3, "numberReady": 1});
    let pods = [pod("shop-x", "shop", &running(true))];
    let expected = "DaemonSet shop - 1/3 -\n Pod shop-x - 1/1 Running\n";
    assert_eq!(
        told(
            &json!({"daemonSet": {"name": "shop"}}),
            &[daemons],
            &[],
            &pods
        ),
        expected
    );
    let set = workload("StatefulSet", "shop", "", 1, "shop:v1");
    let expected = "StatefulSet shop - 1/1 -\n Pod shop-x - 1/1 Running\n";
    assert_eq!(
        told(
            &json!({"statefulSet": {"name": "shop"}}),
            &[set],
            &[],
            &pods
        ),
        expected
    );
}

#[test]
fn what_is_wrong_with_a_pod_is_told_as_kubectl_does() {
    for (status, expected) in [
        (json!({"phase": "Pending"}), "Pending"),
        (running(true), "Running"),
        (running(false), "NotReady"),
        (
            json!({"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            "CrashLoopBackOff",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled"}}}]}),
            "OOMKilled",
        ),
    ] {
        let view = super::pod(&pod("p", "o", &status), None);
        assert_eq!(view.state.as_deref(), Some(expected));
    }
    let view = super::pod(&pod("p", "o", &running(true)), None);
    assert_eq!((view.restarts, view.ready), (Some(3), 1));
    let mut ending = pod("p", "o", &running(true));
    ending["metadata"]["deletionTimestamp"] = json!("2026-11-21T12:00:00Z");
    assert_eq!(
        super::pod(&ending, None).state.as_deref(),
        Some("Terminating")
    );
}

#[test]
fn of_many_pods_those_that_are_not_well_are_told() {
    let set = workload("StatefulSet", "shop", "", 30, "shop:v1");
    let pods: Vec<Value> = (0..30)
        .map(|index| pod(&format!("shop-{index:02}"), "shop", &running(index != 29)))
        .collect();
    let told = told(
        &json!({"statefulSet": {"name": "shop"}}),
        &[set],
        &[],
        &pods,
    );
    assert_eq!(told.lines().count(), 1 + PODS_MAX + 1);
    assert!(
        told.contains("shop-29 - 0/1 NotReady") && told.ends_with(" +10\n"),
        "{told}"
    );
}
