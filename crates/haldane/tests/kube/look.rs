//! Looking: lists, one release with what runs it, and whose cluster it is.

use serde_json::{Value, json};

use crate::rig::{Rig, ended, eventually, status};

const NS: &str = "look";

pub(crate) async fn releases_are_shown_with_what_runs_them(rig: &Rig) {
    rig.haldane("get")
        .await
        .has(0, "No releases in this namespace; -A shows");
    rig.release(NS, "shop", &told()).await;
    let pod = json!({
        "metadata": {"labels": {"app": "shop"}},
        "spec": {"containers": [{"name": "shop", "image": "shop:v1"}]},
    });
    let deployment = json!({
        "metadata": {"name": "shop"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "shop"}}, "template": pod},
    });
    rig.create(
        &format!("/apis/apps/v1/namespaces/{NS}/deployments"),
        &deployment,
    )
    .await;
    let view = eventually("two ready pods", async || {
        let view = rig.haldane("get look/shop -o json").await.json();
        (view["stable"]["replicasReady"] == 2 && view["objects"][0]["owned"][0]["ready"] == 2)
            .then_some(view)
    })
    .await;
    assert_eq!(
        (&view["namespace"], &view["name"]),
        (&json!(NS), &json!("shop"))
    );
    assert_eq!(view["rollout"]["weightBps"], 1_000);
    let set = &view["objects"][0]["owned"][0];
    assert_eq!(
        (&set["kind"], &set["revision"]),
        (&json!("ReplicaSet"), &json!("1"))
    );
    let states: Vec<&Value> = set["owned"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| &pod["state"])
        .collect();
    assert_eq!(states, ["Running", "Running"]);
}

/// Returns the status of a rollout that stands still because its canary was worse.
fn told() -> Value {
    let mut told = status("Paused");
    told["history"] = json!([{
        "rollout": "shop-1", "stable": "v0", "canary": "v1", "phase": "RolledBack", "message": "too many errors",
        "by": "bob", "startedAt": "2026-11-21T11:00:00Z", "endedAt": "2026-11-21T11:10:00Z",
    }]);
    told["judged"] = json!({
        "verdict": "Fail", "reason": "errorRate 6.2% is beyond 5%", "requests": {"stable": 1_440, "canary": 160}, "harmPercent": 100,
        "from": "2026-11-21T11:59:00Z", "to": "2026-11-21T12:00:00Z",
        "guards": [{
            "metric": "errorRate", "limit": "above 5%", "stable": "0.1%", "canary": "6.2%", "verdict": "Fail", "severity": "Critical",
            "reason": "errorRate 6.2% is beyond 5%",
        }],
        "metrics": [{
            "name": "errors", "verdict": "Fail", "stable": "0.1%", "canary": "6.2%", "ratio": "62×", "harmPercent": 100,
            "reason": "worse than stable",
        }],
    });
    let decision = |number: u32, phase: &str, more: &Value| {
        let mut decision = json!({
            "rollout": "shop-2", "number": number, "at": "2026-11-21T12:00:05Z", "phase": phase, "step": 2, "weight": "10%",
            "text": format!("decided {number}"), "cause": "judge",
        });
        let more = more.as_object().unwrap().clone();
        decision.as_object_mut().unwrap().extend(more);
        decision
    };
    told["decisions"] = json!([
        decision(
            0,
            "Preparing",
            &json!({"cause": "begin", "by": "kubernetes"})
        ),
        decision(4, "Paused", &json!({"judged": told["judged"]})),
    ]);
    told
}

pub(crate) async fn each_command_tells_of_them(rig: &Rig) {
    let tree = rig.haldane("get shop -n look").await;
    tree.has(0, "OBJECTS ");
    tree.has(0, "└─ rs/shop-");
    tree.has(0, "   ├─ pod/shop-");
    assert!(
        tree.out.lines().all(|line| line.chars().count() <= 80),
        "{}",
        tree.out
    );
    rig.haldane("get -A").await.has(0, "look/shop ");
    rig.haldane("get -n look").await.has(0, "\nshop  Paused");
    let status = rig.haldane("status look/shop").await;
    status.has(0, "shop: ‖ Paused since 2026-11-21 12:00:05 (");
    status.has(0, "): now Paused\nv1 → v2 at 10%\n");
    status.has(
        0,
        "no data of cpu and memory: this cluster has no metrics.k8s.io\n",
    );
    rig.haldane("history look/shop")
        .await
        .has(0, "too many errors");
    rig.haldane("history look/shop 1")
        .await
        .has(0, "shop-1: apply of v1 in place of v0, by bob");
    rig.haldane("history look/shop 9")
        .await
        .has(1, "shop remembers no rollout shop-9");
    let one = rig.haldane("history look/shop 2").await;
    one.has(0, "(begin by kubernetes)\n      decided 0\n");
    one.has(0, "evidence: fail: errorRate 6.2% is beyond 5%");
    let why = rig.haldane("explain look/shop").await;
    why.has(0, "Not recomputed: on Kubernetes");
    why.has(0, "Requests: 1440 of stable, 160 of the canary\n");
    why.has(
        0,
        "   …  not kept: there was no room for them\n   4  2026-11-21 ",
    );
    why.has(0, "errorRate (limit above 5%): errorRate 6.2% is beyond 5%");
    let well = rig.haldane("verify look/shop").await;
    well.has(1, "rollout      FAILED   shop-2 goes on, Paused at 10%\n");
    well.has(1, "replicas     passed   2 of 2 answer\n");
    well.has(1, " is NOT well.\n");
    let report = rig.haldane("report look/shop").await;
    report.has(0, "# shop-2: v2 in place of v1\n");
    report.has(0, "At least 160 requests went to the canary");
    report.has(0, " | Paused | 2 | 10% | decided 4 | judge |\n");
    rig.haldane("report look/shop 1")
        .await
        .has(0, "RolledBack: too many errors\n");
    rig.haldane("plan show look/shop")
        .await
        .has(0, "steps:\n  - weight: 10%\n  - hold: 1m\n");
    rig.haldane("monitor look/shop --duration 100ms")
        .await
        .has(0, "  stable v1: ready 2/2 OK");
    rig.haldane("get nobody -n look")
        .await
        .has(1, "no release nobody in namespace look");
    rig.haldane("logs shop")
        .await
        .has(2, "there `kubectl logs` shows them");
}

pub(crate) async fn whose_cluster_it_is_follows_kubectls_rules(rig: &Rig) {
    let kubeconfig = rig.kubeconfig();
    let mut by_variable = rig.program("get --kube -A");
    by_variable.env("KUBECONFIG", &kubeconfig);
    ended(by_variable).await.has(0, "look/shop");
    let plugin = rig.path("kubectl-haldane");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_haldane"), &plugin).unwrap();
    let mut by_kubectl = tokio::process::Command::new(plugin);
    by_kubectl
        .args(["get", "-A"])
        .env_clear()
        .env("KUBECONFIG", &kubeconfig);
    ended(by_kubectl).await.has(0, "look/shop");
    ended(rig.program("get --kube"))
        .await
        .has(1, "no access to a cluster");
    rig.haldane("get --context nowhere")
        .await
        .has(1, "failed to load current context: nowhere");
    ended(rig.program("get look/shop --data-dir /nowhere"))
        .await
        .has(2, "give --kube");
    ended(rig.program("get -A --data-dir /nowhere"))
        .await
        .has(2, "give --kube");
}

pub(crate) async fn a_refusal_says_who_may_not_do_what(rig: &Rig) {
    let as_bob = rig.kubeconfig_with("bob", |text| {
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["users"][0]["user"]["as"] = json!("bob");
        config.to_string()
    });
    let run = async |line: &str| {
        let line = format!("{line} --kubeconfig {}", as_bob.display());
        ended(rig.program(&line)).await
    };
    let told = run("get -n look").await;
    told.has(
        1,
        "bob may not list releases.haldane.dev in namespace look; ask an administrator",
    );
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NS}");
    let rule = json!({"apiGroups": ["haldane.dev"], "resources": ["releases"], "verbs": ["get", "list", "watch"]});
    rig.create(
        &format!("{path}/roles"),
        &json!({"metadata": {"name": "reader"}, "rules": [rule]}),
    )
    .await;
    let binding = json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    });
    rig.create(&format!("{path}/rolebindings"), &binding).await;
    eventually("the right to look", async || {
        (run("get -n look").await.code == 0).then_some(())
    })
    .await;
    run("get look/shop")
        .await
        .has(0, "its objects can't be told: bob may not list");
    run("abort look/shop").await.has(
        1,
        "bob may not patch releases.haldane.dev in namespace look",
    );
}
