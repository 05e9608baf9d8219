//! A version that does not start: what people are told, and what follows.

use haldane_core::rollout::{Trouble, TroubleKind};

use super::bench::{Bench, shop, version};

fn trouble(kind: TroubleKind) -> Trouble {
    Trouble {
        kind,
        said: "the program ./shop is missing".to_owned(),
    }
}

/// A bench whose canary is asked for and does not become ready.
fn preparing() -> Bench {
    let mut bench = Bench::with_shop();
    bench.world.lock().deaf.insert(version("v2"));
    bench.deploy("v2").unwrap();
    bench.until("Preparing");
    bench
}

fn set(bench: &Bench, name: &str, trouble: Option<Trouble>) {
    let mut world = bench.world.lock();
    match trouble {
        Some(trouble) => world.troubles.insert(version(name), trouble),
        None => world.troubles.remove(&version(name)),
    };
}

#[test]
fn a_canary_that_fails_is_told_while_it_is_tried_again() {
    let mut bench = preparing();
    let message = |bench: &Bench| bench.view().rollout.unwrap().message;
    assert_eq!(message(&bench), "v2 starts, without traffic");
    set(&bench, "v2", Some(trouble(TroubleKind::StartsFail(3))));
    bench.turn();
    assert_eq!(
        message(&bench),
        "v2 starts, without traffic: the program ./shop is missing"
    );
    let told = "v2 is not ready: the program ./shop is missing";
    assert_eq!(bench.view().notices, [told]);
    let recommendation = bench.view().rollout.unwrap().recommendation;
    assert!(recommendation.contains("haldane logs"), "{recommendation}");

    bench.world.lock().deaf.clear();
    set(&bench, "v2", None);
    bench.until("Completed");
    bench.turn();
    assert_eq!(bench.view().notices, [""; 0]);
}

#[test]
fn a_canary_that_cannot_start_is_rolled_back_at_once_and_history_says_why() {
    let mut bench = preparing();
    set(&bench, "v2", Some(trouble(TroubleKind::CannotStart)));
    bench.turn();
    let why = "the canary cannot start: the program ./shop is missing";
    bench.until("RolledBack");
    assert_eq!(bench.view().rollout.unwrap().message, why);
    let entries = bench.entries("shop-1");
    let decision = entries
        .iter()
        .find(|entry| entry.state.phase.name() == "RollingBack");
    assert_eq!(decision.unwrap().text, format!("rolling back: {why}"));
    let world = bench.world.lock();
    let news = world.news.last().unwrap();
    assert_eq!(news.text, format!("rolled back to v1: {why}"));
    assert_eq!(world.weight(&shop()).as_bps(), 0);
}

#[test]
fn a_canary_that_was_lost_says_what_its_home_knows() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.world.lock().deaf.insert(version("v2"));
    set(&bench, "v2", Some(trouble(TroubleKind::StartsFail(4))));
    bench.turn();
    assert_eq!(
        bench.view().rollout.unwrap().message,
        "no replica of the canary is ready; stable serves alone: the program ./shop is missing"
    );
    // It was ready once: its loss has the plan's time.
    assert_eq!(bench.phase(), "Progressing");
    // Unless it fails again and again.
    set(&bench, "v2", Some(trouble(TroubleKind::StartsFail(5))));
    bench.until("RolledBack");
    let told = "the canary cannot start: the program ./shop is missing";
    assert_eq!(bench.view().rollout.unwrap().message, told);
}

#[test]
fn stable_in_trouble_is_a_notice() {
    let mut bench = Bench::with_shop();
    set(&bench, "v1", Some(trouble(TroubleKind::CannotStart)));
    bench.turn();
    let told = "v1 is not ready: the program ./shop is missing";
    assert_eq!(bench.view().notices, [told]);
}
