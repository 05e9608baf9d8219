//! Rollouts of one Deployment.

use serde_json::{Value, json};

use super::world::World;
use crate::kinds::{DEPLOYMENT, RELEASE, SERVICE};

pub(super) fn deployment(image: &str) -> Value {
    json!({"spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {"containers": [{"name": "shop", "image": image}]},
        },
    }})
}

pub(super) fn begun() -> World {
    let mut world = World::new();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v1"));
    world.apply(
        &SERVICE,
        "shop",
        json!({"spec": {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
    );
    world.apply(
        &RELEASE,
        "shop",
        json!({"spec": {
            "workload": {"deployment": {"name": "shop"}},
            "rollout": {
                "steps": ["10%", "50%"], "hold": "10s", "guards": "none", "bake": "0s",
                "deadlines": {"ready": "60s", "drain": "5s"},
            },
        }}),
    );
    world.pass(60);
    world
}

pub(super) fn command(world: &mut World, id: &str, command: &Value) {
    let mut command = command.clone();
    command["id"] = json!(id);
    command["by"] = json!("ann");
    let annotations = json!({"haldane.dev/command": command.to_string()});
    world.patch(
        "kubectl",
        &RELEASE,
        "shop",
        &json!({"metadata": {"annotations": annotations}}),
    );
}

fn canaries(world: &World) -> Vec<String> {
    let all = world.objects.keys();
    all.filter(|target| target.kind == &DEPLOYMENT && target.name != "shop")
        .map(|target| target.name.clone())
        .collect()
}

/// What a release comes to when everything is done: its version, and that nothing of the way is left.
pub(super) fn end(world: &World) -> (String, String, Value, Vec<String>) {
    let status = world.status();
    (
        status["phase"].as_str().unwrap_or_default().to_owned(),
        status["stable"].as_str().unwrap_or_default().to_owned(),
        world.get(&DEPLOYMENT, "shop")["spec"]["paused"].clone(),
        canaries(world),
    )
}

#[test]
fn a_deployment_is_taken_over_and_left_as_it_is() {
    let mut world = begun();
    assert_eq!(
        end(&world),
        ("Idle".to_owned(), "v1".to_owned(), json!(true), vec![])
    );
    let writes = world.log.len();
    world.pass(3_600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
}

#[test]
fn a_good_version_is_promoted_and_taken_in() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(120);
    assert_eq!(
        end(&world),
        ("Completed".to_owned(), "v2".to_owned(), json!(true), vec![])
    );
    let template = &world.get(&DEPLOYMENT, "shop")["spec"]["template"];
    assert_eq!(template["spec"]["containers"][0]["image"], "shop:v2");
    let writes = world.log.len();
    world.pass(3_600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
}

#[test]
fn decisions_are_in_the_status_without_a_write_of_their_own() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(120);
    assert_eq!(end(&world).0, "Completed");
    let decisions = world.status()["decisions"].as_array().unwrap();
    let numbers: Vec<u64> = decisions
        .iter()
        .map(|one| one["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(
        (&decisions[0]["cause"], &decisions[0]["by"]),
        (&json!("begin"), &json!("kubernetes"))
    );
    for phase in ["Preparing", "Progressing", "Promoting", "Completed"] {
        let is_there = decisions.iter().any(|one| one["phase"] == phase);
        assert!(is_there, "{phase}: {decisions:#?}");
    }
    // Somebody else who leads from now on keeps them, and goes on behind them.
    world.host = super::world::silent();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v3"));
    world.pass(12);
    command(
        &mut world,
        "a1",
        &json!({"name": "abort", "reason": "customers complain"}),
    );
    world.pass(60);
    let decisions = world.status()["decisions"].as_array().unwrap();
    let of = |id: &str| decisions.iter().filter(|one| one["rollout"] == id).count();
    assert!(of("shop-1") > 0 && of("shop-2") > 2, "{decisions:#?}");
    let abort = decisions.iter().find(|one| one["cause"] == "abort");
    let abort = abort.unwrap_or_else(|| panic!("{decisions:#?}"));
    assert_eq!(abort["by"], "ann (customers complain)");
    assert_eq!(
        (&abort["phase"], &abort["weight"]),
        (&json!("RollingBack"), &json!("0%"))
    );
}

#[test]
fn a_version_that_never_is_ready_is_rolled_back_and_not_tried_again() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:broken"));
    world.pass(300);
    assert_eq!(
        end(&world),
        (
            "RolledBack".to_owned(),
            "v1".to_owned(),
            json!(true),
            vec![]
        )
    );
    assert_eq!(world.status()["history"].as_array().unwrap().len(), 1);
    // Git says the same again: nothing follows.
    let writes = world.log.len();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:broken"));
    world.pass(3_600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
    // The old image is no rollout; the next one is.
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v1"));
    world.pass(60);
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v3"));
    world.pass(120);
    assert_eq!(world.status()["stable"], "v3");
}

#[test]
fn an_image_that_changed_while_nobody_looked_is_rolled_out_by_nobody_else() {
    let mut world = begun();
    // The manifest in Git has no `paused`; it is applied without Haldane.
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    let sets = |world: &World| {
        let all = world.objects.iter();
        all.filter(|(_, object)| object.to_string().contains("shop:v2"))
            .filter(|(target, _)| target.kind.kind == "ReplicaSet")
            .count()
    };
    assert_eq!(sets(&world), 0);
}

#[test]
fn an_abort_takes_the_canary_away_first() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    assert_eq!(world.status()["phase"], "Progressing");
    command(
        &mut world,
        "1",
        &json!({"name": "abort", "reason": "customers complain"}),
    );
    let before = world.log.len();
    world.settle();
    assert!(
        world.log[before].starts_with("merge Deployment prod/shop-canary-"),
        "{}",
        world.log[before]
    );
    assert_eq!(world.status()["command"]["result"], "Done");
    world.pass(60);
    assert_eq!(
        end(&world),
        (
            "RolledBack".to_owned(),
            "v1".to_owned(),
            json!(true),
            vec![]
        )
    );
    let message = world.status()["message"].as_str().unwrap();
    assert!(
        message.contains("ann") && message.contains("customers complain"),
        "{message}"
    );
    // An old command that comes back is known.
    command(&mut world, "2", &json!({"name": "retry"}));
    world.pass(5);
    assert_eq!(world.status()["phase"], "Progressing");
    command(&mut world, "1", &json!({"name": "abort"}));
    world.pass(120);
    assert_eq!(world.status()["stable"], "v2");
}

#[test]
fn undo_goes_back_to_the_version_before() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(120);
    command(&mut world, "1", &json!({"name": "undo"}));
    world.pass(120);
    assert_eq!(
        end(&world),
        ("Completed".to_owned(), "v1".to_owned(), json!(true), vec![])
    );
    let template = &world.get(&DEPLOYMENT, "shop")["spec"]["template"];
    assert_eq!(template["spec"]["containers"][0]["image"], "shop:v1");
}

#[test]
fn a_newer_version_takes_the_place_of_the_one_on_trial() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v3"));
    world.pass(180);
    assert_eq!(
        end(&world),
        ("Completed".to_owned(), "v3".to_owned(), json!(true), vec![])
    );
    let phases: Vec<&str> = world.status()["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|past| past["phase"].as_str().unwrap())
        .collect();
    assert_eq!(phases, ["Completed", "RolledBack"]);
}

#[test]
fn a_canary_that_somebody_scales_to_nothing_is_an_abort() {
    for is_up in [true, false] {
        let mut world = begun();
        world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
        world.pass(8);
        let canary = canaries(&world).remove(0);
        world.scale("kubectl-scale", &DEPLOYMENT, &canary, 0);
        if !is_up {
            world.host = super::world::silent();
        }
        world.pass(60);
        assert_eq!(end(&world).0, "RolledBack");
        let message = world.status()["message"].as_str().unwrap();
        assert!(
            message.contains("scaled to 0 by kubectl-scale"),
            "{message}"
        );
    }
}

#[test]
fn a_stable_that_an_autoscaler_shrank_takes_the_canary_in_at_full_size() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    let one = json!({"spec": {"replicas": 1}});
    world.patch("horizontal-pod-autoscaler", &DEPLOYMENT, "shop", &one);
    world.pass(120);
    assert_eq!(world.status()["stable"], "v2");
    assert_eq!(world.get(&DEPLOYMENT, "shop")["spec"]["replicas"], 3);
}

#[test]
fn a_release_that_is_deleted_leaves_the_deployment_to_kubernetes() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    world.delete(&RELEASE, "shop");
    world.pass(60);
    assert!(
        world.find(&RELEASE, "shop").is_none(),
        "{:#}",
        world.status()
    );
    assert_eq!(canaries(&world), Vec::<String>::new());
    let left = world.get(&DEPLOYMENT, "shop");
    // What was not judged is not let loose.
    assert_eq!(left["spec"]["paused"], true);
    assert_eq!(left["metadata"]["annotations"], json!({}));

    let mut world = begun();
    world.delete(&RELEASE, "shop");
    world.pass(60);
    assert!(world.find(&RELEASE, "shop").is_none());
    assert_eq!(world.get(&DEPLOYMENT, "shop")["spec"].get("paused"), None);
}

#[test]
fn a_rollout_whose_deployment_is_gone_still_hears_commands_and_ends() {
    for is_aborted in [true, false] {
        let mut world = begun();
        world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
        world.pass(8);
        world.delete(&DEPLOYMENT, "shop");
        world.settle();
        let message = world.status()["message"].as_str().unwrap();
        assert!(message.contains("shop does not exist"), "{message}");
        if is_aborted {
            command(&mut world, "1", &json!({"name": "abort"}));
            world.settle();
            assert_eq!(world.status()["command"]["result"], "Done");
            assert_eq!(world.status()["phase"], "RollingBack");
        }
        world.pass(600);
        assert_eq!(world.status()["history"][0]["phase"], "RolledBack");
    }
}

#[test]
fn a_record_that_cannot_be_read_is_kept_and_stable_serves() {
    let mut world = begun();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    assert_eq!(world.status()["phase"], "Progressing");
    let later = r#"{"form":99,"unknown":true}"#;
    let plan = world.status()["plan"].clone();
    world.patch(
        "newer",
        &RELEASE,
        "shop",
        &json!({"status": {"record": later}}),
    );
    world.host = super::world::silent();
    world.pass(60);
    let status = world.status();
    assert_eq!((&status["record"], &status["plan"]), (&json!(later), &plan));
    assert_eq!(status["phase"], "Progressing");
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("form 99"), "{message}");
    assert_eq!(world.get(&DEPLOYMENT, "shop")["spec"]["paused"], true);
    let writes = world.log.len();
    world.pass(600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
}

#[test]
fn a_release_whose_spec_broke_can_be_deleted() {
    let mut world = begun();
    world.patch(
        "kubectl",
        &RELEASE,
        "shop",
        &json!({"spec": {"workload": {"deployment": null}}}),
    );
    world.pass(5);
    assert!(
        world.status()["message"]
            .as_str()
            .unwrap()
            .contains("spec.workload")
    );
    world.delete(&RELEASE, "shop");
    world.pass(5);
    assert!(world.find(&RELEASE, "shop").is_none());
}

#[test]
fn two_releases_do_not_share_a_deployment() {
    let mut world = begun();
    world.patch(
        "kubectl",
        &DEPLOYMENT,
        "shop",
        &json!({"metadata": {"annotations": {"haldane.dev/claimed-by": "other"}}}),
    );
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(60);
    assert!(canaries(&world).is_empty());
    let status = world.status();
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("Release other"),
        "{status:#}"
    );
}
