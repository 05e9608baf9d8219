//! The peers on traffic that is made by hand: what each decides, and when.

use haldane_core::Weight;

use super::*;
use crate::judges::Latency;

fn schedule() -> Schedule {
    Schedule {
        steps: [5, 25, 50, 100].map(Weight::from_percent).to_vec(),
        hold: 300,
    }
}

/// Returns when a judge stops a canary that fails so many of ten thousand in each second, and how; stable fails one in a hundred.
fn stop(
    judge: &mut dyn Decider,
    failures: impl Fn(u32) -> u64,
    latencies: &[u64],
) -> Option<(u32, Turn)> {
    for at in 0..3_600 {
        let weight = judge.weight(at)?;
        let counts = |failures: u64| Counts {
            requests: 10_000,
            failures,
            latencies: latencies.to_vec(),
            hits: 0,
        };
        let second = Second {
            stable: counts(100),
            canary: counts(failures(at)),
            ..Second::empty(weight)
        };
        let turn = judge.hear(at + 1, &second);
        if turn != Turn::On {
            return Some((at + 1, turn));
        }
    }
    None
}

fn scenario() -> Scenario {
    Scenario::errors(100.0, 0.01, 0.01)
}

#[test]
fn flagger_rolls_back_on_the_tick_after_five_failed_checks() {
    let flagger = || Flagger::new(&scenario(), schedule(), 0.99);
    assert_eq!(
        stop(&mut flagger(), |_| 101, &[]),
        Some((360, Turn::RollBack))
    );
    assert_eq!(
        stop(&mut flagger(), |_| 100, &[]),
        None,
        "exactly at the limit is kept"
    );
    // Each second minute fails: five failed checks after ten minutes.
    let by_turns = |at: u32| if (at / 60).is_multiple_of(2) { 500 } else { 0 };
    assert_eq!(
        stop(&mut flagger(), by_turns, &[]),
        Some((600, Turn::RollBack))
    );
}

#[test]
fn flagger_stands_still_while_checks_fail() {
    let mut flagger = Flagger::new(&scenario(), schedule(), 0.99);
    // Four of the first five minutes fail, so that the second step begins four minutes late.
    let stopped = stop(
        &mut flagger,
        |at| if (60..300).contains(&at) { 500 } else { 0 },
        &[],
    );
    assert_eq!((stopped, flagger.kept), (None, 20));
    assert_eq!(flagger.weight(0), None);
}

#[test]
fn argo_pauses_between_its_limits_and_rolls_back_on_the_third_failure() {
    let argo = || Argo::new(schedule());
    assert_eq!(
        stop(&mut argo(), |_| 1_100, &[]),
        Some((90, Turn::RollBack))
    );
    assert_eq!(stop(&mut argo(), |_| 700, &[]), Some((30, Turn::Pause)));
    assert_eq!(stop(&mut argo(), |_| 500, &[]), None, "95 % passes");
}

#[test]
fn the_fixed_window_is_broken_above_its_limits() {
    let fixed = || FixedWindow::new(&scenario(), schedule());
    assert_eq!(stop(&mut fixed(), |_| 501, &[]), Some((60, Turn::RollBack)));
    assert_eq!(
        stop(&mut fixed(), |_| 500, &[]),
        None,
        "exactly 5 % is kept"
    );
    // One bad minute in five is 3 %.
    assert_eq!(
        stop(&mut fixed(), |at| if at / 60 == 7 { 1_500 } else { 0 }, &[]),
        None
    );
}

#[test]
fn peers_look_at_the_99th_percentile() {
    let scenario = Scenario {
        latency: Some(Latency::usual(vec![400_000, 500_000, 2_000_000])),
        ..scenario()
    };
    let fixed = || FixedWindow::new(&scenario, schedule());
    let flagger = || Flagger::new(&scenario, schedule(), 0.9);
    let check = |latencies: &[u64], flagger_at: Option<u32>, fixed_at: Option<u32>| {
        let at = |stopped: Option<(u32, Turn)>| stopped.map(|(at, _)| at);
        assert_eq!(
            at(stop(&mut flagger(), |_| 0, latencies)),
            flagger_at,
            "{latencies:?}"
        );
        assert_eq!(
            at(stop(&mut fixed(), |_| 0, latencies)),
            fixed_at,
            "{latencies:?}"
        );
    };
    check(&[90, 10, 0, 0], None, None);
    check(&[90, 8, 2, 0], Some(360), Some(60));
    // Two thirds of the bucket up: the 99th percentile is at one second, and not above.
    check(&[970, 15, 15, 0], Some(360), None);
}

#[test]
fn kayenta_judges_at_the_ends_of_all_steps_but_the_last() {
    let kayenta = || Kayenta::new(&scenario(), schedule());
    // Points must differ for a comparison.
    let bad = |at: u32| 900 + u64::from(at / 60) * 6;
    assert_eq!(stop(&mut kayenta(), bad, &[]), Some((300, Turn::RollBack)));
    let late = |at: u32| if at >= 900 { bad(at) } else { 100 };
    assert_eq!(
        stop(&mut kayenta(), late, &[]),
        None,
        "the last step is not judged"
    );
}

#[test]
fn the_threshold_judge_keeps_to_five_percent() {
    let judge = || Threshold::new(schedule());
    assert_eq!(stop(&mut judge(), |_| 400, &[]), None);
    let stopped = stop(&mut judge(), |_| 600, &[]);
    assert!(
        stopped.is_some_and(|(at, turn)| at <= 30 && turn == Turn::RollBack),
        "{stopped:?}"
    );
}
