//! Rollouts of pairs of Deployments that people made, as the usual manifests have them.

use serde_json::{Value, json};

use super::{alone::command, world::World};
use crate::kinds::{DEPLOYMENT, RELEASE, SERVICE};

pub(super) fn deployment(track: &str, image: &str, replicas: u32) -> Value {
    json!({"spec": {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "auth", "version": track}},
        "template": {
            "metadata": {"labels": {"app": "auth", "version": track}},
            "spec": {"containers": [{"name": "auth", "image": image}]},
        },
    }})
}

pub(super) fn service(selector: &Value) -> Value {
    json!({"spec": {"selector": selector, "ports": [{"port": 80}]}})
}

/// Stable with three replicas, a canary of the same version with none.
pub(super) fn begun() -> World {
    let mut world = World::new();
    world.apply(
        &DEPLOYMENT,
        "auth-stable",
        deployment("stable", "auth:v1", 3),
    );
    world.apply(
        &DEPLOYMENT,
        "auth-canary",
        deployment("canary", "auth:v1", 0),
    );
    world.apply(&SERVICE, "auth", service(&json!({"app": "auth"})));
    for track in ["stable", "canary"] {
        let selector = json!({"app": "auth", "version": track});
        world.apply(&SERVICE, &format!("auth-{track}"), service(&selector));
    }
    world.apply(
        &RELEASE,
        "shop",
        json!({"spec": {
            "workload": {"pairs": [{"stable": "auth-stable", "canary": "auth-canary"}]},
            "rollout": {
                "steps": ["25%", "50%"], "hold": "10s", "guards": "none", "bake": "0s",
                "deadlines": {"ready": "60s", "drain": "5s"},
            },
        }}),
    );
    world.pass(30);
    world
}

pub(super) fn image(world: &World, name: &str) -> Value {
    let template = &world.get(&DEPLOYMENT, name)["spec"]["template"];
    template["spec"]["containers"][0]["image"].clone()
}

pub(super) fn replicas(world: &World, name: &str) -> Value {
    world.get(&DEPLOYMENT, name)["spec"]["replicas"].clone()
}

pub(super) fn set_image(world: &mut World, image: &str) {
    world.patch(
        "kubectl-set",
        &DEPLOYMENT,
        "auth-canary",
        &json!({
            "spec": {"template": {"spec": {"containers": [{"name": "auth", "image": image}]}}},
        }),
    );
}

#[test]
fn a_new_image_of_the_canary_is_tried_and_copied_to_stable() {
    let mut world = begun();
    assert_eq!(world.status()["phase"], "Idle");
    set_image(&mut world, "auth:v2");
    world.pass(5);
    assert_eq!(world.status()["phase"], "Progressing");
    assert_eq!(replicas(&world, "auth-canary"), 1);
    assert_eq!(image(&world, "auth-stable"), "auth:v1");
    world.pass(120);
    assert_eq!(world.status()["phase"], "Completed");
    assert_eq!(image(&world, "auth-stable"), "auth:v2");
    let labels = &world.get(&DEPLOYMENT, "auth-stable")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels, &json!({"app": "auth", "version": "stable"}));
    assert_eq!(replicas(&world, "auth-canary"), 0);
    assert_eq!(replicas(&world, "auth-stable"), 3);
    // Who scales it up again without a new image is left alone.
    world.patch(
        "kubectl-scale",
        &DEPLOYMENT,
        "auth-canary",
        &json!({"spec": {"replicas": 1}}),
    );
    let writes = world.log.len();
    world.pass(600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
}

#[test]
fn a_bad_image_is_rolled_back_and_the_canary_stopped() {
    let mut world = begun();
    set_image(&mut world, "auth:broken");
    world.pass(200);
    assert_eq!(world.status()["phase"], "RolledBack");
    assert_eq!(image(&world, "auth-stable"), "auth:v1");
    assert_eq!(replicas(&world, "auth-canary"), 0);
    let stalled = world.status()["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["type"] == "Stalled")
        .unwrap();
    assert_eq!(stalled["status"], "True");
    command(&mut world, "1", &json!({"name": "retry"}));
    world.pass(5);
    assert_eq!(world.status()["phase"], "Preparing");
}

#[test]
fn the_usual_commands_end_a_rollout() {
    for (is_deleted, is_up) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut world = begun();
        set_image(&mut world, "auth:v2");
        world.pass(5);
        if is_deleted {
            world.delete(&DEPLOYMENT, "auth-canary");
        } else {
            let none = json!({"spec": {"replicas": 0}});
            world.patch("kubectl-scale", &DEPLOYMENT, "auth-canary", &none);
        }
        if !is_up {
            world.host = super::world::silent();
        }
        world.pass(60);
        assert_eq!(world.status()["phase"], "RolledBack", "{:#?}", world.log);
        assert_eq!(image(&world, "auth-stable"), "auth:v1");
        let message = world.status()["message"].as_str().unwrap();
        let how = if is_deleted {
            "was deleted"
        } else {
            "scaled to 0 by kubectl-scale"
        };
        assert!(message.contains(how), "{message}");
    }
}

#[test]
fn an_image_that_changes_while_it_is_copied_is_not_copied() {
    let mut world = begun();
    set_image(&mut world, "auth:v2");
    while world.status()["phase"] != "Completed" {
        let next = world.now + jiff::SignedDuration::from_millis(100);
        // One turn at a time, so that the copy is still to come.
        world.turn();
        world.now = next;
    }
    assert_eq!(image(&world, "auth-stable"), "auth:v1");
    set_image(&mut world, "auth:v3");
    world.settle();
    assert_ne!(image(&world, "auth-stable"), "auth:v3");
    world.pass(120);
    assert_eq!(image(&world, "auth-stable"), "auth:v3");
    let tried: Vec<&str> = world.status()["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|past| past["canary"].as_str().unwrap())
        .collect();
    assert_eq!(tried, ["v3", "v2"]);
}
