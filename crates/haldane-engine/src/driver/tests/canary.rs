//! What a canary is made of: its size, its environment, and what its gates are asked with.

use haldane_api::file::Source;
use haldane_core::VersionName;

use super::bench::{Bench, SHOP, shop, version};
use crate::port::Size;

/// Returns how many replicas were asked for.
fn wished(bench: &Bench, version: &VersionName) -> Option<Size> {
    let world = bench.world.lock();
    let mut wishes = world.wishes[&shop()].iter();
    let wish = wishes.find(|wish| &wish.spec.version == version)?;
    Some(wish.size)
}

/// The shop's file with other steps.
fn with_steps(steps: &str) -> String {
    SHOP.replace("steps: [10%, 50%, 100%]", &format!("steps: {steps}"))
}

/// Checks how many replicas a canary of this full size has at 50 %, of a plan with these steps.
#[track_caller]
fn check_size(steps: &str, replicas: u32, expected: u32) {
    let mut bench = Bench::new();
    bench.apply(&with_steps(steps)).unwrap();
    bench.turns(3);
    bench
        .deploy_with("v2", |request| request.replicas = Some(replicas))
        .unwrap();
    bench.until_weight(50);
    bench.turn();
    let canary = version("v2");
    assert_eq!(wished(&bench, &canary), Some(Size::Replicas(expected)));
    assert_eq!(
        wished(&bench, &version("v1")),
        Some(Size::Replicas(2)),
        "stable keeps its own size"
    );
    bench.until("Completed");
    bench.turn();
    assert_eq!(wished(&bench, &canary), Some(Size::Replicas(replicas)));
}

#[test]
fn the_full_size_of_a_canary_is_its_own() {
    for replicas in [1, 2, 6] {
        check_size("[{ scaleCanary: full }, 50%, 100%]", replicas, replicas);
    }
    // Half of its own full size carries half of the traffic.
    check_size("[{ scaleCanary: matchWeight }, 50%, 100%]", 6, 3);
    check_size("[{ scaleCanary: 50% }, 50%, 100%]", 6, 3);
    check_size("[{ scaleCanary: 1 }, 50%, 100%]", 6, 1);
}

#[test]
fn a_canary_without_a_number_is_as_large_as_stable() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until("Completed");
    bench.turn();
    let size = wished(&bench, &version("v2"));
    assert_eq!(size, Some(Size::Replicas(2)));
}

#[test]
fn a_given_environment_is_added_to_the_one_of_stable() {
    let file = SHOP.replace(
        "replicas: 2",
        "replicas: 2, env: { DATABASE: main, LEVEL: info }",
    );
    let mut bench = Bench::new();
    bench.apply(&file).unwrap();
    bench.turns(3);
    let given = [("LEVEL", "debug"), ("FEATURE", "on")];
    let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    bench
        .deploy_with("v2", |request| request.env = given.into())
        .unwrap();
    bench.until("Completed");
    bench.turn();
    let world = bench.world.lock();
    let stable = &world.routes[&shop()].applied.stable;
    let Source::Run { env, .. } = &stable.source else {
        panic!("{stable:?}");
    };
    let env: Vec<String> = env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(env, ["DATABASE=main", "FEATURE=on", "LEVEL=debug"]);
}

/// Returns where the gate of a rollout of such a shop is asked.
fn asked_in(file: &str, urls: Option<&str>, dir: Option<&str>) -> Option<String> {
    let gate = "[10%, { gate: { name: smoke, run: [./smoke] } }, 100%]";
    let file = file.replace("steps: [10%, 50%, 100%]", &format!("steps: {gate}"));
    let mut bench = Bench::new();
    bench.apply(&file).unwrap();
    bench.turns(3);
    bench
        .deploy_with("v2", |request| {
            request.dir = dir.map(str::to_owned);
            if let Some(url) = urls {
                request.run = None;
                request.urls = Some(vec![url.to_owned()]);
            }
        })
        .unwrap();
    for _ in 0..60 {
        bench.turn();
        if let Some((_, subject)) = bench.world.lock().asked.first() {
            return subject.dir.clone();
        }
    }
    panic!("the gate is not asked: {:#?}", bench.view().rollout);
}

#[test]
fn a_gate_runs_where_the_version_runs() {
    let dir = |text: &str| Some(text.to_owned());
    assert_eq!(asked_in(SHOP, None, None), dir("/srv/."));
    assert_eq!(asked_in(SHOP, None, Some("/build/7")), dir("/build/7"));
    let url = Some("http://127.0.0.1:9");
    // A version that was given by its address runs nowhere here.
    assert_eq!(asked_in(SHOP, url, None), dir("/srv/."));
    let all_given = SHOP.replace(
        "run: ./shop --port $PORT, replicas: 2",
        "url: http://127.0.0.1:8",
    );
    assert_eq!(asked_in(&all_given, url, None), dir("/srv"));
}

#[test]
fn the_addresses_that_are_shown_are_the_ones_that_are_bound() {
    let mut bench = Bench::new();
    bench
        .apply(&SHOP.replace("127.0.0.1:8080", "[127.0.0.1:0, 127.0.0.1:8080]"))
        .unwrap();
    let (asked, bound) = ("127.0.0.1:0", "127.0.0.1:43210");
    bench
        .world
        .lock()
        .listeners
        .insert(asked.parse().unwrap(), bound.parse().unwrap());
    bench.turn();
    assert_eq!(bench.view().listen, [bound, "127.0.0.1:8080"]);
}
