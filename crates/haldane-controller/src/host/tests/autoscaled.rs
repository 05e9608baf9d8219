//! Autoscalers on either version: their sizes are taken as they are, and none is left too small for the traffic that it gets.

use serde_json::json;

use super::{
    alone::command,
    pairs::{self, replicas, set_image},
    split::{self, share},
    world::World,
};
use crate::kinds::DEPLOYMENT;

/// Who scales for a HorizontalPodAutoscaler.
const AUTOSCALER: &str = "kube-controller-manager";

/// Lets time pass until a step is in force.
fn weighs(world: &mut World, weight: &str) {
    for _ in 0..100 {
        if world.status()["weight"] == weight && world.status()["phase"] == "Progressing" {
            return;
        }
        world.pass(1);
    }
    panic!("{weight} never comes: {:#}", world.status());
}

fn of_canary(world: &World) -> u64 {
    let mut all = world.objects.iter();
    let found = all.find(|(target, _)| target.name.starts_with("shop-canary-"));
    let (_, canary) = found.expect("a canary");
    canary["spec"]["replicas"].as_u64().unwrap()
}

#[test]
fn a_canary_grows_with_stable_and_does_not_shrink_with_it() {
    let mut world = split::begun();
    world.apply(&DEPLOYMENT, "shop", super::alone::deployment("shop:v2"));
    weighs(&mut world, "50%");
    assert_eq!(of_canary(&world), 3);
    world.scale(AUTOSCALER, &DEPLOYMENT, "shop", 10);
    world.pass(1);
    assert_eq!(of_canary(&world), 10);
    // Half of the requests go to the canary, so stable needs less.
    world.scale(AUTOSCALER, &DEPLOYMENT, "shop", 4);
    world.pass(1);
    assert_eq!(of_canary(&world), 10);
    assert_eq!(replicas(&world, "shop"), 4);
    // A controller that starts anew knows of it, once it was kept.
    world.pass(3);
    command(&mut world, "1", &json!({"name": "pause"}));
    world.settle();
    world.host = super::world::silent();
    world.pass(60);
    assert_eq!(of_canary(&world), 10);
    // Stable gets everything at once, and the size that this needs with it.
    command(&mut world, "2", &json!({"name": "abort"}));
    world.settle();
    assert_eq!(share(&world), Some(0));
    assert_eq!(replicas(&world, "shop"), 10);
    world.pass(120);
    assert_eq!(world.status()["history"][0]["phase"], "RolledBack");
    // From then on it is the autoscaler's again.
    world.scale(AUTOSCALER, &DEPLOYMENT, "shop", 2);
    world.pass(600);
    assert_eq!(replicas(&world, "shop"), 2);
}

#[test]
fn a_size_that_a_person_gave_stable_stays() {
    let mut world = split::begun();
    world.apply(&DEPLOYMENT, "shop", super::alone::deployment("shop:v2"));
    weighs(&mut world, "50%");
    world.scale("kubectl-scale", &DEPLOYMENT, "shop", 2);
    command(&mut world, "1", &json!({"name": "abort"}));
    world.pass(120);
    assert_eq!(replicas(&world, "shop"), 2);
}

#[test]
fn an_autoscaler_of_the_canary_has_its_size() {
    let mut world = pairs::begun();
    set_image(&mut world, "auth:v2");
    weighs(&mut world, "25%");
    assert_eq!(replicas(&world, "auth-canary"), 1);
    let writes = world.log.len();
    for size in [4, 2] {
        world.scale(AUTOSCALER, &DEPLOYMENT, "auth-canary", size);
        world.pass(1);
        assert_eq!(replicas(&world, "auth-canary"), size);
    }
    let fought = |line: &&String| line.contains("merge Deployment prod/auth-canary");
    let found: Vec<&String> = world.log.iter().skip(writes).filter(fought).collect();
    assert!(found.is_empty(), "{found:#?}");
    // It is enough for every step, since nobody else says how much that takes.
    weighs(&mut world, "50%");
    assert_eq!(replicas(&world, "auth-canary"), 2);
    world.pass(120);
    assert_eq!(world.status()["phase"], "Completed");
    assert_eq!(replicas(&world, "auth-canary"), 0);
}

#[test]
fn a_stable_that_an_autoscaler_shrank_is_grown_before_it_takes_over() {
    for is_good in [true, false] {
        let mut world = pairs::begun();
        set_image(&mut world, "auth:v2");
        weighs(&mut world, "50%");
        world.scale(AUTOSCALER, &DEPLOYMENT, "auth-canary", 6);
        world.scale(AUTOSCALER, &DEPLOYMENT, "auth-stable", 1);
        if is_good {
            world.pass(120);
            assert_eq!(world.status()["phase"], "Completed");
            assert_eq!(replicas(&world, "auth-stable"), 6);
            assert_eq!(pairs::image(&world, "auth-stable"), "auth:v2");
        } else {
            command(&mut world, "1", &json!({"name": "abort"}));
            world.settle();
            assert_eq!(replicas(&world, "auth-stable"), 3);
            world.pass(120);
            assert_eq!(world.status()["phase"], "RolledBack");
        }
    }
}
