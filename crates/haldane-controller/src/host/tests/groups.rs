//! Groups of Deployments that go together.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::world::{Eyes, NS, World};
use crate::{
    host::GroupHost,
    kinds::{DEPLOYMENT, RELEASE, RELEASE_GROUP, SERVICE},
    turn::{Host as _, Key, Then},
};

const MEMBERS: [&str; 3] = ["api", "web", "worker"];

/// How many rounds of turns may follow each other at once.
const TURNS_MAX: u32 = 80;

fn key(name: &str) -> Key {
    Key {
        namespace: NS.to_owned(),
        name: name.to_owned(),
    }
}

fn deployment(name: &str, image: &str) -> Value {
    json!({"spec": {
        "replicas": 4,
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": name, "image": format!("{name}:{image}")}]},
        },
    }})
}

/// Three Deployments in version v1 that go together, each with its own pace, and a group with this spec.
fn begun(group: &Value) -> World {
    let mut world = World::new();
    world.apply(&RELEASE_GROUP, "store", json!({"spec": group}));
    for (name, hold) in [("api", "10s"), ("web", "20s"), ("worker", "5s")] {
        world.apply(&DEPLOYMENT, name, deployment(name, "v1"));
        let service = json!({"spec": {"selector": {"app": name}, "ports": [{"port": 80}]}});
        world.apply(&SERVICE, name, service);
        world.apply(&RELEASE, name, release(name, hold));
    }
    pass(&mut world, 30);
    world
}

fn release(name: &str, hold: &str) -> Value {
    json!({"spec": {
        "workload": {"deployment": {"name": name}},
        "group": "store",
        "rollout": {
            "steps": ["25%", "50%"], "hold": hold, "guards": "none", "bake": "0s",
            "deadlines": {"ready": "15s", "drain": "5s"},
        },
    }})
}

/// All three, no order, two barriers.
fn together() -> Value {
    json!({
        "members": [{"release": "api"}, {"release": "web"}, {"release": "worker"}],
        "barriers": [{"at": "25%"}, {"at": "promotion"}],
    })
}

/// The API first, then the others.
fn in_order() -> Value {
    json!({"members": [
        {"release": "web", "after": ["api"]},
        {"release": "worker", "after": ["api", "web"]},
        {"release": "api"},
    ]})
}

fn deploy(world: &mut World, version: &str) {
    for name in MEMBERS {
        world.apply(&DEPLOYMENT, name, deployment(name, version));
    }
}

/// Lets everybody write until nothing follows any more; returns when somebody wants to look again.
fn settle(world: &mut World) -> Option<Timestamp> {
    for _ in 0..TURNS_MAX {
        let before = world.number;
        let mut next: Option<Timestamp> = None;
        for name in MEMBERS.into_iter().chain(["store"]) {
            world.follow();
            let eyes = Eyes(&world.objects, None);
            let turn = if name == "store" {
                GroupHost.turn(&key(name), &eyes, world.now)
            } else {
                world.host.turn(&key(name), &eyes, world.now)
            };
            if world.take(&turn.writes) {
                world.events.extend(turn.events);
            }
            world.follow();
            let at = match turn.then {
                Then::Again => Some(world.now),
                Then::OnChange => None,
                Then::At(at) => Some(at),
            };
            next = next.into_iter().chain(at).min();
        }
        let is_due = next.is_some_and(|at| at <= world.now);
        if before == world.number && !is_due {
            return next;
        }
    }
    let last = &world.log[world.log.len().saturating_sub(12)..];
    panic!("no end of writes: {last:#?}");
}

/// Lets time pass, and looks at the world whenever it has come to rest.
fn watch(world: &mut World, seconds: i64, mut look: impl FnMut(&World)) {
    let end = world.now + SignedDuration::from_secs(seconds);
    loop {
        let next = settle(world);
        look(world);
        match next {
            Some(at) if at < end => world.now = at,
            Some(_) | None => break,
        }
    }
    world.now = end;
    settle(world);
    look(world);
}

fn pass(world: &mut World, seconds: i64) {
    watch(world, seconds, |_| {});
}

fn of<'a>(world: &'a World, name: &str, field: &str) -> &'a str {
    let status = &world.get(&RELEASE, name)["status"];
    status[field].as_str().unwrap_or_default()
}

fn weight(world: &World, name: &str) -> u32 {
    let is_live = !["Idle", "Completed", "RolledBack"].contains(&of(world, name, "phase"));
    let text = of(world, name, "weight").trim_end_matches('%');
    if is_live {
        text.parse().unwrap_or(0)
    } else {
        0
    }
}

fn group(world: &World) -> &Value {
    &world.get(&RELEASE_GROUP, "store")["status"]
}

fn condition<'a>(world: &'a World, name: &str) -> &'a Value {
    let all = group(world)["conditions"].as_array().unwrap();
    all.iter().find(|one| one["type"] == name).unwrap()
}

/// What everybody comes to: phases, versions, images, and what is left of the way.
fn end(world: &World) -> BTreeMap<String, String> {
    let members = MEMBERS.into_iter().map(|name| {
        let template = &world.get(&DEPLOYMENT, name)["spec"]["template"];
        let image = &template["spec"]["containers"][0]["image"];
        let (phase, stable) = (of(world, name, "phase"), of(world, name, "stable"));
        (name.to_owned(), format!("{phase} {stable} {image}"))
    });
    let count = world.objects.keys();
    let count = count.filter(|target| target.kind == &DEPLOYMENT).count();
    members
        .chain([
            ("store".to_owned(), group(world)["phase"].to_string()),
            ("deployments".to_owned(), count.to_string()),
        ])
        .collect()
}

fn annotate(world: &mut World, name: &str, command: &Value) {
    let kind = if name == "store" {
        &RELEASE_GROUP
    } else {
        &RELEASE
    };
    let annotations = json!({"haldane.dev/command": command.to_string()});
    let patch = json!({"metadata": {"annotations": annotations}});
    world.patch("kubectl", kind, name, &patch);
}

fn assert_all(world: &World, phase: &str, stable: &str) {
    for name in MEMBERS {
        let (found, version) = (of(world, name, "phase"), of(world, name, "stable"));
        assert_eq!(
            (found, version),
            (phase, stable),
            "{name}: {:#?}",
            world.log
        );
    }
    assert!(group(world).get("round").is_none(), "{:#}", group(world));
}

#[test]
fn a_group_without_new_versions_writes_nothing() {
    let mut world = begun(&together());
    assert_eq!(group(&world)["phase"], "Idle");
    assert_eq!(condition(&world, "Ready")["status"], "True");
    let writes = world.log.len();
    pass(&mut world, 3_600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
}

#[test]
fn members_wait_for_each_other_at_the_barriers() {
    let mut world = begun(&together());
    deploy(&mut world, "v2");
    let mut is_waited = false;
    watch(&mut world, 600, |world| {
        let weights = MEMBERS.map(|name| weight(world, name));
        let is_past = |barrier: u32| weights.iter().any(|weight| *weight > barrier);
        let is_done = MEMBERS
            .iter()
            .any(|name| of(world, name, "phase") == "Completed");
        if is_past(25) && !is_done {
            assert!(weights.iter().all(|weight| *weight >= 25), "{weights:?}");
        }
        if is_past(50) || is_done {
            let are_ready = MEMBERS.iter().all(|name| {
                let phase = of(world, name, "phase");
                ["Paused", "Promoting", "Completed"].contains(&phase)
            });
            assert!(are_ready, "{weights:?}");
        }
        let message = group(world)["message"].as_str().unwrap();
        is_waited |= message.contains("worker Paused 50%, waits for")
            && message.contains("web")
            && message.contains("to be ready for promotion");
    });
    assert!(is_waited, "{:#?}", world.log);
    assert_all(&world, "Completed", "v2");
    assert_eq!(group(&world)["phase"], "Completed");
    assert_eq!(group(&world)["history"][0]["number"], 1);
    let writes = world.log.len();
    pass(&mut world, 3_600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
    deploy(&mut world, "v3");
    pass(&mut world, 600);
    assert_all(&world, "Completed", "v3");
    assert_eq!(group(&world)["history"][0]["number"], 2);
}

#[test]
fn members_begin_in_their_order() {
    let mut world = begun(&in_order());
    deploy(&mut world, "v2");
    watch(&mut world, 600, |world| {
        let begun = |name: &str| !["Idle", "Pending"].contains(&of(world, name, "phase"));
        let done = |name: &str| of(world, name, "phase") == "Completed";
        assert!(!begun("web") || done("api"), "{:#?}", world.log);
        assert!(!begun("worker") || (done("api") && done("web")));
    });
    assert_all(&world, "Completed", "v2");
}

#[test]
fn a_new_version_that_comes_a_moment_later_is_in_the_same_round() {
    let mut world = begun(&in_order());
    world.apply(&DEPLOYMENT, "web", deployment("web", "v2"));
    pass(&mut world, 2);
    world.apply(&DEPLOYMENT, "api", deployment("api", "v2"));
    watch(&mut world, 200, world_is_in_order);
    assert_eq!(group(&world)["history"][0]["message"], "promoted: api, web");
}

#[test]
fn a_newer_version_of_a_member_is_no_failure() {
    let mut world = begun(&in_order());
    deploy(&mut world, "v2");
    pass(&mut world, 12);
    assert_eq!(of(&world, "api", "phase"), "Progressing");
    world.apply(&DEPLOYMENT, "api", deployment("api", "v3"));
    watch(&mut world, 400, |world| {
        let is_begun = !["Idle", "Pending"].contains(&of(world, "web", "phase"));
        assert!(!is_begun || of(world, "api", "stable") == "v3");
    });
    let history = &group(&world)["history"];
    assert_eq!(history[0]["message"], "promoted: api, web, worker");
    assert_eq!(history.as_array().unwrap().len(), 1);
}

#[test]
fn a_member_without_a_new_version_holds_nobody_up() {
    for spec in [in_order(), together()] {
        let mut world = begun(&spec);
        world.apply(&DEPLOYMENT, "worker", deployment("worker", "v2"));
        pass(&mut world, 90);
        assert_eq!(of(&world, "worker", "stable"), "v2", "{spec}");
        assert_eq!(group(&world)["history"][0]["message"], "promoted: worker");
    }
}

#[test]
fn a_member_that_fails_takes_all_back_that_are_under_way() {
    let mut world = begun(&together());
    deploy(&mut world, "v2");
    world.apply(&DEPLOYMENT, "web", deployment("web", "broken"));
    pass(&mut world, 300);
    assert_all(&world, "RolledBack", "v1");
    assert_eq!(group(&world)["phase"], "RolledBack");
    assert_eq!(condition(&world, "Stalled")["status"], "True");
    for name in ["api", "worker"] {
        let message = of(&world, name, "message");
        assert!(
            message.contains("ReleaseGroup store") && message.contains("web was rolled back"),
            "{message}"
        );
    }
}

#[test]
fn a_member_that_fails_takes_those_back_that_were_promoted() {
    let mut world = begun(&in_order());
    deploy(&mut world, "v2");
    world.apply(&DEPLOYMENT, "worker", deployment("worker", "broken"));
    let mut was_promoted = false;
    watch(&mut world, 900, |world| {
        was_promoted |= of(world, "web", "stable") == "v2";
    });
    assert!(was_promoted, "{:#?}", world.log);
    for name in MEMBERS {
        assert_eq!(of(&world, name, "stable"), "v1", "{name}");
    }
    assert_eq!(group(&world)["phase"], "RolledBack", "{:#}", group(&world));
    // Git says the same again: what was taken back is not tried alone.
    let writes = world.log.len();
    deploy(&mut world, "v2");
    world.apply(&DEPLOYMENT, "worker", deployment("worker", "broken"));
    pass(&mut world, 600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
    deploy(&mut world, "v3");
    pass(&mut world, 600);
    assert_all(&world, "Completed", "v3");
}

#[test]
fn a_group_that_is_to_stop_waits_for_a_person() {
    let mut spec = together();
    spec["onFailure"] = json!("stop");
    let mut world = begun(&spec);
    deploy(&mut world, "v2");
    world.apply(&DEPLOYMENT, "web", deployment("web", "broken"));
    pass(&mut world, 300);
    assert_eq!(group(&world)["phase"], "Stopped", "{:#}", group(&world));
    assert_eq!(of(&world, "api", "phase"), "Paused");
    assert_eq!(condition(&world, "Stalled")["status"], "True");
    // A version that works takes its place, and all go on.
    world.apply(&DEPLOYMENT, "web", deployment("web", "v2"));
    pass(&mut world, 300);
    assert_all(&world, "Completed", "v2");
}

#[test]
fn a_person_aborts_a_group_and_a_member_that_waits() {
    for name in ["store", "worker"] {
        let mut world = begun(&together());
        deploy(&mut world, "v2");
        pass(&mut world, 14);
        assert_eq!(of(&world, "worker", "phase"), "Paused");
        let command = json!({"id": "1", "name": "abort", "by": "ann", "reason": "too slow"});
        annotate(&mut world, name, &command);
        pass(&mut world, 120);
        assert_all(&world, "RolledBack", "v1");
        let message = group(&world)["message"].as_str().unwrap();
        assert!(message.contains("ann (too slow)"), "{message}");
    }
    let mut world = begun(&together());
    annotate(&mut world, "store", &json!({"id": "1", "name": "promote"}));
    settle(&mut world);
    assert_eq!(group(&world)["command"]["result"], "Refused");
}

#[test]
fn an_undo_of_a_member_takes_the_round_back() {
    let mut world = begun(&in_order());
    deploy(&mut world, "v2");
    while of(&world, "api", "phase") != "Completed" {
        pass(&mut world, 1);
    }
    let command = json!({"id": "1", "name": "undo", "by": "ann"});
    annotate(&mut world, "api", &command);
    pass(&mut world, 300);
    for name in MEMBERS {
        assert_eq!(of(&world, name, "stable"), "v1", "{name}");
    }
    let message = group(&world)["message"].as_str().unwrap();
    assert!(message.contains("api was undone"), "{message}");
}

#[test]
fn members_go_on_alone_when_their_group_is_deleted() {
    let mut world = begun(&in_order());
    deploy(&mut world, "v2");
    pass(&mut world, 12);
    assert_eq!(of(&world, "web", "phase"), "Pending");
    let message = of(&world, "web", "message");
    assert!(
        message.contains("waits for api to be promoted"),
        "{message}"
    );
    world.delete(&RELEASE_GROUP, "store");
    pass(&mut world, 300);
    for name in MEMBERS {
        assert_eq!(of(&world, name, "stable"), "v2");
    }
}

#[test]
fn what_happened_while_nobody_looked_is_a_round_as_well() {
    let mut world = begun(&in_order());
    deploy(&mut world, "v2");
    world.apply(&DEPLOYMENT, "worker", deployment("worker", "broken"));
    world.now += SignedDuration::from_hours(1);
    world.host = super::world::silent();
    watch(&mut world, 60, |world| {
        world_is_in_order(world);
    });
    // The controller dies and comes back a quarter of an hour later.
    world.host = super::world::silent();
    world.now += SignedDuration::from_mins(15);
    pass(&mut world, 900);
    for name in MEMBERS {
        assert_eq!(of(&world, name, "stable"), "v1", "{name}");
    }
}

fn world_is_in_order(world: &World) {
    let is_begun = !["Idle", "Pending"].contains(&of(world, "web", "phase"));
    assert!(!is_begun || of(world, "api", "stable") == "v2");
}

#[test]
fn a_member_that_is_missing_is_told_and_not_waited_for() {
    let mut spec = in_order();
    spec["members"][0]["after"] = json!(["api", "cache"]);
    let members = spec["members"].as_array_mut().unwrap();
    members.push(json!({"release": "cache"}));
    let mut world = begun(&spec);
    assert_eq!(condition(&world, "Valid")["reason"], "Missing");
    let message = group(&world)["message"].as_str().unwrap();
    assert!(
        message.contains("Release cache does not exist"),
        "{message}"
    );
    deploy(&mut world, "v2");
    pass(&mut world, 600);
    for name in MEMBERS {
        assert_eq!(of(&world, name, "stable"), "v2");
    }
}

#[test]
fn members_that_come_after_each_other_are_told_and_do_not_begin() {
    let mut spec = in_order();
    spec["members"][2]["after"] = json!(["worker"]);
    let mut world = begun(&spec);
    deploy(&mut world, "v2");
    pass(&mut world, 60);
    assert_eq!(condition(&world, "Valid")["reason"], "Invalid");
    let message = group(&world)["message"].as_str().unwrap();
    assert!(message.contains("come after each other"), "{message}");
    for name in MEMBERS {
        assert_eq!(of(&world, name, "phase"), "Pending");
    }
    // An abort needs no group.
    annotate(&mut world, "api", &json!({"id": "1", "name": "abort"}));
    pass(&mut world, 30);
    assert_eq!(of(&world, "api", "phase"), "RolledBack");
    world.apply(&RELEASE_GROUP, "store", json!({"spec": in_order()}));
    pass(&mut world, 300);
    assert_eq!(of(&world, "worker", "stable"), "v2", "{:#}", group(&world));
}

#[test]
fn mistakes_in_a_spec_are_told_with_their_place() {
    for (spec, expected) in [
        (
            json!({"members": [{"release": "api", "befor": []}]}),
            "unknown field `befor`",
        ),
        (
            json!({"members": [{"release": "api"}, {"release": "api"}]}),
            "spec.members: api is there twice",
        ),
        (
            json!({"members": [{"release": "api", "after": ["db"]}]}),
            "spec.members: api comes after db, which is no member",
        ),
        (
            json!({"members": [{"release": "api"}], "barriers": [{"at": "50%"}, {"at": "100%"}]}),
            "spec.barriers[1].at: 100%; expected a share between 0% and 100%, or promotion",
        ),
        (
            json!({"members": [{"release": "api"}], "barriers": [{"at": "half"}]}),
            "spec.barriers[0].at: ",
        ),
    ] {
        let world = begun(&spec);
        let message = condition(&world, "Valid")["message"].as_str().unwrap();
        assert!(message.contains(expected), "{message}");
        assert_eq!(condition(&world, "Stalled")["status"], "True");
    }
}

#[test]
fn a_group_that_is_suspended_lets_nobody_begin() {
    let mut spec = together();
    spec["suspend"] = json!(true);
    let mut world = begun(&spec);
    deploy(&mut world, "v2");
    pass(&mut world, 600);
    assert_eq!(of(&world, "api", "phase"), "Pending");
    world.apply(&RELEASE_GROUP, "store", json!({"spec": {"suspend": false}}));
    pass(&mut world, 600);
    assert_all(&world, "Completed", "v2");
}

#[test]
fn a_release_that_the_group_does_not_list_waits_and_says_so() {
    let mut world = begun(&json!({"members": [{"release": "api"}]}));
    deploy(&mut world, "v2");
    pass(&mut world, 120);
    assert_eq!(of(&world, "api", "stable"), "v2");
    let message = of(&world, "web", "message");
    assert!(
        message.contains("ReleaseGroup store: waits to be taken into a round"),
        "{message}"
    );
}

/// Two members are enough: each of many deaths is a round of its own.
fn promoted(world: &mut World) {
    for name in ["api", "web"] {
        world.apply(&DEPLOYMENT, name, deployment(name, "v2"));
    }
    rest(world);
}

fn taken_back(world: &mut World) {
    world.apply(&DEPLOYMENT, "api", deployment("api", "v2"));
    world.apply(&DEPLOYMENT, "web", deployment("web", "broken"));
    rest(world);
}

/// Lets time pass until everything is at rest.
fn rest(world: &mut World) {
    for _ in 0..60 {
        pass(world, 20);
        let is_over = group(world)["history"].is_array() && group(world).get("round").is_none();
        if is_over && settle(world).is_none() {
            return;
        }
    }
    panic!("no rest: {:#?}", world.log);
}

/// Lets the host die before each of the writes of a story.
fn check_deaths(spec: &Value, story: fn(&mut World)) {
    let before = begun(spec);
    let mut whole = before.again();
    story(&mut whole);
    let expected = end(&whole);
    let writes = whole.log.len();
    assert!(writes > 20, "{writes}");
    for left in 0..u32::try_from(writes).unwrap() {
        let mut world = before.again();
        world.writes_left = Some(left);
        story(&mut world);
        assert_eq!(world.deaths, 1, "{left}");
        assert_eq!(
            end(&world),
            expected,
            "death before write {left}: {:#?}",
            world.log
        );
    }
}

#[test]
fn a_death_before_any_write_of_a_good_round_changes_nothing_in_the_end() {
    check_deaths(&together(), promoted);
}

#[test]
fn a_death_before_any_write_of_a_bad_round_changes_nothing_in_the_end() {
    check_deaths(&in_order(), taken_back);
}
