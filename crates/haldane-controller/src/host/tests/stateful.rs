//! Rollouts of one StatefulSet.

use serde_json::{Value, json};

use super::{
    alone::command,
    world::{Eyes, World, silent},
};
use crate::{
    host::{
        record::Record,
        release::Home,
        site::{Site, View},
    },
    kinds::{CONTROLLER_REVISION, POD, RELEASE, STATEFUL_SET},
    meter::Place,
};

pub(super) fn set(image: &str) -> Value {
    json!({"spec": {
        "replicas": 4,
        "serviceName": "db",
        "selector": {"matchLabels": {"app": "db"}},
        "updateStrategy": {"type": "RollingUpdate"},
        "template": {
            "metadata": {"labels": {"app": "db"}},
            "spec": {"containers": [{"name": "db", "image": image}]},
        },
    }})
}

fn release() -> Value {
    json!({"spec": {
        "workload": {"statefulSet": {"name": "db"}},
        "rollout": {
            "steps": ["10%", "50%"], "hold": "10s", "guards": "none", "bake": "20s",
            "deadlines": {"ready": "60s", "drain": "5s"},
        },
    }})
}

pub(super) fn begun() -> World {
    let mut world = World::new();
    world.apply(&STATEFUL_SET, "db", set("db:v1"));
    world.apply(&RELEASE, "shop", release());
    world.pass(60);
    world
}

/// The tags of the pods' images, by ordinal.
pub(super) fn pods(world: &World) -> Vec<String> {
    let all = world
        .objects
        .iter()
        .filter(|(target, _)| target.kind == &POD);
    all.map(|(_, pod)| {
        let revision = pod["metadata"]["labels"]["controller-revision-hash"].as_str();
        let revision = world.get(&CONTROLLER_REVISION, revision.unwrap());
        let image = &revision["data"]["spec"]["template"]["spec"]["containers"][0]["image"];
        image.as_str().unwrap().trim_start_matches("db:").to_owned()
    })
    .collect()
}

fn partition(world: &World) -> Value {
    world.get(&STATEFUL_SET, "db")["spec"]["updateStrategy"]["rollingUpdate"]["partition"].clone()
}

/// What a release comes to when everything is done.
pub(super) fn end(world: &World) -> (Value, Value, Value, Vec<String>) {
    let status = world.status();
    (
        status["phase"].clone(),
        status["stable"].clone(),
        partition(world),
        pods(world),
    )
}

const HELD: u32 = 1_000_000_000;

fn ended(phase: &str, version: &str) -> (Value, Value, Value, Vec<String>) {
    let pods = vec![version.to_owned(); 4];
    (json!(phase), json!(version), json!(HELD), pods)
}

fn message(world: &World) -> &str {
    world.status()["message"].as_str().unwrap()
}

#[test]
fn a_stateful_set_is_held_and_left_as_it_is() {
    let mut world = begun();
    assert_eq!(end(&world), ended("Idle", "v1"));
    let writes = world.log.len();
    world.pass(3_600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
    // Whoever scales it while nobody looks gets no pod of a new template.
    world.host = silent();
    world.apply(&STATEFUL_SET, "db", set("db:v2"));
    let scaled = json!({"spec": {"replicas": 6}});
    world.patch("kubectl", &STATEFUL_SET, "db", &scaled);
    for _ in 0..10 {
        world.follow();
    }
    assert_eq!(pods(&world), ["v1"; 6]);
}

#[test]
fn a_good_version_goes_from_the_highest_pods_to_all() {
    let mut world = begun();
    world.apply(&STATEFUL_SET, "db", set("db:v2"));
    world.pass(5);
    assert_eq!(pods(&world), ["v1", "v1", "v1", "v2"]);
    assert!(message(&world).ends_with("25% of the pods are the canary's"));
    world.pass(10);
    assert_eq!(pods(&world), ["v1", "v1", "v2", "v2"]);
    assert!(message(&world).ends_with("50% of the pods are the canary's"));
    world.pass(10);
    // The last one is stable's until nothing can go wrong any more.
    assert_eq!(world.status()["phase"], "Promoting");
    assert_eq!(pods(&world), ["v1", "v2", "v2", "v2"]);
    world.pass(100);
    assert_eq!(end(&world), ended("Completed", "v2"));
    let writes = world.log.len();
    world.apply(&STATEFUL_SET, "db", set("db:v2"));
    world.pass(3_600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
}

#[test]
fn a_version_that_never_is_ready_is_taken_back() {
    let mut world = begun();
    world.apply(&STATEFUL_SET, "db", set("db:broken"));
    world.pass(5);
    assert_eq!(pods(&world), ["v1", "v1", "v1", "broken"]);
    world.pass(200);
    assert_eq!(end(&world), ended("RolledBack", "v1"));
    let writes = world.log.len();
    world.apply(&STATEFUL_SET, "db", set("db:broken"));
    world.pass(3_600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
    // A template that was found bad holds up no later one.
    world.apply(&STATEFUL_SET, "db", set("db:v3"));
    world.pass(200);
    assert_eq!(end(&world), ended("Completed", "v3"));
}

#[test]
fn an_abort_takes_pods_back_one_by_one_even_in_promotion() {
    let mut world = begun();
    world.apply(&STATEFUL_SET, "db", set("db:v2"));
    world.pass(28);
    assert_eq!(pods(&world), ["v1", "v2", "v2", "v2"]);
    command(&mut world, "1", &json!({"name": "abort"}));
    let before = world.log.len();
    world.pass(120);
    let written: Vec<&String> = world.log[before..]
        .iter()
        .filter(|one| !one.starts_with("status"))
        .collect();
    assert!(
        written[0].contains("\"partition\":1000000000"),
        "{written:#?}"
    );
    assert_eq!(
        written[1..],
        [
            "delete Pod prod/db-3",
            "delete Pod prod/db-2",
            "delete Pod prod/db-1"
        ]
    );
    assert_eq!(end(&world), ended("RolledBack", "v1"));
}

#[test]
fn undo_goes_back_to_the_version_before() {
    let mut world = begun();
    world.apply(&STATEFUL_SET, "db", set("db:v2"));
    world.pass(120);
    command(&mut world, "1", &json!({"name": "undo"}));
    world.pass(200);
    assert_eq!(end(&world), ended("Completed", "v1"));
    let template = &world.get(&STATEFUL_SET, "db")["spec"]["template"];
    assert_eq!(template["spec"]["containers"][0]["image"], "db:v1");
    assert_eq!(template.get("$patch"), None);
}

#[test]
fn a_newer_version_takes_the_place_of_the_one_on_trial() {
    let mut world = begun();
    world.apply(&STATEFUL_SET, "db", set("db:v2"));
    world.pass(5);
    world.apply(&STATEFUL_SET, "db", set("db:v3"));
    world.pass(300);
    assert_eq!(end(&world), ended("Completed", "v3"));
    assert_eq!(world.status()["history"][1]["phase"], "RolledBack");
}

#[test]
fn a_template_that_changes_while_the_last_pod_is_replaced_is_not_let_loose() {
    let mut world = begun();
    world.apply(&STATEFUL_SET, "db", set("db:v2"));
    for _ in 0..200 {
        if partition(&world) == 0 {
            break;
        }
        world.turn();
        world.now += jiff::SignedDuration::from_secs(1);
    }
    assert_eq!(partition(&world), 0);
    // Kubernetes has deleted the last pod, and has not made it anew yet.
    assert_eq!(pods(&world), ["v2"; 3]);
    world.host = silent();
    world.apply(&STATEFUL_SET, "db", set("db:broken"));
    world.pass(300);
    // Kubernetes never knew v2 as whole, so v1 is what it can go back to.
    assert_eq!(end(&world), ended("RolledBack", "v1"));
}

#[test]
fn a_partition_that_is_raised_by_hand_is_an_abort() {
    for is_up in [true, false] {
        let mut world = begun();
        world.apply(&STATEFUL_SET, "db", set("db:v2"));
        world.pass(5);
        let by_hand = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 4}}}});
        world.patch("kubectl-patch", &STATEFUL_SET, "db", &by_hand);
        if !is_up {
            world.host = silent();
        }
        world.pass(120);
        assert_eq!(end(&world), ended("RolledBack", "v1"));
        let said = message(&world);
        assert!(said.contains("was set to 4 by kubectl-patch"), "{said}");
    }
}

#[test]
fn a_set_that_is_scaled_keeps_its_shares() {
    let mut world = begun();
    world.apply(&STATEFUL_SET, "db", set("db:v2"));
    world.pass(15);
    assert_eq!(pods(&world), ["v1", "v1", "v2", "v2"]);
    // As the autoscaler does it: by another door than the spec's.
    let scale = |world: &mut World, replicas: u32| {
        let patch = json!({"spec": {"replicas": replicas}});
        world.patch("haldane-controller", &STATEFUL_SET, "db", &patch);
    };
    command(&mut world, "1", &json!({"name": "pause"}));
    scale(&mut world, 8);
    world.pass(20);
    assert_eq!(pods(&world).iter().filter(|tag| *tag == "v2").count(), 4);
    scale(&mut world, 2);
    world.pass(20);
    assert_eq!(pods(&world), ["v1", "v2"]);
    assert_eq!(world.status()["phase"], "Paused");
    scale(&mut world, 1);
    world.pass(60);
    assert_eq!(world.status()["phase"], "RolledBack");
    assert!(
        message(&world).contains("was scaled to 1"),
        "{}",
        message(&world)
    );
    assert_eq!(pods(&world), ["v1"]);
    // A version waits for room, and says so.
    world.apply(
        &STATEFUL_SET,
        "db",
        json!({"spec": {"replicas": 1, "template": set("db:v3")["spec"]["template"]}}),
    );
    world.pass(60);
    assert!(
        message(&world).contains("at least 2"),
        "{}",
        message(&world)
    );
    scale(&mut world, 4);
    world.pass(200);
    assert_eq!(end(&world), ended("Completed", "v3"));
}

#[test]
fn what_somebody_else_rolled_out_is_what_serves() {
    let mut world = begun();
    world.host = silent();
    let mut manifest = set("db:v2");
    manifest["spec"]["updateStrategy"]["rollingUpdate"] = json!({"partition": 0});
    world.apply(&STATEFUL_SET, "db", manifest);
    for _ in 0..20 {
        world.follow();
    }
    assert_eq!(pods(&world), ["v2"; 4]);
    world.pass(60);
    assert_eq!(end(&world), ended("Idle", "v2"));
}

#[test]
fn a_release_that_is_deleted_leaves_the_set_to_kubernetes() {
    let mut world = begun();
    world.apply(&STATEFUL_SET, "db", set("db:v2"));
    world.pass(5);
    world.delete(&RELEASE, "shop");
    world.pass(120);
    assert!(world.find(&RELEASE, "shop").is_none());
    // What was not judged is not let loose.
    assert_eq!(partition(&world), HELD);
    assert_eq!(pods(&world), ["v1"; 4]);
    let set = world.get(&STATEFUL_SET, "db");
    assert_eq!(set["metadata"]["annotations"], json!({}));

    let mut world = begun();
    world.delete(&RELEASE, "shop");
    world.pass(60);
    assert!(world.find(&RELEASE, "shop").is_none());
    assert_eq!(partition(&world), 0);
}

#[test]
fn a_restart_replaces_the_canarys_pods_alone() {
    let mut world = begun();
    world.apply(&STATEFUL_SET, "db", set("db:v2"));
    world.pass(15);
    command(&mut world, "1", &json!({"name": "pause"}));
    world.pass(5);
    let uids = |world: &World| -> Vec<Value> {
        let names = ["db-0", "db-1", "db-2", "db-3"].iter();
        names
            .map(|name| world.get(&POD, name)["metadata"]["uid"].clone())
            .collect()
    };
    let before = uids(&world);
    command(&mut world, "2", &json!({"name": "restart"}));
    world.pass(20);
    assert_eq!(pods(&world), ["v1", "v1", "v2", "v2"]);
    let after = uids(&world);
    assert_eq!(before[..2], after[..2]);
    assert!(before[2] != after[2] && before[3] != after[3]);
    let writes = world.log.len();
    world.pass(600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
}

#[test]
fn numbers_of_both_versions_are_never_taken_for_those_of_one() {
    let mut world = begun();
    world.apply(&STATEFUL_SET, "db", set("db:v2"));
    world.pass(5);
    let record = Record::read(world.status()["record"].as_str().unwrap()).unwrap();
    let spec = serde_json::from_value(release()["spec"].clone()).unwrap();
    let view = View {
        key: &World::key("shop"),
        uid: "",
        home: &Home::Own,
        is_routed: false,
        is_ending: false,
        sight: &Eyes(&world.objects, None),
        now: world.now,
    };
    let site = Site::of(&spec).unwrap();
    let places = site.places(&view, &record, record.live.as_ref().unwrap());
    let names = |place: &Place| {
        [
            place.deployment.clone(),
            place.service.clone(),
            place.replica_set.clone().unwrap(),
        ]
    };
    let revision = |pod: &str| {
        let pod = world.get(&POD, pod);
        pod["metadata"]["labels"]["controller-revision-hash"].clone()
    };
    assert_eq!(
        json!(names(&places[0].stable)),
        json!([revision("db-0"), revision("db-0"), revision("db-0")])
    );
    assert_eq!(
        json!(names(&places[0].canary)),
        json!([revision("db-3"), revision("db-3"), revision("db-3")])
    );
}

#[test]
fn what_a_stateful_set_can_not_do_is_refused() {
    let mut world = begun();
    let routers = json!({"spec": {"routers": [{"gateway": {"httpRoute": "shop"}}]}});
    world.patch("kubectl", &RELEASE, "shop", &routers);
    world.pass(5);
    assert!(
        message(&world).contains("spec.routers"),
        "{}",
        message(&world)
    );

    let mut world = begun();
    let strategy = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
    world.patch("kubectl", &STATEFUL_SET, "db", &strategy);
    world.pass(5);
    assert!(message(&world).contains("OnDelete"), "{}", message(&world));

    let mut world = begun();
    let workload =
        json!({"spec": {"workload": {"statefulSet": null, "daemonSet": {"name": "db"}}}});
    world.patch("kubectl", &RELEASE, "shop", &workload);
    world.pass(5);
    assert!(
        message(&world).contains("DaemonSets can't"),
        "{}",
        message(&world)
    );
}
