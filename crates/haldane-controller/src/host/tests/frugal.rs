//! How many writes a rollout takes: each costs the API server, and every object of a cluster shares it.

use haldane_router::kinds::HTTP_ROUTE;
use jiff::SignedDuration;
use serde_json::json;

use super::world::World;
use crate::kinds::{DEPLOYMENT, RELEASE, SERVICE};

fn shop(backends: &[(&str, u64)]) -> World {
    let mut world = World::new();
    let labels = json!({"app": "shop"});
    let backend =
        |(name, weight): &(&str, u64)| json!({"name": name, "port": 80, "weight": weight});
    let backends: Vec<_> = backends.iter().map(backend).collect();
    world.apply(&DEPLOYMENT, "shop", json!({"spec": {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "shop", "image": "shop:v1"}]}},
    }}));
    world.apply(
        &SERVICE,
        "shop",
        json!({"spec": {"selector": labels, "ports": [{"port": 80}]}}),
    );
    world.apply(
        &HTTP_ROUTE,
        "shop",
        json!({"spec": {
            "parentRefs": [{"name": "public"}],
            "rules": [{"backendRefs": backends}],
        }}),
    );
    world.apply(&RELEASE, "shop", json!({"spec": {
        "workload": {"deployment": {"name": "shop"}},
        "routers": [{"gateway": {"httpRoute": "shop"}}],
        "rollout": {"steps": ["5%", "25%", "50%", "75%"], "hold": "10s", "guards": "none", "bake": "0s"},
    }}));
    run(&mut world, 30);
    world
}

/// Lets time pass; the Gateway takes a while until it reports on what was written.
fn run(world: &mut World, seconds: i64) {
    for _ in 0..seconds * 5 {
        world.settle();
        world.now += SignedDuration::from_millis(200);
        report(world);
    }
}

/// Reports as a Gateway does.
fn report(world: &mut World) {
    let generation = world.get(&HTTP_ROUTE, "shop")["metadata"]["generation"].clone();
    let holds =
        |name: &str| json!({"type": name, "status": "True", "observedGeneration": generation});
    let status = json!({"status": {"parents": [{
        "parentRef": {"name": "public"},
        "conditions": [holds("Accepted"), holds("ResolvedRefs")],
    }]}});
    world.report("contour", &HTTP_ROUTE, "shop", &status);
}

/// Rolls a version out and returns what was written, events included.
fn promoted(world: &mut World) -> Vec<String> {
    let before = world.log.len();
    world.events.clear();
    let containers = json!([{"name": "shop", "image": "shop:v2"}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    world.patch("kubectl", &DEPLOYMENT, "shop", &patch);
    run(world, 200);
    assert_eq!(world.status()["phase"], "Completed");
    let mut all = world.log[before..].to_vec();
    all.extend(
        world
            .events
            .iter()
            .map(|event| format!("event {}", event.reason)),
    );
    all
}

#[test]
fn a_promotion_of_four_steps_takes_few_writes() {
    let mut world = shop(&[("shop", 100)]);
    let all = promoted(&mut world);
    assert!(all.len() <= 24, "{}: {all:#?}", all.len());
}

#[test]
fn a_route_that_names_the_canary_already_saves_writes() {
    let mut world = shop(&[("shop", 100), ("shop-canary", 0)]);
    let route = world.get(&HTTP_ROUTE, "shop")["spec"].clone();
    let all = promoted(&mut world);
    assert!(all.len() <= 22, "{}: {all:#?}", all.len());
    assert_eq!(world.get(&HTTP_ROUTE, "shop")["spec"], route);
}

#[test]
fn what_is_in_force_is_told_though_no_decision_follows() {
    let mut world = shop(&[("shop", 100)]);
    let applied = |world: &World| {
        let conditions = world.status()["conditions"].as_array().unwrap();
        let applied = conditions.iter().find(|one| one["type"] == "Applied");
        applied.unwrap().clone()
    };
    let patch = json!({"spec": {"rollout": {"hold": "10m"}}});
    world.patch("kubectl", &RELEASE, "shop", &patch);
    let containers = json!([{"name": "shop", "image": "shop:v2"}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    world.patch("kubectl", &DEPLOYMENT, "shop", &patch);
    run(&mut world, 4);
    assert_eq!(world.status()["weight"], "5%");
    assert_eq!(applied(&world)["status"], "False");
    run(&mut world, 20);
    assert_eq!(applied(&world)["status"], "True");
    // Somebody breaks the route: the Gateway does not take what stands there any more.
    let refused = json!({"status": {"parents": [{
        "parentRef": {"name": "public"},
        "conditions": [{"type": "Accepted", "status": "False", "message": "no such listener", "observedGeneration": 99}],
    }]}});
    world.report("contour", &HTTP_ROUTE, "shop", &refused);
    world.settle();
    assert_eq!(applied(&world)["status"], "False");
    assert!(
        !world.status()["message"]
            .to_string()
            .contains("not in force")
    );
    for _ in 0..6 {
        world.now += SignedDuration::from_secs(1);
        world.settle();
    }
    assert_eq!(applied(&world)["reason"], "Late");
    let message = world.status()["message"].to_string();
    assert!(message.contains("not in force yet: "), "{message}");
}
