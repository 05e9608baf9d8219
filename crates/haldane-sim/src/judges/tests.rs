//! Whole runs: the same seed gives the same run, costs are counted to the planned end, and full weight is watched.

use super::*;

fn schedule(percents: &[u8], hold: u32) -> Schedule {
    Schedule {
        steps: percents.iter().copied().map(Weight::from_percent).collect(),
        hold,
    }
}

fn usual() -> Schedule {
    schedule(&[5, 25, 50, 100], 300)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = Scenario {
        latency: Some(Latency::usual(Latency::istio())),
        ..Scenario::errors(100.0, 0.01, 0.03)
    };
    for judge in Judge::ALL {
        let run = |seed| play(judge, &scenario, &usual(), seed);
        assert_eq!(run(1), run(1), "{judge:?}");
    }
    let times: Vec<_> = (0..8)
        .map(|seed| play(Judge::Sequential, &scenario, &usual(), seed).rolled_back)
        .collect();
    assert!(times.iter().any(|time| *time != times[0]), "{times:?}");
}

#[test]
fn a_broken_canary_is_rolled_back_and_costs_what_it_broke() {
    let scenario = Scenario::errors(1_000.0, 0.001, 0.501);
    for (judge, at) in [
        (Judge::Sequential, 1),
        (Judge::Scraped, 5),
        (Judge::FixedWindow, 60),
        (Judge::Flagger, 360),
    ] {
        let run = play(judge, &scenario, &usual(), 1);
        assert_eq!(run.rolled_back, Some(at), "{judge:?}");
        // Half of 50 canary requests a second; Flagger stands still at 5 %.
        assert!(
            (run.excess_errors - 25.0 * f64::from(at)).abs() < 1e-6,
            "{judge:?}: {}",
            run.excess_errors
        );
        assert_eq!((run.paused, run.promoted), (None, None));
    }
}

#[test]
fn what_a_promoted_canary_costs_is_counted_to_the_planned_end() {
    let scenario = Scenario::errors(100.0, 0.001, 0.0019);
    let adaptive = play(Judge::Adaptive, &scenario, &usual(), 2);
    let promoted = adaptive.promoted.unwrap();
    assert!(promoted < 1_200, "{promoted}");
    let rest = 0.09 * f64::from(1_200 - promoted);
    assert!(adaptive.excess_errors > rest, "{}", adaptive.excess_errors);
    let fixed = play(Judge::FixedWindow, &scenario, &usual(), 2);
    assert_eq!(fixed.promoted, Some(1_200));
    assert!(
        (fixed.excess_errors - 0.09 * 540.0).abs() < 1e-6,
        "{}",
        fixed.excess_errors
    );
}

#[test]
fn a_paused_canary_keeps_its_weight() {
    let scenario = Scenario::errors(1_000.0, 0.001, 0.075);
    let run = play(Judge::Argo, &scenario, &usual(), 1);
    assert_eq!(run.paused, Some(30));
    assert!(
        (run.excess_errors - 3.7 * 1_200.0).abs() < 1e-6,
        "{}",
        run.excess_errors
    );
}

#[test]
fn an_incident_at_full_weight_steps_back_and_goes_on() {
    let scenario = Scenario {
        incident: table::incident(16, 18),
        ..Scenario::errors(100.0, 0.001, 0.001)
    };
    let run = play(Judge::Sequential, &scenario, &usual(), 1);
    assert_eq!((run.rolled_back, run.paused), (None, None));
    // Five minutes of comparison, and full weight anew.
    assert!(
        run.promoted.is_some_and(|at| (1_500..1_700).contains(&at)),
        "{run:?}"
    );
}

#[test]
fn a_fault_at_full_weight_is_found_by_stepping_back() {
    let scenario = Scenario {
        onset: 960,
        ..Scenario::errors(100.0, 0.001, 0.05)
    };
    let run = play(Judge::Sequential, &scenario, &usual(), 1);
    assert!(
        run.rolled_back.is_some_and(|at| (960..1_000).contains(&at)),
        "{run:?}"
    );
}

#[test]
fn fewer_hits_and_more_use_are_judged() {
    let scenario = Scenario {
        conversion: Some(Conversion {
            stable: 0.3,
            canary: 0.1,
        }),
        ..Scenario::errors(200.0, 0.0, 0.0)
    };
    let run = play(
        Judge::Sequential,
        &scenario,
        &schedule(&[5, 25, 50], 300),
        1,
    );
    assert!(run.rolled_back.is_some_and(|at| at < 120), "{run:?}");
    let pods = Pods {
        stable: 10,
        canary: 2,
        ratio: 3.0,
        spread: 0.02,
    };
    let scenario = Scenario {
        pods: Some(pods),
        ..Scenario::errors(10.0, 0.0, 0.0)
    };
    let run = play(Judge::Sequential, &scenario, &usual(), 1);
    assert!(
        run.rolled_back.is_none() && run.paused.is_some(),
        "it holds: {run:?}"
    );
    assert!(
        play(Judge::Kayenta, &scenario, &usual(), 1)
            .rolled_back
            .is_some()
    );
}

#[test]
fn without_a_margin_small_differences_are_found_sooner() {
    let scenario = Scenario::errors(1_000.0, 0.2, 0.26);
    let at = |judge| play(judge, &scenario, &usual(), 1).rolled_back;
    let (strict, usual) = (at(Judge::Strict), at(Judge::Sequential));
    assert!(
        strict.is_some() && usual.is_none_or(|usual| strict < Some(usual)),
        "{strict:?}, {usual:?}"
    );
}
