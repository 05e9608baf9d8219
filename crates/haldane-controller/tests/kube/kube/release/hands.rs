//! What people and their tools do meanwhile: Git says the same again, objects are edited, versions change, everything is deleted.

use std::time::Duration;

use haldane_controller::kinds::{DEPLOYMENT, RELEASE, SERVICE};
use haldane_router::kinds::HTTP_ROUTE;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use tokio::time;

use crate::kube::{
    release::shop::{Plan, Shop, deployment},
    rig::{QUIET, eventually},
};

/// The label by which the pods of one ReplicaSet are told from others.
const POD_HASH: &str = "pod-template-hash";

fn history(status: &Value) -> Vec<&str> {
    let all = status["history"].as_array().into_iter().flatten();
    all.map(|past| past["phase"].as_str().unwrap()).collect()
}

/// Waits until the user's Service leads to stable alone.
async fn is_pinned(shop: &Shop) {
    eventually("the Service pinned to stable", async || {
        let service = shop.get(&SERVICE, "shop").await?;
        let selector = service["spec"]["selector"].as_object()?;
        selector.contains_key(POD_HASH).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_image_that_changes_while_no_controller_runs_starts_no_pod() {
    let shop = Shop::new("unwatched", &Plan::short()).await;
    let running = shop.taken_over().await;
    running.end();
    // Nobody's Deployment shows how soon Kubernetes follows a template.
    let mut other = deployment("shop:v1");
    other["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
    other["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    shop.put("kubectl", &DEPLOYMENT, "other", other).await;
    shop.apply_git("argocd-controller", "shop:v2").await;
    let image = json!([{"name": "shop", "image": "shop:v9"}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": image}}}});
    shop.patch("kubectl", &DEPLOYMENT, "other", &patch).await;
    eventually("Kubernetes at work", async || {
        let other = shop.get(&DEPLOYMENT, "other").await?;
        (other["status"]["availableReplicas"] == json!(3)
            && other["status"]["updatedReplicas"] == json!(3))
        .then_some(())
    })
    .await;
    // Many times what it took there: a template is followed at once or not at all.
    time::sleep(Duration::from_secs(20)).await;
    let all = shop.running().await;
    assert!(!all.contains(&"shop:v2".to_owned()), "{all:?}");
    shop.delete(&DEPLOYMENT, "other").await;
    let running = shop.start();
    shop.ends("Completed", "v2").await;
    running.end();
}

#[tokio::test]
async fn git_that_says_the_same_at_every_step_changes_nothing() {
    let shop = Shop::new("git", &Plan::held()).await;
    let running = shop.taken_over().await;
    let load = shop.load(100);
    shop.apply_git("argocd-controller", "shop:v2").await;
    for (id, weight) in [("1", "20%"), ("2", "50%")] {
        shop.weighs(weight).await;
        shop.apply_git("argocd-controller", "shop:v2").await;
        shop.weighs(weight).await;
        is_pinned(&shop).await;
        shop.merge_git("shop:v2").await;
        shop.weighs(weight).await;
        is_pinned(&shop).await;
        shop.command(id, "promote").await;
    }
    let status = shop.ends("Completed", "v2").await;
    assert_eq!(history(&status), ["Completed"]);
    shop.apply_git("argocd-controller", "shop:v2").await;
    shop.merge_git("shop:v2").await;
    time::sleep(QUIET).await;
    let status = shop.ends("Completed", "v2").await;
    assert_eq!(history(&status), ["Completed"]);
    is_pinned(&shop).await;
    load.end().none_dropped();
    running.end();
}

#[tokio::test]
async fn a_release_that_is_deleted_in_the_middle_leaves_the_shop_as_it_was() {
    let shop = Shop::new("deleted", &Plan::held()).await;
    let running = shop.taken_over().await;
    let load = shop.load(100);
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    shop.delete(&RELEASE, "shop").await;
    eventually("the Release gone", async || {
        shop.get(&RELEASE, "shop").await.is_none().then_some(())
    })
    .await;
    shop.is_whole("v1").await;
    let service = shop.get(&SERVICE, "shop").await.unwrap();
    assert_eq!(service["spec"]["selector"], json!({"app": "shop"}));
    load.end().none_dropped();
    running.end();
}

#[tokio::test]
async fn a_deployment_that_is_deleted_in_the_middle_is_told_and_keeps_nothing_from_ending() {
    let shop = Shop::new("gone", &Plan::held()).await;
    let running = shop.taken_over().await;
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    shop.delete(&DEPLOYMENT, "shop").await;
    shop.shows("that the Deployment is missing", |status| {
        status["message"]
            .as_str()
            .unwrap()
            .contains("does not exist")
    })
    .await;
    shop.delete(&RELEASE, "shop").await;
    eventually("the Release gone", async || {
        shop.get(&RELEASE, "shop").await.is_none().then_some(())
    })
    .await;
    eventually("nothing of the canary left", async || {
        let left = shop.names(&DEPLOYMENT).await;
        (left.is_empty() && shop.share().await == 0).then_some(())
    })
    .await;
    running.end();
}

/// On request: on a busy machine its Release stays for minutes now and then, and why is not known yet.
#[tokio::test]
async fn on_request_a_namespace_that_is_deleted_in_the_middle_ends() {
    let shop = Shop::new("ending", &Plan::held()).await;
    let running = shop.taken_over().await;
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    let namespaces = Api::<Namespace>::all(shop.rig.client.clone());
    let params = DeleteParams::default();
    namespaces.delete("ending", &params).await.unwrap();
    eventually("the Release gone", async || {
        shop.get(&RELEASE, "shop").await.is_none().then_some(())
    })
    .await;
    // Kubernetes looks after a namespace less and less often, at last once a minute.
    eventually("the namespace gone", async || {
        let found = namespaces.get_opt("ending").await.unwrap();
        found.is_none().then_some(())
    })
    .await;
    running.end();
}

#[tokio::test]
async fn of_two_releases_one_has_the_deployment() {
    let shop = Shop::new("claimed", &Plan::short()).await;
    let running = shop.taken_over().await;
    let mut second = shop.get(&RELEASE, "shop").await.unwrap();
    let spec = second["spec"].take();
    shop.put("kubectl", &RELEASE, "second", json!({"spec": spec}))
        .await;
    eventually("a refusal", async || {
        let second = shop.get(&RELEASE, "second").await?;
        let message = second["status"]["message"].as_str()?.to_owned();
        message.contains("belongs to Release shop").then_some(())
    })
    .await;
    shop.deploy("shop:v2").await;
    let status = shop.ends("Completed", "v2").await;
    assert_eq!(history(&status), ["Completed"]);
    // The one that was refused takes nothing along when it goes.
    shop.delete(&RELEASE, "second").await;
    eventually("the second one gone", async || {
        shop.get(&RELEASE, "second").await.is_none().then_some(())
    })
    .await;
    let kept = shop.get(&DEPLOYMENT, "shop").await.unwrap();
    assert_eq!(kept["spec"]["paused"], json!(true));
    running.end();
}

#[tokio::test]
async fn a_newer_version_takes_over_and_the_old_one_ends_it() {
    let shop = Shop::new("newer", &Plan::held()).await;
    let running = shop.taken_over().await;
    let load = shop.load(100);
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    shop.deploy("shop:v3").await;
    shop.shows("v3 on trial", |status| {
        status["canary"] == "v3" && status["weight"] == "20%"
    })
    .await;
    shop.deploy("shop:v1").await;
    let status = shop.ends("RolledBack", "v1").await;
    assert_eq!(history(&status), ["RolledBack", "RolledBack"]);
    // It was not judged, so it may come again.
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    shop.command("1", "abort").await;
    shop.ends("RolledBack", "v1").await;
    load.end().none_dropped();
    running.end();
}

#[tokio::test]
async fn what_others_edit_in_the_middle_is_followed_or_put_right() {
    let shop = Shop::new("edited", &Plan::held()).await;
    let running = shop.taken_over().await;
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    // The Service led to all pods would give the canary a share that nobody decided.
    let selector = json!({"spec": {"selector": {POD_HASH: null}}});
    shop.patch("kubectl-edit", &SERVICE, "shop", &selector)
        .await;
    is_pinned(&shop).await;
    // The number of replicas is the autoscaler's.
    let more = json!({"spec": {"replicas": 4}});
    shop.patch("horizontal-pod-autoscaler", &DEPLOYMENT, "shop", &more)
        .await;
    eventually("four pods of stable", async || {
        let running = shop.running().await;
        let stable = running.iter().filter(|image| *image == "shop:v1");
        (stable.count() == 4).then_some(())
    })
    .await;
    shop.weighs("20%").await;
    // A weight that a person sets holds the rollout.
    let backends = json!([
        {"name": "shop", "port": 80, "weight": 60},
        {"name": "shop-canary", "port": 80, "weight": 40},
    ]);
    let rules = json!({"spec": {"rules": [{"backendRefs": backends}]}});
    shop.patch("kubectl-edit", &HTTP_ROUTE, "shop", &rules)
        .await;
    shop.shows("the weight of a person", |status| {
        status["weight"] == "40%" && status["phase"] == "Paused"
    })
    .await;
    let less = json!({"spec": {"replicas": 3}});
    shop.patch("horizontal-pod-autoscaler", &DEPLOYMENT, "shop", &less)
        .await;
    shop.command("1", "abort").await;
    shop.ends("RolledBack", "v1").await;
    running.end();
}

#[tokio::test]
async fn a_canary_that_dies_again_and_again_is_rolled_back() {
    let plan = Plan {
        ready: "8s",
        ..Plan::held()
    };
    let shop = Shop::new("crashing", &plan).await;
    let running = shop.taken_over().await;
    shop.deploy("shop:v2_crash-2s").await;
    shop.rests("RolledBack", "v1").await;
    shop.is_whole("v1").await;
    running.end();
}

#[tokio::test]
async fn a_canary_that_flaps_gets_nothing_while_it_is_not_ready() {
    let shop = Shop::new("flapping", &Plan::held()).await;
    let running = shop.taken_over().await;
    shop.deploy("shop:v2_flap-3s").await;
    for _ in 0..2 {
        eventually("a share", async || (shop.share().await > 0).then_some(())).await;
        eventually("none", async || (shop.share().await == 0).then_some(())).await;
    }
    shop.command("1", "abort").await;
    shop.ends("RolledBack", "v1").await;
    running.end();
}
