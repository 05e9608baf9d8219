//! Rollouts of a terminal: there is no Release, and nobody who unpauses a Deployment later.

use haldane_api::release::{
    COMMAND_ANNOTATION, Image, Stage, Status, TERMINAL_ANNOTATION, TERMINAL_STATUS_ANNOTATION,
    Terminal,
};
use haldane_router::Kind;
use serde_json::{Value, json};

use super::{
    pairs,
    split::ROUTE,
    stateful,
    world::{NS, World, ports},
};
use crate::{
    host::{TerminalHost, first_record},
    kinds::{DEPLOYMENT, REPLICA_SET, SERVICE, STATEFUL_SET},
    turn::Host,
};

fn of(kind: &'static Kind, name: &str, release: &str) -> Box<dyn Host> {
    let (host, _) = TerminalHost::new(ports(), kind.named(NS, name), release);
    Box::new(host)
}

fn shop() -> Box<dyn Host> {
    of(&DEPLOYMENT, "shop", "shop")
}

fn rollout() -> Value {
    json!({
        "steps": ["10%", "50%"], "hold": "10s", "guards": "none", "bake": "0s",
        "deadlines": {"ready": "60s", "drain": "5s"},
    })
}

fn terminal(spec: &Value, image: Option<(&str, &str)>) -> String {
    let terminal = Terminal {
        name: "shop".to_owned(),
        spec: serde_json::from_value(spec.clone()).unwrap(),
        image: image.map(|(container, image)| Image {
            container: container.to_owned(),
            image: image.to_owned(),
        }),
        by: "ann".to_owned(),
        reason: None,
        stage: Stage::Holding,
    };
    serde_json::to_string(&terminal).unwrap()
}

fn note(world: &mut World, kind: &'static Kind, name: &str, terminal: &str) {
    let status = Status {
        record: Some(first_record(&Status::default())),
        ..Status::default()
    };
    let annotations = json!({
        TERMINAL_ANNOTATION: terminal,
        TERMINAL_STATUS_ANNOTATION: serde_json::to_string(&status).unwrap(),
    });
    world.patch(
        "haldane-cli",
        kind,
        name,
        &json!({"metadata": {"annotations": annotations}}),
    );
}

/// A shop that runs v1 for long, with a route where `routers` name it, and a terminal that is to put another image on trial.
fn begun(routers: &Value, image: &str) -> World {
    let mut world = World::new();
    (world.host, world.make) = (shop(), shop);
    world.apply(&DEPLOYMENT, "shop", super::alone::deployment("shop:v1"));
    let service = json!({"spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]}});
    world.apply(&SERVICE, "shop", service);
    world.pass(60);
    assert_eq!(world.log, [""; 0], "nobody asked for anything");
    let spec = json!({
        "workload": {"deployment": {"name": "shop"}}, "routers": routers, "rollout": rollout(),
    });
    note(
        &mut world,
        &DEPLOYMENT,
        "shop",
        &terminal(&spec, Some(("shop", image))),
    );
    world
}

fn kept(world: &World, kind: &'static Kind, name: &str) -> (Terminal, Value) {
    let annotations = &world.get(kind, name)["metadata"]["annotations"];
    let text = |key: &str| annotations[key].as_str().unwrap().to_owned();
    (
        Terminal::parse(&text(TERMINAL_ANNOTATION)).unwrap(),
        serde_json::from_str(&text(TERMINAL_STATUS_ANNOTATION)).unwrap(),
    )
}

fn command(world: &mut World, command: &Value) {
    let mut command = command.clone();
    (command["id"], command["by"]) = (json!("1"), json!("ann"));
    let annotations = json!({COMMAND_ANNOTATION: command.to_string()});
    world.patch(
        "haldane-cli",
        &DEPLOYMENT,
        "shop",
        &json!({"metadata": {"annotations": annotations}}),
    );
}

fn set(world: &mut World, terminal: &Terminal) {
    let text = serde_json::to_string(terminal).unwrap();
    world.patch(
        "haldane-cli",
        &DEPLOYMENT,
        "shop",
        &json!({"metadata": {"annotations": {TERMINAL_ANNOTATION: text}}}),
    );
}

/// What it comes to: the last rollout, and the objects as their owner has them.
fn end(world: &World) -> (Stage, String, Value, Value) {
    let (terminal, status) = kept(world, &DEPLOYMENT, "shop");
    let deployment = world.get(&DEPLOYMENT, "shop");
    let annotations = deployment["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations.len(), 2, "{annotations:#?}");
    let is_ours = |kind: &'static Kind| {
        world
            .objects
            .keys()
            .any(|one| *one.kind == *kind && one.name != "shop")
    };
    assert!(
        !is_ours(&DEPLOYMENT) && !is_ours(&SERVICE),
        "{:#?}",
        world.objects.keys()
    );
    assert_eq!(status.get("record"), None);
    assert_eq!(
        world.get(&SERVICE, "shop")["spec"]["selector"],
        json!({"app": "shop"})
    );
    (
        terminal.stage,
        status["phase"].as_str().unwrap_or_default().to_owned(),
        deployment["spec"]["paused"].clone(),
        deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone(),
    )
}

fn over(phase: &str, image: &str) -> (Stage, String, Value, Value) {
    (Stage::Over, phase.to_owned(), Value::Null, json!(image))
}

#[test]
fn a_good_version_is_promoted_and_the_deployment_is_its_owners_again() {
    let mut world = begun(&json!([]), "shop:v2");
    world.pass(200);
    assert_eq!(end(&world), over("Completed", "shop:v2"));
    let (_, status) = kept(&world, &DEPLOYMENT, "shop");
    assert_eq!(status["history"][0]["rollout"], "shop-1");
    assert_eq!(status["history"][0]["stable"], "v1");
    assert_eq!(status["history"][0]["by"], "ann");
    let writes = world.log.len();
    world.pass(3_600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
}

#[test]
fn a_bad_version_is_taken_out_of_the_deployment_again() {
    let mut world = begun(&json!([]), "shop:broken");
    world.pass(300);
    assert_eq!(end(&world), over("RolledBack", "shop:v1"));
    let sets = world
        .objects
        .iter()
        .filter(|(target, _)| target.kind == &REPLICA_SET);
    let sets: Vec<_> = sets
        .map(|(_, set)| &set["spec"]["template"]["spec"]["containers"][0]["image"])
        .collect();
    assert_eq!(
        sets,
        ["shop:v1"],
        "the bad version never ran in the Deployment"
    );
}

#[test]
fn an_abort_in_the_middle_leaves_the_old_version() {
    let mut world = begun(&json!([]), "shop:v2");
    world.pass(15);
    let (_, status) = kept(&world, &DEPLOYMENT, "shop");
    assert_eq!(status["phase"], "Progressing", "{:#?}", world.log);
    assert_eq!(
        world.get(&DEPLOYMENT, "shop")["spec"]["paused"],
        json!(true)
    );
    command(&mut world, &json!({"name": "abort", "reason": "lunch"}));
    world.pass(120);
    assert_eq!(end(&world), over("RolledBack", "shop:v1"));
    let (_, status) = kept(&world, &DEPLOYMENT, "shop");
    assert_eq!(
        (&status["command"]["result"], &status["command"]["id"]),
        (&json!("Done"), &json!("1"))
    );
}

#[test]
fn a_death_before_any_write_changes_nothing_in_the_end() {
    for (image, abort) in [
        ("shop:v2", false),
        ("shop:broken", false),
        ("shop:v2", true),
    ] {
        let story = |writes_left| {
            let mut world = begun(&json!([]), image);
            world.writes_left = writes_left;
            if abort {
                world.pass(15);
                command(&mut world, &json!({"name": "abort"}));
            }
            world.pass(150);
            world
        };
        let whole = story(None);
        for left in 0..u32::try_from(whole.log.len()).unwrap() {
            let world = story(Some(left));
            assert_eq!(world.deaths, 1, "{image} {left}");
            assert_eq!(end(&world), end(&whole), "{image} {left}: {:#?}", world.log);
        }
    }
}

#[test]
fn a_template_that_somebody_else_sets_meanwhile_is_tried_and_not_taken_away() {
    let mut world = begun(&json!([]), "shop:v2");
    world.pass(15);
    let containers = json!([{"name": "shop", "image": "shop:v3"}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    world.patch("kubectl-set", &DEPLOYMENT, "shop", &patch);
    world.pass(300);
    assert_eq!(
        end(&world),
        over("Completed", "shop:v3"),
        "{:#?}",
        world.log
    );
    let (_, status) = kept(&world, &DEPLOYMENT, "shop");
    let past = |index: usize| {
        (
            &status["history"][index]["canary"],
            &status["history"][index]["phase"],
        )
    };
    assert_eq!(past(0), (&json!("v3"), &json!("Completed")));
    assert_eq!(past(1), (&json!("v2"), &json!("RolledBack")));
}

#[test]
fn who_is_told_of_a_rollback_is_told_before_the_end() {
    let mut world = begun(&json!([]), "shop:broken");
    let (mut terminal, _) = kept(&world, &DEPLOYMENT, "shop");
    let mut rollout = rollout();
    rollout["hooks"] = json!({"afterRollback": [{"webhook": "http://told/", "timeout": "2m"}]});
    terminal.spec.rollout = Some(rollout);
    set(&mut world, &terminal);
    world.pass(100);
    let (waiting, status) = kept(&world, &DEPLOYMENT, "shop");
    assert_eq!(
        (waiting.stage, &status["phase"]),
        (Stage::Going, &json!("RolledBack")),
        "{:#?}",
        world.log
    );
    world.pass(200);
    assert_eq!(end(&world), over("RolledBack", "shop:v1"));
    let (_, status) = kept(&world, &DEPLOYMENT, "shop");
    let past = status["history"][0]["message"].as_str().unwrap();
    assert!(past.ends_with("no answer in time"), "{past}");
}

#[test]
fn a_terminal_leaves_though_its_routes_are_of_no_kind_any_more() {
    let mut world = begun(&json!([{"gateway": {"httpRoute": "shop"}}]), "shop:v2");
    let spec = json!({
        "parentRefs": [{"name": "edge"}],
        "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}],
    });
    let said = |kind: &str| json!({"type": kind, "status": "True"});
    let parent = json!({
        "parentRef": {"name": "edge"}, "conditions": [said("Accepted"), said("ResolvedRefs")],
    });
    let route = json!({"spec": spec, "status": {"parents": [parent]}});
    world.apply(&ROUTE, "shop", route);
    world.pass(15);
    let (_, status) = kept(&world, &DEPLOYMENT, "shop");
    assert_eq!(status["phase"], "Progressing", "{:#?}", world.log);
    world.take_away(&ROUTE);
    command(&mut world, &json!({"name": "abort"}));
    world.pass(120);
    let (mut terminal, status) = kept(&world, &DEPLOYMENT, "shop");
    assert_eq!(status["phase"], "RolledBack", "{:#?}", world.log);
    // As `haldane abort` does where no rollout goes on.
    terminal.stage = Stage::Leaving;
    set(&mut world, &terminal);
    world.pass(120);
    assert_eq!(end(&world), over("RolledBack", "shop:v1"));
}

#[test]
fn what_can_not_be_kept_is_told_and_not_begun() {
    let mut world = begun(&json!([]), "shop:v2");
    let filler = "x".repeat(crate::carrier::ANNOTATIONS_BYTES_MAX - 600);
    world.patch(
        "ann",
        &DEPLOYMENT,
        "shop",
        &json!({"metadata": {"annotations": {"filler": filler}}}),
    );
    let (host, progress) = TerminalHost::new(ports(), DEPLOYMENT.named(NS, "shop"), "shop");
    world.host = Box::new(host);
    world.pass(60);
    let problem = progress.borrow().problem.clone().unwrap();
    assert!(problem.contains("Kubernetes takes 262144"), "{problem}");
    assert_eq!(
        world.get(&DEPLOYMENT, "shop")["spec"]["template"]["spec"]["containers"][0]["image"],
        "shop:v1"
    );
}

#[test]
fn a_set_and_a_pair_are_left_as_their_owner_has_them() {
    let mut world = World::new();
    (world.host, world.releases) = (of(&STATEFUL_SET, "db", "shop"), vec!["db".to_owned()]);
    world.apply(&STATEFUL_SET, "db", stateful::set("db:v1"));
    for _ in 0..9 {
        world.follow();
    }
    let spec = json!({"workload": {"statefulSet": {"name": "db"}}, "rollout": rollout()});
    note(
        &mut world,
        &STATEFUL_SET,
        "db",
        &terminal(&spec, Some(("db", "db:broken"))),
    );
    world.pass(400);
    let (kept_of, status) = kept(&world, &STATEFUL_SET, "db");
    assert_eq!(
        (kept_of.stage, &status["phase"]),
        (Stage::Over, &json!("RolledBack")),
        "{:#?}",
        world.log
    );
    let set = world.get(&STATEFUL_SET, "db");
    assert_eq!(
        set["spec"]["template"]["spec"]["containers"][0]["image"],
        "db:v1"
    );
    assert_eq!(
        set["spec"]["updateStrategy"]["rollingUpdate"]["partition"],
        0
    );
}

#[test]
fn a_pair_is_carried_by_its_stable_deployment() {
    let mut world = World::new();
    (world.host, world.releases) = (
        of(&DEPLOYMENT, "auth-stable", "shop"),
        vec!["auth-stable".to_owned()],
    );
    for (track, replicas) in [("stable", 3), ("canary", 0)] {
        world.apply(
            &DEPLOYMENT,
            &format!("auth-{track}"),
            pairs::deployment(track, "auth:v1", replicas),
        );
    }
    world.pass(10);
    let pair = json!([{"stable": "auth-stable", "canary": "auth-canary"}]);
    let spec = json!({"workload": {"pairs": pair}, "rollout": rollout()});
    note(
        &mut world,
        &DEPLOYMENT,
        "auth-stable",
        &terminal(&spec, Some(("auth", "auth:v2"))),
    );
    world.pass(200);
    let (kept_of, status) = kept(&world, &DEPLOYMENT, "auth-stable");
    assert_eq!(
        (kept_of.stage, &status["phase"]),
        (Stage::Over, &json!("Completed")),
        "{:#?}",
        world.log
    );
    assert_eq!(pairs::image(&world, "auth-stable"), "auth:v2");
    assert_eq!(pairs::replicas(&world, "auth-canary"), 0);
}
