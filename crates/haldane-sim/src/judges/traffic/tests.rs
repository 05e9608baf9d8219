//! What is drawn has the means and spreads that were asked for.

use super::*;

fn check_share(name: &str, found: f64, expected: f64, error: f64) {
    assert!(
        (found - expected).abs() <= 4.0 * error,
        "{name}: {found}, expected {expected}"
    );
}

fn sum(seconds: &[Second], of: impl Fn(&Second) -> u64) -> f64 {
    seconds.iter().map(of).sum::<u64>() as f64
}

fn seconds(scenario: &Scenario, weight: Weight, count: u32) -> Vec<Second> {
    let traffic = Traffic::new(scenario, 5);
    (0..count)
        .map(|at| traffic.second(at, weight, &Fleet::NONE))
        .collect()
}

#[test]
fn requests_and_failures_have_their_means() {
    let scenario = Scenario {
        conversion: Some(Conversion {
            stable: 0.3,
            canary: 0.1,
        }),
        ..Scenario::errors(50.0, 0.02, 0.2)
    };
    let seconds = seconds(&scenario, Weight::from_percent(20), 4_000);
    let (stable, canary) = (160_000.0, 40_000.0_f64);
    check_share(
        "stable",
        sum(&seconds, |it| it.stable.requests),
        stable,
        stable.sqrt(),
    );
    check_share(
        "canary",
        sum(&seconds, |it| it.canary.requests),
        canary,
        canary.sqrt(),
    );
    check_share(
        "stable fails",
        sum(&seconds, |it| it.stable.failures),
        3_200.0,
        57.0,
    );
    check_share(
        "canary fails",
        sum(&seconds, |it| it.canary.failures),
        8_000.0,
        90.0,
    );
    check_share(
        "stable hits",
        sum(&seconds, |it| it.stable.hits),
        48_000.0,
        220.0,
    );
    check_share(
        "canary hits",
        sum(&seconds, |it| it.canary.hits),
        4_000.0,
        64.0,
    );
}

#[test]
fn two_judges_at_the_same_weight_see_the_same_second() {
    let scenario = Scenario {
        latency: Some(Latency::usual(Latency::istio())),
        ..Scenario::errors(100.0, 0.01, 0.1)
    };
    let (one, other) = (Traffic::new(&scenario, 9), Traffic::new(&scenario, 9));
    let weight = Weight::from_percent(25);
    for at in 0..50 {
        // What was drawn before at another weight changes nothing.
        let _before = one.second(at, Weight::from_percent(5), &Fleet::NONE);
        assert_eq!(
            one.second(at, weight, &Fleet::NONE),
            other.second(at, weight, &Fleet::NONE)
        );
    }
    assert_ne!(
        one.second(1, weight, &Fleet::NONE),
        one.second(2, weight, &Fleet::NONE)
    );
    assert_ne!(
        one.second(1, weight, &Fleet::NONE),
        Traffic::new(&scenario, 10).second(1, weight, &Fleet::NONE)
    );
    assert_ne!(
        one.history(1),
        one.second(1, Weight::ZERO, &Fleet::NONE).stable
    );
}

#[test]
fn clumps_have_the_mean_and_the_dispersion_of_their_size() {
    for (clumps, dispersion) in [
        (Clumps::Alone, 0.99),
        (Clumps::Of(10), 10.0),
        // A geometric size of mean 3 has a mean square of 15.
        (Clumps::Geometric(3.0), 5.0),
    ] {
        let scenario = Scenario {
            clumps,
            ..Scenario::errors(1_000.0, 0.01, 0.01)
        };
        let seconds = seconds(&scenario, Weight::ZERO, 20_000);
        let mean = sum(&seconds, |it| it.stable.failures) / 20_000.0;
        let square = |it: &Second| (it.stable.failures as f64 - mean).powi(2);
        let variance = seconds.iter().map(square).sum::<f64>() / 20_000.0;
        check_share(
            "mean",
            mean,
            10.0,
            (10.0 * dispersion / 20_000.0_f64).sqrt(),
        );
        assert!(
            (variance / mean / dispersion - 1.0).abs() < 0.06,
            "{clumps:?}: {variance}, {mean}"
        );
    }
}

#[test]
fn an_incident_is_of_both_versions_and_of_its_time() {
    let scenario = Scenario {
        incident: Some(Incident {
            from: 10,
            to: 20,
            share: 0.15,
        }),
        onset: 15,
        ..Scenario::errors(100.0, 0.01, 0.05)
    };
    for (at, stable, canary) in [
        (9, 0.01, 0.01),
        (10, 0.16, 0.16),
        (15, 0.16, 0.2),
        (19, 0.16, 0.2),
        (20, 0.01, 0.05),
    ] {
        let found = scenario.shares(at);
        assert!(
            (found.0 - stable).abs() < 1e-12 && (found.1 - canary).abs() < 1e-12,
            "{at}: {found:?}"
        );
    }
    // What both fail is not the canary's.
    assert!(scenario.excess(12, Weight::from_percent(50)).abs() < 1e-9);
    assert!((scenario.excess(16, Weight::from_percent(50)) - 2.0).abs() < 1e-9);
}

#[test]
fn a_second_of_no_requests_is_empty() {
    let scenario = Scenario::errors(100.0, 0.5, 0.5);
    let second = Traffic::new(&scenario, 1).second(0, Weight::FULL, &Fleet::NONE);
    assert_eq!(second.stable, Counts::default());
    assert!(second.canary.requests > 0 && second.usage.is_none());
}
