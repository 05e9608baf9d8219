//! Rollouts from a terminal on a cluster that has neither a controller nor a definition.

use std::fs;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::rig::{Ended, Rig, end_of, eventually, status};

/// A Deployment with two pods of v1 in a namespace of its own.
async fn shop(rig: &Rig, namespace: &str) {
    rig.namespace(namespace).await;
    let template = json!({
        "metadata": {"labels": {"app": "shop"}},
        "spec": {"containers": [{"name": "shop", "image": "shop:v1"}]},
    });
    let object = json!({
        "metadata": {"name": "shop"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "shop"}}, "template": template},
    });
    let deployments = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    rig.create(&deployments, &object).await;
    let path = format!("{deployments}/shop");
    eventually("two ready pods", async || {
        let seen = rig.try_get(&path).await?;
        (seen["status"]["readyReplicas"] == 2).then_some(())
    })
    .await;
}

/// Returns the line that rolls v2 out, with so long a wait at the half.
fn line(rig: &Rig, namespace: &str, hold: &str) -> String {
    let release = json!({
        "apiVersion": "haldane.dev/v1alpha1", "kind": "Release", "metadata": {"name": "shop"},
        "spec": {
            "workload": {"deployment": {"name": "shop"}},
            "rollout": {
                "steps": ["50%"], "hold": hold, "guards": "none", "judge": "threshold", "bake": "0s",
                "deadlines": {"drain": "1s"},
            },
        },
    });
    let path = rig.path(&format!("{namespace}.yaml"));
    fs::write(&path, release.to_string()).unwrap();
    format!(
        "deploy shop shop:v2 --kube -n {namespace} -f {}",
        path.display()
    )
}

async fn deployment(rig: &Rig, namespace: &str) -> Value {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/shop");
    rig.try_get(&path).await.unwrap()
}

/// Begins a rollout and waits until the canary has its half.
async fn half(rig: &Rig, namespace: &str, hold: &str) -> Child {
    let child = rig.begin(&line(rig, namespace, hold));
    eventually("a half", async || {
        let seen = deployment(rig, namespace).await;
        let status = &seen["metadata"]["annotations"]["haldane.dev/terminal-status"];
        let status: Value = serde_json::from_str(status.as_str()?).unwrap();
        (status["phase"] == "Progressing").then_some(())
    })
    .await;
    let held = deployment(rig, namespace).await;
    assert_eq!(held["spec"]["paused"], true);
    child
}

/// Checks that the Deployment is its owner's again, with this image, and that nothing of ours is beside it.
async fn is_the_users_own(rig: &Rig, namespace: &str, image: &str) {
    let seen = deployment(rig, namespace).await;
    assert_eq!(seen["spec"].get("paused"), None, "{seen:#}");
    let container = &seen["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], image);
    let annotations = seen["metadata"]["annotations"].as_object().unwrap();
    let ours: Vec<&String> = annotations
        .keys()
        .filter(|key| key.contains("haldane"))
        .collect();
    assert_eq!(
        ours,
        ["haldane.dev/terminal", "haldane.dev/terminal-status"]
    );
    let deployments = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    eventually("one Deployment alone", async || {
        let all = rig.try_get(&deployments).await?;
        (all["items"].as_array()?.len() == 1).then_some(())
    })
    .await;
}

fn promoted(ended: &Ended) {
    ended.has(0, "shop-1: Completed: ");
}

/// Lets three terminals roll out at the same time: one to the end, one that is killed, and one that a person stops.
pub(crate) async fn a_terminal_rolls_out_alone(rig: &Rig) {
    tokio::join!(to_the_end(rig), killed(rig), stopped(rig));
}

/// What a service consists of is found by its name, looked at, and shown before anything is done.
pub(crate) async fn a_service_is_found_by_its_name(rig: &Rig) {
    let ns = "found";
    rig.namespace(ns).await;
    let line = |rest: &str| format!("deploy shop shop:v2 --kube -n {ns} {rest}");
    rig.haldane(&line("--dry-run")).await.has(
        2,
        "neither a Deployment shop nor the two shop-stable and shop-canary",
    );
    let deployments = format!("/apis/apps/v1/namespaces/{ns}/deployments");
    for side in ["stable", "canary"] {
        let labels = json!({"app": "shop", "version": side});
        let template = json!({
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "shop", "image": "shop:v1"}]},
        });
        let object = json!({
            "metadata": {"name": format!("shop-{side}")},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        });
        rig.create(&deployments, &object).await;
    }
    let steps = "--steps 10,50 --hold 1s --auto-promote --skip-analysis --reason tried";
    let shown = eventually("a stable version", async || {
        let shown = rig
            .haldane(&line(&format!("--dry-run {steps} -o json")))
            .await;
        (shown.code == 0).then_some(shown)
    })
    .await;
    let report = shown.json();
    let found =
        "Deployments shop-stable and shop-canary, no route: the numbers of pods split the traffic";
    assert_eq!(report["found"], found);
    assert_eq!(
        report["spec"]["workload"]["pairs"][0]["canary"],
        "shop-canary"
    );
    let checks: Vec<&str> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["check"].as_str().unwrap())
        .collect();
    assert_eq!(checks, ["rights", "route", "stable"]);
    // Nothing was noted.
    let path = format!("{deployments}/shop-stable");
    let stable = rig.try_get(&path).await.unwrap();
    assert_eq!(
        stable["metadata"]["annotations"].get("haldane.dev/terminal"),
        None
    );

    rig.haldane(&line("--mesh istio --dry-run")).await.has(
        2,
        "VirtualService is not installed; --route names another one",
    );
    rig.haldane(&line("--mesh none --prometheus http://127.0.0.1:1"))
        .await
        .has(
            1,
            "not begun: metrics; --skip-validation begins all the same",
        );
    let promoted = rig.haldane(&line(steps)).await;
    promoted.has(0, "shop-1: Completed: ");
    assert!(
        promoted.talk.contains("1 of 1 replicas are ready"),
        "{promoted:?}"
    );
    let stable = rig.try_get(&path).await.unwrap();
    let container = &stable["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "shop:v2");
}

/// Where a Release is, its controller rolls out; the terminal gives the image and waits.
pub(crate) async fn a_release_gets_its_image(rig: &Rig) {
    let ns = "given";
    shop(rig, ns).await;
    let begun = |rollout: &str, phase: &str| {
        let mut status = status(phase);
        status["rollout"] = json!(rollout);
        status
    };
    rig.declare(ns, "shop", &begun("shop-1", "Completed")).await;
    let given = rig
        .haldane(&format!(
            "deploy shop shop:v2 -n {ns} --reason rounding -o json"
        ))
        .await;
    given.has(0, "its new image; Release shop rolls it out");
    let seen = deployment(rig, ns).await;
    let container = &seen["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "shop:v2");
    let cause = &seen["metadata"]["annotations"]["kubernetes.io/change-cause"];
    assert_eq!(cause, "rounding (ann@desk)");
    rig.haldane(&format!("deploy shop shop:v2 -n {ns}"))
        .await
        .has(0, "has this image already");
    rig.haldane(&format!("deploy shop shop:v3 -n {ns} --steps 10,50"))
        .await
        .has(2, "Release shop says how it is rolled out");

    let waiting = rig.begin(&format!("deploy shop shop:v3 -n {ns} --wait --timeout 1m"));
    eventually("the image", async || {
        let seen = deployment(rig, ns).await;
        let container = &seen["spec"]["template"]["spec"]["containers"][0];
        (container["image"] == "shop:v3").then_some(())
    })
    .await;
    // What an earlier rollout came to is not what is waited for.
    rig.set_status(ns, "shop", &begun("shop-2", "Progressing"))
        .await;
    rig.set_status(ns, "shop", &begun("shop-2", "RolledBack"))
        .await;
    end_of(waiting).await.has(3, "shop-2: RolledBack: ");
}

async fn to_the_end(rig: &Rig) {
    let ns = "terminal-end";
    shop(rig, ns).await;
    promoted(&rig.haldane(&line(rig, ns, "1s")).await);
    is_the_users_own(rig, ns, "shop:v2").await;
    rig.haldane(&format!("history shop -n {ns}"))
        .await
        .has(0, "shop-1");
    // What serves already is not rolled out again.
    rig.haldane(&line(rig, ns, "1s"))
        .await
        .has(0, "nothing to do");
}

async fn killed(rig: &Rig) {
    let ns = "terminal-killed";
    shop(rig, ns).await;
    half(rig, ns, "5s").await.kill().await.unwrap();
    let ended = rig.haldane(&format!("resume shop --kube -n {ns}")).await;
    promoted(&ended);
    assert!(ended.talk.contains("who looked after it last"), "{ended:?}");
    is_the_users_own(rig, ns, "shop:v2").await;
}

async fn stopped(rig: &Rig) {
    let ns = "terminal-stopped";
    shop(rig, ns).await;
    let child = half(rig, ns, "10m").await;
    let pid = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().await;
    assert!(sent.unwrap().success());
    end_of(child).await.has(1, "shop stands where it is");
    assert_eq!(deployment(rig, ns).await["spec"]["paused"], true);
    rig.haldane(&line(rig, ns, "10m"))
        .await
        .has(1, "is being rolled out already");
    let ended = rig.haldane(&format!("abort shop --kube -n {ns}")).await;
    ended.has(0, "shop-1: RolledBack: ");
    is_the_users_own(rig, ns, "shop:v1").await;
}
