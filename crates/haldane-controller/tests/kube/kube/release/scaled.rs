//! A HorizontalPodAutoscaler on the user's Deployment, run by the real controller of Kubernetes.
//!
//! What pods use is told by the test, in the place of a metrics server: as the requests of the shop need it, by the share of each
//! version.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use haldane_controller::kinds::{DEPLOYMENT, POD, RELEASE};
use haldane_router::Kind;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time};

use crate::kube::{
    release::shop::{Plan, Shop, release},
    rig::eventually,
};

static METRICS: Kind = Kind {
    group: "metrics.k8s.io",
    kind: "PodMetrics",
    plural: "pods",
    versions: &["v1beta1"],
};

static AUTOSCALER: Kind = Kind {
    group: "autoscaling",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    versions: &["v2"],
};

/// What a pod may use, in thousandths of a processor: half of what it asks for.
const TARGET: u64 = 250;

/// How often usage is told.
const INTERVAL: Duration = Duration::from_millis(500);

/// Serves usage of pods in the place of a metrics server.
async fn serve_metrics(shop: &Shop) {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "pods.metrics.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for a test"},
        },
        "spec": {
            "group": METRICS.group,
            "scope": "Namespaced",
            "names": {"plural": METRICS.plural, "kind": METRICS.kind},
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true, "schema": {"openAPIV3Schema": any},
            }],
        },
    });
    let definitions = Api::<CustomResourceDefinition>::all(shop.rig.client.clone());
    let params = PatchParams::apply("test");
    definitions
        .patch("pods.metrics.k8s.io", &params, &Patch::Apply(&definition))
        .await
        .unwrap();
    eventually("usage of pods", async || {
        let found = shop.api(&METRICS).list(&ListParams::default()).await;
        found.ok().map(drop)
    })
    .await;
}

/// Tells what the pods use of a load, without end.
async fn tell(shop: Arc<Shop>, load: Arc<AtomicU64>) {
    loop {
        let pods = shop.api(&POD).list(&ListParams::default()).await.unwrap();
        let is_canary = |labels: &std::collections::BTreeMap<String, String>| {
            labels.contains_key("haldane.dev/role")
        };
        let labels: Vec<_> = pods
            .items
            .iter()
            .map(|pod| pod.metadata.labels.clone().unwrap_or_default())
            .collect();
        let share = shop.share().await;
        for (pod, own) in pods.items.iter().zip(&labels) {
            let like = |other: &&_| is_canary(other) == is_canary(own);
            let count = u64::try_from(labels.iter().filter(like).count()).unwrap();
            let part = if is_canary(own) {
                share
            } else {
                10_000 - share
            };
            let used = load.load(Ordering::SeqCst) * part / 10_000 / count;
            let name = pod.metadata.name.clone().unwrap();
            let metrics = json!({
                "metadata": {"labels": own},
                "timestamp": Timestamp::now().to_string(),
                "window": "1s",
                "containers": [{"name": "shop", "usage": {"cpu": format!("{used}m"), "memory": "1Mi"}}],
            });
            shop.put("metrics", &METRICS, &name, metrics).await;
        }
        time::sleep(INTERVAL).await;
    }
}

/// The shop's Deployment asks for twice what a pod may use.
async fn deploy(shop: &Shop, image: &str) {
    let asks = json!({"requests": {"cpu": format!("{}m", 2 * TARGET)}});
    let containers = json!([{"name": "shop", "image": image, "resources": asks}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    shop.patch("kubectl-edit", &DEPLOYMENT, "shop", &patch)
        .await;
}

fn autoscaler(may_shrink: bool) -> Value {
    let policy = if may_shrink { "Max" } else { "Disabled" };
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    json!({"spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
        "minReplicas": 2,
        "maxReplicas": 20,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        "behavior": {
            "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": policy},
            "scaleUp": {"policies": [{"type": "Pods", "value": 20, "periodSeconds": 1}]},
        },
    }})
}

/// Waits until so many pods of each version are wanted.
async fn runs(shop: &Shop, stable: usize, canary: usize) {
    let count = |all: &[String], image: &str| all.iter().filter(|one| *one == image).count();
    let mut last = (0, 0);
    let deadline = time::Instant::now() + Duration::from_secs(60);
    while time::Instant::now() < deadline {
        let running = shop.running().await;
        last = (count(&running, "shop:v1"), count(&running, "shop:v2"));
        if last == (stable, canary) {
            return;
        }
        time::sleep(INTERVAL).await;
    }
    let scaler = shop.get(&AUTOSCALER, "shop").await.unwrap();
    let target = shop.get(&DEPLOYMENT, "shop").await.unwrap();
    panic!(
        "{last:?}, expected {:?}: {:#}\n{:#}",
        (stable, canary),
        scaler["status"],
        target["metadata"]["managedFields"],
    );
}

#[tokio::test]
async fn an_autoscaler_goes_on_with_stable_and_the_canary_follows() {
    let shop = Arc::new(Shop::bare("scaled").await);
    serve_metrics(&shop).await;
    deploy(&shop, "shop:v1").await;
    eventually("the shop with its requests", async || {
        let shop = shop.get(&DEPLOYMENT, "shop").await?;
        let status = &shop["status"];
        (status["observedGeneration"] == shop["metadata"]["generation"]
            && status["updatedReplicas"] == 3
            && status["replicas"] == 3)
            .then_some(())
    })
    .await;
    let load = Arc::new(AtomicU64::new(3 * TARGET));
    let mut tasks = JoinSet::new();
    tasks.spawn(tell(Arc::clone(&shop), Arc::clone(&load)));
    shop.put("kubectl", &AUTOSCALER, "shop", autoscaler(true))
        .await;
    shop.put("kubectl", &RELEASE, "shop", release(&Plan::held()))
        .await;
    let running = shop.taken_over().await;
    deploy(&shop, "shop:v2").await;
    shop.weighs("20%").await;
    runs(&shop, 3, 3).await;
    // Three times the load: what all pods together need is what stable gets, and the canary as many.
    load.store(9 * TARGET, Ordering::SeqCst);
    runs(&shop, 9, 9).await;
    shop.command("1", "promote").await;
    shop.weighs("50%").await;
    load.store(3 * TARGET, Ordering::SeqCst);
    runs(&shop, 3, 9).await;
    // With all the traffic stable gets the size back that it had for it.
    shop.put("kubectl", &AUTOSCALER, "shop", autoscaler(false))
        .await;
    shop.command("2", "abort").await;
    runs(&shop, 9, 0).await;
    shop.put("kubectl", &AUTOSCALER, "shop", autoscaler(true))
        .await;
    shop.ends("RolledBack", "v1").await;
    // Nobody but the autoscaler and the rollback set the number.
    let kept = shop.get(&AUTOSCALER, "shop").await.unwrap();
    assert_eq!(kept["spec"]["minReplicas"], 2);
    tasks.abort_all();
    running.end();
}
