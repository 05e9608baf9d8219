//! Clocks that jump, machines that sleep, windows and freezes (T1 and T2 of the field's faults).

use haldane_api::http::CommandName::Abort;

use super::bench::{Bench, SHOP, version};

fn with_rule(rule: &str) -> Bench {
    let mut bench = Bench::new();
    bench.apply(&format!("{SHOP}      {rule}\n")).unwrap();
    bench.turns(3);
    bench
}

/// Returns how many turns a rollout takes whose clock jumps when it has 10 %.
fn turns_with_jump(seconds: i64) -> (u32, Vec<String>) {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.turns(2);
    bench.world.jump(seconds);
    let mut turns = 0;
    while bench.phase() != "Completed" {
        bench.turn();
        turns += 1;
        assert!(turns < 100, "{:?}", bench.view().rollout);
    }
    (turns, bench.story("shop-1"))
}

#[test]
fn a_clock_that_jumps_ends_no_wait_and_stops_no_judge() {
    let undisturbed = turns_with_jump(0);
    for seconds in [3_600, -3_600, 8 * 3_600, 10, -10] {
        assert_eq!(turns_with_jump(seconds), undisturbed, "{seconds}");
    }
}

#[test]
fn a_bad_version_is_found_as_soon_after_a_jump_as_without() {
    let turns_to_zero = |seconds: i64| {
        let mut bench = Bench::with_shop();
        bench.deploy("v2").unwrap();
        bench.until_weight(50);
        bench.world.jump(seconds);
        bench.world.lock().failing.insert(version("v2"), 500);
        let mut turns = 0;
        while bench.routed() > 0 {
            bench.turn();
            turns += 1;
            assert!(turns < 30, "{seconds}");
        }
        turns
    };
    let undisturbed = turns_to_zero(0);
    for seconds in [3_600, -3_600] {
        assert_eq!(turns_to_zero(seconds), undisturbed, "{seconds}");
    }
}

#[test]
fn a_restart_with_the_clock_put_back_goes_on_from_the_last_decision() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.world.jump(-3_600);
    bench.restart();
    let mut turns = 0;
    while bench.phase() != "Completed" {
        bench.turn();
        turns += 1;
        assert!(turns < 40, "{:?}", bench.view().rollout);
    }
    // Free again, the driver follows the wall clock.
    bench.turns(2);
    assert_eq!(bench.view().at, bench.world.lock().wall);
    bench.world.lock().failing.insert(version("v3"), 500);
    bench.deploy("v3").unwrap();
    bench.until("RolledBack");
}

#[test]
fn one_turn_that_comes_hours_late_never_makes_two_steps() {
    for percent in [10, 50] {
        let mut bench = Bench::with_shop();
        bench.deploy("v2").unwrap();
        bench.until_weight(percent);
        bench.turns(1);
        // The whole process stood still, and time went on.
        bench.world.pass(8 * 3_600);
        bench.turn_now();
        assert!(
            bench.routed() <= percent,
            "no rise without a look at what came since"
        );
        assert_ne!(bench.phase(), "Completed");
        bench.until_view("an end", |view| {
            view.rollout.as_ref().is_some_and(|it| it.is_over)
        });
        assert_eq!(bench.phase(), "RolledBack");
    }
}

#[test]
fn a_short_stop_changes_nothing_but_the_time() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.world.pass(4);
    bench.turn_now();
    assert_eq!(bench.routed(), 10);
    bench.until("Completed");
}

#[test]
fn after_a_late_turn_traffic_that_was_applied_counts_as_applied() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    // Before it was seen as applied, the process stood still beyond every deadline for that.
    bench.world.pass(300);
    bench.turn_now();
    let story = bench.view().rollout.unwrap().message;
    assert!(!story.contains("not verified"), "{story}");
}

#[test]
fn a_freeze_that_begins_within_a_step_holds_the_next_rise() {
    let freeze =
        "freezes: [{ from: 2026-11-20T12:00:09Z, to: 2026-11-20T12:05:00Z, reason: sale }]";
    let mut bench = with_rule(freeze);
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.turns(30);
    assert_eq!((bench.phase().as_str(), bench.routed()), ("Paused", 10));
    assert!(bench.view().rollout.unwrap().message.contains("sale"));
    // It ends by the wall clock.
    bench.world.jump(300);
    bench.turns(2);
    assert_eq!(bench.routed(), 50);
    bench.until("Completed");
}

#[test]
fn a_freeze_never_keeps_a_rollback_from_happening() {
    let freeze =
        "freezes: [{ from: 2026-11-20T12:00:09Z, to: 2026-11-20T13:00:00Z, reason: sale }]";
    let frozen = || {
        let mut bench = with_rule(freeze);
        bench.deploy("v2").unwrap();
        bench.until_weight(10);
        bench.turns(20);
        assert_eq!(bench.phase(), "Paused");
        bench
    };
    let mut bench = frozen();
    bench.command(Abort).unwrap();
    assert_eq!(bench.routed(), 0);
    bench.until("RolledBack");
    let bench = &mut frozen();
    bench.world.lock().failing.insert(version("v2"), 500);
    bench.until("RolledBack");
    assert!(bench.world.lock().wall < "2026-11-20T12:59:00Z".parse().unwrap());
}

#[test]
fn nothing_begins_outside_of_its_windows() {
    let window = "windows: [{ days: [fri], from: '12:02', to: '12:30', timeZone: UTC }]";
    let mut bench = with_rule(window);
    bench.deploy("v2").unwrap();
    bench.turns(30);
    assert_eq!(bench.phase(), "Pending");
    assert_eq!(bench.world.lock().replicas.len(), 1);
    bench.until("Completed");
    assert!(bench.world.lock().wall >= "2026-11-20T12:02:00Z".parse().unwrap());
}

#[test]
fn a_window_shorter_than_a_step_lets_it_rise_once_each_time() {
    // A minute, and the holds take longer than that.
    let window = "windows: [{ days: [fri], from: '12:01', to: '12:02', timeZone: UTC }, { days: [fri], from: '12:04', to: '12:05', timeZone: UTC }, { days: [fri], from: '12:07', to: '12:08', timeZone: UTC }]";
    let text = format!("{}      {window}\n", SHOP.replace("hold: 5s", "hold: 70s"));
    let mut bench = Bench::new();
    bench.apply(&text).unwrap();
    bench.turns(2);
    bench.deploy("v2").unwrap();
    let mut rises: Vec<(u16, String)> = Vec::new();
    for _ in 0..600 {
        bench.turn();
        let routed = bench.routed();
        if rises.last().map_or(0, |(weight, _)| *weight) < routed {
            let wall = bench.world.lock().wall.to_string();
            rises.push((routed, wall[14..16].to_owned()));
        }
        if bench.phase() == "Completed" {
            break;
        }
    }
    let at = |weight: u16, minute: &str| (weight, minute.to_owned());
    assert_eq!(rises, [at(10, "01"), at(50, "04"), at(100, "07")]);
    assert_eq!(bench.phase(), "Completed");
}
