//! Routers carry real traffic by the weights of their routes, and Prometheus sees it.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;
use haldane_plane::{Addon, Plane, Reply, Scrape};
use http::{Method, Request};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::smoke::rig::{create, deployment, eventually, ready, service};

/// Where routes of the Gateway API are.
const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes";

/// Four standard deviations of 400 requests at 75 % are 8.7 points.
const REQUESTS: usize = 400;
const NOISE: usize = 35;

#[tokio::test]
async fn contour_sends_requests_by_weight() {
    let plane = Plane::start().await.unwrap();
    plane.install(Addon::Contour).await.unwrap();
    let client = plane.client().await.unwrap();
    shop(&client).await;
    let gateway = plane.gateway().await.unwrap();
    send(
        &client,
        Method::POST,
        ROUTES,
        route("contour", "projectcontour"),
    )
    .await;
    follows_weights(&plane, &client, gateway).await;

    // Contour's own kind, through the same door.
    let services = json!([{"name": "stable", "port": 80, "weight": 50}, {"name": "canary", "port": 80, "weight": 50}]);
    let proxy = json!({
        "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": {"name": "shop"},
        "spec": {"virtualhost": {"fqdn": "proxy.example"}, "routes": [{"services": services}]},
    });
    let proxies = "/apis/projectcontour.io/v1/namespaces/default/httpproxies";
    send(&client, Method::POST, proxies, proxy).await;
    eventually("an answer of the HTTPProxy", async || {
        let reply = ask(&plane, gateway, "proxy.example").await?;
        (!reply.is_empty()).then_some(())
    })
    .await;
    let seen = count(&plane, gateway, "proxy.example").await;
    assert!(seen["canary"].abs_diff(REQUESTS / 2) < NOISE, "{seen:?}");

    // The same address is good from inside.
    let mut curl = plane.command("curl").await.unwrap();
    let url = format!("http://{gateway}/inside");
    let output = curl.args(["--silent", "--header", "Host: shop.example", &url]);
    let output = output.output().await.unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("\"version\":\"stable\""),
        "{output:?}"
    );
    plane.stop().await.unwrap();
}

#[tokio::test]
async fn prometheus_sees_pods_and_routers() {
    let plane = Plane::start().await.unwrap();
    let addon = Addon::Prometheus(Scrape::EachSecond);
    plane.install(addon).await.unwrap();
    let client = plane.client().await.unwrap();
    shop(&client).await;
    // Whichever comes first.
    plane.install(Addon::Contour).await.unwrap();
    send(
        &client,
        Method::POST,
        ROUTES,
        route("contour", "projectcontour"),
    )
    .await;
    let gateway = plane.gateway().await.unwrap();
    answers(&plane, gateway).await;
    count(&plane, gateway, "shop.example").await;

    let prometheus = plane.address(addon).await.unwrap();
    let sees = async |query: &str| {
        eventually(query, async || {
            let path = format!("/api/v1/query?query={}", encode(query));
            let reply = plane.get(prometheus, &path).await.unwrap();
            let answer: Value = serde_json::from_str(&reply.body).unwrap();
            let series = answer["data"]["result"].as_array().cloned()?;
            (!series.is_empty()).then_some(series)
        })
        .await
    };
    let pods =
        sees(r#"sum(http_requests_total{version="stable"})by(version,namespace,app)>50"#).await;
    let labels = json!({"version": "stable", "namespace": "default", "app": "stable"});
    assert_eq!(pods[0]["metric"], labels);
    sees(r#"envoy_cluster_upstream_rq{envoy_cluster_name="default_stable_80",envoy_response_code="200"}>50"#).await;
    plane.stop().await.unwrap();
}

/// What has to be built for these takes minutes: `cargo xtask plane setup --with traefik,envoy-gateway`.
mod on_request {
    use super::*;

    #[tokio::test]
    async fn traefik_sends_requests_by_weight() {
        let plane = Plane::start().await.unwrap();
        plane.install(Addon::Traefik).await.unwrap();
        let client = plane.client().await.unwrap();
        shop(&client).await;
        let traefik = plane.address(Addon::Traefik).await.unwrap();
        send(&client, Method::POST, ROUTES, route("traefik", "traefik")).await;
        follows_weights(&plane, &client, traefik).await;

        // Its own kinds, through the same door.
        let group = "/apis/traefik.io/v1alpha1/namespaces/default";
        let services = json!([{"name": "stable", "port": 80, "weight": 50}, {"name": "canary", "port": 80, "weight": 50}]);
        let split = json!({
            "apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService", "metadata": {"name": "shop"},
            "spec": {"weighted": {"services": services}},
        });
        send(
            &client,
            Method::POST,
            &format!("{group}/traefikservices"),
            split,
        )
        .await;
        let rule = json!({"kind": "Rule", "match": "Host(`own.example`)", "services": [{"kind": "TraefikService", "name": "shop"}]});
        let route = json!({
            "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "metadata": {"name": "shop"},
            "spec": {"entryPoints": ["web"], "routes": [rule]},
        });
        send(
            &client,
            Method::POST,
            &format!("{group}/ingressroutes"),
            route,
        )
        .await;
        eventually("an answer of the IngressRoute", async || {
            let version = ask(&plane, traefik, "own.example").await?;
            (!version.is_empty()).then_some(())
        })
        .await;
        let seen = count(&plane, traefik, "own.example").await;
        assert!(seen["canary"].abs_diff(REQUESTS / 2) < NOISE, "{seen:?}");
        plane.stop().await.unwrap();
    }

    #[tokio::test]
    async fn envoy_gateway_keeps_sessions_where_they_began() {
        let plane = Plane::start().await.unwrap();
        plane.install(Addon::EnvoyGateway).await.unwrap();
        let client = plane.client().await.unwrap();
        shop(&client).await;
        let router = plane.address(Addon::EnvoyGateway).await.unwrap();
        let mut route = route("envoy", "envoy-gateway-system");
        route["spec"]["rules"][0]["sessionPersistence"] =
            json!({"type": "Cookie", "sessionName": "shop"});
        send(&client, Method::POST, ROUTES, route).await;
        follows_weights(&plane, &client, router).await;

        let first = visit(&plane, router, None).await.unwrap();
        let cookie = first.headers["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap();
        let pod =
            |reply: &Reply| serde_json::from_str::<Value>(&reply.body).unwrap()["pod"].clone();
        for _ in 0..50 {
            let again = visit(&plane, router, Some(cookie)).await.unwrap();
            assert_eq!(pod(&again), pod(&first));
        }
        plane.stop().await.unwrap();
    }

    async fn visit(plane: &Plane, router: SocketAddr, cookie: Option<&str>) -> Option<Reply> {
        let mut request = Request::get("/cart").header("host", "shop.example");
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        let request = request.body(Bytes::new()).unwrap();
        plane.request(router, request).await.ok()
    }
}

/// Two versions of a shop, each with a Service.
async fn shop(client: &Client) {
    for version in ["stable", "canary"] {
        let deployments = Api::<Deployment>::default_namespaced(client.clone());
        let image = format!("shop:{version}");
        create(&deployments, &deployment(version, &image, 2)).await;
        let services = Api::<Service>::default_namespaced(client.clone());
        create(&services, &service(version)).await;
        ready(client, version, 2).await;
    }
}

fn route(gateway: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"},
        "spec": {
            "parentRefs": [{"name": gateway, "namespace": namespace}],
            "hostnames": ["shop.example"],
            "rules": [{"backendRefs": [
                {"name": "stable", "port": 80, "weight": 75}, {"name": "canary", "port": 80, "weight": 25},
            ]}],
        },
    })
}

/// Three of four requests go to stable, and after the canary's weight is zero, all of them.
async fn follows_weights(plane: &Plane, client: &Client, router: SocketAddr) {
    answers(plane, router).await;
    let seen = count(plane, router, "shop.example").await;
    assert!(seen["canary"].abs_diff(REQUESTS / 4) < NOISE, "{seen:?}");
    assert_eq!(seen.values().sum::<usize>(), REQUESTS, "{seen:?}");

    let zero = json!([{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 0}]);
    let changed = send(client, Method::PATCH, &format!("{ROUTES}/shop"), zero).await;
    let generation = &changed["metadata"]["generation"];
    eventually("a router that has seen the weight", async || {
        let request = Request::get(format!("{ROUTES}/shop")).body(Vec::new());
        let route: Value = client.request(request.unwrap()).await.unwrap();
        let observed = &route["status"]["parents"][0]["conditions"][0]["observedGeneration"];
        (observed == generation).then_some(())
    })
    .await;
    eventually("fifty answers of stable, one after the other", async || {
        for _ in 0..50 {
            if ask(plane, router, "shop.example").await? != "stable" {
                return None;
            }
        }
        Some(())
    })
    .await;
    let seen = count(plane, router, "shop.example").await;
    assert_eq!(seen, BTreeMap::from([("stable".to_owned(), REQUESTS)]));
}

/// Waits for the first answer: a router has no listener before it has a route.
async fn answers(plane: &Plane, router: SocketAddr) {
    eventually("an answer through the router", async || {
        let version = ask(plane, router, "shop.example").await?;
        (!version.is_empty()).then_some(())
    })
    .await;
}

/// Asks many times, and counts the answers by version.
async fn count(plane: &Plane, router: SocketAddr, host: &str) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..REQUESTS {
        let version = ask(plane, router, host).await.unwrap();
        *seen.entry(version).or_default() += 1;
    }
    seen
}

/// Returns the version that answered; it is empty if the router itself did.
async fn ask(plane: &Plane, router: SocketAddr, host: &str) -> Option<String> {
    let request = Request::get("/cart").header("host", host);
    let request = request.body(Bytes::new()).unwrap();
    Some(plane.request(router, request).await.ok()?.version)
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

async fn send(client: &Client, method: Method, path: &str, body: Value) -> Value {
    let kind = if method == Method::PATCH {
        "application/json-patch+json"
    } else {
        "application/json"
    };
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", kind);
    let body = serde_json::to_vec(&body).unwrap();
    client.request(request.body(body).unwrap()).await.unwrap()
}
