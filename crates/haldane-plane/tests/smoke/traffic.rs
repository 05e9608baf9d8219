//! Pods answer on their own addresses, by their image and environment, and only while they are there.

use std::{collections::BTreeSet, time::Instant};

use haldane_plane::Plane;
use http::StatusCode;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::smoke::rig::{
    address, create, deployment, eventually, name, pod, ready, refuses, service,
};

#[tokio::test]
async fn pods_answer_until_they_are_gone() {
    let plane = Plane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    create(&deployments, &deployment("shop", "shop:v1", 3)).await;
    create(
        &Api::<Service>::default_namespaced(client.clone()),
        &service("shop"),
    )
    .await;

    let pods = ready(&client, "shop", 3).await;
    for pod in &pods {
        let reply = plane.get(address(pod), "/cart").await.unwrap();
        assert_eq!(
            (reply.status, reply.version.as_str()),
            (StatusCode::OK, "v1")
        );
        assert!(reply.body.contains(name(pod)), "{}", reply.body);
    }
    let slices = Api::<EndpointSlice>::default_namespaced(client.clone());
    let of_shop = ListParams::default().labels("kubernetes.io/service-name=shop");
    let behind = async |unwanted: Option<&str>| {
        eventually("three ready endpoints", async || {
            let found = slices.list(&of_shop).await.unwrap().items;
            let endpoints = found.into_iter().flat_map(|slice| slice.endpoints);
            let ready = endpoints.filter(|it| {
                it.conditions
                    .as_ref()
                    .is_some_and(|it| it.ready == Some(true))
            });
            let ips: BTreeSet<String> = ready.flat_map(|endpoint| endpoint.addresses).collect();
            let is_done = ips.len() == 3 && unwanted.is_none_or(|ip| !ips.contains(ip));
            is_done.then_some(ips)
        })
        .await
    };
    let ips = pods.iter().map(|pod| address(pod).ip().to_string());
    assert_eq!(behind(None).await, ips.collect());

    // One that is deleted is replaced, and its address refuses.
    let gone = &pods[0];
    let api = Api::<Pod>::default_namespaced(client.clone());
    api.delete(name(gone), &DeleteParams::default())
        .await
        .unwrap();
    refuses(&plane, address(gone)).await;
    behind(Some(&address(gone).ip().to_string())).await;

    // A new image is a new version.
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "shop", "image": "shop:v2"}]}}}});
    deployments
        .patch("shop", &PatchParams::default(), &Patch::Strategic(image))
        .await
        .unwrap();
    eventually("three pods of v2", async || {
        let shop = deployments.get("shop").await.unwrap();
        let status = shop.status?;
        // Before that it tells of the version before.
        if status.observed_generation < shop.metadata.generation {
            return None;
        }
        let updated = status.updated_replicas == Some(3) && status.replicas == Some(3);
        (updated && status.ready_replicas == Some(3)).then_some(())
    })
    .await;
    for pod in &ready(&client, "shop", 3).await {
        assert_eq!(plane.get(address(pod), "/").await.unwrap().version, "v2");
    }
    plane.stop().await.unwrap();
}

#[tokio::test]
async fn pods_behave_as_they_are_told() {
    let plane = Plane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let pods = Api::<Pod>::default_namespaced(client.clone());
    create(
        &pods,
        &pod("bad", "shop:v2_errors-100_latency-300ms", |_| ()),
    )
    .await;
    let env =
        json!([{"name": "SIM_VERSION", "value": "blue"}, {"name": "SIM_HANG", "value": "100%"}]);
    create(
        &pods,
        &pod("silent", "shop:v2", |pod| {
            pod["spec"]["containers"][0]["env"] = env
        }),
    )
    .await;
    let env = json!([{"name": "SIM_ERORS", "value": "5%"}]);
    create(
        &pods,
        &pod("mistaken", "shop:v2", |pod| {
            pod["spec"]["containers"][0]["env"] = env
        }),
    )
    .await;

    let bad = address(&ready(&client, "bad", 1).await[0]);
    let start = Instant::now();
    let reply = plane.get(bad, "/").await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.version.as_str()), (500, "v2"));
    assert!(start.elapsed().as_millis() >= 300);
    let metrics = plane.get(bad, "/metrics").await.unwrap();
    assert!(
        metrics
            .body
            .contains("http_requests_total{version=\"v2\",code=\"500\"} 1"),
        "{}",
        metrics.body
    );

    let mistaken = address(&ready(&client, "mistaken", 1).await[0]);
    let reply = plane.get(mistaken, "/").await.unwrap();
    assert_eq!(reply.body, "erors is \"5%\", expected a known setting\n");

    // It never answers; when it is killed, the connection breaks.
    let silent = address(&ready(&client, "silent", 1).await[0]);
    let (reply, ()) = tokio::join!(plane.get(silent, "/"), async {
        eventually("a request that hangs", async || {
            let counted = plane.get(silent, "/metrics").await.unwrap();
            (counted.version == "blue").then_some(())
        })
        .await;
        let at_once = DeleteParams::default().grace_period(0);
        pods.delete("silent", &at_once).await.unwrap();
    });
    assert!(reply.is_err(), "{reply:?}");
    refuses(&plane, silent).await;
    plane.stop().await.unwrap();
}

#[tokio::test]
async fn a_program_inside_reaches_pods_and_the_api() {
    let plane = Plane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let pods = Api::<Pod>::default_namespaced(client.clone());
    create(&pods, &pod("shop", "shop:v1", |_| ())).await;
    let address = address(&ready(&client, "shop", 1).await[0]);
    let (host, port) = (address.ip(), address.port());
    let script =
        format!("exec 3<>/dev/tcp/{host}/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    let output = plane
        .command("bash")
        .await
        .unwrap()
        .args(["-c", &script])
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("HTTP/1.0 200") && text.contains("\"version\":\"v1\""),
        "{text}, {output:?}"
    );
    plane.stop().await.unwrap();
}
