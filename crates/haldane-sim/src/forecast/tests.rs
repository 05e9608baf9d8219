//! Tests of `forecast`.

use haldane_core::{
    Weight,
    guard::{Guard, Limit, Metric, Severity},
    plan::{Analysis, Hold, Mode, OnDoubt, PlanParts, Rules, Step, preset},
};

use super::*;

const ERROR_LIMIT: Guard = Guard {
    metric: Metric::ErrorRate,
    pass: Limit::Absolute(50_000),
    fail: Limit::Absolute(50_000),
    failures: 0,
    severity: Severity::Critical,
};

fn rules(guards: &[Guard]) -> Rules {
    Rules {
        guards: guards.to_vec(),
        ..Rules::default()
    }
}

/// 5, 25, 50 and 100 %, a minute each.
fn plan(rules: Rules) -> Plan {
    Plan::try_new(preset::shares(
        &[5, 25, 50, 100],
        Duration::from_mins(1),
        rules,
    ))
    .unwrap()
}

fn quality(error_ppm: u64, median_ms: u64) -> Quality {
    Quality {
        error_ppm,
        latency_median: Duration::from_millis(median_ms),
        latency_sigma: 0.3,
    }
}

fn scenario(plan: Plan, error_ppm: u64) -> Scenario {
    Scenario {
        plan,
        requests_per_second: 100.0,
        stable: quality(0, 50),
        canary: quality(error_ppm, 50),
    }
}

fn forecast(scenario: &Scenario, runs: u32) -> Summary {
    let runs: Vec<Run> = (0..runs)
        .map(|index| play(scenario, seed_of(1, index)))
        .collect();
    summarize(&runs)
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_does_not() {
    let scenario = scenario(plan(rules(&[ERROR_LIMIT])), 10_000);
    assert_eq!(play(&scenario, 1), play(&scenario, 1));
    assert_ne!(play(&scenario, 1), play(&scenario, 2));
}

#[test]
fn a_flawless_canary_is_promoted_when_the_plan_is_over() {
    let summary = forecast(&scenario(plan(rules(&[ERROR_LIMIT])), 0), 20);
    assert_eq!(summary.ends, BTreeMap::from([(End::Promoted, 20)]));
    // Four minutes of holding, and three seconds until the replicas are ready.
    let planned = Duration::from_secs(243);
    assert_eq!(
        summary.promoted_after,
        Some(Spread {
            p50: planned,
            p95: planned
        })
    );
    assert_eq!(summary.canary_failures, Some(Spread { p50: 0, p95: 0 }));
    assert_eq!(summary.places[&(Place::Promotion, End::Promoted)].0, 20);
    let requests = summary.canary_requests.unwrap().p50;
    let expected = 6_000 * (5 + 25 + 50 + 100) / 100;
    assert!(requests.abs_diff(expected) < 300, "{requests}");
}

#[test]
fn a_canary_that_fails_half_is_rolled_back_within_seconds_at_the_first_step() {
    let summary = forecast(&scenario(plan(rules(&[ERROR_LIMIT])), 500_000), 50);
    assert_eq!(summary.ends, BTreeMap::from([(End::RolledBack, 50)]));
    let after = summary.rolled_back_after.unwrap();
    assert!(after.p95 < Duration::from_secs(15), "{after:?}");
    assert!(summary.canary_failures.unwrap().p95 < 20);
    let places: Vec<_> = summary.places.keys().collect();
    assert_eq!(places, [&(Place::Step(1), End::RolledBack)]);
}

#[test]
fn a_service_without_traffic_gives_no_evidence() {
    let scenario = Scenario {
        requests_per_second: 0.01,
        ..scenario(plan(rules(&[ERROR_LIMIT])), 0)
    };
    let summary = forecast(&scenario, 3);
    assert_eq!(summary.ends, BTreeMap::from([(End::NoEvidence, 3)]));
}

#[test]
fn a_limit_against_stable_has_no_evidence_where_the_canary_has_all_traffic() {
    let relative = Guard {
        pass: Limit::Points(50_000),
        fail: Limit::Points(50_000),
        ..ERROR_LIMIT
    };
    let summary = forecast(&scenario(plan(rules(&[relative])), 0), 3);
    assert_eq!(
        summary.places.keys().collect::<Vec<_>>(),
        [&(Place::Step(7), End::NoEvidence)]
    );
}

#[test]
fn a_plan_that_asks_a_person_ends_with_the_question() {
    let manual = Rules {
        advance: Mode::Manual,
        ..rules(&[ERROR_LIMIT])
    };
    let summary = forecast(&scenario(plan(manual), 0), 3);
    assert_eq!(summary.ends, BTreeMap::from([(End::Person, 3)]));
    assert_eq!(summary.places[&(Place::Step(1), End::Person)].0, 3);
}

#[test]
fn a_slow_canary_breaks_fixed_and_relative_latency_limits_and_a_quick_one_keeps_them() {
    let guard = |metric, limit| Guard {
        metric,
        pass: limit,
        fail: limit,
        ..ERROR_LIMIT
    };
    for (name, guard) in [
        ("fixed p95", guard(Metric::P95, Limit::Absolute(110_000))),
        ("relative p95", guard(Metric::P95, Limit::Times(1_500))),
        ("fixed mean", guard(Metric::Mean, Limit::Absolute(80_000))),
        ("relative mean", guard(Metric::Mean, Limit::Times(1_500))),
    ] {
        for (median_ms, end) in [(50, End::Promoted), (100, End::RolledBack)] {
            let canary = quality(0, median_ms);
            // Stable keeps half of the traffic: without any there is nothing to compare with.
            let rules = rules(std::slice::from_ref(&guard));
            let shares = preset::shares(&[25, 50], Duration::from_mins(1), rules);
            let plan = Plan::try_new(shares).unwrap();
            let summary = forecast(
                &Scenario {
                    canary,
                    ..scenario(plan, 0)
                },
                5,
            );
            assert_eq!(
                summary.ends,
                BTreeMap::from([(end, 5)]),
                "{name} at {median_ms} ms"
            );
        }
    }
}

#[test]
fn a_plan_without_guards_is_only_a_matter_of_time() {
    let summary = forecast(&scenario(plan(rules(&[])), 500_000), 3);
    assert_eq!(summary.ends, BTreeMap::from([(End::Promoted, 3)]));
    assert_eq!(
        summary.promoted_after.unwrap().p50,
        Duration::from_secs(243)
    );
    let failures = summary.canary_failures.unwrap().p50;
    assert!(failures.abs_diff(5_400) < 300, "{failures}");
}

#[test]
fn an_analysis_step_judges_by_its_own_guards() {
    let analysis = Analysis {
        name: "errors".to_owned(),
        duration: Duration::from_secs(30),
        guards: vec![ERROR_LIMIT],
    };
    let steps = vec![
        Step::SetWeight(Weight::from_percent(20)),
        Step::Analysis(analysis),
        Step::SetWeight(Weight::FULL),
        Step::Hold(Hold::For(Duration::from_secs(10))),
    ];
    let plan = Plan::try_new(PlanParts {
        steps,
        rules: Rules {
            on_no_data: OnDoubt::Rollback,
            ..rules(&[])
        },
    })
    .unwrap();
    for (error_ppm, end) in [(0, End::Promoted), (300_000, End::RolledBack)] {
        let summary = forecast(&scenario(plan.clone(), error_ppm), 5);
        assert_eq!(summary.ends, BTreeMap::from([(end, 5)]), "{error_ppm} ppm");
    }
}

#[test]
fn a_service_with_two_requests_a_second_is_promoted_in_reasonable_time() {
    let plan = Plan::try_new(preset::shares(
        &[10, 50, 100],
        Duration::from_mins(5),
        rules(&[ERROR_LIMIT]),
    ));
    let slow = Scenario {
        requests_per_second: 2.0,
        ..scenario(plan.unwrap(), 0)
    };
    let summary = forecast(&slow, 20);
    assert_eq!(summary.ends, BTreeMap::from([(End::Promoted, 20)]));
    // A hundred requests at a fifth of one a second, then five minutes twice.
    let promoted = summary.promoted_after.unwrap();
    assert!(promoted.p50 > Duration::from_secs(1_000), "{promoted:?}");
    assert!(promoted.p95 < Duration::from_secs(1_500), "{promoted:?}");
}
