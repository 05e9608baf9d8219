//! The life of simulated pods: late, flapping, crashing, bad, and ending.

use haldane_plane::Plane;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, api::DeleteParams};
use serde_json::json;
use tokio::time::{Duration, Instant};

use crate::smoke::rig::{address, create, eventually, is_ready, object, pod, ready, refuses};

/// KWOK looks at seconds; two more is what a busy machine may add before a test calls it wrong.
const SLACK: Duration = Duration::from_secs(2);

#[tokio::test]
async fn pods_live_as_they_are_told() {
    let plane = Plane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let start = Instant::now();
    create(&pods, &pod("slow", "shop:v1_start-4s", |_| ())).await;
    let after = json!({"plane.haldane.dev/ready-after": "4s"});
    create(
        &pods,
        &pod("late", "shop:v1", |pod| {
            pod["metadata"]["annotations"] = after
        }),
    )
    .await;
    create(&pods, &pod("flapping", "shop:v1_flap-1s", |_| ())).await;
    create(&pods, &pod("crashing", "shop:v1_crash-2s", |_| ())).await;
    create(&pods, &pod("missing", "shop:does-not-exist", |_| ())).await;
    create(&pods, &pod("broken", "shop:v1_crash-start", |_| ())).await;

    // It runs, and answers, before it is ready.
    let late = eventually("a pod that runs and isn't ready", async || {
        let late = pods.get("late").await.unwrap();
        let is_running = late.status.as_ref()?.phase.as_deref() == Some("Running");
        (is_running && !is_ready(&late)).then_some(late)
    })
    .await;
    eventually("an answer", async || {
        plane.get(address(&late), "/").await.ok()
    })
    .await;
    ready(&client, "late", 1).await;
    ready(&client, "slow", 1).await;
    assert!(start.elapsed() >= Duration::from_secs(4));

    let flapping = address(&ready(&client, "flapping", 1).await[0]);
    for wanted in [false, true, false] {
        eventually("a pod that flaps", async || {
            let pod = pods.get("flapping").await.unwrap();
            (is_ready(&pod) == wanted).then_some(())
        })
        .await;
        plane.get(flapping, "/").await.unwrap();
    }

    let restarts = async || {
        let status = pods.get("crashing").await.unwrap().status?;
        Some(status.container_statuses?.into_iter().next()?.restart_count)
    };
    eventually("two restarts", async || {
        restarts().await.filter(|count| *count >= 2)
    })
    .await;

    let reason = async |name: &str| {
        let status = pods.get(name).await.unwrap().status?;
        let container = status.container_statuses?.into_iter().next()?;
        container.state?.waiting?.reason
    };
    for (name, wanted) in [("missing", "ErrImagePull"), ("broken", "CrashLoopBackOff")] {
        eventually(wanted, async || {
            reason(name).await.filter(|reason| reason == wanted)
        })
        .await;
        assert!(!is_ready(&pods.get(name).await.unwrap()));
    }
    plane.stop().await.unwrap();
}

#[tokio::test]
async fn jobs_end_as_their_arguments_say() {
    let plane = Plane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let jobs = Api::<Job>::default_namespaced(client);
    for (name, script) in [("good", "sleep 1"), ("bad", "sleep 1; exit 3")] {
        let containers =
            json!([{"name": "gate", "image": "gate:1", "command": ["sh", "-c", script]}]);
        let spec = json!({"restartPolicy": "Never", "containers": containers});
        create(
            &jobs,
            &object::<Job>(json!({
                "metadata": {"name": name},
                "spec": {"backoffLimit": 0, "template": {"spec": spec}},
            })),
        )
        .await;
    }
    for (name, wanted) in [("good", "Complete"), ("bad", "Failed")] {
        eventually(wanted, async || {
            let conditions = jobs.get(name).await.unwrap().status?.conditions?;
            let mut conditions = conditions.into_iter();
            conditions
                .find(|it| it.type_ == wanted && it.status == "True")
                .map(drop)
        })
        .await;
    }
    plane.stop().await.unwrap();
}

#[tokio::test]
async fn a_deleted_pod_serves_through_its_hook_and_finishes_what_it_began() {
    let plane = Plane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let hook = json!({"preStop": {"sleep": {"seconds": 3}}});
    let image = "shop:v1_latency-2s_linger-4s";
    create(
        &pods,
        &pod("shop", image, |pod| {
            pod["spec"]["containers"][0]["lifecycle"] = hook
        }),
    )
    .await;
    let stubborn = "shop:v1_stop-serve";
    create(
        &pods,
        &pod("stubborn", stubborn, |pod| {
            pod["spec"]["terminationGracePeriodSeconds"] = json!(5);
        }),
    )
    .await;
    let shop = address(&ready(&client, "shop", 1).await[0]);
    let other = address(&ready(&client, "stubborn", 1).await[0]);

    let start = Instant::now();
    pods.delete("shop", &DeleteParams::default()).await.unwrap();
    pods.delete("stubborn", &DeleteParams::default())
        .await
        .unwrap();
    // During the hook a new request is still taken.
    plane.get(shop, "/").await.unwrap();
    // This one is taken shortly before SIGTERM and answered after it.
    plane.get(shop, "/").await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(4));
    refuses(&plane, shop).await;
    assert!(
        start.elapsed() < Duration::from_secs(7) + SLACK,
        "{:?}",
        start.elapsed()
    );
    // What ignores SIGTERM is killed at the end of its grace period.
    refuses(&plane, other).await;
    assert!(
        start.elapsed() >= Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    plane.stop().await.unwrap();
}
