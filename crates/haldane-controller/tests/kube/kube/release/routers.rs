//! Rollouts behind other routers, with requests through them: what each keeps of its promises, and where users with a cookie are.

use std::time::Duration;

use haldane_controller::kinds::{RELEASE, SERVICE};
use serde_json::json;
use tokio::time;

use crate::kube::{
    release::{
        plain::{aborts, promotes_and_undoes},
        road::Road,
        shop::{Plan, Shop},
    },
    rig::eventually,
};

/// Enough requests that both versions of an even split answer some, but for once in a billion.
const MANY: usize = 30;

/// How long a router may take to do what it was told; those here need some milliseconds.
const SETTLED: Duration = Duration::from_secs(1);

/// Returns a cookie whose user is on this version.
async fn cookie_of(shop: &Shop, version: &str) -> String {
    eventually(&format!("a cookie of {version}"), async || {
        let visit = shop.visit(None).await;
        visit
            .cookie
            .filter(|_| visit.outcome.as_deref() == Ok(version))
    })
    .await
}

/// Returns how many of many requests with this cookie `version` answers; fails if one is not answered.
async fn answered(shop: &Shop, cookie: &str, version: &str) -> usize {
    let mut count = 0;
    for _ in 0..MANY {
        let visit = shop.visit(Some(cookie)).await;
        count += usize::from(visit.outcome.unwrap() == version);
    }
    count
}

/// Plays an abort while somebody has a cookie of the canary, and fails if he gets to it or to nobody after that.
async fn frees_users(shop: &Shop, is_kept_before: bool) {
    let running = shop.taken_over().await;
    let load = shop.load(100);
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    shop.command("1", "promote").await;
    shop.weighs("50%").await;
    let cookie = cookie_of(shop, "v2").await;
    let kept = answered(shop, &cookie, "v2").await;
    if is_kept_before {
        assert_eq!(kept, MANY);
    } else {
        assert!((1..MANY).contains(&kept), "{kept}");
    }
    shop.command("2", "abort").await;
    eventually("weight zero", async || {
        (shop.share().await == 0).then_some(())
    })
    .await;
    eventually("a router that follows", async || {
        (answered(shop, &cookie, "v1").await == MANY).then_some(())
    })
    .await;
    for _ in 0..3 {
        assert_eq!(answered(shop, &cookie, "v1").await, MANY);
    }
    shop.ends("RolledBack", "v1").await;
    assert_eq!(answered(shop, &cookie, "v1").await, MANY);
    load.end().none_dropped();
    running.end();
}

#[tokio::test]
async fn contour_proxies_are_promoted_and_undone_without_a_lost_request() {
    let shop = Shop::by("proxy-promoted", &Plan::long(), Road::proxy).await;
    promotes_and_undoes(&shop).await;
}

#[tokio::test]
async fn contours_cookie_keeps_a_pod_of_the_version_that_the_weight_gives_and_nobody_after_an_abort()
 {
    let sticky = |host: &str| {
        let mut road = Road::proxy(host);
        road.objects[0].1["spec"]["routes"][0]["loadBalancerPolicy"] =
            json!({"strategy": "Cookie"});
        road
    };
    let shop = Shop::by("proxy-cookie", &Plan::held(), sticky).await;
    frees_users(&shop, false).await;
}

/// Takes the canary's Service away while nobody looks, and returns how many of 200 requests nobody answers then. The next controller
/// puts it right; with the Release everything goes, in an order in which no request gets lost.
async fn lost_without_service(shop: &Shop) -> usize {
    let running = shop.taken_over().await;
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    running.end();
    shop.delete(&SERVICE, "shop-canary").await;
    eventually("a router that has seen it", async || {
        let road = shop.road_status().await.to_string();
        let is_told = ["BackendNotFound", "not found"]
            .iter()
            .any(|reason| road.contains(reason));
        is_told.then_some(())
    })
    .await;
    time::sleep(SETTLED).await;
    let mut lost = 0;
    for _ in 0..200 {
        lost += usize::from(shop.visit(None).await.outcome.is_err());
    }
    let running = shop.start();
    // Contour gives its pods nothing before it has heard of the new Service.
    eventually("an answer of the canary", async || {
        let visit = shop.visit(None).await;
        (visit.outcome.as_deref() == Ok("v2")).then_some(())
    })
    .await;
    eventually("requests answered again", async || {
        for _ in 0..MANY {
            shop.visit(None).await.outcome.ok()?;
        }
        Some(())
    })
    .await;
    let load = shop.load(150);
    time::sleep(SETTLED).await;
    shop.delete(&RELEASE, "shop").await;
    eventually("the Release gone", async || {
        shop.get(&RELEASE, "shop").await.is_none().then_some(())
    })
    .await;
    shop.is_whole("v1").await;
    eventually("the canary's Service gone", async || {
        let service = shop.get(&SERVICE, "shop-canary").await;
        service.is_none().then_some(())
    })
    .await;
    time::sleep(SETTLED).await;
    load.end().none_dropped();
    running.end();
    lost
}

#[tokio::test]
async fn contours_proxies_give_a_missing_service_nothing() {
    let shop = Shop::by("proxy-invalid", &Plan::held(), Road::proxy).await;
    assert_eq!(lost_without_service(&shop).await, 0);
}

#[tokio::test]
async fn contours_gateway_gives_a_missing_service_nothing() {
    let shop = Shop::new("invalid", &Plan::held()).await;
    assert_eq!(lost_without_service(&shop).await, 0);
}

/// What has to be built for these takes minutes: `cargo xtask plane setup --with traefik,envoy-gateway`.
mod on_request {
    use super::*;

    #[tokio::test]
    async fn traefiks_services_are_promoted_and_undone_without_a_lost_request() {
        let shop = Shop::by("traefik-promoted", &Plan::long(), Road::traefik_service).await;
        promotes_and_undoes(&shop).await;
    }

    #[tokio::test]
    async fn traefiks_services_are_aborted_without_a_lost_request() {
        let shop = Shop::by("traefik-aborted", &Plan::held(), Road::traefik_service).await;
        aborts(&shop).await;
    }

    #[tokio::test]
    async fn traefiks_cookie_keeps_a_version_until_an_abort() {
        let sticky = |host: &str| {
            let mut road = Road::traefik_service(host);
            road.routers[0]["traefik"]["stickyCookie"] = json!("side");
            road
        };
        let shop = Shop::by("traefik-cookie", &Plan::held(), sticky).await;
        frees_users(&shop, true).await;
    }

    #[tokio::test]
    async fn routes_of_traefiks_gateway_are_promoted_and_undone_without_a_lost_request() {
        let shop = Shop::by("traefik-route", &Plan::long(), Road::traefik).await;
        promotes_and_undoes(&shop).await;
    }

    #[tokio::test]
    async fn routes_of_traefiks_gateway_are_aborted_without_a_lost_request() {
        let shop = Shop::by("traefik-route-aborted", &Plan::held(), Road::traefik).await;
        aborts(&shop).await;
    }

    #[tokio::test]
    async fn routes_of_envoy_gateway_are_promoted_and_undone_without_a_lost_request() {
        let shop = Shop::by("envoy-promoted", &Plan::long(), Road::envoy_gateway).await;
        promotes_and_undoes(&shop).await;
    }

    #[tokio::test]
    async fn routes_of_envoy_gateway_are_aborted_without_a_lost_request() {
        let shop = Shop::by("envoy-aborted", &Plan::held(), Road::envoy_gateway).await;
        aborts(&shop).await;
    }

    #[tokio::test]
    async fn sessions_of_envoy_gateway_keep_a_version_until_an_abort() {
        let sticky = |host: &str| {
            let mut road = Road::envoy_gateway(host);
            road.objects[0].1["spec"]["rules"][0]["sessionPersistence"] =
                json!({"type": "Cookie", "sessionName": "shop"});
            road
        };
        let shop = Shop::by("envoy-session", &Plan::held(), sticky).await;
        frees_users(&shop, true).await;
    }

    #[tokio::test]
    async fn envoy_gateway_loses_the_share_of_a_missing_service() {
        let shop = Shop::by("envoy-invalid", &Plan::held(), Road::envoy_gateway).await;
        let lost = lost_without_service(&shop).await;
        // Five standard deviations of 200 at 20 %.
        assert!(lost.abs_diff(40) < 29, "{lost}");
    }
}
