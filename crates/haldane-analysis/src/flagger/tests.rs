//! Tests of Flagger's rules.

use super::*;

fn check(kind: Kind, limit: Limit, reading: &Reading) -> Check {
    let metric = Metric {
        name: "m".to_owned(),
        kind,
        limit,
    };
    metric.check(reading)
}

fn range(min: Option<f64>, max: Option<f64>) -> Limit {
    Limit::Range { min, max }
}

fn failed() -> Tick {
    Tick::Checked(Check::Failed("bad".to_owned()))
}

const KEPT: Tick = Tick::Checked(Check::Kept);

#[test]
fn a_value_at_its_limit_is_kept() {
    use Kind::{Custom, Duration, SuccessRate};
    let (min, max) = (range(Some(99.0), None), range(None, Some(500.0)));
    for (kind, limit, value, reason) in [
        (SuccessRate, min, 99.0, None),
        (SuccessRate, min, 98.994, Some("success rate 98.99% < 99%")),
        (
            SuccessRate,
            range(None, Some(99.0)),
            99.5,
            Some("success rate 99.50% > 99%"),
        ),
        (SuccessRate, Limit::Threshold(99.0), 99.0, None),
        (
            SuccessRate,
            Limit::Threshold(99.0),
            98.0,
            Some("success rate 98.00% < 99%"),
        ),
        (Duration, max, 500.0, None),
        (Duration, max, 500.999, None),
        (
            Duration,
            range(None, Some(500.9)),
            501.0,
            Some("request duration 501ms > 500ms"),
        ),
        (
            Duration,
            range(Some(10.0), None),
            9.9,
            Some("request duration 9ms < 10ms"),
        ),
        (
            Duration,
            Limit::Threshold(500.0),
            501.0,
            Some("request duration 501ms > 500ms"),
        ),
        (Custom, max, 500.0, None),
        (Custom, max, 500.001, Some("m 500.00 > 500")),
        (Custom, range(Some(1.0), Some(2.0)), 0.5, Some("m 0.50 < 1")),
        (Custom, range(None, None), 1e300, None),
        // Without any limit the old threshold is 0, so that any positive value fails.
        (Custom, Limit::Threshold(0.0), 0.1, Some("m 0.10 > 0")),
        (Custom, Limit::Threshold(0.0), 0.0, None),
        (Custom, max, f64::INFINITY, Some("m inf > 500")),
    ] {
        let expected = reason.map_or(Check::Kept, |reason| Check::Failed(reason.to_owned()));
        let found = check(kind, limit, &Reading::Value(value));
        assert_eq!(found, expected, "{kind:?} {limit:?} {value}");
    }
}

#[test]
fn no_data_is_a_failed_check() {
    for (reading, reason) in [
        (Reading::NoData, "no values found for metric m"),
        (Reading::Value(f64::NAN), "no values found for metric m"),
        (
            Reading::Error("timeout".to_owned()),
            "query failed for m: timeout",
        ),
    ] {
        for kind in [Kind::SuccessRate, Kind::Duration, Kind::Custom] {
            let found = check(kind, range(None, None), &reading);
            assert_eq!(found, Check::Failed(reason.to_owned()));
        }
    }
}

#[test]
fn the_first_failure_ends_the_checks() {
    let metric = |name: &str| Metric {
        name: name.to_owned(),
        kind: Kind::Custom,
        limit: range(None, Some(1.0)),
    };
    let (a, b, c) = (metric("a"), metric("b"), metric("c"));
    let (good, bad) = (Reading::Value(1.0), Reading::Value(2.0));
    let found = Check::all([(&a, &good), (&b, &bad), (&c, &Reading::NoData)]);
    assert_eq!(found, Check::Failed("b 2.00 > 1".to_owned()));
    assert_eq!(Check::all([(&a, &good), (&c, &good)]), Check::Kept);
    assert_eq!(Check::all([]), Check::Kept);
}

#[test]
fn the_rollback_comes_on_the_tick_after_the_threshold() {
    let mut checks = Checks::default();
    for count in 1..=5 {
        assert_eq!(checks.tick(5, &failed()), Decision::Halt);
        assert_eq!(checks.failed, count);
    }
    assert!(checks.is_exhausted(5));
    // Even a good tick comes too late.
    assert_eq!(checks.tick(5, &KEPT), Decision::RollBack);
    assert_eq!(checks.failed, 5);
}

#[test]
fn a_good_tick_forgives_nothing() {
    let mut checks = Checks::default();
    let ticks = [failed(), KEPT, failed(), KEPT, KEPT, failed(), KEPT];
    let found: Vec<_> = ticks.iter().map(|tick| checks.tick(3, tick)).collect();
    use Decision::{Advance, Halt, RollBack};
    assert_eq!(
        found,
        [Halt, Advance, Halt, Advance, Advance, Halt, RollBack]
    );
}

#[test]
fn a_canary_that_is_not_ready_is_not_counted() {
    let mut checks = Checks::default();
    assert_eq!(checks.tick(1, &Tick::NotReady), Decision::Halt);
    assert_eq!(checks, Checks::default());
    assert_eq!(checks.tick(1, &failed()), Decision::Halt);
    // It is looked for before the failed checks are, and delays the rollback.
    assert_eq!(checks.tick(1, &Tick::NotReady), Decision::Halt);
    assert_eq!(checks.tick(1, &failed()), Decision::RollBack);
}

#[test]
fn a_dead_canary_and_a_hook_roll_back_at_once() {
    for tick in [Tick::NeverReady, Tick::RollbackAsked] {
        let mut checks = Checks::default();
        assert_eq!(checks.tick(10, &tick), Decision::RollBack);
        assert_eq!(checks.tick(10, &KEPT), Decision::RollBack, "and stays so");
        assert_eq!(checks.failed, 0);
    }
}

#[test]
fn no_threshold_is_a_threshold_of_one() {
    let mut checks = Checks::default();
    assert_eq!(checks.tick(0, &KEPT), Decision::Advance);
    assert_eq!(checks.tick(0, &failed()), Decision::Halt);
    assert_eq!(checks.tick(0, &KEPT), Decision::RollBack);
}

#[test]
fn the_state_is_data() {
    let mut checks = Checks::default();
    checks.tick(2, &failed());
    let text = serde_json::to_string(&checks).unwrap();
    assert_eq!(text, r#"{"failed":1,"rolledBack":false}"#);
    assert_eq!(serde_json::from_str::<Checks>(&text).unwrap(), checks);
}
