//! What watches tell, and what follows from it.

use serde_json::json;

use super::*;
use crate::kinds::{DEPLOYMENT, RELEASE};

const NOW: &str = "2026-11-21T12:00:00Z";

fn object(kind: &Kind, name: &str, more: &Value) -> DynamicObject {
    let mut object = json!({
        "apiVersion": kind.api_version(), "kind": kind.kind,
        "metadata": {"name": name, "namespace": "web", "uid": name},
    });
    let map = object.as_object_mut().unwrap();
    map.extend(more.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn release(name: &str, phase: &str) -> DynamicObject {
    let spec = json!({"workload": {"deployment": {"name": name}}});
    let status = json!({"phase": phase, "stable": "v1", "canary": "v2", "rollout": "shop-1"});
    object(&RELEASE, name, &json!({"spec": spec, "status": status}))
}

fn deployment(name: &str, ready: u32) -> DynamicObject {
    object(
        &DEPLOYMENT,
        name,
        &json!({"spec": {"replicas": 2}, "status": {"readyReplicas": ready}}),
    )
}

fn list(scene: &mut Scene, kind: &'static Kind, objects: Vec<DynamicObject>) {
    scene.take(kind, Event::Init);
    for object in objects {
        scene.take(kind, Event::InitApply(object));
    }
    scene.take(kind, Event::InitDone);
}

/// What is told: each release with its phase and how many replicas are ready.
fn told(scene: &mut Scene) -> Vec<String> {
    let changes = scene.changes(NOW.parse().unwrap());
    let tell = |sighting: Sighting| match sighting {
        Sighting::Lost(error) => error.to_string(),
        Sighting::Service(looked) => {
            let view = looked.view;
            let phase = view.rollout.map(|rollout| rollout.phase);
            format!(
                "{} {} {}",
                view.name,
                phase.unwrap_or_default(),
                view.stable.replicas_ready
            )
        }
    };
    changes.into_iter().map(tell).collect()
}

fn scene(one: Option<&str>) -> Scene {
    let one = one.map(|name| ("web".to_owned(), name.parse().unwrap()));
    Scene::new(&[&RELEASE, &DEPLOYMENT], one)
}

#[test]
fn nothing_is_told_before_everything_was_seen_once() {
    let mut scene = scene(None);
    list(&mut scene, &RELEASE, vec![release("shop", "Paused")]);
    assert_eq!(told(&mut scene), Vec::<String>::new());
    list(&mut scene, &DEPLOYMENT, vec![deployment("shop", 2)]);
    assert_eq!(told(&mut scene), ["shop Paused 2"]);
    assert_eq!(told(&mut scene), Vec::<String>::new());
}

#[test]
fn a_kind_that_may_not_be_seen_is_done_without() {
    let mut scene = scene(None);
    list(&mut scene, &RELEASE, vec![release("shop", "Paused")]);
    scene.do_without(&DEPLOYMENT, ClusterError::TimedOut(Duration::ZERO));
    assert_eq!(told(&mut scene), Vec::<String>::new(), "it may come back");
    scene.do_without(&DEPLOYMENT, ClusterError::Forbidden("no".to_owned()));
    assert_eq!(told(&mut scene), ["shop Paused 0"]);
}

#[test]
fn what_changes_is_told_once_and_only_of_whom_it_concerns() {
    let mut scene = scene(None);
    let both = vec![release("cart", "Idle"), release("shop", "Paused")];
    list(&mut scene, &RELEASE, both);
    list(
        &mut scene,
        &DEPLOYMENT,
        vec![deployment("shop", 2), deployment("cart", 1)],
    );
    assert_eq!(told(&mut scene), ["cart Idle 1", "shop Paused 2"]);
    scene.take(&DEPLOYMENT, Event::Apply(deployment("shop", 1)));
    scene.take(&DEPLOYMENT, Event::Apply(deployment("unrelated", 1)));
    assert_eq!(told(&mut scene), ["shop Paused 1"]);
    // The same once more is no news, nor is what the list says again after the watch was cut.
    scene.take(&DEPLOYMENT, Event::Apply(deployment("shop", 1)));
    list(
        &mut scene,
        &RELEASE,
        vec![release("cart", "Idle"), release("shop", "Promoting")],
    );
    assert_eq!(told(&mut scene), ["shop Promoting 1"]);
    scene.take(&RELEASE, Event::Delete(release("shop", "Promoting")));
    assert_eq!(told(&mut scene), Vec::<String>::new());
}

#[test]
fn the_end_of_the_one_that_is_followed_is_told() {
    let mut scene = scene(Some("shop"));
    list(&mut scene, &RELEASE, vec![release("shop", "Paused")]);
    list(&mut scene, &DEPLOYMENT, Vec::new());
    assert_eq!(told(&mut scene), ["shop Paused 0"]);
    scene.take(&RELEASE, Event::Delete(release("shop", "Paused")));
    assert_eq!(
        told(&mut scene),
        ["release shop in namespace web was deleted"]
    );
}
