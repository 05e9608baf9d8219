//! Rollouts of one Deployment.

use haldane_router::Kind;
use serde_json::{Value, json};

use super::world::World;
use crate::kinds::{DEPLOYMENT, RELEASE, SERVICE};

fn deployment(image: &str) -> Value {
    json!({"spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {"containers": [{"name": "shop", "image": image}]},
        },
    }})
}

fn begun() -> World {
    let mut world = World::new();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v1"));
    world.apply(
        &SERVICE,
        "shop",
        json!({"spec": {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
    );
    world.apply(&RELEASE, "shop", json!({"spec": {
        "workload": {"deployment": {"name": "shop"}},
        "rollout": {"steps": ["10%", "50%"], "hold": "10s", "guards": "none", "bake": "0s"},
    }}));
    world
}

#[test]
fn a_deployment_is_taken_over_and_left_as_it_is() {
    let mut world = begun();
    world.pass(60);
    eprintln!("{:#?}", world.log);
    assert_eq!(world.status()["phase"], "Idle");
    assert_eq!(world.get(&DEPLOYMENT, "shop")["spec"]["paused"], true);
    let writes = world.log.len();
    world.pass(3_600);
    assert_eq!(world.log.len(), writes);
}

#[test]
fn a_good_version_is_promoted_and_taken_in() {
    let mut world = begun();
    world.pass(60);
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(120);
    eprintln!("{:#?}\n{:#}", world.log, world.status());
    assert_eq!(world.status()["phase"], "Completed");
    assert_eq!(world.status()["stable"], "v2");
}
