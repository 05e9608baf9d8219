//! Of two releases that name the same object, one changes it.

use haldane_router::kinds::INGRESS;
use serde_json::{Value, json};

use super::{
    alone::{begun, deployment},
    pairs::service,
    routed::{self, ingress},
    split::{self, ROUTE},
    world::{World, silent},
};
use crate::kinds::{DEPLOYMENT, RELEASE, SERVICE};

fn status<'a>(world: &'a World, name: &str) -> &'a Value {
    &world.get(&RELEASE, name)["status"]
}

fn condition<'a>(world: &'a World, name: &str, kind: &str) -> &'a Value {
    let all = status(world, name)["conditions"].as_array().unwrap();
    all.iter().find(|one| one["type"] == kind).unwrap()
}

/// Adds a release with the spec of `shop`, changed like this.
fn second(world: &mut World, name: &str, change: impl FnOnce(&mut Value)) {
    let mut spec = world.get(&RELEASE, "shop")["spec"].clone();
    change(&mut spec);
    world.apply(&RELEASE, name, json!({"spec": spec}));
    world.releases.push(name.to_owned());
}

/// Fails unless a release is refused because of `shop`, and was not taken over.
fn is_refused(world: &World, name: &str, object: &str) {
    let told = format!("{object} belongs to Release shop");
    let valid = condition(world, name, "Valid");
    assert_eq!(
        (&valid["status"], &valid["reason"], &valid["message"]),
        (&json!("False"), &json!("Claimed"), &json!(told))
    );
    assert_eq!(condition(world, name, "Stalled")["status"], "True");
    assert_eq!(status(world, name).get("stable"), None);
    let finalizers = &world.get(&RELEASE, name)["metadata"]["finalizers"];
    assert_eq!(finalizers, &Value::Null);
}

#[test]
fn the_second_release_of_a_deployment_waits_until_the_first_is_gone() {
    let mut world = begun();
    // By its name it would be the first, and it has its turns first.
    second(&mut world, "a", |_| {});
    world.releases.rotate_left(1);
    world.pass(5);
    is_refused(&world, "a", "Deployment prod/shop");
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    assert_eq!(status(&world, "shop")["phase"], "Progressing");
    // A controller that starts anew reads the same.
    world.host = silent();
    world.pass(120);
    assert_eq!(status(&world, "shop")["phase"], "Completed");
    is_refused(&world, "a", "Deployment prod/shop");
    let writes = world.log.len();
    world.pass(3_600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);

    world.delete(&RELEASE, "shop");
    world.pass(60);
    assert!(world.find(&RELEASE, "shop").is_none());
    assert_eq!(status(&world, "a")["stable"], "v2");
    assert_eq!(condition(&world, "a", "Valid")["status"], "True");
    let claim = &world.get(&DEPLOYMENT, "shop")["metadata"]["annotations"];
    assert_eq!(claim["haldane.dev/claimed-by"], "a");
}

#[test]
fn of_releases_that_have_nothing_yet_the_older_one_is_first_and_then_the_name_decides() {
    for (seconds, expected) in [(0, "a"), (1, "shop")] {
        let mut world = begun();
        let spec = world.get(&RELEASE, "shop")["spec"].clone();
        world.delete(&RELEASE, "shop");
        world.pass(60);
        // Nobody looks after releases while these are made.
        world.apply(&RELEASE, "shop", json!({"spec": spec}));
        world.now += jiff::SignedDuration::from_secs(seconds);
        second(&mut world, "a", |_| {});
        for turns in [["a", "shop"], ["shop", "a"]] {
            world.releases = turns.map(str::to_owned).into();
            world.pass(30);
            let claim = &world.get(&DEPLOYMENT, "shop")["metadata"]["annotations"];
            assert_eq!(claim["haldane.dev/claimed-by"], expected);
        }
    }
}

#[test]
fn a_service_has_one_release_and_a_route_may_have_several() {
    let mut world = split::begun();
    world.apply(&DEPLOYMENT, "other", deployment("other:v1"));
    let ports = json!([{"port": 80}]);
    world.apply(
        &SERVICE,
        "other",
        json!({"spec": {"selector": {"app": "other"}, "ports": ports}}),
    );
    let of_service = |service: &'static str| {
        move |spec: &mut Value| {
            spec["workload"] = json!({"deployment": {"name": "other", "service": service}});
        }
    };
    second(&mut world, "other", of_service("shop"));
    world.pass(5);
    is_refused(&world, "other", "Service prod/shop");
    let writes = world.log.len();
    world.pass(600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
    let rules = json!([
        {"backendRefs": [{"name": "shop", "port": 80}]},
        {"backendRefs": [{"name": "other", "port": 80}]},
    ]);
    world.patch(
        "kubectl",
        &ROUTE,
        "shop",
        &json!({"spec": {"rules": rules}}),
    );
    let mut spec = world.get(&RELEASE, "other")["spec"].clone();
    of_service("other")(&mut spec);
    world.patch("kubectl", &RELEASE, "other", &json!({"spec": null}));
    world.patch("kubectl", &RELEASE, "other", &json!({"spec": spec}));
    world.pass(30);
    assert_eq!(status(&world, "other")["phase"], "Idle");
    assert_eq!(condition(&world, "other", "Ready")["status"], "True");
}

#[test]
fn a_release_that_asks_for_what_another_has_goes_on_with_what_it_has() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "other", deployment("other:v1"));
    second(&mut world, "a", |spec| {
        spec["workload"] = json!({"deployment": {"name": "other"}});
    });
    world.pass(30);
    assert_eq!(status(&world, "a")["stable"], "v1");
    let workload = |name: &str| json!({"spec": {"workload": {"deployment": {"name": name}}}});
    world.patch("kubectl", &RELEASE, "a", &workload("shop"));
    world.pass(5);
    let valid = condition(&world, "a", "Valid");
    assert_eq!(
        (&valid["status"], &valid["message"]),
        (
            &json!("False"),
            &json!("Deployment prod/shop belongs to Release shop")
        )
    );
    // It begins nothing, not even with its own, and lets that go when it is deleted.
    world.apply(&DEPLOYMENT, "other", deployment("other:v2"));
    world.pass(60);
    assert_eq!(status(&world, "a")["phase"], "Idle");
    world.delete(&RELEASE, "a");
    world.pass(120);
    assert!(world.find(&RELEASE, "a").is_none());
    let annotations = |name: &str| &world.get(&DEPLOYMENT, name)["metadata"]["annotations"];
    assert_eq!(annotations("other"), &json!({}));
    assert_eq!(annotations("shop")["haldane.dev/claimed-by"], "shop");
}

#[test]
fn a_canary_ingress_has_one_release_whatever_it_leads_to() {
    let mut world = routed::begun();
    for (track, replicas) in [("stable", 3), ("canary", 0)] {
        let name = format!("user-{track}");
        world.apply(
            &DEPLOYMENT,
            &name,
            super::pairs::deployment(track, "user:v1", replicas),
        );
        world.apply(&SERVICE, &name, service(&json!({"app": "user"})));
    }
    second(&mut world, "user", |spec| {
        spec["workload"]["pairs"] = json!([{"stable": "user-stable", "canary": "user-canary"}]);
    });
    world.pass(5);
    is_refused(&world, "user", "Ingress prod/auth-canary");
    // With one of its own it is taken over.
    world.apply(&INGRESS, "user-canary", ingress("0"));
    let routers = json!([{"nginx": {"canaryIngress": "user-canary"}}]);
    world.patch(
        "kubectl",
        &RELEASE,
        "user",
        &json!({"spec": {"routers": routers}}),
    );
    world.pass(30);
    assert_eq!(status(&world, "user")["stable"], "v1");
}
