//! Rollouts of one Deployment whose requests an HTTPRoute splits.

use haldane_router::{Kind, kinds::TRAEFIK_SERVICE};
use serde_json::{Value, json};

use super::{
    alone::{command, deployment, end},
    world::World,
};
use crate::kinds::{DEPLOYMENT, RELEASE, SERVICE};

pub(super) static ROUTE: Kind = Kind {
    group: "gateway.networking.k8s.io",
    kind: "HTTPRoute",
    plural: "httproutes",
    versions: &["v1", "v1beta1"],
};

/// A shop with a route, and a release that nobody has looked at.
fn offered() -> World {
    let mut world = World::new();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v1"));
    world.apply(
        &SERVICE,
        "shop",
        json!({"spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]}}),
    );
    let said = |kind: &str| json!({"type": kind, "status": "True"});
    world.apply(
        &ROUTE,
        "shop",
        json!({
            "spec": {
                "parentRefs": [{"name": "edge"}],
                "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}],
            },
            "status": {"parents": [{
                "parentRef": {"name": "edge"},
                "conditions": [said("Accepted"), said("ResolvedRefs")],
            }]},
        }),
    );
    world.apply(
        &RELEASE,
        "shop",
        json!({"spec": {
            "workload": {"deployment": {"name": "shop"}},
            "routers": [{"gateway": {"httpRoute": "shop"}}],
            "rollout": {
                "steps": ["10%", "50%"], "hold": "10s", "guards": "none", "bake": "0s",
                "deadlines": {"ready": "60s", "drain": "5s"},
            },
        }}),
    );
    world
}

pub(super) fn begun() -> World {
    let mut world = offered();
    world.pass(60);
    assert_eq!(world.status()["phase"], "Idle");
    world
}

/// Lets the host write so often and die.
fn die_after(world: &mut World, writes: u32) {
    world.writes_left = Some(writes);
    while world.deaths == 0 {
        world.turn();
    }
}

/// Returns the canary's share in the route; `None` where the route does not name it.
pub(super) fn share(world: &World) -> Option<u64> {
    let backends = &world.get(&ROUTE, "shop")["spec"]["rules"][0]["backendRefs"];
    let mut backends = backends.as_array()?.iter();
    let canary = backends.find(|one| one["name"] == "shop-canary")?;
    canary["weight"].as_u64()
}

fn applied(world: &World) -> &Value {
    let conditions = world.status()["conditions"].as_array().unwrap();
    let mut conditions = conditions.iter();
    conditions.find(|it| it["type"] == "Applied").unwrap()
}

#[test]
fn the_canary_is_made_known_before_it_has_a_share_and_forgotten_after() {
    let mut world = begun();
    let before = world.get(&ROUTE, "shop")["spec"].clone();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.settle();
    let mut shares = vec![share(&world)];
    let mut since = world.now;
    for _ in 0..200 {
        world.pass(1);
        if shares.last() == Some(&share(&world)) {
            continue;
        }
        let lasted = world.now.duration_since(since).as_secs();
        // Each change has the time to reach every data plane before what builds on it.
        assert!(lasted >= 2, "{shares:?} after {lasted} s");
        shares.push(share(&world));
        since = world.now;
    }
    let expected = [
        Some(0),
        Some(1_000),
        Some(5_000),
        Some(10_000),
        Some(0),
        None,
    ];
    assert_eq!(shares, expected);
    assert_eq!(world.get(&ROUTE, "shop")["spec"], before);
    assert_eq!(world.status()["stable"], "v2");
}

#[test]
fn a_service_that_is_led_elsewhere_in_the_middle_is_led_back() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    assert_eq!(world.status()["phase"], "Progressing");
    let pinned = world.get(&SERVICE, "shop")["spec"]["selector"].clone();
    let loose = json!({"spec": {"selector": {"pod-template-hash": null}}});
    world.patch("kubectl-edit", &SERVICE, "shop", &loose);
    world.settle();
    assert_eq!(world.get(&SERVICE, "shop")["spec"]["selector"], pinned);
}

#[test]
fn a_canarys_service_that_is_deleted_or_led_elsewhere_in_the_middle_is_put_right() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    assert_eq!(world.status()["phase"], "Progressing");
    let spec = world.get(&SERVICE, "shop-canary")["spec"].clone();
    world.delete(&SERVICE, "shop-canary");
    world.settle();
    assert_eq!(world.get(&SERVICE, "shop-canary")["spec"], spec);
    let other = json!({"spec": {"selector": {"haldane.dev/role": "other"}}});
    world.patch("kubectl-edit", &SERVICE, "shop-canary", &other);
    world.settle();
    assert_eq!(world.get(&SERVICE, "shop-canary")["spec"], spec);
}

#[test]
fn a_canary_that_the_gateway_refuses_gets_no_share() {
    let mut world = begun();
    let said = |status: &str| {
        json!({"status": {"parents": [{
            "parentRef": {"name": "edge"},
            "conditions": [
                {"type": "Accepted", "status": "True"},
                {"type": "ResolvedRefs", "status": status, "reason": "RefNotPermitted", "message": "no ReferenceGrant"},
            ],
        }]}})
    };
    world.patch("gateway", &ROUTE, "shop", &said("False"));
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(20);
    assert_eq!(world.status()["phase"], "Preparing");
    assert_eq!(share(&world), Some(0));
    let applied = applied(&world);
    assert_eq!(applied["status"], "False");
    assert_eq!(
        applied["message"],
        "edge: ResolvedRefs is False: RefNotPermitted: no ReferenceGrant"
    );
    world.patch("gateway", &ROUTE, "shop", &said("True"));
    world.pass(4);
    assert_eq!(share(&world), Some(1_000));
}

#[test]
fn traefik_is_told_of_a_canary_only_while_it_has_endpoints() {
    let mut world = offered();
    world.apply(
        &TRAEFIK_SERVICE,
        "shop",
        json!({"spec": {"weighted": {"services": [{"name": "shop", "port": 80}]}}}),
    );
    let routers = json!([{"traefik": {"service": "shop"}}]);
    world.apply(&RELEASE, "shop", json!({"spec": {"routers": routers}}));
    world.pass(60);
    let weight = |world: &World| {
        let services = &world.get(&TRAEFIK_SERVICE, "shop")["spec"]["weighted"]["services"];
        let mut services = services.as_array()?.iter();
        let canary = services.find(|one| one["name"] == "shop-canary")?;
        canary["weight"].as_u64()
    };
    world.is_canary_deaf = true;
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(20);
    assert_eq!(world.status()["phase"], "Preparing");
    assert_eq!(weight(&world), None);
    world.is_canary_deaf = false;
    world.pass(1);
    assert_eq!(weight(&world), Some(0));
    world.pass(4);
    assert_eq!(weight(&world), Some(10));
    world.is_canary_deaf = true;
    world.settle();
    assert_eq!(weight(&world), None);
    assert_eq!(applied(&world)["status"], "False");
    world.is_canary_deaf = false;
    world.pass(1);
    assert_eq!(weight(&world), Some(0));
    world.pass(4);
    assert_eq!(weight(&world), Some(10));
}

#[test]
fn a_release_whose_deployment_is_gone_can_be_deleted_in_the_middle() {
    let mut world = begun();
    let before = world.get(&ROUTE, "shop")["spec"].clone();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    world.delete(&DEPLOYMENT, "shop");
    world.pass(8);
    assert_eq!(world.status()["conditions"][2]["reason"], "Missing");
    world.delete(&RELEASE, "shop");
    world.pass(8);
    assert!(world.find(&RELEASE, "shop").is_none());
    assert_eq!(world.get(&ROUTE, "shop")["spec"], before);
    let selector = &world.get(&SERVICE, "shop")["spec"]["selector"];
    assert_eq!(*selector, json!({"app": "shop"}));
}

#[test]
fn a_release_whose_routes_are_of_no_kind_any_more_can_be_deleted() {
    for is_begun in [false, true] {
        let mut world = begun();
        if is_begun {
            world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
            world.pass(8);
            assert_eq!(world.status()["phase"], "Progressing");
        }
        world.take_away(&ROUTE);
        world.pass(4);
        world.delete(&RELEASE, "shop");
        world.pass(120);
        assert!(world.find(&RELEASE, "shop").is_none(), "{:#?}", world.log);
        let selector = &world.get(&SERVICE, "shop")["spec"]["selector"];
        assert_eq!(*selector, json!({"app": "shop"}));
        let claims = &world.get(&DEPLOYMENT, "shop")["metadata"]["annotations"];
        assert_eq!(claims.get("haldane.dev/claimed-by"), None);
        assert!(world.find(&DEPLOYMENT, "shop-canary").is_none());
    }
}

#[test]
fn a_deployment_is_held_before_its_version_is_adopted() {
    // The host dies after so many writes, and the image changes while nobody looks.
    for writes in 0..4 {
        let mut world = offered();
        die_after(&mut world, writes);
        let is_adopted = world.status()["stable"] == "v1";
        let is_paused = world.get(&DEPLOYMENT, "shop")["spec"]["paused"] == json!(true);
        assert!(!is_adopted || is_paused, "after {writes} writes");
        world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
        world.pass(120);
        let (_, stable, paused, left) = end(&world);
        assert_eq!((stable.as_str(), paused, left), ("v2", json!(true), vec![]));
    }
}

#[test]
fn a_release_that_is_deleted_before_it_is_taken_over_holds_nothing() {
    for writes in 0..4 {
        let mut world = offered();
        die_after(&mut world, writes);
        world.delete(&RELEASE, "shop");
        world.pass(60);
        assert!(
            world.find(&RELEASE, "shop").is_none(),
            "after {writes} writes"
        );
        let left = world.get(&DEPLOYMENT, "shop");
        assert_eq!(left["spec"].get("paused"), None, "after {writes} writes");
        let selector = &world.get(&SERVICE, "shop")["spec"]["selector"];
        assert_eq!(*selector, json!({"app": "shop"}));
    }
}

#[test]
fn an_abort_keeps_the_canary_known_until_no_request_comes() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    assert_eq!(share(&world), Some(1_000));
    command(&mut world, "1", &json!({"name": "abort"}));
    world.settle();
    assert_eq!(share(&world), Some(0));
    world.pass(60);
    assert_eq!(share(&world), None);
    assert_eq!(end(&world).0, "RolledBack");
}

#[test]
fn a_release_that_others_still_keep_holds_nothing_any_more() {
    let mut world = begun();
    let other = json!(["haldane.dev/restore", "example.com/other"]);
    let found = world.get(&RELEASE, "shop")["metadata"]["finalizers"].clone();
    assert_eq!(found[0], other[0]);
    world.patch(
        "kubectl",
        &RELEASE,
        "shop",
        &json!({"metadata": {"finalizers": other}}),
    );
    world.delete(&RELEASE, "shop");
    world.pass(60);
    let left = world.get(&RELEASE, "shop")["metadata"]["finalizers"].clone();
    assert_eq!(left, json!(["example.com/other"]));
    let selector = &world.get(&SERVICE, "shop")["spec"]["selector"];
    assert_eq!(*selector, json!({"app": "shop"}));
    assert_eq!(world.get(&DEPLOYMENT, "shop")["spec"].get("paused"), None);
}

#[test]
fn a_route_that_is_written_again_without_the_canary_gets_it_back_in_two_writes() {
    let mut world = begun();
    let plain = world.get(&ROUTE, "shop")["spec"].clone();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    assert_eq!(share(&world), Some(1_000));
    world.apply_by("argocd-controller", &ROUTE, "shop", json!({"spec": plain}));
    world.settle();
    assert_eq!(share(&world), Some(0));
    world.pass(1);
    assert_eq!(share(&world), Some(0));
    world.pass(2);
    assert_eq!(share(&world), Some(1_000));
    // Whoever takes over goes on where the route stands.
    world.host = super::world::silent();
    world.settle();
    assert_eq!(share(&world), Some(1_000));
    world.pass(120);
    assert_eq!(end(&world).1, "v2");
}

#[test]
fn a_plan_that_cannot_be_followed_takes_nothing_over() {
    let mut world = offered();
    let steps = json!({"spec": {"rollout": {"steps": ["10%", "never"]}}});
    world.patch("kubectl", &RELEASE, "shop", &steps);
    world.pass(10);
    let status = world.status();
    assert_eq!(status["conditions"][3]["reason"], "Invalid", "{status:#}");
    let left = world.get(&DEPLOYMENT, "shop");
    assert_eq!(left["spec"].get("paused"), None);
}
