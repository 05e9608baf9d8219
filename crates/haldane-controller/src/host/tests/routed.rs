//! Rollouts of pairs behind a canary Ingress: what people do to its weight by hand, while the host looks and while it does not.

use haldane_router::kinds::{INGRESS, TRAFFIC_SPLIT};
use serde_json::{Value, json};

use super::{
    alone::command,
    pairs::{deployment, image, replicas, service, set_image},
    world::{World, silent},
};
use crate::kinds::{DEPLOYMENT, RELEASE, SERVICE};

const INGRESS_NAME: &str = "auth-canary";
const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";

/// A pair behind a canary Ingress, as its manifest has it.
pub(super) fn begun() -> World {
    let mut world = World::new();
    pair(&mut world, "auth");
    world.apply(&INGRESS, INGRESS_NAME, ingress("0"));
    release(
        &mut world,
        &["auth"],
        &json!([{"nginx": {"canaryIngress": INGRESS_NAME}}]),
    );
    world.pass(30);
    world
}

/// Both Deployments of a pair, with their Services.
pub(super) fn pair(world: &mut World, name: &str) {
    for (track, replicas) in [("stable", 3), ("canary", 0)] {
        let full = format!("{name}-{track}");
        world.apply(&DEPLOYMENT, &full, deployment(track, "auth:v1", replicas));
        let selector = json!({"app": "auth", "version": track});
        world.apply(&SERVICE, &full, service(&selector));
    }
}

pub(super) fn release(world: &mut World, names: &[&str], routers: &Value) {
    let pair = |name: &&str| json!({"stable": format!("{name}-stable"), "canary": format!("{name}-canary")});
    let pairs: Vec<Value> = names.iter().map(pair).collect();
    world.apply(
        &RELEASE,
        "shop",
        json!({"spec": {
            "workload": {"pairs": pairs},
            "routers": routers,
            "rollout": {
                "steps": ["25%", "50%"], "hold": "20s", "guards": "none", "bake": "0s",
                "deadlines": {"ready": "60s", "drain": "5s"},
            },
        }}),
    );
}

pub(super) fn ingress(weight: &str) -> Value {
    json!({
        "metadata": {"annotations": {
            "nginx.ingress.kubernetes.io/canary": "true",
            WEIGHT: weight,
        }},
        "spec": {"ingressClassName": "nginx", "rules": [{
            "host": "shop.example",
            "http": {"paths": [{
                "path": "/auth", "pathType": "Prefix",
                "backend": {"service": {"name": "auth-canary", "port": {"number": 80}}},
            }]},
        }]},
    })
}

fn weight(world: &World) -> String {
    let annotations = &world.get(&INGRESS, INGRESS_NAME)["metadata"]["annotations"];
    annotations[WEIGHT].as_str().unwrap().to_owned()
}

/// Sets the weight as `kubectl annotate --overwrite` does.
fn annotate(world: &mut World, by: &str, weight: &str) {
    let patch = json!({"metadata": {"annotations": {WEIGHT: weight}}});
    world.patch(by, &INGRESS, INGRESS_NAME, &patch);
}

/// Lets time pass until the weight is this.
fn until(world: &mut World, wanted: &str) {
    for _ in 0..200 {
        if weight(world) == wanted {
            return;
        }
        world.pass(1);
    }
    panic!("{wanted} never comes: {:#}", world.status());
}

fn message(world: &World) -> &str {
    world.status()["message"].as_str().unwrap()
}

/// Dies and comes back without what it only remembered.
fn die(world: &mut World) {
    world.host = silent();
    // Whoever does something by hand does it later than the last decision.
    world.now += jiff::SignedDuration::from_secs(2);
}

#[test]
fn a_routed_pair_is_promoted_and_its_ingress_is_as_before() {
    let mut world = begun();
    let before = world.get(&INGRESS, INGRESS_NAME).clone();
    set_image(&mut world, "auth:v2");
    until(&mut world, "25");
    until(&mut world, "50");
    world.pass(120);
    assert_eq!(world.status()["phase"], "Completed");
    assert_eq!(image(&world, "auth-stable"), "auth:v2");
    assert_eq!(replicas(&world, "auth-canary"), 0);
    let after = world.get(&INGRESS, INGRESS_NAME);
    for part in ["/spec", "/metadata/annotations"] {
        assert_eq!(after.pointer(part), before.pointer(part), "{part}");
    }
    let writes = world.log.len();
    world.pass(3_600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
}

#[test]
fn what_nobody_judged_gets_nothing_while_stable_takes_the_version_in() {
    for change in ["auth:v3", ""] {
        let mut world = begun();
        set_image(&mut world, "auth:slow");
        until(&mut world, "50");
        world.pass(60);
        assert_eq!(image(&world, "auth-stable"), "auth:slow");
        assert_eq!(weight(&world), "100");
        let none = json!({"spec": {"replicas": 0}});
        match change {
            "" => world.patch("kubectl-scale", &DEPLOYMENT, "auth-canary", &none),
            image => set_image(&mut world, image),
        }
        world.settle();
        assert_eq!(weight(&world), "0", "{change}: {:#}", world.status());
        assert_eq!(image(&world, "auth-stable"), "auth:slow");
    }
}

#[test]
fn a_release_is_ready_only_when_nothing_is_left_to_do() {
    let mut world = begun();
    let is_ready = |world: &World| {
        let conditions = world.status()["conditions"].as_array().unwrap();
        let ready = conditions.iter().find(|one| one["type"] == "Ready");
        ready.unwrap()["status"] == "True"
    };
    assert!(is_ready(&world));
    set_image(&mut world, "auth:v2");
    world.turn();
    for _ in 0..2_000 {
        world.turn();
        world.now += jiff::SignedDuration::from_millis(100);
        if world.status()["phase"] == "Completed" && is_ready(&world) {
            break;
        }
    }
    assert_eq!(world.status()["phase"], "Completed");
    assert_eq!(image(&world, "auth-stable"), "auth:v2");
    assert_eq!(weight(&world), "0");
    assert_eq!(replicas(&world, "auth-canary"), 0);
    let told = "kubectl set image deployment/auth-stable auth=auth:v2";
    assert!(message(&world).contains(told), "{}", message(&world));
}

#[test]
fn a_weight_of_zero_by_hand_is_an_abort() {
    for is_up in [true, false] {
        let mut world = begun();
        set_image(&mut world, "auth:v2");
        until(&mut world, "25");
        if !is_up {
            die(&mut world);
        }
        annotate(&mut world, "kubectl-annotate", "0");
        world.pass(60);
        assert_eq!(world.status()["phase"], "RolledBack", "{:#?}", world.log);
        assert_eq!(weight(&world), "0");
        assert_eq!(replicas(&world, "auth-canary"), 0);
        assert_eq!(image(&world, "auth-stable"), "auth:v1");
        let said = "set to 0% by kubectl-annotate";
        assert!(message(&world).contains(said), "{}", message(&world));
        let is_told = |event: &crate::turn::Event| event.message.contains(said);
        assert!(world.events.iter().any(is_told), "{:#?}", world.events);
    }
}

#[test]
fn another_weight_by_hand_holds_until_somebody_resumes() {
    for is_up in [true, false] {
        let mut world = begun();
        set_image(&mut world, "auth:v2");
        until(&mut world, "25");
        if !is_up {
            die(&mut world);
        }
        annotate(&mut world, "kubectl-annotate", "30");
        world.pass(600);
        assert_eq!(world.status()["phase"], "Paused", "{:#?}", world.log);
        assert_eq!(weight(&world), "30");
        assert!(
            message(&world).contains("kubectl-annotate"),
            "{}",
            message(&world)
        );
        command(&mut world, "1", &json!({"name": "resume"}));
        until(&mut world, "50");
        world.pass(120);
        assert_eq!(world.status()["phase"], "Completed", "{:#?}", world.log);
        assert_eq!(weight(&world), "0");
    }
}

#[test]
fn the_weight_of_the_step_before_set_by_hand_is_no_unfinished_write() {
    for is_up in [true, false] {
        let mut world = begun();
        set_image(&mut world, "auth:v2");
        until(&mut world, "25");
        until(&mut world, "50");
        if !is_up {
            die(&mut world);
        }
        annotate(&mut world, "kubectl-annotate", "25");
        world.pass(600);
        assert_eq!(world.status()["phase"], "Paused", "{:#?}", world.log);
        assert_eq!(weight(&world), "25");
    }
}

#[test]
fn an_override_that_is_set_again_after_it_was_resumed_is_another_one() {
    let mut world = begun();
    set_image(&mut world, "auth:v2");
    until(&mut world, "25");
    annotate(&mut world, "kubectl-annotate", "30");
    world.pass(60);
    command(&mut world, "1", &json!({"name": "resume"}));
    until(&mut world, "50");
    die(&mut world);
    annotate(&mut world, "kubectl-annotate", "30");
    world.pass(600);
    assert_eq!(world.status()["phase"], "Paused", "{:#?}", world.log);
    assert_eq!(weight(&world), "30");
}

#[test]
fn what_a_repository_says_again_is_no_wish_of_a_person() {
    let mut world = begun();
    set_image(&mut world, "auth:v2");
    until(&mut world, "25");
    annotate(&mut world, "argocd-controller", "0");
    world.pass(1);
    assert_eq!(weight(&world), "25");
    world.pass(120);
    assert_eq!(world.status()["phase"], "Completed", "{:#?}", world.log);
}

#[test]
fn a_weight_by_hand_while_no_rollout_goes_on_is_left_until_one_begins() {
    let mut world = begun();
    let one = json!({"spec": {"replicas": 1}});
    world.patch("kubectl-scale", &DEPLOYMENT, "auth-canary", &one);
    annotate(&mut world, "kubectl-annotate", "20");
    world.pass(600);
    assert_eq!(weight(&world), "20", "{:#?}", world.log);
    let said = "the canary has 20%, set by kubectl-annotate";
    assert!(message(&world).contains(said), "{}", message(&world));
    let told: Vec<&str> = world.events.iter().map(|event| event.reason).collect();
    assert_eq!(told, ["ByHand"]);
    // A new version gets traffic by its plan, and only then.
    let writes = world.log.len();
    set_image(&mut world, "auth:v2");
    world.pass(180);
    assert_eq!(world.status()["phase"], "Completed");
    let weights: Vec<&str> = world.log[writes..]
        .iter()
        .filter_map(|line| line.split_once("canary-weight\":\"")?.1.split('"').next())
        .collect();
    assert_eq!(weights, ["0", "25", "50", "100", "0"]);
    // The manifest is applied again, with its weight, for a canary that has no pods any more.
    annotate(&mut world, "kubectl-client-side-apply", "20");
    world.pass(5);
    assert_eq!(weight(&world), "0");
}

#[test]
fn a_weight_by_hand_does_not_hold_a_release_that_is_deleted() {
    let mut world = begun();
    let one = json!({"spec": {"replicas": 1}});
    world.patch("kubectl-scale", &DEPLOYMENT, "auth-canary", &one);
    annotate(&mut world, "kubectl-annotate", "20");
    world.pass(30);
    world.delete(&RELEASE, "shop");
    world.pass(30);
    assert!(world.find(&RELEASE, "shop").is_none(), "{:#?}", world.log);
    assert_eq!(weight(&world), "0");
}

pub(super) fn traffic_split(world: &mut World, name: &str) {
    let backend =
        |track: &str, weight: u32| json!({"service": format!("{name}-{track}"), "weight": weight});
    let backends = [backend("stable", 100), backend("canary", 0)];
    let spec = json!({"spec": {"service": name, "backends": backends}});
    world.apply(&TRAFFIC_SPLIT, name, spec);
}

pub(super) fn part(world: &World, name: &str) -> Value {
    world.get(&TRAFFIC_SPLIT, name)["spec"]["backends"][1]["weight"].clone()
}

#[test]
fn pairs_that_go_together_are_all_split_and_the_first_hand_decides() {
    let mut world = World::new();
    for name in ["auth", "user"] {
        pair(&mut world, name);
        traffic_split(&mut world, name);
    }
    let routers = json!([{"smi": {"trafficSplit": "auth"}}, {"smi": {"trafficSplit": "user"}}]);
    release(&mut world, &["auth", "user"], &routers);
    world.pass(30);
    let before = world.get(&TRAFFIC_SPLIT, "user")["spec"].clone();
    set_image(&mut world, "auth:v2");
    world.pass(10);
    assert_eq!(
        world.status()["phase"],
        "Progressing",
        "{:#}",
        world.status()
    );
    assert_eq!([part(&world, "auth"), part(&world, "user")], [25, 25]);
    let patch = json!({"spec": {"backends": [
        {"service": "user-stable", "weight": 100}, {"service": "user-canary", "weight": 0},
    ]}});
    world.patch("kubectl-patch", &TRAFFIC_SPLIT, "user", &patch);
    world.pass(60);
    assert_eq!(world.status()["phase"], "RolledBack");
    assert_eq!([part(&world, "auth"), part(&world, "user")], [0, 0]);
    assert_eq!(world.get(&TRAFFIC_SPLIT, "user")["spec"], before);
    assert!(
        message(&world).contains("set to 0% by kubectl-patch"),
        "{}",
        message(&world)
    );
}

#[test]
fn a_pair_that_no_router_names_is_not_promoted_along() {
    let mut world = World::new();
    for name in ["auth", "user"] {
        pair(&mut world, name);
    }
    traffic_split(&mut world, "auth");
    let routers = json!([{"smi": {"trafficSplit": "auth"}}]);
    release(&mut world, &["auth", "user"], &routers);
    world.pass(30);
    set_image(&mut world, "auth:v2");
    world.pass(300);
    assert_eq!(image(&world, "auth-stable"), "auth:v1");
    assert_eq!(part(&world, "auth"), 0);
    let said = "spec.workload.pairs[1]: no router names the Service user-stable or user-canary";
    assert_eq!(message(&world), said);
    // It goes on when one does.
    traffic_split(&mut world, "user");
    let routers = json!([{"smi": {"trafficSplit": "auth"}}, {"smi": {"trafficSplit": "user"}}]);
    release(&mut world, &["auth", "user"], &routers);
    world.pass(180);
    assert_eq!(world.status()["phase"], "Completed");
}

#[test]
fn a_death_before_any_write_of_a_routed_rollout_changes_nothing_in_the_end() {
    type Story = fn(&mut World);
    let promoted: Story = |world| {
        set_image(world, "auth:v2");
        world.pass(150);
    };
    let aborted: Story = |world| {
        set_image(world, "auth:v2");
        world.pass(8);
        command(world, "1", &json!({"name": "abort"}));
        world.pass(120);
    };
    let overridden: Story = |world| {
        set_image(world, "auth:v2");
        world.pass(12);
        annotate(world, "kubectl-annotate", "30");
        world.pass(60);
        command(world, "1", &json!({"name": "resume"}));
        world.pass(150);
    };
    let stopped: Story = |world| {
        set_image(world, "auth:v2");
        world.pass(12);
        annotate(world, "kubectl-annotate", "0");
        world.pass(60);
    };
    let end = |world: &World| {
        (
            world.status()["phase"].clone(),
            image(world, "auth-stable"),
            replicas(world, "auth-canary"),
            world.get(&INGRESS, INGRESS_NAME)["metadata"]["annotations"].clone(),
        )
    };
    for (name, story) in [
        ("promoted", promoted),
        ("aborted", aborted),
        ("overridden", overridden),
        ("stopped", stopped),
    ] {
        let mut whole = begun();
        let writes_before = whole.log.len();
        story(&mut whole);
        let expected = end(&whole);
        let writes = whole.log.len() - writes_before;
        assert!(writes > 6, "{name}: {writes}");
        for left in 0..u32::try_from(writes).unwrap() {
            let mut world = begun();
            world.writes_left = Some(left);
            story(&mut world);
            assert_eq!(world.deaths, 1, "{name} {left}");
            let log = &world.log;
            assert_eq!(end(&world), expected, "{name}, write {left}: {log:#?}");
        }
    }
}
