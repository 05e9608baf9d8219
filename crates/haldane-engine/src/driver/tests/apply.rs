//! Applying release files.

use haldane_api::http::CommandName;

use super::bench::{Bench, SHOP, shop, version, why};
use crate::handle::RequestError;

/// The shop's file with another stable version.
fn with_version(name: &str) -> String {
    SHOP.replace("version: v1", &format!("version: {name}"))
}

/// The shop's file with another service beside it.
fn with_blog() -> String {
    format!(
        "{SHOP}  blog:
    listen: 127.0.0.1:8081
    stable: {{ version: b1, run: ./blog --port $PORT }}
"
    )
}

#[test]
fn a_new_service_serves_and_the_same_file_changes_nothing() {
    let mut bench = Bench::new();
    let answer = bench.apply(SHOP).unwrap();
    assert_eq!(answer.messages, ["shop: added, v1 serves"]);
    bench.turns(2);
    assert_eq!(bench.world.lock().runs(&shop(), "v1"), 2);
    let commits = bench.faults.commits();
    let answer = bench.apply(SHOP).unwrap();
    assert_eq!(answer.messages, ["shop: unchanged"]);
    assert_eq!(bench.faults.commits(), commits);
}

#[test]
fn who_is_told_survives_a_restart_and_changes_with_the_file() {
    let told = |bench: &Bench| bench.world.lock().targets.len();
    let mut bench = Bench::with_shop();
    assert_eq!(told(&bench), 0);
    bench
        .apply(&format!(
            "notify: {{ webhook: http://127.0.0.1:9 }}\n{SHOP}"
        ))
        .unwrap();
    assert_eq!(told(&bench), 1);
    bench.world.lock().targets.clear();
    bench.restart();
    assert_eq!(told(&bench), 1);
    bench.apply(SHOP).unwrap();
    assert_eq!(told(&bench), 0);
}

#[test]
fn changed_settings_begin_no_rollout() {
    let mut bench = Bench::with_shop();
    let answer = bench
        .apply(&SHOP.replace("replicas: 2", "replicas: 3"))
        .unwrap();
    assert_eq!(answer.messages, ["shop: changed in its settings"]);
    bench.turns(2);
    assert_eq!(bench.world.lock().runs(&shop(), "v1"), 3);
    assert!(bench.view().rollout.is_none());
}

#[test]
fn a_changed_version_begins_a_rollout() {
    let mut bench = Bench::with_shop();
    let answer = bench.apply(&with_version("v2")).unwrap();
    assert_eq!(
        answer.messages,
        ["shop: moved to v2", "shop: rollout shop-1 begins: v2"]
    );
    assert_eq!(answer.rollout.unwrap().as_str(), "shop-1");
    let rollout = bench.view().rollout.unwrap();
    assert_eq!(
        (rollout.kind.as_str(), rollout.by.as_str()),
        ("apply", "ann")
    );
    bench.until("Completed");
    bench.turn();
    assert!(bench.view().differences.is_empty());
    assert_eq!(
        bench.apply(&with_version("v2")).unwrap().messages,
        ["shop: unchanged"]
    );
}

#[test]
fn after_a_promotion_the_file_is_told_to_differ_and_does_nothing() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until("Completed");
    let answer = bench.apply(SHOP).unwrap();
    assert_eq!(
        answer.messages,
        ["shop: unchanged; runs v2, which is not what the file says"]
    );
    // Its settings may change without it going back.
    let answer = bench.apply(&SHOP.replace("hold: 5s", "hold: 6s")).unwrap();
    assert_eq!(answer.messages, ["shop: changed in its settings"]);
    bench.turns(2);
    assert_eq!(bench.view().stable.version, version("v2"));
    // The file catches up.
    bench.apply(&with_version("v2")).unwrap();
    bench.turn();
    assert!(bench.view().differences.is_empty());
    assert_eq!(bench.rollout_id(), "shop-1");
}

#[test]
fn a_file_that_goes_back_to_stable_ends_the_rollout() {
    let mut bench = Bench::with_shop();
    bench.apply(&with_version("v2")).unwrap();
    bench.until_weight(10);
    bench.apply(SHOP).unwrap();
    assert_eq!(bench.routed(), 0);
    bench.until("RolledBack");
    assert_eq!(
        bench.view().rollout.unwrap().message,
        "the stable version was asked for again"
    );
}

#[test]
fn a_file_with_the_version_on_trial_is_kept() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    let answer = bench.apply(&with_version("v2")).unwrap();
    assert_eq!(
        answer.messages,
        ["shop: moved to v2", "shop: v2 is on trial already"]
    );
    bench.until("Completed");
    bench.turn();
    assert!(bench.view().differences.is_empty());
}

#[test]
fn what_is_no_longer_in_the_file_is_left_or_pruned() {
    let mut bench = Bench::new();
    bench.apply(&with_blog()).unwrap();
    bench.turns(2);
    let left = "blog: no longer in the file; it goes on (`--prune` removes it)";
    assert_eq!(
        bench.apply(SHOP).unwrap().messages,
        [left, "shop: unchanged"]
    );
    let blog = "blog".parse().unwrap();
    bench.turn();
    assert_eq!(bench.world.lock().runs(&blog, "b1"), 1);
    let answer = bench
        .apply_with(SHOP, |request| request.prune = true)
        .unwrap();
    assert_eq!(
        answer.messages,
        ["blog: stopped and removed", "shop: unchanged"]
    );
    bench.turn();
    assert_eq!(bench.world.lock().runs(&blog, "b1"), 0);
    assert_eq!(bench.world.lock().forgotten, [version("b1")]);
    bench.restart();
    assert!(!bench.engine().views().contains_key(&blog));
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut bench = Bench::with_shop();
    let commits = bench.faults.commits();
    let text = with_blog().replace("version: v1", "version: v2");
    let answer = bench
        .apply_with(&text, |request| request.dry_run = true)
        .unwrap();
    assert_eq!(
        answer.messages,
        [
            "blog: would be added, b1 serves",
            "shop: would be moved to v2"
        ]
    );
    assert_eq!(bench.faults.commits(), commits);
    assert_eq!(bench.world.lock().services.len(), 1);
    assert!(bench.view().rollout.is_none());
}

#[test]
fn a_bad_file_keeps_the_old() {
    let mut bench = Bench::with_shop();
    let commits = bench.faults.commits();
    let zone =
        "      windows: [{ days: [mon], from: '09:00', to: '17:00', timeZone: Mars/Olympus }]\n";
    for text in [
        "services: {",
        &SHOP.replace("errorRate", "errorRat"),
        &format!("{SHOP}{zone}"),
    ] {
        let answer = bench.apply(text);
        assert!(
            matches!(&answer, Err(RequestError::Invalid { problems, .. }) if !problems.is_empty()),
            "{answer:?}"
        );
    }
    assert_eq!(bench.faults.commits(), commits);
    assert_eq!(bench.apply(SHOP).unwrap().messages, ["shop: unchanged"]);
}

#[test]
fn an_address_that_cannot_be_had_changes_nothing() {
    let mut bench = Bench::with_shop();
    let commits = bench.faults.commits();
    bench.world.lock().listen_fault = Some("127.0.0.1:8081 is in use".to_owned());
    let text = with_blog().replace("version: v1", "version: v2");
    assert_eq!(why(bench.apply(&text)), "127.0.0.1:8081 is in use");
    assert_eq!(bench.faults.commits(), commits);
    assert_eq!(bench.world.lock().services.len(), 1);
    assert!(bench.view().rollout.is_none());
    bench.world.lock().listen_fault = None;
    bench.apply(&text).unwrap();
    bench.until("Completed");
}

#[test]
fn a_file_that_the_disk_does_not_take_can_be_applied_again() {
    let mut bench = Bench::with_shop();
    let text = with_blog().replace("version: v1", "version: v2");
    bench.broken_disk(true);
    assert!(matches!(bench.apply(&text), Err(RequestError::Store(_))));
    assert_eq!(bench.world.lock().services.len(), 1, "listens as before");
    bench.turns(2);
    bench.broken_disk(false);
    let answer = bench.apply(&text).unwrap();
    assert_eq!(
        answer.messages,
        [
            "blog: added, b1 serves",
            "shop: moved to v2",
            "shop: rollout shop-1 begins: v2"
        ]
    );
    bench.until("Completed");
}

#[test]
fn a_file_whose_rollout_begins_but_whose_text_is_not_kept_can_be_applied_again() {
    let mut bench = Bench::with_shop();
    // The rollout's beginning is durable, the commit of the file after it is not.
    bench
        .faults
        .set(|script| script.crash = Some((script.commits + 2, super::failing::Moment::Before)));
    assert!(bench.survive(|bench| {
        bench.apply(&with_version("v2")).unwrap();
    }));
    bench.until_weight(10);
    bench.apply(&with_version("v2")).unwrap();
    bench.until("Completed");
    bench.turn();
    assert!(bench.view().differences.is_empty());
    assert_eq!(bench.rollout_id(), "shop-1");
}

#[test]
fn who_is_told_follows_the_file() {
    let mut bench = Bench::with_shop();
    bench
        .apply(&format!(
            "notify: [{{ webhook: http://127.0.0.1:9/ }}]{SHOP}"
        ))
        .unwrap();
    assert_eq!(bench.world.lock().targets.len(), 1);
}

#[test]
fn a_removed_service_takes_its_rollout_with_it() {
    let mut bench = Bench::new();
    bench.apply(&with_blog()).unwrap();
    bench.turns(2);
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    let blog = with_blog()
        .replacen("  shop:", "  shop2:", 1)
        .replace("8080", "8082");
    bench
        .apply_with(&blog, |request| request.prune = true)
        .unwrap();
    bench.turn();
    let answer = bench.command(CommandName::Abort);
    assert_eq!(
        answer,
        Err(RequestError::NotFound(
            "there is no service shop".to_owned()
        ))
    );
    let world = bench.world.lock();
    assert_eq!(world.gates_forgotten, ["shop-1".parse().unwrap()]);
    assert_eq!(world.forgotten, [version("v1"), version("v2")]);
    assert_eq!(
        (world.runs(&shop(), "v1"), world.runs(&shop(), "v2")),
        (0, 0)
    );
}
