//! What can't be read any more in the middle of a rollout: nothing is lost, an abort is heard, and what was changed is put back.

use serde_json::{Value, json};

use super::{
    alone::{command, deployment},
    split::{self, ROUTE, share},
    world::{World, silent},
};
use crate::kinds::{DEPLOYMENT, RELEASE, SERVICE};

/// A canary that has half of the traffic.
fn half() -> (World, Value) {
    let mut world = split::begun();
    let before = world.get(&ROUTE, "shop")["spec"].clone();
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    for _ in 0..60 {
        let is_half = world.status()["weight"] == "50%" && share(&world).is_some_and(|it| it > 0);
        if is_half {
            world.settle();
            return (world, before);
        }
        world.pass(1);
    }
    panic!("no half: {:#}", world.status());
}

/// Lets a later build write something into the spec that this one does not know.
fn spoil(world: &mut World) {
    let strange = json!({"spec": {"workload": {"job": {"name": "shop"}}}});
    world.patch("kubectl", &RELEASE, "shop", &strange);
}

/// Lets a release go while requests come in, and fails if any would be lost.
fn deleted(world: &mut World, before: &Value) {
    world.delete(&RELEASE, "shop");
    let canary = |world: &World| {
        let names = world.objects.keys();
        let mut names = names.filter(|target| target.kind == &DEPLOYMENT);
        names.any(|target| target.name.starts_with("shop-canary"))
    };
    for _ in 0..1_200 {
        world.turn();
        assert!(
            canary(world) || share(world).is_none_or(|share| share == 0),
            "requests go to nobody: {:#?}",
            world.log
        );
        if world.find(&RELEASE, "shop").is_none() {
            break;
        }
        world.now += jiff::SignedDuration::from_millis(100);
    }
    assert!(world.find(&RELEASE, "shop").is_none(), "{:#?}", world.log);
    world.follow();
    assert_eq!(&world.get(&ROUTE, "shop")["spec"], before);
    let selector = &world.get(&SERVICE, "shop")["spec"]["selector"];
    assert_eq!(selector, &json!({"app": "shop"}));
    assert!(!canary(world));
    // What was not judged is not let loose.
    assert_eq!(world.get(&DEPLOYMENT, "shop")["spec"]["paused"], true);
}

#[test]
fn a_release_whose_spec_broke_in_the_middle_is_deleted_without_a_lost_request() {
    for is_up in [true, false] {
        let (mut world, before) = half();
        spoil(&mut world);
        if is_up {
            world.pass(30);
        }
        world.host = silent();
        deleted(&mut world, &before);
    }
}

#[test]
fn a_release_whose_record_broke_in_the_middle_is_deleted_without_a_lost_request() {
    let (mut world, before) = half();
    let later = json!({"status": {"record": r#"{"form":99,"unknown":true}"#}});
    world.patch("newer", &RELEASE, "shop", &later);
    world.host = silent();
    world.pass(30);
    assert_eq!(share(&world), Some(0));
    deleted(&mut world, &before);
}

#[test]
fn a_rollout_whose_spec_broke_stands_still_hears_an_abort_and_ends() {
    let (mut world, before) = half();
    let half = share(&world);
    spoil(&mut world);
    world.pass(600);
    assert_eq!(share(&world), half);
    let valid = |world: &World| {
        let all = world.status()["conditions"].as_array().unwrap();
        let found = all.iter().find(|one| one["type"] == "Valid").unwrap();
        found["status"].clone()
    };
    assert_eq!(valid(&world), "False");
    assert!(
        world.status()["message"]
            .as_str()
            .unwrap()
            .contains("unknown field `job`")
    );
    command(&mut world, "1", &json!({"name": "abort"}));
    world.settle();
    assert_eq!(share(&world), Some(0));
    world.pass(120);
    assert_eq!(world.status()["history"][0]["phase"], "RolledBack");
    assert_eq!(&world.get(&ROUTE, "shop")["spec"], &before);
    assert_eq!(valid(&world), "False");
    // Nothing begins until it can be read again.
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v3"));
    world.pass(60);
    assert_eq!(world.status()["history"].as_array().unwrap().len(), 1);
    let readable = json!({"spec": {"workload": {"job": null}}});
    world.patch("kubectl", &RELEASE, "shop", &readable);
    world.pass(5);
    assert_eq!(valid(&world), "True");
    assert_eq!(world.status()["canary"], "v3");
}

#[test]
fn a_record_of_an_earlier_build_goes_on_with_one_write() {
    let (mut world, _) = half();
    let text = world.status()["record"].as_str().unwrap();
    let mut record: Value = serde_json::from_str(text).unwrap();
    // What this build added.
    for (place, key) in [("", "kept"), ("/live", "sizes"), ("/live", "moreJudges")] {
        let place = record.pointer_mut(place).unwrap();
        place.as_object_mut().unwrap().remove(key);
    }
    let earlier = json!({"status": {"record": record.to_string()}});
    world.patch("earlier", &RELEASE, "shop", &earlier);
    world.host = silent();
    let writes = world.log.len();
    world.settle();
    assert_eq!(world.log.len(), writes + 1, "{:#?}", &world.log[writes..]);
    let text = world.status()["record"].as_str().unwrap();
    assert!(text.contains(r#""kept":"#), "{text}");
    world.pass(120);
    assert_eq!(world.status()["phase"], "Completed");
}
